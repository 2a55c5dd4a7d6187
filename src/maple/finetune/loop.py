"""transformers' Trainer over our order of rows, our log and our checkpoints."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset
from transformers import (
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from maple.errors import ModelError
from maple.finetune import checkpoints
from maple.finetune.encoding import EncodedRow
from maple.finetune.loss import AnswerLoss
from maple.finetune.methods import read_weights, write_weights
from maple.finetune.order import MicroBatches
from maple.finetune.settings import SCHEDULERS, Settings
from maple.finetune.steplog import StepLog
from maple.models.head import IGNORED
from maple.provenance import derive_seed

CHECKPOINT_SECONDS = 60.0
"""Least time between two checkpoints. When one is written changes no result: writing draws no
random number."""

CHECKPOINT_SHARE = 0.05
"""Largest share of the time that writing checkpoints may take, where one takes long."""


class Arguments(TrainingArguments):
    """Training arguments for a base that already lies where it belongs."""

    @property
    def place_model_on_device(self) -> bool:
        """Never: moving a quantised base quantises it again or fails."""
        return False


def arguments(
    settings: Settings, steps: int, micro_rows: int, folder: Path, device: torch.device
) -> Arguments:
    """The Trainer's arguments for a cell.

    Args:
        steps: optimiser steps of the whole run, for the warm-up.
        micro_rows: rows that go through the model together.
        folder: where checkpoints go.
        device: where the base lies.
    """
    made = Arguments(
        output_dir=str(folder),
        per_device_train_batch_size=micro_rows,
        gradient_accumulation_steps=settings.batch_size // micro_rows,
        num_train_epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=SCHEDULERS[settings.scheduler],
        # Rounded down: transformers' first warm-up step has a rate of 0, so that a run of one step
        # with a warm-up would train nothing.
        warmup_steps=math.floor(settings.warmup_ratio * steps),
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        optim="adamw_torch",
        # bfloat16 needs no loss scaling; in float32 the whole path stays float32.
        bf16=settings.train_bits != 32,
        seed=derive_seed(settings.seed, "dropout"),
        use_cpu=device.type == "cpu",
        dataloader_pin_memory=device.type != "cpu",
        logging_steps=1,
        # The default replaces a NaN by the mean of earlier losses and goes on.
        logging_nan_inf_filter=False,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        label_names=["labels"],
    )
    # One process drives one device: several would turn batch_size into rows per device.
    made._n_gpu = min(made.n_gpu, 1)  # noqa: SLF001  the Trainer itself sets it so
    return made


class Progress:
    """What has been done: times over all attempts, the log, and who is told."""

    def __init__(
        self,
        owner: str,
        seconds_before: float,
        log: StepLog,
        notify: Callable[[Mapping[str, object]], None],
    ) -> None:
        self.owner = owner
        self.log = log
        self.notify = notify
        self._seconds_before = seconds_before
        self._started = self._last_write = time.monotonic()
        self._write_seconds = 0.0

    def seconds(self) -> float:
        """Wall time so far, earlier attempts included."""
        return self._seconds_before + time.monotonic() - self._started

    def checkpoint_due(self) -> bool:
        """Whether the last checkpoint is old enough for another."""
        wait = max(CHECKPOINT_SECONDS, self._write_seconds / CHECKPOINT_SHARE)
        return time.monotonic() - self._last_write >= wait

    def checkpoint_written(self, began: float) -> None:
        """Note that a checkpoint was written whose writing began at `began` (monotonic)."""
        self._last_write = time.monotonic()
        self._write_seconds = self._last_write - began


class Loop(Trainer):
    """A Trainer that says nothing, logs every step to a `StepLog` and checkpoints atomically."""

    def __init__(
        self,
        model: AnswerLoss,
        args: Arguments,
        rows: Sequence[EncodedRow],
        batches: MicroBatches,
        progress: Progress,
    ) -> None:
        super().__init__(model=model, args=args)
        self.remove_callback(PrinterCallback)
        self.add_callback(_SaveWhenDue(progress))
        self._loss = model
        self._rows = _Rows(rows)
        self._batches = batches
        self._progress = progress
        self._step_tokens = 0
        self._step_labelled = 0

    def get_train_dataloader(self) -> Any:
        """Our micro-batches, in our order."""
        loader = DataLoader(
            self._rows,
            batch_sampler=self._batches,
            collate_fn=collate,
            pin_memory=self.args.dataloader_pin_memory,
        )
        return self.accelerator.prepare(loader)

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], torch.Tensor | int | None]:
        """The micro-batches of an optimiser step and its number of labelled tokens."""
        samples, labelled = super().get_batch_samples(epoch_iterator, num_batches, device)
        self._step_tokens = sum(int(sample["attention_mask"].sum()) for sample in samples)
        self._step_labelled = sum(int((sample["labels"] != IGNORED).sum()) for sample in samples)
        return samples, labelled

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:  # noqa: ARG002
        """One line a step into the log; the summary at the end is not a step.

        Raises:
            ModelError: the step's loss or gradient is no finite number.
        """
        if "loss" not in logs:
            return
        step, steps = self.state.global_step, self.state.max_steps
        for name in ("loss", "grad_norm"):
            if not math.isfinite(logs[name]):
                raise ModelError(
                    f"training diverged at step {step} of {steps}: {name} is {logs[name]}",
                    "lower learning_rate, or raise warmup_ratio",
                )
        self._progress.log.append(
            {
                "step": step,
                "epoch": round(self.state.epoch or 0.0, 6),
                "loss": logs["loss"],
                "learning_rate": logs["learning_rate"],
                "grad_norm": logs["grad_norm"],
                "tokens": self._step_tokens,
                "labelled_tokens": self._step_labelled,
            }
        )
        self._progress.notify({"step": step, "steps": steps, "loss": logs["loss"]})

    def _save_checkpoint(self, model: torch.nn.Module, trial: Any) -> None:  # noqa: ARG002
        began = time.monotonic()
        self._progress.log.sync()
        staged = checkpoints.stage(Path(str(self.args.output_dir)))
        write_weights(self._loss.model, staged)
        self._save_optimizer_and_scheduler(str(staged))
        self._save_rng_state(str(staged))
        self.state.save_to_json(str(staged / "trainer_state.json"))
        checkpoints.publish(
            staged, self._progress.owner, self.state.global_step, self._progress.seconds()
        )
        self._progress.checkpoint_written(began)

    def _load_from_checkpoint(
        self,
        resume_from_checkpoint: str,
        model: torch.nn.Module | None = None,  # noqa: ARG002
    ) -> None:
        read_weights(self._loss.model, Path(resume_from_checkpoint))


class _SaveWhenDue(TrainerCallback):
    """Asks for a checkpoint when one is due, never after the last step: the product follows."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def on_step_end(
        self,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,
        control: TrainerControl,
        **kwargs: object,  # noqa: ARG002
    ) -> None:
        control.should_save = (
            state.global_step < state.max_steps and self._progress.checkpoint_due()
        )


class _Rows(Dataset[EncodedRow]):
    def __init__(self, rows: Sequence[EncodedRow]) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> EncodedRow:
        return self._rows[index]


def collate(rows: Sequence[EncodedRow]) -> dict[str, torch.Tensor]:
    """Rows as one batch, padded on the right.

    Returns:
        input_ids, attention_mask (0 on padding), labels (-100 on padding): [B, longest] each.
    """
    shape = (len(rows), max(len(row.input_ids) for row in rows))
    ids = torch.zeros(shape, dtype=torch.long)  # id 0 exists everywhere and is masked here
    mask = torch.zeros(shape, dtype=torch.long)
    labels = torch.full(shape, IGNORED, dtype=torch.long)
    for index, row in enumerate(rows):
        length = len(row.input_ids)
        ids[index, :length] = torch.tensor(row.input_ids)
        mask[index, :length] = 1
        labels[index, :length] = torch.tensor(row.labels)
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}
