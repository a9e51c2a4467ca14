# SPDX-License-Identifier: GPL-2.0-only
"""What is made of the results: two tables, and a third of sets that differ in their number of rows alone; a JSON file with
everything; and a picture of the curves of each set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import maths
import registry

TARGETS = (0.95, 0.99)
_NONE = "none"

Result = dict[str, Any]


def table(rows: list[list[str]]) -> str:
    """Columns as wide as they must be; all but the first two to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def rates(results: list[Result], clock: str) -> str:
    """The table `set peer recall qps ratio-to-hnswlib`."""
    rows = [["set", "peer", "recall", "qps", f"ratio-to-{registry.REFERENCE}"]]
    for target in TARGETS:
        for result in results:
            head = [result["set"], result["peer"]]
            if "curve" not in result:
                rows.append([*head, f"{target:.3f}", "failed", "-"])
                continue
            found = at(result, target, clock)
            if found is None:
                best = max(point["recall"] for point in result["curve"])
                rows.append([*head, f"{target:.3f}", f"not reached ({best:.4f})", "-"])
                continue
            reference = next((r for r in results if r["set"] == result["set"] and r["peer"] == registry.REFERENCE), {})
            other = at(reference, target, clock) if "curve" in reference else None
            ratio = "-" if other is None else f"{found.qps / other.qps:.2f}"
            rows.append([*head, f"{found.recall:.3f}", f"{found.qps:,.0f}", ratio])
    return table(rows)


def _rate_name(clock: str) -> str:
    return "qps" if clock == "wall" else "cpu_qps"


def at(result: Result, target: float, clock: str) -> maths.AtRecall | None:
    """The rate of a peer at a recall."""
    rate = _rate_name(clock)
    return maths.at_recall((maths.Point(point["recall"], point[rate]) for point in result["curve"]), target)


def measures(results: list[Result], clock: str) -> str:
    """The table of everything else. What waits for storage is in wall time whatever the clock."""
    head = ["set", "peer", "build s", "save s", "bytes/vector", "cold ms", "warm ms", "resident MB"]
    head += ["cold ms, mapped", "warm ms, mapped", "resident MB, mapped"]
    head += ["insert/s", "in batches", "durable", "delete/s", "in batches", "durable"]
    rows = [head]
    for result in results:
        build = result.get("build") or {}
        built = "seconds" if clock == "wall" else "cpu_seconds"
        row = [result["set"], result["peer"], _number(build.get(built), 2), _number(build.get("save_seconds"), 2)]
        row.append(_number(result.get("bytes_per_vector"), 0))
        for way in ("load", "map"):
            opened = result.get(way)
            for name, scale in (
                ("first_answer_cold_seconds", 1e3),
                ("first_answer_warm_seconds", 1e3),
                ("resident_bytes", 1e-6),
            ):
                row.append(_number(opened[name] * scale, 1) if opened else _absent(result))
        changes = result.get("changes", {})
        for name in ("insert", "insert_batch", "insert_durable", "delete", "delete_batch", "delete_durable"):
            rate = "qps" if name.endswith("durable") else _rate_name(clock)
            row.append(_number(changes[name][rate], 0) if changes.get(name) else _absent(result))
        rows.append(row)
    return table(rows)


def growth(results: list[Result], clock: str) -> str | None:
    """The table of what grows with the number of rows, of made-up sets that differ in nothing else; None without such.
    A put is one of those that built the index, durable; each cost is also shown as a multiple of the smallest set's."""
    rows = [["dim", "peer", "rows", "put us", "times", "query us", "times", "recall", "resident MB", "bytes/vector"]]
    smallest: dict[tuple[int, str], Result] = {}
    count: dict[tuple[int, str], int] = {}
    for result in sorted(results, key=lambda result: result.get("rows", 0)):
        if not result.get("made_up") or "curve" not in result:
            continue
        key = (result["dim"], result["peer"])
        first = smallest.setdefault(key, result)
        count[key] = count.get(key, 0) + 1
        row = [str(result["dim"]), result["peer"], f"{result['rows']:,}"]
        for cost in (_put_cost, _query_cost):
            mine, least = cost(result, clock), cost(first, clock)
            row.append(_number(mine, 1))
            row.append("-" if mine is None or least is None else f"{mine / least:.2f}")
        found = at(result, TARGETS[0], clock)
        row.append("not reached" if found is None else f"{found.recall:.3f}")
        resident = result.get("load", {}).get("resident_bytes")
        row.append(_number(None if resident is None else resident * 1e-6, 1))
        row.append(_number(result.get("bytes_per_vector"), 0))
        rows.append(row)
    return table(rows) if max(count.values(), default=0) > 1 else None


def _put_cost(result: Result, clock: str) -> float | None:
    """Microseconds a row of building, and of saving where that is apart."""
    build = result["build"]
    seconds = build["seconds" if clock == "wall" else "cpu_seconds"] + build["save_seconds"]
    return 1e6 * seconds / result["rows"]


def _query_cost(result: Result, clock: str) -> float | None:
    found = at(result, TARGETS[0], clock)
    return None if found is None else 1e6 / found.qps


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def _absent(result: Result) -> str:
    """What the library cannot do, or what was not measured because it failed."""
    return "failed" if "error" in result else _NONE


def share(results: list[Result]) -> float:
    """The share of the time of the measurements in which the processor was really theirs."""
    parts = [point["qps"] / point["cpu_qps"] for result in results for point in result.get("curve", [])]
    return maths.median(parts) if parts else 1.0


def write_json(path: Path, about: dict[str, Any], results: list[Result]) -> None:
    """Everything."""
    path.write_text(json.dumps(about | {"results": results}, indent=1) + "\n", encoding="utf-8")


def write_picture(path: Path, name: str, results: list[Result], clock: str) -> None:
    """Recall against queries per second of one set: the share of misses is logarithmic, so that 0.9, 0.99 and 0.999 are
    equally far apart."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.ticker import FuncFormatter

    rate = _rate_name(clock)
    figure, axes = pyplot.subplots(figsize=(11, 7.5))
    shown = [result for result in results if "curve" in result]
    for number, result in enumerate(shown):
        points = maths.front(maths.Point(point["recall"], point[rate]) for point in result["curve"])
        across = [max(1 - point.recall, 1e-4) for point in points]
        up = [point.qps for point in points]
        own = result["peer"].startswith("vexfs")
        style = {"linewidth": 3.0, "color": "black"} if own else {"color": f"C{number % 10}"}
        axes.plot(across, up, marker="osv^D*"[number // 10 % 6], markersize=4, label=result["peer"], **style)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.invert_xaxis()
    axes.xaxis.set_major_formatter(FuncFormatter(lambda misses, _: f"{1 - misses:g}"))
    axes.set_xlabel("recall@10")
    axes.set_ylabel("queries per second, one thread")
    axes.set_title(name)
    axes.grid(visible=True, which="both", alpha=0.25)
    axes.legend(fontsize="small", loc="lower left")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
