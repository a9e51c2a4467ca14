# SPDX-License-Identifier: GPL-2.0-only
"""sqlite-vec: exact search in a table of SQLite. The one library here whose changes can be durable one by one."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import apsw
import numpy as np
import sqlite_vec

from .base import Knobs, Peer, Rows, Vectors

_FILE = "vectors.db"
# Rows of a transaction while building.
_BATCH = 10_000


class SqliteVec(Peer):
    """A vec0 table. Durable changes are transactions in SQLite's write-ahead log with synchronous=FULL."""

    can_map = True
    can_insert = True
    can_delete = True
    can_sync = True

    def __init__(self) -> None:
        self._db: Any = None

    def version(self) -> str:
        return f"{version('sqlite-vec')} in SQLite {apsw.sqlite_lib_version()}"

    def options(self) -> dict[str, Any]:
        return {"table": "vec0", "search": "exact"}

    def knobs(self, rows: int) -> Sequence[Knobs]:
        return [{}]

    def build(self, base: Vectors, store: Path) -> None:
        self._connect(store)
        self._db.execute(f"create virtual table vectors using vec0(embedding float[{base.shape[1]}])")
        for start in range(0, len(base), _BATCH):
            part = base[start : start + _BATCH]
            with self._db:
                self._put(part, np.arange(start, start + len(part)))

    def save(self, store: Path) -> None:
        self._db.execute("pragma wal_checkpoint(truncate)")

    def open(self, store: Path, dim: int, mapped: bool, spare: int) -> None:
        self._connect(store)
        if mapped:
            self._db.execute(f"pragma mmap_size={(store / _FILE).stat().st_size}")

    def search(self, queries: Vectors, k: int, knobs: Knobs) -> Rows:
        rows = np.full((len(queries), k), -1, dtype=np.int64)
        question = "select rowid from vectors where embedding match ? and k = ? order by distance"
        for row, query in zip(rows, queries, strict=True):
            found = [number for (number,) in self._db.execute(question, (query.tobytes(), k))]
            row[: len(found)] = found
        return rows

    def insert(self, vectors: Vectors, rows: Rows) -> None:
        self._put(vectors, rows)

    def delete(self, rows: Rows) -> None:
        self._db.executemany("delete from vectors where rowid = ?", [(int(row),) for row in rows])

    def begin(self, durable: bool) -> None:
        if self._db.in_transaction:
            self._db.execute("commit")
        self._db.execute("begin")

    def sync(self) -> None:
        self._db.execute("commit")
        self._db.execute("begin")

    def _connect(self, store: Path) -> None:
        self._db = apsw.Connection(str(store / _FILE))
        self._db.enable_load_extension(True)
        self._db.load_extension(sqlite_vec.loadable_path())
        self._db.execute("pragma journal_mode=wal")
        self._db.execute("pragma synchronous=full")

    def _put(self, vectors: Vectors, rows: Rows) -> None:
        values = [(int(row), vector.tobytes()) for row, vector in zip(rows, vectors, strict=True)]
        self._db.executemany("insert into vectors(rowid, embedding) values (?, ?)", values)
