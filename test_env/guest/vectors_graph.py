#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Indexes that were optimised while their filesystem was not mounted: the kernel changes them, answers rightly, and erases what records leave in their graphs."""

import json
import os
import sys
import time
from pathlib import Path

import numpy as np

import vexabi
from guest import Suite, expect, expect_equal, run
from vectors_tools import hit_lists
from vectors_tree import clusters, good, recall, store

DIM = 24
RECORDS = 4000
# Records that a graph lists beside its nodes.
LISTED = 496
# A worker looks every five seconds, and erases little a minute late.
PATIENCE = 200

suite = Suite("vectors_graph", only="vexfs")


def optimised(fs, here, name, seed):
    """An index with a graph, on a mount; returns its rows and queries."""
    rows, queries = clusters(seed, RECORDS, DIM)
    vexabi.index_create(here, name, DIM)
    store(here, name, rows)
    without_kernel(fs, lambda: vexctl(fs, "optimize", name))
    return rows, queries


def vexctl(fs, command, name):
    """The JSON of a command for an index of the device, which is not mounted."""
    return json.loads(run(["vexctl", "--json", "--img", fs.device, "index", command, "/", name]))


def without_kernel(fs, action):
    """What an action on the device gives while it is not mounted; fsck has to be content."""
    fs.unmount()
    fs.fsck()
    result = action()
    fs.fsck()
    fs.mount()
    return result


def graph(fs, name):
    """What is known of a graph; `None` if there is none."""
    return without_kernel(fs, lambda: vexctl(fs, "info", name)).get("graph")


def found_alone(fs, name, queries, k=10):
    """The part of the exact answers that the graph gives, while the filesystem is not mounted."""
    questions = Path("/tmp/vectors_graph.npy")
    np.save(questions, queries)
    asked = ["vexctl", "--json", "--img", fs.device, "search", "/", name]
    asked += ["--npy", str(questions)]

    def hits(*how):
        lists = hit_lists(json.loads(run([*asked, "-k", str(k), *how])))
        return [{(path, label) for path, label, _ in hits} for hits in lists]

    def both():
        right, found = hits("--exact"), hits()
        same = sum(len(a & b) for a, b in zip(right, found))
        return same / sum(len(a) for a in right)

    return without_kernel(fs, both)


@suite.test
def answers_are_right_beside_changes(fs, here):
    """Records put, replaced and deleted by the kernel; it searches the tree, and vexctl the graph afterwards."""
    rows, queries = optimised(fs, here, "changes", 1)
    state = graph(fs, "changes")
    expect_equal((state["state"], state["nodes"]), ("in use", RECORDS), "graph")
    good(here, "changes", queries, "optimised")
    expect_equal(recall(here, "changes", queries, 10, probes=1 << 31), 1.0, "all leaves")
    more, _ = clusters(7, 300, DIM)
    store(here, "changes", more[:200], first=RECORDS)
    # In place of others.
    store(here, "changes", more[200:], first=0)
    for label in range(200, 260):
        vexabi.delete(here / f"changes-{label % 20}", "changes", label)
    good(here, "changes", queries, "changed")
    state = graph(fs, "changes")
    # A sweep may have begun; nodes and fresh records are counted exactly.
    expect_equal(
        (state["state"], state["nodes"], state["fresh"]),
        ("in use", RECORDS - 100 - 60, 300),
        "graph",
    )
    part = found_alone(fs, "changes", queries)
    suite.note(f"vexctl finds {part:.3f} by the graph")
    expect(part >= 0.9, f"recall {part}")
    vexabi.index_drop(here, "changes")


@suite.test
def what_records_leave_is_erased(fs, here):
    """By the worker of the mount, without anybody asking for it."""
    rows, queries = optimised(fs, here, "swept", 2)
    for label in range(0, RECORDS, 4):
        vexabi.delete(here / f"swept-{label % 20}", "swept", label)
    deadline = time.monotonic() + PATIENCE
    while (state := graph(fs, "swept"))["gone"] != 0:
        expect(time.monotonic() < deadline, f"{state}")
        # The mount begins anew each time, and needs some looks.
        time.sleep(20)
    expect_equal(state["nodes"], RECORDS - RECORDS // 4, "nodes")
    good(here, "swept", queries, "swept")
    part = found_alone(fs, "swept", queries)
    suite.note(f"vexctl finds {part:.3f} by the graph")
    expect(part >= 0.9, f"recall {part}")
    vexabi.index_drop(here, "swept")


@suite.test
def a_graph_that_is_outdated_is_freed(fs, here):
    """After more records than it lists; the answers stay what they are."""
    rows, queries = optimised(fs, here, "outdated", 3)
    more, _ = clusters(8, LISTED + 1, DIM)
    store(here, "outdated", more, first=RECORDS)
    good(here, "outdated", queries, "outdated")
    deadline = time.monotonic() + PATIENCE
    while (state := graph(fs, "outdated")) is not None:
        expect(state["state"] in ("outdated", "being freed"), f"{state}")
        expect(time.monotonic() < deadline, f"{state}")
        time.sleep(20)
    good(here, "outdated", queries, "freed")
    # Optimised again, by a filesystem that has been changed by the kernel.
    without_kernel(fs, lambda: vexctl(fs, "optimize", "outdated"))
    part = found_alone(fs, "outdated", queries)
    suite.note(f"vexctl finds {part:.3f} by the graph")
    expect(part >= 0.9, f"recall {part}")
    vexabi.index_drop(here, "outdated")


@suite.test
def files_go_with_their_nodes(fs, here):
    """Unlinked files' records, and an index dropped with its graph: all space comes back."""
    free = fs.free()
    rows, queries = optimised(fs, here, "files", 4)
    for number in range(10):
        os.unlink(here / f"files-{number}")
    good(here, "files", queries, "half of the files unlinked")
    state = graph(fs, "files")
    expect_equal(state["nodes"], RECORDS // 2, "nodes")
    vexabi.index_drop(here, "files")
    for number in range(10, 20):
        os.unlink(here / f"files-{number}")
    fs.expect_free(free, "after dropping an optimised index")


if __name__ == "__main__":
    sys.exit(suite.main())
