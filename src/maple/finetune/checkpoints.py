"""Resumable training state on disk: found, published, dropped.

A checkpoint is a folder `checkpoint-<step>` that appears by a rename, after everything in it was
written and fsynced; the marker inside is written last. Whatever a killed process was still
writing lies under another name and is never read.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from maple.finetune.disk import sync, write_bytes
from maple.records import TrainCell

MARKER = "maple-checkpoint.json"
_PARTIAL = ".partial"
_PREFIX = "checkpoint-"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A usable checkpoint: its folder, the steps done, the seconds they took in all attempts."""

    path: Path
    step: int
    seconds: float


def owner(cell: TrainCell, rows_hash: str) -> str:
    """What a checkpoint belongs to: SHA-256 over the cell and its encoded rows."""
    content = json.dumps([asdict(cell), rows_hash], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def latest(folder: Path, owner: str, logged_steps: int) -> Checkpoint | None:
    """The newest checkpoint to resume from; None to start afresh.

    Args:
        folder: where the checkpoints of a training lie; need not exist.
        owner: `owner(...)` of the training that wants to resume; others' are passed over.
        logged_steps: lines of the step log; a checkpoint beyond them cannot continue it.
    """
    found = [
        checkpoint
        for path in folder.glob(_PREFIX + "*")
        if (checkpoint := _read(path, owner)) and checkpoint.step <= logged_steps
    ]
    return max(found, key=lambda checkpoint: checkpoint.step, default=None)


def _read(path: Path, owner: str) -> Checkpoint | None:
    try:
        marker = json.loads((path / MARKER).read_bytes())
        found = Checkpoint(path, marker["step"], marker["seconds"])
        is_ours = marker["owner"] == owner
    except (OSError, ValueError, KeyError, TypeError):
        return None  # without a readable marker it was never finished
    return found if is_ours else None


def staged(folder: Path) -> Path:
    """Where the next checkpoint is written, by several processes where there are several."""
    return folder / _PARTIAL


def stage(folder: Path) -> Path:
    """An empty folder to write the next checkpoint into."""
    partial = staged(folder)
    if partial.exists():
        shutil.rmtree(partial)
    partial.mkdir(parents=True)
    return partial


def publish(staged: Path, owner: str, step: int, seconds: float) -> None:
    """Turn a staged folder into the newest checkpoint and drop the older ones.

    Args:
        staged: from `stage`, with all its files written.
        owner: as for `latest`.
        step: optimiser steps done.
        seconds: wall time they took, earlier attempts included.
    """
    folder = staged.parent
    for path in staged.iterdir():
        sync(path)
    marker = {"owner": owner, "step": step, "seconds": seconds}
    write_bytes(staged / MARKER, json.dumps(marker).encode())
    target = folder / f"{_PREFIX}{step}"
    if target.exists():  # only what `latest` passed over: another training's, or never finished
        shutil.rmtree(target)
    staged.rename(target)
    sync(folder)
    for path in folder.glob(_PREFIX + "*"):
        if path != target:
            shutil.rmtree(path)
