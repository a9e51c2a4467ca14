#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""The search tree: what it finds, beside changes of all kinds, for whom, and that it spares most of the work."""

import errno
import os
import sys
import threading
import time

import numpy as np

import vexabi
from guest import Suite, as_user, expect, expect_equal, expect_errno, run

BOB = 4003
DIM = 24
RECALL = 0.9

suite = Suite("vectors_tree", only="vexfs")


def clusters(seed, count, dim=DIM, centres=40):
    """Rows around some centres, and queries like them."""
    source = np.random.default_rng(seed)
    middle = source.standard_normal((centres, dim)) * 2
    rows = middle[source.integers(centres, size=count + 40)]
    rows = (rows + source.standard_normal(rows.shape)).astype("<f4")
    return rows[40:], rows[:40]


def store(here, name, rows, first=0, files=20):
    """Spread the rows over some files, with their numbers as labels; returns their file's number."""
    opened = []
    for number in range(files):
        path = here / f"{name}-{number}"
        opened.append(os.open(path, os.O_RDWR | os.O_CREAT, 0o644))
    records = [
        (first + row, first + row + 1, opened[row % files]) for row in range(len(rows))
    ]
    folder = os.open(here, os.O_RDONLY)
    for start in range(0, len(rows), 4000):
        part = slice(start, start + 4000)
        done = vexabi.put_many(folder, name, rows[part], records[part])
        expect_equal(done, len(records[part]), "records stored")
    for descriptor in [folder, *opened]:
        os.close(descriptor)


def recall(here, name, queries, k, **how):
    """The part of the exact answers that a search finds; what it finds must be right, whatever it misses."""
    exact = vexabi.search(here, name, queries, k)
    found = vexabi.search(here, name, queries, k, exact=False, **how)
    same = 0
    for right, hits in zip(exact, found):
        expect_equal(len(hits), len(right), "number of hits")
        expect_equal(
            [hit.distance for hit in hits],
            sorted(hit.distance for hit in hits),
            "order of the hits",
        )
        known = {(hit.inode, hit.label): hit for hit in right}
        expect_equal(len({(hit.inode, hit.label) for hit in hits}), len(hits), "different hits")
        for hit in hits:
            if (hit.inode, hit.label) in known:
                expect_equal(hit, known[(hit.inode, hit.label)], "hit")
                same += 1
            else:
                farthest = max(other.distance for other in right)
                expect(hit.distance >= farthest, f"nearer than the exact answer: {hit}")
    return same / sum(len(right) for right in exact)


def good(here, name, queries, when, k=10, **how):
    """Fail if the recall is low."""
    part = recall(here, name, queries, k, **how)
    suite.note(f"{when}: recall@{k} {part:.3f}")
    expect(part >= RECALL, f"{when}: recall {part}")


@suite.test
def finds_the_nearest(fs, here):
    """Under each metric, warm and remounted, with a fraction of the distances."""
    rows, queries = clusters(1, 8000)
    for metric in vexabi.METRICS:
        vexabi.index_create(here, metric, DIM, metric)
        store(here, metric, rows)
    for when in ("warm", "remounted"):
        for metric in vexabi.METRICS:
            good(here, metric, queries, f"{metric}, {when}")
            before = vexabi.stats(here).distances
            vexabi.search(here, metric, queries, 10, exact=False)
            spent = (vexabi.stats(here).distances - before) / len(queries)
            expect(spent < len(rows) / 20, f"{spent} distances for each query")
        if when == "warm":
            fs.cycle()
    few = recall(here, "l2", queries, 10, probes=1)
    many = recall(here, "l2", queries, 10, probes=20)
    suite.note(f"recall with 1 leaf {few:.3f}, with 20 {many:.3f}")
    expect(few < many, "more leaves do not find more")
    expect(many >= 0.98, f"recall with 20 leaves: {many}")
    expect_equal(recall(here, "l2", queries, 10, probes=1 << 31), 1.0, "with all leaves")
    expect_equal(recall(here, "l2", queries[:3], 7000), 1.0, "with k of nearly all records")
    expect_errno(
        errno.EINVAL, vexabi.search, here, "l2", queries, 10, exact=False, recall=10_001
    )
    for metric in vexabi.METRICS:
        vexabi.index_drop(here, metric)


@suite.test
def other_elements(fs, here):
    """binary16, bytes and bits."""
    rows, queries = clusters(2, 6000)
    for name, element, of in (
        ("f16", vexabi.F16, lambda x: x.astype("<f2")),
        ("i8", vexabi.I8, lambda x: np.clip(x * 20, -128, 127).astype("i1")),
    ):
        vexabi.index_create(here, name, DIM, "l2", element=element)
        store(here, name, of(rows))
        good(here, name, of(queries), name)
        vexabi.index_drop(here, name)
    source = np.random.default_rng(3)
    plain = source.integers(2, size=(30, 256))
    bits = plain[source.integers(30, size=6000)] ^ (source.random((6000, 256)) < 0.1)
    packed = np.packbits(bits, axis=1, bitorder="little").astype("u1")
    vexabi.index_create(here, "bits", 256, vexabi.HAMMING, element=vexabi.BINARY)
    store(here, "bits", packed)
    good(here, "bits", packed[:40], "bits", k=1)
    vexabi.index_drop(here, "bits")


@suite.test
def after_changes(fs, here):
    """Deleted records are never found, overwritten ones where they are now; emptied, the index gives its space back when it is dropped."""
    before = fs.free()
    rows, queries = clusters(4, 9000)
    vexabi.index_create(here, "changes", DIM)
    store(here, "changes", rows)
    good(here, "changes", queries, "stored")
    # Half of the files go; every third of the remaining records is moved.
    for number in range(0, 20, 2):
        (here / f"changes-{number}").unlink()
    moved, _ = clusters(5, 9000)
    for row in range(1, 9000, 6):
        vexabi.put(here / f"changes-{row % 20}", "changes", moved[row], label=row, tag=7)
    good(here, "changes", queries, "changed")
    good(here, "changes", moved[1:241:6], "where they are now")
    for hits in vexabi.search(here, "changes", queries, 50, exact=False):
        for hit in hits:
            expect(hit.label % 2 == 1, f"a deleted record: {hit}")
    fs.cycle()
    good(here, "changes", queries, "remounted")
    for number in range(1, 20, 2):
        vexabi.delete(here / f"changes-{number}", "changes", flags=vexabi.DELETE_ALL)
    expect_equal(vexabi.search(here, "changes", queries[:1], 5, exact=False), [[]], "hits")
    store(here, "changes", rows[:3000], files=3)
    good(here, "changes", queries, "filled again")
    vexabi.index_drop(here, "changes")
    for path in list(here.iterdir()):
        path.unlink()
    fs.expect_free(before, "after dropping the index")


@suite.test
def thin_partitions_go(fs, here):
    """What deletions leave of partitions is moved together in the background, and its space given back; freezing in between is not in its way."""
    rows, queries = clusters(8, 16000)
    vexabi.index_create(here, "thin", DIM)
    store(here, "thin", rows)
    size = 5  # blocks of a partition
    # Before anything is deleted: the background begins while there is still something to delete.
    free, many = fs.free()[0], vexabi.index_info(here, "thin").tree_partitions
    expect(many >= 90, f"only {many} partitions")
    for number in range(20):
        if number % 20 != 7:
            (here / f"thin-{number}").unlink()
    for attempt in range(60):
        time.sleep(2)
        # The 800 records that are left fill five or six.
        few = vexabi.index_info(here, "thin").tree_partitions
        if few <= many // 3:
            break
        if attempt % 5 == 4:
            run(["fsfreeze", "--freeze", fs.mnt])
            run(["fsfreeze", "--unfreeze", fs.mnt])
    suite.note(f"{many} partitions, {few} after {attempt * 2 + 2} s")
    expect(few <= many // 3, f"{few} of {many} partitions are left")
    came = fs.free()[0] - free
    expect(came >= (many - few) * size, f"only {came} blocks came back")
    good(here, "thin", queries, "with what is left")
    vexabi.index_drop(here, "thin")


@suite.test
def who_may_see_little(fs, here):
    """Somebody who may see every hundredth record has as many hits as he asked for, and only his own."""
    rows, queries = clusters(6, 8000)
    vexabi.index_create(here, "little", DIM, mode=0o644)
    store(here, "little", rows, files=100)
    for number in range(100):
        (here / f"little-{number}").chmod(0o600)
    os.chown(here / "little-42", BOB, BOB)
    own = [row for row in range(8000) if row % 100 == 42]

    def shown():
        answers = vexabi.search(here, "little", queries[:5], 20, exact=False)
        return [[hit.label for hit in hits] for hits in answers]

    expected = []
    for query in queries[:5].astype(float):
        apart = ((rows[own].astype(float) - query) ** 2).sum(axis=1).tolist()
        expected.append([row for _, row in sorted(zip(apart, own))[:20]])
    expect_equal(as_user(BOB, BOB, shown), str(expected), "bob's hits")
    vexabi.index_drop(here, "little")


@suite.test
def beside_a_writer(fs, here):
    """Searches while partitions are divided: always k hits, and the records that were there before are found."""
    rows, queries = clusters(7, 16000)
    vexabi.index_create(here, "beside", DIM)
    store(here, "beside", rows[:4000])
    problems = []

    def write():
        try:
            for start in range(4000, 16000, 400):
                store(here, "beside", rows[start : start + 400], first=start)
        except BaseException as error:
            problems.append(repr(error))

    writer = threading.Thread(target=write)
    writer.start()
    searches = 0
    while writer.is_alive():
        for hits in vexabi.search(here, "beside", rows[:20], 10, exact=False):
            expect_equal(len(hits), 10, "hits")
        searches += 1
    writer.join()
    expect_equal(problems, [], "problems of the writer")
    suite.note(f"{searches} searches of 20 queries beside the writer")
    good(here, "beside", queries, "afterwards")
    own = vexabi.search(here, "beside", rows[:200], 1, exact=False)
    same = sum(hits[0].label == row for row, hits in enumerate(own))
    expect(same >= 190, f"only {same} of 200 records are found by themselves")
    vexabi.index_drop(here, "beside")


if __name__ == "__main__":
    sys.exit(suite.main())
