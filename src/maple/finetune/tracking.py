"""What experiment trackers are told, through transformers' callbacks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import Trainer
from transformers.integrations.integration_utils import TensorBoardCallback


def numbers(line: Mapping[str, Any]) -> dict[str, float]:
    """A line of the step log, flat: held-out losses as eval_<language>_loss, as trackers group."""
    found = {name: value for name, value in line.items() if name not in {"step", "held_out"}}
    held_out = line.get("held_out", {})
    return found | {f"eval_{language}_loss": loss for language, loss in held_out.items()}


def keep_tracks(trainer: Trainer, folder: Path) -> None:
    """Let what a tracker writes into files lie in `folder`, not among the checkpoints, which go."""
    for callback in trainer.callback_handler.callbacks:
        if isinstance(callback, TensorBoardCallback) and callback.logging_dir is None:
            callback.logging_dir = str(folder)
