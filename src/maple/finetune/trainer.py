"""Training on a loaded base, from rendered rows to an adapter or a whole model."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from transformers import PreTrainedConfig

from maple.errors import ModelError
from maple.finetune import checkpoints
from maple.finetune.encoding import Encoded, encode
from maple.finetune.loop import Loop, Progress, arguments
from maple.finetune.loss import AnswerLoss
from maple.finetune.methods import Tuned, attach
from maple.finetune.order import MicroBatches, micro_batch_rows
from maple.finetune.settings import Settings
from maple.finetune.steplog import StepLog
from maple.models.head import text_config
from maple.models.loading import Loaded
from maple.records import TrainCell, TrainOutcome

_ACTIVATION_BYTES = 4 << 30
"""Memory that the activations of one micro-batch may take, by `_activation_bytes`."""


def train(
    loaded: Loaded,
    rows_pairs: Sequence[tuple[str, str]],
    cell: TrainCell,
    out: Path,
    on_progress: Callable[[Mapping[str, object]], None],
) -> TrainOutcome:
    """Train by a cell's method on a loaded base and leave the base as it was.

    A run that was killed continues from its last checkpoint in `out`, with the result it would
    have had: weights and log are byte-identical on the same machine.

    Args:
        loaded: the base in the cell's precision.
        rows_pairs: (prompt, target) of each row, rendered.
        cell: what to train.
        out: folder that receives adapter_model.safetensors (float32) and adapter_config.json, or
            the files of a model; maple.json and log.jsonl; holds checkpoints/ while training.
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
    tuned = attach(loaded, settings)
    try:
        owner = checkpoints.owner(cell, encoded.content_hash())
        found = checkpoints.latest(folder, owner, log.steps())
        progress = Progress(owner, found.seconds if found else 0.0, log, on_progress)
        with log.appending(found.step if found else 0):
            config = text_config(loaded.model)
            loop = _loop(tuned, config, encoded, settings, folder, progress)
            loop.train(resume_from_checkpoint=str(found.path) if found else None)
        seconds = progress.seconds()
        parameters = sum(p.numel() for p in tuned.model.parameters() if p.requires_grad)
        adapter_bytes = tuned.write_product(cell, out)
    finally:
        tuned.detach()
    shutil.rmtree(folder)
    return _outcome(log, encoded, seconds, parameters, adapter_bytes)


def _loop(
    tuned: Tuned,
    config: PreTrainedConfig,
    encoded: Encoded,
    settings: Settings,
    folder: Path,
    progress: Progress,
) -> Loop:
    lengths = [len(row.input_ids) for row in encoded.rows]
    micro_tokens = _ACTIVATION_BYTES // _activation_bytes(config, settings)
    micro_rows = micro_batch_rows(settings.batch_size, max(lengths), micro_tokens)
    steps = math.ceil(settings.epochs * math.ceil(len(lengths) / settings.batch_size))
    return Loop(
        model=AnswerLoss(tuned.model),
        args=arguments(settings, steps, micro_rows, folder, tuned.model.device),
        rows=encoded.rows,
        batches=MicroBatches(lengths, settings.batch_size, micro_rows, settings.seed),
        progress=progress,
    )


def _activation_bytes(config: PreTrainedConfig, settings: Settings) -> int:
    """Bytes of activations that one token keeps for the backward pass, roughly.

    A decoder layer with adapters keeps about 16 vectors of the hidden size (norms, queries, keys,
    values, attention, residuals) and 8 of the intermediate size.
    """
    per_layer = 16 * config.hidden_size + 8 * config.intermediate_size
    return int(config.num_hidden_layers * per_layer * (4 if settings.train_bits == 32 else 2))


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
