#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Indexes and records through the ioctl ABI: made, listed, stored, read, deleted, refused."""

import ctypes
import errno
import math
import os
import struct
import sys

import vexabi
from guest import Suite, as_user, expect, expect_equal, expect_errno

ALICE = 4001
BOB = 4002

suite = Suite("vectors_records", only="vexfs")


def vector(*elements):
    """Elements as little-endian binary32."""
    return struct.pack(f"<{len(elements)}f", *elements)


def file_in(here, name="file"):
    """A new file with some text."""
    path = here / name
    path.write_text("text")
    return path


@suite.test
def index_life(fs, here):
    """An index is made, described, listed, dropped; its name can be used again, its number not."""
    vexabi.index_create(here, "life", 384, "cosine", mode=0o640)
    info = vexabi.index_info(here, "life")
    expect_equal(
        (info.name, info.dim, info.element, info.metric, info.mode, info.uid, info.gid),
        ("life", 384, vexabi.F32, vexabi.METRICS["cosine"], 0o640, 0, 0),
        "info",
    )
    expect_equal(info.records, 0, "records")
    expect_errno(errno.EEXIST, vexabi.index_create, here, "life", 384)
    fs.cycle()
    expect_equal(vexabi.index_info(here, "life"), info, "info after a remount")
    vexabi.index_drop(here, "life")
    expect_errno(errno.ENOENT, vexabi.index_info, here, "life")
    expect_errno(errno.ENOENT, vexabi.index_drop, here, "life")
    vexabi.index_create(here, "life", 3)
    again = vexabi.index_info(here, "life")
    expect(again.id > info.id, f"number {again.id} after {info.id}")
    expect_equal(again.dim, 3, "dimension of the new index")
    vexabi.index_drop(here, "life")


@suite.test
def index_list(fs, here):
    """Forty indexes are listed once each, in portions of any size."""
    names = [f"list-{number:02}" for number in range(40)]
    for number, name in enumerate(names):
        vexabi.index_create(here, name, number + 1, ["l2", "cosine", "dot"][number % 3])
    for at_once in (1, 7, 40, 100):
        found = [info.name for info in vexabi.index_list(here, at_once)]
        expect_equal(found, names, f"names, {at_once} at once")
    expect_equal(vexabi.stats(here).indexes, 40, "indexes in the statistics")
    for name in names[::2]:
        vexabi.index_drop(here, name)
    fs.cycle()
    found = [info.name for info in vexabi.index_list(here)]
    expect_equal(found, names[1::2], "names after dropping every second")
    for name in names[1::2]:
        vexabi.index_drop(here, name)
    expect_equal(vexabi.index_list(here), [], "indexes at the end")


@suite.test
def index_refused(fs, here):
    """Names, dimensions, types and modes that cannot be are refused."""
    for name in (b"", b"a/b", b" a", b"a ", b"\xff\xfe", b"a\0b", b"n" * 64):
        expect_errno(errno.EINVAL, vexabi.index_create, here, name, 3)
    for dim in (0, 4097, (1 << 32) - 1):
        expect_errno(errno.EINVAL, vexabi.index_create, here, "bad", dim)
    expect_errno(errno.EINVAL, vexabi.index_create, here, "bad", 3, mode=0o1777)
    expect_errno(errno.EINVAL, vexabi.index_create, here, "bad", 3, metric=0)
    expect_errno(errno.EOPNOTSUPP, vexabi.index_create, here, "bad", 3, metric=4)
    expect_errno(errno.EOPNOTSUPP, vexabi.index_create, here, "bad", 3, metric=5)
    expect_errno(errno.EOPNOTSUPP, vexabi.index_create, here, "bad", 3, element=5)
    expect_errno(
        errno.EOPNOTSUPP, vexabi.index_create, here, "bad", 3, element=vexabi.BINARY
    )
    expect_equal(vexabi.index_list(here), [], "indexes")
    for name in ("é" * 31, "n" * 63, "a b", "."):
        vexabi.index_create(here, name, 4096)
        vexabi.index_drop(here, name)


@suite.test
def record_life(fs, here):
    """A record is stored, read back to the bit, replaced, and deleted."""
    vexabi.index_create(here, "life", 3)
    path = file_in(here)
    vexabi.put(path, "life", vector(1.5, -2.25, 1e-40), label=7, tag=99)
    stored = vexabi.get(path, "life", label=7)
    expect_equal(stored, (vector(1.5, -2.25, 1e-40), 99, 7), "record")
    expect_errno(errno.ENOENT, vexabi.get, path, "life", label=8)
    vexabi.put(path, "life", vector(0.0, -0.0, 3.0), label=7, tag=100)
    expect_equal(vexabi.index_info(here, "life").records, 1, "records after replacing")
    again = (path, "life", vector(1, 2, 3))
    expect_errno(errno.EEXIST, vexabi.put, *again, label=7, flags=vexabi.PUT_EXCL)
    fs.cycle()
    stored = vexabi.get(path, "life", label=7)
    expect_equal(stored, (vector(0.0, -0.0, 3.0), 100, 7), "record after a remount")
    expect_equal(vexabi.delete(path, "life", label=7), 1, "deleted")
    expect_errno(errno.ENOENT, vexabi.get, path, "life", label=7)
    expect_errno(errno.ENOENT, vexabi.delete, path, "life", label=7)
    expect_equal(vexabi.index_info(here, "life").records, 0, "records")
    vexabi.index_drop(here, "life")


@suite.test
def labels(fs, here):
    """Labels of all sizes; GET_NEXT walks them in order; DELETE_ALL removes those of the file."""
    vexabi.index_create(here, "labels", 2)
    path, other = file_in(here), file_in(here, "other")
    numbers = [0, 1, 2, 1000, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 1]
    for label in reversed(numbers):
        vexabi.put(path, "labels", vector(1, 2), label=label, tag=label ^ 5)
    vexabi.put(other, "labels", vector(3, 4), label=500)
    walked = []
    label = 0
    while True:
        try:
            _, tag, found = vexabi.get(path, "labels", label=label, flags=vexabi.GET_NEXT)
        except OSError as error:
            expect_equal(error.errno, errno.ENOENT, "errno at the end of the walk")
            break
        expect_equal(tag, found ^ 5, "tag")
        walked.append(found)
        if found == numbers[-1]:
            break
        label = found + 1
    expect_equal(walked, numbers, "labels in order")
    gone = vexabi.delete(path, "labels", flags=vexabi.DELETE_ALL)
    expect_equal(gone, len(numbers), "deleted")
    expect_equal(vexabi.delete(path, "labels", flags=vexabi.DELETE_ALL), 0, "again")
    expect_equal(vexabi.get(other, "labels", label=500)[0], vector(3, 4), "other file")
    vexabi.index_drop(here, "labels")


@suite.test
def many_in_one_file(fs, here):
    """50,000 records of one file in batches, found again after a remount, deleted at once."""
    import numpy as np

    rows = np.arange(50_000 * 8, dtype="<f4").reshape(50_000, 8)
    path = file_in(here)
    before = fs.free()
    vexabi.index_create(here, "many", 8)
    with open(path, "rb+") as file:
        for start in range(0, len(rows), 10_000):
            batch = rows[start : start + 10_000]
            records = [
                (start + number, number, vexabi.THIS_FILE) for number in range(len(batch))
            ]
            done = vexabi.put_many(file.fileno(), "many", batch, records)
            expect_equal(done, len(batch), "records stored by one call")
    expect_equal(vexabi.index_info(here, "many").records, len(rows), "records")
    fs.cycle()
    for label in (0, 1, 9_999, 10_000, 31_415, 49_999):
        expect_equal(
            vexabi.get(path, "many", label=label)[:2],
            (rows[label].tobytes(), label % 10_000),
            f"record {label}",
        )
    gone = vexabi.delete(path, "many", flags=vexabi.DELETE_ALL)
    expect_equal(gone, len(rows), "deleted")
    expect_equal(vexabi.index_info(here, "many").records, 0, "records at the end")
    vexabi.index_drop(here, "many")
    fs.expect_free(before, "after the index was dropped")


@suite.test
def many_files(fs, here):
    """One call stores records with many files; a bad one ends it and says which."""
    import numpy as np

    vexabi.index_create(here, "files", 4)
    rows = np.arange(100 * 4, dtype="<f4").reshape(100, 4)
    files = [os.open(file_in(here, f"file{number}"), os.O_RDWR) for number in range(100)]
    records = [(number, 0, file) for number, file in enumerate(files)]
    folder = os.open(here, os.O_RDONLY)
    expect_equal(vexabi.put_many(folder, "files", rows, records), 100, "stored")
    for number in range(100):
        stored = vexabi.get(here / f"file{number}", "files", label=number)[0]
        expect_equal(stored, rows[number].tobytes(), f"record of file {number}")
    rows[60, 2] = math.nan
    records = [(label + 1000, tag, fd) for label, tag, fd in records]
    expect_errno(errno.EINVAL, vexabi.put_many, folder, "files", rows, records)
    found = vexabi.index_info(here, "files").records
    expect_equal(found, 160, "records after a call that failed at its 61st")
    for file in files:
        os.close(file)
    bad = [(0, 0, 987_654)]
    expect_errno(errno.EBADF, vexabi.put_many, folder, "files", rows[:1], bad)
    with open("/dev/null", "rb+") as foreign:
        bad = [(0, 0, foreign.fileno())]
        expect_errno(
            (errno.EXDEV, errno.EOPNOTSUPP),
            vexabi.put_many,
            folder,
            "files",
            rows[:1],
            bad,
        )
    os.close(folder)
    vexabi.index_drop(here, "files")


@suite.test
def vectors_refused(fs, here):
    """NaN, infinity, a zero vector under cosine, a wrong size, folders, unknown indexes."""
    vexabi.index_create(here, "plain", 3, "l2")
    vexabi.index_create(here, "angle", 3, "cosine")
    path = file_in(here)
    for element in (math.nan, math.inf, -math.inf):
        for name in ("plain", "angle"):
            expect_errno(errno.EINVAL, vexabi.put, path, name, vector(1, element, 2))
    expect_errno(errno.EINVAL, vexabi.put, path, "angle", vector(0, -0.0, 0))
    vexabi.put(path, "plain", vector(0, -0.0, 0))
    for elements in ((), (1,), (1, 2), (1, 2, 3, 4)):
        expect_errno(errno.EINVAL, vexabi.put, path, "plain", vector(*elements))
    expect_errno(errno.EINVAL, vexabi.put, path, "plain", vector(1, 2, 3)[:-1])
    expect_errno(errno.ENOENT, vexabi.put, path, "unknown", vector(1, 2, 3))
    folder = os.open(here, os.O_RDONLY)
    data, address = vexabi.memory(vector(1, 2, 3))
    fields = (b"plain", 0, 0, address, 12, 0)
    expect_errno((errno.EISDIR, errno.EBADF), vexabi.call, folder, vexabi.PUT, *fields)
    os.close(folder)
    reading = os.open(path, os.O_RDONLY)
    expect_errno(errno.EBADF, vexabi.call, reading, vexabi.PUT, *fields)
    os.close(reading)
    del data
    vexabi.index_drop(here, "plain")
    vexabi.index_drop(here, "angle")


@suite.test
def index_permissions(fs, here):
    """The index's mode decides who stores and reads; its owner drops it; the root's mode who makes."""
    here.chmod(0o777)
    fs.mnt.chmod(0o777)
    path = file_in(here)
    path.chmod(0o666)

    def make():
        vexabi.index_create(here, "alice", 2, mode=0o640)
        vexabi.put(path, "alice", vector(1, 2))

    def bob():
        expect_errno(errno.EACCES, vexabi.get, path, "alice")
        expect_errno(errno.EACCES, vexabi.put, path, "alice", vector(3, 4))
        expect_errno(errno.EACCES, vexabi.delete, path, "alice")
        expect_errno(errno.EPERM, vexabi.index_drop, here, "alice")
        expect_equal(vexabi.index_info(here, "alice").uid, ALICE, "owner, for anyone")

    def reader():
        expect_equal(vexabi.get(path, "alice")[0], vector(1, 2), "record")
        expect_errno(errno.EACCES, vexabi.put, path, "alice", vector(3, 4))

    try:
        as_user(ALICE, ALICE, make)
        as_user(BOB, BOB, bob)
        as_user(BOB, BOB, reader, [ALICE])
        fs.cycle()
        as_user(BOB, BOB, bob)
        as_user(BOB, BOB, reader, [ALICE])
        fs.mnt.chmod(0o755)

        def make_in_closed_root():
            expect_errno(errno.EACCES, vexabi.index_create, here, "second", 2)

        as_user(BOB, BOB, make_in_closed_root)
        as_user(ALICE, ALICE, lambda: vexabi.index_drop(here, "alice"))
    finally:
        fs.mnt.chmod(0o755)


@suite.test
def abi_versions(fs, here):
    """Structures of another size: zeros beyond ours are taken, anything else is E2BIG or EINVAL."""
    vexabi.index_create(here, "abi", 2)
    folder = os.open(here, os.O_RDONLY)
    ask = (folder, vexabi.INDEX_INFO, b"abi", *[0] * 16)
    size = vexabi.INDEX_INFO[2].size
    vexabi.call(*ask, size=size + 64, tail=bytes(64))
    expect_errno(errno.E2BIG, vexabi.call, *ask, size=size + 8, tail=b"\0" * 7 + b"\1")
    expect_errno(errno.E2BIG, vexabi.call, *ask, size=1 << 20)
    expect_errno(errno.EINVAL, vexabi.call, *ask, size=size - 8)
    expect_errno(errno.EINVAL, vexabi.call, *ask, size=size + 1)
    expect_errno(errno.EINVAL, vexabi.call, *ask, flags=1)
    unknown = (vexabi.READ_WRITE, 31, struct.Struct("=II8x"))
    expect_errno(errno.ENOTTY, vexabi.call, folder, unknown)
    # A structure whose end, and one whose vector, is not in our memory.
    data = b"\0" * 16
    fields = (b"abi", 0, 0, 0xFFFF_0000_0000_0000, 8, 0)
    with open(file_in(here), "rb+") as file:
        expect_errno(errno.EFAULT, vexabi.call, file.fileno(), vexabi.PUT, *fields)
        fields = (b"abi", 0, 0, 8, 8, 0)
        expect_errno(errno.EFAULT, vexabi.call, file.fileno(), vexabi.PUT, *fields)
    libc = ctypes.CDLL(None, use_errno=True)
    number = vexabi.request_number(vexabi.INDEX_INFO)
    result = libc.ioctl(folder, ctypes.c_ulong(number), ctypes.c_void_p(16))
    expect_equal((result, ctypes.get_errno()), (-1, errno.EFAULT), "ioctl on address 16")
    del data
    os.close(folder)
    vexabi.index_drop(here, "abi")


@suite.test
def read_only_mount(fs, here):
    """On a read-only mount records can be read and nothing be changed."""
    vexabi.index_create(here, "still", 2)
    path = file_in(here)
    vexabi.put(path, "still", vector(1, 2))
    fs.unmount()
    fs.mount("ro")
    expect_equal(vexabi.get(path, "still")[0], vector(1, 2), "record")
    expect_errno(errno.EROFS, vexabi.index_create, here, "new", 2)
    expect_errno(errno.EROFS, vexabi.index_drop, here, "still")
    fs.unmount()
    fs.mount()
    vexabi.index_drop(here, "still")


if __name__ == "__main__":
    sys.exit(suite.main())
