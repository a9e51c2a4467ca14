#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Searches by two users while a third process writes and a fourth changes permissions.

Whoever changes something notes the time before and after; whoever searches notes when the
call began and ended, and what it was shown. Afterwards there must be, for every hit, a
moment in the call at which the file had the path shown, the user could read the file and
search all folders of that path; and one at which the record was there. While a change is
under way, either state counts.
"""

import os
import pickle
import random
import sys
import time
from bisect import bisect_left, bisect_right

import numpy as np

import vexabi
from guest import Suite, expect, expect_equal

ALICE, BOB = 4001, 4002
# All files belong to root and to alice's group: she has the group's bits, bob the others'.
READ_BITS = {ALICE: 0o040, BOB: 0o004}
SEARCH_BITS = {ALICE: 0o010, BOB: 0o001}
DIM = 24
K = 10
EACH = 60
CALLS = 250
QUERIES = 12
NEVER = 1 << 63

suite = Suite("vectors_race", only="vexfs")


def start(work, user=None):
    """Run `work` in a process of its own, as that user; returns what `end_of` takes."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reader)
            if user is not None:
                os.setgroups([])
                os.setresgid(user, user, user)
                os.setresuid(user, user, user)
            answer = (True, work())
            status = 0
        except BaseException as error:  # the child must not return into the suite
            answer = (False, f"{type(error).__name__}: {error}")
        with os.fdopen(writer, "wb") as stream:
            pickle.dump(answer, stream)
            stream.flush()
            os._exit(status)
    os.close(writer)
    return child, reader


def end_of(started):
    """What the process returned; fail with what it failed with."""
    child, reader = started
    with os.fdopen(reader, "rb") as stream:
        said = stream.read()
    os.waitpid(child, 0)
    fine, answer = pickle.loads(said) if said else (False, "died")
    expect(fine, f"a process failed: {answer}")
    return answer


class Line:
    """What something was when: changes that each took from `before` to `after`."""

    def __init__(self, value):
        self.changes = [(0, 0, value)]

    def add(self, before, after, value):
        """A change."""
        self.changes.append((before, after, value))

    def times(self, is_good):
        """Spans in which it may have had a value that is good."""
        spans = []
        for place, (before, _, value) in enumerate(self.changes):
            last = place + 1 == len(self.changes)
            end = NEVER if last else self.changes[place + 1][1]
            if not is_good(value):
                continue
            if spans and spans[-1][1] >= before:
                spans[-1][1] = max(spans[-1][1], end)
            else:
                spans.append([before, end])
        return spans


def common(spans, others):
    """Where spans of both lists, ascending and apart, have a moment in common."""
    found = []
    left = right = 0
    while left < len(spans) and right < len(others):
        start_at = max(spans[left][0], others[right][0])
        end_at = min(spans[left][1], others[right][1])
        if start_at <= end_at:
            found.append([start_at, end_at])
        if spans[left][1] < others[right][1]:
            left += 1
        else:
            right += 1
    return found


def meets(spans, begin, end):
    """Whether a span has a moment between the two."""
    first = bisect_left(spans, begin, key=lambda span: span[1])
    return first < bisect_right(spans, end, key=lambda span: span[0])


class World:
    """Folders and files, some of which change, with the times of their changes."""

    def __init__(self, here):
        self.here = here
        self.source = np.random.default_rng(11)
        self.centres = self.source.standard_normal((20, DIM)) * 2
        self.folders = {}
        self.files = {}
        self.changing = []
        for name, mode in (
            *(("open", 0o755), ("shut", 0o700), ("one", 0o755), ("two", 0o755)),
            *(("one/sub", 0o755), ("open/sub", 0o755), ("one/sub/deep", 0o755)),
        ):
            path = here / name
            path.mkdir()
            path.chmod(mode)
            os.chown(path, 0, ALICE)
            self.folders[name] = Line(mode)
            if name not in ("open", "shut"):
                self.changing.append((self.folders[name], self.opened(path), True))
        for name in self.folders:
            self.make(name, "plain", 2, 0o644)
            self.make(name, "hers", 2, 0o640)
            self.make(name, "secret", 2, 0o600)
            self.make(name, "flips", 3, 0o644, changing=True)
            self.make(name, "moves", 1, 0o644)

    @staticmethod
    def opened(path):
        """A descriptor that stays right when the path changes."""
        return os.open(path, os.O_RDONLY)

    def make(self, folder, name, count, mode, changing=False):
        """Files with records."""
        for number in range(count):
            path = f"{folder}/{name}{number}"
            descriptor = os.open(self.here / path, os.O_RDWR | os.O_CREAT, 0o600)
            os.fchown(descriptor, 0, ALICE)
            os.fchmod(descriptor, mode)
            file = {
                "inode": os.fstat(descriptor).st_ino,
                "mode": Line(mode),
                "place": Line((folder, path)),
                "records": {},
                "kind": name,
                "first": path,
            }
            rows = self.rows(EACH)
            records = [(label, label, descriptor) for label in range(EACH)]
            done = vexabi.put_many(descriptor, "race", rows, records)
            expect_equal(done, EACH, "records stored")
            file["records"] = {label: Line(True) for label in range(EACH)}
            file["vector"] = rows[0]
            os.close(descriptor)
            self.files[file["inode"]] = file
            if changing:
                self.changing.append((file["mode"], self.opened(self.here / path), False))

    def rows(self, count, source=None):
        """Vectors of the index."""
        source = source or self.source
        rows = self.centres[source.integers(len(self.centres), size=count)]
        return (rows + source.standard_normal(rows.shape)).astype("<f4")

    def always(self, user):
        """Files that the user may read all the time, of which nothing changes."""
        return [
            file
            for file in self.files.values()
            if file["first"].startswith("open/")
            and not file["first"].startswith("open/sub/")
            and (file["kind"] == "plain" or (file["kind"] == "hers" and user == ALICE))
        ]


def pause(source):
    """Mostly a short one; at times none."""
    if source.random() < 0.5:
        time.sleep(source.random() * 0.004)


def change_modes(world, stop):
    """Change modes of files and folders to and fro; returns the changes by number."""
    source = random.Random(21)
    changes = []
    while not stop():
        number = source.randrange(len(world.changing))
        _, descriptor, is_folder = world.changing[number]
        modes = [0o755, 0o750, 0o705, 0o700] if is_folder else [0o644, 0o640, 0o604, 0o600]
        mode = source.choice(modes)
        before = time.monotonic_ns()
        os.fchmod(descriptor, mode)
        changes.append((number, before, time.monotonic_ns(), mode))
        pause(source)
    return changes


def write(world, stop):
    """Put and delete records of files that need not be found, and rename some of them."""
    source = random.Random(22)
    generator = np.random.default_rng(23)
    written = [file for file in world.files.values() if file["kind"] in ("flips", "moves")]
    places = {file["inode"]: file["first"] for file in written}
    there = {file["inode"]: set(range(EACH)) for file in written}
    fresh = 0
    renames = []
    records = []
    while not stop():
        inode = source.choice(written)["inode"]
        path = world.here / places[inode]
        label = source.randrange(EACH)
        action = source.random()
        before = time.monotonic_ns()
        if action < 0.4:
            vexabi.put(path, "race", world.rows(1, generator)[0], label=label, tag=label)
            there[inode].add(label)
            records.append((inode, label, before, time.monotonic_ns(), True))
        elif action < 0.7:
            if label in there[inode]:
                vexabi.delete(path, "race", label=label)
                there[inode].discard(label)
                records.append((inode, label, before, time.monotonic_ns(), False))
        elif world.files[inode]["kind"] == "moves":
            folder = source.choice(list(world.folders))
            fresh += 1
            target = f"{folder}/m{fresh}"
            os.rename(path, world.here / target)
            places[inode] = target
            renames.append((inode, before, time.monotonic_ns(), (folder, target)))
        pause(source)
    return renames, records


def search(world, user):
    """Search in a loop; returns for each call when it began and ended, and what it showed.

    Fails at once if something that must be found is not.
    """
    source = random.Random(user)
    targets = world.always(user)
    generator = np.random.default_rng(user)
    calls = []
    missed = asked = 0
    for number in range(CALLS):
        exact = number % 2 == 0
        sure = source.sample(targets, min(QUERIES // 2, len(targets)))
        rows = np.array(
            [file["vector"] for file in sure]
            + list(world.rows(QUERIES - len(sure), generator))
        )
        if number % 5 == 0:
            rows = rows[:1]
        begin = time.monotonic_ns()
        answers = vexabi.search(world.here, "race", rows, K, exact=exact)
        end = time.monotonic_ns()
        for hits in answers:
            expect_equal(len(hits), K, "number of hits")
        for file, hits in zip(sure, answers):
            asked += 1
            if not any(hit.inode == file["inode"] and hit.label == 0 for hit in hits):
                expect(not exact, f"{file['first']} is not found by its own vector")
                missed += 1
        shown = {(hit.inode, hit.label, hit.path) for hits in answers for hit in hits}
        calls.append((begin, end, exact, shown))
    expect(missed * 20 <= asked, f"the tree missed {missed} of {asked}")
    return calls


def allows(bits):
    """Whether a mode has one of the bits."""
    return lambda mode: bool(mode & bits)


class Judge:
    """Says of hits whether they could have been opened."""

    def __init__(self, world, user):
        self.world = world
        self.user = user
        self.prefix = f"{world.here.name}/"
        self.known = {}

    def conditions(self, inode, path):
        """What must hold at one moment: names, and spans in which it may have held."""
        file = self.world.files[inode]
        found = [
            ("place", file["place"].times(lambda place: self.prefix + place[1] == path)),
            ("file", file["mode"].times(allows(READ_BITS[self.user]))),
        ]
        parts = path.removeprefix(self.prefix).split("/")[:-1]
        for depth in range(len(parts)):
            folder = "/".join(parts[: depth + 1])
            line = self.world.folders[folder]
            found.append((folder, line.times(allows(SEARCH_BITS[self.user]))))
        return found

    def problem(self, begin, end, hit):
        """Why it could not: what never held in the call, or that not all did at once."""
        inode, label, path = hit
        if not meets(self.world.files[inode]["records"][label].times(bool), begin, end):
            return "never record"
        if (inode, path) not in self.known:
            conditions = self.conditions(inode, path)
            together = [[0, NEVER]]
            for _, spans in conditions:
                together = common(together, spans)
            self.known[inode, path] = conditions, together
        conditions, together = self.known[inode, path]
        if meets(together, begin, end):
            return None
        never = [name for name, spans in conditions if not meets(spans, begin, end)]
        return f"never {', '.join(never)}" if never else "not at once"


@suite.test
def hits_could_be_opened(fs, here):
    """Two users search, exactly and by the tree, beside a writer and a changer of modes."""
    del fs
    vexabi.index_create(here, "race", DIM, mode=0o644)
    world = World(here)
    reader, writer = os.pipe()
    os.set_blocking(reader, False)

    def stop():
        try:
            return os.read(reader, 1) is not None
        except BlockingIOError:
            return False

    modes = start(lambda: change_modes(world, stop))
    writing = start(lambda: write(world, stop))
    searching = {user: start(lambda u=user: search(world, u), user) for user in READ_BITS}
    try:
        calls = {user: end_of(started) for user, started in searching.items()}
    finally:
        os.write(writer, b"..")
        changes = end_of(modes)
        renames, records = end_of(writing)
    for number, before, after, mode in changes:
        world.changing[number][0].add(before, after, mode)
    for inode, before, after, place in renames:
        world.files[inode]["place"].add(before, after, place)
    for inode, label, before, after, alive in records:
        world.files[inode]["records"][label].add(before, after, alive)
    suite.note(
        f"{sum(map(len, calls.values()))} searches beside {len(changes)} changes of modes, "
        f"{len(records)} of records, {len(renames)} renames"
    )
    for _, descriptor, _ in world.changing:
        os.close(descriptor)
    expect(min(len(changes), len(records), len(renames)) >= 20, "hardly anything changed")
    problems = {}
    changed = total = 0
    for user, made in calls.items():
        judge = Judge(world, user)
        for begin, end, exact, shown in made:
            for hit in shown:
                total += 1
                changed += world.files[hit[0]]["first"] != hit[2].removeprefix(judge.prefix)
                why = judge.problem(begin, end, hit)
                if why:
                    how = "exact" if exact else "tree"
                    problems.setdefault(why.split()[0], []).append((user, how, hit, why))
    suite.note(f"{total} hits judged, {changed} of them in another place than at first")
    for kind, found in problems.items():
        suite.note(f"{kind}: {len(found)}, such as {found[0]}")
    counts = {kind: len(found) for kind, found in problems.items()}
    expect_equal(counts, {}, "hits that could not be opened")
    vexabi.index_drop(here, "race")


@suite.test
def the_judge_notices(fs, here):
    """The rule itself: states overlap while they change, and conditions must hold together."""
    del fs, here
    line = Line(0o600)
    line.add(100, 110, 0o644)
    line.add(200, 210, 0o600)
    line.add(300, 310, 0o604)
    spans = line.times(allows(0o004))
    expect_equal(spans, [[100, 210], [300, NEVER]], "spans")
    cases = ((0, 99, False), (211, 299, False), (0, 100, True), (210, 220, True))
    for begin, end, found in cases:
        expect_equal(meets(spans, begin, end), found, f"{begin} to {end}")
    both = common(spans, [[0, 50], [205, 305]])
    expect_equal(both, [[205, 210], [300, 305]], "moments in common")
    expect(not meets(both, 211, 299), "conditions that hold one after the other")


if __name__ == "__main__":
    sys.exit(suite.main())
