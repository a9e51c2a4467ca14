# SPDX-License-Identifier: GPL-2.0-only
"""Tests of registry.py and of what it names, without loading any of the libraries."""

from __future__ import annotations

import ast
import unittest
from pathlib import Path

import environment
import registry

_PEERS = Path(registry.__file__).with_name("peers")


class Registry(unittest.TestCase):
    def test_classes_are_there_and_take_their_arguments(self) -> None:
        for name, entry in registry.PEERS.items():
            if entry.package is None:
                continue
            tree = ast.parse((_PEERS / f"{entry.module}.py").read_text(encoding="utf-8"))
            classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == entry.kind]
            self.assertEqual(len(classes), 1, name)
            begin = [n for n in classes[0].body if isinstance(n, ast.FunctionDef) and n.name == "__init__"]
            known = {argument.arg for node in begin for argument in node.args.args}
            self.assertLessEqual(set(entry.arguments), known, name)

    def test_packages_are_pinned(self) -> None:
        pinned = environment.pinned()
        self.assertEqual(len(pinned), len(set(pinned)))
        for name, entry in registry.PEERS.items():
            if entry.package is not None:
                self.assertIn(entry.package, pinned, name)

    def test_the_reference_is_a_peer(self) -> None:
        self.assertIn(registry.REFERENCE, registry.PEERS)

    def test_what_is_built_here_is_started_by_its_program(self) -> None:
        command = registry.command("vexfs-exact", Path("/nowhere/python"))
        self.assertEqual(command[1:], ["ann-driver", "--kind", "exact"])
        self.assertEqual(registry.command("hnswlib", Path("/nowhere/python"))[0], "/nowhere/python")


if __name__ == "__main__":
    unittest.main()
