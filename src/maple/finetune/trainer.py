"""Training on a loaded base, from rendered rows to an adapter or a whole model."""

from __future__ import annotations

import contextlib
import math
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from transformers import PreTrainedModel

from maple.errors import DataError, ModelError
from maple.finetune import checkpoints
from maple.finetune.card import card
from maple.finetune.disk import write_bytes
from maple.finetune.encoding import Encoded, encode
from maple.finetune.fused import fused
from maple.finetune.loop import Loop, Progress, Validation, arguments
from maple.finetune.loss import AnswerLoss
from maple.finetune.methods import attach, put_weights, unshard, weights
from maple.finetune.operations import Operations, ceiling, operations
from maple.finetune.order import Order, epoch_order
from maple.finetune.packing import packed
from maple.finetune.settings import Settings
from maple.finetune.steplog import StepLog
from maple.finetune.tracking import keep_tracks
from maple.finetune.validation import EarlyStopping, HeldOut
from maple.models.attention import context_of
from maple.models.head import check_head, text_config
from maple.models.loading import Loaded
from maple.records import Execution, LanguageTokens, RenderedRow, TrainCell, TrainOutcome

_CPU_TOKENS, _GPU_TOKENS = 448, 8192
"""Tokens of a pack. On a CPU products are nearly at their full rate with so few, and 2,048 take 1.6
times the memory for a gain of 3 % (Gemma 3 270M, float32, two cores)."""

_VALIDATIONS = 10
"""How often a run validates, unless it is told."""


def train(
    loaded: Loaded,
    rows: Sequence[RenderedRow],
    cell: TrainCell,
    out: Path,
    on_progress: Callable[[Mapping[str, object]], None],
    *,
    texts: Mapping[str, str] = MappingProxyType({}),
    languages: Sequence[str] = (),
    held_out: Mapping[str, Sequence[RenderedRow]] = MappingProxyType({}),
    execution: Execution = Execution(),  # noqa: B008 - frozen
) -> TrainOutcome:
    """Train by a cell's method on a loaded base and leave the base as it was.

    A run that was killed continues from its last checkpoint in `out`, with the result it would
    have had: weights and log are byte-identical on the same machine. Under `accelerate launch`
    every process calls this alike; the first one writes.

    Args:
        loaded: the base in the cell's precision.
        rows: rendered by the cell's template.
        cell: what to train.
        out: folder that receives adapter_model.safetensors (float32) and adapter_config.json, or
            the files of a model; maple.json, README.md and log.jsonl; holds checkpoints/ while
            training.
        on_progress: called after each optimiser step with step (from 1), steps, loss (nats per
            labelled token).
        texts: of the cell's template, for readers of maple.json.
        languages: key of each row's language; empty to count nothing by language.
        held_out: rows to measure the loss on before, during and after, by language.
        execution: how to carry it out.

    Raises:
        ModelError: a setting that cannot be trained, a loss or gradient that is no number, or a
            loss that rises instead of falling.
        DataError: no rows, or none that fits into max_tokens.
    """
    settings = Settings.of(cell)
    if loaded.bits != settings.train_bits:
        raise ModelError(
            f"train_bits: the cell wants {settings.train_bits}, the base is loaded in {loaded.bits}"
        )
    encoded = encode(loaded.tokenizer, rows, settings.max_tokens)
    order = Order(
        lengths=tuple(len(row.input_ids) for row in encoded.rows),
        batch_size=settings.batch_size,
        most_tokens=_pack_tokens(loaded, execution),
        seed=settings.seed,
    )
    _check_lengths(loaded, order.lengths)
    check_head(loaded.model)  # answers may come from a server, so that no engine has looked
    steps = math.ceil(settings.epochs * order.steps)
    folder = out / "checkpoints"
    folder.mkdir(parents=True, exist_ok=True)
    tuned = attach(loaded, settings)
    try:
        args = arguments(settings, steps, folder, tuned.model.device, execution.report_to)
        validation = _validation(loaded, held_out, cell, languages, steps, execution)
        log = StepLog(out / "log.jsonl", args.should_save)
        owner = checkpoints.owner(cell, encoded.content_hash())
        found = checkpoints.latest(folder, owner, log.steps())
        each = operations(tuned.model)
        rate = ceiling(loaded.compute_dtype, tuned.model.device)
        progress = Progress(owner, found, log, on_progress)
        with log.appending(found.step if found else 0), _prepared(tuned.model, execution):
            model = AnswerLoss(tuned.model)
            loop = Loop(model, args, encoded.rows, order, progress, validation)
            if found and loop.is_sharded:
                raise ModelError(
                    f"{found.path}: a checkpoint of weights that were not sharded",
                    "go on without FSDP, or remove it and start afresh",
                )
            keep_tracks(loop, out / "tracking")
            loop.train(resume_from_checkpoint=str(found.path) if found else None)
        unshard(model)
        stopping = None if validation is None else validation.stopping
        if stopping is not None:
            put_weights(tuned.model, stopping.best)
        seconds = progress.seconds()
        # Other work on the machine only slows it down.
        rate = max(rate, ceiling(loaded.compute_dtype, tuned.model.device))
        parameters = sum(p.numel() for p in tuned.model.parameters() if p.requires_grad)
        adapter_bytes = tuned.write_product(cell, texts, out) if args.should_save else 0
    finally:
        tuned.detach()
    loop.accelerator.wait_for_everyone()
    counted = _Counted(encoded, order, languages)
    outcome = _outcome(log, counted, each, rate, validation, seconds, parameters, adapter_bytes)
    if args.should_save:
        write_bytes(out / "README.md", card(cell, outcome).encode())
        shutil.rmtree(folder)
    return outcome


def _check_lengths(loaded: Loaded, lengths: Sequence[int]) -> None:
    """Raises ModelError where a row has positions that the base was not made for."""
    context = context_of(text_config(loaded.model))
    if max(lengths) > context:
        raise ModelError(
            f"max_tokens: a row has {max(lengths)} tokens, {loaded.base.name!r} reads {context}",
            f"set max_tokens to {context} or less",
        )


@contextlib.contextmanager
def _prepared(model: PreTrainedModel, execution: Execution) -> Iterator[None]:
    """The model as its steps are computed, until the end."""
    if execution.gradient_checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
    try:
        with packed(model), fused(model):
            yield
    finally:
        if execution.gradient_checkpointing:
            model.activation_checkpointing_disable()  # type: ignore[no-untyped-call]


def _pack_tokens(loaded: Loaded, execution: Execution) -> int:
    is_cpu = loaded.model.device.type == "cpu"
    return execution.pack_tokens or (_CPU_TOKENS if is_cpu else _GPU_TOKENS)


def _validation(
    loaded: Loaded,
    held_out: Mapping[str, Sequence[RenderedRow]],
    cell: TrainCell,
    languages: Sequence[str],
    steps: int,
    execution: Execution,
) -> Validation | None:
    if cell.patience is not None and not held_out:
        raise ModelError("patience: there are no held-out rows to stop by")
    if not held_out:
        return None
    rows, dropped = {}, {}
    for language, own in held_out.items():
        try:
            encoded = encode(loaded.tokenizer, own, cell.max_tokens or 0)
        except DataError as error:
            what = f"rows held out in {language}: {error.what}"
            raise DataError(what, error.hint) from error
        rows[language] = encoded.rows
        if encoded.dropped_rows:
            dropped[language] = encoded.dropped_rows
    stopping = None
    if cell.patience is not None:
        trained = sorted(held_out.keys() & set(languages)) or sorted(held_out)
        stopping = EarlyStopping(cell.patience, trained, lambda: weights(loaded.model))
    every = cell.validate_every or execution.validate_every or math.ceil(steps / _VALIDATIONS)
    return Validation(HeldOut(rows, _pack_tokens(loaded, execution)), every, stopping, dropped)


@dataclass(frozen=True, slots=True)
class _Counted:
    """What the rows are, for the record."""

    encoded: Encoded
    order: Order
    languages: Sequence[str]

    def seen(self, steps: int) -> Counter[int]:
        """How often so many steps saw each row."""
        order = self.order
        epochs = range(-(-steps // order.steps))
        return Counter(
            row
            for epoch in epochs
            for step in epoch_order(len(order.lengths), order.batch_size, order.seed, epoch)[
                : steps - epoch * order.steps
            ]
            for row in step
        )

    def by_language(self, seen: Counter[int]) -> dict[str, LanguageTokens]:
        """Rows, and tokens as often as they were seen."""
        found: dict[str, list[int]] = {}
        if self.languages:
            for number, row in enumerate(self.encoded.rows):
                counts = found.setdefault(self.languages[self.encoded.kept[number]], [0, 0, 0])
                counts[0] += 1
                counts[1] += seen[number] * len(row.input_ids)
                counts[2] += seen[number] * row.labelled_tokens
        return {language: LanguageTokens(*counts) for language, counts in sorted(found.items())}

    def operations(self, seen: Counter[int], each: Operations) -> int:
        """Operations of all rows as often as they were seen."""
        rows = self.encoded.rows
        return sum(
            times * each.of([len(rows[number].input_ids)], rows[number].labelled_tokens)
            for number, times in seen.items()
        )


def _outcome(
    log: StepLog,
    counted: _Counted,
    each: Operations,
    rate: float,
    validation: Validation | None,
    seconds: float,
    parameters: int,
    adapter_bytes: int,
) -> TrainOutcome:
    losses = log.column("loss")
    tenth = math.ceil(len(losses) / 10)
    held_out = {line["step"]: line["held_out"] for line in log.lines() if "held_out" in line}
    stopping = validation.stopping if validation else None
    last = stopping.best_step if stopping else max(held_out, default=0)
    seen = counted.seen(len(losses))
    return TrainOutcome(
        steps=len(losses),
        rows=len(counted.encoded.rows),
        dropped_rows=counted.encoded.dropped_rows,
        tokens=int(sum(log.column("tokens"))),
        labelled_tokens=int(sum(log.column("labelled_tokens"))),
        loss_first=sum(losses[:tenth]) / tenth,
        loss_last=sum(losses[-tenth:]) / tenth,
        seconds=seconds,
        trainable_parameters=parameters,
        adapter_bytes=adapter_bytes,
        by_language=counted.by_language(seen),
        operations=counted.operations(seen, each),
        ceiling=rate,
        held_out_before=held_out.get(0, {}),
        held_out_after=held_out.get(last, {}),
        held_out_rows=validation.held_out.counts if validation else {},
        held_out_dropped=validation.dropped if validation else {},
        best_step=stopping.best_step if stopping else None,
    )
