# SPDX-License-Identifier: GPL-2.0-only
"""The names of all peers: of which package they are, and how the process that hosts each is started.

Imports no package: the coordinator runs without loading any of the libraries.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_REPOSITORY = Path(__file__).resolve().parents[2]
_REFINE = (2, 4, 8, 16)

#: Ratios refer to this one.
REFERENCE = "hnswlib"


@dataclass(frozen=True)
class Entry:
    """A peer: a class of a module of peers/ with its arguments, from a package; or, without a package, an index kind of
    VexFS, in the program of bench/."""

    package: str | None
    module: str = ""
    kind: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    #: Only for sets whose elements are whole numbers from 0 to 255.
    bytes_only: bool = False


def _faiss(factory: str, **arguments: Any) -> Entry:
    return Entry("faiss-cpu", "faiss_peer", "Faiss", {"factory": factory, **arguments})


PEERS: dict[str, Entry] = {
    "hnswlib": Entry("hnswlib", "hnswlib_peer", "Hnswlib"),
    "usearch": Entry("usearch", "usearch_peer", "Usearch"),
    "usearch-i8": Entry("usearch", "usearch_peer", "Usearch", {"element": "i8"}, bytes_only=True),
    "faiss-hnsw32": _faiss("HNSW32,Flat"),
    "faiss-ivf-flat": _faiss("IVF{lists},Flat", deletes=True, maps=True),
    "faiss-ivf-sq8": _faiss("IVF{lists},SQ8", deletes=True, maps=True),
    "faiss-ivf-pqfs": _faiss("IVF{lists},PQ{half}x4fs,RFlat", refine=_REFINE),
    "faiss-ivf-rabitq": _faiss("RR{dim},IVF{lists},RaBitQ,RFlat", refine=_REFINE),
    "faiss-ivf-rabitqfs": _faiss("RR{dim},IVF{lists},RaBitQfs,RFlat", refine=_REFINE),
    "faiss-ivf-rabitqfs4": _faiss("RR{dim},IVF{lists},RaBitQfs4,RFlat", refine=_REFINE[:2]),
    "rabitqlib-ivf1": Entry("rabitqlib", "rabitq_peer", "Partitions", {"bits": 1}),
    "rabitqlib-ivf4": Entry("rabitqlib", "rabitq_peer", "Partitions", {"bits": 4}),
    "rabitqlib-ivf7": Entry("rabitqlib", "rabitq_peer", "Partitions", {"bits": 7}),
    "rabitqlib-ivf-raw": Entry("rabitqlib", "rabitq_peer", "Partitions", {"bits": 32}),
    "symphonyqg": Entry("rabitqlib", "rabitq_peer", "SymphonyQG"),
    "sqlite-vec": Entry("sqlite-vec", "sqlite_peer", "SqliteVec"),
    "vexfs-exact": Entry(None, kind="exact"),
    "vexfs-tree": Entry(None, kind="tree"),
    "vexfs-graph": Entry(None, kind="graph"),
}


def command(name: str, python: Path) -> list[str]:
    """The command line of the process that hosts a peer."""
    entry = PEERS[name]
    if entry.package is None:
        return [str(driver()), "ann-driver", "--kind", entry.kind]
    return [str(python), str(Path(__file__).with_name("worker.py")), name]


def driver() -> Path:
    """The program of bench/, as `build_driver` makes it."""
    target = Path(os.environ.get("CARGO_TARGET_DIR") or "target")
    return _REPOSITORY / target / "release" / "bench"


def build_driver() -> str | None:
    """Builds the program; None, or why not."""
    cargo = ["cargo", "build", "--quiet", "--release", "-p", "bench"]
    done = subprocess.run(cargo, cwd=_REPOSITORY, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else done.stderr.strip()[-2000:]
