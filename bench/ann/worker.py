# SPDX-License-Identifier: GPL-2.0-only
"""The process that hosts one library: `worker.py PEER`, a request in JSON a line on standard input, an answer a line on
standard output. Times are taken here, with a monotonic clock, around the library's calls alone.

The program of bench/ speaks the same protocol for VexFS; docs/ann-benchmark.md describes it.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import registry
from peers.base import Knobs, Peer, Rows, Vectors

# While a rate is not known, a call takes as many queries as take about this long.
_CALL_SECONDS = 0.05
# A round that was to use the processor for some time ends after so many times that, if it had to wait as long.
_PATIENCE = 20


class Worker:
    """A peer, and the queries that it is asked."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._queries: Vectors = np.zeros((0, 0), dtype=np.float32)
        # The query that the next round begins with.
        self._next = 0

    def describe(self, rows: int) -> dict[str, Any]:
        names = ("map", "insert", "delete", "sync")
        can = [name for name in names if getattr(self._peer, f"can_{name}")]
        knobs = [dict(knobs) for knobs in self._peer.knobs(rows)]
        return {"version": self._peer.version(), "knobs": knobs, "can": can}

    def load(self, queries: str, **_: Any) -> dict[str, Any]:
        """Reads the queries. What else is told is for those who must prepare more."""
        self._queries = _matrix(queries)
        return {}

    def build(self, base: str, store: str) -> dict[str, Any]:
        vectors = _matrix(base)
        folder = Path(store)
        cpu = time.process_time()
        start = time.perf_counter()
        self._peer.build(vectors, folder)
        built = time.perf_counter()
        cpu = time.process_time() - cpu
        self._peer.save(folder)
        for path in folder.iterdir():
            _flush(path)
        saved = time.perf_counter()
        return {
            "seconds": built - start,
            "cpu_seconds": cpu,
            "save_seconds": saved - built,
            "options": self._peer.options(),
        }

    def open(self, store: str, mapped: bool, spare: int, k: int, knobs: Knobs) -> dict[str, Any]:
        start = time.perf_counter()
        self._peer.open(Path(store), self._queries.shape[1], mapped, spare)
        opened = time.perf_counter()
        self._peer.search(self._queries[:1], k, knobs)
        answered = time.perf_counter()
        return {"seconds": opened - start, "first_seconds": answered - start}

    def calibrate(self, k: int, knobs: Knobs, seconds: float, output: str) -> dict[str, Any]:
        """Answers all queries, or as many as it can in about so many seconds, and writes the answers."""
        answers: list[Rows] = []
        done, size = 0, 1
        cpu = time.process_time()
        start = time.perf_counter()
        while done < len(self._queries):
            before = time.perf_counter()
            answers.append(self._peer.search(self._queries[done : done + size], k, knobs))
            done = min(done + size, len(self._queries))
            now = time.perf_counter()
            if now - start >= seconds:
                break
            if now - before < _CALL_SECONDS:
                size *= 2
        cpu = time.process_time() - cpu
        wall = time.perf_counter() - start
        np.save(output, np.concatenate(answers))
        return {"queries": done, "wall": wall, "cpu": cpu}

    def search(
        self, k: int, knobs: Knobs, queries: int, batch: int, seconds: float, warm_seconds: float
    ) -> dict[str, Any]:
        """The first so many queries, `batch` in a call, for so many seconds of the processor, going on where the last
        request ended; before that, without counting, for `warm_seconds`."""
        gc.disable()
        if warm_seconds > 0:
            self._rounds(queries, batch, k, knobs, warm_seconds)
        cpu = time.process_time()
        start = time.perf_counter()
        count = self._rounds(queries, batch, k, knobs, seconds)
        wall = time.perf_counter() - start
        cpu = time.process_time() - cpu
        gc.enable()
        return {"queries": count, "wall": wall, "cpu": cpu}

    def _rounds(self, queries: int, batch: int, k: int, knobs: Knobs, seconds: float) -> int:
        count = 0
        latest = time.perf_counter() + _PATIENCE * seconds
        end = time.process_time() + seconds
        while True:
            first = self._next if self._next < queries else 0
            self._next = min(first + batch, queries)
            self._peer.search(self._queries[first : self._next], k, knobs)
            count += self._next - first
            if time.process_time() >= end or time.perf_counter() >= latest:
                return count

    def memory(self) -> dict[str, int]:
        """Resident bytes of this process: all, and those of mapped files among them."""
        gc.collect()
        found = {}
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            name, _, rest = line.partition(":")
            if name in ("VmRSS", "RssFile"):
                found[name] = int(rest.split()[0]) * 1024
        return {"resident": found["VmRSS"], "file": found["RssFile"]}

    def change(self, insert: str | None, rows: list[int], durable: bool, batch: int, seconds: float) -> dict[str, Any]:
        """Inserts the vectors of a file under the numbers `rows`, or without a file deletes these rows; `batch` in a
        call, each durable before the next if that is wanted; at most for about so many seconds."""
        numbers = np.asarray(rows, dtype=np.int64)
        vectors = None if insert is None else _matrix(insert)
        done = 0
        self._peer.begin(durable)
        cpu = time.process_time()
        start = time.perf_counter()
        while done < len(numbers) and time.perf_counter() - start < seconds:
            part = slice(done, done + batch)
            if vectors is None:
                self._peer.delete(numbers[part])
            else:
                self._peer.insert(vectors[part], numbers[part])
            if durable:
                self._peer.sync()
            done = min(done + batch, len(numbers))
        return {"rows": done, "wall": time.perf_counter() - start, "cpu": time.process_time() - cpu}


def _matrix(path: str) -> Vectors:
    return np.ascontiguousarray(np.load(path), dtype=np.float32)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def main() -> None:
    """Serves requests until standard input ends."""
    # What libraries print must not get between the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    entry = registry.PEERS[sys.argv[1]]
    module = importlib.import_module(f"peers.{entry.module}")
    worker = Worker(getattr(module, entry.kind)(**entry.arguments))
    for line in sys.stdin:
        request = json.loads(line)
        perform: Callable[..., dict[str, Any]] = getattr(worker, request.pop("do"))
        try:
            answer = perform(**request)
        except Exception as why:  # noqa: BLE001 - any failure of a library is its result
            answer = {"error": f"{type(why).__name__}: {why}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
