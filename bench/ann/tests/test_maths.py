# SPDX-License-Identifier: GPL-2.0-only
"""Tests of maths.py: values that were worked out by hand."""

from __future__ import annotations

import math
import unittest

import maths
from maths import Point


class Recall(unittest.TestCase):
    def test_is_the_share_of_the_true_neighbours(self) -> None:
        self.assertEqual(maths.recall([[1, 2, 3], [4, 5, 6]], [[3, 2, 1], [4, 8, 9]], 3), 4 / 6)

    def test_any_of_equally_near_rows_counts_but_not_beyond_k(self) -> None:
        self.assertEqual(maths.recall([[1, 2]], [[1, 2, 3]], 2), 1.0)
        self.assertEqual(maths.recall([[1, 2, 3]], [[1, 2, 3]], 2), 1.0)

    def test_an_answer_given_twice_counts_once_and_none_never(self) -> None:
        self.assertEqual(maths.recall([[7, 7]], [[7, 8]], 2), 0.5)
        self.assertEqual(maths.recall([[-1, -1]], [[7, 8]], 2), 0.0)

    def test_of_nothing_or_too_little_truth_is_an_error(self) -> None:
        cases: list[tuple[list[list[int]], list[list[int]]]] = [([], []), ([[1]], []), ([[1]], [[]])]
        for answers, accepted in cases:
            with self.assertRaises(ValueError):
                maths.recall(answers, accepted, 1)


class Median(unittest.TestCase):
    def test_of_odd_and_even_numbers(self) -> None:
        self.assertEqual(maths.median([9.0, 1.0, 2.0]), 2.0)
        self.assertEqual(maths.median([9.0, 1.0, 2.0, 4.0]), 3.0)
        with self.assertRaises(ValueError):
            maths.median([])


class Front(unittest.TestCase):
    def test_leaves_out_what_another_beats(self) -> None:
        points = [Point(0.9, 100), Point(0.95, 50), Point(0.93, 40), Point(0.9, 90), Point(0.99, 50)]
        self.assertEqual(maths.front(points), [Point(0.9, 100), Point(0.99, 50)])

    def test_of_nothing_is_nothing(self) -> None:
        self.assertEqual(maths.front([]), [])


class AtRecall(unittest.TestCase):
    def test_interpolates_logarithms(self) -> None:
        # From 10 % to 0.1 % of misses the rate falls from 10,000 to 100; 1 % is in the middle.
        found = maths.at_recall([Point(0.9, 10_000), Point(0.999, 100)], 0.99)
        assert found is not None
        self.assertEqual(found.recall, 0.99)
        self.assertTrue(math.isclose(found.qps, 1000, rel_tol=1e-9), found)

    def test_takes_a_setting_that_hits_the_target(self) -> None:
        points = [Point(0.9, 300), Point(0.95, 200), Point(0.99, 100)]
        self.assertEqual(maths.at_recall(points, 0.95), maths.AtRecall(0.95, 200))

    def test_does_not_extrapolate(self) -> None:
        points = [Point(0.97, 300), Point(0.98, 200)]
        self.assertEqual(maths.at_recall(points, 0.95), maths.AtRecall(0.97, 300))
        self.assertIsNone(maths.at_recall(points, 0.99))
        self.assertIsNone(maths.at_recall([], 0.99))

    def test_reaches_to_a_recall_of_1(self) -> None:
        found = maths.at_recall([Point(0.9, 100), Point(1.0, 10)], 0.99)
        assert found is not None
        self.assertTrue(10 < found.qps < 100, found)


class WorthMeasuring(unittest.TestCase):
    def test_keeps_what_is_near_the_front_from_the_last_below_on(self) -> None:
        points = [
            Point(0.50, 900),
            Point(0.70, 800),
            Point(0.90, 500),
            Point(0.91, 100),  # the next one is better in both
            Point(0.95, 400),
            Point(0.96, 390),
            Point(1.00, 50),
        ]
        self.assertEqual(maths.worth_measuring(points, 0.8, 0.75), [1, 2, 4, 5, 6])

    def test_keeps_the_best_if_all_are_below(self) -> None:
        self.assertEqual(maths.worth_measuring([Point(0.5, 10), Point(0.6, 9)], 0.8, 0.75), [1])

    def test_keeps_three_that_find_everything(self) -> None:
        points = [Point(1.0, rate) for rate in (96, 100, 97, 98, 99)]
        self.assertEqual(maths.worth_measuring(points, 0.8, 0.75), [1, 4, 3])


if __name__ == "__main__":
    unittest.main()
