#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""What searches keep in memory: it goes back when memory is wanted, and is never what a block was before."""

import os
import sys
import threading
from pathlib import Path

import numpy as np

import vexabi
from guest import Skip, Suite, end_of, expect, expect_equal, start_process

DIM = 256
ROWS = 6000
ALL = 1 << 31
KB = 1024
# Pages that the kernel itself holds on to: the last blocks that each processor looked up, the journal's.
NOISE_KB = 512

suite = Suite("vectors_memory", only="vexfs")


def rows_of(seed, count=ROWS):
    """Rows around some centres."""
    source = np.random.default_rng(seed)
    middle = source.standard_normal((20, DIM)) * 2
    rows = middle[source.integers(20, size=count)]
    return (rows + source.standard_normal(rows.shape)).astype("<f4")


def store(here, name, rows, first=0, file="records"):
    """Put the rows into an index, with one file."""
    path = here / file
    opened = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    for start in range(0, len(rows), 1000):
        part = rows[start : start + 1000]
        records = [(first + start + row, 0, opened) for row in range(len(part))]
        expect_equal(vexabi.put_many(opened, name, part, records), len(part), "records stored")
    os.close(opened)
    return path


def nearest(rows, queries, k):
    """The numbers of the nearest rows of each query, in order."""
    rows, queries = rows.astype(float), queries.astype(float)
    apart = ((rows**2).sum(1) - 2 * queries @ rows.T).tolist()
    # Not numpy's sort, whose vector registers an emulated processor gets wrong.
    return [[row for _, row in sorted(zip(each, range(len(each))))[:k]] for each in apart]


def labels(here, name, queries, k, **how):
    """Labels of the hits when every partition of the tree is looked at, but not every record."""
    answers = vexabi.search(here, name, queries, k, exact=False, **how)
    return [[hit.label for hit in hits] for hits in answers]


def buffers():
    """KiB in the page caches of block devices."""
    for line in Path("/proc/meminfo").read_text("ascii").splitlines():
        if line.startswith("Buffers:"):
            return int(line.split()[1])
    raise RuntimeError("no line on buffers in /proc/meminfo")


def drop(what):
    """Have the kernel drop page cache (1) or what its other caches hold (2)."""
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text(f"{what}\n", encoding="ascii")


def drop_all():
    """Everything. What was used lately survives the first time."""
    for _ in range(3):
        drop(2)
    drop(1)


@suite.test
def memory_comes_back(fs, here):
    """Blocks that searches keep stay when the page cache is dropped, and go when the kernel wants memory, or at unmount."""
    rows = rows_of(1)
    vexabi.index_create(here, "back", DIM)
    store(here, "back", rows)
    queries = rows[:: ROWS // 40]
    fs.cycle()
    drop_all()
    least = buffers()
    # Of nearly all partitions and records.
    found = labels(here, "back", queries, 200, probes=40)
    drop(1)
    held = buffers() - least
    drop_all()
    left = buffers() - least
    suite.note(f"{held} KiB held by searches, {left} KiB when all was dropped")
    size = ROWS * DIM * 4 // KB
    expect(held > size // 4, f"only {held} KiB of {size} were kept at hand")
    expect(left < NOISE_KB, f"{left} KiB did not come back")
    expect_equal(labels(here, "back", queries, 200, probes=40), found, "hits after that")
    fs.unmount()
    drop(1)
    expect(buffers() - least < NOISE_KB, "unmounting left blocks in memory")
    fs.mount()
    vexabi.index_drop(here, "back")


@suite.test
def other_use_of_blocks(fs, here):
    """Blocks that were kept for an index which is gone become files, another index, and files again."""
    source = np.random.default_rng(2)
    before = fs.free()
    for turn in range(3):
        rows = rows_of(10 + turn, 3000)
        queries = rows[:20]
        vexabi.index_create(here, "turn", DIM)
        path = store(here, "turn", rows)
        expected = nearest(rows, queries, 10)
        expect_equal(labels(here, "turn", queries, 10, probes=25), expected, f"turn {turn}")
        vexabi.index_drop(here, "turn")
        path.unlink()
        fs.expect_free(before, "after dropping the index")
        # The allocator goes on behind what it gave last: what was freed is reached when the disk has been gone round.
        contents = {}
        for number in range(8):
            data = source.bytes(8 * KB * KB)
            contents[here / f"file{number}"] = data
            (here / f"file{number}").write_bytes(data)
        drop(3)
        for name, data in contents.items():
            expect(name.read_bytes() == data, f"turn {turn}: {name} has other contents")
            name.unlink()
        fs.expect_free(before, "after the files")


@suite.test
def while_memory_is_dropped(fs, here):
    """Searches find what they should while a writer divides and empties partitions, and everything kept is dropped again and again."""
    rows = rows_of(3)
    far = (rows_of(4, 3000) + 100).astype("<f4")
    queries = rows[::150]
    expected = nearest(rows, queries, 10)
    vexabi.index_create(here, "dropped", DIM)
    store(here, "dropped", rows)
    ended = threading.Event()
    problems = []

    def until_the_end(action):
        def work():
            try:
                while not ended.is_set():
                    action()
            except BaseException as error:
                problems.append(repr(error))

        return threading.Thread(target=work)

    def write():
        path = store(here, "dropped", far, first=1 << 20, file="far")
        path.unlink()

    threads = [until_the_end(write), until_the_end(lambda: drop(3))]
    for thread in threads:
        thread.start()
    for _ in range(20):
        found = labels(here, "dropped", queries, 10, probes=40)
        same = sum(len(set(a) & set(b)) for a, b in zip(found, expected))
        if same < len(queries) * 10 * 0.98 or not all(row < ROWS for hits in found for row in hits):
            problems.append(f"{same} of {len(queries) * 10} hits")
            break
    ended.set()
    for thread in threads:
        thread.join()
    expect_equal(problems, [], "problems")
    # There may be more partitions now than are looked at.
    found = labels(here, "dropped", queries, 10, probes=40)
    same = sum(len(set(a) & set(b)) for a, b in zip(found, expected))
    expect(same >= len(queries) * 10 * 0.98, f"{same} of {len(queries) * 10} hits afterwards")
    vexabi.index_drop(here, "dropped")


@suite.test
def within_a_limit(fs, here):
    """Who may have less memory than the index is large searches all of it: what is kept counts as his, and is dropped for him."""
    controllers = Path("/sys/fs/cgroup/cgroup.controllers")
    if not controllers.exists() or "memory" not in controllers.read_text("ascii").split():
        raise Skip("no control group that limits memory is mounted here")
    Path("/sys/fs/cgroup/cgroup.subtree_control").write_text("+memory", encoding="ascii")
    group = Path("/sys/fs/cgroup/vexfs-memory")
    group.mkdir(exist_ok=True)
    rows = rows_of(5, 12_000)
    apart = 500
    queries = rows[::apart]
    vexabi.index_create(here, "limit", DIM)
    store(here, "limit", rows)
    fs.cycle()
    drop_all()
    size = len(rows) * DIM * 4

    def search():
        (group / "memory.max").write_text(str(size // 2), encoding="ascii")
        (group / "cgroup.procs").write_text(str(os.getpid()), encoding="ascii")
        found = []
        for query in queries:
            found += labels(here, "limit", query[None], 500, probes=60)
        wrong = sum(hits[0] != row for hits, row in zip(found, range(0, len(rows), apart)))
        expect_equal(wrong, 0, "queries that did not find themselves")
        return int((group / "memory.peak").read_text("ascii")) // KB

    good, said = end_of(start_process(search))
    expect(good, f"searching within {size // 2 // KB} KiB: {said}")
    suite.note(f"index of {size // KB} KiB, limit {size // 2 // KB} KiB, peak {said} KiB")
    events = (group / "memory.events").read_text("ascii").split()
    expect_equal(events[events.index("oom_kill") + 1], "0", "processes killed")
    group.rmdir()
    vexabi.index_drop(here, "limit")


if __name__ == "__main__":
    sys.exit(suite.main())
