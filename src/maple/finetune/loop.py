"""transformers' Trainer over our order of rows, our log and our checkpoints."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

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
from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled

from maple.errors import ModelError
from maple.finetune import checkpoints
from maple.finetune.checkpoints import Checkpoint
from maple.finetune.encoding import EncodedRow
from maple.finetune.loss import AnswerLoss
from maple.finetune.methods import read_weights, write_weights
from maple.finetune.operations import operations
from maple.finetune.order import Order, StepRows, Steps
from maple.finetune.packing import PackedRows, pack
from maple.finetune.settings import SCHEDULERS, Settings
from maple.finetune.steplog import StepLog
from maple.finetune.tracking import numbers
from maple.finetune.validation import EarlyStopping, HeldOut
from maple.provenance import derive_seed

CHECKPOINT_SECONDS = 60.0
"""Least time between two checkpoints. When one is written changes no result: writing draws no
random number."""

CHECKPOINT_SHARE = 0.05
"""Largest share of the time that writing checkpoints may take, where one takes long."""


_WATCHED = 20
"""Steps whose mean loss tells whether training diverges."""

_DIVERGED = 2.0
"""How much higher than at the start that mean is where it does."""

_GENTLER = "lower learning_rate, or raise warmup_ratio"


class Arguments(TrainingArguments):
    """Training arguments for a base that already lies where it belongs."""

    @property
    def place_model_on_device(self) -> bool:
        """Never: moving a quantised base quantises it again or fails."""
        return False


def arguments(
    settings: Settings,
    steps: int,
    folder: Path,
    device: torch.device,
    report_to: Sequence[str] = (),
) -> Arguments:
    """The Trainer's arguments for a cell.

    Args:
        steps: optimiser steps of the whole run, for the warm-up.
        folder: where checkpoints go.
        device: where the base lies.
        report_to: experiment trackers by transformers' names.
    """
    made = Arguments(
        output_dir=str(folder),
        # What the loader gives is a whole optimiser step; `Loop.training_step` cuts it.
        per_device_train_batch_size=settings.batch_size,
        gradient_accumulation_steps=1,
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
        report_to=list(report_to),
        project="maple",
        # The folder of checkpoints lies in the cell's.
        run_name=folder.parent.name,
        disable_tqdm=True,
    )
    # One process drives one device: several would turn batch_size into rows per device.
    made._n_gpu = min(made.n_gpu, 1)  # noqa: SLF001  the Trainer itself sets it so
    return made


class Progress:
    """What has been done: times over all attempts, the log, and who is told."""

    def __init__(
        self,
        owner: str,
        found: Checkpoint | None,
        log: StepLog,
        notify: Callable[[Mapping[str, object]], None],
    ) -> None:
        """
        Args:
            owner: of checkpoints, as for `checkpoints.latest`.
            found: the checkpoint that is resumed from.
            log: of the steps.
            notify: told of each step.
        """
        self.owner = owner
        self.log = log
        self.notify = notify
        self._losses = log.column("loss")[: found.step] if found else []
        self._seconds_before = found.seconds if found else 0.0
        self._started = self._last_write = time.monotonic()
        self._write_seconds = 0.0

    def seconds(self) -> float:
        """Wall time of the steps so far, earlier attempts included."""
        return self._seconds_before + time.monotonic() - self._started

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """What is done meanwhile is no step."""
        began = time.monotonic()
        yield
        self._started += time.monotonic() - began

    def check(self, step: int, steps: int, loss: float) -> None:
        """Note a step's loss.

        Raises:
            ModelError: the last steps' mean loss is `_DIVERGED` times that of the first ones.
        """
        self._losses.append(loss)
        first, last = self._losses[:_WATCHED], self._losses[_WATCHED:][-_WATCHED:]
        if len(last) < _WATCHED:
            return
        before, now = sum(first) / _WATCHED, sum(last) / _WATCHED
        if now > _DIVERGED * before:
            raise ModelError(
                f"training diverged at step {step} of {steps}: the mean loss of {_WATCHED} steps "
                f"rose from {before:.3g} to {now:.3g}",
                _GENTLER,
            )

    def checkpoint_due(self) -> bool:
        """Whether the last checkpoint is old enough for another."""
        wait = max(CHECKPOINT_SECONDS, self._write_seconds / CHECKPOINT_SHARE)
        return time.monotonic() - self._last_write >= wait

    def checkpoint_written(self, began: float) -> None:
        """Note that a checkpoint was written whose writing began at `began` (monotonic)."""
        self._last_write = time.monotonic()
        self._write_seconds = self._last_write - began


@dataclass(frozen=True, slots=True)
class Step:
    """An optimiser step as one process computes it.

    Attributes:
        packs: this process's rows; packs without labels where others have more.
        tokens: of all processes.
        labelled_tokens: of all processes.
    """

    packs: tuple[PackedRows, ...]
    tokens: int
    labelled_tokens: int


@dataclass(frozen=True, slots=True)
class Validation:
    """What is measured while training goes on.

    Attributes:
        held_out: the rows.
        every: optimiser steps from one time to the next; also before the first and after the last.
        stopping: what ends training early; None for never.
        dropped: rows by language that did not fit into max_tokens, where any.
    """

    held_out: HeldOut
    every: int
    stopping: EarlyStopping | None
    dropped: Mapping[str, int]


class Loop(Trainer):
    """A Trainer that says nothing, logs every step to a `StepLog` and checkpoints atomically.

    A step arrives whole. The gradients of its packs add up; the last one's backward pass waits for
    those of the other processes.
    """

    def __init__(
        self,
        model: AnswerLoss,
        args: Arguments,
        rows: Sequence[EncodedRow],
        order: Order,
        progress: Progress,
        validation: Validation | None,
    ) -> None:
        """
        Raises:
            ModelError: weights are sharded in a way that cannot be trained here.
        """
        super().__init__(model=model, args=args)
        self._check_shards()
        self.remove_callback(PrinterCallback)
        self.add_callback(_Times(self))
        self._loss = model
        self._rows = rows
        self._order = order
        self._progress = progress
        self._operations = operations(model.model)
        self._step = Step((), 0, 0)
        self._validation = validation
        self._validated = -1
        self._held_out: dict[str, float] = {}

    @property
    def is_sharded(self) -> bool:
        """Whether each process holds a part of every weight only."""
        return bool(self.is_fsdp_enabled)

    def _check_shards(self) -> None:
        if self.is_sharded and not self.accelerator.is_fsdp2:
            raise ModelError(
                "FSDP 1 flattens weights: what is trained cannot be told from what is frozen",
                "fsdp_version: 2 in accelerate's configuration",
            )
        if is_deepspeed_zero3_enabled():  # type: ignore[no-untyped-call]
            raise ModelError(
                "DeepSpeed's ZeRO 3 hides weights from what computes with them here",
                "ZeRO 1 or 2, or FSDP 2, which shards weights as well",
            )

    def get_train_dataloader(self) -> Any:
        """This process's share of each step, in our order; accelerate has nothing to deal out."""
        mine = Steps(self._order, self.accelerator.process_index, self.accelerator.num_processes)
        return _StepLoader(_StepData(self._rows), batch_sampler=mine, collate_fn=_only)

    def get_batch_samples(
        self,
        epoch_iterator: Iterator[Step],
        num_batches: int,  # noqa: ARG002 - one, by `arguments`
        device: torch.device,  # noqa: ARG002
    ) -> tuple[list[Any], None]:
        """An optimiser step as its only batch; it knows its number of labelled tokens."""
        self._step = next(epoch_iterator)
        return [self._step], None

    def training_step(
        self,
        model: torch.nn.Module,
        inputs: Any,
        num_items_in_batch: torch.Tensor | int | None = None,  # noqa: ARG002
    ) -> torch.Tensor:
        """Loss and gradients of this process's share of a step.

        Returns:
            sum of nats over the labelled tokens of the whole step, times the number of processes:
            losses and gradients are averaged over these.
        """
        model.train()
        step: Step = inputs
        processes = self.accelerator.num_processes
        total = torch.zeros((), device=self.args.device)
        for number, rows in enumerate(step.packs):
            last = number == len(step.packs) - 1
            # What DeepSpeed goes by; others skip their exchange inside `no_sync`.
            self.accelerator.gradient_state._set_sync_gradients(last)  # noqa: SLF001
            with contextlib.nullcontext() if last else self.accelerator.no_sync(model):
                loss = model(rows.to(self.args.device), max(1, step.labelled_tokens)) * processes
                self.accelerator.backward(loss)
            total += loss.detach()
        return total

    def floating_point_ops(self, inputs: Any) -> int:
        """Operations of this process's share of a step; the Trainer adds them up in its state."""
        step: Step = inputs
        return sum(
            self._operations.of(rows.layout.lengths, rows.labelled_tokens) for rows in step.packs
        )

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
                    _GENTLER,
                )
        self._progress.check(step, steps, logs["loss"])
        line = {
            "step": step,
            "epoch": round(self.state.epoch or 0.0, 6),
            "loss": logs["loss"],
            "learning_rate": logs["learning_rate"],
            "grad_norm": logs["grad_norm"],
            "tokens": self._step.tokens,
            "labelled_tokens": self._step.labelled_tokens,
            **({"held_out": self._held_out} if self._validated == step else {}),
        }
        self._progress.log.append(line)
        self._tell_trackers(line)
        self._progress.notify({"step": step, "steps": steps, "loss": logs["loss"]})

    def measure_before(self) -> None:
        """The loss on held-out rows before the first step, as the log's line of step 0."""
        if self._validation is not None:
            self._validate()
            line = {"step": 0, "held_out": self._held_out}
            self._progress.log.append(line)
            self._tell_trackers(line)

    def _tell_trackers(self, line: Mapping[str, Any]) -> None:
        self.control = self.callback_handler.on_log(
            self.args, self.state, self.control, numbers(line)
        )

    def checkpoint_is_due(self) -> bool:
        """Whether it is time for a checkpoint; what one process finds, all do.

        Never where weights are sharded: transformers would write the whole base into each.
        """
        if self.is_sharded:
            return False
        due = torch.tensor(float(self._progress.checkpoint_due()), device=self.args.device)
        return bool(self.accelerator.reduce(due, "sum").item())

    def _validate(self) -> None:
        if self._validation is None or self._validated == self.state.global_step:
            return
        model = self.model_wrapped
        with self._progress.paused():
            self._held_out = self._validation.held_out.losses(model, self.args.device)
        broken = [name for name, loss in self._held_out.items() if not math.isfinite(loss)]
        if broken:
            raise ModelError(
                f"training diverged at step {self.state.global_step} of {self.state.max_steps}: "
                f"the loss of rows held out in {', '.join(broken)} is no finite number",
                _GENTLER,
            )
        self._validated = self.state.global_step
        stopping = self._validation.stopping
        # The untuned base is no candidate: it would be kept as an adapter that changes nothing.
        if self._validated == 0 or stopping is None:
            return
        if stopping.is_over(self._validated, self._held_out):
            self.control.should_training_stop = True

    def _maybe_log_save_evaluate(self, *args: Any, **kwargs: Any) -> None:
        """Before a step is logged and saved, validate if it is time to, and after the last one."""
        step, steps = self.state.global_step, self.state.max_steps
        if self._validation is not None and (step % self._validation.every == 0 or step == steps):
            self._validate()
        if self.control.should_training_stop:
            # Resumed from there it would go on.
            self.control.should_save = False
        super()._maybe_log_save_evaluate(*args, **kwargs)

    def _save_checkpoint(self, model: torch.nn.Module, trial: Any) -> None:  # noqa: ARG002
        began = time.monotonic()
        self._progress.log.sync()
        folder = Path(str(self.args.output_dir))
        if self.args.should_save:
            staged = checkpoints.stage(folder)
            write_weights(self._loss.model, staged)
            self.state.save_to_json(str(staged / "trainer_state.json"))
            if self._validation is not None and self._validation.stopping is not None:
                self._validation.stopping.save(staged)
        self.accelerator.wait_for_everyone()
        staged = checkpoints.staged(folder)
        self._save_optimizer_and_scheduler(str(staged))
        self._save_rng_state(str(staged))
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            step, seconds = self.state.global_step, self._progress.seconds()
            checkpoints.publish(staged, self._progress.owner, step, seconds)
        self._progress.checkpoint_written(began)

    def _load_from_checkpoint(
        self,
        resume_from_checkpoint: str,
        model: torch.nn.Module | None = None,  # noqa: ARG002
    ) -> None:
        folder = Path(resume_from_checkpoint)
        read_weights(self._loss.model, folder)
        if self._validation is not None and self._validation.stopping is not None:
            self._validation.stopping.load(folder)


class _Times(TrainerCallback):
    """Tells the loop when training begins, and asks it after each step for a checkpoint."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop

    def on_train_begin(
        self,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        **kwargs: object,  # noqa: ARG002
    ) -> None:
        if state.global_step == 0:
            self._loop.measure_before()

    def on_step_end(
        self,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,
        control: TrainerControl,
        **kwargs: object,  # noqa: ARG002
    ) -> None:
        # Never after the last step: the product follows.
        due = self._loop.checkpoint_is_due()
        control.should_save = state.global_step < state.max_steps and due


class _StepLoader(DataLoader[Step]):
    def set_epoch(self, epoch: int) -> None:
        """The Trainer asks the loader; the sampler knows."""
        cast(Steps, self.batch_sampler).set_epoch(epoch)


class _StepData(Dataset[Step]):
    def __init__(self, rows: Sequence[EncodedRow]) -> None:
        self._rows = rows

    def __getitem__(self, step: StepRows) -> Step:
        rows = [self._rows[row] for row in step.rows]
        # Every process takes part in every exchange; where it has no rows, with one that counts 0.
        shortest = min(rows, key=lambda row: len(row.input_ids)).unlabelled()
        packs = [[self._rows[row] for row in mine] or [shortest] for mine in step.packs]
        return Step(
            tuple(map(pack, packs)),
            tokens=sum(len(row.input_ids) for row in rows),
            labelled_tokens=sum(row.labelled_tokens for row in rows),
        )


def _only(steps: Sequence[Step]) -> Step:
    (step,) = steps
    return step
