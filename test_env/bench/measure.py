#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""A small workload on VexFS and, in the same boot, on what it is compared with.

Responsible for saying how VexFS does where kernel code runs at the machine's own speed:
vectors stored and searched through vexctl, beside numpy's brute force over the same
vectors in memory, and beside the same search in a process; files beside ext4. Contestants take turns; a line has the median of each
and their ratio. An absolute time means nothing in such a guest, and no time is judged:
what fails is a search that finds something else than the brute force.

VEXFS_DEV and PEER_DEV name two scratch devices, VEXFS_MNT and PEER_MNT where they are mounted.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

ROUNDS = 3
RECORDS, DIM, QUERIES, K = 20_000, 128, 100, 10
CLUSTERED_DIM = 384
FILES = 2000
LARGE = 128 << 20
PLACE = Path("/tmp/measure")


def run(*words):
    """A command that must succeed; its output."""
    return subprocess.run(
        [str(word) for word in words], check=True, capture_output=True, text=True
    ).stdout


def seconds(action):
    """How long an action takes."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def compare(what, peer_name, ours, peers, unit=1.0, called="s"):
    """Median times of both as rates or seconds, and the ratio."""
    mine, other = statistics.median(ours), statistics.median(peers)
    if unit == 1.0:
        shown = f"{mine:.3f} {called}, {peer_name} {other:.3f} {called}"
    else:
        shown = f"{unit / mine:.0f} {called}, {peer_name} {unit / other:.0f} {called}"
    print(f"{what}: VexFS {shown}; {other / mine:.2f} times as fast", flush=True)


def vectors(mnt):
    """Vectors stored one by one and all at once, and searched."""
    random = np.random.default_rng(1)
    base = random.standard_normal((RECORDS, DIM), dtype="<f4")
    queries = random.standard_normal((QUERIES, DIM), dtype="<f4")
    np.save(PLACE / "base.npy", base)
    np.save(PLACE / "queries.npy", queries)
    np.save(PLACE / "one.npy", base[:1])
    file = mnt / "vectors"
    file.touch()

    def brute_force():
        distances = (queries**2).sum(1)[:, None] - 2 * queries @ base.T + (base**2).sum(1)
        nearest = np.argpartition(distances, K, axis=1)[:, :K]
        order = np.take_along_axis(distances, nearest, axis=1).argsort(axis=1)
        return np.take_along_axis(nearest, order, axis=1)

    expected = brute_force()
    stored, saved, searched, forced, single, empty = [], [], [], [], [], []
    for number in range(ROUNDS):
        index = f"index{number}"
        run("vexctl", "index", "create", mnt, index, "--dim", DIM, "--metric", "l2")
        words = ("vexctl", "import", mnt, index, "--npy", PLACE / "base.npy", "--file", file)
        stored.append(seconds(lambda: run(*words) and os.sync()))
        saved.append(seconds(lambda: save(mnt / "plain.npy", base)))
        words = ("vexctl", "--json", "search", mnt, index, "--npy", PLACE / "queries.npy", "-k", K, "--exact")
        answers = []
        searched.append(seconds(lambda: answers.append(run(*words))))
        forced.append(seconds(brute_force))
        found = [[hit["label"] for hit in query["hits"]] for query in json.loads(answers[0])["queries"]]
        if not np.array_equal(np.array(found), expected):
            sys.exit("a search found something else than numpy did")
        words = ("vexctl", "put", file, index, "--npy", PLACE / "one.npy", "--label", RECORDS)
        single.append(seconds(lambda: run(*words)))
        empty.append(seconds(lambda: run("vexctl", "stat", mnt)))
    compare(f"{RECORDS} vectors of {DIM} imported, synced", "written to a file", stored, saved, RECORDS, "a second")
    compare(f"{QUERIES} searches among them, k {K}", "numpy in memory", searched, forced, QUERIES, "a second")
    compare("one vexctl put", "vexctl stat", single, empty)


def searches(mnt, device):
    """The same searches of one index by the kernel, and by vexctl in its own process over the unmounted device."""
    random = np.random.default_rng(2)
    middle = random.standard_normal((100, CLUSTERED_DIM)) * 0.7
    rows = middle[random.integers(100, size=RECORDS + 1000)]
    rows = (rows + random.standard_normal(rows.shape)).astype("<f4")
    np.save(PLACE / "clustered.npy", rows[1000:])
    np.save(PLACE / "near.npy", rows[:1000])
    index = "searched"
    (mnt / "clustered").touch()
    run("vexctl", "index", "create", mnt, index, "--dim", CLUSTERED_DIM, "--metric", "l2")
    run("vexctl", "import", mnt, index, "--npy", PLACE / "clustered.npy", "--file", mnt / "clustered")
    words = (index, "--npy", PLACE / "near.npy", "-k", K, "--seconds", "0.5")
    kernel, user, found = {}, {}, {}
    for _ in range(ROUNDS):
        for rates, command in (
            (kernel, ("vexctl", "--json", "bench", mnt, *words)),
            (user, ("vexctl", "--json", "--img", device, "bench", "/", *words)),
        ):
            if rates is user:
                run("umount", mnt)
            for effort in json.loads(run(*command))["efforts"]:
                name = effort["effort"]
                rates.setdefault(name, []).append(effort["rate"])
                found.setdefault(name, set()).add(effort["recall"])
        run("mount", "-t", "vexfs", device, mnt)
    for name, recalls in found.items():
        if len(recalls) != 1:
            sys.exit(f"{name}: the kernel found another part than vexctl did: {recalls}")
        mine, other = statistics.median(kernel[name]), statistics.median(user[name])
        print(
            f"{RECORDS} vectors of {CLUSTERED_DIM}, k {K}, {name} (recall {recalls.pop():.4f}): "
            f"kernel {mine:.0f} queries a second, the same engine in a process {other:.0f}; "
            f"{mine / other:.2f} times as fast",
            flush=True,
        )


def save(path, array):
    """The same bytes as a plain file."""
    with open(path, "wb") as file:
        np.save(file, array)
        file.flush()
        os.fsync(file.fileno())


def create(folder):
    """Many small files, synced."""
    folder.mkdir()
    for number in range(FILES):
        (folder / f"file{number}").write_bytes(b"x" * 1000)
    os.sync()


def write(path):
    """One large file, synced."""
    block = os.urandom(1 << 20)
    with open(path, "wb") as file:
        for _ in range(LARGE >> 20):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())


def read(path):
    """The large file, not from memory."""
    with open(path, "rb") as file:
        while file.read(1 << 20):
            pass


def forget():
    """Empty the caches."""
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3\n", encoding="ascii")


def files(mnt, peer):
    """Files on both."""
    kinds = {
        f"{FILES} files of 1000 bytes made, synced": (create, FILES, "a second"),
        f"{LARGE >> 20} MiB written, synced": (write, LARGE / 1e6, "MB/s"),
        f"{LARGE >> 20} MiB read from the device": (read, LARGE / 1e6, "MB/s"),
    }
    times = {what: ([], []) for what in kinds}
    for number in range(ROUNDS):
        for what, (action, _, _) in kinds.items():
            for side, root in enumerate((mnt, peer)):
                path = root / (f"folder{number}" if action is create else f"large{number}")
                forget()
                times[what][side].append(seconds(lambda: action(path)))
    for what, (_, unit, called) in kinds.items():
        compare(what, "ext4", *times[what], unit, called)


def main():
    """Make, mount and measure."""
    mnt, peer = Path(os.environ["VEXFS_MNT"]), Path(os.environ["PEER_MNT"])
    run("mkfs.vexfs", "--quiet", "--force", os.environ["VEXFS_DEV"])
    run("mke2fs", "-q", "-F", "-t", "ext4", "-E", "lazy_itable_init=0", os.environ["PEER_DEV"])
    PLACE.mkdir()
    peer.mkdir(exist_ok=True)
    run("mount", "-t", "vexfs", os.environ["VEXFS_DEV"], mnt)
    run("mount", "-t", "ext4", os.environ["PEER_DEV"], peer)
    vectors(mnt)
    searches(mnt, os.environ["VEXFS_DEV"])
    files(mnt, peer)
    run("umount", mnt, peer)
    run("fsck.vexfs", "-f", "-n", os.environ["VEXFS_DEV"])


if __name__ == "__main__":
    main()
