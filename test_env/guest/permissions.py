#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""What a second user may do: reading, searching, changing, and what only owners and root may.

What a search shows to a second user is tested in vectors.py.
"""

import errno
import os
import stat
import sys

from guest import Suite, as_user, expect, expect_equal, expect_errno

ALICE = 4001
BOB = 4002
TEAM = 4100

suite = Suite("permissions")


def give(path, uid, gid, mode):
    """Set owner, group and mode."""
    os.chown(path, uid, gid)
    path.chmod(mode)


@suite.test
def read_write(fs, here):
    """Owner, group and others each get what their three bits say, and the first match decides."""
    path = here / "file"
    path.write_text("text")

    def look():
        """What opening the file succeeds for, as a string of r and w."""
        found = ""
        for letter, flags in (("r", os.O_RDONLY), ("w", os.O_WRONLY)):
            try:
                os.close(os.open(path, flags))
                found += letter
            except PermissionError:
                pass
        return found

    for mode, owner, group, other in (
        (0o644, "rw", "r", "r"),
        (0o640, "rw", "r", ""),
        (0o600, "rw", "", ""),
        (0o066, "", "rw", "rw"),
        (0o604, "rw", "", "r"),
        (0o222, "w", "w", "w"),
        (0o000, "", "", ""),
    ):
        give(path, ALICE, TEAM, mode)
        found = (
            as_user(ALICE, ALICE, look),
            as_user(BOB, BOB, look, [TEAM]),
            as_user(BOB, BOB, look),
        )
        expect_equal(found, (owner, group, other), f"mode {mode:o}")
    expect_equal(path.read_text(), "text", "root reads mode 000")


@suite.test
def folders(fs, here):
    """Read lets list, search lets pass, write with search lets change; none stands for another."""
    for name, mode in (("list", 0o744), ("pass", 0o711), ("write", 0o722), ("no", 0o700)):
        folder = here / name
        folder.mkdir()
        (folder / "file").write_text("text")
        folder.chmod(mode)

    def look():
        expect_equal(os.listdir(here / "list"), ["file"], "listing with read")
        expect_errno(errno.EACCES, os.stat, here / "list" / "file")
        expect_errno(errno.EACCES, os.listdir, here / "pass")
        expect_equal((here / "pass" / "file").read_text(), "text", "passing")
        expect_errno(errno.EACCES, os.unlink, here / "pass" / "file")
        expect_errno(errno.EACCES, (here / "write" / "new").touch)
        expect_errno(errno.EACCES, os.listdir, here / "no")
        expect_errno(errno.EACCES, os.stat, here / "no" / "file")
        expect_errno(errno.EACCES, os.mkdir, here / "pass" / "new")
        expect_errno(errno.EACCES, os.rename, here / "pass" / "file", here / "pass" / "x")

    as_user(BOB, BOB, look)


@suite.test
def private_tree(fs, here):
    """One closed folder hides everything below it, also with a cold cache after a remount."""
    deep = here / "private" / "a" / "b"
    deep.mkdir(parents=True)
    (deep / "open").write_text("readable by everybody, were it not for the folder")
    (deep / "open").chmod(0o666)
    give(here / "private", ALICE, ALICE, 0o700)

    def shut_out():
        for path in (deep / "open", deep, here / "private" / "a"):
            expect_errno(errno.EACCES, os.stat, path)
            expect_errno(errno.EACCES, os.open, path, os.O_RDONLY)
            expect(not os.access(path, os.F_OK), "access(2) says yes")

    def let_in():
        expect((deep / "open").read_text(), "the owner cannot read")

    for _ in range(2):
        as_user(BOB, BOB, shut_out)
        as_user(ALICE, ALICE, let_in)
        fs.cycle()
    give(here / "private", ALICE, TEAM, 0o750)
    as_user(BOB, BOB, let_in, [TEAM])
    as_user(BOB, BOB, shut_out)


@suite.test
def owner_only(fs, here):
    """Only the owner changes mode and sets times; only root gives files away."""
    path = here / "file"
    path.touch()
    give(path, ALICE, ALICE, 0o666)

    def stranger():
        expect_errno(errno.EPERM, os.chmod, path, 0o600)
        expect_errno(errno.EPERM, os.chown, path, BOB, -1)
        expect_errno(errno.EPERM, os.utime, path, ns=(1, 1))
        os.utime(path)  # to the present moment needs write permission only
        expect_errno(errno.EPERM, os.setxattr, path, "trusted.x", b"1")
        os.setxattr(path, "user.x", b"1")

    def owner():
        os.chmod(path, 0o640)
        os.utime(path, ns=(1, 1))
        expect_errno(errno.EPERM, os.chown, path, BOB, -1)
        expect_errno(errno.EPERM, os.chown, path, -1, TEAM)

    def owner_in_team():
        os.chown(path, -1, TEAM)

    as_user(BOB, BOB, stranger)
    as_user(ALICE, ALICE, owner)
    as_user(ALICE, ALICE, owner_in_team, [TEAM])
    expect_equal(path.stat().st_gid, TEAM, "group")


@suite.test
def xattr_permissions(fs, here):
    """user.* attributes follow the file's mode; trusted.* are not even listed for others."""
    path = here / "file"
    path.touch()
    os.setxattr(path, "user.x", b"1")
    os.setxattr(path, "trusted.x", b"2")
    give(path, ALICE, ALICE, 0o644)

    def reader():
        expect_equal(os.getxattr(path, "user.x"), b"1", "user.x")
        expect_errno(errno.EACCES, os.setxattr, path, "user.x", b"3")
        expect_errno(errno.EACCES, os.removexattr, path, "user.x")
        expect("trusted.x" not in os.listxattr(path), "trusted.x is listed")
        expect_errno((errno.ENODATA, errno.EPERM), os.getxattr, path, "trusted.x")

    def stranger():
        expect_errno(errno.EACCES, os.getxattr, path, "user.x")

    as_user(BOB, BOB, reader)
    path.chmod(0o600)
    as_user(BOB, BOB, stranger)


@suite.test
def sticky_folder(fs, here):
    """In a sticky folder everybody may create, but only owners remove or rename."""
    common = here / "common"
    common.mkdir()
    common.chmod(0o1777)

    def alice():
        (common / "alice").write_text("a")

    def bob():
        (common / "bob").write_text("b")
        expect_errno(errno.EPERM, os.unlink, common / "alice")
        expect_errno(errno.EPERM, os.rename, common / "alice", common / "mine")
        expect_errno(errno.EPERM, os.rename, common / "bob", common / "alice")
        os.rename(common / "bob", common / "bobby")
        os.unlink(common / "bobby")

    as_user(ALICE, ALICE, alice)
    as_user(BOB, BOB, bob)
    expect_equal(os.listdir(common), ["alice"], "names")
    expect_equal((common / "alice").stat().st_uid, ALICE, "owner of a new file")


@suite.test
def suid_is_lost(fs, here):
    """Writing by another, or a change of owner, takes the set-user-id and set-group-id bits."""
    written, given = here / "written", here / "given"
    for path in (written, given):
        path.touch()
        give(path, ALICE, TEAM, 0o6777)

    def write():
        with open(written, "ab") as file:
            file.write(b"x")

    as_user(BOB, BOB, write)
    expect_equal(oct(stat.S_IMODE(written.stat().st_mode)), oct(0o777), "after write")
    os.chown(given, BOB, -1)
    expect_equal(oct(stat.S_IMODE(given.stat().st_mode)), oct(0o777), "after chown")
    fs.cycle()
    expect_equal(oct(stat.S_IMODE(written.stat().st_mode)), oct(0o777), "on the device")


@suite.test
def already_open(fs, here):
    """What was opened stays open after the permission is taken; opening anew fails."""
    path = here / "file"
    path.write_text("text")

    def reader():
        with open(path, encoding="ascii") as file:
            os.write(opened[1], b"x")
            os.read(changed[0], 1)
            expect_equal(file.read(), "text", "reading on")
        expect_errno(errno.EACCES, os.open, path, os.O_RDONLY)

    opened, changed = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.read(opened[0], 1)
        path.chmod(0o600)
        os.write(changed[1], b"x")
        os._exit(0)
    as_user(BOB, BOB, reader)
    os.waitpid(child, 0)
    for descriptor in opened + changed:
        os.close(descriptor)


@suite.test
def umask_is_applied(fs, here):
    """New files, folders and nodes get their mode less the umask."""
    old = os.umask(0o027)
    try:
        os.close(os.open(here / "file", os.O_CREAT | os.O_WRONLY, 0o666))
        os.mkdir(here / "folder", 0o777)
        os.mkfifo(here / "fifo", 0o666)
    finally:
        os.umask(old)
    found = {
        name: oct(stat.S_IMODE((here / name).stat().st_mode))
        for name in ("file", "folder", "fifo")
    }
    expected = {"file": "0o640", "folder": "0o750", "fifo": "0o640"}
    expect_equal(found, expected, "modes")


@suite.test
def exec_bit(fs, here):
    """A file runs only with an execute bit, for root too."""
    path = here / "program"
    path.write_text("#!/bin/sh\nexit 7\n")

    def execute():
        """Exit status of the program, or the error of exec."""
        child = os.fork()
        if child == 0:
            try:
                os.execv(path, [str(path)])
            except OSError as error:
                os._exit(100 + error.errno)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    path.chmod(0o644)
    expect_equal(execute(), 100 + errno.EACCES, "without an execute bit")
    path.chmod(0o744)
    expect_equal(execute(), 7, "root, with the owner's bit")

    def other():
        expect_equal(execute(), 100 + errno.EACCES, "another user, owner's bit only")

    as_user(BOB, BOB, other)


if __name__ == "__main__":
    sys.exit(suite.main())
