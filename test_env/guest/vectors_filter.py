#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Searches with conditions, against a brute force over what meets them: labels, tags, owners, times, folders, distances."""

import ast
import errno
import heapq
import os
import sys

import numpy as np

import vexabi
from guest import Suite, as_user, expect, expect_equal, expect_errno

ALICE = 4011
BOB = 4012
DIM = 20
ROWS = 10_000
FILES = 100
DAY = 86_400

suite = Suite("vectors_filter", only="vexfs")


class Corpus:
    """Records in the files of ten folders, with tags, owners and times that follow from their numbers."""

    def __init__(self, here, name):
        self.here, self.name = here, name
        source = np.random.default_rng(11)
        middle = source.standard_normal((30, DIM)) * 2
        rows = middle[source.integers(30, size=ROWS + 30)]
        rows = (rows + source.standard_normal(rows.shape)).astype("<f4")
        self.rows, self.queries = rows[30:], rows[:30]
        vexabi.index_create(here, name, DIM, mode=0o644)
        opened = []
        for number in range(FILES):
            path = self.path(number)
            path.parent.mkdir(exist_ok=True)
            opened.append(os.open(path, os.O_RDWR | os.O_CREAT, 0o644))
        records = [(row, row * 7 % 256, opened[row % FILES]) for row in range(ROWS)]
        for start in range(0, ROWS, 5000):
            part = slice(start, start + 5000)
            done = vexabi.put_many(opened[0], name, self.rows[part], records[part])
            expect_equal(done, 5000, "records stored")
        for number, descriptor in enumerate(opened):
            os.close(descriptor)
            os.chown(self.path(number), ALICE if number % 4 == 0 else BOB, BOB)
            os.utime(self.path(number), ns=(0, (number * DAY + 1) * 10**9 - 1))

    def path(self, number):
        return self.here / f"folder{number % 10}" / f"file{number}"

    def apart(self, query):
        """Distances of all rows, as a list: where the guest is emulated, numpy's sorting with vector registers goes wrong, so Python sorts."""
        return ((self.rows.astype(float) - query.astype(float)) ** 2).sum(axis=1).tolist()

    def agree(self, what, found, right):
        """Fail unless the answers are the right ones; rows whose distances agree to the last digits may change places."""
        expect_equal(len(found), len(right), f"{what}: answers")
        for query, labels, expected in zip(self.queries, found, right):
            apart = self.apart(query)
            expect_equal(len(labels), len(expected), f"{what}: number of hits")
            expect_equal(len(set(labels)), len(labels), f"{what}: different hits")
            for position, (label, row) in enumerate(zip(labels, expected)):
                expect(
                    abs(apart[label] - apart[row]) <= 1e-12 * apart[row],
                    f"{what}, hit {position}: row {label} at {apart[label]}, "
                    f"brute force row {row} at {apart[row]}",
                )

    def expected(self, k, admits, farthest=np.inf):
        """For each query the labels of the nearest rows that meet a condition."""
        rows = [row for row in range(ROWS) if admits(row)]
        answers = []
        for query in self.queries:
            apart = self.apart(query)
            order = heapq.nsmallest(k, rows, key=apart.__getitem__)
            answers.append([row for row in order if apart[row] <= farthest])
        return answers

    def found(self, k, only, **how):
        answers = vexabi.search(self.here, self.name, self.queries, k, only=only, **how)
        return [[hit.label for hit in hits] for hits in answers]

    def compare(self, what, admits, only, k=10):
        """Exact search finds exactly what a brute force does; the other finds nearly all, never less than k and nothing else."""
        selected = sum(admits(row) for row in range(ROWS))
        right = self.expected(k, admits)
        found = self.found(k, only)
        expect(all(map(admits, sum(found, []))), f"{what}, exact: a hit that does not meet it")
        self.agree(f"{what}, exact", found, right)
        near = self.found(k, only, exact=False)
        same = 0
        for labels, expected in zip(near, right):
            expect_equal(len(labels), len(expected), f"{what}: number of hits")
            expect(all(admits(label) for label in labels), f"{what}: a hit that does not meet it")
            same += len(set(labels) & set(expected))
        part = same / max(1, sum(map(len, right)))
        suite.note(f"{what}: {selected / ROWS:.2%} of the records, recall@{k} {part:.3f}")
        expect(part >= 0.95, f"{what}: recall {part}")


@suite.test
def labels_and_tags(fs, here):
    """Conditions that a record answers itself, from all records down to one in a thousand, and none at all."""
    corpus = Corpus(here, "own")
    for least, greatest in ((0, ROWS), (1000, 1999), (5000, 5099), (42, 51), (77, 77)):
        only = vexabi.make_filter(label=(least, greatest))
        corpus.compare(f"labels {least}..{greatest}", lambda row: least <= row <= greatest, only)
    for mask, value in ((0, 0), (1, 1), (0x0F, 0x03), (0xFF, 0x80)):
        only = vexabi.make_filter(tag=(mask, value))
        corpus.compare(f"tag & {mask:#x} = {value:#x}", lambda row: row * 7 % 256 & mask == value, only)
    both = vexabi.make_filter(label=(100, 4999), tag=(3, 2))
    corpus.compare("both", lambda row: 100 <= row <= 4999 and row * 7 % 4 == 2, both)
    expect_equal(corpus.found(10, vexabi.make_filter(label=(ROWS, 2**64 - 1))), [[]] * 30, "none")
    vexabi.index_drop(here, "own")


@suite.test
def files(fs, here):
    """Conditions on owner, modification time and folder, warm and remounted; and after they changed."""
    corpus = Corpus(here, "files")
    folder = os.open(here / "folder3", os.O_RDONLY)
    for when in ("warm", "remounted"):
        corpus.compare(f"owner, {when}", lambda row: row % 4 == 0, vexabi.make_filter(uid=ALICE))
        # Whole seconds: a file of day n was modified in the last nanosecond of its second.
        times = vexabi.make_filter(mtime=(20 * DAY, 29 * DAY))
        corpus.compare(f"times, {when}", lambda row: 20 <= row % FILES <= 29, times)
        within = vexabi.make_filter(subtree=folder)
        corpus.compare(f"folder, {when}", lambda row: row % 10 == 3, within)
        all_of_it = vexabi.make_filter(uid=BOB, mtime=(0, 50 * DAY), subtree=folder, tag=(1, 1))
        corpus.compare(
            f"all together, {when}",
            lambda row: row % 10 == 3 and row % 4 != 0 and row % FILES <= 50 and row * 7 % 2 == 1,
            all_of_it,
        )
        if when == "warm":
            os.close(folder)
            fs.cycle()
            folder = os.open(here / "folder3", os.O_RDONLY)
    # A second name in the folder counts, and is the one that is shown.
    os.link(corpus.path(0), here / "folder3" / "also")
    inside = vexabi.make_filter(subtree=folder)
    corpus.compare("with a link", lambda row: row % 10 == 3 or row % FILES == 0, inside)
    for hits in vexabi.search(here, "files", corpus.queries, 50, only=inside):
        for hit in hits:
            expect("/folder3/" in f"/{hit.path}", f"path outside of the folder: {hit.path}")
    os.rename(corpus.path(13), here / "folder4" / "moved")
    corpus.compare(
        "after a rename",
        lambda row: (row % 10 == 3 and row % FILES != 13) or row % FILES == 0,
        inside,
    )
    os.close(folder)
    vexabi.index_drop(here, "files")


@suite.test
def within_a_distance(fs, here):
    """All records within a distance, as many as were asked for at most."""
    corpus = Corpus(here, "range")
    everything = lambda row: True
    for farthest in (0.0, 12.5, 20.0, 1e9):
        only = vexabi.make_filter(distance=farthest)
        right = corpus.expected(200, everything, farthest)
        corpus.agree(f"within {farthest}", corpus.found(200, only), right)
        near = corpus.found(200, only, exact=False)
        same = sum(len(set(a) & set(b)) for a, b in zip(near, right))
        wanted = sum(map(len, right))
        suite.note(f"within {farthest}: {wanted / 30:.1f} of 200 hits a query, {same} of {wanted} found")
        expect(same >= 0.95 * wanted, f"within {farthest}: {same} of {wanted}")
    vexabi.index_drop(here, "range")


@suite.test
def not_for_everybody(fs, here):
    """A condition shows nobody what he may not see, nor counts what he may not see."""
    corpus = Corpus(here, "rights")
    for number in range(FILES):
        corpus.path(number).chmod(0o600)
    only = vexabi.make_filter(label=(0, 999))
    expected = corpus.expected(10, lambda row: row < 1000 and row % 4 == 0)
    found = as_user(ALICE, ALICE, lambda: corpus.found(10, only, exact=False))
    found = ast.literal_eval(found)
    mine = all(label < 1000 and label % 4 == 0 for label in sum(found, []))
    expect(mine, "alice is shown what is not hers")
    corpus.agree("alice's hits", found, expected)
    others = vexabi.make_filter(uid=BOB)
    found = as_user(ALICE, ALICE, lambda: corpus.found(10, others, exact=False))
    expect_equal(found, str([[]] * 30), "bob's files for alice")
    vexabi.index_drop(here, "rights")


@suite.test
def refused(fs, here):
    """What is no condition."""
    vexabi.index_create(here, "refused", DIM)
    query = np.zeros((1, DIM), dtype="<f4")

    def search(only):
        return vexabi.search(here, "refused", query, 1, only=only)

    good = vexabi.make_filter(label=(0, 1))
    expect_equal(search(good), [[]], "hits")
    for bad, code in (
        (b"\1\0\0\0" + good[4:], errno.EINVAL),
        (b"\xff" + good[1:] + bytes(255), errno.E2BIG),
        (good[:4] + b"\x40" + good[5:], errno.EINVAL),
        (good[:-1] + b"\1", errno.EINVAL),
        (vexabi.make_filter(tag=(1, 2)), errno.EINVAL),
        (vexabi.make_filter(distance=float("nan")), errno.EINVAL),
        (vexabi.make_filter(subtree=-1), errno.EBADF),
    ):
        expect_errno(code, search, bad)
    (here / "file").touch()
    for path, code in ((here / "file", errno.ENOTDIR), ("/", errno.EXDEV)):
        other = os.open(path, os.O_RDONLY)
        expect_errno(code, search, vexabi.make_filter(subtree=other))
        os.close(other)
    vexabi.index_drop(here, "refused")


if __name__ == "__main__":
    sys.exit(suite.main())
