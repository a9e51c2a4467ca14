# SPDX-License-Identifier: GPL-2.0-only
"""Processes that host peers, seen from the coordinator: started on one processor with one thread, asked, ended."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


class PeerError(Exception):
    """A peer could not do what it was asked to."""


class PeerProcess:
    """A running peer. Use it as a context manager."""

    def __init__(self, name: str, command: list[str], processor: int) -> None:
        self.name = name
        environment = os.environ | dict.fromkeys(_ONE_THREAD, "1")
        # Closed with the process.
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        self._child = subprocess.Popen(
            ["taskset", "--cpu-list", str(processor), *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment,
            text=True,
        )

    def ask(self, request: str, **arguments: Any) -> dict[str, Any]:
        """Sends a request and waits for the answer."""
        assert self._child.stdin is not None and self._child.stdout is not None
        try:
            self._child.stdin.write(json.dumps({"do": request} | arguments) + "\n")
            self._child.stdin.flush()
            line = self._child.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            status = self._child.wait()
            self._errors.seek(0)
            end = self._errors.read().decode(errors="replace").strip()[-600:]
            raise PeerError(f"{request}: the process ended with status {status}: {end}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise PeerError(f"{request}: {answer['error']}")
        return answer

    def close(self) -> None:
        """Ends the process."""
        if self._child.stdin is not None and not self._child.stdin.closed:
            with contextlib.suppress(BrokenPipeError):
                self._child.stdin.close()
        try:
            self._child.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        if self._child.stdout is not None:
            self._child.stdout.close()
        self._errors.close()

    def __enter__(self) -> PeerProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def evict(folder: Path) -> None:
    """Has the system forget the contents of a folder's files, so that they are read from storage again."""
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)


def disk_bytes(folder: Path) -> int:
    """Bytes that a folder's files take on disk; holes in them do not count."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())
