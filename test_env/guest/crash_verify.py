#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""After a crash under crash_load.py: everything acknowledged is there, and nothing strange is.

    crash_verify.py SEED < acknowledgements

Mounts (which replays the journal), compares each worker's folder with the model, looks
whether a search finds exactly the records of the files that are there, unmounts and runs
fsck. Prints lines as the suites do.
"""

import argparse
import errno
import os
import sys

import vexabi
from crash_load import FOLDER, WORKERS
from crash_model import DIM, INDEX, File, consistent, operations
from guest import Failure, Filesystem, KernelLog, Suite, expect, expect_equal

# How many operations a worker may have done whose acknowledgement did not arrive.
UNHEARD = 20_000

suite = Suite("crash")


def read_acknowledgements(stream, seed):
    """The greatest number acknowledged by each worker."""
    done = dict.fromkeys(range(WORKERS), 0)
    for line in stream:
        words = line.split()
        # The last line may be cut off anywhere: only whole lines count.
        if not line.endswith("\n") or len(words) != 4 or words[:2] != ["ack", str(seed)]:
            continue
        worker, number = int(words[2]), int(words[3])
        done[worker] = max(done[worker], number)
    return done


def records_of(path):
    """All records of a file in the index, by label."""
    found = {}
    label = 0
    while True:
        try:
            row, _, label = vexabi.get(path, INDEX, label=label, flags=vexabi.GET_NEXT)
        except OSError as error:
            if error.errno == errno.ENOENT:
                return found
            raise
        found[label] = row
        label += 1


def read_state(folder, vectors):
    """What is in a worker's folder."""
    state = {}
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        with open(path, "rb") as stream:
            file = File(stream.read())
        if "user.crash" in os.listxattr(path):
            file.attribute = os.getxattr(path, "user.crash")
        if vectors:
            file.records = records_of(path)
        state[name] = file
    return state


def differences(found, expected):
    """The first differences of two states, for a reader."""
    said = []
    for name in sorted(found.keys() | expected.keys()):
        left, right = found.get(name), expected.get(name)
        if left == right:
            continue
        if left is None or right is None:
            said.append(f"{name} is {'missing' if left is None else 'there'}")
        elif left.data != right.data:
            said.append(f"{name} has {len(left.data)} bytes, {len(right.data)} expected")
        elif left.attribute != right.attribute:
            said.append(f"{name} has another attribute")
        else:
            labels = sorted(left.records), sorted(right.records)
            said.append(f"{name} has records {labels[0]}, {labels[1]} expected, or others")
    return "; ".join(said[:4])


def verify(folder, seed, worker, acknowledged, vectors):
    """Find the operation at which the worker stopped; returns its number."""
    found = read_state(folder, vectors)
    said = ""
    for operation, before, after in operations(seed, worker, vectors):
        if operation.number <= acknowledged:
            continue
        if consistent(found, before, after, operation):
            return operation.number
        if operation.number == acknowledged + 1:
            said = (
                f"next was {operation.kind} {operation.path}: {differences(found, before)}"
            )
        if operation.number > acknowledged + UNHEARD:
            raise Failure(f"worker {worker} after {acknowledged} acknowledged: {said}")
    raise AssertionError("the sequence has no end")


def search_agrees(fs):
    """A search for everything finds exactly the records that the files have."""
    expected = set()
    for worker in range(WORKERS):
        folder = fs.mnt / FOLDER / str(worker)
        for name in os.listdir(folder):
            path = folder / name
            inode = path.stat().st_ino
            where = str(path.relative_to(fs.mnt))
            expected |= {(inode, label, where) for label in records_of(path)}
    query = memoryview(bytes(DIM * 4)).cast("f", (1, DIM))
    hits = vexabi.search(fs.mnt, INDEX, query, 10_000)[0]
    found = {(hit.inode, hit.label, hit.path) for hit in hits}
    expect_equal(len(hits), len(found), "different hits")
    expect_equal(sorted(found ^ expected)[:5], [], "hits and records that differ")
    expect_equal(vexabi.index_info(fs.mnt, INDEX).records, len(found), "records counted")


def main():
    """Parse the command line and verify."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("seed", type=int, help="the seed that the load was given")
    options = parser.parse_args()
    acknowledged = read_acknowledgements(sys.stdin, options.seed)
    fs = Filesystem.from_environment()
    log = KernelLog()
    vectors = fs.fstype == "vexfs"

    def verify_worker(worker):
        folder = fs.mnt / FOLDER / str(worker)
        count = acknowledged[worker]
        expect(count > 0, "the worker acknowledged nothing: the guest was killed too early")
        stopped = verify(folder, options.seed, worker, count, vectors)
        unheard = stopped - 1 - count
        suite.note(f"worker {worker}: {count} acknowledged, {unheard} more found")

    def mount():
        fs.load()
        fs.mount()

    if suite.report("mount", mount):
        for worker in range(WORKERS):
            suite.report(f"worker{worker}", lambda worker=worker: verify_worker(worker))
        if vectors:
            suite.report("search", lambda: search_agrees(fs))
    suite.report("fsck", lambda: suite.finish(fs))
    suite.report("dmesg", lambda: suite.judge_log(log))
    print(f"# crash on {fs.fstype}: {suite.passed} passed, {suite.failed} failed")
    return 1 if suite.failed else 0


if __name__ == "__main__":
    sys.exit(main())
