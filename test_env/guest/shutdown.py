#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""FS_IOC_SHUTDOWN: the end of all changes, with what was durable there at the next mount."""

import errno
import fcntl
import os
import struct
import sys

from guest import DEFECT, PAGE, Suite, as_user, expect, expect_equal, expect_errno

# linux/fs.h, with what is written before the end: everything, the journal, nothing.
FS_IOC_SHUTDOWN = 0x8004587D
ALL_FIRST, JOURNAL_FIRST, NOTHING_FIRST = 0, 1, 2
ENDED = (errno.EIO, errno.EROFS)

suite = Suite("shutdown")
# jbd2 says that it stops a journal, whoever asked for it.
suite.log_pattern = DEFECT


def shut_down(fs, how):
    """Ask for the end of all changes."""
    folder = os.open(fs.mnt, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.ioctl(folder, FS_IOC_SHUTDOWN, struct.pack("I", how))
    finally:
        os.close(folder)


def end(fs, here, how):
    """What a mount that is shut down refuses, and what every way keeps; returns a late folder."""
    fs.unmount()
    # Nothing but the request ends the running transaction.
    fs.mount("commit=300")
    early, late = here / "early", here / "late"
    early.write_text("early")
    os.sync()
    late.mkdir()
    (late / "file").write_bytes(b"late" * PAGE)
    with open(early, "r+b") as file:
        shut_down(fs, how)
        expect_errno(ENDED, os.mkdir, here / "after")
        expect_errno(ENDED, os.rename, early, here / "renamed")
        expect_errno(ENDED, os.pwrite, file.fileno(), b"x", 10 * PAGE)
        expect_errno(ENDED, os.fsync, file)
        shut_down(fs, how)
    expect_equal(early.read_text(), "early", "reading after the end")
    fs.unmount()
    fs.mount()
    expect_equal(early.read_text(), "early", "what sync wrote")
    names = os.listdir(here)
    expect("after" not in names and "renamed" not in names, "a change after the end")
    (here / "again").mkdir()
    fs.unmount()
    fs.fsck()
    fs.mount()
    return late


@suite.test
def everything_first(fs, here):
    """Everything that was written is there."""
    late = end(fs, here, ALL_FIRST)
    expect((late / "file").read_bytes() == b"late" * PAGE, "a late file was not written")


@suite.test
def journal_first(fs, here):
    """What was done to names is there."""
    late = end(fs, here, JOURNAL_FIRST)
    expect((late / "file").is_file(), "a late name is missing")


@suite.test
def nothing_first(fs, here):
    """What nobody made durable is gone."""
    late = end(fs, here, NOTHING_FIRST)
    expect(not late.exists(), "a late folder is there")


@suite.test
def refused(fs, here):
    """It is for the administrator, and knows three ways."""

    def attempt():
        try:
            shut_down(fs, NOTHING_FIRST)
        except OSError as error:
            return errno.errorcode[error.errno]
        return "nothing"

    expect_equal(as_user(1000, 1000, attempt), "EPERM", "what an ordinary user gets")
    expect_errno(errno.EINVAL, shut_down, fs, 3)
    (here / "folder").mkdir()


if __name__ == "__main__":
    sys.exit(suite.main())
