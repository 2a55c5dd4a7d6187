"""Running units in processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import IO

from pydantic import TypeAdapter

from maple.records import Unit
from maple.store import files

UNIT = TypeAdapter(Unit)
_LOG_TAIL_BYTES = 4_000

_WAITING = {"GOMP_SPINCOUNT": "5000"}
"""OpenMP's threads wait for each other in a loop of some 50 microseconds, then asleep. Never to
sleep costs a factor of three where cores are shared, always to sleep a fifth where they are not
(docs/log.md)."""

_PRODUCTS = {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "64"}
"""oneDNN compiles a product for each shape and keeps 1,024 of them, 0.6 MB each. No two packs of
rows have one shape, so few are used again; those of one pack are some 50."""


def environment() -> dict[str, str]:
    """This process's environment and what a process that computes wants; the user's own settings
    win."""
    waiting = {} if "OMP_WAIT_POLICY" in os.environ else _WAITING
    return {**waiting, **_PRODUCTS, **os.environ}


class LocalExecutor:
    """One child process after the other on this machine.

    Args:
        folder: where unit files and their logs go.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def run(self, units: Iterable[Unit], on_event: Callable[[Mapping[str, object]], None]) -> None:
        """Run every unit to its end; see `protocols.Executor`.

        The last event of a unit is {"event": "exit", "status": exit status (negative: killed by
        that signal), "log": last lines of the child's log}.
        """
        for unit in units:
            content = UNIT.dump_json(unit)
            path = self._folder / f"{sha256(content).hexdigest()[:16]}.json"
            files.write_bytes(path, content)
            # Two sweeps that share a folder may run equal units.
            log = path.with_suffix(f".{os.getpid()}.log")
            with files.explained(log), log.open("wb") as stderr:
                status = _run(path, stderr, on_event)
            on_event({"event": "exit", "status": status, "log": _tail(log)})


def _run(unit: Path, stderr: IO[bytes], on_event: Callable[[Mapping[str, object]], None]) -> int:
    # The child reads its end of this pipe: when we die, however, it sees the end and dies too.
    child = subprocess.Popen(
        [sys.executable, "-m", "maple.worker", str(unit), "--die-with-parent"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        # Ctrl-C reaches only us; we end the child in an orderly way.
        start_new_session=True,
        env=environment(),
    )
    try:
        if child.stdout is None:
            raise RuntimeError("the child was started with a pipe")
        for line in child.stdout:
            # A child that is killed while it writes leaves half a line; its exit status says why.
            if line.endswith(b"\n"):
                on_event(json.loads(line))
        return child.wait()
    finally:
        if child.poll() is None:
            child.terminate()
            child.wait()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                pipe.close()


def _tail(log: Path) -> str:
    content = log.read_bytes()[-_LOG_TAIL_BYTES:]
    return content.decode("utf-8", errors="replace").strip()
