#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Search through the ioctl ABI against a brute force in numpy, and what a search may show to whom."""

import errno
import math
import os
import sys

import numpy as np

import vexabi
from guest import Suite, as_user, expect, expect_equal, expect_errno

ALICE = 4001
BOB = 4002
TEAM = 4100
RELATIVE = 1e-5

suite = Suite("vectors_search", only="vexfs")


def distances(metric, rows, query):
    """Distances of all rows from a query, in binary64 (docs/decisions/010)."""
    rows, query = rows.astype(np.float64), query.astype(np.float64)
    if metric == "l2":
        return ((rows - query) ** 2).sum(axis=1)
    products = rows @ query
    if metric == "dot":
        return -products
    return 1.0 - products / (np.linalg.norm(rows, axis=1) * np.linalg.norm(query))


def expect_nearest(hits, metric, rows, query, k, keys):
    """Fail unless the hits are the k nearest rows; `keys` are the (inode, label) of the rows.

    Equal distances go by inode and label. Where our sums and theirs might order two
    rows differently, because the distances agree to the last digits, either order will do.
    """
    expected = distances(metric, rows, query)
    order = sorted(range(len(rows)), key=lambda row: (expected[row], keys[row]))[:k]
    expect_equal(len(hits), len(order), f"{metric}: number of hits")
    row_of = {key: row for row, key in enumerate(keys)}
    expect_equal(len({(hit.inode, hit.label) for hit in hits}), len(hits), "different hits")
    for position, (hit, row) in enumerate(zip(hits, order)):
        found = row_of.get((hit.inode, hit.label))
        expect(found is not None, f"{metric}, hit {position}: no such record: {hit}")
        scale = max(abs(expected[found]), 1e-10)
        expect(
            abs(hit.distance - expected[found]) <= RELATIVE * scale,
            f"{metric}, hit {position}: distance {hit.distance!r}, "
            f"brute force {expected[found]!r}",
        )
        expect(
            found == row or abs(expected[found] - expected[row]) <= 1e-12 * scale,
            f"{metric}, hit {position}: row {found} at {expected[found]!r}, "
            f"brute force row {row} at {expected[row]!r}",
        )


def store(here, name, rows, files=10):
    """Spread the rows over some files; returns their (inode, label)."""
    keys = []
    opened = []
    for number in range(files):
        path = here / f"{name}-{number}"
        path.touch()
        opened.append(os.open(path, os.O_RDWR))
    inodes = [os.fstat(descriptor).st_ino for descriptor in opened]
    records = []
    for row in range(len(rows)):
        file = row * files // len(rows)
        records.append((row, row + 1, opened[file]))
        keys.append((inodes[file], row))
    folder = os.open(here, os.O_RDONLY)
    for start in range(0, len(rows), 5000):
        done = vexabi.put_many(
            folder, name, rows[start : start + 5000], records[start : start + 5000]
        )
        expect_equal(done, len(records[start : start + 5000]), "records stored")
    for descriptor in [folder, *opened]:
        os.close(descriptor)
    return keys


@suite.test
def against_brute_force(fs, here):
    """3,000 random vectors under each metric, at odd and even dimensions, warm and remounted."""
    source = np.random.default_rng(1)
    stored = {}
    for metric in vexabi.METRICS:
        for dim in (1, 3, 16, 17, 100, 384):
            name = f"{metric}{dim}"
            rows = source.standard_normal((3000, dim)).astype("<f4")
            queries = source.standard_normal((5, dim)).astype("<f4")
            vexabi.index_create(here, name, dim, metric)
            keys = store(here, name, rows)
            stored[name] = (metric, rows, queries, keys)
    for when in ("warm", "remounted"):
        for name, (metric, rows, queries, keys) in stored.items():
            answers = vexabi.search(here, name, queries, 50)
            expect_equal(len(answers), 5, "answers")
            for query, hits in zip(queries, answers):
                expect_nearest(hits, metric, rows, query, 50, keys)
                expect(
                    all(hit.tag == hit.label + 1 for hit in hits), f"{when}: tags differ"
                )
        if when == "warm":
            fs.cycle()
    for name in stored:
        vexabi.index_drop(here, name)


@suite.test
def element_types(fs, here):
    """binary16, signed bytes and bits, against a brute force; and what they do not take."""
    source = np.random.default_rng(4)
    floats = source.standard_normal((1000, 45))
    for metric in vexabi.METRICS:
        for name, element, rows in (
            ("f16", vexabi.F16, floats.astype("<f2")),
            ("i8", vexabi.I8, np.clip(floats * 50, -128, 127).astype("i1")),
        ):
            vexabi.index_create(here, name, 45, metric, element=element)
            keys = store(here, name, rows)
            answers = vexabi.search(here, name, rows[:4], 30)
            for query, hits in zip(rows[:4], answers):
                expect_nearest(hits, metric, rows, query, 30, keys)
            vexabi.index_drop(here, name)
    bits = (floats > 0).astype("u1")
    packed = np.packbits(bits, axis=1, bitorder="little")
    vexabi.index_create(here, "bits", 45, vexabi.HAMMING, element=vexabi.BINARY)
    keys = store(here, "bits", packed)
    for query, hits in zip(bits[:4], vexabi.search(here, "bits", packed[:4], 30)):
        differ = (bits != query).sum(axis=1)
        order = sorted(range(len(bits)), key=lambda row: (differ[row], keys[row]))[:30]
        expect_equal(
            [(hit.inode, hit.label, hit.distance) for hit in hits],
            [(*keys[row], float(differ[row])) for row in order],
            "hits by hamming",
        )
    path = here / "bits-0"
    expect_errno(errno.EINVAL, vexabi.put, path, "bits", b"\0" * 5 + b"\x20")
    expect_errno(errno.EINVAL, vexabi.put, path, "bits", b"\0" * 5)
    vexabi.index_drop(here, "bits")
    vexabi.index_create(here, "f16", 2, "cosine", element=vexabi.F16)
    for wrong in (b"\0\x7c\0\0", b"\0\0\1\x7e", b"\0\0\0\x80"):
        expect_errno(errno.EINVAL, vexabi.put, path, "f16", wrong)
    vexabi.index_drop(here, "f16")


@suite.test
def unusual_values(fs, here):
    """Huge and tiny elements, equal vectors and the query itself; ties go by inode and label."""
    vexabi.index_create(here, "unusual", 4, "l2")
    rows = np.array(
        [
            [0, 0, 0, 0],
            [3e38, 3e38, 3e38, 3e38],
            [-3e38, 3e38, -3e38, 3e38],
            [1e-40, 0, 0, 0],
            [1e-45, 1e-45, 0, 0],
            [1, 1, 1, 1],
            [1, 1, 1, 1],
            [1, 1, 1, 1.0000001],
        ],
        dtype="<f4",
    )
    keys = store(here, "unusual", rows, files=2)
    for query in rows:
        (hits,) = vexabi.search(here, "unusual", query[None, :], len(rows))
        expect_nearest(hits, "l2", rows, query, len(rows), keys)
        expect_equal(hits[0].distance, 0.0, "distance of the query itself")
        expect(all(math.isfinite(hit.distance) for hit in hits), "a distance is infinite")
        order = [(hit.distance, hit.inode, hit.label) for hit in hits]
        expect_equal(order, sorted(order), "order of the hits")
    vexabi.index_drop(here, "unusual")


@suite.test
def any_k(fs, here):
    """k of one, of all, of more than all, and of the limit; of an empty index; beyond is refused."""
    vexabi.index_create(here, "many", 8, "dot")
    source = np.random.default_rng(2)
    query = source.standard_normal((1, 8)).astype("<f4")
    expect_equal(vexabi.search(here, "many", query, 10), [[]], "hits of an empty index")
    rows = source.standard_normal((10_500, 8)).astype("<f4")
    keys = store(here, "many", rows, files=3)
    for k in (1, 2, 999, 10_000):
        (hits,) = vexabi.search(here, "many", query, k)
        expect_nearest(hits, "dot", rows, query[0], k, keys)
    for k in (0, 10_001):
        expect_errno(errno.EINVAL, vexabi.search, here, "many", query, k, 100)
    vexabi.index_drop(here, "many")
    vexabi.index_create(here, "few", 8, "dot")
    keys = store(here, "few", rows[:7], files=1)
    (hits,) = vexabi.search(here, "few", query, 10_000)
    expect_nearest(hits, "dot", rows[:7], query[0], 7, keys)
    vexabi.index_drop(here, "few")


@suite.test
def batches(fs, here):
    """A batch of 200 queries answers each as a search of its own does."""
    vexabi.index_create(here, "batch", 20, "cosine")
    source = np.random.default_rng(3)
    rows = source.standard_normal((2000, 20)).astype("<f4")
    store(here, "batch", rows)
    queries = source.standard_normal((200, 20)).astype("<f4")
    together = vexabi.search(here, "batch", queries, 7)
    for number in range(0, 200, 9):
        (alone,) = vexabi.search(here, "batch", queries[number : number + 1], 7)
        expect_equal(together[number], alone, f"hits of query {number}")
    vexabi.index_drop(here, "batch")


@suite.test
def bad_queries(fs, here):
    """Queries that are no vectors of the index, too many of them, too little memory for paths."""
    vexabi.index_create(here, "bad", 3, "cosine")
    rows = np.eye(3, dtype="<f4")
    store(here, "bad", rows, files=3)

    def ask(elements, k=3, **keywords):
        query = np.array([elements], dtype="<f4")
        return vexabi.search(here, "bad", query, k, **keywords)

    expect_errno(errno.EINVAL, ask, [1, math.nan, 0])
    expect_errno(errno.EINVAL, ask, [1, math.inf, 0])
    expect_errno(errno.EINVAL, ask, [0, 0, 0])
    expect_errno(errno.EINVAL, ask, [1, 2])
    expect_errno(errno.EINVAL, ask, [1, 2, 3, 4])
    expect_errno(errno.ERANGE, ask, [1, 2, 3], paths_capacity=5)
    expect_errno(errno.ENOENT, vexabi.search, here, "none", rows, 3)
    expect_errno(errno.EINVAL, vexabi.search, here, "bad", np.ones((1025, 3), "<f4"), 1)
    expect_equal(len(ask([1, 2, 3])[0]), 3, "hits of a good query")
    vexabi.index_drop(here, "bad")


@suite.test
def paths(fs, here):
    """A hit carries the path of today: after renames of the file and of folders above it."""
    vexabi.index_create(here, "paths", 2)
    deep = here / "a" / ("long" * 50) / "b"
    deep.mkdir(parents=True)
    (deep / "file").write_text("text")
    vexabi.put(deep / "file", "paths", np.array([1, 2], dtype="<f4"))
    query = np.array([[1, 2]], dtype="<f4")

    def found():
        return vexabi.search(here, "paths", query, 5)[0][0].path

    def expect_path(path):
        expect_equal(found(), str(path.relative_to(fs.mnt)), "path")

    expect_path(deep / "file")
    os.rename(deep / "file", deep / "new name")
    expect_path(deep / "new name")
    os.rename(here / "a", here / "above")
    expect_path(here / "above" / ("long" * 50) / "b" / "new name")
    os.link(here / "above" / ("long" * 50) / "b" / "new name", here / "link")
    both = {str((here / "link").relative_to(fs.mnt)), found()}
    expect(found() in both, "the path is neither of the two links")
    os.unlink(here / "above" / ("long" * 50) / "b" / "new name")
    expect_path(here / "link")
    fs.cycle()
    expect_path(here / "link")
    vexabi.index_drop(here, "paths")


@suite.test
def second_user(fs, here):
    """Nobody is shown a file that he could not open, and the rest fills up what he asked for."""
    vexabi.index_create(here, "seen", 2, "l2", mode=0o644)
    folders = {
        "open": (0, 0, 0o755),
        "closed": (ALICE, ALICE, 0o700),
        "team": (ALICE, TEAM, 0o750),
        "listed-only": (ALICE, ALICE, 0o744),
        "passed-only": (ALICE, ALICE, 0o711),
    }
    inodes = {}
    for number in range(400):
        # The folders take turns, so that the nearest are of all kinds.
        folder = list(folders)[number % len(folders)]
        (here / folder).mkdir(exist_ok=True)
        path = here / folder / f"file{number}"
        path.write_text("text")
        # Of each folder's files every fourth cannot be read although the folder lets pass.
        path.chmod(0o600 if number // len(folders) % 4 == 3 else 0o644)
        os.chown(path, ALICE, ALICE)
        vexabi.put(path, "seen", np.array([number, 0], dtype="<f4"))
        inodes[path.stat().st_ino] = path
    for name, (uid, gid, mode) in folders.items():
        os.chown(here / name, uid, gid)
        (here / name).chmod(mode)
    query = np.zeros((1, 2), dtype="<f4")

    def shown(k):
        hits = vexabi.search(here, "seen", query, k)[0]
        numbers = [int(hit.distance**0.5 + 0.5) for hit in hits]
        for hit in hits:
            expect_equal(fs.mnt / hit.path, inodes[hit.inode], "path of the hit")
            os.close(os.open(fs.mnt / hit.path, os.O_RDONLY))
        return numbers

    def visible(*names):
        kinds = [list(folders).index(name) for name in names]
        return [n for n in range(400) if n % 5 in kinds and n // 5 % 4 != 3]

    expected = {
        "bob": visible("open", "passed-only"),
        "bob of the team": visible("open", "passed-only", "team"),
        "alice": list(range(400)),
    }
    for when in ("warm", "remounted"):
        for k in (1, 10, 60, 1000):
            expect_equal(shown(k), list(range(400))[:k], f"root, {when}, k={k}")
            for who, uid, groups in (
                ("bob", BOB, []),
                ("bob of the team", BOB, [TEAM]),
                ("alice", ALICE, []),
            ):
                found = as_user(uid, uid, lambda k=k: shown(k), groups)
                expect_equal(found, str(expected[who][:k]), f"{who}, {when}, k={k}")
        if when == "warm":
            fs.cycle()
    # A permission that is taken counts for the next search; one that is given, too.
    (here / "open").chmod(0o700)
    (here / "closed").chmod(0o755)
    found = as_user(BOB, BOB, lambda: shown(1000))
    expect_equal(found, str(visible("closed", "passed-only")), "bob after chmod")
    vexabi.index_drop(here, "seen")


@suite.test
def second_user_by_a_link(fs, here):
    """A file in a closed folder is shown to those whom another of its links lets in, by that path."""
    vexabi.index_create(here, "links", 2, mode=0o644)
    (here / "closed").mkdir()
    (here / "open").mkdir()
    (here / "closed" / "file").write_text("text")
    os.link(here / "closed" / "file", here / "open" / "way in")
    vexabi.put(here / "closed" / "file", "links", np.array([1, 2], dtype="<f4"))
    (here / "closed").chmod(0o700)
    query = np.array([[1, 2]], dtype="<f4")

    def shown():
        return [hit.path for hit in vexabi.search(here, "links", query, 5)[0]]

    inside = str((here / "open" / "way in").relative_to(fs.mnt))
    expect_equal(as_user(BOB, BOB, shown), str([inside]), "bob's hits")
    (here / "open").chmod(0o700)
    expect_equal(as_user(BOB, BOB, shown), "[]", "bob's hits with both closed")
    vexabi.index_drop(here, "links")


@suite.test
def closed_index(fs, here):
    """An index whose mode does not let a user read it is not searched for him."""
    vexabi.index_create(here, "closed", 2, mode=0o600)
    (here / "file").write_text("text")
    vexabi.put(here / "file", "closed", np.array([1, 2], dtype="<f4"))
    query = np.array([[1, 2]], dtype="<f4")

    def refused():
        expect_errno(errno.EACCES, vexabi.search, here, "closed", query, 5)

    as_user(BOB, BOB, refused)
    expect_equal(len(vexabi.search(here, "closed", query, 5)[0]), 1, "root's hits")
    vexabi.index_drop(here, "closed")


@suite.test
def counters(fs, here):
    """The statistics count indexes, records, queries and distances as they happen."""
    vexabi.index_create(here, "count", 4)
    rows = np.ones((100, 4), dtype="<f4")
    before = vexabi.stats(here)
    store(here, "count", rows, files=2)
    vexabi.search(here, "count", rows[:5], 3)
    after = vexabi.stats(here)
    expect_equal(after.records - before.records, 100, "records")
    expect_equal(after.puts - before.puts, 100, "puts")
    expect_equal(after.queries - before.queries, 5, "queries")
    expect_equal(after.distances - before.distances, 500, "distances")
    suite.note(f"counters: distance kernels of kind {after.isa}")
    vexabi.index_drop(here, "count")


if __name__ == "__main__":
    sys.exit(suite.main())
