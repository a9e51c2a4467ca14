# SPDX-License-Identifier: GPL-2.0-only
"""The arithmetic of the results: recall, medians, the front of a curve, and the rate at a given recall.

Pure Python without packages, so that its tests run everywhere. Knows nothing about peers, processes or files.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

# Recall of 1 has no finite logarithm of its misses; less than one miss in a million is taken for one.
_FEWEST_MISSES = 1e-6


@dataclass(frozen=True)
class Point:
    """A point of a curve: what a setting of the knobs reached."""

    recall: float
    qps: float


@dataclass(frozen=True)
class AtRecall:
    """The rate of a peer at a recall that was asked for.

    `recall` is the one asked for if the rate was interpolated between two settings, and higher if even the fastest
    setting of the curve is better than that.
    """

    recall: float
    qps: float


def recall(answers: Sequence[Iterable[int]], accepted: Sequence[Iterable[int]], k: int) -> float:
    """The mean share of the k nearest that the answers hold.

    `accepted` names for every query the rows that are as near as its k-th nearest: more than k if several are equally
    far. An answer given twice counts once, and no query counts for more than 1.
    """
    if k < 1 or not answers or len(answers) != len(accepted):
        raise ValueError("recall of nothing, or of answers and truth of different length")
    found = 0
    for answer, good in zip(answers, accepted, strict=True):
        good = set(good)
        if len(good) < k:
            raise ValueError(f"a query has {len(good)} accepted answers, which is less than {k}")
        found += min(k, len(good.intersection(answer)))
    return found / (k * len(answers))


def median(values: Iterable[float]) -> float:
    """The middle value; the mean of the two middle ones if their number is even."""
    ordered = sorted(values)
    if not ordered:
        raise ValueError("median of nothing")
    middle = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[middle]
    return (ordered[middle - 1] + ordered[middle]) / 2


def front(points: Iterable[Point]) -> list[Point]:
    """The points that no other beats in both recall and rate, by ascending recall, so by descending rate."""
    kept: list[Point] = []
    for point in sorted(points, key=lambda point: (-point.recall, -point.qps)):
        if not kept or point.qps > kept[-1].qps:
            kept.append(point)
    kept.reverse()
    return kept


def at_recall(points: Iterable[Point], target: float) -> AtRecall | None:
    """The rate at recall `target`, or None if no setting reaches it.

    Between the two neighbours of the target on the curve's front, the logarithm of the rate is taken to be linear in
    the logarithm of the share of misses: search effort grows by a factor for every factor of fewer misses. Beyond the
    ends nothing is extrapolated.
    """
    below: Point | None = None
    for point in front(points):
        if point.recall < target:
            below = point
            continue
        if below is None or point.recall == target:
            return AtRecall(point.recall, point.qps)
        low, high, wanted = (_misses(value) for value in (below.recall, point.recall, target))
        part = 1.0 if low == high else (low - wanted) / (low - high)
        rate = math.exp((1 - part) * math.log(below.qps) + part * math.log(point.qps))
        return AtRecall(target, rate)
    return None


def worth_measuring(points: Sequence[Point], lowest: float, slack: float) -> list[int]:
    """Which points of a rough measurement are worth a careful one: those of at least `slack` times the rate of the best
    setting with the same or more recall, from the last one below recall `lowest` on, in the order of recall. Of
    settings that all find everything, the fastest three."""
    order = sorted(range(len(points)), key=lambda number: (points[number].recall, -points[number].qps))
    kept = []
    for place, number in enumerate(order):
        best = max(points[other].qps for other in order[place:])
        if points[number].qps >= slack * best:
            kept.append(number)
    below = [number for number in kept if points[number].recall < lowest]
    above = [number for number in kept if points[number].recall >= lowest]
    whole = [number for number in above if points[number].recall >= 1]
    whole.sort(key=lambda number: -points[number].qps)
    return below[-1:] + [number for number in above if points[number].recall < 1] + whole[:3]


def _misses(reached: float) -> float:
    """The logarithm of the share of misses."""
    return math.log(max(1 - reached, _FEWEST_MISSES))
