# SPDX-License-Identifier: GPL-2.0-only
"""Tests of formats.py: files that are written here byte by byte."""

from __future__ import annotations

import gzip
import struct
import tempfile
import unittest
from pathlib import Path

import formats
from formats import FormatError, Matrix


class Files(unittest.TestCase):
    def setUp(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self.addCleanup(self._folder.cleanup)

    def write(self, name: str, data: bytes) -> Path:
        path = Path(self._folder.name) / name
        path.write_bytes(data)
        return path

    def npy(self, header: str, body: bytes, version: int = 1) -> Path:
        text = header.encode()
        length = struct.pack("<H" if version == 1 else "<I", len(text))
        return self.write("x.npy", b"\x93NUMPY" + bytes((version, 0)) + length + text + body)


class Npy(Files):
    HEADER = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }\n"

    def test_of_both_lengths_of_header(self) -> None:
        for version, offset in ((1, 10), (2, 12)):
            path = self.npy(self.HEADER, bytes(24), version)
            self.assertEqual(formats.describe(path), Matrix(2, 3, "<f4", offset + len(self.HEADER), 12))

    def test_what_is_no_matrix_is_refused(self) -> None:
        for header in (
            self.HEADER.replace("(2, 3)", "(6,)"),
            self.HEADER.replace("False", "True"),
            self.HEADER.replace("'shape'", "'form'"),
            "{'descr': __import__('os')}",
        ):
            with self.assertRaises(FormatError, msg=header):
                formats.describe(self.npy(header, bytes(24)))
        with self.assertRaises(FormatError):
            formats.describe(self.write("y.npy", b"no array"))

    def test_a_file_that_is_cut_off_is_refused(self) -> None:
        with self.assertRaises(FormatError):
            formats.describe(self.npy(self.HEADER, bytes(23)))


class Texmex(Files):
    def test_rows_begin_behind_their_dimension(self) -> None:
        row = struct.pack("<i3f", 3, 1.0, 2.0, 3.0)
        self.assertEqual(formats.describe(self.write("x.fvecs", row * 4)), Matrix(4, 3, "<f4", 4, 16))
        row = struct.pack("<i5B", 5, 1, 2, 3, 4, 5)
        self.assertEqual(formats.describe(self.write("x.bvecs", row * 2)), Matrix(2, 5, "|u1", 4, 9))
        row = struct.pack("<i2i", 2, 7, 8)
        self.assertEqual(formats.describe(self.write("x.ivecs", row)), Matrix(1, 2, "<i4", 4, 12))

    def test_other_lengths_are_refused(self) -> None:
        row = struct.pack("<i3f", 3, 1.0, 2.0, 3.0)
        for data in (b"", b"\0\0", row[:-1], row + b"\0", struct.pack("<i", 0), struct.pack("<i", -3)):
            with self.assertRaises(FormatError, msg=data):
                formats.describe(self.write("x.fvecs", data))

    def test_other_names_are_refused(self) -> None:
        with self.assertRaises(FormatError):
            formats.describe(self.write("x.txt", b"1 2 3"))


class Idx(Files):
    def test_pictures_become_rows(self) -> None:
        data = bytes((0, 0, 8, 3)) + struct.pack(">3I", 2, 2, 3) + bytes(range(12))
        path = self.write("x.gz", gzip.compress(data))
        self.assertEqual(formats.idx_images(path), (2, 6, bytes(range(12))))

    def test_other_types_and_lengths_are_refused(self) -> None:
        good = bytes((0, 0, 8, 2)) + struct.pack(">2I", 2, 3) + bytes(6)
        for data in (good[:-1], good + b"\0", good[:3], bytes((0, 0, 9)) + good[3:]):
            with self.assertRaises(FormatError, msg=data):
                formats.idx_images(self.write("x.gz", gzip.compress(data)))


if __name__ == "__main__":
    unittest.main()
