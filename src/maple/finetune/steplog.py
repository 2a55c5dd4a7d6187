"""log.jsonl: one line per optimiser step, reproducible byte for byte."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from maple.finetune.disk import write_bytes


class StepLog:
    """An append-only log that a resumed run cuts back to its checkpoint first.

    A line of step 0 holds what was measured before training. No wall times go in, so that a
    resumed run's log equals the uninterrupted one's.
    """

    def __init__(self, path: Path, is_writer: bool = True) -> None:
        """
        Args:
            path: of the file.
            is_writer: one process writes it; in all others nothing is written.
        """
        self._path = path
        self._is_writer = is_writer
        self._file: TextIO | None = None

    def steps(self) -> int:
        """Steps with a complete line; a line that a kill cut short does not count."""
        return sum(line["step"] > 0 for line in self.lines())

    @contextmanager
    def appending(self, steps: int) -> Iterator[None]:
        """Keep the lines of the first `steps` steps, of step 0 if there are any, and append from
        there; all is on disk at the end."""
        kept = [line for line in self.lines() if line["step"] <= steps] if steps else []
        if not self._is_writer:
            yield
            return
        write_bytes(self._path, "".join(_text(line) for line in kept).encode())
        with self._path.open("a", encoding="utf-8") as file:
            self._file = file
            try:
                yield
                self.sync()
            finally:
                self._file = None

    def append(self, line: Mapping[str, object]) -> None:
        """Add a step; visible to readers at once, safe from a power cut after `sync`."""
        if not self._is_writer:
            return
        if self._file is None:
            raise ValueError("not appending")
        self._file.write(_text(line))
        self._file.flush()

    def sync(self) -> None:
        """Make every line so far survive a power cut."""
        if not self._is_writer:
            return
        if self._file is None:
            raise ValueError("not appending")
        os.fsync(self._file.fileno())

    def lines(self) -> list[dict[str, Any]]:
        """Every complete line."""
        if not self._path.exists():
            return []
        lines = self._path.read_bytes().splitlines(keepends=True)
        found = []
        for line in lines:
            if not line.endswith(b"\n"):
                break  # cut short by a kill
            try:
                found.append(json.loads(line))
            except ValueError:
                break  # after a power cut a file can hold zeros
        return found

    def column(self, name: str) -> list[float]:
        """A field of every step from the first on, in order."""
        return [line[name] for line in self.lines() if line["step"] > 0]


def _text(line: Mapping[str, object]) -> str:
    return json.dumps(line) + "\n"
