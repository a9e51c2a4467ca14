# SPDX-License-Identifier: GPL-2.0-only
"""The private Python environment of the measurements, and the project's cache folder.

The environment lies in the cache under a name made of the pinned requirements and the interpreter, so that a change of
either makes a new one. Nothing is installed into the system's Python. Runs under any Python 3.11 without packages.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

_REQUIREMENTS = Path(__file__).with_name("requirements.txt")
_OLDEST = (3, 11)
_COMPLETE = "complete"


class SetupError(Exception):
    """The environment cannot be made at all."""


def cache_folder() -> Path:
    """The project's cache, as the other parts of it use it."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "vexfs"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def prepare(packages: Iterable[str]) -> tuple[Path, dict[str, str]]:
    """Makes the environment unless it is there; returns its interpreter, and why each of `packages` that could not be
    installed could not."""
    if sys.version_info < _OLDEST:
        raise SetupError(f"Python {platform.python_version()} is too old; 3.11 or newer is needed (PYTHON=...)")
    folder = _folder()
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        python = folder / "bin" / "python"
        if (folder / _COMPLETE).exists():
            return python, {}
        if not python.exists():
            _create(folder)
        print(f"installing the peers into {folder}", flush=True)
        if _pip(python, ["-r", str(_REQUIREMENTS)]) is None:
            (folder / _COMPLETE).touch()
            return python, {}
        # One of them cannot be installed: the others must not suffer from it.
        failed = {}
        own = [name for name in pinned() if name not in set(packages)]
        why = _pip(python, ["-c", str(_REQUIREMENTS), *own])
        if why is not None:
            raise SetupError(f"cannot install what the harness needs: {why}")
        for package in packages:
            why = _pip(python, ["-c", str(_REQUIREMENTS), package])
            if why is not None:
                failed[package] = why
        return python, failed


def _folder() -> Path:
    """Where the environment is, without suffix in its name."""
    inputs = _REQUIREMENTS.read_bytes() + f"{sys.executable} {sys.version} {platform.machine()}".encode()
    return cache_folder() / f"bench-ann-{hashlib.sha256(inputs).hexdigest()[:16]}"


def pinned() -> list[str]:
    """The names of all packages in the requirements."""
    return re.findall(r"^([A-Za-z0-9_.-]+)==", _REQUIREMENTS.read_text(encoding="utf-8"), re.MULTILINE)


def _create(folder: Path) -> None:
    """An environment with pip in it. Debian has the part of Python that makes them in a package of its own."""
    command = [sys.executable, "-m", "venv", "--clear", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return
    root = [] if os.geteuid() == 0 else ["sudo", "--"]
    package = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
    install = [*root, "apt-get", "--quiet", "--yes", "install", "--no-install-recommends", package]
    print(f"installing {package}", flush=True)
    try:
        subprocess.run(install, stdin=subprocess.DEVNULL, check=True)
        subprocess.run(command, check=True)
    except (OSError, subprocess.CalledProcessError) as why:
        raise SetupError(f"cannot make a Python environment: {done.stdout}{done.stderr}{why}") from why


def _pip(python: Path, arguments: list[str]) -> str | None:
    """Installs; None, or the end of what pip said against it."""
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return None
    return " ".join((done.stdout + done.stderr).split())[-600:]
