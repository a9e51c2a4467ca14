# SPDX-License-Identifier: GPL-2.0-only
"""What a measured library must be able to do. One object is one index of one library, in a process of its own.

Vectors are C-ordered binary32 matrices; distances are squared Euclidean; rows are named by their numbers from 0 on.
Every implementation works in one thread.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
Rows = NDArray[np.int64]
Knobs = Mapping[str, int]

# Effort of a graph search and lists probed by a partitioned one, from careless to careful.
EFFORTS = (10, 12, 14, 16, 20, 24, 32, 40, 48, 64, 80, 96, 128, 192, 256, 384, 512, 768)
PROBES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)


class Peer(ABC):
    """An index of a library."""

    #: What the library can do beside searching; the rest is reported as "none".
    can_map: ClassVar[bool] = False
    can_insert: ClassVar[bool] = False
    can_delete: ClassVar[bool] = False
    #: Whether a change can be made durable without writing the whole index again.
    can_sync: ClassVar[bool] = False

    @abstractmethod
    def version(self) -> str:
        """The library's version."""

    @abstractmethod
    def knobs(self, rows: int) -> Sequence[Knobs]:
        """The settings of a search to try on an index of so many rows."""

    @abstractmethod
    def build(self, base: Vectors, store: Path) -> None:
        """Builds from all rows; where it is a file's work, into the folder `store`."""

    @abstractmethod
    def save(self, store: Path) -> None:
        """Writes what was built into the folder `store`, for `open`."""

    @abstractmethod
    def open(self, store: Path, dim: int, mapped: bool, spare: int) -> None:
        """Reads the index; `mapped`: by mapping the file, for `can_map`. `spare` rows may be inserted later."""

    @abstractmethod
    def search(self, queries: Vectors, k: int, knobs: Knobs) -> Rows:
        """The k nearest rows of each query, nearest first; -1 where there are fewer."""

    def insert(self, vectors: Vectors, rows: Rows) -> None:
        """Adds vectors under new row numbers."""
        raise NotImplementedError

    def delete(self, rows: Rows) -> None:
        """Removes rows from what searches find."""
        raise NotImplementedError

    def sync(self) -> None:
        """Makes all changes so far durable."""
        raise NotImplementedError

    def begin(self, durable: bool) -> None:  # noqa: B027
        """Told before changes are made: whether `sync` is going to follow each."""

    def options(self) -> dict[str, Any]:
        """How the index was built, for the report."""
        return {}


def lists_for(rows: int) -> int:
    """Lists of a partitioned index: twice the square root of the rows."""
    return max(16, round(2 * rows**0.5))


def probes(rows: int) -> list[int]:
    """Those of PROBES that an index of `lists_for(rows)` lists can use."""
    return [count for count in PROBES if count <= lists_for(rows)]
