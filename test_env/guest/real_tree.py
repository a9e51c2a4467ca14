#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""A real tree through the filesystem: copied, compared, archived, unpacked, renamed, removed.

VEXFS_TREE names the tree, for instance Documentation/ of the kernel's source package. The
tests stand on each other in this order; the space that all of it took must be free again
at the end.
"""

import os
import stat
import sys
from pathlib import Path

from guest import Failure, Suite, Unusable, drop_caches, expect, expect_equal, run

suite = Suite("real_tree")


def tree():
    """The tree to copy."""
    name = os.environ.get("VEXFS_TREE")
    if not name or not Path(name).is_dir():
        raise Unusable("VEXFS_TREE must name a folder, such as Documentation/ of a kernel")
    return Path(name)


def identity(path):
    """What cp -a keeps of a file: type, mode, owner, mtime, size or target."""
    status = path.lstat()
    extra = None
    if stat.S_ISREG(status.st_mode):
        extra = status.st_size
    elif stat.S_ISLNK(status.st_mode):
        extra = os.readlink(path)
    return (status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns, extra)


def walk(root):
    """Every path below root, relative to it, with its identity."""
    found = {}
    for folder, folders, files in os.walk(root):
        for name in folders + files:
            path = Path(folder, name)
            found[str(path.relative_to(root))] = identity(path)
    return found


def compare(source, copy, when):
    """Contents by diff(1), and everything else by our own walk."""
    try:
        run(["diff", "-r", "--no-dereference", source, copy])
    except Failure as failure:
        raise Failure(f"{when}: {failure}") from failure
    left, right = walk(source), walk(copy)
    expect_equal(sorted(left.keys() ^ right.keys()), [], f"{when}: names on one side only")
    for name, expected in left.items():
        expect_equal(
            right[name], expected, f"{when}: {name} (mode, uid, gid, mtime, size or target)"
        )
    return len(left)


def deepest_first(paths):
    """The paths in an order in which none is renamed above what is still to be done."""
    return sorted(paths, key=lambda path: path.count("/"), reverse=True)


def work(fs):
    """The folder that these tests share."""
    return fs.mnt / "work"


@suite.test
def copy(fs, here):
    """cp -a of the tree; equal at once."""
    here.rmdir()
    work(fs).mkdir()
    suite.before = fs.free()
    run(["cp", "-a", tree(), work(fs) / "copy"])
    count = compare(tree(), work(fs) / "copy", "at once")
    suite.note(f"copy: {count} files and folders of {tree()}")


@suite.test
def copy_remounted(fs, here):
    """Equal with a cold cache, and after a remount."""
    here.rmdir()
    drop_caches()
    compare(tree(), work(fs) / "copy", "cold cache")
    fs.cycle()
    compare(tree(), work(fs) / "copy", "remounted")


@suite.test
def fsck_when_full_of_files(fs, here):
    """fsck of the unmounted filesystem finds nothing."""
    here.rmdir()
    fs.unmount()
    fs.fsck()
    fs.mount()


@suite.test
def unpack(fs, here):
    """A tar of the tree, made on the filesystem and unpacked there, gives the same tree."""
    here.rmdir()
    top = work(fs)
    # The pax format keeps nanoseconds.
    run(["tar", "-C", tree().parent, "--format=pax", "-cf", top / "tree.tar", tree().name])
    (top / "unpacked").mkdir()
    run(["tar", "-C", top / "unpacked", "-xpf", top / "tree.tar"])
    compare(tree(), top / "unpacked" / tree().name, "unpacked")
    fs.cycle()
    compare(tree(), top / "unpacked" / tree().name, "unpacked, remounted")


@suite.test
def rename(fs, here):
    """Every entry renamed, then all moved into one other folder, then all put back."""
    here.rmdir()
    top = work(fs) / "unpacked" / tree().name
    for name in deepest_first(walk(top)):
        os.rename(top / name, top / f"{name}.renamed")
    fs.cycle()
    expected = {
        "/".join(f"{part}.renamed" for part in Path(name).parts): value[4]
        for name, value in walk(tree()).items()
    }
    found = {name: value[4] for name, value in walk(top).items()}
    expect_equal(sorted(found.keys() ^ expected.keys()), [], "names on one side only")
    expect_equal(found, expected, "sizes and targets under the new names")

    # All files into one folder and back: entries change parents, not only names.
    flat = work(fs) / "flat"
    flat.mkdir()
    files = [name for name, what in walk(top).items() if not stat.S_ISDIR(what[0])]
    for number, name in enumerate(files):
        os.rename(top / name, flat / str(number))
    expect_equal(len(os.listdir(flat)), len(files), "files in the flat folder")
    left = sum(not stat.S_ISDIR(what[0]) for what in walk(top).values())
    expect_equal(left, 0, "files left behind")
    fs.cycle()
    for number, name in enumerate(files):
        os.rename(flat / str(number), top / name)
    flat.rmdir()

    for name in deepest_first(walk(top)):
        os.rename(top / name, top / name.removesuffix(".renamed"))
    # Folders got new mtimes, so the comparison is of contents.
    run(["diff", "-r", "--no-dereference", tree(), top])


@suite.test
def remove(fs, here):
    """rm -r of everything; free blocks and inodes are what they were before the copy."""
    here.rmdir()
    for name in os.listdir(work(fs)):
        run(["rm", "-r", work(fs) / name])
    expect_equal(os.listdir(work(fs)), [], "names left")
    work(fs).rmdir()
    work(fs).mkdir()
    fs.expect_free(suite.before, "after removing everything")
    fs.cycle()
    expect(fs.free() == suite.before, "the counts changed by a remount")


if __name__ == "__main__":
    try:
        tree()
    except Unusable as problem:
        print(f"not ok {suite.name}.prepare: {problem}")
        sys.exit(2)
    sys.exit(suite.main())
