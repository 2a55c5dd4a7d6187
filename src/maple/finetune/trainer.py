"""Training one adapter on a loaded base, from rendered rows to PEFT files."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from peft import PeftModel
from peft.helpers import disable_input_dtype_casting
from transformers import PreTrainedConfig

from maple.errors import ModelError
from maple.finetune import adapter, checkpoints
from maple.finetune.encoding import Encoded, encode
from maple.finetune.loop import Loop, Progress, arguments
from maple.finetune.loss import AnswerLoss
from maple.finetune.order import MicroBatches, micro_batch_rows
from maple.finetune.settings import Settings
from maple.finetune.steplog import StepLog
from maple.models.head import text_config
from maple.models.loading import Loaded
from maple.records import RenderedRow, TrainCell, TrainOutcome

_ACTIVATION_BYTES = 4 << 30
"""Memory that the activations of one micro-batch may take, by `_activation_bytes`."""


def train(
    loaded: Loaded,
    rows: Sequence[RenderedRow],
    cell: TrainCell,
    out: Path,
    on_progress: Callable[[Mapping[str, object]], None],
    texts: Mapping[str, str] | None = None,
) -> TrainOutcome:
    """Train a LoRA adapter on a loaded base and leave the base as it was.

    A run that was killed continues from its last checkpoint in `out`, with the result it would
    have had: adapter and log are byte-identical on the same machine.

    Args:
        loaded: the base in the cell's precision.
        rows: rendered by the cell's template.
        cell: what to train.
        out: folder that receives adapter_model.safetensors (float32), adapter_config.json,
            maple.json and log.jsonl; holds checkpoints/ while training.
        on_progress: called after each optimiser step with step (from 1), steps, loss (nats per
            labelled token).
        texts: of the cell's template, for readers of maple.json.

    Raises:
        ModelError: a setting that cannot be trained, or a loss or gradient that is no number.
        DataError: no rows, or none that fits into max_tokens.
    """
    settings = Settings.of(cell)
    if loaded.bits != settings.train_bits:
        raise ModelError(
            f"train_bits: the cell wants {settings.train_bits}, the base is loaded in {loaded.bits}"
        )
    encoded = encode(loaded.tokenizer, rows, settings.max_tokens)
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
        with log.appending(found.step if found else 0), autocast:
            config = text_config(loaded.model)
            loop = _loop(adapted, config, encoded, settings, folder, progress)
            loop.train(resume_from_checkpoint=str(found.path) if found else None)
        seconds = progress.seconds()
        parameters = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
        adapter_bytes = adapter.write_product(adapted, cell, texts or {}, out)
    finally:
        adapter.detach(adapted)
    shutil.rmtree(folder)
    return _outcome(log, encoded, seconds, parameters, adapter_bytes)


def _loop(
    adapted: PeftModel,
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
        model=AnswerLoss(adapted),
        args=arguments(settings, steps, micro_rows, folder, adapted.device),
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
