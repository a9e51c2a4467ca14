#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Every operation, with each of its memory allocations failing in turn.

Responsible for what an operation does when the first allocation that the module makes or
causes fails, then the second, and so on until a run passes in which none was left to fail.
Each run ends in success or in ENOMEM, nothing else; afterwards the filesystem works as
before, is whole (fsck), and the kernel has nothing to say. The kernel's fail-nth does the
counting (Documentation/fault-injection), limited to calls that come from the module's code.

Needs a kernel with FAILSLAB, FAIL_PAGE_ALLOC and FAULT_INJECTION_STACKTRACE_FILTER.
"""

import ctypes
import errno
import fcntl
import itertools
import mmap
import os
import shutil
import struct
import sys
from pathlib import Path

import numpy as np

import vexabi
from guest import (
    Failure,
    Suite,
    Unusable,
    check_call,
    drop_caches,
    expect,
    expect_equal,
    libc,
    run,
)

DEBUG = Path("/sys/kernel/debug")
# What fail-nth counts, where the kernel has it.
FAULTS = ("failslab", "fail_page_alloc", "fail_mempool_alloc", "fail_mempool_alloc_bulk")
# Far above what any operation allocates; reaching it means that the count does not end.
MOST = 3000
# An operation may be refused for want of memory and for nothing else.
CLEAN = (errno.ENOMEM,)
DIM = 64
RENAME_EXCHANGE = 2
AT_FDCWD = -100
FIFREEZE, FITHAW = 0xC0045877, 0xC0045878
FS_IOC_FIEMAP = 0xC020660B
MS_RDONLY, MS_REMOUNT = 1, 32

suite = Suite("failslab", only="vexfs")


def write(path, text):
    """Write a file of the kernel's."""
    Path(path).write_text(f"{text}\n", encoding="ascii")


def module_text():
    """Where the module's code is: (first address, address behind it)."""
    for line in Path("/proc/modules").read_text("ascii").splitlines():
        words = line.split()
        if words[0] == "vexfs":
            start = int(words[5], 16)
            expect(start != 0, "the kernel hides addresses")
            return start, start + int(words[1])
    raise Unusable("vexfs is not a loaded module")


def functions(names):
    """Where the code of some functions of the kernel's is, which come from one file: (first
    address, address behind them)."""
    symbols = []
    for line in Path("/proc/kallsyms").read_text("ascii").splitlines():
        address, kind, symbol = line.split()[:3]
        if kind in "tT":
            symbols.append((int(address, 16), symbol))
    symbols.sort()
    found = [
        (start, end)
        for (start, symbol), (end, _) in itertools.pairwise(symbols)
        if symbol in names
    ]
    if len(found) != len(names):
        raise Unusable(f"the kernel does not have exactly one each of {names}")
    return found[0][0], found[-1][1]


def limit_to(addresses):
    """Only allocations with a caller in this range of addresses may fail.

    jbd2 does not look whether its files in /proc could be made, and warns when it then
    cannot remove them: there, allocations succeed.
    """
    kept = functions(("_proc_mkdir", "proc_create_data"))
    for fault in FAULTS:
        if (DEBUG / fault).is_dir():
            write(DEBUG / fault / "require-start", addresses[0])
            write(DEBUG / fault / "require-end", addresses[1])
            write(DEBUG / fault / "reject-start", kept[0])
            write(DEBUG / fault / "reject-end", kept[1])


def arm():
    """Set up fault injection; nothing fails before fail-nth says so."""
    if not (DEBUG / "failslab" / "stacktrace-depth").exists():
        raise Unusable("the kernel has no FAILSLAB with a filter by stack traces")
    for fault in FAULTS:
        for name, value in (
            ("probability", 0),
            ("times", -1),
            ("verbose", 0),
            ("ignore-gfp-wait", "N"),
            ("stacktrace-depth", 32),
        ):
            if (DEBUG / fault / name).exists():
                write(DEBUG / fault / name, value)
    write(DEBUG / "fail_page_alloc" / "min-order", 0)
    write(DEBUG / "fail_page_alloc" / "ignore-gfp-highmem", "N")
    limit_to(module_text())


class FailNth:
    """This thread's count of allocations up to the one that fails."""

    def __init__(self):
        self.file = os.open("/proc/thread-self/fail-nth", os.O_RDWR)

    def during(self, nth, action):
        """Run `action` with its nth allocation failing.

        Returns (whether an allocation failed, the errno that it ended with or 0).
        """
        result = 0
        os.pwrite(self.file, b"%d" % nth, 0)
        try:
            action()
        except OSError as error:
            result = error.errno
        left = int(os.pread(self.file, 32, 0))
        os.pwrite(self.file, b"0", 0)
        return left == 0, result


def nothing():
    """No recovery is needed."""


def operation(prepare):
    """Decorator: `prepare(fs, here)` sets the stage and returns what is to be done on it.

    It may return a second function, which undoes, without failures, what would be in the way
    of the next run.
    """

    def test(fs, here):
        arm()
        counter = FailNth()
        refused = 0
        for nth in range(1, MOST):
            stage = here / str(nth)
            stage.mkdir()
            prepared = prepare(fs, stage)
            action, recover = prepared if isinstance(prepared, tuple) else (prepared, nothing)
            drop_caches()
            hit, result = counter.during(nth, action)
            recover()
            settle(fs)
            if result:
                name = errno.errorcode.get(result, result)
                expect(result in CLEAN, f"allocation {nth} failing: {name}")
                expect(hit, f"{name}, though none failed before allocation {nth}")
                refused += 1
            remove(fs, stage)
            if not hit:
                break
        else:
            raise Failure(f"more than {MOST} allocations")
        suite.note(f"{prepare.__name__}: {nth - 1} allocations, {refused} times refused")
        here.rmdir()
        fs.unmount()
        fs.fsck()

    test.__name__ = prepare.__name__
    suite.test(test)
    return prepare


def remove(fs, stage):
    """Take everything of a run away."""
    shutil.rmtree(stage)
    for index in vexabi.index_list(fs.mnt):
        vexabi.index_drop(fs.mnt, index.name)


def settle(fs):
    """After a refusal: the filesystem is mounted, writable and not in a state of error."""
    if not fs.is_mounted():
        fs.load()
        limit_to(module_text())
        fs.mount()
    expect(not is_read_only(fs), "the mount turned read-only")
    probe = fs.mnt / "probe"
    probe.write_bytes(b"still here")
    expect_equal(probe.read_bytes(), b"still here", "a file written afterwards")
    probe.unlink()


def filled(path, size=70_000):
    """A file with data on the device."""
    path.write_bytes(os.urandom(size))
    return path


def with_file(path, flags, action):
    """Open a file, act on its descriptor, close it."""

    def act():
        descriptor = os.open(path, flags)
        try:
            action(descriptor)
        finally:
            os.close(descriptor)

    return act


# --- names -----------------------------------------------------------------


@operation
def create(fs, here):
    """A new file."""
    path = here / "new"
    return lambda: os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))


@operation
def create_in_large_folder(fs, here):
    """A new file in a folder of more than one node."""
    for number in range(300):
        (here / f"a name that is somewhat longer {number:06}").touch()
    path = here / "new"
    return lambda: os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))


@operation
def mkdir(fs, here):
    """A new folder."""
    return lambda: os.mkdir(here / "new")


@operation
def rmdir(fs, here):
    """A folder removed."""
    (here / "old").mkdir()
    return lambda: os.rmdir(here / "old")


@operation
def mknod(fs, here):
    """A new named pipe."""
    return lambda: os.mkfifo(here / "new")


@operation
def symlink(fs, here):
    """A symbolic link that fits into its inode."""
    return lambda: os.symlink("target", here / "new")


@operation
def long_symlink(fs, here):
    """A symbolic link that does not."""
    return lambda: os.symlink("t" * 3000, here / "new")


@operation
def readlink(fs, here):
    """A long symbolic link read."""
    os.symlink("t" * 3000, here / "link")
    return lambda: os.readlink(here / "link")


@operation
def link(fs, here):
    """A second name."""
    filled(here / "old")
    return lambda: os.link(here / "old", here / "new")


@operation
def unlink(fs, here):
    """The last name of a file with data."""
    filled(here / "old")
    return lambda: os.unlink(here / "old")


@operation
def unlink_while_open(fs, here):
    """The last name, then the last descriptor."""
    path = filled(here / "old")
    return with_file(path, os.O_RDONLY, lambda _: os.unlink(path))


@operation
def rename(fs, here):
    """A file moved to another folder."""
    filled(here / "old")
    (here / "folder").mkdir()
    return lambda: os.rename(here / "old", here / "folder" / "new")


@operation
def rename_over(fs, here):
    """A file in the place of another."""
    filled(here / "old")
    filled(here / "new")
    return lambda: os.rename(here / "old", here / "new")


@operation
def rename_folder(fs, here):
    """A folder moved into another."""
    (here / "old").mkdir()
    (here / "folder").mkdir()
    return lambda: os.rename(here / "old", here / "folder" / "new")


@operation
def rename_exchange(fs, here):
    """Two files change places."""
    one, two = os.fsencode(filled(here / "one")), os.fsencode(filled(here / "two"))
    return lambda: check_call(
        libc.renameat2(AT_FDCWD, one, AT_FDCWD, two, RENAME_EXCHANGE), "renameat2"
    )


@operation
def list_folder(fs, here):
    """A folder of several nodes read."""
    folder = here / "folder"
    folder.mkdir()
    for number in range(300):
        (folder / f"a name that is somewhat longer {number:06}").touch()
    return lambda: os.listdir(folder)


@operation
def lookup(fs, here):
    """A file looked up and asked for its attributes."""
    path = filled(here / "file")
    return lambda: os.stat(path)


# --- attributes ------------------------------------------------------------


@operation
def change_mode(fs, here):
    """chmod."""
    path = filled(here / "file")
    return lambda: os.chmod(path, 0o600)


@operation
def change_owner(fs, here):
    """chown."""
    path = filled(here / "file")
    return lambda: os.chown(path, 1000, 1000)


@operation
def change_times(fs, here):
    """utimensat."""
    path = filled(here / "file")
    return lambda: os.utime(path, ns=(1, 2))


@operation
def set_xattr(fs, here):
    """A small attribute."""
    path = filled(here / "file")
    return lambda: os.setxattr(path, "user.small", b"value")


@operation
def set_large_xattr(fs, here):
    """An attribute that does not fit into the inode."""
    path = filled(here / "file")
    return lambda: os.setxattr(path, "user.large", b"v" * 2500)


@operation
def get_xattr(fs, here):
    """A large attribute read."""
    path = filled(here / "file")
    os.setxattr(path, "user.large", b"v" * 2500)
    return lambda: os.getxattr(path, "user.large")


@operation
def list_xattrs(fs, here):
    """The names of attributes."""
    path = filled(here / "file")
    for number in range(20):
        os.setxattr(path, f"user.attribute{number}", b"v" * 200)
    return lambda: os.listxattr(path)


@operation
def remove_xattr(fs, here):
    """An attribute removed."""
    path = filled(here / "file")
    os.setxattr(path, "user.large", b"v" * 2500)
    return lambda: os.removexattr(path, "user.large")


# --- data ------------------------------------------------------------------


@operation
def write_inline(fs, here):
    """A few bytes, kept in the inode."""
    path = here / "file"
    path.touch()
    return with_file(path, os.O_WRONLY, lambda file: os.write(file, b"x" * 100))


@operation
def write_large(fs, here):
    """A megabyte, and on the device."""
    path = here / "file"
    path.touch()
    data = os.urandom(1 << 20)

    def act(file):
        os.write(file, data)
        os.fsync(file)

    return with_file(path, os.O_WRONLY, act)


@operation
def overwrite(fs, here):
    """A part of a block that is not in memory."""
    path = filled(here / "file")
    return with_file(path, os.O_WRONLY, lambda file: os.pwrite(file, b"y" * 1000, 20_001))


@operation
def outgrow_inline(fs, here):
    """A file that outgrows its inode."""
    path = filled(here / "file", 100)
    return with_file(path, os.O_WRONLY, lambda file: os.pwrite(file, b"y" * 9000, 50))


@operation
def read(fs, here):
    """Data read from the device."""
    path = filled(here / "file", 300_000)
    return with_file(path, os.O_RDONLY, lambda file: os.read(file, 300_000))


@operation
def write_direct(fs, here):
    """O_DIRECT, aligned."""
    path = filled(here / "file", 65536)
    buffer = mmap.mmap(-1, 65536)
    buffer.write(b"d" * 65536)
    return with_file(path, os.O_RDWR | os.O_DIRECT, lambda file: os.pwritev(file, [buffer], 0))


@operation
def scattered(fs, here):
    """Extents added to a file whose map has several nodes."""
    path = here / "file"

    def write_each(file, numbers):
        for number in numbers:
            os.pwrite(file, b"z", number * 8192)
        os.fsync(file)

    path.touch()
    with_file(path, os.O_WRONLY, lambda file: write_each(file, range(300)))()
    return with_file(path, os.O_WRONLY, lambda file: write_each(file, range(300, 320)))


@operation
def shrink(fs, here):
    """ftruncate to less."""
    path = filled(here / "file")
    return lambda: os.truncate(path, 5001)


@operation
def grow(fs, here):
    """ftruncate to more."""
    path = filled(here / "file", 5001)
    return lambda: os.truncate(path, 1 << 30)


@operation
def preallocate(fs, here):
    """fallocate."""
    path = filled(here / "file", 5001)
    return with_file(path, os.O_RDWR, lambda file: os.posix_fallocate(file, 0, 1 << 20))


@operation
def sync_file(fs, here):
    """fsync of what was just written."""
    path = filled(here / "file")
    descriptor = os.open(path, os.O_RDWR)

    def act():
        try:
            os.pwrite(descriptor, b"s" * 5000, 123)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    return act


@operation
def seek_hole(fs, here):
    """SEEK_DATA and SEEK_HOLE."""
    path = filled(here / "file")
    os.truncate(path, 1 << 20)

    def act(file):
        os.lseek(file, 0, os.SEEK_HOLE)
        os.lseek(file, 0, os.SEEK_DATA)

    return with_file(path, os.O_RDONLY, act)


@operation
def extents(fs, here):
    """FIEMAP, where there is one."""
    path = filled(here / "file")
    request = bytearray(struct.pack("=QQIIII", 0, 1 << 40, 0, 0, 16, 0) + bytes(56 * 16))

    def act(file):
        try:
            fcntl.ioctl(file, FS_IOC_FIEMAP, request, True)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.ENOTTY):
                raise

    return with_file(path, os.O_RDONLY, act)


# --- vectors ---------------------------------------------------------------


def row(number):
    """A vector."""
    return np.arange(number, number + DIM, dtype="<f4")


def with_index(here, records=0):
    """An index named after the stage, and a file with records in it."""
    name = f"index{here.name}"
    vexabi.index_create(here, name, DIM)
    path = filled(here / "file")
    for number in range(records):
        vexabi.put(path, name, row(number), label=number)
    return name, path


@operation
def index_create(fs, here):
    """A new index."""
    name = f"new{here.name}"
    return lambda: vexabi.index_create(here, name, DIM)


@operation
def index_drop(fs, here):
    """An index with records dropped."""
    name, _ = with_index(here, 5)
    return lambda: vexabi.index_drop(here, name)


@operation
def index_list(fs, here):
    """The indexes listed."""
    with_index(here)
    return lambda: vexabi.index_list(here)


@operation
def put(fs, here):
    """A vector stored."""
    name, path = with_index(here)
    return lambda: vexabi.put(path, name, row(1))


@operation
def put_many(fs, here):
    """A hundred vectors stored at once."""
    name, path = with_index(here)
    vectors = np.stack([row(number) for number in range(100)])
    return with_file(
        path,
        os.O_RDWR,
        lambda file: vexabi.put_many(file, name, vectors, [(n, 0, file) for n in range(100)]),
    )


@operation
def put_as_xattr(fs, here):
    """A vector stored through the attribute."""
    name, path = with_index(here)
    data = row(1).tobytes()
    return lambda: os.setxattr(path, f"user.vexfs.{name}", data)


@operation
def get(fs, here):
    """A vector read."""
    name, path = with_index(here, 5)
    return lambda: vexabi.get(path, name, label=3)


@operation
def delete(fs, here):
    """A vector deleted."""
    name, path = with_index(here, 5)
    return lambda: vexabi.delete(path, name, label=3)


@operation
def search(fs, here):
    """A search that finds a few hundred."""
    name, path = with_index(here, 200)
    queries = np.stack([row(3), row(70)])
    return lambda: vexabi.search(here, name, queries, 150, paths_capacity=1 << 20)


@operation
def statistics(fs, here):
    """The counters of the mount."""
    return lambda: vexabi.stats(here)


@operation
def unlink_with_vectors(fs, here):
    """A file with records unlinked."""
    name, path = with_index(here, 20)
    return lambda: os.unlink(path)


# --- the mount -------------------------------------------------------------


def mount_call(device, folder, flags=0):
    """mount(2) itself."""
    words = (os.fsencode(device), os.fsencode(folder), b"vexfs", ctypes.c_ulong(flags), None)
    check_call(libc.mount(*words), "mount")


def is_read_only(fs):
    """Whether the mount is."""
    return bool(os.statvfs(fs.mnt).f_flag & os.ST_RDONLY)


@operation
def mount(fs, here):
    """The mount."""
    fs.unmount()
    return lambda: mount_call(fs.device, fs.mnt)


def make_unclean(image, folder):
    """An image with work for the journal: a copy of one that is mounted."""
    source = image.with_suffix(".source")
    run(["truncate", "-s", "64M", source])
    run(["mkfs.vexfs", "--quiet", "--force", source])
    run(["mount", "-o", "loop", "-t", "vexfs", source, folder])
    for number in range(20):
        (folder / f"f{number}").write_bytes(b"r" * 3000)
    descriptor = os.open(folder, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
    run(["cp", "--sparse=always", source, image])
    run(["umount", folder])
    source.unlink()


@operation
def mount_to_replay(fs, here):
    """The mount of a device with work for the journal."""
    folder, unclean, copy = Path("/tmp/small"), Path("/tmp/unclean.img"), Path("/tmp/copy.img")
    folder.mkdir(exist_ok=True)
    if not unclean.exists():
        make_unclean(unclean, folder)
    run(["cp", "--sparse=always", unclean, copy])
    device = run(["losetup", "--find", "--show", copy]).strip()

    def act():
        mount_call(device, folder)

    def recover():
        if os.path.ismount(folder):
            expect_equal(len(list(folder.glob("f*"))), 20, "files after the replay")
            run(["umount", folder])
        run(["losetup", "--detach", device])
        run(["fsck.vexfs", "-n", copy])

    return act, recover


@operation
def unmount(fs, here):
    """The unmount, with something to write."""
    filled(here / "file")
    return lambda: check_call(libc.umount2(os.fsencode(fs.mnt), 0), "umount")


def make_writable(fs):
    """Remount a filesystem that is read-only."""
    if is_read_only(fs):
        mount_call(fs.device, fs.mnt, MS_REMOUNT)


@operation
def remount_read_only(fs, here):
    """To read-only, with something to write."""
    filled(here / "file")
    flags = MS_REMOUNT | MS_RDONLY
    return lambda: mount_call(fs.device, fs.mnt, flags), lambda: make_writable(fs)


@operation
def remount_writable(fs, here):
    """And back."""
    filled(here / "file")
    mount_call(fs.device, fs.mnt, MS_REMOUNT | MS_RDONLY)
    return lambda: mount_call(fs.device, fs.mnt, MS_REMOUNT), lambda: make_writable(fs)


def thaw_and_close(descriptor):
    """End a freeze, if there is one."""
    try:
        fcntl.ioctl(descriptor, FITHAW, 0)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    os.close(descriptor)


@operation
def freeze(fs, here):
    """Freeze."""
    filled(here / "file")
    descriptor = os.open(here, os.O_RDONLY)
    return lambda: fcntl.ioctl(descriptor, FIFREEZE, 0), lambda: thaw_and_close(descriptor)


@operation
def thaw(fs, here):
    """Thaw."""
    filled(here / "file")
    os.sync()
    descriptor = os.open(here, os.O_RDONLY)
    fcntl.ioctl(descriptor, FIFREEZE, 0)
    return lambda: fcntl.ioctl(descriptor, FITHAW, 0), lambda: thaw_and_close(descriptor)


@operation
def sync_filesystem(fs, here):
    """syncfs."""
    filled(here / "file")
    return with_file(here, os.O_RDONLY, lambda file: check_call(libc.syncfs(file), "syncfs"))


@operation
def statfs(fs, here):
    """statvfs."""
    return lambda: os.statvfs(here)


if __name__ == "__main__":
    sys.exit(suite.main())
