#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""The device fails a request: every request of a workload in turn, once or from then on.

Responsible for what a mount does when its device returns an error: operations end in
success or in EIO, EROFS or EUCLEAN, the mount and the machine go on, and when the device works again
the filesystem mounts, has everything that fsync(2) had promised before, and is whole. The
kernel's fail_make_request does the failing; requests are addressed by the bytes that went
before them. VEXFS_IO_STEP is the distance of two addresses in blocks (1: every request).

Needs a kernel with FAIL_MAKE_REQUEST.
"""

import errno
import fcntl
import os
import sys
from pathlib import Path

import numpy as np

import vexabi
from guest import DEFECT, PAGE, Suite, Unusable, drop_caches, expect, expect_equal, run

STEP = int(os.environ.get("VEXFS_IO_STEP", "1"))
FAULT = Path("/sys/kernel/debug/fail_make_request")
# What a failing device may end in. A write that was lost is damage to whoever reads the block
# again before the journal is replayed; the last two follow from a file that could not be made.
ALLOWED = (errno.EIO, errno.EROFS, errno.EUCLEAN, errno.ENOENT, errno.EBADF)
MOST = 20_000
# More failures than any run sees: the kernel counts down, so that it shows whether one happened.
ALL = 1_000_000_000
SIZE = "48M"
DIM = 16

FIFREEZE, FITHAW = 0xC0045877, 0xC0045878

suite = Suite("io_errors", only="vexfs", size=SIZE)
suite.log_pattern = DEFECT


def write(path, value):
    """Write a file of the kernel's."""
    Path(path).write_text(f"{value}\n", encoding="ascii")


class Device:
    """The switch that makes requests to the scratch device fail."""

    def __init__(self, fs):
        name = os.path.basename(os.path.realpath(fs.device))
        self.switch = Path(f"/sys/class/block/{name}/make-it-fail")
        self.times = 0
        if not FAULT.is_dir() or not self.switch.exists():
            raise Unusable("the kernel has no FAIL_MAKE_REQUEST")
        for setting, value in (("interval", 1), ("verbose", 0), ("task-filter", "N")):
            write(FAULT / setting, value)
        write(FAULT / "probability", 100)

    def fail_after(self, amount, times):
        """Let `amount` bytes pass, then fail `times` requests."""
        self.times = times
        write(FAULT / "space", amount)
        write(FAULT / "times", times)
        write(self.switch, 1)

    def has_failed(self):
        """Whether a request has failed since."""
        return int((FAULT / "times").read_text()) < self.times

    def stay_dead(self):
        """Once a request has failed, fail the smallest ones, too, which are flushes."""
        if self.has_failed():
            write(FAULT / "space", 0)

    def work_again(self):
        """No more failures."""
        write(self.switch, 0)


class Work:
    """A workload that writes down what was promised to it."""

    def __init__(self, fs, device):
        self.fs = fs
        self.device = device
        self.promised = {}

    def attempt(self, action):
        """Run `action`; returns whether it succeeded. Errors that a bad device explains are no failure."""
        try:
            action()
        except OSError as error:
            name = errno.errorcode.get(error.errno, error.errno)
            line = action.__code__.co_firstlineno
            expect(error.errno in ALLOWED, f"the action of line {line}: {name}")
            return False
        finally:
            self.device.stay_dead()
        return True

    def durable(self, name, data):
        """A file, synced with its folder."""
        path = self.fs.mnt / name

        def make():
            with open(path, "wb", buffering=0) as file:
                file.write(data)
                os.fsync(file.fileno())
            folder = os.open(self.fs.mnt, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

        if self.attempt(make):
            self.promised[name] = data

    def run(self):
        """Some of everything, on the mounted filesystem."""
        mnt = self.fs.mnt
        self.durable("inline", b"i" * 100)
        self.durable("blocks", b"b" * 30_000)
        self.attempt(lambda: vexabi.index_create(mnt, "index", DIM))
        for number in range(3):
            vector = np.full(DIM, number, dtype="<f4")
            self.attempt(lambda: vexabi.put(mnt / "blocks", "index", vector, label=number))
        self.attempt(lambda: (mnt / "folder").mkdir())
        for number in range(30):
            self.attempt(lambda: (mnt / "folder" / f"file{number}").write_bytes(b"f" * 2000))
        self.attempt(lambda: os.rename(mnt / "folder" / "file1", mnt / "moved"))
        self.attempt(lambda: os.unlink(mnt / "folder" / "file2"))
        self.attempt(lambda: os.truncate(mnt / "folder" / "file3", 100))
        self.attempt(lambda: os.setxattr(mnt / "inline", "user.large", b"x" * 2500))
        drop_caches()
        self.attempt(lambda: os.listdir(mnt / "folder"))
        self.attempt(lambda: (mnt / "blocks").read_bytes())
        query = np.zeros((1, DIM), dtype="<f4")
        self.attempt(lambda: vexabi.search(mnt, "index", query, 3))
        self.durable("late", b"l" * 5000)

    def check(self):
        """What was promised is there."""
        for name, data in self.promised.items():
            expect_equal((self.fs.mnt / name).read_bytes(), data, f"{name} after the errors")


def once(fs, device, amount, times):
    """One run with a failure after `amount` bytes; returns whether anything failed."""
    fs.make(SIZE)
    work = Work(fs, device)
    device.fail_after(amount, times)
    try:
        fs.mount()
    except Exception:  # a device that fails may be refused
        mounted = False
    else:
        mounted = True
        work.run()
        run(["umount", fs.mnt])
    failed = device.has_failed()
    device.work_again()
    if not mounted:
        expect(failed, "the mount failed though no request did")
    fs.mount()
    work.check()
    fs.unmount()
    fs.fsck()
    return failed


def every_request(fs, times):
    """Failures after 0, 1, 2, ... blocks, until the workload ends before them."""
    device = Device(fs)
    fs.unmount()
    runs = 0
    try:
        for block in range(0, MOST, STEP):
            try:
                failed = once(fs, device, block * PAGE, times)
            except Exception as error:
                raise type(error)(f"failing after {block} blocks: {error}") from error
            runs += 1
            if not failed:
                break
        else:
            raise Unusable(f"more than {MOST} blocks")
    finally:
        device.work_again()
    fs.mount()
    suite.note(f"{runs} runs")


@suite.test
def one_request_fails(fs, here):
    """A single request fails, at every place."""
    here.rmdir()
    every_request(fs, 1)


@suite.test
def device_dies(fs, here):
    """All requests fail from some place on."""
    here.rmdir()
    every_request(fs, ALL)


@suite.test
def device_dies_while_frozen(fs, here):
    """The thaw works: a mount that stayed frozen could not even be unmounted."""
    device = Device(fs)
    (here / "file").write_bytes(b"before")
    descriptor = os.open(fs.mnt, os.O_RDONLY)
    try:
        fcntl.ioctl(descriptor, FIFREEZE, 0)
        device.fail_after(0, ALL)
        fcntl.ioctl(descriptor, FITHAW, 0)
        expect(device.has_failed(), "the thaw writes nothing: it is no test of failing writes")
        Work(fs, device).durable("late", b"l" * 5000)
    finally:
        os.close(descriptor)
        device.work_again()
    fs.cycle()
    expect_equal((here / "file").read_bytes(), b"before", "what the freeze had written")


if __name__ == "__main__":
    sys.exit(suite.main())
