#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Damaged filesystems, mounted and walked: errors are expected, a defect of the kernel is not.

A small filesystem is filled with everything; then, again and again, one block of its
metadata is damaged, the thing is mounted if it can be, walked, changed and unmounted, and
the device put back as it was. A panic or a hang ends the guest, which the caller notices;
a warning or an oops is found in the kernel's log after every round.

VEXFS_HOSTILE sets another number of rounds, VEXFS_SEED another sequence of damages.
Do not run this with another FSTYP on a machine that you need.
"""

import os
import random
import subprocess
import sys

import vexabi
from guest import (
    DEFECT,
    MIB,
    PAGE,
    KernelLog,
    Suite,
    drop_caches,
    expect,
    expect_equal,
    run,
)

ROUNDS = int(os.environ.get("VEXFS_HOSTILE", "200"))
SEED = int(os.environ.get("VEXFS_SEED", "1"))
SIZE = "64M"
# What file contents are made of, so that blocks of data can be told from metadata.
DATA = b"contents"
DIM = 64

suite = Suite("hostile_images", size=SIZE)
suite.log_pattern = DEFECT


def populate(fs):
    """Files of all kinds and sizes, large and small folders, links, attributes, vectors."""
    top = fs.mnt
    # So small an ext4 has blocks of 1 KiB, and keeps all attributes of a file in one.
    large = 2500 if fs.fstype == "vexfs" else 700
    (top / "large").mkdir()
    for number in range(600):
        (top / "large" / f"an entry with number {number}").touch()
    for number in range(30):
        folder = top / f"folder{number}"
        folder.mkdir()
        (folder / "inline").write_bytes(DATA * 10)
        (folder / "blocks").write_bytes(DATA * 2000)
        os.symlink("t" * (number * 30 + 1), folder / "link")
        os.link(folder / "inline", folder / "second")
        os.setxattr(folder / "inline", "user.small", b"v" * 20)
        os.setxattr(folder / "blocks", "user.large", b"v" * large)
    with open(top / "pieces", "wb") as file:
        for number in range(600):
            os.pwrite(file.fileno(), DATA * 512, number * 3 * PAGE)
    if fs.fstype == "vexfs":
        for number in range(5):
            vexabi.index_create(top, f"index{number}", DIM)
        for number in range(30):
            for label in range(10):
                row = b"\0\0\x80\x3f" * (DIM - 1) + bytes([0, 0, number, 0x3F])
                path = top / f"folder{number}" / "blocks"
                vexabi.put(path, f"index{number % 5}", row, label=label)


def tolerant(action, *arguments):
    """The result of an action, or None if the filesystem refused it."""
    try:
        return action(*arguments)
    except OSError as error:
        tolerant.errors.append(f"{action.__name__} {error}")
        return None


def read_all(path):
    """Read a file, but not without end: a damaged size may be anything."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        for offset in range(0, 4 * MIB, MIB):
            os.pread(descriptor, MIB, offset)
    finally:
        os.close(descriptor)


def read_attributes(path):
    """Read all extended attributes of a file, or of a symbolic link itself."""
    for attribute in os.listxattr(path, follow_symlinks=False):
        os.getxattr(path, attribute, follow_symlinks=False)


def walk(fs):
    """Read everything; then change something of every kind."""
    # Damage may make names lead in circles: the walk ends after so many folders.
    waiting, visited = [str(fs.mnt)], 0
    while waiting and visited < 500:
        folder = waiting.pop()
        visited += 1
        for name in (tolerant(os.listdir, folder) or [])[:5000]:
            path = os.path.join(folder, name)
            status = tolerant(os.lstat, path)
            if status is None:
                continue
            tolerant(read_attributes, path)
            if os.path.islink(path):
                tolerant(os.readlink, path)
            elif os.path.isdir(path):
                waiting.append(path)
            elif status.st_size:
                tolerant(read_all, path)
    tolerant(os.statvfs, fs.mnt)
    if fs.fstype == "vexfs":
        query = memoryview(b"\0\0\x80\x3f" * DIM).cast("B").cast("f", (1, DIM))
        for number in range(5):
            tolerant(vexabi.search, fs.mnt, f"index{number}", query, 100)
        tolerant(vexabi.index_list, fs.mnt)
    top = fs.mnt
    for action, *arguments in (
        (os.mkdir, top / "new folder"),
        ((top / "new folder" / "new file").write_bytes, DATA * 1000),
        (os.unlink, top / "folder1" / "inline"),
        (os.unlink, top / "folder2" / "blocks"),
        (os.truncate, top / "pieces", 100),
        (os.rename, top / "folder3" / "blocks", top / "folder4" / "inline"),
        (os.setxattr, top / "folder5" / "inline", "user.new", b"v" * 300),
        (os.unlink, top / "large" / "an entry with number 77"),
    ):
        tolerant(action, *arguments)
    os.sync()


def damage(source, blocks, number):
    """Another content for a block, and what was done to it."""
    old = blocks[number]
    kind = source.choice(["bit", "byte", "field", "zero", "noise", "swap", "tail"])
    new = bytearray(old)
    if kind == "bit":
        new[source.randrange(PAGE)] ^= 1 << source.randrange(8)
    elif kind == "byte":
        new[source.randrange(PAGE)] ^= source.randrange(1, 256)
    elif kind == "field":
        offset = source.randrange(PAGE // 8) * 8
        value = source.choice([0, 1, (1 << 32) - 1, (1 << 63), (1 << 64) - 1])
        new[offset : offset + 8] = value.to_bytes(8, "little")
    elif kind == "zero":
        new[:] = bytes(PAGE)
    elif kind == "noise":
        new[:] = source.randbytes(PAGE)
    elif kind == "swap":
        new[:] = blocks[source.choice(sorted(blocks))]
    else:
        new[PAGE // 2 :] = source.randbytes(PAGE // 2)
    return bytes(new), kind


def read_device(device, size):
    """The device's first `size` bytes, with nothing cached."""
    drop_caches()
    with open(device, "rb", buffering=0) as stream:
        return b"".join(iter(lambda: stream.read(min(MIB, size - stream.tell())), b""))


def restore(device, pristine):
    """Write back every block that differs."""
    now = read_device(device, len(pristine))
    with open(device, "rb+", buffering=0) as stream:
        for offset in range(0, len(pristine), PAGE):
            if now[offset : offset + PAGE] != pristine[offset : offset + PAGE]:
                os.pwrite(stream.fileno(), pristine[offset : offset + PAGE], offset)
        os.fsync(stream.fileno())
    drop_caches()


@suite.test
def rounds(fs, here):
    """200 damages, one at a time."""
    here.rmdir()
    populate(fs)
    fs.unmount()
    pristine = read_device(fs.device, 64 * MIB)
    blocks = {}
    for number in range(len(pristine) // PAGE):
        content = pristine[number * PAGE : (number + 1) * PAGE]
        if any(content) and not content.startswith(DATA * 32):
            blocks[number] = content
    # Sound, it must show no error at all, or the rounds would prove nothing.
    tolerant.errors = []
    fs.mount()
    walk(fs)
    expect_equal(tolerant.errors, [], "errors of the undamaged filesystem")
    fs.unmount()
    restore(fs.device, pristine)
    source = random.Random(SEED)
    refused = unharmed = 0
    for count in range(ROUNDS):
        log = KernelLog()
        number = source.choice(sorted(blocks))
        content, kind = damage(source, blocks, number)
        with open(fs.device, "rb+", buffering=0) as stream:
            os.pwrite(stream.fileno(), content, number * PAGE)
            os.fsync(stream.fileno())
        drop_caches()
        tolerant.errors = []
        mount = ["mount", "-t", fs.fstype, fs.device, fs.mnt]
        if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
            refused += 1
        else:
            walk(fs)
            run(["umount", fs.mnt])
            unharmed += not tolerant.errors
        said = log.alarming(DEFECT)
        expect(not said, f"round {count}, {kind} in block {number}: {said[:3]}")
        restore(fs.device, pristine)
    suite.note(
        f"rounds: {ROUNDS} damages of {len(blocks)} blocks: {refused} not mounted, "
        f"{ROUNDS - refused - unharmed} with errors, {unharmed} without"
    )


if __name__ == "__main__":
    sys.exit(suite.main())
