"""A training that kills itself with SIGKILL: run as a script by test_resume.py.

Arguments: output folder, "step" or "write", and after how many steps of this attempt, or at which
of its fsyncs of checkpoint files, to die; 0 never.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

import torch
from tiny_finetune import CELL, PAIRS, make_loaded

from maple.finetune import checkpoints, loop
from maple.finetune.trainer import train


def main(out: Path, where: str, count: int) -> None:
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


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
