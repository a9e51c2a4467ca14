#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Many processes at once, on their own files and on shared ones; then everything is checked.

What races do not decide is compared exactly: each process owns a folder and keeps a model
of it. What they do decide (who wins a name) is left open; there only the errors that the
race explains may come, and the count of survivors must be consistent. fsck at the end
judges the rest.
"""

import errno
import functools
import os
import random
import sys

from guest import Suite, expect, expect_equal, problems, start_processes

WORKERS = 6
RACE_ERRORS = (errno.ENOENT, errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR, errno.EISDIR)

suite = Suite("concurrency")


def in_parallel(work):
    """Run work(number) in a process for each worker; none may fail."""
    started = start_processes(functools.partial(work, number) for number in range(WORKERS))
    expect_equal(problems(started), [], "problems")


@suite.test
def own_folders(fs, here):
    """Each process makes, writes, renames and removes files of its own; all are right at the end."""

    def work(number):
        source = random.Random(number)
        folder = here / f"worker{number}"
        folder.mkdir()
        model = {}
        for step in range(1200):
            name = f"f{source.randrange(60)}"
            action = source.random()
            if action < 0.5:
                data = source.randbytes(source.choice([10, 150, 200, 5000, 70_000]))
                (folder / name).write_bytes(data)
                model[name] = data
            elif action < 0.65 and name in model:
                (folder / name).unlink()
                del model[name]
            elif action < 0.8 and name in model:
                target = f"f{source.randrange(60)}"
                os.rename(folder / name, folder / target)
                model[target] = model.pop(name)
            elif action < 0.9 and name in model:
                size = source.randrange(10_000)
                os.truncate(folder / name, size)
                model[name] = model[name][:size].ljust(size, b"\0")
            elif name in model:
                found = (folder / name).read_bytes()
                expect(found == model[name], f"step {step}: {name} differs")
        check(number, model)
        with open(folder / "model", "wb") as file:
            for name, data in sorted(model.items()):
                file.write(f"{name} {len(data)}\n".encode())

    def check(number, model):
        folder = here / f"worker{number}"
        expect_equal(sorted(os.listdir(folder)), sorted(model), "names")
        for name, data in model.items():
            expect((folder / name).read_bytes() == data, f"{name} differs at the end")

    in_parallel(work)
    fs.cycle()
    for number in range(WORKERS):
        folder = here / f"worker{number}"
        for line in (folder / "model").read_text().splitlines():
            name, size = line.split()
            expect_equal((folder / name).stat().st_size, int(size), f"size of {name}")


@suite.test
def shared_folder(fs, here):
    """All create, link, rename and remove the same thirty names; what is left can be removed."""
    before = fs.free()
    (here / "one").mkdir()
    (here / "two").mkdir()
    errors = (*RACE_ERRORS, errno.EINVAL, errno.EPERM)

    def work(number):
        source = random.Random(100 + number)

        def somewhere():
            return here / source.choice(["one", "two"]) / f"n{source.randrange(30)}"

        actions = [
            lambda: os.close(os.open(somewhere(), os.O_CREAT | os.O_EXCL | os.O_WRONLY)),
            lambda: os.link(somewhere(), somewhere(), follow_symlinks=False),
            lambda: os.rename(somewhere(), somewhere()),
            lambda: os.unlink(somewhere()),
            lambda: os.mkdir(somewhere()),
            lambda: os.rmdir(somewhere()),
            lambda: os.symlink("target", somewhere()),
            lambda: os.listdir(here / "one"),
            lambda: os.lstat(somewhere()),
        ]
        for _ in range(2500):
            try:
                source.choice(actions)()
            except OSError as error:
                if error.errno not in errors:
                    raise

    in_parallel(work)
    fs.cycle()
    for folder in ("one", "two"):
        subfolders = 0
        for name in os.listdir(here / folder):
            path = here / folder / name
            if path.is_dir() and not path.is_symlink():
                subfolders += 1
        links = (here / folder).stat().st_nlink
        expect_equal(links, 2 + subfolders, f"links of folder {folder}")
    for top, folders, files in os.walk(here, topdown=False):
        for name in files:
            os.unlink(os.path.join(top, name))
        for name in folders:
            path = os.path.join(top, name)
            if os.path.islink(path):
                os.unlink(path)
            else:
                os.rmdir(path)
    fs.expect_free(before, "after removing what was left")


@suite.test
def moving_folders(fs, here):
    """Folders are moved into each other from all sides; no loop is made and none is lost."""
    for number in range(12):
        (here / f"d{number}").mkdir()
    inodes = {path.stat().st_ino for path in here.iterdir()}

    def all_folders():
        return [
            os.path.join(top, name) for top, names, _ in os.walk(here) for name in names
        ]

    def work(number):
        source = random.Random(200 + number)
        for _ in range(400):
            folders = all_folders()
            if not folders:
                continue
            moved = source.choice(folders)
            target = source.choice([str(here), *folders])
            try:
                os.rename(moved, os.path.join(target, os.path.basename(moved)))
            except OSError as error:
                if error.errno not in (*RACE_ERRORS, errno.EINVAL):
                    raise

    in_parallel(work)
    fs.cycle()
    left = {os.stat(path).st_ino for path in all_folders()}
    expect_equal(left, inodes, "inodes of the folders that can be reached")


@suite.test
def one_file(fs, here):
    """Writers with pwrite on regions of one file, readers beside them, a syncer: no byte strays."""
    path = here / "file"
    size = 256 * 1024
    path.write_bytes(b"")

    def work(number):
        source = random.Random(300 + number)
        descriptor = os.open(path, os.O_RDWR)
        if number == WORKERS - 1:
            for _ in range(100):
                os.fsync(descriptor)
                os.pread(descriptor, size, source.randrange(size * WORKERS))
            return
        model = bytearray(size)
        for _ in range(400):
            offset = source.randrange(size - 9000)
            data = bytes([number + 1]) * source.randrange(1, 9000)
            os.pwrite(descriptor, data, number * size + offset)
            model[offset : offset + len(data)] = data
            found = os.pread(descriptor, len(data), number * size + offset)
            expect(found == data, "a read after a write differs")
        found = os.pread(descriptor, size, number * size).ljust(size, b"\0")
        expect(found == model, "the region differs at the end")
        (here / f"model{number}").write_bytes(bytes(model))

    in_parallel(work)
    fs.cycle()
    data = path.read_bytes()
    for number in range(WORKERS - 1):
        model = (here / f"model{number}").read_bytes()
        found = data[number * size : (number + 1) * size].ljust(size, b"\0")
        expect(found == model, f"region {number} differs after a remount")


@suite.test
def walkers(fs, here):
    """Readers walk and read while a tree is filled and removed again and again."""

    def work(number):
        if number < 2:
            for repeat in range(15):
                top = here / f"tree{number}"
                top.mkdir()
                for folder in range(5):
                    (top / f"d{folder}").mkdir()
                    for each in range(20):
                        (top / f"d{folder}" / f"f{each}").write_text(str(repeat))
                for path, folders, files in os.walk(top, topdown=False):
                    for name in files:
                        os.unlink(os.path.join(path, name))
                    for name in folders:
                        os.rmdir(os.path.join(path, name))
                top.rmdir()
            return
        for _ in range(60):
            for path, _, files in os.walk(here):
                for name in files:
                    try:
                        with open(os.path.join(path, name), encoding="ascii") as file:
                            text = file.read()
                    except FileNotFoundError:
                        continue
                    expect(text == "" or text.isdigit(), f"a file holds {text!r}")

    in_parallel(work)
    expect_equal(os.listdir(here), [], "names left")


if __name__ == "__main__":
    sys.exit(suite.main())
