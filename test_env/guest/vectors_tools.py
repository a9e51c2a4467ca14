#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""vexctl as its users call it: on the mount and with --img, with real vectors and the demo's.

What the kernel answers is tested in the other vectors_* suites; here it is the tool's
grammar, its reading of files, its JSON, its exit status, and that it gives the same
answers without the kernel.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

import vexabi
from guest import Failure, Suite, expect, expect_equal, run

BOB = 4002
K = 10
QUERIES = 40
RELATIVE = 1e-5

suite = Suite("vectors_tools", only="vexfs")


def vexctl(*arguments, **keywords):
    """Run vexctl; returns what it printed."""
    return run(["vexctl", *arguments], **keywords)


def vexctl_json(*arguments, **keywords):
    """Run vexctl --json; returns the parsed value."""
    return json.loads(vexctl("--json", *arguments, **keywords))


def expect_refused(*arguments):
    """Fail unless vexctl fails and says why on standard error."""
    command = ["vexctl", *(str(word) for word in arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    expect(done.returncode > 0, f"{command[1:]} succeeded")
    expect(done.stderr.strip(), f"{command[1:]} failed without a word")


def scratch(name):
    """A path for a file outside of the filesystem under test."""
    return suite.scratch / name


def npy(name, array):
    """Save an array as little-endian binary32 for vexctl to read; returns its path."""
    path = scratch(name)
    np.save(path, np.ascontiguousarray(array, dtype="<f4"))
    path.chmod(0o644)
    return path


def within(value, accept):
    """All values in a JSON value, however deep, that `accept` takes; not inside of those."""
    if accept(value):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from within(each, accept)
    elif isinstance(value, list):
        for each in value:
            yield from within(each, accept)


def hit_lists(value):
    """The list of hits of each query in vexctl's JSON, as (path, label, distance)."""

    def is_hits(each):
        return isinstance(each, list) and all(
            isinstance(hit, dict) and "distance" in hit for hit in each
        )

    return [
        [(hit["path"].lstrip("/"), hit["label"], hit["distance"]) for hit in hits]
        for hits in within(value, is_hits)
    ]


def search(where, name, queries, *options, **keywords):
    """Hits of each query; `where` is a path or ("--img", device)."""
    place = [where] if isinstance(where, Path) else ["/"]
    before = [] if isinstance(where, Path) else list(where)
    arguments = [*before, "search", *place, name, "--npy", queries, *options]
    found = hit_lists(vexctl_json(*arguments, **keywords))
    if isinstance(where, Path):
        # On a mount the path may be told with the mount point in front.
        mnt = str(suite.mnt).lstrip("/") + "/"
        found = [
            [(path.removeprefix(mnt), *rest) for path, *rest in hits] for hits in found
        ]
    else:
        found = [[tuple(hit) for hit in hits] for hits in found]
    return found


def real_vectors():
    """(name, rows, queries, true neighbours or None, list of {path, offset})."""
    folder = os.environ.get("VEXFS_DATA")
    if not folder:
        source = np.random.default_rng(5)
        rows = source.standard_normal((6000, 96)).astype("<f4")
        places = [{"path": f"made/f{row // 20}", "offset": row} for row in range(6000)]
        return "made up", rows, rows[:QUERIES] + 0.1, None, places
    base = Path(folder, "kdoc12k_base.npy")
    rows = np.load(base)
    queries = np.load(Path(folder, "kdoc12k_query.npy"))[:QUERIES]
    truth = np.load(Path(folder, "kdoc12k_truth.npy"))[:QUERIES]
    with open(base.with_suffix(".jsonl"), encoding="utf-8") as lines:
        places = [json.loads(line) for line in lines]
    return "kdoc12k", rows, queries, truth, places


def cosine_distances(rows, query):
    """Distances of all rows, in binary64."""
    rows, query = rows.astype(np.float64), query.astype(np.float64)
    return 1.0 - rows @ query / (np.linalg.norm(rows, axis=1) * np.linalg.norm(query))


def expect_true(hits, rows, query, truth, row_of):
    """The ids are those of the brute force, and every distance is within 1e-5 of numpy's."""
    expected = cosine_distances(rows, query)
    order = truth if truth is not None else np.argsort(expected, kind="stable")
    expect_equal(len(hits), K, "hits")
    for position, (path, label, distance) in enumerate(hits):
        row = row_of[(path, label)]
        wanted = int(order[position])
        expect(
            abs(distance - expected[row]) <= RELATIVE * max(abs(expected[row]), 1e-10),
            f"hit {position}: distance {distance!r}, numpy {expected[row]!r}",
        )
        # Equal rows, and those that binary32 sums of the truth could not tell apart.
        expect(
            row == wanted or abs(expected[row] - expected[wanted]) <= 1e-6,
            f"hit {position}: row {row}, by brute force row {wanted}",
        )


@suite.test
def grammar(fs, here):
    """index create, list, info and drop; put, get and del; each with and without --json."""
    vexctl("index", "create", here, "grammar", "--dim", 3, "--metric", "l2")
    info = vexabi.index_info(here, "grammar")
    expect_equal((info.dim, info.metric), (3, vexabi.METRICS["l2"]), "index made")
    expect("grammar" in vexctl("index", "list", here), "list does not name the index")
    expect("grammar" in vexctl("index", "info", here, "grammar"), "info has no name")
    listed = within(
        vexctl_json("index", "list", here), lambda v: isinstance(v, dict) and "name" in v
    )
    expect_equal([index["name"] for index in listed], ["grammar"], "names in JSON")
    described = within(
        vexctl_json("index", "info", here, "grammar"),
        lambda v: isinstance(v, dict) and "dim" in v,
    )
    expect_equal([index["dim"] for index in described], [3], "dimension in JSON")

    path = here / "file"
    path.write_text("text")
    row = np.array([1.5, -2.0, 3.25], dtype="<f4")
    vexctl("put", path, "grammar", "--npy", npy("row.npy", row), "--label", 7)
    expect_equal(vexabi.get(path, "grammar", 7)[0], row.tobytes(), "record put")
    vexctl("put", path, "grammar", "--npy", npy("row2.npy", row[None, :] * 2))
    expect_equal(vexabi.get(path, "grammar")[0], (row * 2).tobytes(), "label 0")
    got = vexctl_json("get", path, "grammar", "--label", 7)
    numbers = list(
        within(got, lambda v: isinstance(v, list) and v and isinstance(v[0], float))
    )
    expect_equal(numbers, [row.tolist()], "elements in JSON")
    expect(vexctl("get", path, "grammar").strip(), "get prints nothing")
    vexctl("del", path, "grammar", "--label", 7)
    expect_refused("get", path, "grammar", "--label", 7)
    expect_equal(vexabi.index_info(here, "grammar").records, 1, "records")
    vexctl("index", "drop", here, "grammar")
    expect_equal(vexabi.index_list(here), [], "indexes")


@suite.test
def refusals(fs, here):
    """What cannot be done ends with a status above 0 and a reason on standard error."""
    vexctl("index", "create", here, "there", "--dim", 3, "--metric", "cosine")
    path = here / "file"
    path.write_text("text")
    good = npy("good.npy", [[1, 2, 3]])
    expect_refused("index", "create", here, "there", "--dim", 3, "--metric", "cosine")
    expect_refused("index", "create", here, "new", "--dim", 0, "--metric", "cosine")
    expect_refused("index", "create", here, "new", "--dim", 3, "--metric", "nonsense")
    expect_refused("index", "drop", here, "absent")
    expect_refused("index", "info", here, "absent")
    expect_refused("index", "list", "/proc")
    expect_refused("put", path, "absent", "--npy", good)
    expect_refused("put", here / "no file", "there", "--npy", good)
    expect_refused("put", path, "there", "--npy", npy("four.npy", [[1, 2, 3, 4]]))
    expect_refused("put", path, "there", "--npy", npy("nan.npy", [[1, np.nan, 3]]))
    expect_refused("put", path, "there", "--npy", npy("zero.npy", [[0, 0, 0]]))
    expect_refused("put", path, "there", "--npy", scratch("no such file"))
    scratch("text.npy").write_text("this is no array")
    expect_refused("put", path, "there", "--npy", scratch("text.npy"))
    expect_refused("search", here, "there", "--npy", good, "-k", 0)
    expect_refused("nonsense")
    expect_equal(vexabi.index_info(here, "there").records, 0, "records")
    vexctl("index", "drop", here, "there")


@suite.test
def rows_of_one_file(fs, here):
    """import --file: rows become records labelled by their numbers; ids and distances are true."""
    name, rows, queries, truth, _ = real_vectors()
    suite.note(f"rows_of_one_file: {len(rows)} rows ({name}), {len(queries)} queries")
    vexctl("index", "create", here, "one", "--dim", rows.shape[1], "--metric", "cosine")
    (here / "file").write_text("text")
    base = npy("base.npy", rows)
    vexctl("import", here, "one", "--npy", base, "--file", here / "file")
    expect_equal(vexabi.index_info(here, "one").records, len(rows), "records")
    questions = npy("queries.npy", queries)
    answers = search(here, "one", questions, "-k", K, "--exact")
    expect_equal(len(answers), len(queries), "answers")
    where = str((here / "file").relative_to(fs.mnt))
    row_of = {(where, row): row for row in range(len(rows))}
    for number, hits in enumerate(answers):
        known = truth[number] if truth is not None else None
        expect_true(hits, rows, queries[number], known, row_of)


@suite.test
def rows_of_their_files(fs, here):
    """import --jsonl: rows go to the path and offset that each line names; the same truth."""
    _, rows, queries, truth, places = real_vectors()
    for path in sorted({place["path"] for place in places}):
        (here / path).parent.mkdir(parents=True, exist_ok=True)
        (here / path).write_text("a file of the documentation\n")
    lines = scratch("base.jsonl")
    lines.write_text("".join(json.dumps(place) + "\n" for place in places))
    vexctl("index", "create", here, "many", "--dim", rows.shape[1], "--metric", "cosine")
    base = npy("base.npy", rows)
    vexctl("import", here, "many", "--npy", base, "--jsonl", lines)
    prefix = str(here.relative_to(fs.mnt))
    row_of = {}
    for row, place in enumerate(places):
        row_of[(f"{prefix}/{place['path']}", place["offset"])] = row
    # Two paragraphs may have the same path and offset only if the data is wrong.
    expect_equal(len(row_of), len(places), "different places")
    expect_equal(vexabi.index_info(here, "many").records, len(rows), "records")
    questions = npy("queries.npy", queries)
    answers = search(here, "many", questions, "-k", K, "--exact")
    for number, hits in enumerate(answers):
        known = truth[number] if truth is not None else None
        expect_true(hits, rows, queries[number], known, row_of)


@suite.test
def without_the_kernel(fs, here):
    """With --img on the unmounted device: the same hits, labels and distances to the last bit."""
    _, _, queries, _, _ = real_vectors()
    questions = npy("queries.npy", queries)
    names = ["one", "many"]
    by_kernel = {
        name: search(fs.mnt, name, questions, "-k", 50, "--exact") for name in names
    }
    fs.unmount()
    image = ("--img", fs.device)
    for name in names:
        alone = search(image, name, questions, "-k", 50, "--exact")
        expect_equal(len(alone), len(queries), "answers")
        for number, (left, right) in enumerate(zip(alone, by_kernel[name])):
            expect_equal(left, right, f"{name}, query {number}")
    fs.mount()


@suite.test
def changed_without_the_kernel(fs, here):
    """What --img stores and deletes on the unmounted device is there after the mount."""
    path = here / "file"
    path.write_text("text")
    (here / "other").write_text("text")
    vexctl("index", "create", here, "image", "--dim", 3, "--metric", "dot")
    vexctl("put", path, "image", "--npy", npy("one.npy", [[1, 2, 3]]), "--label", 1)
    inside = "/" + str(path.relative_to(fs.mnt))
    fs.unmount()
    image = ("--img", fs.device)
    vexctl(*image, "put", inside, "image", "--npy", npy("two.npy", [[4, 5, 6]]))
    vexctl(*image, "del", inside, "image", "--label", 1)
    vexctl(*image, "index", "create", "/", "made", "--dim", 2, "--metric", "l2")
    rows = npy("rows.npy", np.arange(1, 601).reshape(200, 3))
    other = "/" + str((here / "other").relative_to(fs.mnt))
    vexctl(*image, "import", "/", "image", "--npy", rows, "--file", other)
    fs.fsck()
    fs.mount()
    expect_equal(vexabi.index_info(here, "image").records, 201, "records")
    stored = vexabi.get(path, "image")[0]
    expect_equal(stored, np.array([4, 5, 6], "<f4").tobytes(), "record")
    stored = vexabi.get(here / "other", "image", 199)[0]
    expect_equal(stored, np.array([598, 599, 600], "<f4").tobytes(), "last row")
    expect_equal(vexabi.index_info(here, "made").dim, 2, "index made without the kernel")
    vexctl("index", "drop", here, "image")
    vexctl("index", "drop", here, "made")


@suite.test
def mounted_device_refused(fs, here):
    """--img on a device that is mounted does not touch it."""
    expect_refused(
        "--img", fs.device, "index", "create", "/", "no", "--dim", 3, "--metric", "l2"
    )
    expect("no" not in [info.name for info in vexabi.index_list(here)], "it was made")


@suite.test
def second_user(fs, here):
    """vexctl as another user shows nothing from a closed folder, and as many hits as asked for."""
    vexctl("index", "create", here, "shown", "--dim", 2, "--metric", "l2")
    rows = []
    lines = scratch("shown.jsonl")
    with open(lines, "w", encoding="utf-8") as stream:
        for number in range(60):
            folder = here / ("closed" if number % 2 else "open")
            folder.mkdir(exist_ok=True)
            path = folder / f"f{number}"
            path.write_text("text")
            where = str(path.relative_to(here))
            stream.write(json.dumps({"path": where, "offset": 0}) + "\n")
            rows.append([number, 1])
    vexctl("import", here, "shown", "--npy", npy("shown.npy", rows), "--jsonl", lines)
    (here / "closed").chmod(0o700)
    question = npy("question.npy", [[0, 1]])

    def shown(**keywords):
        (hits,) = search(here, "shown", question, "-k", 20, **keywords)
        return [int(path.rpartition("/f")[2]) for path, _, _ in hits]

    expect_equal(shown(), list(range(20)), "root's hits")
    bob = {"user": BOB, "group": BOB, "extra_groups": []}
    expect_equal(shown(**bob), list(range(0, 40, 2)), "the other user's hits")
    vexctl("index", "drop", here, "shown")


@suite.test
def demo_questions(fs, here):
    """The demo's questions find the notes that its README promises, also for a second user."""
    folder = os.environ.get("VEXFS_DEMO")
    if not folder:
        raise Failure("VEXFS_DEMO must name the project's demo folder")
    run(["cp", "-r", Path(folder, "notes"), here / "notes"])
    vexctl("index", "create", here, "demo", "--dim", 384, "--metric", "cosine")
    rows, lines = Path(folder, "vectors.npy"), Path(folder, "vectors.jsonl")
    vexctl("import", here, "demo", "--npy", rows, "--jsonl", lines)
    run(["chmod", "-R", "go-rwx", here / "notes" / "diary"])
    questions = npy("questions.npy", np.load(Path(folder, "queries.npy")))
    prefix = str(here.relative_to(fs.mnt)) + "/notes/"

    def first(**keywords):
        answers = search(here, "demo", questions, "-k", 3, **keywords)
        return [[path.removeprefix(prefix) for path, _, _ in hits] for hits in answers]

    found = first()
    for question, hits in enumerate(found):
        expect_equal(len(hits), 3, f"hits of question {question + 1}")
    expect_equal(found[0][0], "repair/dripping-tap.txt", "the tap")
    expect_equal(found[10][0], "diary/lying-awake.txt", "waking up at night")
    expect_equal(found[12][0], "diary/knee.txt", "the knee")
    others = first(user=BOB, group=BOB, extra_groups=[])
    expect_equal([len(hits) for hits in others], [3] * len(found), "numbers of hits")
    private = [path for hits in others for path in hits if path.startswith("diary/")]
    expect_equal(private, [], "private notes shown to the second user")
    expect_equal(others[12][0], "bicycle/saddle-height.txt", "the knee, second user")
    (here / "notes" / "repair" / "dripping-tap.txt").unlink()
    expect_equal(first()[0][0], "repair/ceramic-mixer-cartridge.txt", "the tap, removed")


def main():
    """Run with a scratch folder outside of the filesystem, which others may read."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        suite.scratch = Path(folder)
        suite.mnt = Path(os.environ.get("VEXFS_MNT", "/mnt"))
        return suite.main()


if __name__ == "__main__":
    sys.exit(main())
