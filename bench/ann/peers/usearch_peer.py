# SPDX-License-Identifier: GPL-2.0-only
"""usearch: HNSW over several element types, searched in memory or in a mapped file."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from usearch.index import Index

from .base import EFFORTS, Knobs, Peer, Rows, Vectors

_FILE = "index.usearch"
# Bytes are 0..255; as signed ones, all moved by this, their distances are the same.
_BYTE_SHIFT = 128


class Usearch(Peer):
    """Connectivity 16 and expansion 200, like hnswlib's. With `element` i8 for sets whose elements are bytes."""

    can_map = True
    can_insert = True
    can_delete = True

    def __init__(self, element: str = "f32") -> None:
        self._element = element
        self._index: Any = None

    def version(self) -> str:
        return version("usearch")

    def options(self) -> dict[str, Any]:
        return {"connectivity": 16, "expansion_add": 200, "dtype": self._element}

    def knobs(self, rows: int) -> Sequence[Knobs]:
        return [{"expansion": effort} for effort in EFFORTS]

    def build(self, base: Vectors, store: Path) -> None:
        self._index = self._new(base.shape[1])
        self._index.add(np.arange(len(base), dtype=np.uint64), self._elements(base), threads=1)

    def save(self, store: Path) -> None:
        self._index.save(str(store / _FILE))

    def open(self, store: Path, dim: int, mapped: bool, spare: int) -> None:
        self._index = self._new(dim)
        if mapped:
            self._index.view(str(store / _FILE))
        else:
            self._index.load(str(store / _FILE))

    def search(self, queries: Vectors, k: int, knobs: Knobs) -> Rows:
        self._index.expansion_search = knobs["expansion"]
        found = self._index.search(self._elements(queries), k, threads=1)
        return np.asarray(found.keys).reshape(len(queries), k).astype(np.int64)

    def insert(self, vectors: Vectors, rows: Rows) -> None:
        self._index.add(rows.astype(np.uint64), self._elements(vectors), threads=1)

    def delete(self, rows: Rows) -> None:
        self._index.remove(rows.astype(np.uint64), threads=1)

    def _new(self, dim: int) -> Any:
        return Index(ndim=dim, metric="l2sq", dtype=self._element, connectivity=16, expansion_add=200)

    def _elements(self, vectors: Vectors) -> Any:
        if self._element == "f32":
            return vectors
        return (vectors - _BYTE_SHIFT).astype(np.int8)
