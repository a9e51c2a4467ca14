# SPDX-License-Identifier: GPL-2.0-only
"""faiss: any index that its factory can make."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from .base import EFFORTS, Knobs, Peer, Rows, Vectors, lists_for, probes

_FILE = "index.faiss"
_EFFORT = 200


class Faiss(Peer):
    """An index made from a description in the words of faiss.index_factory, in which {lists}, {dim} and {half} stand
    for the number of lists, the dimension and half of it. `refine` are the factors by which more than k candidates are
    taken to the exact distances, for indexes that end in RFlat; `changes` says which changes the kind of index
    supports."""

    can_insert = True

    def __init__(self, factory: str, refine: Sequence[int] = (), deletes: bool = False, maps: bool = False) -> None:
        faiss.omp_set_num_threads(1)
        self._factory = factory
        self._refine = refine
        self.can_delete = deletes  # type: ignore[misc]
        self.can_map = maps  # type: ignore[misc]
        self._index: Any = None
        self._described = factory
        self._parameters = faiss.ParameterSpace()

    def version(self) -> str:
        return str(faiss.__version__)

    def options(self) -> dict[str, Any]:
        return {"factory": self._described, "built for": faiss.get_compile_options().split()}

    def knobs(self, rows: int) -> Sequence[Knobs]:
        if "HNSW" in self._factory:
            return [{"efSearch": effort} for effort in EFFORTS]
        if self._refine:
            pairs = product(probes(rows), self._refine)
            return [{"nprobe": lists, "k_factor_rf": factor} for lists, factor in pairs]
        return [{"nprobe": lists} for lists in probes(rows)]

    def build(self, base: Vectors, store: Path) -> None:
        dim = base.shape[1]
        self._described = self._factory.format(lists=lists_for(len(base)), dim=dim, half=dim // 2)
        self._index = faiss.index_factory(dim, self._described, faiss.METRIC_L2)
        if isinstance(self._index, faiss.IndexHNSW):
            self._index.hnsw.efConstruction = _EFFORT
        self._index.train(base)
        self._index.add(base)

    def save(self, store: Path) -> None:
        faiss.write_index(self._index, str(store / _FILE))

    def open(self, store: Path, dim: int, mapped: bool, spare: int) -> None:
        flags = faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY if mapped else 0
        self._index = faiss.read_index(str(store / _FILE), flags)
        if mapped:
            # By default it would start threads to read ahead.
            lists: Any = faiss.downcast_InvertedLists(self._index.invlists)
            lists.prefetch_nthread = 0

    def search(self, queries: Vectors, k: int, knobs: Knobs) -> Rows:
        for name, value in knobs.items():
            self._parameters.set_index_parameter(self._index, name, value)
        _, rows = self._index.search(queries, k)
        return rows

    def insert(self, vectors: Vectors, rows: Rows) -> None:
        # The numbers go on where they ended.
        self._index.add(vectors)

    def delete(self, rows: Rows) -> None:
        self._index.remove_ids(faiss.IDSelectorBatch(np.ascontiguousarray(rows)))
