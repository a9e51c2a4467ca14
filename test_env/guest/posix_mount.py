#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""The mount as a whole: read-only and back, freeze and thaw, file handles, sync, busy unmount."""

import ctypes
import errno
import mmap
import os
import subprocess
import sys
import time

from guest import (
    PAGE,
    Skip,
    Suite,
    check_call,
    drop_caches,
    expect,
    expect_equal,
    expect_errno,
    libc,
    run,
)

AT_FDCWD = -100
MAX_HANDLE_SZ = 128

suite = Suite("posix_mount")


class FileHandle(ctypes.Structure):
    """struct file_handle with room for the largest handle."""

    _fields_ = [
        ("handle_bytes", ctypes.c_uint),
        ("handle_type", ctypes.c_int),
        ("f_handle", ctypes.c_ubyte * MAX_HANDLE_SZ),
    ]


def handle_of(path):
    """The handle of a file, by name_to_handle_at(2)."""
    handle = FileHandle(handle_bytes=MAX_HANDLE_SZ)
    mount_id = ctypes.c_int()
    result = libc.name_to_handle_at(
        AT_FDCWD, os.fsencode(path), ctypes.byref(handle), ctypes.byref(mount_id), 0
    )
    check_call(result, "name_to_handle_at")
    return handle


def open_handle(fs, handle, flags=os.O_RDONLY):
    """Open a file by its handle with open_by_handle_at(2); returns the descriptor."""
    mount = os.open(fs.mnt, os.O_RDONLY | os.O_DIRECTORY)
    try:
        result = libc.open_by_handle_at(mount, ctypes.byref(handle), flags)
        return check_call(result, "open_by_handle_at")
    finally:
        os.close(mount)


def read_handle(fs, handle):
    """The contents of the file that a handle names."""
    with os.fdopen(open_handle(fs, handle), "rb") as file:
        return file.read()


@suite.test
def remount_read_only(fs, here):
    """remount,ro refuses changes of every kind, is refused while a file is written, and ends."""
    (here / "file").write_text("text")
    with open(here / "file", "a", encoding="ascii"):
        busy = subprocess.run(
            ["mount", "-o", "remount,ro", fs.mnt], capture_output=True, check=False
        )
        expect(busy.returncode != 0, "remount,ro went through with a file open for writing")
    run(["mount", "-o", "remount,ro", fs.mnt])
    expect(os.statvfs(fs.mnt).f_flag & os.ST_RDONLY, "statvfs does not say read-only")
    for name, attempt in {
        "create": lambda: os.open(here / "new", os.O_CREAT | os.O_WRONLY),
        "write": lambda: os.open(here / "file", os.O_WRONLY),
        "mkdir": lambda: os.mkdir(here / "folder"),
        "unlink": lambda: os.unlink(here / "file"),
        "rename": lambda: os.rename(here / "file", here / "moved"),
        "link": lambda: os.link(here / "file", here / "linked"),
        "symlink": lambda: os.symlink("x", here / "symbolic"),
        "chmod": lambda: os.chmod(here / "file", 0o600),
        "utime": lambda: os.utime(here / "file"),
        "setxattr": lambda: os.setxattr(here / "file", "user.a", b""),
        "truncate": lambda: os.truncate(here / "file", 0),
    }.items():
        attempt.__name__ = name
        expect_errno(errno.EROFS, attempt)
    expect_equal((here / "file").read_text(), "text", "contents")
    run(["mount", "-o", "remount,rw", fs.mnt])
    (here / "file").write_text("changed")
    fs.cycle()
    expect_equal((here / "file").read_text(), "changed", "contents after rw")


@suite.test
def mount_read_only(fs, here):
    """A mount that begins read-only changes nothing on the device, and can become rw."""
    (here / "file").write_text("text")
    fs.unmount()
    written = fs.blocks_moved()[1]
    fs.mount("ro")
    expect_equal((here / "file").read_text(), "text", "contents")
    expect_errno(errno.EROFS, os.mkdir, here / "folder")
    fs.unmount()
    expect_equal(fs.blocks_moved()[1], written, "blocks written to the device")
    fs.mount("ro")
    run(["mount", "-o", "remount,rw", fs.mnt])
    (here / "folder").mkdir()
    fs.cycle()
    expect((here / "folder").is_dir(), "a folder made after remount,rw is missing")


@suite.test
def unknown_option(fs, here):
    """An option that nobody knows is refused, at mount and at remount."""
    again = subprocess.run(
        ["mount", "-o", "remount,nonsense=1", fs.mnt], capture_output=True, check=False
    )
    expect(again.returncode != 0, "remount with an unknown option went through")
    fs.unmount()
    mount = ["mount", "-t", fs.fstype, "-o", "nonsense=1", fs.device, fs.mnt]
    fresh = subprocess.run(mount, capture_output=True, check=False)
    expect(fresh.returncode != 0, "mount with an unknown option went through")
    fs.mount()


@suite.test
def busy_unmount(fs, here):
    """umount fails while a file is open; a lazy one lets the user finish."""
    with open(here / "file", "w", encoding="ascii") as file:
        refused = subprocess.run(["umount", fs.mnt], capture_output=True, check=False)
        expect(refused.returncode != 0, "umount went through with an open file")
        run(["umount", "-l", fs.mnt])
        file.write("written after the lazy unmount")
    # The last close tears the mount down; mounting again waits for that.
    fs.mount()
    found = (here / "file").read_text()
    expect_equal(found, "written after the lazy unmount", "contents")


def state(pid):
    """The state letter of a process."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        return file.read().rpartition(")")[2].split()[0]


@suite.test
def freeze_and_thaw(fs, here):
    """While frozen, readers go on and a writer waits; the thaw lets it finish."""
    (here / "file").write_text("before")
    run(["fsfreeze", "--freeze", fs.mnt])
    thawed = False
    child = None
    try:
        child = os.fork()
        if child == 0:
            (here / "blocked").write_text("written by the child")
            os._exit(0)
        # Waiting for the freeze is an uninterruptible sleep that lasts; one that ends is
        # some other wait. A writer that is not held back exits, which is what must not be.
        samples = 0
        while samples < 10:
            expect_equal(
                os.waitpid(child, os.WNOHANG), (0, 0), "the writer was not held back"
            )
            samples = samples + 1 if state(child) == "D" else 0
            time.sleep(0.05)
        expect_equal((here / "file").read_text(), "before", "reading while frozen")
        expect("blocked" not in os.listdir(here), "an entry was made while frozen")
        moved = fs.blocks_moved()[1]
        time.sleep(0.5)
        expect_equal(fs.blocks_moved()[1], moved, "blocks written while frozen")
        again = subprocess.run(
            ["fsfreeze", "--freeze", fs.mnt], capture_output=True, check=False
        )
        expect(again.returncode != 0, "a second freeze went through")
        run(["fsfreeze", "--unfreeze", fs.mnt])
        thawed = True
        status = os.waitpid(child, 0)[1]
        child = None
        expect_equal(status, 0, "the writer's status")
    finally:
        if not thawed:
            run(["fsfreeze", "--unfreeze", fs.mnt])
        if child:
            os.waitpid(child, 0)
    text = (here / "blocked").read_text()
    expect_equal(text, "written by the child", "contents")
    fs.cycle()
    text = (here / "blocked").read_text()
    expect_equal(text, "written by the child", "contents after a remount")


@suite.test
def handles(fs, here):
    """A handle opens its file after a rename, with a cold cache and after a remount."""
    (here / "a" / "b").mkdir(parents=True)
    path = here / "a" / "b" / "file"
    path.write_text("by handle")
    file, folder = handle_of(path), handle_of(here / "a" / "b")
    os.rename(here / "a" / "b", here / "moved")
    for when in ("warm", "cold", "remounted"):
        if when == "cold":
            drop_caches()
        if when == "remounted":
            fs.cycle()
        expect_equal(read_handle(fs, file), b"by handle", f"contents, {when}")
        descriptor = open_handle(fs, folder, os.O_RDONLY | os.O_DIRECTORY)
        expect_equal(os.listdir(descriptor), ["file"], f"entries, {when}")
        # A directory opened by handle has to be connected to the root again.
        name = os.readlink(f"/proc/self/fd/{descriptor}")
        os.close(descriptor)
        expect_equal(name, str((here / "moved").resolve()), f"path of folder, {when}")


@suite.test
def freeze_for_long(fs, here):
    """While frozen, what the mount does by itself every few seconds leaves it alone, and the next freeze does not wait for it."""
    (here / "file").write_text("before")
    for number in range(2):
        freezing = subprocess.Popen(["fsfreeze", "--freeze", fs.mnt])
        for _ in range(200):
            if freezing.poll() is not None:
                break
            time.sleep(0.1)
        expect_equal(freezing.poll(), 0, f"status of freeze {number}")
        # The background work looks every five seconds.
        time.sleep(7)
        run(["fsfreeze", "--unfreeze", fs.mnt])
    (here / "file").write_text("after")


@suite.test
def handles_root(fs, here):
    """The root has a handle too."""
    descriptor = open_handle(fs, handle_of(fs.mnt), os.O_RDONLY | os.O_DIRECTORY)
    found = os.fstat(descriptor).st_ino
    os.close(descriptor)
    expect_equal(found, fs.mnt.stat().st_ino, "inode number")


@suite.test
def handles_stale(fs, here):
    """A handle of a removed file is ESTALE, also when its inode number is used again."""
    handles_by_inode = {}
    for number in range(50):
        path = here / f"old{number}"
        path.write_text("old")
        handles_by_inode[path.stat().st_ino] = handle_of(path)
    for number in range(50):
        (here / f"old{number}").unlink()
    drop_caches()
    for handle in handles_by_inode.values():
        expect_errno(errno.ESTALE, open_handle, fs, handle)
    reused = 0
    for number in range(200):
        path = here / f"new{number}"
        path.write_text("new")
        reused += path.stat().st_ino in handles_by_inode
    suite.note(f"handles_stale: {reused} of 50 inode numbers were used again")
    for when in ("warm", "remounted"):
        for handle in handles_by_inode.values():
            expect_errno(errno.ESTALE, open_handle, fs, handle)
        if when == "warm":
            fs.cycle()


@suite.test
def handles_unlinked_open(fs, here):
    """A file without a name that somebody has open can be opened by its handle, and not any more when nobody has."""
    (here / "file").write_text("nameless")
    handle = handle_of(here / "file")
    with open(here / "file", encoding="ascii") as first:
        (here / "file").unlink()
        drop_caches()
        expect_equal(read_handle(fs, handle), b"nameless", "contents by handle")
        second = open_handle(fs, handle, os.O_RDWR)
        expect_equal(first.read(), "nameless", "contents")
    # The second one alone keeps it now.
    os.pwrite(second, b"still", 0)
    expect_equal(os.pread(second, 100, 0), b"stilless", "contents after the first was closed")
    os.close(second)
    expect_errno(errno.ESTALE, open_handle, fs, handle)


@suite.test
def handles_garbage(fs, here):
    """Handles made up from nothing are ESTALE or EINVAL and harm nothing."""
    (here / "file").touch()
    good = handle_of(here / "file")
    for byte in range(good.handle_bytes):
        for change in (0x01, 0x80, 0xFF):
            bad = FileHandle.from_buffer_copy(good)
            bad.f_handle[byte] ^= change
            try:
                os.close(open_handle(fs, bad))
            except OSError as error:
                allowed = (errno.ESTALE, errno.EINVAL, errno.ENOENT)
                expect(error.errno in allowed, f"byte {byte}: {error}")


@suite.test
def sync_calls(fs, here):
    """fsync, fdatasync and syncfs of a file bring its data to the device; folders can be synced."""
    with open(here / "file", "wb") as file:
        for name, call in {
            "fsync": lambda: os.fsync(file.fileno()),
            "fdatasync": lambda: os.fdatasync(file.fileno()),
            "syncfs": lambda: check_call(libc.syncfs(file.fileno()), "syncfs"),
        }.items():
            os.sync()
            written = fs.blocks_moved()[1]
            file.write(b"x" * 400_000)
            file.flush()
            call()
            now = fs.blocks_moved()[1]
            expect(now >= written + 97, f"{name} wrote {now - written} blocks of 97")
    folder = os.open(here, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(folder)
    os.close(folder)


def first_block(fs, flags=0):
    """The first 4 KiB of the device, out of its page cache, or from the device with O_DIRECT."""
    descriptor = os.open(fs.device, os.O_RDONLY | flags)
    try:
        with mmap.mmap(-1, PAGE) as page:  # aligned, as O_DIRECT wants it
            expect_equal(os.preadv(descriptor, [page], 0), PAGE, "bytes read from the device")
            return page[:]
    finally:
        os.close(descriptor)


def freeze_once(fs):
    """Freeze and thaw."""
    run(["fsfreeze", "--freeze", fs.mnt])
    run(["fsfreeze", "--unfreeze", fs.mnt])


@suite.test
def boot_sector(fs, here):
    """The first 1,024 bytes are a boot loader's: no mount, freeze or remount touches them."""
    if fs.fstype not in ("vexfs", "ext4"):
        raise Skip(f"{fs.fstype} has no room for a boot loader there")
    loader = os.urandom(1024)
    fs.unmount()
    with open(fs.device, "r+b", buffering=0) as device:
        expect_equal(device.write(loader), 1024, "bytes written to the device")
        os.fsync(device.fileno())
    fs.mount()
    (here / "file").write_text("text")
    freeze_once(fs)
    run(["mount", "-o", "remount,ro", fs.mnt])
    run(["mount", "-o", "remount,rw", fs.mnt])
    fs.cycle()
    expect(first_block(fs)[:1024] == loader, "the boot sector changed, as the page cache has it")
    fs.unmount()
    expect(first_block(fs, os.O_DIRECT)[:1024] == loader, "the boot sector changed on the device")
    fs.mount()
    expect_equal((here / "file").read_text(), "text", "contents")


@suite.test
def device_while_mounted(fs, here):
    """Who reads the mounted device through its page cache sees the super block that is on it."""
    if fs.fstype not in ("vexfs", "ext4"):
        raise Skip(f"{fs.fstype} does not keep its super block in the device's page cache")
    # Open all the time: the device's page cache stays.
    held = os.open(fs.device, os.O_RDONLY)
    try:
        in_use = first_block(fs)
        run(["mount", "-o", "remount,ro", fs.mnt])
        closed = first_block(fs)
        expect(closed != in_use, "remount,ro was not to be seen in the super block")
        same = closed == first_block(fs, os.O_DIRECT)
        expect(same, "page cache and device differ after remount,ro")
        run(["mount", "-o", "remount,rw", fs.mnt])
        (here / "file").write_text("text")
        freeze_once(fs)
        again = first_block(fs)
        expect(again != closed, "remount,rw was not to be seen in the super block")
        same = again == first_block(fs, os.O_DIRECT)
        expect(same, "page cache and device differ after a freeze")
    finally:
        os.close(held)


@suite.test
def mount_again(fs, here):
    """Fifty mounts and unmounts with a change in each lose nothing."""
    for number in range(50):
        (here / f"file{number}").write_text(str(number))
        fs.cycle()
    for number in range(50):
        expect_equal((here / f"file{number}").read_text(), str(number), "contents")


if __name__ == "__main__":
    sys.exit(suite.main())
