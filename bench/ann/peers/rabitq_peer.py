# SPDX-License-Identifier: GPL-2.0-only
"""rabitqlib: the library of RaBitQ's authors. Partitions with codes of several bits, and SymphonyQG's graph."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from rabitqlib import FinalAssignmentMode, IvfIndex, RaBitQKMeans, SymqgIndex

from .base import EFFORTS, Knobs, Peer, Rows, Vectors, lists_for, probes

_FILE = "index.rabitq"


class Partitions(Peer):
    """Inverted lists with codes of `bits` bits an element, searched without the vectors; 32 bits: with them."""

    can_insert = True
    can_delete = True

    def __init__(self, bits: int) -> None:
        self._bits = bits
        self._index: Any = None

    def version(self) -> str:
        return version("rabitqlib")

    def options(self) -> dict[str, Any]:
        return {"bits": self._bits}

    def knobs(self, rows: int) -> Sequence[Knobs]:
        return [{"nprobe": lists} for lists in probes(rows)]

    def build(self, base: Vectors, store: Path) -> None:
        rows, dim = base.shape
        lists = lists_for(rows)
        means = RaBitQKMeans(dim, lists, num_threads=1, final_assignment=FinalAssignmentMode.Exact, seed=1)
        means.train(base)
        self._index = IvfIndex(dim=dim, max_elements=rows, num_clusters=lists, nbits=self._bits, metric="l2")
        self._index.build(base, means.centroids, means.assignments, num_threads=1)

    def save(self, store: Path) -> None:
        self._index.save(str(store / _FILE))

    def open(self, store: Path, dim: int, mapped: bool, spare: int) -> None:
        self._index = IvfIndex.load(str(store / _FILE))

    def search(self, queries: Vectors, k: int, knobs: Knobs) -> Rows:
        rows, _ = self._index.search(queries, k, knobs["nprobe"], num_threads=1)
        return _numbers(rows)

    def insert(self, vectors: Vectors, rows: Rows) -> None:
        self._index.add(vectors, num_threads=1)

    def delete(self, rows: Rows) -> None:
        # Hides them; the storage stays in use.
        self._index.remove(rows.astype(np.uint32))


class SymphonyQG(Peer):
    """The graph whose nodes hold the codes of their neighbours. It cannot be changed."""

    def __init__(self, degree: int = 32, effort: int = 200) -> None:
        self._degree = degree
        self._effort = effort
        self._index: Any = None

    def version(self) -> str:
        return version("rabitqlib")

    def options(self) -> dict[str, Any]:
        return {"degree": self._degree, "ef_construction": self._effort}

    def knobs(self, rows: int) -> Sequence[Knobs]:
        return [{"ef": effort} for effort in EFFORTS]

    def build(self, base: Vectors, store: Path) -> None:
        self._index = SymqgIndex(dim=base.shape[1], max_degree=self._degree, metric="l2")
        self._index.build(base, self._effort, num_threads=1)

    def save(self, store: Path) -> None:
        self._index.save(str(store / _FILE))

    def open(self, store: Path, dim: int, mapped: bool, spare: int) -> None:
        self._index = SymqgIndex.load(str(store / _FILE))

    def search(self, queries: Vectors, k: int, knobs: Knobs) -> Rows:
        rows, _ = self._index.search(queries, k, knobs["ef"], num_threads=1)
        return _numbers(rows)


def _numbers(rows: Any) -> Rows:
    """Unsigned numbers of which the highest stands for "none"."""
    rows = np.asarray(rows)
    numbers = rows.astype(np.int64)
    if rows.dtype == np.uint32:
        numbers[rows == np.iinfo(np.uint32).max] = -1
    return numbers
