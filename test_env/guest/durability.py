#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""What is on the device at one moment: its contents are copied while it is mounted, and the copy is mounted later.

That is a power cut after which nothing is lost that the device had acknowledged; what is lost with a device's own
cache is the business of the suite crash.
"""

import ctypes
import errno
import mmap
import os
import subprocess
import sys
import time
from pathlib import Path

from guest import (
    MIB,
    PAGE,
    Suite,
    check_call,
    expect,
    expect_equal,
    expect_errno,
    libc,
    run,
)

SYNC_FILE_RANGE_WRITE_AND_WAIT = 7
VM = Path("/proc/sys/vm")

suite = Suite("durability", size="128M")


class SlowCommits:
    """Mounts the file system so that nothing but a request commits a transaction."""

    def __init__(self, fs):
        self.fs = fs

    def __enter__(self):
        self.fs.unmount()
        self.fs.mount("commit=300")

    def __exit__(self, *_):
        self.fs.cycle()


def device_now(fs):
    """The contents of the device, past all caches."""
    pieces = []
    device = os.open(fs.device, os.O_RDONLY | os.O_DIRECT)
    with mmap.mmap(-1, MIB) as memory:  # aligned as direct I/O wants it
        for number in range(128):
            expect_equal(
                os.preadv(device, [memory], number * MIB), MIB, "bytes of the device"
            )
            pieces.append(memory[:])
    os.close(device)
    return pieces


def return_to(fs, pieces):
    """Makes the device what it was, and mounts it."""
    fs.unmount()
    store(fs, pieces)
    fs.mount()


def store(fs, pieces):
    """Writes the contents of the device."""
    with open(fs.device, "wb") as device:
        for piece in pieces:
            device.write(piece)
        device.flush()
        os.fsync(device.fileno())


def write_back(file):
    """Brings a file's data to the device without asking for a commit."""
    check_call(
        libc.sync_file_range(
            file, ctypes.c_long(0), ctypes.c_long(0), SYNC_FILE_RANGE_WRITE_AND_WAIT
        ),
        "sync_file_range",
    )


def forget_inodes():
    """Drops what is clean from memory, without a commit: the flusher makes inodes clean first."""
    before = {}
    for name in ("dirty_writeback_centisecs", "dirty_expire_centisecs"):
        before[name] = (VM / name).read_text("ascii")
        (VM / name).write_text("5\n", "ascii")
    time.sleep(1)
    (VM / "drop_caches").write_text("3\n", "ascii")
    for name, value in before.items():
        (VM / name).write_text(value, "ascii")


@suite.test
def fsync_after_reload(fs, here):
    """fsync(2) commits what was changed before the inode left memory and came back."""
    data = os.urandom(300000)
    with SlowCommits(fs):
        file = os.open(here / "file", os.O_CREAT | os.O_WRONLY, 0o644)
        os.write(file, data[:1000])
        os.fsync(file)
        os.write(file, data[1000:])
        write_back(file)
        os.close(file)
        forget_inodes()
        file = os.open(here / "file", os.O_WRONLY)
        os.fsync(file)
        os.close(file)
        device = device_now(fs)
    return_to(fs, device)
    expect((here / "file").read_bytes() == data, "what was synced is not there")


@suite.test
def cut_bytes_stay_away(fs, here):
    """Bytes that a truncation cut off do not come back when the file has grown again, whenever the power fails."""
    with SlowCommits(fs):
        with open(here / "file", "wb") as file:
            file.write(b"A" * PAGE)
            file.flush()
            os.fsync(file.fileno())
        os.truncate(here / "file", 100)
        os.truncate(here / "file", PAGE)
        with open(here / "other", "wb") as file:
            os.fsync(file.fileno())
        device = device_now(fs)
    return_to(fs, device)
    found = (here / "file").read_bytes()
    expect_equal(len(found), PAGE, "size")
    expect_equal(found.count(b"A"), 100, "bytes that were not cut off")


@suite.test
def device_that_cannot_be_written(fs, here):
    """A journal that needs a replay is not replayed onto a read-only device; the mount is refused."""
    with SlowCommits(fs):
        with open(here / "file", "wb") as file:
            file.write(b"text")
            file.flush()
            os.fsync(file.fileno())
        device = device_now(fs)
    fs.unmount()
    store(fs, device)
    run(["blockdev", "--setro", fs.device])
    mount = subprocess.run(
        ["mount", "-t", fs.fstype, "-o", "ro", fs.device, fs.mnt],
        capture_output=True,
        check=False,
    )
    after = device_now(fs)
    run(["blockdev", "--setrw", fs.device])
    expect(mount.returncode != 0, "mounted, although its journal needs a replay")
    expect(after == device, "the device was written")
    fs.mount()
    expect_equal((here / "file").read_bytes(), b"text", "contents after a replay")


@suite.test
def size_without_space(fs, here):
    """What fails for lack of space leaves the size as it was, also on the device."""
    (here / "small").write_bytes(b"s" * 100)
    (here / "large").write_bytes(b"l" * PAGE)
    filler = os.open(here / "filler", os.O_CREAT | os.O_WRONLY, 0o644)
    step = 8 * MIB
    at = 0
    while step >= PAGE:
        try:
            os.posix_fallocate(filler, at, step)
            at += step
        except OSError as error:
            expect_equal(error.errno, errno.ENOSPC, "errno")
            step //= 2
    small = os.open(here / "small", os.O_WRONLY)
    expect_errno(errno.ENOSPC, os.pwrite, small, b"x" * PAGE, MIB)
    os.close(small)
    large = os.open(here / "large", os.O_WRONLY)
    expect_errno(errno.ENOSPC, os.posix_fallocate, large, 0, 64 * MIB)
    os.close(large)
    expect_equal((here / "large").stat().st_size, PAGE, "size after fallocate")
    os.close(filler)
    fs.cycle()
    expect_equal((here / "small").read_bytes(), b"s" * 100, "the small file")
    expect_equal((here / "large").read_bytes(), b"l" * PAGE, "the large file")


if __name__ == "__main__":
    sys.exit(suite.main())
