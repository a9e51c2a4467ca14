#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Vectors live and die with their files: unlink, rename, truncate, copy, xattrs, space."""

import errno
import os
import subprocess
import sys

import numpy as np

import vexabi
from guest import MIB, Suite, drop_caches, expect, expect_equal, expect_errno, run

DIM = 4
# How much of the device is searched for erased bytes: an empty filesystem fills from there.
SCANNED = 512 * MIB

suite = Suite("vectors_lifecycle", only="vexfs")


def row(number):
    """A vector that only this number has."""
    return np.array([number, 1, number % 7, -number], dtype="<f4")


def shown(here, name):
    """The paths that a search for everything finds, relative to the test's folder."""
    hits = vexabi.search(here, name, row(0)[None, :], 10_000)[0]
    prefix = here.name + "/"
    return sorted(hit.path.removeprefix(prefix) for hit in hits)


def with_vector(path, name, number):
    """A new file with a record."""
    path.write_text(f"file {number}")
    vexabi.put(path, name, row(number))


@suite.test
def unlink(fs, here):
    """The last unlink takes the records with it; one of several links takes nothing."""
    vexabi.index_create(here, "unlink", DIM)
    for number in range(5):
        with_vector(here / f"f{number}", "unlink", number)
    os.unlink(here / "f1")
    expect_equal(shown(here, "unlink"), ["f0", "f2", "f3", "f4"], "after unlink")
    os.link(here / "f2", here / "other")
    os.unlink(here / "f2")
    expect_equal(shown(here, "unlink"), ["f0", "f3", "f4", "other"], "one link left")
    os.unlink(here / "other")
    expect_equal(shown(here, "unlink"), ["f0", "f3", "f4"], "no link left")
    expect_equal(vexabi.index_info(here, "unlink").records, 3, "records")
    fs.cycle()
    expect_equal(shown(here, "unlink"), ["f0", "f3", "f4"], "after a remount")
    vexabi.index_drop(here, "unlink")


@suite.test
def unlink_while_open(fs, here):
    """A file that is unlinked and still open is in no search, and keeps no record after."""
    vexabi.index_create(here, "open", DIM)
    with_vector(here / "file", "open", 1)
    with open(here / "file", "rb+") as file:
        os.unlink(here / "file")
        expect_equal(shown(here, "open"), [], "hits")
        data, address = vexabi.memory(row(2).tobytes())
        fields = (b"open", 0, 0, address, DIM * 4, 0)
        # The kernel may refuse a further record or let it die with the file.
        try:
            vexabi.call(file.fileno(), vexabi.PUT, *fields)
        except OSError as error:
            expect_equal(error.errno, errno.ENOENT, "errno of a put without a name")
        del data
        expect_equal(shown(here, "open"), [], "hits after a put")
    fs.cycle()
    expect_equal(vexabi.index_info(here, "open").records, 0, "records")
    vexabi.index_drop(here, "open")


@suite.test
def replacing_rename(fs, here):
    """rename over a file deletes the records of the one that is replaced, and no others."""
    vexabi.index_create(here, "rename", DIM)
    with_vector(here / "old", "rename", 1)
    with_vector(here / "new", "rename", 2)
    os.rename(here / "new", here / "old")
    expect_equal(shown(here, "rename"), ["old"], "hits")
    expect_equal(vexabi.get(here / "old", "rename")[0], row(2).tobytes(), "record")
    (here / "plain").write_text("no vector")
    os.rename(here / "plain", here / "old")
    fs.cycle()
    expect_equal(shown(here, "rename"), [], "hits after the second rename")
    expect_equal(vexabi.index_info(here, "rename").records, 0, "records")
    vexabi.index_drop(here, "rename")


@suite.test
def truncate_to_nothing(fs, here):
    """Truncating the file to nothing deletes its records, O_TRUNC as well; to less keeps them."""
    vexabi.index_create(here, "truncate", DIM)
    for name in ("shorter", "truncated", "opened"):
        (here / name).write_text("x" * 10_000)
        vexabi.put(here / name, "truncate", row(1))
    os.truncate(here / "shorter", 1)
    os.truncate(here / "truncated", 0)
    os.close(os.open(here / "opened", os.O_WRONLY | os.O_TRUNC))
    expect_equal(shown(here, "truncate"), ["shorter"], "hits")
    vexabi.put(here / "truncated", "truncate", row(5))
    expect_equal(shown(here, "truncate"), ["shorter", "truncated"], "a new record")
    # It is empty already, but truncating it to nothing means the same.
    os.truncate(here / "truncated", 0)
    expect_equal(shown(here, "truncate"), ["shorter"], "records of an empty file")
    vexabi.put(here / "truncated", "truncate", row(5))
    fs.cycle()
    expect_equal(shown(here, "truncate"), ["shorter", "truncated"], "after a remount")
    expect_equal(vexabi.index_info(here, "truncate").records, 2, "records")
    vexabi.index_drop(here, "truncate")


@suite.test
def remove_tree(fs, here):
    """rm -r of a tree with thousands of records leaves none, and their space is free again."""
    vexabi.index_create(here, "tree", DIM)
    (here / "keep").write_text("text")
    vexabi.put(here / "keep", "tree", row(9_999))
    before = fs.free()
    for folder in range(20):
        (here / f"d{folder}").mkdir()
        for number in range(100):
            with_vector(here / f"d{folder}" / f"f{number}", "tree", number)
    expect_equal(vexabi.index_info(here, "tree").records, 2001, "records")
    for folder in range(20):
        run(["rm", "-r", here / f"d{folder}"])
    expect_equal(shown(here, "tree"), ["keep"], "hits")
    fs.cycle()
    expect_equal(shown(here, "tree"), ["keep"], "hits after a remount")
    expect_equal(vexabi.index_info(here, "tree").records, 1, "records at the end")
    vexabi.index_drop(here, "tree")
    # The baseline was taken with a record, and so with a segment, that is gone now.
    after = fs.free()
    expect(after[0] >= before[0], f"free blocks {after[0]}, before {before[0]}")


@suite.test
def dropped_index_frees(fs, here):
    """Dropping an index gives its space back and leaves other indexes of the same files alone."""
    vexabi.index_create(here, "stays", DIM)
    path = here / "file"
    with_vector(path, "stays", 1)
    before = fs.free()
    vexabi.index_create(here, "goes", 384)
    rows = np.ones((3000, 384), dtype="<f4")
    with open(path, "rb+") as file:
        records = [(number, 0, vexabi.THIS_FILE) for number in range(len(rows))]
        vexabi.put_many(file.fileno(), "goes", rows, records)
    taken = before[0] - fs.free()[0]
    expect(taken >= 3000 * 384 * 4 // 4096, f"the records take {taken} blocks")
    vexabi.index_drop(here, "goes")
    fs.expect_free(before, "after the drop")
    expect_equal(shown(here, "stays"), ["file"], "hits of the other index")
    fs.cycle()
    fs.expect_free(before, "after the drop and a remount")
    vexabi.index_drop(here, "stays")


@suite.test
def erased(fs, here):
    """The bytes of deleted vectors are nowhere but in the journal's old copies.

    By a single delete, with the last record of a segment, with the file, with the index.
    """
    marker = b"thirty-two bytes of a vector ..."
    path = here / "file"
    neighbour = here / "neighbour"

    def neighbours():
        neighbour.write_text("text")
        vexabi.put(neighbour, "secret", row(1).tobytes() * 2)

    ways = {
        "delete beside others": (neighbours, lambda: vexabi.delete(path, "secret")),
        "delete of the last": (None, lambda: vexabi.delete(path, "secret")),
        "unlink beside others": (neighbours, lambda: os.unlink(path)),
        "unlink of the last": (None, lambda: os.unlink(path)),
        "truncation": (None, lambda: os.truncate(path, 0)),
        "drop": (None, lambda: vexabi.index_drop(here, "secret")),
    }
    for way, (prepare, end) in ways.items():
        vexabi.index_create(here, "secret", len(marker) // 4)
        path.write_text("text")
        if prepare:
            prepare()
        for label in range(40):
            vexabi.put(path, "secret", marker, label=label)
        expect_equal(vexabi.get(path, "secret")[0], marker, f"{way}: record")
        fs.cycle()
        before = occurrences(fs, marker)
        expect(len(before) >= 40, f"{way}: {len(before)} copies on the device: the test is wrong")
        for label in range(1, 40):
            vexabi.delete(path, "secret", label=label)
        end()
        fs.cycle()
        after = occurrences(fs, marker)
        suite.note(f"{way}: {len(before)} copies before, {len(after)} after")
        # What is left are the journal's copies, which are overwritten in time: the log lies in
        # front of all segments, so the place of the last copy of all tells.
        expect(not [at for at in before[-40:] if at in after], f"{way}: bytes are left")
        path.unlink(missing_ok=True)
        neighbour.unlink(missing_ok=True)
        if way != "drop":
            vexabi.index_drop(here, "secret")


def occurrences(fs, marker):
    """Where the bytes stand at the device's beginning, read through a cold cache."""
    drop_caches()
    places = []
    with open(fs.device, "rb", buffering=0) as device:
        for start in range(0, SCANNED, 4 * MIB):
            # Pieces overlap, so that no place is missed at their borders.
            piece = os.pread(device.fileno(), 4 * MIB + len(marker) - 1, start)
            at = piece.find(marker)
            while at >= 0:
                places.append(start + at)
                at = piece.find(marker, at + 1)
    return places


@suite.test
def xattr_view(fs, here):
    """user.vexfs.<index> is the record with label 0: set, read, listed, replaced, removed."""
    vexabi.index_create(here, "view", DIM)
    name = "user.vexfs.view"
    path = here / "file"
    path.write_text("text")
    expect_errno(errno.ENODATA, os.getxattr, path, name)
    expect_errno(errno.ENODATA, os.removexattr, path, name)
    os.setxattr(path, name, row(3).tobytes())
    expect_equal(vexabi.get(path, "view")[0], row(3).tobytes(), "record")
    expect_equal(os.getxattr(path, name), row(3).tobytes(), "attribute")
    expect(name in os.listxattr(path), "the attribute is not listed")
    os.setxattr(path, "user.other", b"1")
    expect_equal(sorted(os.listxattr(path)), ["user.other", name], "list")
    expect_errno(errno.EEXIST, os.setxattr, path, name, row(4).tobytes(), os.XATTR_CREATE)
    os.setxattr(path, name, row(4).tobytes(), os.XATTR_REPLACE)
    fs.cycle()
    expect_equal(os.getxattr(path, name), row(4).tobytes(), "attribute, remounted")
    vexabi.put(path, "view", row(5))
    expect_equal(os.getxattr(path, name), row(5).tobytes(), "attribute after a put")
    os.removexattr(path, name)
    expect_equal(shown(here, "view"), [], "hits")
    expect_errno(errno.ENOENT, vexabi.get, path, "view")
    expect(name not in os.listxattr(path), "the attribute is still listed")
    expect_errno(errno.EINVAL, os.setxattr, path, name, row(3).tobytes()[:-1])
    expect_errno(errno.EINVAL, os.setxattr, path, name, b"\0\0\xc0\x7f" * DIM)
    expect_errno(
        (errno.ENOENT, errno.ENODATA, errno.EOPNOTSUPP, errno.EINVAL),
        os.setxattr,
        path,
        "user.vexfs.no-such-index",
        row(3).tobytes(),
    )
    vexabi.index_drop(here, "view")


@suite.test
def copies_carry_vectors(fs, here):
    """cp -a and tar --xattrs carry vectors without knowing of them; a plain cp does not."""
    vexabi.index_create(here, "copy", DIM)
    (here / "from").mkdir()
    for number in range(10):
        with_vector(here / "from" / f"f{number}", "copy", number)
    run(["cp", "-a", here / "from", here / "copied"])
    run(["cp", "-r", here / "from", here / "plain"])
    run(["tar", "-C", here, "--xattrs", "-cf", here / "archive.tar", "from"])
    (here / "unpacked").mkdir()
    # tar restores user.* attributes by itself, others only when told to.
    run(["tar", "-C", here / "unpacked", "--xattrs", "-xf", here / "archive.tar"])
    expected = [
        f"{top}/f{n}" for top in ("copied", "from", "unpacked/from") for n in range(10)
    ]
    expect_equal(shown(here, "copy"), sorted(expected), "hits")
    for number in range(10):
        stored = vexabi.get(here / "copied" / f"f{number}", "copy")[0]
        expect_equal(stored, row(number).tobytes(), "record of a copy")
    rsync = subprocess.run(["rsync", "--version"], capture_output=True, check=False)
    if rsync.returncode == 0:
        run(["rsync", "-aX", f"{here}/from/", f"{here}/synced/"])
        stored = vexabi.get(here / "synced" / "f7", "copy")[0]
        expect_equal(stored, row(7).tobytes(), "record of a file that rsync copied")
    vexabi.index_drop(here, "copy")


@suite.test
def churn(fs, here):
    """3,000 random puts, deletes, unlinks and renames against a model, with remounts."""
    source = np.random.default_rng(4)
    vexabi.index_create(here, "churn", DIM)
    model = {}

    def compare(when):
        hits = vexabi.search(here, "churn", row(0)[None, :], 10_000)[0]
        found = {
            (hit.path.removeprefix(here.name + "/"), hit.label): hit.tag for hit in hits
        }
        expect_equal(len(hits), len(found), f"{when}: hits that are different")
        expect_equal(sorted(found.items() ^ model.items())[:5], [], f"{when}: differences")
        records = vexabi.index_info(here, "churn").records
        expect_equal(records, len(model), f"{when}: records")

    for step in range(3000):
        name = f"f{source.integers(40)}"
        path = here / name
        label = int(source.integers(10))
        action = source.random()
        if action < 0.6:
            path.touch()
            vexabi.put(path, "churn", row(step), label=label, tag=step)
            model[(name, label)] = step
        elif action < 0.8 and (name, label) in model:
            vexabi.delete(path, "churn", label=label)
            del model[(name, label)]
        elif action < 0.9 and path.exists():
            path.unlink()
            model = {key: tag for key, tag in model.items() if key[0] != name}
        elif path.exists():
            target = f"f{source.integers(40)}"
            if target != name:
                os.rename(path, here / target)
                model = {
                    (target if key[0] == name else key[0], key[1]): tag
                    for key, tag in model.items()
                    if key[0] != target
                }
        if step % 600 == 599:
            compare(f"step {step}")
            fs.cycle()
            compare(f"step {step}, remounted")
    vexabi.index_drop(here, "churn")


if __name__ == "__main__":
    sys.exit(suite.main())
