#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Names: rename in all its forms, links, symbolic links, special files, long names, directories."""

import ctypes
import errno
import os
import socket
import stat
import sys

from guest import (
    Skip,
    Suite,
    check_call,
    drop_caches,
    expect,
    expect_equal,
    expect_errno,
    libc,
)

AT_FDCWD = -100
AT_SYMLINK_FOLLOW = 0x400
RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2

suite = Suite("posix_namespace")


def renameat2(old, new, flags):
    """rename(2) with flags."""
    check_call(
        libc.renameat2(AT_FDCWD, os.fsencode(old), AT_FDCWD, os.fsencode(new), flags),
        "renameat2",
    )


def names(folder):
    """The sorted names in a folder, as bytes."""
    return sorted(os.listdir(os.fsencode(folder)))


@suite.test
def rename_noreplace(fs, here):
    """RENAME_NOREPLACE moves to a free name and leaves an existing one alone."""
    (here / "a").write_text("a")
    (here / "b").write_text("b")
    expect_errno(errno.EEXIST, renameat2, here / "a", here / "b", RENAME_NOREPLACE)
    expect_equal((here / "a").read_text() + (here / "b").read_text(), "ab", "contents")
    renameat2(here / "a", here / "c", RENAME_NOREPLACE)
    expect_equal(names(here), [b"b", b"c"], "names")
    expect_equal((here / "c").read_text(), "a", "contents of the moved file")


@suite.test
def rename_exchange(fs, here):
    """RENAME_EXCHANGE swaps two files, a file with a directory, and keeps link counts right."""
    left, right = here / "left", here / "right"
    left.mkdir()
    right.mkdir()
    (left / "file").write_text("left")
    (right / "file").write_text("right")
    renameat2(left / "file", right / "file", RENAME_EXCHANGE)
    expect_equal((left / "file").read_text(), "right", "left after the exchange")
    expect_equal((right / "file").read_text(), "left", "right after the exchange")

    (right / "folder").mkdir()
    (right / "folder" / "inside").write_text("x")
    links = left.stat().st_nlink, right.stat().st_nlink
    renameat2(left / "file", right / "folder", RENAME_EXCHANGE)
    expect((left / "file" / "inside").exists(), "the folder did not arrive on the left")
    expect((right / "folder").is_file(), "the file did not arrive on the right")
    moved = left.stat().st_nlink, right.stat().st_nlink
    expect_equal(moved, (links[0] + 1, links[1] - 1), "links of the two parents")
    parent = os.stat(left / "file" / "..").st_ino
    expect_equal(parent, left.stat().st_ino, "'..' of the exchanged folder")
    expect_errno(errno.ENOENT, renameat2, left / "file", left / "none", RENAME_EXCHANGE)
    fs.cycle()
    expect((left / "file" / "inside").exists(), "the exchange was lost by a remount")


@suite.test
def rename_replaces(fs, here):
    """rename over an existing file: the old one lives on while it is open, then is gone."""
    (here / "new").write_text("new")
    (here / "old").write_text("old")
    with open(here / "old", encoding="ascii") as replaced:
        os.rename(here / "new", here / "old")
        expect_equal(replaced.read(), "old", "the replaced file, still open")
        expect_equal(os.fstat(replaced.fileno()).st_nlink, 0, "its link count")
    expect_equal(names(here), [b"old"], "names")
    expect_equal((here / "old").read_text(), "new", "contents")


@suite.test
def rename_same_inode(fs, here):
    """rename between two links of one file does nothing, as POSIX demands."""
    (here / "a").write_text("a")
    os.link(here / "a", here / "b")
    os.rename(here / "a", here / "b")
    expect_equal(names(here), [b"a", b"b"], "names")
    expect_equal((here / "a").stat().st_nlink, 2, "link count")


@suite.test
def rename_directories(fs, here):
    """Directories: over an empty one, not over a full one, not into themselves, '..' follows."""
    for name in ("from", "empty", "full", "other"):
        (here / name).mkdir()
    (here / "from" / "child").mkdir()
    (here / "full" / "file").touch()
    (here / "file").touch()
    expect_errno((errno.ENOTEMPTY, errno.EEXIST), os.rename, here / "from", here / "full")
    expect_errno(errno.ENOTDIR, os.rename, here / "from", here / "file")
    expect_errno(errno.EISDIR, os.rename, here / "file", here / "from")
    expect_errno(errno.EINVAL, os.rename, here / "from", here / "from" / "child" / "below")
    links = here.stat().st_nlink
    os.rename(here / "from", here / "empty")
    expect_equal(here.stat().st_nlink, links - 1, "links of the parent")
    os.rename(here / "empty" / "child", here / "other" / "child")
    expect_equal(
        os.stat(here / "other" / "child" / "..").st_ino,
        (here / "other").stat().st_ino,
        "'..' of the moved folder",
    )
    expect_equal((here / "empty").stat().st_nlink, 2, "links of the folder it left")
    expect_equal((here / "other").stat().st_nlink, 3, "links of the folder it reached")


@suite.test
def hard_links(fs, here):
    """Links across folders share everything; the file lives until the last is removed."""
    (here / "folder").mkdir()
    (here / "one").write_text("text")
    os.link(here / "one", here / "two")
    os.link(here / "one", here / "folder" / "three")
    expect_equal((here / "two").stat().st_nlink, 3, "link count")
    with open(here / "two", "a", encoding="ascii") as file:
        file.write(" more")
    os.unlink(here / "one")
    fs.cycle()
    expect_equal((here / "folder" / "three").read_text(), "text more", "contents")
    expect_equal((here / "two").stat().st_nlink, 2, "link count after unlink")
    expect_errno(errno.EEXIST, os.link, here / "two", here / "folder" / "three")
    expect_errno(errno.EPERM, os.link, here / "folder", here / "link-to-folder")


@suite.test
def many_links(fs, here):
    """1,000 links of one file in two folders, removed again in another order."""
    (here / "a").mkdir()
    (here / "b").mkdir()
    (here / "file").write_text("text")
    for number in range(1000):
        os.link(here / "file", here / "ab"[number % 2] / f"link{number}")
    expect_equal((here / "file").stat().st_nlink, 1001, "link count")
    fs.cycle()
    for number in reversed(range(1000)):
        os.unlink(here / "ab"[number % 2] / f"link{number}")
    expect_equal((here / "file").stat().st_nlink, 1, "link count at the end")


@suite.test
def unlink_while_open(fs, here):
    """An unlinked file can be read and written until it is closed; then its space returns."""
    os.sync()
    before = fs.free()
    with open(here / "file", "wb+") as file:
        file.write(b"x" * 3_000_000)
        file.flush()
        os.fsync(file.fileno())
        os.unlink(here / "file")
        expect_equal(names(here), [], "names")
        drop_caches()
        file.seek(0)
        expect_equal(file.read(), b"x" * 3_000_000, "contents after unlink")
        file.write(b"y" * 5000)
        file.flush()
        expect_equal(os.fstat(file.fileno()).st_size, 3_005_000, "size")
        expect(fs.free()[0] < before[0], "the open file takes no space")
    fs.expect_free(before, "after the last close")


@suite.test
def rmdir_while_open(fs, here):
    """A removed directory that is still open is empty and takes no new entries."""
    (here / "folder").mkdir()
    descriptor = os.open(here / "folder", os.O_RDONLY | os.O_DIRECTORY)
    os.rmdir(here / "folder")
    expect_equal(os.listdir(descriptor), [], "entries")
    expect_errno(errno.ENOENT, os.open, "new", os.O_CREAT | os.O_WRONLY, dir_fd=descriptor)
    os.close(descriptor)


@suite.test
def rmdir_refuses(fs, here):
    """rmdir of a full directory, of a file and of the mount root fail as they should."""
    (here / "folder" / "child").mkdir(parents=True)
    (here / "file").touch()
    expect_errno((errno.ENOTEMPTY, errno.EEXIST), os.rmdir, here / "folder")
    expect_errno(errno.ENOTDIR, os.rmdir, here / "file")
    expect_errno(errno.EBUSY, os.rmdir, fs.mnt)
    expect_errno((errno.EISDIR, errno.EPERM), os.unlink, here / "folder")
    os.rmdir(here / "folder" / "child")
    os.rmdir(here / "folder")


@suite.test
def tmpfile(fs, here):
    """O_TMPFILE makes a file without a name, which linkat can give one."""
    try:
        descriptor = os.open(here, os.O_TMPFILE | os.O_RDWR, 0o600)
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.EISDIR):
            raise Skip("O_TMPFILE is not supported") from error
        raise
    os.write(descriptor, b"unnamed")
    expect_equal(names(here), [], "names")
    expect_equal(os.fstat(descriptor).st_nlink, 0, "link count")
    source = f"/proc/self/fd/{descriptor}".encode()
    target = os.fsencode(here / "named")
    check_call(libc.linkat(AT_FDCWD, source, AT_FDCWD, target, AT_SYMLINK_FOLLOW), "linkat")
    os.close(descriptor)
    os.close(os.open(here, os.O_TMPFILE | os.O_RDWR, 0o600))
    fs.cycle()
    expect_equal((here / "named").read_bytes(), b"unnamed", "contents")


@suite.test
def symlinks(fs, here):
    """Targets of every interesting length up to the limit, kept exactly, over a remount."""
    lengths = [1, 2, 59, 60, 61, 100, 159, 160, 167, 168, 169, 175, 176, 177, 255, 1000]
    lengths += [4000, 4094, 4095]
    for length in lengths:
        os.symlink("t" * length, here / f"link{length}")
    expect_errno(errno.ENAMETOOLONG, os.symlink, "t" * 4096, here / "too-long")
    expect_errno(errno.ENOENT, os.symlink, "", here / "empty")
    expect_errno(errno.EEXIST, os.symlink, "again", here / "link1")
    fs.cycle()
    for length in lengths:
        link = here / f"link{length}"
        expect_equal(os.readlink(link), "t" * length, f"target of {length} bytes")
        expect_equal(os.lstat(link).st_size, length, "size of the link")
    (here / "file").write_text("through")
    os.symlink("file", here / "good")
    expect_equal((here / "good").read_text(), "through", "contents through a link")
    os.symlink("loop", here / "loop")
    expect_errno(errno.ELOOP, os.stat, here / "loop")
    expect_errno(errno.EINVAL, os.readlink, here / "file")


@suite.test
def long_names(fs, here):
    """Names of 255 bytes work everywhere, one of 256 nowhere; UTF-8 and odd bytes are kept."""
    longest = "n" * 255
    (here / longest).write_text("long")
    expect_errno(errno.ENAMETOOLONG, os.mkdir, here / ("n" * 256))
    expect_errno(errno.ENAMETOOLONG, os.stat, here / ("n" * 256))
    os.rename(here / longest, here / ("m" * 255))
    os.link(here / ("m" * 255), here / ("é" * 127))
    root = os.fsencode(here)
    odd = [bytes([byte]) * 3 for byte in range(1, 256) if byte != ord("/")]
    odd.remove(b"...")
    odd += [b"...", b" leading", b"trailing ", b"new\nline", b"\xff\xfe"]
    for name in odd:
        os.close(os.open(root + b"/" + name, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    fs.cycle()
    expected = sorted([*odd, b"m" * 255, ("é" * 127).encode()])
    expect_equal(names(here), expected, "names")
    for name in expected:
        os.stat(root + b"/" + name)


@suite.test
def name_is_exact(fs, here):
    """Names differing in case or in one byte are different names."""
    for number, name in enumerate(["file", "File", "FILE", "file ", "filé", "file\u0301"]):
        (here / name).write_text(str(number))
    for number, name in enumerate(["file", "File", "FILE", "file ", "filé", "file\u0301"]):
        expect_equal((here / name).read_text(), str(number), f"contents of {name!r}")
    expect_errno(errno.ENOENT, os.stat, here / "fILE")


@suite.test
def special_files(fs, here):
    """FIFOs, sockets and devices keep type, mode and device number."""
    os.mkfifo(here / "fifo", 0o640)
    os.mknod(here / "char", stat.S_IFCHR | 0o604, os.makedev(1, 3))
    os.mknod(here / "block", stat.S_IFBLK | 0o600, os.makedev(4000, 70000))
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(here / "socket"))
    listener.close()
    fs.cycle()
    expect(stat.S_ISFIFO((here / "fifo").stat().st_mode), "the FIFO is not one")
    expect(stat.S_ISSOCK((here / "socket").stat().st_mode), "the socket is not one")
    char, block = (here / "char").stat(), (here / "block").stat()
    expect_equal((char.st_mode, char.st_rdev), (0o020604, os.makedev(1, 3)), "char")
    expect_equal(
        (block.st_mode, block.st_rdev), (0o060600, os.makedev(4000, 70000)), "block"
    )
    with open(here / "char", "rb") as null:
        expect_equal(null.read(), b"", "reading the null device")


@suite.test
def creation_errors(fs, here):
    """O_EXCL, missing parents, trailing slashes and files used as folders."""
    (here / "file").touch()
    expect_errno(errno.EEXIST, os.open, here / "file", os.O_CREAT | os.O_EXCL)
    expect_errno(errno.EEXIST, os.mkdir, here / "file")
    expect_errno(errno.ENOENT, os.mkdir, here / "missing" / "child")
    expect_errno(errno.ENOTDIR, os.mkdir, here / "file" / "child")
    expect_errno(errno.ENOTDIR, os.stat, f"{here}/file/")
    expect_errno(errno.EISDIR, os.open, here, os.O_WRONLY)
    expect_errno(errno.ENOENT, os.unlink, here / "missing")


class Dirent(ctypes.Structure):
    """struct dirent of 64-bit glibc."""

    _fields_ = [
        ("ino", ctypes.c_uint64),
        ("off", ctypes.c_int64),
        ("reclen", ctypes.c_ushort),
        ("type", ctypes.c_ubyte),
        ("name", ctypes.c_char * 256),
    ]


@suite.test
def readdir_cookies(fs, here):
    """A position from telldir stays good while other entries come and go, and after a remount."""
    libc.opendir.restype = ctypes.c_void_p
    libc.readdir.restype = ctypes.POINTER(Dirent)
    libc.telldir.restype = ctypes.c_long
    for function in (libc.readdir, libc.telldir, libc.closedir, libc.rewinddir):
        function.argtypes = [ctypes.c_void_p]
    libc.seekdir.argtypes = [ctypes.c_void_p, ctypes.c_long]

    def rest(stream):
        """The names from here to the end."""
        found = []
        while entry := libc.readdir(stream):
            found.append(entry.contents.name)
        return found

    for number in range(3000):
        (here / f"entry{number}").touch()
    stream = libc.opendir(os.fsencode(here))
    expect(stream, "opendir failed")
    seen = [libc.readdir(stream).contents.name for _ in range(1500)]
    position = libc.telldir(stream)
    after = rest(stream)
    expect_equal(len(seen) + len(after), 3002, "entries with . and ..")
    expect_equal(len(set(seen + after)), 3002, "different entries")

    for name in seen:
        if name not in (b".", b".."):
            os.unlink(os.fsencode(here) + b"/" + name)
    for number in range(500):
        (here / f"later{number}").touch()
    libc.seekdir(stream, position)
    again = [name for name in rest(stream) if not name.startswith(b"later")]
    expect_equal(again, after, "entries after seekdir")
    libc.closedir(stream)

    fs.cycle()
    stream = libc.opendir(os.fsencode(here))
    libc.seekdir(stream, position)
    again = [name for name in rest(stream) if not name.startswith(b"later")]
    libc.closedir(stream)
    expect_equal(again, after, "entries after a remount and seekdir")


@suite.test
def entry_types(fs, here):
    """readdir tells the type of an entry, the same as stat does."""
    (here / "file").touch()
    (here / "folder").mkdir()
    os.symlink("file", here / "link")
    os.mkfifo(here / "fifo")
    with os.scandir(here) as entries:
        found = {
            entry.name: (
                entry.is_file(follow_symlinks=False),
                entry.is_dir(follow_symlinks=False),
                entry.is_symlink(),
                entry.inode() == os.lstat(entry.path).st_ino,
            )
            for entry in entries
        }
    expected = {
        "file": (True, False, False, True),
        "folder": (False, True, False, True),
        "link": (False, False, True, True),
        "fifo": (False, False, False, True),
    }
    expect_equal(found, expected, "(file, folder, link, same inode)")


@suite.test
def deep_tree(fs, here):
    """A chain of 500 folders can be made, walked up by '..' and removed."""
    current = os.open(here, os.O_RDONLY | os.O_DIRECTORY)
    inodes = [os.fstat(current).st_ino]
    for depth in range(500):
        os.mkdir(f"d{depth}", dir_fd=current)
        below = os.open(f"d{depth}", os.O_RDONLY | os.O_DIRECTORY, dir_fd=current)
        os.close(current)
        current = below
        inodes.append(os.fstat(current).st_ino)
    os.close(current)
    fs.cycle()
    current = os.open(here, os.O_RDONLY | os.O_DIRECTORY)
    for depth in range(500):
        below = os.open(f"d{depth}", os.O_RDONLY | os.O_DIRECTORY, dir_fd=current)
        os.close(current)
        current = below
    for depth in reversed(range(500)):
        expect_equal(os.fstat(current).st_ino, inodes[depth + 1], f"inode at {depth}")
        above = os.open("..", os.O_RDONLY | os.O_DIRECTORY, dir_fd=current)
        os.close(current)
        current = above
        os.rmdir(f"d{depth}", dir_fd=current)
    os.close(current)
    expect_equal(names(here), [], "names")


if __name__ == "__main__":
    sys.exit(suite.main())
