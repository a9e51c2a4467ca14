#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""What is known about a file: times, modes and owners, extended attributes, counts of space."""

import errno
import fcntl
import os
import random
import stat
import sys
import time

from guest import MIB, Suite, expect, expect_equal, expect_errno, run

NANO = 1_000_000_000
XATTR_SIZE_MAX = 65536
FS_IOC_GETFLAGS = 0x80086601
FS_IOC_SETFLAGS = 0x40086602
FS_IMMUTABLE_FL = 0x10

suite = Suite("posix_attributes")


def birth_ns(path):
    """Birth time in nanoseconds, as stat(1) reads it with statx."""
    seconds, _, fraction = run(["stat", "-c", "%.9W", path]).strip().partition(".")
    return int(seconds) * NANO + int(fraction or "0")


def wait_for_tick(path):
    """Return once the kernel's coarse clock, which stamps files, has moved on."""
    probe = path / "tick"
    probe.touch()
    first = probe.stat().st_mtime_ns
    while True:
        os.utime(probe)
        if probe.stat().st_mtime_ns > first:
            probe.unlink()
            return


@suite.test
def timestamps_ns(fs, here):
    """Every nanosecond is kept, before 1970 and after 2038 too, over a remount."""
    moments = [
        0,
        1,
        999_999_999,
        1_700_000_000 * NANO + 123_456_789,
        (1 << 31) * NANO + 1,
        4_102_444_800 * NANO + 987_654_321,
        -1,
        -1_500_000_000,
        -315_619_200 * NANO + 5,
    ]
    for number, moment in enumerate(moments):
        (here / f"file{number}").touch()
        os.utime(here / f"file{number}", ns=(moment, moment + 1))
    os.mkdir(here / "folder")
    os.utime(here / "folder", ns=(5, 7))
    os.symlink("x", here / "link")
    os.utime(here / "link", ns=(11, 13), follow_symlinks=False)
    for when in ("from the cache", "after a remount"):
        for number, moment in enumerate(moments):
            status = (here / f"file{number}").stat()
            found = status.st_atime_ns, status.st_mtime_ns
            expect_equal(found, (moment, moment + 1), f"atime and mtime {when}")
        expect_equal((here / "folder").stat().st_mtime_ns, 7, f"mtime of folder {when}")
        expect_equal(os.lstat(here / "link").st_mtime_ns, 13, f"mtime of link {when}")
        fs.cycle()


@suite.test
def birth_time(fs, here):
    """Birth time is when the file was made; nothing that happens to the file moves it."""
    wait_for_tick(here)
    before = time.clock_gettime_ns(time.CLOCK_REALTIME)
    path = here / "file"
    path.touch()
    born = birth_ns(path)
    expect(born > 0, "stat reports no birth time")
    # The coarse clock lags behind by a tick, by several where the processor is emulated.
    expect(before - NANO <= born, f"born {born}, yet made after {before}")
    expect(born <= time.clock_gettime_ns(time.CLOCK_REALTIME), "born in the future")
    expect_equal(born, path.stat().st_mtime_ns, "birth and first mtime")
    wait_for_tick(here)
    path.write_text("changed")
    path.chmod(0o600)
    os.utime(path, ns=(1, 2))
    os.rename(path, here / "renamed")
    fs.cycle()
    expect_equal(birth_ns(here / "renamed"), born, "birth time after changes")
    expect(path.parent.stat().st_mtime_ns > born, "the folder's mtime did not move")


@suite.test
def times_follow_changes(fs, here):
    """mtime and ctime move when they must and stay when they must."""
    path = here / "file"
    path.write_text("one")
    (here / "folder").mkdir()

    def stamps(target):
        status = target.stat()
        return status.st_mtime_ns, status.st_ctime_ns

    def step(what, action, target, modified, changed):
        """Run an action and look which of the target's stamps moved."""
        wait_for_tick(here)
        old = stamps(target)
        action()
        new = stamps(target)
        found = new[0] > old[0], new[1] > old[1]
        expect_equal(found, (modified, changed), f"{what}: (mtime, ctime) moved")

    def change():
        with open(path, "r+", encoding="ascii") as file:
            file.write("two")

    step("write", change, path, True, True)
    step("read", path.read_text, path, False, False)
    step("chmod", lambda: path.chmod(0o600), path, False, True)
    step("chown", lambda: os.chown(path, 1, 1), path, False, True)
    step("link", lambda: os.link(path, here / "other"), path, False, True)
    step("unlink", lambda: os.unlink(here / "other"), path, False, True)
    step("rename", lambda: os.rename(path, here / "moved"), here, True, True)
    os.rename(here / "moved", path)
    step("shrink", lambda: os.truncate(path, 1), path, True, True)
    step("grow", lambda: os.truncate(path, 5000), path, True, True)
    step("setxattr", lambda: os.setxattr(path, "user.a", b"1"), path, False, True)
    folder = here / "folder"
    step("create", (folder / "new").touch, folder, True, True)
    step("create and remove", (folder / "new").unlink, folder, True, True)
    step("listing", lambda: os.listdir(folder), folder, False, False)


@suite.test
def modes_and_owners(fs, here):
    """All twelve mode bits and 32-bit owners are kept, over a remount."""
    modes = [0o000, 0o777, 0o644, 0o4755, 0o2755, 0o1777, 0o7777, 0o111]
    for mode in modes:
        (here / f"file{mode:o}").touch()
        (here / f"file{mode:o}").chmod(mode)
        (here / f"dir{mode:o}").mkdir()
        (here / f"dir{mode:o}").chmod(mode)
    owners = [(0, 0), (1000, 100), (65534, 65534), (70_000, 4_294_967_294)]
    for uid, gid in owners:
        (here / f"owner{uid}").touch()
        os.chown(here / f"owner{uid}", uid, gid)
    fs.cycle()
    for mode in modes:
        for kind in ("file", "dir"):
            found = stat.S_IMODE((here / f"{kind}{mode:o}").stat().st_mode)
            expect_equal(oct(found), oct(mode), f"mode of {kind}")
    for uid, gid in owners:
        status = (here / f"owner{uid}").stat()
        expect_equal((status.st_uid, status.st_gid), (uid, gid), "owner")


@suite.test
def setgid_folder(fs, here):
    """In a set-group-id folder new entries take its group, and new folders the bit."""
    (here / "shared").mkdir()
    os.chown(here / "shared", 0, 4321)
    (here / "shared").chmod(0o2775)
    (here / "shared" / "file").touch()
    (here / "shared" / "folder").mkdir()
    expect_equal((here / "shared" / "file").stat().st_gid, 4321, "group of the file")
    status = (here / "shared" / "folder").stat()
    expect_equal(status.st_gid, 4321, "group of the folder")
    expect(status.st_mode & stat.S_ISGID, "the folder lacks the set-group-id bit")


@suite.test
def xattr_calls(fs, here):
    """Set, replace, list and remove; the flags; on files, folders and (trusted) on links."""
    path = here / "file"
    path.touch()
    os.setxattr(path, "user.one", b"1")
    os.setxattr(path, "user.empty", b"")
    os.setxattr(path, "trusted.secret", b"\x00\xff" * 20)
    os.setxattr(path, "user.one", b"replaced by something longer")
    expect_errno(errno.EEXIST, os.setxattr, path, "user.one", b"", flags=os.XATTR_CREATE)
    expect_errno(errno.ENODATA, os.setxattr, path, "user.no", b"", flags=os.XATTR_REPLACE)
    expect_errno(errno.ENODATA, os.getxattr, path, "user.no")
    expect_errno(errno.ENODATA, os.removexattr, path, "user.no")
    expect_errno(errno.EOPNOTSUPP, os.setxattr, path, "nonsense.name", b"")
    os.setxattr(here, "user.folder", b"on a folder")
    os.symlink("file", here / "link")
    expect_errno(
        errno.EPERM, os.setxattr, here / "link", "user.x", b"", follow_symlinks=False
    )
    os.setxattr(here / "link", "trusted.x", b"link", follow_symlinks=False)
    fs.cycle()
    found = {name: os.getxattr(path, name) for name in os.listxattr(path)}
    expected = {
        "user.one": b"replaced by something longer",
        "user.empty": b"",
        "trusted.secret": b"\x00\xff" * 20,
    }
    expect_equal(found, expected, "attributes")
    expect_equal(os.getxattr(here, "user.folder"), b"on a folder", "on the folder")
    value = os.getxattr(here / "link", "trusted.x", follow_symlinks=False)
    expect_equal(value, b"link", "on the link")
    os.removexattr(path, "user.one")
    fs.cycle()
    expect("user.one" not in os.listxattr(path), "a removed attribute came back")


@suite.test
def xattr_sizes(fs, here):
    """Values of all sizes up to the limit, and names of 255 bytes, come back unchanged."""
    # ext4 without ea_inode keeps all attributes of a file in one block.
    largest = 3000 if fs.fstype == "ext4" else XATTR_SIZE_MAX
    source = random.Random(7)
    sizes = [0, 1, 100, 175, 176, 177, 1000, 1023, 1024, 1025, 3000, 4096, 20_000, 65535]
    expected = {}
    for size in [size for size in sizes if size < largest] + [largest]:
        path = here / f"file{size}"
        path.touch()
        expected[path] = source.randbytes(size)
        os.setxattr(path, "user.value", expected[path])
    longest = "user." + "n" * 250
    os.setxattr(here / "file0", longest, b"long name")
    expect_errno(errno.ERANGE, os.setxattr, here / "file0", longest + "n", b"")
    expect_errno(
        (errno.E2BIG, errno.ENOSPC),
        os.setxattr,
        here / "file0",
        "user.too-big",
        bytes(XATTR_SIZE_MAX + 1),
    )
    fs.cycle()
    for path, value in expected.items():
        expect(os.getxattr(path, "user.value") == value, f"{path.name} has changed")
    expect_equal(os.getxattr(here / "file0", longest), b"long name", "long name")


@suite.test
def xattr_space(fs, here):
    """Removing attributes, or the file that has them, gives their space back."""
    path = here / "file"
    path.touch()
    before = fs.free()
    size, count = (500, 6) if fs.fstype == "ext4" else (60_000, 20)
    for number in range(count):
        os.setxattr(path, f"user.a{number}", bytes([number]) * size)
    taken = fs.free()
    expect(taken[0] < before[0], "large attributes take no space")
    for number in range(count):
        os.removexattr(path, f"user.a{number}")
    fs.expect_free(before, "after removing the attributes")
    other = here / "other"
    other.touch()
    for number in range(count):
        os.setxattr(other, f"user.a{number}", bytes([number]) * size)
    fs.free()
    other.unlink()
    fs.expect_free(before, "after removing the file")


@suite.test
def xattr_many(fs, here):
    """A thousand attributes (fifty on ext4) on one file, each found again and removed."""
    count = 50 if fs.fstype == "ext4" else 1000
    path = here / "file"
    path.touch()
    for number in range(count):
        os.setxattr(path, f"user.attribute{number}", f"value {number}".encode())
    fs.cycle()
    expect_equal(len(os.listxattr(path)), count, "attributes")
    for number in range(count):
        value = os.getxattr(path, f"user.attribute{number}")
        expect_equal(value, f"value {number}".encode(), "value")
        os.removexattr(path, f"user.attribute{number}")
    expect_equal(os.listxattr(path), [], "attributes at the end")


def set_file_flags(descriptor, change):
    """Apply `change` to the flags of chattr(1)."""
    flags = bytearray(8)
    fcntl.ioctl(descriptor, FS_IOC_GETFLAGS, flags)
    value = change(int.from_bytes(flags, sys.byteorder))
    fcntl.ioctl(descriptor, FS_IOC_SETFLAGS, value.to_bytes(8, sys.byteorder))


@suite.test
def immutable(fs, here):
    """An immutable file does not change, not even through a descriptor that was opened before."""
    path = here / "file"
    path.write_text("text")
    descriptor = os.open(path, os.O_RDWR)
    try:
        set_file_flags(descriptor, lambda flags: flags | FS_IMMUTABLE_FL)
        expect_errno(errno.EPERM, os.write, descriptor, b"more")
        expect_errno(errno.EPERM, os.pwrite, descriptor, b"more", 1 << 20)
        expect_errno(errno.EPERM, os.ftruncate, descriptor, 0)
        expect_errno(errno.EPERM, os.ftruncate, descriptor, 1 << 20)
        expect_errno(errno.EPERM, os.posix_fallocate, descriptor, 0, 1 << 20)
        expect_errno(errno.EPERM, os.fchmod, descriptor, 0o600)
        expect_errno(errno.EPERM, os.fchown, descriptor, 1, 1)
        expect_errno(errno.EPERM, os.setxattr, path, "user.a", b"")
        expect_errno(errno.EPERM, os.unlink, path)
        expect_errno(errno.EPERM, os.open, path, os.O_WRONLY)
        expect_equal(path.read_text(), "text", "contents")
        set_file_flags(descriptor, lambda flags: flags & ~FS_IMMUTABLE_FL)
        os.write(descriptor, b"more")
        os.ftruncate(descriptor, 2)
    finally:
        os.close(descriptor)
    fs.cycle()
    expect_equal(path.read_text(), "mo", "contents after it was changed again")


@suite.test
def statfs_counts(fs, here):
    """statfs knows name length and block size, and its counts follow what is used and freed."""
    status = os.statvfs(fs.mnt)
    expect_equal(status.f_namemax, 255, "longest name")
    expect_equal(status.f_frsize, 4096, "block size")
    expect(status.f_bavail <= status.f_bfree <= status.f_blocks, "counts out of order")
    before = fs.free()
    (here / "file").write_bytes(bytes(range(256)) * (8 * MIB // 256))
    with_file = fs.free()
    taken = before[0] - with_file[0]
    expect(2048 <= taken <= 2048 + 64, f"8 MiB took {taken} blocks")
    expect_equal(before[1] - with_file[1], 1, "inodes taken by one file")
    fs.cycle()
    expect_equal(fs.free(), with_file, "(free blocks, inodes) after a remount")
    (here / "file").unlink()
    fs.expect_free(before, "after unlink")


@suite.test
def st_blocks(fs, here):
    """st_blocks counts what a file takes, and du agrees."""
    (here / "file").write_bytes(b"x" * MIB)
    os.sync()
    sectors = (here / "file").stat().st_blocks
    expect(2048 <= sectors <= 2048 + 16, f"1 MiB takes {sectors} sectors")
    fs.cycle()
    expect_equal((here / "file").stat().st_blocks, sectors, "sectors after a remount")
    du = int(run(["du", "-k", here / "file"]).split()[0])
    expect_equal(du * 2, sectors, "sectors by du")


if __name__ == "__main__":
    sys.exit(suite.main())
