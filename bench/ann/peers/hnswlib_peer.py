# SPDX-License-Identifier: GPL-2.0-only
"""hnswlib: the reference implementation of HNSW, which ratios refer to."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import hnswlib
import numpy as np

from .base import EFFORTS, Knobs, Peer, Rows, Vectors

_FILE = "index.bin"


class Hnswlib(Peer):
    """M = 16 and efConstruction = 200, as it is usually measured."""

    can_insert = True
    can_delete = True

    def __init__(self, links: int = 16, effort: int = 200) -> None:
        self._links = links
        self._effort = effort
        self._index: Any = None

    def version(self) -> str:
        return version("hnswlib")

    def options(self) -> dict[str, Any]:
        return {"M": self._links, "efConstruction": self._effort}

    def knobs(self, rows: int) -> Sequence[Knobs]:
        return [{"ef": effort} for effort in EFFORTS]

    def build(self, base: Vectors, store: Path) -> None:
        self._index = hnswlib.Index(space="l2", dim=base.shape[1])
        self._index.init_index(max_elements=len(base), M=self._links, ef_construction=self._effort, random_seed=1)
        self._index.add_items(base, np.arange(len(base)), num_threads=1)

    def save(self, store: Path) -> None:
        self._index.save_index(str(store / _FILE))

    def open(self, store: Path, dim: int, mapped: bool, spare: int) -> None:
        self._index = hnswlib.Index(space="l2", dim=dim)
        self._index.load_index(str(store / _FILE))
        if spare:
            self._index.resize_index(self._index.get_max_elements() + spare)

    def search(self, queries: Vectors, k: int, knobs: Knobs) -> Rows:
        self._index.set_ef(knobs["ef"])
        rows, _ = self._index.knn_query(queries, k=k, num_threads=1)
        return rows.astype(np.int64)

    def insert(self, vectors: Vectors, rows: Rows) -> None:
        self._index.add_items(vectors, rows, num_threads=1)

    def delete(self, rows: Rows) -> None:
        # Marks them; the memory stays in use.
        for row in rows:
            self._index.mark_deleted(int(row))
