#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Write load for the crash test: durable operations, acknowledged on standard output.

    crash_load.py SEED

Mounts what is on VEXFS_DEV (or makes a filesystem with --make), empties its folder, and
works until it is killed, which the caller does by killing the guest. Three processes work
in folders of their own; each prints `ack SEED WORKER NUMBER` when its operation NUMBER is
on the device. The caller has to collect these lines outside of the guest, and hands them
to crash_verify.py after the next boot. It may not be trusted to be killed at any
particular point: lines that were printed and did not arrive do no harm.
"""

import argparse
import os
import shutil
import sys

import vexabi
from crash_model import DIM, INDEX, TEMPORARY, operations
from guest import Filesystem

WORKERS = 3
FOLDER = "crash"


def sync_path(path):
    """fsync of a file or folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write(path, data, flags, offset=None):
    """Write data and make it durable before returning."""
    descriptor = os.open(path, os.O_WRONLY | flags, 0o644)
    try:
        if offset is not None:
            os.lseek(descriptor, offset, os.SEEK_SET)
        while data:
            data = data[os.write(descriptor, data) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def perform(folder, operation):
    """Do one operation; it is durable when this returns."""
    kind, name, other, data, number = operation
    path = os.path.join(folder, name)
    if kind == "create":
        write(path, data, os.O_CREAT | os.O_EXCL)
        sync_path(folder)
    elif kind == "append":
        write(path, data, os.O_APPEND)
    elif kind == "overwrite":
        write(path, data, 0, other)
    elif kind == "truncate":
        os.truncate(path, other)
        sync_path(path)
    elif kind == "replace":
        temporary = os.path.join(folder, TEMPORARY)
        write(temporary, data, os.O_CREAT | os.O_EXCL)
        os.rename(temporary, path)
        sync_path(folder)
    elif kind == "rename":
        os.rename(path, os.path.join(folder, other))
        sync_path(folder)
    elif kind == "unlink":
        os.unlink(path)
        sync_path(folder)
    elif kind == "attribute":
        os.setxattr(path, "user.crash", data)
        sync_path(path)
    elif kind == "put":
        vexabi.put(path, INDEX, data, label=other)
        sync_path(path)
    elif kind == "delete":
        vexabi.delete(path, INDEX, label=other)
        sync_path(path)
    else:
        raise ValueError(f"operation {number}: {kind}")


def work(seed, worker, folder, vectors):
    """Operations without end."""
    for operation, _, _ in operations(seed, worker, vectors):
        perform(folder, operation)
        # One write of less than PIPE_BUF bytes: lines of the workers do not mix.
        os.write(1, f"ack {seed} {worker} {operation.number}\n".encode())


def main():
    """Parse the command line, prepare, start the workers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("seed", type=int, help="decides the operations")
    parser.add_argument("--make", action="store_true", help="make a new filesystem first")
    options = parser.parse_args()
    fs = Filesystem.from_environment()
    fs.load()
    if options.make:
        fs.make()
    fs.mount()
    top = os.path.join(fs.mnt, FOLDER)
    shutil.rmtree(top, ignore_errors=True)
    vectors = fs.fstype == "vexfs"
    if vectors and INDEX in (info.name for info in vexabi.index_list(fs.mnt)):
        vexabi.index_drop(fs.mnt, INDEX)
    if vectors:
        vexabi.index_create(fs.mnt, INDEX, DIM)
    for worker in range(WORKERS):
        os.makedirs(os.path.join(top, str(worker)))
    os.sync()
    for worker in range(WORKERS):
        if os.fork() == 0:
            work(options.seed, worker, os.path.join(top, str(worker)), vectors)
    # A worker never ends by itself; one that does has failed.
    os.wait()
    return 1


if __name__ == "__main__":
    sys.exit(main())
