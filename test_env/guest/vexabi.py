# SPDX-License-Identifier: GPL-2.0-only
"""The ioctl ABI of VexFS as a program without our crates would write it down.

Responsible for packing and unpacking the request structures, by hand from their
documentation in uapi/, so that the tests that use it check the kernel against the
documented ABI and not against the code that both were made from. It may not interpret
errors: a refused request is an OSError.
"""

import ctypes
import fcntl
import os
import struct
from collections import namedtuple

NAME_SIZE = 64
F32, F16, I8, BINARY = 1, 2, 3, 4
METRICS = {"l2": 1, "cosine": 2, "dot": 3}
HAMMING = 4
PUT_EXCL = 1
GET_NEXT = 1
DELETE_ALL = 1
SEARCH_EXACT = 1
THIS_FILE = -1
BUILD_TAKE_DOWN = 1

IndexInfo = namedtuple(
    "IndexInfo",
    "name id dim element metric mode uid gid segments records slots bytes created"
    " tree_entries tree_bytes tree_partitions tree_height",
)
Hit = namedtuple("Hit", "inode label tag distance generation path")
Stats = namedtuple(
    "Stats", "isa indexes records segments slots bytes queries distances puts deletes"
)

Verified = namedtuple(
    "Verified", "partitions entries records missing states block reason"
)

WRITE = 1
READ_WRITE = 3
# Request: (direction, number, structure). All structures begin with size and flags.
INDEX_CREATE = (WRITE, 0, struct.Struct("=II64sIIII32x"))
INDEX_INFO = (READ_WRITE, 1, struct.Struct("=II64sIIIIIIIIQQQqQQII8x"))
INDEX_LIST = (READ_WRITE, 2, struct.Struct("=IIQQIIII24x"))
INDEX_DROP = (WRITE, 3, struct.Struct("=II64s16x"))
PUT = (WRITE, 4, struct.Struct("=II64sQQQII16x"))
PUT_MANY = (READ_WRITE, 5, struct.Struct("=II64sQQIIII16x"))
GET = (READ_WRITE, 6, struct.Struct("=II64sQQQII16x"))
DELETE = (READ_WRITE, 7, struct.Struct("=II64sQQ16x"))
SEARCH = (READ_WRITE, 8, struct.Struct("=II64sQIIIIQQQIIQIIQ48x"))
FILTER = struct.Struct("=IIQQQQIiqqd32x")
STATS = (READ_WRITE, 9, struct.Struct("=IIIIQQQQQQQQ48x"))
INDEX_VERIFY = (READ_WRITE, 16, struct.Struct("=II64sQQQQIIQQQQQQ128s32x"))
INDEX_BUILD = (READ_WRITE, 17, struct.Struct("=II64sQIIQQ32x"))
INDEX_EFFORTS = (WRITE, 19, struct.Struct("=II64sIII20x"))
PUT_RECORD = struct.Struct("=QQiI")
HIT = struct.Struct("=QQQdIIII")


def request_number(request):
    """The number of a request, as asm-generic/ioctl.h makes it."""
    direction, number, layout = request
    return direction << 30 | layout.size << 16 | 0xE7 << 8 | number


def name_field(name):
    """An index name as bytes; struct pads it with zeros."""
    return name.encode() if isinstance(name, str) else name


def call(descriptor, request, *fields, flags=0, size=None, tail=b""):
    """Make a request; returns its structure's fields afterwards, without size and flags.

    `size` replaces the structure's own size and `tail` is appended to it, for tests of
    how versions meet.
    """
    layout = request[2]
    buffer = bytearray(layout.pack(size or layout.size, flags, *fields) + tail)
    fcntl.ioctl(descriptor, request_number(request), buffer, True)
    return layout.unpack_from(buffer)[2:]


def on(path, request, *fields, writing=False, flags=0):
    """Make a request on the file or folder with this path."""
    descriptor = os.open(path, os.O_RDWR if writing else os.O_RDONLY)
    try:
        return call(descriptor, request, *fields, flags=flags)
    finally:
        os.close(descriptor)


def memory(data):
    """Memory that holds these bytes, and its address."""
    buffer = ctypes.create_string_buffer(bytes(data), max(len(data), 1))
    return buffer, ctypes.addressof(buffer)


def index_create(path, name, dim, metric="l2", mode=0o666, element=F32):
    """Create an index; `metric` is a name of METRICS or a number, `element` a number."""
    number = METRICS.get(metric, metric)
    on(path, INDEX_CREATE, name_field(name), dim, element, number, mode)


def make_info(fields):
    """IndexInfo of the unpacked fields."""
    return IndexInfo(fields[0].rstrip(b"\0").decode(), *fields[1:])


def index_info(path, name):
    """What is known about an index."""
    return make_info(on(path, INDEX_INFO, name_field(name), *[0] * 16))


def index_list(path, at_once=16):
    """All indexes, asked for in portions."""
    found = []
    cursor = 0
    layout = INDEX_INFO[2]
    while True:
        buffer, address = memory(bytes(layout.size * at_once))
        cursor, _, _, _, count, _ = on(
            path, INDEX_LIST, cursor, address, at_once, layout.size, 0, 0
        )
        if count == 0:
            return found
        for entry in range(count):
            found.append(make_info(layout.unpack_from(buffer, entry * layout.size)[2:]))


def index_drop(path, name):
    """Drop an index."""
    on(path, INDEX_DROP, name_field(name))


def put(path, name, vector, label=0, tag=0, flags=0):
    """Store a vector (anything with tobytes, or bytes) with a file."""
    data = vector if isinstance(vector, bytes) else vector.tobytes()
    buffer, address = memory(data)
    fields = (name_field(name), label, tag, address, len(data), 0)
    on(path, PUT, *fields, writing=True, flags=flags)
    del buffer


def put_many(descriptor, name, vectors, records):
    """Store the rows of an array; `records` are (label, tag, descriptor). Returns how many."""
    data, data_address = memory(vectors.tobytes())
    packed = b"".join(PUT_RECORD.pack(label, tag, fd, 0) for label, tag, fd in records)
    table, table_address = memory(packed)
    row = vectors.shape[1] * vectors.itemsize
    fields = (table_address, data_address, len(records), PUT_RECORD.size, row, 0)
    done = call(descriptor, PUT_MANY, name_field(name), *fields)[6]
    del data, table
    return done


def get(path, name, label=0, capacity=4096 * 4, flags=0):
    """(bytes of the vector, tag, label) of a record."""
    buffer, address = memory(bytes(capacity))
    fields = (name_field(name), label, 0, address, capacity, 0)
    _, found, tag, _, _, size = on(path, GET, *fields, flags=flags)
    return buffer.raw[:size], tag, found


def delete(path, name, label=0, flags=0):
    """Delete one record, or with DELETE_ALL all of a file. Returns how many."""
    fields = (name_field(name), label, 0)
    return on(path, DELETE, *fields, writing=True, flags=flags)[2]


def make_filter(**conditions):
    """A filter: label=(min, max), tag=(mask, value), uid=, mtime=(min, max), subtree=descriptor, distance=."""
    names = ("label", "tag", "uid", "mtime", "subtree", "distance")
    met = sum(1 << names.index(name) for name in conditions)
    return FILTER.pack(
        FILTER.size,
        met,
        *conditions.get("label", (0, 0)),
        *conditions.get("tag", (0, 0)),
        conditions.get("uid", 0),
        conditions.get("subtree", 0),
        *conditions.get("mtime", (0, 0)),
        conditions.get("distance", 0.0),
    )


def search(
    path,
    name,
    queries,
    k,
    paths_capacity=None,
    exact=True,
    probes=0,
    recall=0,
    only=b"",
):
    """For every row of `queries` the list of its hits, nearest first."""
    count, dim = queries.shape
    data, data_address = memory(queries.tobytes())
    hits, hits_address = memory(bytes(count * k * HIT.size))
    counts, counts_address = memory(bytes(count * 4))
    only, only_address = memory(only) if only else (None, 0)
    if paths_capacity is None:
        paths_capacity = min(count * k * 4096, 64 << 20)
    paths, paths_address = memory(bytes(paths_capacity))
    fields = (
        *(name_field(name), data_address, dim * queries.itemsize, count, k, HIT.size),
        *(hits_address, counts_address, paths_address, paths_capacity, 0, 0),
        *(probes, recall, only_address),
    )
    flags = SEARCH_EXACT if exact else 0
    paths_used = on(path, SEARCH, *fields, flags=flags)[10]
    text = ctypes.string_at(paths_address, paths_used)
    answers = []
    for query, found in enumerate(struct.unpack_from(f"={count}I", counts)):
        answers.append([])
        for position in range(found):
            offset = (query * k + position) * HIT.size
            inode, label, tag, distance, generation, start, length, _ = HIT.unpack_from(
                hits, offset
            )
            hit_path = os.fsdecode(text[start : start + length])
            answers[-1].append(Hit(inode, label, tag, distance, generation, hit_path))
    del data, paths, only
    return answers


def index_verify(path, name, steps=0, between=lambda: None):
    """Verify the search tree of an index, in requests of so many steps; `between` is called between two."""
    cursor, totals, states = (0, 0, 0, 0), [0, 0, 0, 0], set()
    while True:
        fields = (name_field(name), *cursor, steps, 0, *[0] * 6, b"")
        out = on(path, INDEX_VERIFY, *fields)
        cursor, done = out[1:5], out[6]
        totals = [a + b for a, b in zip(totals, out[7:11])]
        states.add(out[11])
        if done:
            reason = out[13].rstrip(b"\0").decode()
            return Verified(*totals, len(states), out[12], reason)
        between()


def index_build(path, name, steps=0, flags=0, between=lambda: None):
    """Complete the search tree of an index, or with BUILD_TAKE_DOWN take it down. Returns (entries, records) after every request."""
    cursor, counts = 0, []
    while True:
        fields = (name_field(name), cursor, steps, 0, 0, 0)
        _, cursor, _, done, *count = on(path, INDEX_BUILD, *fields, flags=flags)
        counts.append(tuple(count))
        if done:
            return counts
        between()


def index_efforts(path, name, efforts):
    """Note how many leaves searches look at for a recall of 0.9, 0.95, 0.99."""
    on(path, INDEX_EFFORTS, name_field(name), *efforts)


def stats(path):
    """The counters of the mount."""
    return Stats(*on(path, STATS, *[0] * 10))
