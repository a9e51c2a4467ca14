# SPDX-License-Identifier: GPL-2.0-only
"""Made-up vectors that resemble text embeddings, of any number, for growth measurements.

Every row is drawn on its own from one fixed distribution, so a set of 10,000 is the beginning of the one of 1,000,000
of the same dimension, and what grows between two sets is their number alone. With D dimensions:

* There are 4096 topics. Topic t has weight proportional to 1 / (t + 16): sizes follow a power law.
* Its centre c_t has D independent normal coordinates, coordinate j with variance proportional to (j + 1)^-0.7 and all
  variances together 1: the spectrum of embeddings falls by a power law, too.
* Each topic varies along 24 directions of its own, columns of a D x 24 matrix B_t of normal coordinates with the same
  variances, divided by sqrt(24).
* A row of topic t is c_t + s B_t z + 0.15 e, where z is normal, s is lognormal with sigma 0.3 (dense and sparse
  parts of a topic), and e is noise: normal, all variances 1/D.
* It is then turned by an orthogonal matrix that is the same for all rows, and scaled to length 1.

Of 12,000 rows of 384 elements, the local intrinsic dimension (maximum likelihood over 10 and over 100 neighbours) is 22
and 30, that of 12,000 paragraphs of the kernel's documentation in all-MiniLM-L6-v2 is 23 and 25; a query's tenth
neighbour is 1.35 times as near as the mean row, there 1.32 times.

Queries are further draws from the same distribution. Random numbers come from numpy's PCG64 with the seeds below, a
stream for the topics and one for every block of 4096 rows.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_SEED = 20_260_101
_TOPICS = 4096
_SPREAD = 24
_SPECTRUM = 0.7
_WITHIN = 1.0
_NOISE = 0.15
_BLOCK = 4096
#: Queries of a made-up set.
QUERIES = 1000
_UNITS = {"k": 1000, "m": 1_000_000}

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Wanted:
    """What a name asks for."""

    rows: int
    dim: int


def parse(name: str) -> Wanted | None:
    """`gen100k-128` is 100,000 rows of 128 elements; None if a name is not of this kind."""
    match = re.fullmatch(r"gen(\d+)([km])-(\d+)", name)
    if match is None:
        return None
    return Wanted(int(match[1]) * _UNITS[match[2]], int(match[3]))


def write(wanted: Wanted, base: Path, queries: Path) -> None:
    """Writes base and queries as .npy files, in bounded memory."""
    source = _Source(wanted.dim)
    part = base.with_suffix(".part")
    array = np.lib.format.open_memmap(part, mode="w+", dtype=np.float32, shape=(wanted.rows, wanted.dim))
    for start in range(0, wanted.rows, _BLOCK):
        block = source.block(0, start // _BLOCK)
        array[start : start + _BLOCK] = block[: wanted.rows - start]
    array.flush()
    np.save(queries, source.block(1, 0)[:QUERIES])
    part.rename(base)


class _Source:
    """The distribution for one dimension."""

    def __init__(self, dim: int) -> None:
        self._dim = dim
        random = self._random(2, 0)
        variances = np.arange(1, dim + 1, dtype=np.float64) ** -_SPECTRUM
        scale = np.sqrt(variances / variances.sum()).astype(np.float32)
        self._centres = random.standard_normal((_TOPICS, dim), dtype=np.float32) * scale
        self._scale = scale / np.sqrt(np.float32(_SPREAD))
        weights = 1 / (np.arange(_TOPICS) + 16.0)
        self._weights = weights / weights.sum()
        turned, corner = np.linalg.qr(random.standard_normal((dim, dim)))
        self._turn = (turned * np.sign(np.diag(corner))).astype(np.float32)

    def block(self, stream: int, number: int) -> Vectors:
        """Rows `number * 4096` and the following ones of a stream: 0 is the base, 1 the queries."""
        random = self._random(stream, number)
        topics = random.choice(_TOPICS, size=_BLOCK, p=self._weights)
        sizes = np.exp(0.3 * random.standard_normal(_BLOCK)).astype(np.float32) * np.float32(_WITHIN)
        inner = random.standard_normal((_BLOCK, _SPREAD), dtype=np.float32) * sizes[:, None]
        rows = random.standard_normal((_BLOCK, self._dim), dtype=np.float32)
        rows *= np.float32(_NOISE / np.sqrt(self._dim))
        for topic in np.unique(topics):
            mine = topics == topic
            directions = self._random(3, int(topic)).standard_normal((_SPREAD, self._dim), dtype=np.float32)
            rows[mine] += self._centres[topic] + inner[mine] @ (directions * self._scale)
        rows = rows @ self._turn
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        return rows

    def _random(self, stream: int, number: int) -> np.random.Generator:
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence([_SEED, self._dim, stream, number])))
