# SPDX-License-Identifier: GPL-2.0-only
"""Measures peers on one set: building, the curve, opening, memory, changes. Alternates between the peers where rates
are compared, so that what else the machine does hits all of them. Results are plain dictionaries, as in the JSON file.
"""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import maths
import registry
import truth
from datasets import DataSet
from process import PeerError, PeerProcess, disk_bytes, evict

# Curves begin here, as far as settings matter that nobody wants.
_LOWEST_RECALL = 0.8
# Settings this much slower than a better one are not measured again.
_SLACK = 0.65
# The setting whose memory and opening are measured reaches this, if one does.
_USUAL_RECALL = 0.95
_WARM_SECONDS = 0.02
# Longest time for the changes of one kind.
_CHANGE_SECONDS = 2.0
# Most rows inserted or deleted of one kind.
_CHANGES = 300


@dataclass(frozen=True)
class Plan:
    """How to measure."""

    python: Path
    processor: int
    k: int
    rounds: int
    slice_seconds: float
    calibrate_seconds: float
    batch: int
    reuse: bool
    open_rounds: int = 3


class Measurement:
    """The peers on one set. `say` is told what goes on."""

    def __init__(self, plan: Plan, data: DataSet, work: Path, say: Callable[[str], None]) -> None:
        self._plan = plan
        self._data = data
        self._work = work
        self._say = say
        self._accepted = truth.accepted(data.neighbours, plan.k)
        self.results: dict[str, dict[str, Any]] = {}

    def run(self, peers: list[str]) -> None:
        """Measures everything of all peers; one that fails has an "error" in its result."""
        for name in peers:
            if registry.PEERS[name].bytes_only and not self._data.bytes_only:
                self._say(f"{self._data.name}: {name} is only for sets whose elements are bytes")
                continue
            self.results[name] = {"set": self._data.name, "peer": name}
            with self._guarded(name):
                self._build(name)
        self._curves()
        for name in self._working():
            with self._guarded(name):
                self._open(name)
                self._changes(name)

    def _working(self) -> list[str]:
        return [name for name, result in self.results.items() if "error" not in result]

    @contextlib.contextmanager
    def _guarded(self, name: str) -> Iterator[None]:
        """Makes a failure of a peer its result, so that the others are measured."""
        try:
            yield
        except (PeerError, OSError, subprocess.CalledProcessError) as why:
            self.results[name]["error"] = str(why)
            self._say(f"{self._data.name}: {name} FAILED: {why}")

    def _process(self, name: str) -> PeerProcess:
        return PeerProcess(name, registry.command(name, self._plan.python), self._plan.processor)

    def _store(self, name: str) -> Path:
        return self._work / "stores" / name

    def _build(self, name: str) -> None:
        store, result = self._store(name), self.results[name]
        with self._process(name) as peer:
            result |= peer.ask("describe", rows=self._data.rows)
            note = store.with_suffix(".json")
            key = [dict(registry.PEERS[name].arguments), result["version"], str(self._data.base), self._data.rows]
            result["build"] = self._earlier(name, note, key)
            if result["build"] is None:
                note.unlink(missing_ok=True)
                shutil.rmtree(store, ignore_errors=True)
                store.mkdir(parents=True)
                result["build"] = peer.ask("build", base=str(self._data.base), store=str(store))
                note.write_text(json.dumps({"key": key, "build": result["build"]}), encoding="utf-8")
        result["disk_bytes"] = result["build"].get("disk_bytes") or disk_bytes(store)
        seconds = result["build"]["seconds"] + result["build"]["save_seconds"]
        self._say(f"{self._data.name}: {name} built in {seconds:.2f} s, {result['disk_bytes'] / 1e6:.1f} MB")

    def _earlier(self, name: str, note: Path, key: list[Any]) -> dict[str, Any] | None:
        """How the same index was built in an earlier run, if it is there and may be used again."""
        if not self._plan.reuse or registry.PEERS[name].package is None or not note.exists():
            return None
        earlier = json.loads(note.read_text(encoding="utf-8"))
        return earlier["build"] | {"reused": True} if earlier["key"] == key else None

    def _curves(self) -> None:
        with contextlib.ExitStack() as stack:
            running: dict[str, PeerProcess] = {}
            chosen: dict[str, list[dict[str, Any]]] = {}
            for name in self._working():
                with self._guarded(name):
                    running[name] = stack.enter_context(self._process(name))
                    chosen[name] = self._calibrate(running[name])
            for number in range(self._plan.rounds):
                self._round(number, running, chosen)
        for name in self._working():
            points = chosen[name]
            for point in points:
                point["qps"] = maths.median(point["wall_rates"])
                point["cpu_qps"] = maths.median(point["cpu_rates"])
            self.results[name]["curve"] = points

    def _calibrate(self, peer: PeerProcess) -> list[dict[str, Any]]:
        """The recall of every setting, and those that are worth measuring."""
        result, k = self.results[peer.name], self._plan.k
        peer.ask("load", queries=str(self._data.queries), store=str(self._store(peer.name)))
        knobs = result.pop("knobs")
        peer.ask("open", store=str(self._store(peer.name)), mapped=False, spare=0, k=k, knobs=knobs[0])
        output = self._work / "answers.npy"
        points = []
        for setting in knobs:
            done = peer.ask("calibrate", k=k, knobs=setting, seconds=self._plan.calibrate_seconds, output=str(output))
            answers = np.load(output).tolist()
            reached = maths.recall(answers, self._accepted[: len(answers)], k)
            rough = len(answers) / max(done["cpu"], 1e-9)
            points.append({"knobs": setting, "recall": reached, "queries": len(answers), "rough_qps": rough})
        result["tried"] = points
        rough_points = [maths.Point(point["recall"], point["rough_qps"]) for point in points]
        kept = [points[number] for number in maths.worth_measuring(rough_points, _LOWEST_RECALL, _SLACK)]
        best = max(point["recall"] for point in points)
        self._say(f"{self._data.name}: {peer.name} recall up to {best:.4f}, {len(kept)} settings")
        return [point | {"wall_rates": [], "cpu_rates": []} for point in kept]

    def _round(self, number: int, running: dict[str, PeerProcess], chosen: dict[str, list[dict[str, Any]]]) -> None:
        """Every setting of every peer once, a setting of each peer in turn; the next round begins with another peer."""
        plan = self._plan
        names = self._working()
        names = names[number % len(names) :] + names[: number % len(names)] if names else []
        for step in range(max((len(chosen[name]) for name in names), default=0)):
            for name in [name for name in names if step < len(chosen[name])]:
                if "error" in self.results[name]:
                    continue
                point = chosen[name][step]
                with self._guarded(name):
                    done = running[name].ask(
                        "search",
                        k=plan.k,
                        knobs=point["knobs"],
                        queries=point["queries"],
                        batch=self._batch(point),
                        seconds=plan.slice_seconds,
                        warm_seconds=_WARM_SECONDS,
                    )
                    point["wall_rates"].append(done["queries"] / done["wall"])
                    point["cpu_rates"].append(done["queries"] / max(done["cpu"], 1e-9))

    def _batch(self, point: dict[str, Any]) -> int:
        """Queries of a call, so that there are several calls in a slice even if others use the processor, too."""
        fit = round(point["rough_qps"] * self._plan.slice_seconds / 4)
        return max(1, min(self._plan.batch, point["queries"], fit))

    def _open(self, name: str) -> None:
        """The time to the first answer of a fresh process, and the memory that searching at a usual setting takes."""
        plan, result, store = self._plan, self.results[name], self._store(name)
        usual = next((p for p in result["curve"] if p["recall"] >= _USUAL_RECALL), result["curve"][-1])
        result["usual"] = {"knobs": usual["knobs"], "recall": usual["recall"]}
        ways = [("load", False)] + ([("map", True)] if "map" in result["can"] else [])
        for way, mapped in ways:
            warm: list[float] = []
            cold: list[float] = []
            resident: list[int] = []
            file: list[int] = []
            for number in range(2 * plan.open_rounds):
                with self._process(name) as peer:
                    peer.ask("load", queries=str(self._data.queries), store=str(store))
                    before = peer.ask("memory")
                    if number % 2 == 0:
                        evict(store)
                    done = peer.ask("open", store=str(store), mapped=mapped, spare=0, k=plan.k, knobs=usual["knobs"])
                    (warm if number % 2 else cold).append(done["first_seconds"])
                    if number >= 2:
                        continue
                    count = usual["queries"]
                    peer.ask(
                        "search",
                        k=plan.k,
                        knobs=usual["knobs"],
                        queries=count,
                        batch=count,
                        seconds=0.0,
                        warm_seconds=0.0,
                    )
                    after = peer.ask("memory")
                    resident.append(after["resident"] - before["resident"])
                    file.append(after["file"] - before["file"])
            result[way] = {
                "first_answer_warm_seconds": maths.median(warm),
                "first_answer_cold_seconds": maths.median(cold),
                "resident_bytes": maths.median(resident),
                "of_files_bytes": maths.median(file),
            }

    def _changes(self, name: str) -> None:
        """Rates of inserting vectors that the index has not seen (queries of the set), and of deleting random rows."""
        result, can = self.results[name], self.results[name]["can"]
        result["changes"] = changes = dict.fromkeys(("insert", "insert_batch", "insert_durable"), None)
        changes |= dict.fromkeys(("delete", "delete_batch", "delete_durable"), None)
        queries = np.load(self._data.queries)
        count = min(_CHANGES, len(queries) // 3)
        copy = self._work / "changed"
        deleted = random.Random(1).sample(range(self._data.rows), min(_CHANGES, self._data.rows // 30) * 3)
        for what, part, batch, durable in (
            ("insert", 0, 1, False),
            ("insert_batch", 1, count, False),
            ("insert_durable", 2, 1, True),
            ("delete", 0, 1, False),
            ("delete_batch", 1, len(deleted), False),
            ("delete_durable", 2, 1, True),
        ):
            kind = what.partition("_")[0]
            if kind not in can or (durable and "sync" not in can):
                continue
            shutil.rmtree(copy, ignore_errors=True)
            # Images are mostly holes.
            cp = ["cp", "--recursive", "--sparse=always", "--reflink=auto", "--", str(self._store(name)), str(copy)]
            subprocess.run(cp, check=True)
            vectors = self._work / "inserted.npy"
            np.save(vectors, queries[part * count : (part + 1) * count])
            rows = range(self._data.rows, self._data.rows + count) if kind == "insert" else deleted[part::3]
            with self._process(name) as peer:
                insert = str(vectors) if kind == "insert" else None
                peer.ask("load", queries=str(self._data.queries), store=str(copy), insert=insert)
                peer.ask(
                    "open",
                    store=str(copy),
                    mapped=False,
                    spare=count,
                    k=self._plan.k,
                    knobs=result["usual"]["knobs"],
                )
                done = peer.ask(
                    "change",
                    insert=insert,
                    rows=list(rows),
                    durable=durable,
                    batch=batch,
                    seconds=_CHANGE_SECONDS,
                )
            changes[what] = {"qps": done["rows"] / done["wall"], "cpu_qps": done["rows"] / max(done["cpu"], 1e-9)}
        shutil.rmtree(copy, ignore_errors=True)
