# SPDX-License-Identifier: GPL-2.0-only
"""What every guest test shares: the filesystem under test, naming of results, and small helpers.

Responsible for making, mounting and checking the filesystem on the scratch device, for
running named tests and printing one line for each, and for reading the kernel log. It
knows no behaviour of a particular filesystem beyond the names of its tools, so that the
same tests can be run against ext4 or xfs to see that the tests themselves are right. It
may not decide what a filesystem should do: that is said in the tests.

The environment (see README.md) is read once, in `Filesystem.from_environment`.
"""

import argparse
import ctypes
import errno
import os
import re
import shlex
import subprocess
import time
import traceback
from pathlib import Path

PAGE = 4096
MIB = 1 << 20

# Options that make each tool overwrite what is there, and check without changing anything.
MKFS = {
    "vexfs": ["mkfs.vexfs", "--quiet", "--force"],
    "ext4": ["mkfs.ext4", "-q", "-F"],
    "xfs": ["mkfs.xfs", "-q", "-f"],
    "btrfs": ["mkfs.btrfs", "-q", "-f"],
}
# These take the size of the filesystem as an argument after the device.
SIZED = ("vexfs", "ext4")
FSCK = {
    "vexfs": ["fsck.vexfs", "-n"],
    "ext4": ["e2fsck", "-f", "-n"],
    "xfs": ["xfs_repair", "-n"],
    "btrfs": ["btrfs", "check"],
}

# What no run may print to the kernel log, whatever is on the disk.
DEFECT = re.compile(
    r"(?-i:\bBUG\b)|\bWARNING:|\bOops\b|\bpanic|Call Trace|KASAN|UBSAN|general protection"
    r"|unable to handle|blocked for more than|soft lockup|hung task|refcount_t"
    r"|list_\w+ corruption|circular locking|bad unlock|sleeping function",
    re.IGNORECASE,
)
# What a run on a sound disk does not print, besides.
ALARMING = re.compile(
    DEFECT.pattern
    + r"|corruption|JBD2:.*(?:[Ee]rror|abort)|Aborting journal|Buffer I/O error|I/O error, dev"
    r"|vexfs.*(?:\berror\b|corrupt|abort|EUCLEAN)",
    re.IGNORECASE,
)

libc = ctypes.CDLL(None, use_errno=True)


class Failure(Exception):
    """A test found something that is not as it should be."""


class Skip(Exception):
    """The filesystem does not offer what the test is about; the reason is printed."""


class Unusable(Exception):
    """The environment does not allow the tests to run at all."""


def expect(condition, message):
    """Fail with `message` unless `condition` holds."""
    if not condition:
        raise Failure(message)


def expect_equal(found, expected, what):
    """Fail unless the two are equal, saying what was compared."""
    if found != expected:
        raise Failure(f"{what}: found {brief(found)}, expected {brief(expected)}")


def expect_errno(number, call, *arguments, **keywords):
    """Fail unless `call` raises OSError with this errno (or one of a tuple of them)."""
    allowed = number if isinstance(number, tuple) else (number,)
    wanted = " or ".join(errno.errorcode[each] for each in allowed)
    name = getattr(call, "__name__", str(call))
    try:
        call(*arguments, **keywords)
    except OSError as error:
        if error.errno not in allowed:
            found = errno.errorcode.get(error.errno, error.errno)
            raise Failure(f"{name}: failed with {found}, expected {wanted}") from error
        return
    raise Failure(f"{name}: succeeded, expected {wanted}")


def brief(value, limit=160):
    """A representation short enough for a line of output."""
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}... ({len(text)} characters)"


def check_call(result, name):
    """Turn the result of a libc function into an OSError if it is negative."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return result


def run(command, **keywords):
    """Run a command; on failure raise with what it printed. Returns its standard output."""
    done = subprocess.run(
        [str(word) for word in command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        **keywords,
    )
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        tail = "; ".join(said[-5:])
        raise Failure(f"{shlex.join(map(str, command))}: exit {done.returncode}: {tail}")
    return done.stdout


def drop_caches():
    """Write back everything, then drop clean pages, dentries and inodes."""
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3\n", encoding="ascii")


def start_process(work):
    """Run a function in a process of its own, which writes what it returns, or what it fails
    with, into a pipe. Returns (process, pipe) for `end_of`."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reader)
            answer = work()
            os.write(writer, str(answer).encode())
            status = 0
        except BaseException as error:  # the child must not return into the suite
            os.write(writer, f"{type(error).__name__}: {error}".encode()[:PAGE])
        finally:
            os._exit(status)
    os.close(writer)
    return child, reader


def end_of(started):
    """Wait for a process: (whether it succeeded, what it said)."""
    child, reader = started
    with os.fdopen(reader, "rb") as stream:
        said = stream.read().decode(errors="replace")
    status = os.waitpid(child, 0)[1]
    if status:
        said = said or f"died with wait status {status:#x}"
    return status == 0, said


def start_processes(works):
    """Run each function in a process of its own; `problems` waits for what this returns."""
    return [start_process(work) for work in works]


def problems(started):
    """Wait for processes; what those that failed said, with their numbers."""
    ends = [end_of(each) for each in started]
    return [f"process {number}: {said}" for number, (good, said) in enumerate(ends) if not good]


def as_user(uid, gid, action, groups=()):
    """Run `action` in a child with these ids and no capabilities; returns what it returned, as text.

    The ids need no entry in /etc/passwd. An action that raises fails the test with the
    exception's text.
    """

    def work():
        os.setgroups(list(groups))
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
        return action()

    good, said = end_of(start_process(work))
    expect(good, f"as uid {uid}: {said}")
    return said


class KernelLog:
    """The kernel's messages from the moment this object was made."""

    def __init__(self):
        self.descriptor = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
        os.lseek(self.descriptor, 0, os.SEEK_END)

    def alarming(self, pattern=ALARMING):
        """The new messages that match the pattern."""
        found = []
        while True:
            try:
                record = os.read(self.descriptor, 8192)
            except BlockingIOError:
                return found
            except BrokenPipeError:
                continue  # the ring buffer overtook us; go on with the oldest that is left
            text = record.decode(errors="replace").partition(";")[2].splitlines()[:1]
            if text and pattern.search(text[0]):
                found.append(text[0])


class Filesystem:
    """The filesystem under test: its type, device and mount point."""

    def __init__(self, fstype, device, mount_point, module):
        self.fstype = fstype
        self.device = device
        self.mnt = Path(mount_point)
        self.module = module

    @classmethod
    def from_environment(cls):
        """Read FSTYP, VEXFS_DEV, VEXFS_MNT and VEXFS_KO."""
        fstype = os.environ.get("FSTYP", "vexfs")
        if fstype not in MKFS:
            raise Unusable(f"FSTYP={fstype}: known are {', '.join(MKFS)}")
        device = os.environ.get("VEXFS_DEV")
        if not device or not Path(device).is_block_device():
            raise Unusable("VEXFS_DEV must name a block device; its contents are lost")
        if os.geteuid() != 0:
            raise Unusable("the tests mount filesystems and must run as root")
        mount_point = os.environ.get("VEXFS_MNT", "/mnt")
        return cls(fstype, device, mount_point, os.environ.get("VEXFS_KO"))

    def load(self):
        """Load the module unless the kernel already knows the type."""
        if self.is_registered():
            return
        if self.module:
            run(["insmod", self.module])
        else:
            run(["modprobe", self.fstype])
        if not self.is_registered():
            raise Unusable(f"the kernel does not know {self.fstype}")

    def is_registered(self):
        """Whether the kernel lists the filesystem type."""
        lines = Path("/proc/filesystems").read_text(encoding="ascii").splitlines()
        return self.fstype in (line.split()[-1] for line in lines if line.strip())

    def make(self, size=None):
        """Make a new filesystem on the device, of a size such as "64M" if one is given."""
        if size and self.fstype not in SIZED:
            raise Unusable(f"no way known to make a {self.fstype} of {size}")
        run([*MKFS[self.fstype], self.device, *([size] if size else [])])

    def mount(self, options=None):
        """Mount it; `options` as after mount's -o."""
        extra = ["-o", options] if options else []
        run(["mount", "-t", self.fstype, *extra, self.device, self.mnt])

    def unmount(self):
        """Unmount it."""
        run(["umount", self.mnt])

    def is_mounted(self):
        """Whether something is mounted at the mount point."""
        return os.path.ismount(self.mnt)

    def cycle(self):
        """Unmount and mount again, so that everything has to come from the device."""
        self.unmount()
        self.mount()

    def fsck(self):
        """Check the unmounted filesystem; any problem is a failure."""
        run([*FSCK[self.fstype], self.device])

    def free(self):
        """(free blocks, free inodes) after everything pending was written."""
        os.sync()
        status = os.statvfs(self.mnt)
        return status.f_bfree, status.f_ffree

    def expect_free(self, before, what):
        """Fail unless the free blocks and inodes are again what they were.

        Blocks may be given back by work that runs after the commit, so this syncs and
        looks again some times before it believes that space was lost.
        """
        now = None
        for _ in range(100):
            now = self.free()
            if now == before:
                return
            time.sleep(0.1)
        raise Failure(f"{what}: (free blocks, inodes) is {now}, was {before}")

    def blocks_moved(self):
        """(4 KiB blocks read, blocks written) on the device since boot."""
        name = os.path.basename(os.path.realpath(self.device))
        fields = Path(f"/sys/class/block/{name}/stat").read_text("ascii").split()
        return int(fields[2]) // 8, int(fields[6]) // 8


class Suite:
    """Named tests over one fresh filesystem, run in the order of their definition."""

    def __init__(self, name, only=None, size=None):
        """`only`: the one type of filesystem that the tests are for; `size`: how large it shall be."""
        self.name = name
        self.only = only
        self.size = size
        self.log_pattern = ALARMING
        self.tests = []
        self.passed = 0
        self.failed = 0
        self.skipped = 0

    def test(self, function):
        """Decorator: `function(fs, here)` is a test; `here` is an empty folder of its own."""
        self.tests.append(function)
        return function

    def report(self, name, action):
        """Run `action` and print the line for it. Returns whether it did not fail."""
        try:
            action()
        except Skip as reason:
            self.skipped += 1
            print(f"ok {self.name}.{name} # SKIP {reason}", flush=True)
            return True
        except Exception as error:  # any exception is this test's failure
            self.failed += 1
            kind = "" if isinstance(error, Failure) else f"{type(error).__name__}: "
            where = ""
            for frame in traceback.extract_tb(error.__traceback__):
                if frame.filename != __file__:
                    where = f" ({os.path.basename(frame.filename)}:{frame.lineno})"
            reason = " ".join(str(error).split())
            print(f"not ok {self.name}.{name}: {kind}{reason}{where}", flush=True)
            return False
        self.passed += 1
        print(f"ok {self.name}.{name}", flush=True)
        return True

    def note(self, text):
        """Print something for the reader which is neither a success nor a failure."""
        print(f"# {self.name}: {text}", flush=True)

    def main(self):
        """Parse the command line, run the tests, return the exit status."""
        parser = argparse.ArgumentParser(
            description=f"Guest tests: {self.name}. The environment is described in README.md."
        )
        parser.add_argument("--list", action="store_true", help="print the tests' names")
        parser.add_argument("names", nargs="*", help="run only these")
        options = parser.parse_args()
        if options.list:
            print("\n".join(test.__name__ for test in self.tests))
            return 0
        known = {test.__name__ for test in self.tests}
        unknown = [name for name in options.names if name not in known]
        if unknown:
            parser.error(f"no such test: {', '.join(unknown)}")
        chosen = [t for t in self.tests if not options.names or t.__name__ in options.names]
        try:
            fs = Filesystem.from_environment()
            log = KernelLog()
            self.prepare(fs)
        except (Unusable, Failure, OSError) as error:
            print(f"not ok {self.name}.prepare: {error}", flush=True)
            return 2
        for test in chosen:
            self.run_test(fs, test)
        self.report("fsck", lambda: self.finish(fs))
        self.report("dmesg", lambda: self.judge_log(log))
        print(
            f"# {self.name} on {fs.fstype}: {self.passed} passed, "
            f"{self.failed} failed, {self.skipped} skipped",
            flush=True,
        )
        return 1 if self.failed else 0

    def judge_log(self, log):
        """Fail if the kernel said something that it should not have."""
        expect_equal(log.alarming(self.log_pattern), [], "kernel log")

    def prepare(self, fs):
        """A fresh, mounted filesystem whose root everybody may search."""
        if self.only not in (None, fs.fstype):
            raise Unusable(f"these tests are for {self.only}, not for {fs.fstype}")
        if fs.is_mounted():
            raise Unusable(f"{fs.mnt} is in use")
        os.umask(0o022)
        fs.load()
        fs.make(self.size)
        fs.mount()
        os.chmod(fs.mnt, 0o755)

    def run_test(self, fs, test):
        """One test in a folder of its own; a mount it lost is brought back for the next."""

        def action():
            if not fs.is_mounted():
                fs.load()
                fs.mount()
            here = fs.mnt / test.__name__
            here.mkdir()
            test(fs, here)

        self.report(test.__name__, action)

    def finish(self, fs):
        """Unmount and check."""
        if fs.is_mounted():
            fs.unmount()
        fs.fsck()
