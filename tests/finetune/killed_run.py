"""A training that kills itself with SIGKILL, for test_resume.py to run in processes of its own."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from pathlib import Path

import torch
from tiny_finetune import CELL, PAIRS, make_loaded

from maple.finetune import checkpoints, loop
from maple.finetune.trainer import train


def killed_run(out: Path, where: str, count: int) -> None:
    """Train into `out`, but die.

    Args:
        where: "step" or "write".
        count: after how many steps of this attempt, or at which of its fsyncs of checkpoint files,
            to die; 0 for never.
    """
    left = {"step": count if where == "step" else 0, "write": count if where == "write" else 0}

    def tick(what: str) -> None:
        left[what] -= 1
        if left[what] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def on_progress(_: Mapping[str, object]) -> None:
        tick("step")

    real_sync = checkpoints.sync

    def sync(path: Path) -> None:
        tick("write")
        real_sync(path)

    torch.set_num_threads(1)  # as in conftest.py
    checkpoints.sync = sync
    loop.CHECKPOINT_SECONDS = 0.0
    loop.CHECKPOINT_SHARE = 1e9
    train(make_loaded(), PAIRS, CELL, out, on_progress)
