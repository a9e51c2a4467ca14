#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Upkeep of search trees on a mount: verifying, completing, taking down, beside searches and puts, and who may."""

import contextlib
import errno
import json
import os
import sys
import threading

import numpy as np

import vexabi
from guest import Failure, Suite, as_user, expect, expect_equal, expect_errno, run
from vectors_tree import clusters, recall, store

BOB = 4003
DIM = 24
RECORDS = 3000

suite = Suite("vectors_upkeep", only="vexfs")


def made(here, name="index", count=RECORDS, seed=3):
    """An index with a tree, in place of that of the test before; returns its queries."""
    with contextlib.suppress(FileNotFoundError):
        vexabi.index_drop(here, name)
    rows, queries = clusters(seed, count, DIM)
    vexabi.index_create(here, name, DIM)
    store(here, name, rows, files=4)
    return queries


def expect_right(here, name, records, missing=0, **how):
    """The tree is right, totals included; nothing else changes the mount meanwhile."""
    info = vexabi.index_info(here, name)
    found = vexabi.index_verify(here, name, **how)
    expect_equal(found.reason, "", "what is wrong")
    expect_equal(
        (found.partitions, found.entries, found.records, found.missing),
        (info.tree_partitions, info.tree_entries, records, missing),
        "totals",
    )
    expect_equal(found.states, 1, "states of a mount that nothing changes")
    return info


def vexctl(*arguments):
    """The JSON that vexctl prints."""
    return json.loads(run(["vexctl", "--json", *arguments]))


@suite.test
def a_tree_is_verified(fs, here):
    """In one request or in many, warm and remounted."""
    made(here)
    os.sync()
    info = expect_right(here, "index", RECORDS)
    expect(info.tree_partitions > 10, f"only {info.tree_partitions} partitions")
    expect_right(here, "index", RECORDS, steps=1)
    fs.cycle()
    expect_right(here, "index", RECORDS, steps=7)
    report = vexctl("index", "verify", here, "index")
    expect_equal(
        [report[what] for what in ("right", "counted", "records", "missing", "problem")],
        [True, True, RECORDS, 0, None],
        "vexctl's report",
    )


@suite.test
def a_tree_is_taken_down_and_built_again(fs, here):
    """In steps, after each of which it is right and searches are; also after a remount in the middle."""
    queries = made(here)
    exact = vexabi.search(here, "index", queries, 10)
    before = recall(here, "index", queries, 10)
    free = fs.free()

    def check():
        info = vexabi.index_info(here, "index")
        expect_right(here, "index", RECORDS, RECORDS - info.tree_entries)
        if info.tree_entries != RECORDS:
            found = vexabi.search(here, "index", queries[:4], 10, exact=False, probes=1)
            expect_equal(found, exact[:4], "hits while records have no entry")

    down = vexabi.index_build(
        here, "index", steps=9, flags=vexabi.BUILD_TAKE_DOWN, between=check
    )
    expect(len(down) > 4, f"{len(down)} requests")
    expect_equal(down[-1], (0, RECORDS), "entries and records when it is down")
    info = vexabi.index_info(here, "index")
    expect_equal((info.tree_height, info.tree_partitions), (0, 0), "what is left of the tree")
    expect(fs.free()[0] > free[0], "no space came back")
    fs.cycle()
    expect_right(here, "index", RECORDS, RECORDS)
    up = vexabi.index_build(here, "index", steps=60, between=check)
    expect(len(up) > 4, f"{len(up)} requests")
    expect_equal(up[-1], (RECORDS, RECORDS), "entries and records when it is built")
    check()
    again = recall(here, "index", queries, 10)
    suite.note(f"recall@10 {before:.3f} before, {again:.3f} after")
    expect(again >= before - 0.03, f"recall {again}, {before} before")
    report = vexctl("index", "rebuild", here, "index")
    expect_equal(
        [report["removed"], report["entered"], report["tree"]["entries"]],
        [RECORDS] * 3,
        "vexctl's report",
    )
    expect_equal(vexctl("index", "build", here, "index")["entered"], 0, "left to enter")
    expect_right(here, "index", RECORDS)


@suite.test
def beside_a_writer(fs, here):
    """Rebuilding and verifying while records come and go: nothing is ever wrong, and in the end all have entries."""
    queries = made(here)
    more, _ = clusters(8, 6000, DIM)
    stop = threading.Event()
    failed = []

    def write():
        try:
            path = here / "writer"
            path.touch()
            label = 0
            while not stop.is_set():
                vexabi.put(path, "index", more[label % len(more)], label)
                if label >= 200:
                    vexabi.delete(path, "index", label - 200)
                label += 1
            failed.append(label)
        except OSError as error:
            failed.append(error)

    def look():
        found = vexabi.index_verify(here, "index", steps=40)
        expect_equal(found.reason, "", "what is wrong")
        hits = vexabi.search(here, "index", queries[:2], 10, exact=False)
        expect_equal([len(answer) for answer in hits], [10, 10], "number of hits")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        flags = vexabi.BUILD_TAKE_DOWN
        cursor = 0
        for _ in range(12):
            fields = (vexabi.name_field("index"), cursor, 10, 0, 0, 0)
            vexabi.on(here, vexabi.INDEX_BUILD, *fields, flags=flags)
            look()
        counts = vexabi.index_build(here, "index", steps=100, between=look)
    finally:
        stop.set()
        writer.join()
    expect(isinstance(failed[0], int), f"the writer failed: {failed[0]}")
    suite.note(f"{failed[0]} records put meanwhile, {len(counts)} requests to complete")
    expect(failed[0] > 200, "the writer did nothing")
    vexabi.index_build(here, "index")
    os.sync()
    expect_right(here, "index", RECORDS + 200)


def fill(file):
    """Take all space that there is for a file."""
    size = 1 << 30
    while size >= 4096:
        try:
            os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, size)
        except OSError as error:
            expect_equal(error.errno, errno.ENOSPC, "error of fallocate")
            size //= 2


@suite.test
def without_room(fs, here):
    """Nothing can be entered on a full device; once there is room, everything is."""
    made(here)
    vexabi.index_build(here, "index", flags=vexabi.BUILD_TAKE_DOWN)
    filler = here / "filler"
    with open(filler, "wb") as file:
        fill(file)
        # What was freed is free for others once that is durable.
        os.sync()
        fill(file)
    expect_errno(errno.ENOSPC, vexabi.index_build, here, "index")
    try:
        vexctl("index", "build", here, "index")
    except Failure as failure:
        expect("exit 1: " in str(failure) and "no run of free blocks" in str(failure), failure)
    else:
        raise Failure("vexctl built a tree on a full device")
    found = vexabi.index_verify(here, "index")
    # A file's extents need blocks too, so some that no file could have were left for a partition or two.
    entries = vexabi.index_info(here, "index").tree_entries
    expect(entries < RECORDS // 2, f"{entries} entries on a full device")
    expect_equal((found.reason, found.missing), ("", RECORDS - entries), "verified on a full device")
    filler.unlink()
    os.sync()
    expect_equal(vexabi.index_build(here, "index")[-1], (RECORDS, RECORDS), "entries")
    expect_right(here, "index", RECORDS)


@suite.test
def damage_is_named(fs, here):
    """A damaged partition is reported with its block, and the mount goes on."""
    # On a new filesystem no partition of an earlier test is left to be found.
    fs.unmount()
    fs.make()
    fs.mount()
    here.mkdir()
    made(here, count=1500)
    fs.unmount()
    # A block of a partition, by its magic; its own number follows the checksum.
    with open(fs.device, "rb") as device:
        number, found = 0, None
        while found is None:
            block = device.read(4096)
            expect(len(block) == 4096, "no partition on the device")
            if block[:4] == b"VxPt" and int.from_bytes(block[8:16], "little") == number:
                found = number
            number += 1

    def flip():
        descriptor = os.open(fs.device, os.O_RDWR)
        byte = os.pread(descriptor, 1, found * 4096 + 3000)
        os.pwrite(descriptor, bytes([byte[0] ^ 1]), found * 4096 + 3000)
        os.fsync(descriptor)
        os.close(descriptor)

    flip()
    fs.mount()
    names = {info.name: info for info in vexabi.index_list(here)}
    reports = {name: vexabi.index_verify(here, name) for name in names}
    wrong = [report for report in reports.values() if report.reason]
    expect_equal(len(wrong), 1, "indexes with damage")
    expect_equal(wrong[0].block, found, "block with the damage")
    expect("checksum" in wrong[0].reason, wrong[0].reason)
    (here / "still writable").touch()
    fs.unmount()
    flip()
    fs.mount()
    for name in names:
        expect_equal(vexabi.index_verify(here, name).reason, "", "what is wrong")


def efforts(here, name="index"):
    """What vexctl says was measured."""
    return vexctl("index", "info", here, name)["index"]["efforts"]


@suite.test
def searches_follow_what_was_measured(fs, here):
    """What is noted decides how much is looked at, and stays with the index."""
    # Without clusters, one leaf has few of the nearest.
    source = np.random.default_rng(8)
    rows, queries = (source.standard_normal((n, DIM), np.float32) for n in (RECORDS, 40))
    with contextlib.suppress(FileNotFoundError):
        vexabi.index_drop(here, "index")
    vexabi.index_create(here, "index", DIM)
    store(here, "index", rows, files=4)
    expect_equal(efforts(here), None, "efforts of a new index")
    vexabi.index_efforts(here, "index", (17, 17, 17))
    expect_equal(efforts(here), [17, 17, 17], "efforts")
    least = recall(here, "index", queries, 10)
    vexabi.index_efforts(here, "index", (17, 17, 60_000))
    expect_equal(efforts(here), [17, 17, 61_440], "efforts, rounded up")
    expect_equal(recall(here, "index", queries, 10), least, "recall with the same effort")
    vexabi.index_efforts(here, "index", (17, 60_000, 60_000))
    expect_equal(recall(here, "index", queries, 10), 1.0, "recall when everything is looked at")
    expect(least < 0.8, f"recall {least} with one leaf")
    file = here / "queries.npy"
    np.save(file, queries)
    report = vexctl("index", "calibrate", here, "index", "--npy", file)
    leaves = [line["leaves"] for line in report["measured"]]
    suite.note(f"efforts: {leaves} of {report['partitions']} leaves for 0.9, 0.95, 0.99")
    expect(leaves == sorted(leaves) and leaves[-1] < report["partitions"], f"{leaves}")
    noted = efforts(here)
    fs.cycle()
    expect_equal(efforts(here), noted, "efforts after a remount")
    found = recall(here, "index", queries, 10)
    expect(found >= 0.95, f"recall {found} where it was measured that it is 0.95")
    vexctl("index", "rebuild", here, "index")
    expect_equal(efforts(here), noted, "efforts after rebuilding")
    vexctl("index", "calibrate", here, "index", "--forget")
    expect_equal(efforts(here), None, "efforts when they are forgotten")


@suite.test
def who_may(fs, here):
    """Verifying needs the right to search; building is the owner's, and needs a writable mount."""
    made(here, count=500)
    vexabi.index_create(here, "private", DIM, mode=0o600)
    os.chmod(here, 0o755)

    def as_bob():
        expect_equal(vexabi.index_verify(here, "index").reason, "", "what is wrong")
        expect_errno(errno.EACCES, vexabi.index_verify, here, "private")
        expect_errno(errno.EPERM, vexabi.index_efforts, here, "index", (100, 100, 100))
        for name in ("index", "private"):
            expect_errno(errno.EPERM, vexabi.index_build, here, name)
            down = vexabi.BUILD_TAKE_DOWN
            expect_errno(errno.EPERM, vexabi.index_build, here, name, flags=down)

    as_user(BOB, BOB, as_bob)
    for request in (vexabi.index_verify, vexabi.index_build):
        expect_errno(errno.ENOENT, request, here, "absent")
        expect_errno(errno.EINVAL, request, here, "index", steps=1025)
        expect_errno(errno.EINVAL, request, here, "")
    expect_errno(errno.EINVAL, vexabi.index_build, here, "index", flags=2)
    expect_errno(errno.ENOENT, vexabi.index_efforts, here, "absent", (100, 100, 100))
    for bad in ((0, 1, 1), (2, 1, 3), (1, 1, 63_489), (1, 1, 0)):
        expect_errno(errno.EINVAL, vexabi.index_efforts, here, "index", bad)
    run(["mount", "-o", "remount,ro", fs.mnt])
    expect_equal(vexabi.index_verify(here, "index").reason, "", "what is wrong")
    expect_errno(errno.EROFS, vexabi.index_build, here, "index")
    expect_errno(errno.EROFS, vexabi.index_efforts, here, "index", (100, 100, 100))
    run(["mount", "-o", "remount,rw", fs.mnt])
    # Cursors can be anybody's.
    source = np.random.default_rng(1)
    for _ in range(50):
        words = [int(source.integers(1 << 63)) >> int(source.integers(63)) for _ in range(4)]
        words[0] %= 3
        fields = (vexabi.name_field("index"), *words, 3, 0, *[0] * 6, b"")
        out = vexabi.on(here, vexabi.INDEX_VERIFY, *fields)
        expect_equal(out[13].rstrip(b"\0"), b"", "what is wrong, from any place")


if __name__ == "__main__":
    sys.exit(suite.main())
