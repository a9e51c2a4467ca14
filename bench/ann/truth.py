# SPDX-License-Identifier: GPL-2.0-only
"""Ground truth by brute force, and checking of one that is given."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Neighbours known of every query.
DEPTH = 100
# Rows compared at a time.
_BLOCK = 65_536
# Candidates of binary32 arithmetic that are compared again in binary64.
_CANDIDATES = 2 * DEPTH
# Queries that a given truth is checked with.
_SAMPLE = 50

Neighbours = tuple[NDArray[np.int64], NDArray[np.float64]]


class TruthError(Exception):
    """A truth that is given with the data is not true."""


def nearest(base: NDArray[np.float32], queries: NDArray[np.float32], depth: int = DEPTH) -> Neighbours:
    """The nearest rows of each query and their squared distances, nearest first, ties by row.

    Candidates come from |x|^2 - 2 x.q in binary32, block by block; their order from differences in binary64."""
    candidates = min(_CANDIDATES, len(base))
    best = np.zeros((len(queries), 0), dtype=np.float32)
    rows = np.zeros((len(queries), 0), dtype=np.int64)
    for start in range(0, len(base), _BLOCK):
        block = np.asarray(base[start : start + _BLOCK], dtype=np.float32)
        far = np.einsum("ij,ij->i", block, block)[None, :] - 2 * (queries @ block.T)
        numbers = np.broadcast_to(np.arange(start, start + len(block)), far.shape)
        best, rows = np.concatenate([best, far], axis=1), np.concatenate([rows, numbers], axis=1)
        if best.shape[1] > candidates:
            chosen = np.argpartition(best, candidates - 1, axis=1)[:, :candidates]
            best, rows = np.take_along_axis(best, chosen, axis=1), np.take_along_axis(rows, chosen, axis=1)
    far64 = distances(base, queries, rows)
    order = np.lexsort((rows, far64), axis=1)[:, : min(depth, len(base))]
    return np.take_along_axis(rows, order, axis=1), np.take_along_axis(far64, order, axis=1)


def distances(
    base: NDArray[np.float32], queries: NDArray[np.float32], rows: NDArray[np.integer]
) -> NDArray[np.float64]:
    """Squared distances in binary64 between each query and its rows."""
    result = np.empty(rows.shape)
    for number, (query, chosen) in enumerate(zip(queries, rows, strict=True)):
        difference = base[chosen].astype(np.float64) - query
        result[number] = np.einsum("ij,ij->i", difference, difference)
    return result


def verified(base: NDArray[np.float32], queries: NDArray[np.float32], given: NDArray[np.integer], k: int) -> Neighbours:
    """A given truth with its distances, after comparing a sample of it with brute force."""
    if given.shape[0] != len(queries) or given.shape[1] < k or given.min() < 0 or given.max() >= len(base):
        raise TruthError(f"a truth of shape {given.shape} does not fit {len(queries)} queries of {len(base)} rows")
    step = max(1, len(queries) // _SAMPLE)
    sample = slice(0, None, step)
    _, expected = nearest(base, queries[sample], k)
    found = distances(base, queries, given)
    if not np.allclose(found[sample, :k], expected, rtol=1e-6, atol=1e-9):
        worst = int(np.abs(found[sample, :k] - expected).max(axis=1).argmax()) * step
        raise TruthError(f"the truth given is not true for query {worst}")
    return given.astype(np.int64), found


def accepted(neighbours: Neighbours, k: int) -> list[list[int]]:
    """For each query the rows that are as near as its k-th nearest."""
    rows, far = neighbours
    near = far <= far[:, k - 1 : k]
    return [chosen[mask].tolist() for chosen, mask in zip(rows, near, strict=True)]
