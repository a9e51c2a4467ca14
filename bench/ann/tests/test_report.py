# SPDX-License-Identifier: GPL-2.0-only
"""Tests of report.py: tables of results that are made up here."""

from __future__ import annotations

import unittest
from typing import Any

import report


def result(rows: int, seconds: float, qps: float, **others: Any) -> dict[str, Any]:
    """What measuring a set of so many rows gave: three settings, of which the one at recall 0.95 has this rate."""
    curve = [(0.9, 2 * qps), (0.95, qps), (0.98, qps / 2)]
    return {
        "set": f"gen{rows // 1000}k-8",
        "peer": "vexfs-tree",
        "rows": rows,
        "dim": 8,
        "made_up": True,
        "build": {"seconds": seconds, "cpu_seconds": seconds / 2, "save_seconds": 0.0},
        "curve": [{"recall": recall, "qps": rate, "cpu_qps": 4 * rate} for recall, rate in curve],
        "load": {"resident_bytes": 5_000_000.0},
        "bytes_per_vector": 40.0,
    } | others


class Growth(unittest.TestCase):
    def test_costs_are_multiples_of_the_smallest_set(self) -> None:
        results = [result(100_000, 3.0, 500.0), result(10_000, 0.2, 1000.0)]
        text = report.growth(results, "wall")
        assert text is not None
        lines = [line.split() for line in text.splitlines()]
        self.assertEqual(lines[1], "8 vexfs-tree 10,000 20.0 1.00 1,000.0 1.00 0.950 5.0 40".split())
        self.assertEqual(lines[2], "8 vexfs-tree 100,000 30.0 1.50 2,000.0 2.00 0.950 5.0 40".split())

    def test_follows_the_clock(self) -> None:
        text = report.growth([result(100_000, 3.0, 500.0), result(10_000, 0.2, 1000.0)], "cpu")
        assert text is not None
        self.assertEqual(text.splitlines()[2].split()[3:7], ["15.0", "1.50", "500.0", "2.00"])

    def test_a_recall_that_is_not_reached_is_said(self) -> None:
        poor = result(100_000, 3.0, 500.0, curve=[{"recall": 0.8, "qps": 1.0, "cpu_qps": 1.0}])
        text = report.growth([result(10_000, 0.2, 1000.0), poor], "wall")
        assert text is not None
        self.assertIn("not reached", text.splitlines()[2])

    def test_is_not_there_without_two_sets_that_can_be_compared(self) -> None:
        one = result(10_000, 0.2, 1000.0)
        failed = {"set": "gen20k-8", "peer": "vexfs-tree", "error": "no", "rows": 20_000, "dim": 8, "made_up": True}
        for results in ([], [one], [one, failed], [one, one | {"dim": 9}], [one, one | {"made_up": False}]):
            self.assertIsNone(report.growth(results, "wall"))


if __name__ == "__main__":
    unittest.main()
