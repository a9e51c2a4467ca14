#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""A filesystem of 256 MiB without space or without inodes: ENOSPC, nothing harmed, usable again.

Each test fills what it is about, looks what can still be done, removes what it made, and
then the counts have to be what they were.
"""

import errno
import mmap
import os
import random
import signal
import sys

import vexabi
from guest import MIB, PAGE, Skip, Suite, expect, expect_equal

suite = Suite("disk_full", size="256M")


def write_until_full(folder, size):
    """Files of `size` bytes, each made durable, until there is no space; returns how many."""
    data = bytes(range(256)) * (size // 256)
    for number in range(1 << 20):
        descriptor = os.open(folder / f"{size}-{number}", os.O_CREAT | os.O_WRONLY)
        try:
            os.write(descriptor, data)
            os.fsync(descriptor)
        except OSError as error:
            expect_equal(error.errno, errno.ENOSPC, "errno when full")
            return number
        finally:
            os.close(descriptor)
    raise AssertionError("the device has no end")


def fill(folder):
    """Take all blocks, first with large files, then with small ones."""
    folder.mkdir()
    for size in (16 * MIB, MIB, PAGE):
        write_until_full(folder, size)


def empty(folder):
    """Remove a folder of files."""
    for name in os.listdir(folder):
        os.unlink(folder / name)
    folder.rmdir()


@suite.test
def data(fs, here):
    """What was there stays readable and can be overwritten; after removal all is as before."""
    contents = random.Random(6).randbytes(3 * MIB)
    (here / "keep").write_bytes(contents)
    before = fs.free()
    fill(here / "fill")
    expect(fs.free()[0] < before[0] // 50, f"{fs.free()[0]} blocks are still free")
    expect((here / "keep").read_bytes() == contents, "a file has changed while full")
    changed = contents[:PAGE][::-1] + contents[PAGE:]
    with open(here / "keep", "rb+") as file:
        os.pwrite(file.fileno(), changed[:PAGE], 0)
        os.fsync(file.fileno())
    fs.cycle()
    expect((here / "keep").read_bytes() == changed, "a file has changed by a remount")
    empty(here / "fill")
    fs.expect_free(before, "after removing what filled it")
    (here / "new").write_bytes(contents)
    fs.cycle()
    expect((here / "new").read_bytes() == contents, "written after the disk was full")
    (here / "new").unlink()


@suite.test
def what_still_works(fs, here):
    """Reading, renaming, truncating and removing work on a full disk; a removal makes room."""
    (here / "folder").mkdir()
    (here / "a").write_bytes(b"x" * MIB)
    (here / "b").write_bytes(b"y" * MIB)
    before = fs.free()
    fill(here / "fill")
    os.rename(here / "a", here / "c")
    os.rename(here / "c", here / "b")
    expect_equal((here / "b").read_bytes()[:1], b"x", "the replacing file")
    os.truncate(here / "b", 5000)
    os.truncate(here / "b", 0)
    (here / "folder").rmdir()
    os.sync()
    (here / "again").write_bytes(b"z" * PAGE * 4)
    fs.cycle()
    expect_equal((here / "again").read_bytes(), b"z" * PAGE * 4, "written after truncating")
    empty(here / "fill")
    (here / "again").unlink()
    (here / "b").unlink()
    after = fs.free()
    expect(after[0] >= before[0], f"free blocks {after[0]}, before {before[0]}")


@suite.test
def mapped_hole(fs, here):
    """A store to a hole through a mapping, with no block left, is SIGBUS and loses no file."""
    path = here / "file"
    path.write_bytes(b"start".ljust(PAGE, b"."))
    os.truncate(path, 64 * MIB)
    before = fs.free()
    fill(here / "fill")
    child = os.fork()
    if child == 0:
        with open(path, "rb+") as file:
            memory = mmap.mmap(file.fileno(), 64 * MIB)
            for offset in range(MIB, 64 * MIB, PAGE):
                memory[offset] = 1
        os._exit(0)
    _, status = os.waitpid(child, 0)
    expect(os.WIFSIGNALED(status), f"the child ended with {status:#x}, not by a signal")
    expect_equal(os.WTERMSIG(status), signal.SIGBUS, "signal")
    with open(path, "rb") as file:
        expect_equal(file.read(5), b"start", "the file's start")
    empty(here / "fill")
    os.truncate(path, PAGE)
    fs.expect_free(before, "after removing what filled it")


@suite.test
def names(fs, here):
    """Empty files until inodes or blocks run out; every name that was made is there and goes."""
    before = fs.free()
    (here / "fill").mkdir()
    made = 0
    try:
        while True:
            name = here / "fill" / f"{'name' * 30}{made}"
            os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            made += 1
    except OSError as error:
        expect_equal(error.errno, errno.ENOSPC, "errno")
    suite.note(f"names: {made} files fill it")
    expect_equal(len(os.listdir(here / "fill")), made, "names")
    fs.cycle()
    expect_equal(len(os.listdir(here / "fill")), made, "names after a remount")
    empty(here / "fill")
    fs.expect_free(before, "after removing the files")


@suite.test
def attributes(fs, here):
    """setxattr without space says so and leaves the old value."""
    path = here / "file"
    path.touch()
    os.setxattr(path, "user.a", b"old" * 300)
    before = fs.free()
    fill(here / "fill")
    refused = 0
    for number in range(100):
        try:
            os.setxattr(path, f"user.b{number}", b"v" * 3000)
        except OSError as error:
            expect_equal(error.errno, errno.ENOSPC, "errno")
            refused += 1
    expect(refused > 0, "a hundred attributes found space on a full disk")
    expect_equal(os.getxattr(path, "user.a"), b"old" * 300, "old attribute")
    fs.cycle()
    expect_equal(os.getxattr(path, "user.a"), b"old" * 300, "old attribute, remounted")
    for name in os.listxattr(path):
        if name != "user.a":
            os.removexattr(path, name)
    empty(here / "fill")
    fs.expect_free(before, "after removing what filled it")


@suite.test
def vectors(fs, here):
    """Records until there is no space: those acknowledged are there, and deleting makes room."""
    if fs.fstype != "vexfs":
        raise Skip(f"{fs.fstype} has no vectors")
    dim = 4096
    vexabi.index_create(here, "full", dim)
    path = here / "file"
    path.write_text("text")
    before = fs.free()
    fill(here / "fill")
    row = b"\0\0\x80\x3f" * dim
    made = 0
    try:
        while True:
            vexabi.put(path, "full", row, label=made)
            made += 1
    except OSError as error:
        expect_equal(error.errno, errno.ENOSPC, "errno")
    fs.cycle()
    expect_equal(vexabi.index_info(here, "full").records, made, "records")
    empty(here / "fill")
    vexabi.put(path, "full", row, label=made)
    gone = vexabi.delete(path, "full", flags=vexabi.DELETE_ALL)
    expect_equal(gone, made + 1, "records deleted")
    vexabi.index_drop(here, "full")
    after = fs.free()
    expect(after[0] >= before[0], f"free blocks {after[0]}, before {before[0]}")


@suite.test
def dropped_index(fs, here):
    """What an index held is free for files at once, and its erasure does not reach into them."""
    if fs.fstype != "vexfs":
        raise Skip(f"{fs.fstype} has no vectors")
    dim = 4096
    records = 4000
    before = fs.free()
    vexabi.index_create(here, "room", dim)
    path = here / "file"
    path.write_text("text")
    row = b"\0\0\x80\x3f" * dim
    for label in range(records):
        vexabi.put(path, "room", row, label=label)
    fill(here / "fill")
    contents = random.Random(9).randbytes(records * len(row) * 9 // 10)
    vexabi.index_drop(here, "room")
    (here / "instead").write_bytes(contents)
    fs.cycle()
    expect((here / "instead").read_bytes() == contents, "a file changed where vectors had been")
    (here / "instead").unlink()
    path.unlink()
    empty(here / "fill")
    fs.expect_free(before, "after removing what filled it")


if __name__ == "__main__":
    sys.exit(suite.main())
