#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""The module loaded and unloaded 100 times, with a mount between, leaves nothing behind.

After each unload no slab cache, module or filesystem type of ours may be there. Memory is
looked at four times, with all caches dropped and all slabs shrunk: something that is lost
in every cycle grows by at least one object a cycle in each of the three spans between,
which noise does not do on a machine that is otherwise idle, as a guest is. VEXFS_RELOADS
sets another number of cycles.

With a filesystem that is built into the kernel (FSTYP=ext4) only the mounts are repeated,
which checks the test itself.
"""

import itertools
import os
import sys
import time
from pathlib import Path

from guest import Suite, drop_caches, expect, expect_equal, run

CYCLES = int(os.environ.get("VEXFS_RELOADS", "100"))
# When to look: tables of the kernel that grow once have grown by the first time.
LOOKS = [CYCLES // 10 + CYCLES * 3 * part // 10 for part in range(4)]
SAMPLES = 3
PAGE_KB = 4
# Free memory of a whole machine is noisy; this much lost in each span is no noise.
FREE_LOSS_KB = 4096
# Areas of vmalloc are freed late and in lots; VmallocUsed says what is really in use.
FREED_LATE = ("vmap_area",)
# What a kernel that checks itself keeps its records in.
RECORDS = ("debug_objects_cache", "kmemleak_object", "kmemleak_scan_area")
# DAMON's statistics split and merge regions all the time, in a slab cache that others share.
DAMON = Path("/sys/module/damon_stat/parameters/enabled")
# In /proc/meminfo: what a module can lose memory to.
COUNTERS = ("SUnreclaim", "VmallocUsed", "Percpu", "KernelStack", "PageTables")

suite = Suite("module_reload")


def meminfo():
    """/proc/meminfo in kB."""
    lines = Path("/proc/meminfo").read_text("ascii").splitlines()
    return {line.split(":")[0]: int(line.split()[1]) for line in lines}


def slab_objects():
    """Active objects of every slab cache, as exactly as the kernel can tell."""
    for cache in Path("/sys/kernel/slab").iterdir():
        shrink = cache / "shrink"
        # Merged caches appear under several names, of which all but one are links.
        if not cache.is_symlink() and shrink.exists():
            shrink.write_text("1\n", encoding="ascii")
    lines = Path("/proc/slabinfo").read_text("ascii").splitlines()[2:]
    return {line.split()[0]: int(line.split()[1]) for line in lines}


def look():
    """(slab objects, memory counters, kB in use), the least of some samples of each."""
    slabs, counters, used = {}, {}, None
    for sample in range(SAMPLES):
        if sample:
            time.sleep(0.2)
        drop_caches()
        memory = meminfo()
        in_use = memory["MemTotal"] - memory["MemFree"]
        used = in_use if used is None else min(used, in_use)
        for name in COUNTERS:
            counters[name] = min(counters.get(name, memory[name]), memory[name])
        for name, count in slab_objects().items():
            slabs[name] = min(slabs.get(name, count), count)
    return slabs, counters, used


def leftovers(fstype):
    """Whatever of the module is still there, as sentences."""
    found = []
    names = [cache.name for cache in Path("/sys/kernel/slab").iterdir()]
    names += slab_names()
    found += [f"slab cache {name}" for name in sorted(set(names)) if fstype in name]
    if fstype in modules():
        found.append("module")
    types = Path("/proc/filesystems").read_text("ascii").split()
    if fstype in types:
        found.append("filesystem type")
    for folder in ("/sys/fs", "/proc/fs", "/sys/kernel/debug"):
        if Path(folder, fstype).exists():
            found.append(f"{folder}/{fstype}")
    return found


def modules():
    """The names of the loaded modules; none where the kernel cannot load any."""
    try:
        lines = Path("/proc/modules").read_text("ascii").splitlines()
    except FileNotFoundError:
        return []
    return [line.split()[0] for line in lines]


def slab_names():
    """The names in /proc/slabinfo."""
    lines = Path("/proc/slabinfo").read_text("ascii").splitlines()[2:]
    return [line.split()[0] for line in lines]


def use(fs, number):
    """Something of everything: files of all forms, folders, links, attributes, removal."""
    here = fs.mnt / f"cycle{number % 10}"
    if here.exists():
        run(["rm", "-r", here])
    here.mkdir()
    (here / "inline").write_bytes(b"x" * 100)
    (here / "blocks").write_bytes(b"y" * 300_000)
    (here / "folder").mkdir()
    for each in range(40):
        (here / "folder" / f"file{each}").touch()
    os.link(here / "inline", here / "folder" / "link")
    os.symlink("inline", here / "symlink")
    os.setxattr(here / "blocks", "user.attribute", b"z" * 500)
    os.rename(here / "folder" / "file1", here / "moved")
    os.unlink(here / "folder" / "file2")
    os.truncate(here / "blocks", 10)
    with open(here / "unlinked", "wb") as file:
        os.unlink(here / "unlinked")
        file.write(b"w" * 10_000)
    expect_equal((here / "inline").read_bytes(), b"x" * 100, "contents")


@suite.test
def reload(fs, here):
    """100 cycles of load, mount, use, unmount, unload."""
    here.rmdir()
    if DAMON.exists():
        DAMON.write_text("N\n", encoding="ascii")
    fs.unmount()
    module = fs.fstype in modules()
    if fs.fstype == "vexfs":
        expect(module, "vexfs is not a module")
    if module:
        run(["rmmod", fs.fstype])
        expect_equal(leftovers(fs.fstype), [], "left after the first unload")
    looks = []
    for number in range(CYCLES + 1):
        if number in LOOKS:
            looks.append(look())
        fs.load()
        fs.mount()
        use(fs, number)
        fs.unmount()
        if module:
            run(["rmmod", fs.fstype])
            expect_equal(leftovers(fs.fstype), [], f"left after unload {number}")
    kind = "load, mount, unmount, unload" if module else "mount, unmount (built in)"
    suite.note(f"reload: {CYCLES} times {kind}")
    suite.looks = looks


def growth(values):
    """What each value is above the one before."""
    return [after - before for before, after in itertools.pairwise(values)]


@suite.test
def memory(fs, here):
    """No slab cache and no memory counter grew in all spans of the cycles."""
    here.rmdir()
    expect(hasattr(suite, "looks"), "the cycles did not come to their end")
    spans = growth(LOOKS)
    slabs, counters, used = zip(*suite.looks)
    grown = []

    def judge(what, steps, limits):
        if all(step >= limit for step, limit in zip(steps, limits)):
            grown.append(f"{what}: {steps}")

    for name in sorted(set.intersection(*(set(each) for each in slabs)) - {*FREED_LATE, *RECORDS}):
        judge(f"objects in {name}", growth([each[name] for each in slabs]), spans)
    for name in COUNTERS:
        steps = growth([each[name] for each in counters])
        suite.note(f"memory: {name} {counters[0][name]} kB at first, then by {steps}")
        judge(f"kB of {name}", steps, [span * PAGE_KB for span in spans])
    steps = growth(used)
    suite.note(f"memory: in use {used[0]} kB at first, then by {steps}")
    judge("kB in use", steps, [FREE_LOSS_KB] * len(steps))
    expect_equal(grown, [], f"grown in each span between the cycles {LOOKS}")


if __name__ == "__main__":
    sys.exit(suite.main())
