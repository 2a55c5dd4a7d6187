"""log.jsonl: one line per optimiser step, reproducible byte for byte."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from maple.finetune.disk import write_bytes


class StepLog:
    """An append-only log that a resumed run cuts back to its checkpoint first.

    No wall times go in, so that a resumed run's log equals the uninterrupted one's.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: TextIO | None = None

    def steps(self) -> int:
        """Complete lines; a line that a kill cut short does not count."""
        return self._path.read_bytes().count(b"\n") if self._path.exists() else 0

    @contextmanager
    def appending(self, steps: int) -> Iterator[None]:
        """Keep the first `steps` lines and append from there; all is on disk at the end."""
        kept = self._path.read_bytes().splitlines(keepends=True)[:steps] if steps else []
        write_bytes(self._path, b"".join(kept))
        with self._path.open("a", encoding="utf-8") as file:
            self._file = file
            try:
                yield
                self.sync()
            finally:
                self._file = None

    def append(self, line: Mapping[str, object]) -> None:
        """Add a step; visible to readers at once, safe from a power cut after `sync`."""
        if self._file is None:
            raise ValueError("not appending")
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()

    def sync(self) -> None:
        """Make every line so far survive a power cut."""
        if self._file is None:
            raise ValueError("not appending")
        os.fsync(self._file.fileno())

    def column(self, name: str) -> list[float]:
        """A field of every step, in order."""
        return [json.loads(line)[name] for line in self._path.read_bytes().splitlines()]
