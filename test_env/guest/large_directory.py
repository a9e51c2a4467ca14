#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""200,000 empty files in one directory: create, list, look up, unlink; what it costs as it grows.

Times are printed, as ratios of the last batch to the first, and never judged: a machine
may be busy. Judged is what an operation moves on the device, which does not depend on the
machine: a cold look-up, a durable create and a durable unlink may touch only a few blocks
more in a directory of 200,000 entries than in one of ten. A search from entry to entry
would read thousands. The tests stand on each other in this order.

VEXFS_LARGE_DIR sets another number of files.
"""

import os
import random
import statistics
import subprocess
import sys
import time

from guest import Failure, Suite, drop_caches, expect, expect_equal, run

COUNT = int(os.environ.get("VEXFS_LARGE_DIR", "200000"))
BATCH = max(COUNT // 20, 1)
SMALL = 10
SAMPLES = 25
# A tree of 200,000 entries is three levels of 4 KiB nodes deep where ten entries need one;
# the rest is for what else a filesystem reads or logs beside it.
EXTRA_BLOCKS = 8
# Mount options that let a filesystem read what it needs and no neighbours.
NO_READ_AHEAD = {"ext4": "inode_readahead_blks=1"}

suite = Suite("large_directory")


def large(fs):
    """The directory with all the files."""
    return fs.mnt / "large"


def small(fs):
    """A directory of ten files, to compare with."""
    return fs.mnt / "small"


def name(number):
    """The name of a file; of different lengths, and in no order that a hash would keep."""
    return f"{number * 2654435761 % (1 << 32):08x}-{number}{'x' * (number % 23)}"


def in_batches(what, numbers, operation):
    """Run the operation for every number; print the time of the batches, last against first."""
    numbers = list(numbers)
    times = []
    for start in range(0, len(numbers), BATCH):
        batch = numbers[start : start + BATCH]
        begin = time.perf_counter()
        for number in batch:
            operation(number)
        times.append((time.perf_counter() - begin) / len(batch))
    microseconds = " ".join(f"{each * 1e6:.0f}" for each in times)
    suite.note(
        f"{what}: last batch / first batch = {times[-1] / times[0]:.2f}; "
        f"us per operation in each batch: {microseconds}"
    )


def create(path):
    """Make an empty file that was not there."""
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))


def median_moved(fs, index, operation, arguments, prepare):
    """The median of blocks read (index 0) or written (1) over single runs of an operation."""
    moved = []
    for argument in arguments:
        prepare()
        before = fs.blocks_moved()[index]
        operation(argument)
        moved.append(fs.blocks_moved()[index] - before)
    return statistics.median(moved)


def judge(what, verb, in_small, in_large):
    """Print the two medians, and fail if the large directory costs many blocks more."""
    suite.note(
        f"{what}: {verb} {in_small:g} blocks with {SMALL} entries, "
        f"{in_large:g} with {COUNT}"
    )
    expect(
        in_large <= in_small + EXTRA_BLOCKS,
        f"{what} {verb} {in_large:g} blocks with {COUNT} entries, {in_small:g} with {SMALL}",
    )


@suite.test
def create_all(fs, here):
    """All files are made; making one that is there fails."""
    here.rmdir()
    suite.before = fs.free()
    inodes = suite.before[1]
    expect(inodes > COUNT, f"VEXFS_DEV is too small: {inodes} inodes for {COUNT} files")
    large(fs).mkdir()
    small(fs).mkdir()
    for number in range(SMALL):
        create(small(fs) / name(number))
    top = os.fsencode(large(fs)) + b"/"
    in_batches("create", range(COUNT), lambda n: create(top + name(n).encode()))
    try:
        create(top + name(COUNT // 2).encode())
    except FileExistsError:
        pass
    else:
        raise Failure("a file was made twice")
    os.sync()


@suite.test
def list_all(fs, here):
    """readdir gives every name once, warm and after a remount; ls counts the same."""
    here.rmdir()
    expected = {name(number) for number in range(COUNT)}
    for when in ("warm", "remounted"):
        found = os.listdir(large(fs))
        expect_equal(len(found), COUNT, f"names, {when}")
        expect(set(found) == expected, f"{when}: the names are not those that were made")
        if when == "warm":
            fs.cycle()
    listing = run(["ls", "-f", large(fs)])
    expect_equal(listing.count("\n"), COUNT + 2, "lines of ls -f, with . and ..")
    listing = run(["ls", large(fs)], env={**os.environ, "LC_ALL": "C"}).splitlines()
    expect(listing == sorted(expected), "ls: the sorted names differ")


@suite.test
def look_up_all(fs, here):
    """Every name is found in random order with a cold cache; absent names are not."""
    here.rmdir()
    drop_caches()
    numbers = list(range(COUNT))
    random.Random(9).shuffle(numbers)
    top = os.fsencode(large(fs)) + b"/"
    in_batches("look up", numbers, lambda n: os.lstat(top + name(n).encode()))
    for number in range(COUNT, COUNT + 2000):
        expect(not os.path.lexists(top + name(number).encode()), "an absent name was found")


@suite.test
def cold_lookup_reads(fs, here):
    """A look-up with nothing cached reads about as little as in a directory of ten files."""
    here.rmdir()
    fs.unmount()
    fs.mount(NO_READ_AHEAD.get(fs.fstype))
    source = random.Random(11)
    medians = []
    for folder, count in ((small(fs), SMALL), (large(fs), COUNT)):
        paths = [folder / name(source.randrange(count)) for _ in range(SAMPLES)]
        medians.append(median_moved(fs, 0, os.lstat, paths, drop_caches))
    fs.cycle()
    judge("cold look-up", "reads", *medians)


@suite.test
def durable_changes_write(fs, here):
    """A create and an unlink, each made durable, write about as little as among ten files."""
    here.rmdir()
    for what, action in (("durable create", create), ("durable unlink", os.unlink)):
        medians = []
        for folder in (small(fs), large(fs)):
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)

            def durably(path, action=action, descriptor=descriptor):
                action(path)
                os.fsync(descriptor)

            paths = [folder / f"new-{name(number)}" for number in range(SAMPLES)]
            medians.append(median_moved(fs, 1, durably, paths, os.sync))
            os.close(descriptor)
        judge(what, "writes", *medians)
    expect_equal(len(os.listdir(small(fs))), SMALL, "names in the small directory")


@suite.test
def rename_within(fs, here):
    """10,000 entries get new names and old ones, and the count stays."""
    here.rmdir()
    top = os.fsencode(large(fs)) + b"/"
    some = range(0, COUNT, max(COUNT // 10_000, 1))
    for number in some:
        os.rename(top + name(number).encode(), top + b"moved-" + name(number).encode())
    expect_equal(len(os.listdir(large(fs))), COUNT, "names")
    for number in some:
        os.rename(top + b"moved-" + name(number).encode(), top + name(number).encode())
    expect(set(os.listdir(large(fs))) == set(map(name, range(COUNT))), "names differ")


@suite.test
def fsck_of_all(fs, here):
    """fsck of the unmounted filesystem finds nothing."""
    here.rmdir()
    fs.unmount()
    fs.fsck()
    fs.mount()


@suite.test
def unlink_while_reading(fs, here):
    """A reader that removes what it reads meets every entry exactly once, as rm -r does."""
    here.rmdir()
    top = large(fs)
    removed = 0
    with os.scandir(top) as entries:
        for entry in entries:
            os.unlink(entry.path)
            removed += 1
            if removed == COUNT // 10:
                break
    with os.scandir(top) as entries:
        left = sum(1 for _ in entries)
    expect_equal(left, COUNT - removed, "names left")


@suite.test
def unlink_all(fs, here):
    """The rest is removed in random order; the empty directory goes; all space is back."""
    here.rmdir()
    top = os.fsencode(large(fs)) + b"/"
    names = os.listdir(os.fsencode(large(fs)))
    random.Random(10).shuffle(names)
    in_batches("unlink", names, lambda each: os.unlink(top + each))
    expect_equal(os.listdir(large(fs)), [], "names left")
    refused = subprocess.run(["rmdir", small(fs)], capture_output=True, check=False)
    expect(refused.returncode != 0, "rmdir of a directory with entries went through")
    for each in os.listdir(small(fs)):
        os.unlink(small(fs) / each)
    os.rmdir(large(fs))
    os.rmdir(small(fs))
    fs.expect_free(suite.before, "after removing everything")


if __name__ == "__main__":
    sys.exit(suite.main())
