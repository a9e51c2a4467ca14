#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Mounts that show other owners than the disk has: mount_setattr(2) with MOUNT_ATTR_IDMAP."""

import contextlib
import errno
import os
import sys
import tempfile
from pathlib import Path

from guest import Skip, Suite, as_user, expect, expect_equal, expect_errno, run

# On the disk files are HERS; through the view they are THERES. OTHER is not mapped.
HERS = 4001
THERE = 5001
OTHER = 4002
OVERFLOW = 65534
MAPPING = f"b:{HERS}:{THERE}:1 b:0:0:1"

suite = Suite("idmapped")


@contextlib.contextmanager
def view(folder):
    """A second mount of a folder, in which HERS and THERE stand for each other."""
    if not Path("/proc/self/ns/user").exists():
        raise Skip("the kernel has no user namespaces, through which mappings are set up")
    with tempfile.TemporaryDirectory(prefix="idmapped-") as parent:
        Path(parent).chmod(0o755)
        place = Path(parent, "view")
        place.mkdir()
        run(["mount", "--bind", "-o", f"X-mount.idmap={MAPPING}", folder, place])
        try:
            yield place
        finally:
            run(["umount", place])


def owners(path):
    """User and group of a file."""
    found = os.lstat(path)
    return found.st_uid, found.st_gid


def hers(path, mode):
    """Give a file to HERS."""
    os.chown(path, HERS, HERS)
    path.chmod(mode)
    return path


@suite.test
def shown_owners(fs, here):
    """The view shows mapped owners, and nobody for those that it does not map."""
    for name, owner in (("hers", HERS), ("root", 0), ("other", OTHER)):
        (here / name).touch()
        os.chown(here / name, owner, owner)
    with view(here) as there:
        expect_equal(owners(there / "hers"), (THERE, THERE), "a mapped owner")
        expect_equal(owners(there / "root"), (0, 0), "root, who stands for himself")
        expect_equal(owners(there / "other"), (OVERFLOW, OVERFLOW), "an owner not mapped")
    expect_equal(owners(here / "hers"), (HERS, HERS), "the owner on the disk")


@suite.test
def new_files(fs, here):
    """What is made through the view belongs on the disk to whom the maker stands for."""
    hers(here, 0o755)
    (here / "open").mkdir()
    (here / "open").chmod(0o777)
    with view(here) as there:

        def make():
            (there / "file").write_text("text")
            (there / "folder").mkdir()
            (there / "link").symlink_to("file")
            os.mkfifo(there / "fifo")
            os.close(os.open(there, os.O_TMPFILE | os.O_RDWR, 0o600))
            os.rename(there / "file", there / "renamed")
            os.link(there / "renamed", there / "second")

        as_user(THERE, THERE, make)
        for name in ("renamed", "second", "folder", "link", "fifo"):
            expect_equal(owners(here / name), (HERS, HERS), f"{name} on the disk")
            expect_equal(owners(there / name), (THERE, THERE), f"{name} in the view")
        as_user(
            OTHER, OTHER, lambda: expect_errno(errno.EOVERFLOW, (there / "open" / "no").touch)
        )
        expect_equal(os.listdir(here / "open"), [], "nothing of somebody who is not mapped")
    fs.unmount()
    fs.mount()
    expect_equal(owners(here / "folder"), (HERS, HERS), "after mounting again")


@suite.test
def changed_owners(fs, here):
    """chown(2) through the view takes its ids, and refuses those that it does not map."""
    path = here / "file"
    path.touch()
    with view(here) as there:
        os.chown(there / "file", THERE, THERE)
        expect_equal(owners(path), (HERS, HERS), "on the disk")
        expect_errno(errno.EOVERFLOW, os.chown, there / "file", OTHER, -1)
        expect_errno(errno.EOVERFLOW, os.chown, there / "file", -1, OTHER)
        expect_equal(owners(path), (HERS, HERS), "after what was refused")
        as_user(THERE, THERE, lambda: (there / "file").chmod(0o640))
        as_user(
            HERS, HERS, lambda: expect_errno(errno.EPERM, (there / "file").chmod, 0o666)
        )
    expect_equal(path.stat().st_mode & 0o7777, 0o640, "the mode")


@suite.test
def group_of_folder(fs, here):
    """A set-group-id folder hands its group down in a view, too, and the bit is kept."""
    folder = here / "folder"
    folder.mkdir()
    hers(folder, 0o2775)
    with view(here) as there:

        def make():
            (there / "folder" / "file").touch()
            (there / "folder" / "sub").mkdir()

        as_user(THERE, 0, make, [THERE])
    expect_equal(owners(folder / "file"), (HERS, HERS), "the file")
    expect_equal(owners(folder / "sub"), (HERS, HERS), "the folder")
    expect(folder.joinpath("sub").stat().st_mode & 0o2000, "the bit is not handed down")


@suite.test
def rights(fs, here):
    """In the view the mapped owner has the rights, in the ordinary mount the owner on the disk."""
    here.chmod(0o755)
    path = here / "private"
    path.write_text("text")
    os.setxattr(path, "user.colour", b"green")
    hers(path, 0o600)
    with view(here) as there:
        same = there / "private"

        def may():
            expect_equal(same.read_text(), "text", "reading in the view")
            os.setxattr(same, "user.colour", b"blue")
            os.utime(same, ns=(1, 1))
            expect_errno(errno.EACCES, path.read_text)
            expect_errno(errno.EACCES, os.getxattr, path, "user.colour")

        def may_not():
            expect_equal(path.read_text(), "text", "reading in the ordinary mount")
            expect_errno(errno.EACCES, same.read_text)
            expect_errno(errno.EACCES, os.setxattr, same, "user.colour", b"red")
            expect_errno(errno.EPERM, os.utime, same, ns=(1, 1))

        as_user(THERE, THERE, may)
        as_user(HERS, HERS, may_not)
    expect_equal(os.getxattr(path, "user.colour"), b"blue", "the attribute")


@suite.test
def searches(fs, here):
    """Vectors are written by, and found by, whom the view lets open the file."""
    if fs.fstype != "vexfs":
        raise Skip("vectors are of vexfs")
    import numpy

    import vexabi

    here.chmod(0o755)
    index = "idmapped"
    vexabi.index_create(fs.mnt, index, 4, mode=0o666)
    private = here / "private"
    for number, path in enumerate((here / "public", private)):
        path.touch()
        vexabi.put(path, index, numpy.full(4, number, dtype="f4"))
    hers(private, 0o600)
    query = numpy.ones((1, 4), dtype="f4")

    def found(root):
        return sorted(os.path.basename(hit.path) for hit in vexabi.search(root, index, query, 9)[0])

    everything = str(["private", "public"])
    with view(fs.mnt) as there:
        for uid, root, expected in (
            (THERE, there, everything),
            (HERS, there, str(["public"])),
            (HERS, fs.mnt, everything),
            (THERE, fs.mnt, str(["public"])),
            (OTHER, there, str(["public"])),
        ):
            names = as_user(uid, uid, lambda root=root: found(root))
            expect_equal(names, expected, f"search of {uid} in {root}")
        same = there / here.name / "private"
        new = numpy.full(4, 7, dtype="f4")
        as_user(THERE, THERE, lambda: vexabi.put(same, index, new))
        as_user(
            HERS, HERS, lambda: expect_errno(errno.EACCES, vexabi.put, same, index, new)
        )
    expect_equal(vexabi.get(private, index)[0], new.tobytes(), "what was written through the view")
    vexabi.index_drop(fs.mnt, index)


@suite.test
def indexes(fs, here):
    """An index belongs on the disk to whom its maker stands for, and each mount shows its owner its way."""
    if fs.fstype != "vexfs":
        raise Skip("indexes are of vexfs")
    import vexabi

    before = fs.mnt.stat()
    hers(fs.mnt, 0o755)
    try:
        with view(fs.mnt) as there:
            as_user(THERE, THERE, lambda: vexabi.index_create(there, "mapped", 4, mode=0o600))
            in_view = vexabi.index_info(there, "mapped")
            expect_equal((in_view.uid, in_view.gid), (THERE, THERE), "in the view")
            on_disk = vexabi.index_info(fs.mnt, "mapped")
            expect_equal((on_disk.uid, on_disk.gid), (HERS, HERS), "on the disk")
            for uid, root in ((HERS, there), (OTHER, there), (THERE, fs.mnt)):
                as_user(
                    uid,
                    uid,
                    lambda root=root: expect_errno(
                        (errno.EACCES, errno.EPERM), vexabi.index_drop, root, "mapped"
                    ),
                )
            as_user(THERE, THERE, lambda: vexabi.index_drop(there, "mapped"))
    finally:
        os.chown(fs.mnt, before.st_uid, before.st_gid)
        fs.mnt.chmod(before.st_mode & 0o7777)


if __name__ == "__main__":
    sys.exit(suite.main())
