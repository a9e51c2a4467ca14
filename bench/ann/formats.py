# SPDX-License-Identifier: GPL-2.0-only
"""Files of vectors: what their bytes are. Reads headers of .npy, TEXMEX (.fvecs, .bvecs, .ivecs) and IDX files.

Pure Python without packages, so that its tests run everywhere; arrays are made of the result in datasets.py.
"""

from __future__ import annotations

import ast
import gzip
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

# Elements of TEXMEX files by suffix: numpy's name of the type, and bytes.
_TEXMEX = {".fvecs": ("<f4", 4), ".bvecs": ("|u1", 1), ".ivecs": ("<i4", 4)}
_NPY_MAGIC = b"\x93NUMPY"
_IDX_BYTES = 0x08


class FormatError(Exception):
    """A file is not what its name says, or holds what is not supported."""


@dataclass(frozen=True)
class Matrix:
    """Where the rows of a file are: `rows` times `dim` elements of type `element` (as numpy names it) from byte
    `offset` on, the rows `stride` bytes apart."""

    rows: int
    dim: int
    element: str
    offset: int
    stride: int


def describe(path: Path) -> Matrix:
    """Describes a .npy, .fvecs, .bvecs or .ivecs file and checks its length against its header."""
    with path.open("rb") as file:
        if path.suffix == ".npy":
            matrix = _npy(path, file)
            expected = matrix.offset + matrix.rows * matrix.stride
        elif path.suffix in _TEXMEX:
            matrix = _texmex(path, file)
            expected = matrix.rows * matrix.stride
        else:
            raise FormatError(f"{path}: neither .npy nor {', '.join(_TEXMEX)}")
    if path.stat().st_size != expected:
        raise FormatError(f"{path}: {path.stat().st_size} bytes in place of {expected}")
    return matrix


def _npy(path: Path, file: BinaryIO) -> Matrix:
    start = file.read(8)
    if len(start) < 8 or start[:6] != _NPY_MAGIC or start[6] not in (1, 2, 3):
        raise FormatError(f"{path}: not a numpy array of format version 1, 2 or 3")
    layout = "<H" if start[6] == 1 else "<I"
    (length,) = struct.unpack(layout, file.read(struct.calcsize(layout)))
    try:
        header = ast.literal_eval(file.read(length).decode("latin-1").strip())
        shape, element, fortran = header["shape"], header["descr"], header["fortran_order"]
    except (ValueError, SyntaxError, KeyError, TypeError) as why:
        raise FormatError(f"{path}: its header cannot be read: {why}") from why
    if len(shape) != 2 or fortran or not isinstance(element, str):
        raise FormatError(f"{path}: not a matrix of rows: shape {shape}, type {element}")
    width = int(element[2:])
    return Matrix(shape[0], shape[1], element, file.tell(), shape[1] * width)


def _texmex(path: Path, file: BinaryIO) -> Matrix:
    element, width = _TEXMEX[path.suffix]
    size = path.stat().st_size
    start = file.read(4)
    if len(start) < 4:
        raise FormatError(f"{path}: no vector in it")
    (dim,) = struct.unpack("<i", start)
    stride = 4 + dim * width
    if dim < 1 or size % stride:
        raise FormatError(f"{path}: {size} bytes are no whole number of vectors of {dim} elements")
    return Matrix(size // stride, dim, element, 4, stride)


def idx_images(path: Path) -> tuple[int, int, bytes]:
    """A gzipped IDX file of unsigned bytes, the format of MNIST: rows, elements of a row, and all elements."""
    with gzip.open(path, "rb") as file:
        data = file.read()
    if len(data) < 4 or data[:3] != bytes((0, 0, _IDX_BYTES)) or len(data) < 4 + 4 * data[3]:
        raise FormatError(f"{path}: not an IDX file of unsigned bytes")
    shape = struct.unpack(f">{data[3]}I", data[4 : 4 + 4 * data[3]])
    dim = 1
    for extent in shape[1:]:
        dim *= extent
    body = data[4 + 4 * data[3] :]
    if not shape or len(body) != shape[0] * dim:
        raise FormatError(f"{path}: {len(body)} bytes of elements in place of shape {shape}")
    return shape[0], dim, body
