# SPDX-License-Identifier: GPL-2.0-only
"""The sets of vectors that are measured: those of a folder, a package of Debian's, and made-up ones.

A prepared set is a pair of binary32 .npy files and a truth; what had to be converted or made lies in the work folder.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import formats
import generator
import truth
from environment import cache_folder

_SUFFIXES = (".npy", ".fvecs", ".bvecs")
_TRUTH_SUFFIXES = (".npy", ".ivecs")
_FASHION = "fashion60k"
_FASHION_PACKAGE = "dataset-fashion-mnist"
# Smaller sets tell nothing about an approximate search, and are not measured unless they are asked for.
_FEWEST = 5000


class DataError(Exception):
    """A set cannot be had."""


@dataclass(frozen=True)
class DataSet:
    """A prepared set."""

    name: str
    base: Path
    queries: Path
    rows: int
    dim: int
    query_count: int
    #: Whether all elements are whole numbers from 0 to 255.
    bytes_only: bool
    neighbours: truth.Neighbours


def default_folder() -> Path:
    """The folder of real vectors that the rest of the project uses."""
    given = os.environ.get("VEXFS_DATA")
    return Path(given) if given else Path(__file__).resolve().parents[3] / "shared" / "data"


def names(folder: Path) -> list[str]:
    """What is measured when nothing is asked for: the sets of the folder, and Debian's."""
    return [*sorted(_in_folder(folder)), _FASHION]


def prepare(name: str, folder: Path, work: Path, queries: int, k: int, normalise: bool) -> DataSet:
    """Makes a set ready, with at most so many queries; `normalise`: scaled to length 1, for the cosine metric."""
    work = work / name
    work.mkdir(parents=True, exist_ok=True)
    given: Path | None = None
    pairs = _in_folder(folder)
    wanted = generator.parse(name)
    if name in pairs:
        base_path, query_path = pairs[name]
        given = next((p for p in _candidates(folder, f"{name}_truth", _TRUTH_SUFFIXES) if p.exists()), None)
    elif name == _FASHION:
        base_path, query_path = _fashion(work)
    elif wanted is not None:
        base_path, query_path = work / "base.npy", work / "query.npy"
        if not base_path.exists():
            generator.write(wanted, base_path, query_path)
    else:
        raise DataError(
            f"no set {name}: neither {name}_base.npy or .fvecs in {folder}, nor {_FASHION}, nor genN[k|m]-D"
        )
    base, query = _rows(base_path), _rows(query_path)[:queries]
    if base.shape[1] != query.shape[1]:
        raise DataError(f"{name}: base has {base.shape[1]} elements, queries have {query.shape[1]}")
    if normalise:
        base, query, given = _unit(base), _unit(query), None
    base_file = _as_npy(base, base_path, work / "base32.npy", normalise)
    query_file = work / "query32.npy"
    query = np.ascontiguousarray(query, dtype=np.float32)
    np.save(query_file, query)
    base = np.load(base_file, mmap_mode="r")
    if given is None:
        neighbours = truth.nearest(base, query)
    else:
        neighbours = truth.verified(base, query, _rows(given)[: len(query)], k)
    rows, dim = base.shape
    whole = _are_bytes(base) and _are_bytes(query)
    return DataSet(name, base_file, query_file, rows, dim, len(query), whole, neighbours)


def _are_bytes(rows: Any) -> bool:
    """Whether all elements are whole numbers from 0 to 255."""
    # Most sets that are not show it at once.
    return all(
        bool((part == np.round(part)).all() and part.min() >= 0 and part.max() <= 255) for part in (rows[:1000], rows)
    )


def _in_folder(folder: Path) -> dict[str, tuple[Path, Path]]:
    """The pairs of base and queries in a folder, by name; those with few rows are left out."""
    found = {}
    for path in sorted(folder.glob("*_base.*")) if folder.is_dir() else []:
        name = path.name[: -len(path.suffix)].removesuffix("_base")
        queries = next((p for p in _candidates(folder, f"{name}_query", _SUFFIXES) if p.exists()), None)
        if path.suffix in _SUFFIXES and queries is not None and formats.describe(path).rows > _FEWEST:
            found[name] = (path, queries)
    return found


def _candidates(folder: Path, stem: str, suffixes: Iterable[str]) -> list[Path]:
    return [folder / f"{stem}{suffix}" for suffix in suffixes]


def _rows(path: Path) -> NDArray[np.generic]:
    """The rows of a file, mapped."""
    matrix = formats.describe(path)
    element = np.dtype(matrix.element)
    raw = np.memmap(path, dtype=np.uint8, mode="r")
    shape, strides = (matrix.rows, matrix.dim), (matrix.stride, element.itemsize)
    return np.ndarray(shape, dtype=element, buffer=raw, offset=matrix.offset, strides=strides)


def _as_npy(base: NDArray[np.generic], original: Path, copy: Path, changed: bool) -> Path:
    """The base as a binary32 .npy file: the original if it is one."""
    if not changed and original.suffix == ".npy" and base.dtype == np.dtype("<f4"):
        return original
    np.save(copy, np.ascontiguousarray(base, dtype=np.float32))
    return copy


def _unit(rows: NDArray[np.generic]) -> NDArray[np.float32]:
    rows = np.asarray(rows, dtype=np.float32)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    if not lengths.all():
        raise DataError("a vector of length 0 has no cosine")
    return rows / lengths


def _fashion(work: Path) -> tuple[Path, Path]:
    """Debian's package of 28 x 28 pictures of clothes: fetched into the cache and unpacked here, not installed."""
    base, queries = work / "base.npy", work / "query.npy"
    if not queries.exists():
        cache = cache_folder() / _FASHION_PACKAGE
        cache.mkdir(exist_ok=True)
        if not any(cache.glob("*.deb")):
            _run(["apt-get", "download", "--quiet", _FASHION_PACKAGE], cache)
        unpacked = work / "package"
        _run(["dpkg-deb", "--extract", str(next(cache.glob("*.deb"))), str(unpacked)], work)
        for name, target in (("train", base), ("t10k", queries)):
            file = next(unpacked.rglob(f"{name}-images-idx3-ubyte.gz"))
            rows, dim, elements = formats.idx_images(file)
            np.save(target, np.frombuffer(elements, dtype=np.uint8).reshape(rows, dim).astype(np.float32))
        _run(["rm", "-r", str(unpacked)], work)
    return base, queries


def _run(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise DataError(f"{' '.join(command)}: {done.stderr.strip()}")
