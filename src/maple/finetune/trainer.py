"""Training one adapter on a loaded base, from rendered rows to PEFT files."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from peft import PeftModel
from peft.helpers import disable_input_dtype_casting

from maple.errors import ModelError
from maple.finetune import adapter, checkpoints
from maple.finetune.encoding import Encoded, encode
from maple.finetune.fused import fused
from maple.finetune.loop import Loop, Progress, arguments
from maple.finetune.loss import AnswerLoss
from maple.finetune.order import Order
from maple.finetune.packing import packed
from maple.finetune.settings import Settings
from maple.finetune.steplog import StepLog
from maple.models.loading import Loaded
from maple.records import TrainCell, TrainOutcome

_PACK_TOKENS = 2048
"""Tokens that go through the model together; a longer row goes alone. Products with the weights are
at their full rate by then, and more would only take more memory."""


def train(
    loaded: Loaded,
    rows_pairs: Sequence[tuple[str, str]],
    cell: TrainCell,
    out: Path,
    on_progress: Callable[[Mapping[str, object]], None],
) -> TrainOutcome:
    """Train a LoRA adapter on a loaded base and leave the base as it was.

    A run that was killed continues from its last checkpoint in `out`, with the result it would
    have had: adapter and log are byte-identical on the same machine.

    Args:
        loaded: the base in the cell's precision.
        rows_pairs: (prompt, target) of each row, rendered.
        cell: what to train.
        out: folder that receives adapter_model.safetensors (float32), adapter_config.json,
            maple.json and log.jsonl; holds checkpoints/ while training.
        on_progress: called after each optimiser step with step (from 1), steps, loss (nats per
            labelled token).

    Raises:
        ModelError: a setting that cannot be trained, or a loss or gradient that is no number.
        DataError: no rows, or none that fits into max_tokens.
    """
    settings = Settings.of(cell)
    if loaded.bits != settings.train_bits:
        raise ModelError(
            f"train_bits: the cell wants {settings.train_bits}, the base is loaded in {loaded.bits}"
        )
    encoded = encode(loaded.tokenizer, rows_pairs, settings.max_tokens)
    folder = out / "checkpoints"
    folder.mkdir(parents=True, exist_ok=True)
    log = StepLog(out / "log.jsonl")
    adapted = adapter.attach(loaded.model, settings)
    try:
        owner = checkpoints.owner(cell, encoded.content_hash())
        found = checkpoints.latest(folder, owner, log.steps())
        progress = Progress(owner, found.seconds if found else 0.0, log, on_progress)
        # PEFT would cast the input of each adapted layer up to the adapter's float32, and autocast
        # straight back to bfloat16: two passes over all activations, for the same product.
        autocast = disable_input_dtype_casting(adapted, active=settings.train_bits != 32)
        with (
            log.appending(found.step if found else 0),
            packed(loaded.model),
            fused(loaded.model),
            autocast,
        ):
            loop = _loop(adapted, encoded, settings, folder, progress)
            loop.train(resume_from_checkpoint=str(found.path) if found else None)
        seconds = progress.seconds()
        parameters = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
        adapter_bytes = adapter.write_product(adapted, cell, out)
    finally:
        adapter.detach(adapted)
    shutil.rmtree(folder)
    return _outcome(log, encoded, seconds, parameters, adapter_bytes)


def _loop(
    adapted: PeftModel, encoded: Encoded, settings: Settings, folder: Path, progress: Progress
) -> Loop:
    order = Order(
        lengths=tuple(len(row.input_ids) for row in encoded.rows),
        batch_size=settings.batch_size,
        most_tokens=_PACK_TOKENS,
        seed=settings.seed,
    )
    return Loop(
        model=AnswerLoss(adapted),
        args=arguments(settings, math.ceil(settings.epochs * order.steps), folder, adapted.device),
        rows=encoded.rows,
        order=order,
        progress=progress,
    )


def _outcome(
    log: StepLog, encoded: Encoded, seconds: float, parameters: int, adapter_bytes: int
) -> TrainOutcome:
    losses = log.column("loss")
    tenth = math.ceil(len(losses) / 10)
    return TrainOutcome(
        steps=len(losses),
        rows=len(encoded.rows),
        dropped_rows=encoded.dropped_rows,
        tokens=int(sum(log.column("tokens"))),
        labelled_tokens=int(sum(log.column("labelled_tokens"))),
        loss_first=sum(losses[:tenth]) / tenth,
        loss_last=sum(losses[-tenth:]) / tenth,
        seconds=seconds,
        trainable_parameters=parameters,
        adapter_bytes=adapter_bytes,
    )
