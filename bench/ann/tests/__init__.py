# SPDX-License-Identifier: GPL-2.0-only
"""Tests of what needs no packages: `python3 -m unittest discover -s bench/ann -t bench/ann`, which bench/tests/ann.rs
runs."""
