#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""File contents: writes of every shape, holes, truncation and mmap."""

import errno
import functools
import hashlib
import mmap
import os
import random
import signal
import sys

from guest import (
    MIB,
    PAGE,
    Skip,
    Suite,
    drop_caches,
    expect,
    expect_equal,
    expect_errno,
    problems,
    run,
    start_processes,
)

TIB = 1 << 40

suite = Suite("posix_data")


def digest(path):
    """SHA-256 of a file's contents."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def first_difference(found, expected):
    """A sentence on where two byte strings part."""
    if len(found) != len(expected):
        return f"{len(found)} bytes instead of {len(expected)}"
    for offset, (left, right) in enumerate(zip(found, expected)):
        if left != right:
            return f"byte {offset} is {left:#04x} instead of {right:#04x}"
    return "equal"


def expect_contents(path, expected, when):
    """Fail unless the file holds exactly these bytes."""
    found = path.read_bytes()
    expect(found == expected, f"{path.name} {when}: {first_difference(found, expected)}")


@suite.test
def sizes(fs, here):
    """Files of every size around the borders: empty, inline, one block, many, over a remount."""
    borders = [0, 1, 8, 100, 159, 160, 167, 168, 169, 175, 176, 177, 255, 256, 511, 512]
    for block in (PAGE, 2 * PAGE, 64 * 1024, MIB):
        borders += [block - 1, block, block + 1]
    source = random.Random(1)
    expected = {size: source.randbytes(size) for size in borders}
    for size, data in expected.items():
        (here / f"size{size}").write_bytes(data)
    for size, data in expected.items():
        expect_contents(here / f"size{size}", data, "from the cache")
    fs.cycle()
    for size, data in expected.items():
        expect_contents(here / f"size{size}", data, "after a remount")
        expect_equal((here / f"size{size}").stat().st_size, size, "size")


@suite.test
def growing_by_appends(fs, here):
    """A file that grows by small appends through the inline limit keeps every byte."""
    source = random.Random(2)
    expected = b""
    with open(here / "file", "ab", buffering=0) as file:
        while len(expected) < 3 * PAGE:
            piece = source.randbytes(source.randint(1, 90))
            file.write(piece)
            expected += piece
            if len(expected) < 400:
                expect_contents(here / "file", expected, f"at {len(expected)} bytes")
    expect_contents(here / "file", expected, "from the cache")
    fs.cycle()
    expect_contents(here / "file", expected, "after a remount")


@suite.test
def random_writes(fs, here):
    """2,000 random writes, truncations and reads against a model in memory, with remounts."""
    source = random.Random(3)
    limit = 2 * MIB
    model = bytearray()
    descriptor = os.open(here / "file", os.O_CREAT | os.O_RDWR)
    for step in range(2000):
        action = source.random()
        if action < 0.55:
            # Half of the offsets are small, so that the inline form is met again and again.
            offset = source.choice([source.randrange(300), source.randrange(limit)])
            data = source.randbytes(source.choice([1, 50, 200, PAGE, 30_000]))
            if len(model) < offset:
                model.extend(bytes(offset - len(model)))
            model[offset : offset + len(data)] = data
            os.pwrite(descriptor, data, offset)
        elif action < 0.75:
            size = source.choice([source.randrange(300), source.randrange(limit)])
            if size < len(model):
                del model[size:]
            else:
                model.extend(bytes(size - len(model)))
            os.ftruncate(descriptor, size)
        elif action < 0.95:
            offset = source.randrange(limit)
            found = os.pread(descriptor, 20_000, offset)
            expected = bytes(model[offset : offset + 20_000])
            problem = first_difference(found, expected)
            expect(found == expected, f"step {step}, read at {offset}: {problem}")
        elif action < 0.98:
            os.fsync(descriptor)
        else:
            os.fsync(descriptor)
            drop_caches()
        if step % 500 == 499:
            os.close(descriptor)
            fs.cycle()
            expect_contents(here / "file", bytes(model), f"after step {step}")
            descriptor = os.open(here / "file", os.O_RDWR)
    os.close(descriptor)


@suite.test
def large_file(fs, here):
    """128 MiB written, the cache dropped, read back unchanged, and again after a remount."""
    source = random.Random(4)
    block = source.randbytes(MIB)
    expected = hashlib.sha256()
    with open(here / "file", "wb") as file:
        for number in range(128):
            piece = number.to_bytes(8, "little") + block[8:]
            file.write(piece)
            expected.update(piece)
    drop_caches()
    expect_equal(digest(here / "file"), expected.hexdigest(), "digest, cache dropped")
    fs.cycle()
    expect_equal(digest(here / "file"), expected.hexdigest(), "digest, remounted")


@suite.test
def sparse_file(fs, here):
    """Holes read as zeros, take no blocks, and are found by SEEK_DATA and SEEK_HOLE."""
    path = here / "file"
    with open(path, "wb") as file:
        os.pwrite(file.fileno(), b"start", 0)
        os.pwrite(file.fileno(), b"middle", TIB)
        os.ftruncate(file.fileno(), 2 * TIB)
    fs.cycle()
    status = path.stat()
    expect_equal(status.st_size, 2 * TIB, "size")
    expect(status.st_blocks * 512 <= MIB, f"{status.st_blocks} sectors for two blocks")
    descriptor = os.open(path, os.O_RDONLY)
    expect_equal(os.pread(descriptor, 8, 0), b"start\0\0\0", "the start")
    expect_equal(os.pread(descriptor, 8, TIB), b"middle\0\0", "the middle")
    expect_equal(os.pread(descriptor, PAGE, TIB // 2), bytes(PAGE), "a hole")
    expect_equal(os.pread(descriptor, PAGE, 2 * TIB - 10), bytes(10), "the end")
    expect_equal(os.lseek(descriptor, 0, os.SEEK_DATA), 0, "first data")
    hole = os.lseek(descriptor, 0, os.SEEK_HOLE)
    expect(5 <= hole <= MIB, f"first hole at {hole}")
    data = os.lseek(descriptor, hole, os.SEEK_DATA)
    expect(TIB - MIB <= data <= TIB, f"second data at {data}")
    hole = os.lseek(descriptor, TIB, os.SEEK_HOLE)
    expect(TIB < hole <= TIB + MIB, f"second hole at {hole}")
    expect_errno(errno.ENXIO, os.lseek, descriptor, hole, os.SEEK_DATA)
    os.close(descriptor)


@suite.test
def largest_offset(fs, here):
    """A block at 2^62 is kept; beyond the limit of the VFS writing fails with EFBIG."""
    if fs.fstype == "ext4":
        raise Skip("ext4 ends at 16 TiB")
    offset = 1 << 62
    with open(here / "file", "wb+") as file:
        os.pwrite(file.fileno(), b"far", offset)
        os.fsync(file.fileno())
        expect_errno(
            (errno.EFBIG, errno.EINVAL),
            os.pwrite,
            file.fileno(),
            b"too far",
            (1 << 63) - 2,
        )
    fs.cycle()
    descriptor = os.open(here / "file", os.O_RDWR)
    expect_equal(os.pread(descriptor, 10, offset), b"far", "contents")
    expect_equal(os.fstat(descriptor).st_size, offset + 3, "size")
    os.ftruncate(descriptor, 0)
    os.close(descriptor)


@suite.test
def truncate_zeroes(fs, here):
    """What was cut off does not come back when the file grows again, at every border."""
    source = random.Random(5)
    for full in (100, 168, 300, PAGE, 3 * PAGE, 100_000):
        for cut in (0, 1, 99, 150, 169, PAGE - 1, PAGE, PAGE + 1, 2 * PAGE + 17):
            if cut >= full:
                continue
            data = source.randbytes(full)
            path = here / f"file-{full}-{cut}"
            path.write_bytes(data)
            if cut % 2:
                drop_caches()
            os.truncate(path, cut)
            os.truncate(path, full)
            expect_contents(path, data[:cut] + bytes(full - cut), "from the cache")
    fs.cycle()
    for path in sorted(here.iterdir()):
        _, full, cut = path.name.split("-")
        found = path.read_bytes()
        tail = found[int(cut) :]
        expect_equal(len(found), int(full), f"size of {path.name}")
        expect(not any(tail), f"{path.name}: old bytes came back after a remount")


@suite.test
def truncate_frees(fs, here):
    """Truncation gives the space back, also of a file in thousands of pieces."""
    path = here / "file"
    path.touch()
    before = fs.free()
    with open(path, "rb+") as file:
        for number in range(3000):
            os.pwrite(file.fileno(), b"piece", number * 3 * PAGE)
        os.fsync(file.fileno())
    expect(fs.free()[0] <= before[0] - 3000, "3,000 blocks were not taken")
    os.truncate(path, 0)
    expect_equal(path.stat().st_blocks, 0, "sectors of the empty file")
    fs.expect_free(before, "after truncation")


@suite.test
def truncate_to_same_size(fs, here):
    """Truncation to the size that a file has frees what was allocated beyond it, and nothing else."""
    for number, size in enumerate((0, 100, PAGE, 5 * PAGE + 1)):
        path = here / f"file{number}"
        data = random.Random(number).randbytes(size)
        path.write_bytes(data)
        os.sync()
        sectors = path.stat().st_blocks
        before = fs.free()
        # fallocate(1) keeps the size with -n.
        run(["fallocate", "-n", "-o", 8 * PAGE, "-l", MIB, path])
        expect(path.stat().st_blocks >= sectors + MIB // 512, "no space beyond the size")
        os.truncate(path, size)
        # Data may have moved from the inode to a block.
        kept = path.stat().st_blocks
        expect(kept <= max(sectors, 8), f"{kept} sectors of {size} bytes, were {sectors}")
        if kept == sectors:
            fs.expect_free(before, f"after truncating {size} bytes to the same")
        expect_contents(path, data, "after truncation to the same size")
    fs.cycle()
    for number, size in enumerate((0, 100, PAGE, 5 * PAGE + 1)):
        data = random.Random(number).randbytes(size)
        expect_contents(here / f"file{number}", data, "after a remount")


@suite.test
def mmap_shared(fs, here):
    """Stores through a shared mapping reach read(), the device, and a hole in a sparse file."""
    path = here / "file"
    path.write_bytes(bytes(10 * PAGE + 100))
    os.truncate(path, 300 * PAGE)
    with open(path, "rb+") as file, mmap.mmap(file.fileno(), 300 * PAGE) as memory:
        memory[0:5] = b"first"
        memory[10 * PAGE + 98 : 10 * PAGE + 102] = b"edge"
        memory[200 * PAGE : 200 * PAGE + 4] = b"hole"
        expect_equal(os.pread(file.fileno(), 5, 0), b"first", "read before msync")
        os.pwrite(file.fileno(), b"written", PAGE)
        expect_equal(memory[PAGE : PAGE + 7], b"written", "load after write")
        memory.flush()
        memory[250 * PAGE : 250 * PAGE + 4] = b"late"
    drop_caches()
    expected = bytearray(300 * PAGE)
    expected[0:5] = b"first"
    expected[PAGE : PAGE + 7] = b"written"
    expected[10 * PAGE + 98 : 10 * PAGE + 102] = b"edge"
    expected[200 * PAGE : 200 * PAGE + 4] = b"hole"
    expected[250 * PAGE : 250 * PAGE + 4] = b"late"
    expect_contents(path, bytes(expected), "cache dropped")
    fs.cycle()
    expect_contents(path, bytes(expected), "after a remount")


@suite.test
def mmap_small_file(fs, here):
    """A file that lives in its inode can be mapped and changed; bytes after its end stay out."""
    path = here / "file"
    path.write_bytes(b"small file")
    with open(path, "rb+") as file, mmap.mmap(file.fileno(), 10) as memory:
        memory[0:5] = b"SMALL"
        memory.flush()
    os.truncate(path, 200)
    expect_contents(path, b"SMALL file" + bytes(190), "from the cache")
    fs.cycle()
    expect_contents(path, b"SMALL file" + bytes(190), "after a remount")


@suite.test
def mmap_private(fs, here):
    """A private mapping never changes the file."""
    (here / "file").write_bytes(b"original" * 1000)
    with open(here / "file", "rb+") as file:
        with mmap.mmap(file.fileno(), 8000, flags=mmap.MAP_PRIVATE) as memory:
            memory[0:8] = b"changed!"
    drop_caches()
    expect_contents(here / "file", b"original" * 1000, "afterwards")


@suite.test
def mmap_beyond_end(fs, here):
    """Touching a mapped page beyond the end of a truncated file is SIGBUS, nothing worse."""
    path = here / "file"
    path.write_bytes(b"x" * 4 * PAGE)
    child = os.fork()
    if child == 0:
        with open(path, "rb+") as file:
            memory = mmap.mmap(file.fileno(), 4 * PAGE)
            os.truncate(path, PAGE)
            memory[0] = 1
            memory[2 * PAGE] = 1
        os._exit(0)
    _, status = os.waitpid(child, 0)
    expect(os.WIFSIGNALED(status), f"the child ended with {status:#x}, not by a signal")
    expect_equal(os.WTERMSIG(status), signal.SIGBUS, "signal")
    expect_contents(path, b"\x01" + b"x" * (PAGE - 1), "afterwards")


@suite.test
def fragmented_space(fs, here):
    """One write over preallocated space in a hundred pieces is kept, direct or through the cache."""
    pieces = 100
    files = [
        os.open(here / name, os.O_CREAT | os.O_RDWR, 0o644) for name in ("direct", "cached")
    ]
    for number in range(pieces + 1):
        for file in files:
            os.posix_fallocate(file, number * PAGE, PAGE)
    data = b"".join(bytes([number + 1]) * PAGE for number in range(pieces))
    with mmap.mmap(-1, len(data)) as memory:  # aligned as direct I/O wants it
        memory.write(data)
        direct = os.open(here / "direct", os.O_RDWR | os.O_DIRECT)
        expect_equal(os.pwritev(direct, [memory], PAGE), len(data), "bytes written")
        os.close(direct)
    expect_equal(os.pwrite(files[1], data, PAGE), len(data), "bytes written")
    for file in files:
        os.fsync(file)
        os.close(file)
    fs.cycle()
    for name in ("direct", "cached"):
        expect_contents(here / name, bytes(PAGE) + data, f"{name}, after a remount")


@suite.test
def append_from_many(fs, here):
    """Eight processes appending records with O_APPEND lose none and tear none."""

    def append(writer):
        descriptor = os.open(here / "log", os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o644)
        for number in range(500):
            os.write(descriptor, f"{writer} {number:5} {'.' * 55}\n".encode())

    started = start_processes(functools.partial(append, writer) for writer in range(8))
    expect_equal(problems(started), [], "problems")
    fs.cycle()
    lines = (here / "log").read_text().splitlines()
    expect_equal(len(lines), 4000, "lines")
    for writer in range(8):
        numbers = [int(line.split()[1]) for line in lines if line[0] == str(writer)]
        expect_equal(numbers, list(range(500)), f"records of writer {writer}")
    expect(all(len(line) == 63 for line in lines), "a line is torn")


if __name__ == "__main__":
    sys.exit(suite.main())
