# SPDX-License-Identifier: GPL-2.0-only
"""What the crash test does to a folder, as a sequence that a seed decides, and a model of it.

The load (crash_load.py) performs operation after operation, each made durable before the
next begins, and acknowledges them by number. After the crash the verifier (crash_verify.py)
makes the same sequence again and finds the operation at which the folder stopped: all
before it have to be there whole, and it alone may be missing, or half done in the ways
that `allowed_in_flight` lists. This file does no I/O; it may not know what happened.
"""

import copy
import random
from collections import namedtuple
from dataclasses import dataclass, field

DIM = 16
INDEX = "crash"
FILES = 40
SIZES = (0, 30, 150, 200, 4096, 9_000, 70_000)
TEMPORARY = "temporary"
# Bytes in a block.
BLOCK = 4096

Operation = namedtuple("Operation", "kind path other data number")


@dataclass
class File:
    """A file as the model knows it: contents, one attribute, records by label."""

    data: bytes = b""
    attribute: bytes | None = None
    records: dict = field(default_factory=dict)


def operations(seed, worker, vectors):
    """Endless (operation, model before it, model after it); the models must not be changed."""
    model = {}
    number = 0
    while True:
        number += 1
        source = random.Random(f"{seed} {worker} {number}")
        operation = choose(source, model, number, vectors)
        after = apply(model, operation)
        yield operation, model, after
        model = after


def choose(source, model, number, vectors):
    """An operation that is possible in this state."""
    name = f"f{source.randrange(FILES)}"
    other = f"f{source.randrange(FILES)}"
    data = source.randbytes(source.choice(SIZES))
    if name not in model:
        return Operation("create", name, None, data, number)
    kinds = ["append", "overwrite", "truncate", "replace", "rename", "unlink", "attribute"]
    if vectors:
        kinds += ["put", "put", "put", "delete"]
    kind = source.choice(kinds)
    size = len(model[name].data)
    if kind == "rename" and other == name:
        kind = "unlink"
    if kind == "overwrite" and size < 2:
        kind = "append"
    if kind == "delete" and not model[name].records:
        kind = "put"
    if kind == "overwrite":
        start = source.randrange(size)
        return Operation(kind, name, start, source.randbytes(size - start), number)
    if kind == "truncate":
        # Often to nothing, where the records go too.
        return Operation(
            kind, name, source.choice([0, source.randrange(9000)]), b"", number
        )
    if kind == "put":
        # Small integers as binary32 are finite and differ from one operation to another.
        numbers = [source.randrange(1, 1 << 20) for _ in range(DIM)]
        row = b"".join(float32(value) for value in numbers)
        return Operation(kind, name, source.randrange(4), row, number)
    if kind == "delete":
        label = source.choice(sorted(model[name].records))
        return Operation(kind, name, label, b"", number)
    if kind == "attribute":
        return Operation(kind, name, None, data[:2000], number)
    return Operation(kind, name, other, data, number)


def float32(value):
    """An integer below 2^24 as little-endian binary32."""
    if value == 0:
        return bytes(4)
    exponent = value.bit_length() - 1
    mantissa = (value << (23 - exponent)) & 0x7FFFFF
    return ((exponent + 127) << 23 | mantissa).to_bytes(4, "little")


def apply(model, operation):
    """The state after the operation; the state before it is not changed."""
    after = dict(model)
    kind, path, other, data, _ = operation
    if kind == "create" or kind == "replace":
        after[path] = File(data)
        return after
    if kind == "unlink":
        del after[path]
        return after
    if kind == "rename":
        after[other] = after.pop(path)
        return after
    file = after[path] = copy.deepcopy(after[path])
    if kind == "append":
        file.data += data
    elif kind == "overwrite":
        file.data = file.data[:other] + data
    elif kind == "truncate":
        file.data = file.data[:other].ljust(other, b"\0")
        if other == 0:
            file.records = {}
    elif kind == "attribute":
        file.attribute = data
    elif kind == "put":
        file.records[other] = data
    elif kind == "delete":
        del file.records[other]
    return after


def consistent(found, before, after, operation):
    """Whether the found state lies between these two, which the operation separates."""
    touched = {operation.path, TEMPORARY}
    if operation.kind == "rename":
        touched.add(operation.other)
    for path in (found.keys() | before.keys()) - touched:
        if found.get(path) != before.get(path):
            return False
    state = {path: found.get(path) for path in touched}
    return any(
        all(matches(state[path]) for path, matches in way.items())
        for way in allowed_in_flight(before, after, operation)
    )


def allowed_in_flight(before, after, operation):
    """The ways in which an unfinished operation may be seen, as a test for each touched path."""

    def exactly(file):
        return lambda found: found == file

    def absent_or(test):
        return lambda found: found is None or test(found)

    path = operation.path
    old, new = before.get(path), after.get(path)
    no_temporary = {TEMPORARY: exactly(None)}
    if operation.kind == "create":
        return [{path: absent_or(partly(b"", File(), operation.data)), **no_temporary}]
    if operation.kind == "append":
        return [{path: partly(old.data, old, operation.data), **no_temporary}]
    if operation.kind == "overwrite":
        return [{path: overwritten(old, new), **no_temporary}]
    if operation.kind == "replace":
        # The temporary file grows; then one step puts it in the place of the old one.
        growing = absent_or(partly(b"", File(), operation.data))
        return [
            {path: exactly(old), TEMPORARY: growing},
            {path: exactly(new), **no_temporary},
        ]
    if operation.kind == "rename":
        other = operation.other
        return [
            {path: exactly(old), other: exactly(before.get(other)), **no_temporary},
            {path: exactly(None), other: exactly(after[other]), **no_temporary},
        ]
    ways = [{path: exactly(old), **no_temporary}, {path: exactly(new), **no_temporary}]
    if operation.kind == "truncate":
        ways.append({path: end_cleared(old, operation.other), **no_temporary})
    return ways


def end_cleared(old, size):
    """A file that is `old` with some of its bytes after `size` cleared, in the block that `size` lies in.

    What a size cuts off in the last block is cleared on the device before the size is set: else
    a crash could leave it behind the end, for a later growth to show.
    """
    block_end = -(-size // BLOCK) * BLOCK

    def test(found):
        if found is None or found.attribute != old.attribute or found.records != old.records:
            return False
        data = found.data
        return (
            len(data) == len(old.data)
            and data[:size] == old.data[:size]
            and data[block_end:] == old.data[block_end:]
            and all(
                byte in (0, expected)
                for byte, expected in zip(data[size:block_end], old.data[size:block_end])
            )
        )

    return test


def partly(start, old, added):
    """A file that is `old` with some of `added` after `start`: what is not there reads as zero.

    The size may have any value in between, for data reaches the device in any order. Bytes
    that belong to neither, such as another file's, are never allowed.
    """

    def test(found):
        if found is None or found.attribute != old.attribute:
            return False
        if found.records != old.records or not found.data.startswith(start):
            return False
        tail = found.data[len(start) :]
        return len(tail) <= len(added) and all(
            byte in (0, expected) for byte, expected in zip(tail, added)
        )

    return test


def overwritten(old, new):
    """A file of which each byte is the old or the new one."""

    def test(found):
        if found is None or found.attribute != old.attribute:
            return False
        if found.records != old.records or len(found.data) != len(old.data):
            return False
        pairs = zip(found.data, old.data, new.data)
        return all(byte in (left, right) for byte, left, right in pairs)

    return test
