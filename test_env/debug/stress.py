#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Everything at once: processes that work on the same files while the mount is frozen,
thawed, synced and its caches dropped.

Responsible for bringing as many code paths as possible to run against each other, for the
kernel's checks to see their locks in every order. What operations return is judged only by
the errors that a race explains; the filesystem is checked at the end. No process waits for
another that a freeze could hold: the one that freezes touches nothing else of the mount.
VEXFS_STRESS is the number of steps of each process.
"""

import errno
import fcntl
import mmap
import os
import random
import sys
import time
from pathlib import Path

import numpy as np

import vexabi
from guest import Suite, drop_caches, expect_equal, problems, start_processes

STEPS = int(os.environ.get("VEXFS_STRESS", "1500"))
WORKERS = 5
DIM = 32
FIFREEZE, FITHAW = 0xC0045877, 0xC0045878
# Seconds after which the kernel reports a process that cannot be interrupted.
HUNG = Path("/proc/sys/kernel/hung_task_timeout_secs")
RACES = (
    errno.ENOENT,
    errno.EEXIST,
    errno.ENOTEMPTY,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EINVAL,
    errno.ENODATA,
    errno.EPERM,
    errno.ESTALE,
    errno.ELOOP,
    errno.EBUSY,
)

suite = Suite("stress", only="vexfs")


def actions(here, source):
    """What a worker may do next."""

    def path():
        return here / source.choice(["one", "two"]) / f"n{source.randrange(25)}"

    def write():
        with open(path(), "r+b", buffering=0) as file:
            file.seek(source.randrange(200_000))
            file.write(source.randbytes(source.choice([10, 150, 5000, 60_000])))

    def append():
        with open(path(), "ab", buffering=0) as file:
            file.write(b"a" * source.randrange(1, 9000))

    def read():
        path().read_bytes()

    def map_and_write():
        with open(path(), "r+b", buffering=0) as file:
            if os.fstat(file.fileno()).st_size >= 4096:
                with mmap.mmap(file.fileno(), 4096) as view:
                    view[:8] = b"mapped!!"

    def sync():
        descriptor = os.open(path(), os.O_RDWR)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def create():
        os.close(os.open(path(), os.O_CREAT | os.O_WRONLY, 0o644))

    def temporary():
        with open(path(), "wb") as file:
            os.unlink(file.name)
            file.write(b"t" * 20_000)

    def put():
        vector = np.full(DIM, source.random(), dtype="<f4")
        vexabi.put(path(), "stress", vector, label=source.randrange(4))

    def search():
        vexabi.search(here, "stress", np.zeros((1, DIM), dtype="<f4"), 20, 1 << 20)

    def preallocate():
        descriptor = os.open(path(), os.O_RDWR)
        try:
            os.posix_fallocate(descriptor, source.randrange(100_000), 50_000)
        finally:
            os.close(descriptor)

    return [
        write,
        append,
        read,
        map_and_write,
        sync,
        create,
        create,
        temporary,
        put,
        search,
        preallocate,
        lambda: os.unlink(path()),
        lambda: os.rename(path(), path()),
        lambda: os.link(path(), path()),
        lambda: os.symlink("target", path()),
        lambda: os.mkdir(path()),
        lambda: os.rmdir(path()),
        lambda: os.truncate(path(), source.randrange(150_000)),
        lambda: os.listdir(here / "one"),
        lambda: os.stat(path()),
        lambda: os.setxattr(path(), "user.x", b"v" * source.randrange(3000)),
        lambda: os.listxattr(path()),
        lambda: os.chmod(path(), 0o600 | source.randrange(64)),
        lambda: os.statvfs(here),
        lambda: vexabi.delete(path(), "stress", flags=vexabi.DELETE_ALL),
        lambda: vexabi.index_info(here, "stress"),
    ]


def vector_calls(here, source):
    """What a worker may do next, if that is to be a call of the vector ABI that can be in
    flight when a freeze begins."""

    def path():
        return here / "one" / f"v{source.randrange(8)}"

    def vectors(count):
        return np.full((count, DIM), source.random(), dtype="<f4")

    def put():
        vexabi.put(path(), "stress", vectors(1)[0], label=source.randrange(50))

    def put_many():
        file = os.open(path(), os.O_RDWR)
        try:
            rows = [(source.randrange(1 << 20), 0, file) for _ in range(64)]
            vexabi.put_many(file, "stress", vectors(64), rows)
        finally:
            os.close(file)

    def search():
        vexabi.search(here, "stress", vectors(4), 50, 1 << 20)

    def own_index():
        name = f"own{os.getpid()}"
        vexabi.index_create(here, name, DIM)
        try:
            vexabi.put(path(), name, vectors(1)[0])
        finally:
            vexabi.index_drop(here, name)

    def again():
        os.unlink(path())

    return [
        lambda: path().touch(),
        put,
        put,
        put_many,
        search,
        search,
        own_index,
        again,
        lambda: vexabi.get(path(), "stress", label=source.randrange(50)),
        lambda: vexabi.delete(path(), "stress", label=source.randrange(50)),
        lambda: vexabi.delete(path(), "stress", flags=vexabi.DELETE_ALL),
        lambda: vexabi.stats(here),
    ]


def worker(here, number, repertoire):
    """A process that does random things of a repertoire."""

    def work():
        source = random.Random(number)
        choices = repertoire(here, source)
        for _ in range(STEPS):
            try:
                source.choice(choices)()
            except OSError as error:
                if error.errno not in RACES:
                    raise

    return work


def until(flag, action, pause):
    """A process that repeats `action` until the file `flag` is gone."""

    def work():
        while flag.exists():
            action()
            time.sleep(pause)

    return work


def freezer(descriptor):
    """Freeze for a moment."""

    def action():
        fcntl.ioctl(descriptor, FIFREEZE, 0)
        time.sleep(0.05)
        fcntl.ioctl(descriptor, FITHAW, 0)

    return action


def all_at_once(here, disturbances, repertoire=actions):
    """Workers and, until they are done, disturbances: (action, pause)."""
    for folder in ("one", "two"):
        (here / folder).mkdir()
    vexabi.index_create(here, "stress", DIM)
    flag = Path("/tmp/stress-goes-on")
    flag.touch()
    beside = start_processes([until(flag, action, pause) for action, pause in disturbances])
    found = problems(start_processes([worker(here, number, repertoire) for number in range(WORKERS)]))
    flag.unlink()
    found += problems(beside)
    expect_equal(found, [], "problems")
    vexabi.index_drop(here, "stress")


@suite.test
def with_caches_dropped(fs, here):
    """While everything is written back and forgotten again and again."""
    all_at_once(here, [(drop_caches, 0.2), (os.sync, 0.1)])
    fs.unmount()
    fs.fsck()


@suite.test
def with_freezes(fs, here):
    """While the mount is frozen and thawed."""
    descriptor = os.open(fs.mnt, os.O_RDONLY)
    try:
        all_at_once(here, [(freezer(descriptor), 0.1), (os.sync, 0.3)])
    finally:
        os.close(descriptor)
    fs.unmount()
    fs.fsck()


@suite.test
def vector_calls_with_freezes(fs, here):
    """While calls of the vector ABI are in flight: none may stay blocked after the thaw."""
    if HUNG.exists():
        HUNG.write_text("30\n", encoding="ascii")
    descriptor = os.open(fs.mnt, os.O_RDONLY)
    try:
        all_at_once(here, [(freezer(descriptor), 0.03), (drop_caches, 0.5)], vector_calls)
    finally:
        os.close(descriptor)
    fs.unmount()
    fs.fsck()


if __name__ == "__main__":
    sys.exit(suite.main())
