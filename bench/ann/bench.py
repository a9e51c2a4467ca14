# SPDX-License-Identifier: GPL-2.0-only
"""`make bench-ann`: VexFS beside the libraries that people use for approximate search, on one machine in one run.

Runs twice: under the system's Python it makes the private environment and continues in it. Exits with 1 if a peer could
not be installed or failed, with 2 if nothing could be measured. docs/ann-benchmark.md has the method.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import environment
import registry

_INSIDE = "VEXFS_BENCH_ANN_FAILED"
_REPOSITORY = Path(__file__).resolve().parents[2]


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Recall and speed beside other libraries.")
    add = parser.add_argument
    add("--data", type=Path, help="folder of NAME_base.npy or .fvecs with NAME_query; default: $VEXFS_DATA")
    add(
        "--sets",
        default="",
        help="names of sets, among them genN[k|m]-DIM; default: those of the folder and fashion60k",
    )
    add("--peers", default="", help="names of peers, or beginnings of them; default: all")
    add("--rounds", type=int, default=5, help="times that every setting is measured")
    add("--slice", type=float, default=0.1, help="seconds of each time")
    add("--queries", type=int, default=1000, help="most queries of a set")
    add("--batch", type=int, default=1_000_000, help="most queries of a call")
    add("-k", type=int, default=10, help="neighbours asked for")
    add("--clock", choices=("wall", "cpu"), default="wall", help="time of the tables; the JSON file has both")
    add("--cosine", action="store_true", help="scale all vectors to length 1 first")
    add("--reuse", action="store_true", help="take indexes of libraries from the last run, if they are there")
    add("--keep", action="store_true", help="leave the indexes for --reuse")
    add("--output", type=Path, help="folder of the results; default: build/bench-ann")
    add("--alone", action="store_true", help=f"leave out {registry.REFERENCE} where --peers does not name it")
    add("--list", action="store_true", help="list sets and peers")
    return parser.parse_args()


def chosen_peers(wanted: str, alone: bool) -> list[str]:
    """The peers that are named, and the one that ratios refer to, unless `alone`."""
    if not wanted:
        return list(registry.PEERS)
    chosen = set() if alone else {registry.REFERENCE}
    for part in wanted.replace(",", " ").split():
        matching = [name for name in registry.PEERS if name == part] or [
            name for name in registry.PEERS if name.startswith(part)
        ]
        if not matching:
            raise SystemExit(f"bench-ann: no peer {part}; there are {', '.join(registry.PEERS)}")
        chosen.update(matching)
    return [name for name in registry.PEERS if name in chosen]


def main() -> int:
    """Makes the environment, or measures in it."""
    options = arguments()
    peers = chosen_peers(options.peers, options.alone)
    if _INSIDE not in os.environ:
        packages = sorted({entry.package for name in peers if (entry := registry.PEERS[name]).package is not None})
        try:
            python, failed = environment.prepare(packages)
        except (environment.SetupError, OSError) as why:
            print(f"bench-ann: {why}", file=sys.stderr)
            return 2
        if any(registry.PEERS[name].package is None for name in peers):
            unbuilt = registry.build_driver()
            if unbuilt is not None:
                failed[""] = unbuilt
        os.environ[_INSIDE] = json.dumps(failed)
        os.execv(python, [str(python), *sys.argv])
    return measure(options, peers, json.loads(os.environ.pop(_INSIDE)))


def measure(options: argparse.Namespace, peers: list[str], failed: dict[str, str]) -> int:
    """Measures all sets and writes the results."""
    import datasets
    import formats
    import generator
    import measure as measuring
    import report
    import truth

    folder = options.data or datasets.default_folder()
    wanted = options.sets.replace(",", " ").split() or datasets.names(folder)
    if options.list:
        print(f"sets: {', '.join(datasets.names(folder))}, genN[k|m]-DIM\npeers: {', '.join(peers)}")
        return 0
    output = options.output or _REPOSITORY / os.environ.get("VEXFS_BUILD", "build") / "bench-ann"
    output.mkdir(parents=True, exist_ok=True)
    processor = max(os.sched_getaffinity(0))
    plan = measuring.Plan(
        python=Path(sys.executable),
        processor=processor,
        k=options.k,
        rounds=options.rounds,
        slice_seconds=options.slice,
        calibrate_seconds=max(3.0, 10 * options.slice),
        batch=options.batch,
        reuse=options.reuse,
    )
    about = _about(options, processor)
    print(f"{about['processor']}, {about['cpus']} CPUs, load {os.getloadavg()[0]:.1f}; one thread on CPU {processor}")
    results: list[dict[str, Any]] = []
    bad = False
    usable = []
    for name in peers:
        package = registry.PEERS[name].package
        missing = failed.get(package or "")
        if missing is None:
            usable.append(name)
        else:
            bad = True
            print(f"{name} FAILED: cannot be installed: {missing}", flush=True)
            results += [{"set": each, "peer": name, "error": f"cannot be installed: {missing}"} for each in wanted]
    for name in wanted:
        work = output / "work"
        try:
            data = datasets.prepare(name, folder, work, options.queries, options.k, options.cosine)
        except (datasets.DataError, formats.FormatError, truth.TruthError, OSError) as why:
            print(f"{name} FAILED: {why}", flush=True)
            bad = True
            continue
        _say(f"{name}: {data.rows} x {data.dim}, {data.query_count} queries")
        run = measuring.Measurement(plan, data, work / name, _say)
        run.run(usable)
        for result in run.results.values():
            result |= {"rows": data.rows, "dim": data.dim, "made_up": generator.parse(name) is not None}
            if "disk_bytes" in result:
                result["bytes_per_vector"] = result["disk_bytes"] / data.rows
            bad = bad or "error" in result
        here = [result for result in results if result["set"] == name] + list(run.results.values())
        results = [result for result in results if result["set"] != name] + here
        report.write_picture(output / f"{name}.png", name, here, options.clock)
        report.write_json(output / "results.json", about, results)
        if not options.keep:
            shutil.rmtree(work / name, ignore_errors=True)
    if not results:
        return 2
    text = f"{report.rates(results, options.clock)}\n\n{report.measures(results, options.clock)}\n"
    growth = report.growth(results, options.clock)
    if growth is not None:
        text += f"\n{growth}\n"
    (output / "tables.txt").write_text(text, encoding="utf-8")
    print(f"\n{text}\n{output}: results.json, tables.txt and a picture of each set")
    share = report.share(results)
    if share < 0.9:
        print(f"The processor was theirs only {share:.0%} of the time. --clock cpu leaves out what others took.")
    return 1 if bad else 0


def _about(options: argparse.Namespace, processor: int) -> dict[str, Any]:
    model = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor(),
    )
    return {
        "processor": model,
        "cpus": os.cpu_count(),
        "cpu_used": processor,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "options": {name: str(value) for name, value in vars(options).items()},
    }


def _lines(path: str) -> list[str]:
    return Path(path).read_text(encoding="utf-8", errors="replace").splitlines()


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
