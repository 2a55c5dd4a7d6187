"""A store as tidy tables: one row per eval cell and metric, per adapter, per step.

The plan says which cells belong to the study; cells of the store that are not in it are ignored,
and cells of the plan that the store does not hold yet are rows with the status "pending".
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import polars as pl

from maple.analysis.columns import (
    CELLS,
    CURVES,
    HELD_OUT,
    TRAINING,
    TRAINING_DATA,
    VALIDATION,
    frame,
)
from maple.errors import StoreError
from maple.languages import ENGLISH, language
from maple.records import EvalCell, TrainCell, TrainOutcome
from maple.store import PlanFile, Record, Store

Row = dict[str, object]

_COST_FIELDS = ("seconds", "load_seconds", "peak_bytes", "energy_joules", "energy_note")
_ASKED_FIELDS = (
    "eval_bits",
    "engine",
    "compute_dtype",
    "task",
    "dataset",
    "subset",
    "prompt",
    "n_shot",
    "exemplar_seed",
    "decoding",
    "max_new_tokens",
)
_OUTCOME_FIELDS = (
    "steps",
    "best_step",
    "rows",
    "dropped_rows",
    "tokens",
    "labelled_tokens",
    "loss_first",
    "loss_last",
    "trainable_parameters",
    "adapter_bytes",
    "operations",
    "ceiling",
)


def cells(store: Store, plan: PlanFile) -> pl.DataFrame:
    """Every eval cell of the plan under every metric and name of its prompt, whatever became of it.

    Returns:
        Columns CELLS, in the plan's order.

    Raises:
        StoreError: a record cannot be read.
    """
    failed = {
        name: record
        for name in plan.train
        if (record := store.train_record(name)) is not None and record.status == "failed"
    }
    by_eval: dict[str, Row] = {}
    for eval_id, cell in plan.evals.items():
        record = store.eval_record(eval_id, cell)
        state = _state(record)
        if record is None and cell.train_id in failed:
            state["failure"] = "not run: its adapter failed to train"
        by_eval[eval_id] = {
            "eval_id": eval_id,
            "train_id": cell.train_id,
            **_adapter(plan.train[cell.train_id]),
            **_asked(cell, plan),
            **state,
            "n": record.n if record is not None else None,
            **_cost(record),
        }
    rows: list[Row] = [
        {
            "score_id": score_id,
            "metric": score.metric,
            "metric_version": score.version,
            "metric_rules": score.rules,
            "is_primary": plan.primary_metrics.get(plan.evals[score.eval_id].task) == score.metric,
            **by_eval[score.eval_id],
            **_unscored(by_eval[score.eval_id], store.score_record(score_id, score)),
            "prompt": prompt,
        }
        for score_id, score in plan.scores.items()
        for prompt in plan.prompts_of(score.eval_id)
    ]
    return frame(CELLS, rows)


def training(store: Store, plan: PlanFile) -> pl.DataFrame:
    """Every adapter of the plan: what became of it, what it reported, what it cost.

    Returns:
        Columns TRAINING, in the plan's order, the untuned bases left out.

    Raises:
        StoreError: a record cannot be read.
    """
    rows: list[Row] = []
    for train_id, cell in plan.train.items():
        if cell.method == "none":
            continue
        record = store.train_record(train_id)
        outcome = record.outcome if record is not None else None
        rows.append(
            {
                "train_id": train_id,
                **_adapter(cell),
                **_state(record),
                **{name: getattr(outcome, name, None) for name in _OUTCOME_FIELDS},
                **_speed(outcome),
                **_cost(record),
            }
        )
    return frame(TRAINING, rows)


def training_data(store: Store, plan: PlanFile) -> pl.DataFrame:
    """What the adapters of the plan are trained on, by source, mixture, language and base.

    Returns:
        Columns TRAINING_DATA, in the plan's order.

    Raises:
        StoreError: a record cannot be read.
    """
    outcomes: dict[tuple[str | None, str], TrainOutcome] = {}
    for train_id, cell in plan.train.items():
        record = store.train_record(train_id)
        if record is not None and record.outcome is not None and record.outcome.by_language:
            outcomes[cell.data, cell.base_name] = record.outcome
    rows: list[Row] = []
    for data, base in product(plan.data, plan.bases):
        outcome = outcomes.get((data.content, base.name))
        for line in data.table:
            seen = outcome.by_language.get(line.language) if outcome is not None else None
            rows.append(
                {
                    "source": data.source,
                    "mixture": data.mixture,
                    "language": line.language,
                    "resource_class": language(line.language).resource_class,
                    "from_source": line.source,
                    "rows": line.rows,
                    "share": line.rows / data.rows,
                    "characters": line.characters,
                    "empty": line.empty,
                    "unpaired": line.unpaired,
                    "held_out": line.held_out,
                    "base_name": base.name,
                    "rows_trained": seen.rows if seen is not None else None,
                    "tokens": seen.tokens if seen is not None else None,
                    "labelled_tokens": seen.labelled_tokens if seen is not None else None,
                }
            )
    return frame(TRAINING_DATA, rows)


def held_out(store: Store, plan: PlanFile) -> pl.DataFrame:
    """Loss on held-out rows before and after training, by adapter and language.

    Returns:
        Columns HELD_OUT, in the plan's order, languages trained on first.

    Raises:
        StoreError: a record cannot be read.
    """
    rows: list[Row] = []
    for train_id, cell in plan.train.items():
        record = store.train_record(train_id)
        outcome = record.outcome if record is not None else None
        if outcome is None:
            continue
        trained = outcome.by_language.keys() or set(cell.languages or ())
        before, after = outcome.held_out_before, outcome.held_out_after
        languages = sorted(before.keys() & after.keys(), key=lambda key: (key not in trained, key))
        rows.extend(
            {
                "train_id": train_id,
                **_adapter(cell),
                "language": key,
                "trained_on": key in trained,
                "forgetting": key == ENGLISH and key not in trained,
                "before": before[key],
                "after": after[key],
                "difference": after[key] - before[key],
            }
            for key in languages
        )
    return frame(HELD_OUT, rows)


def curves(store: Store, plan: PlanFile) -> pl.DataFrame:
    """The training loss of every adapter of the plan, as far as it got.

    Returns:
        Columns CURVES, one row per optimiser step.

    Raises:
        StoreError: a log has a line that is not one of its steps.
    """
    names = [column.name for column in CURVES if column.name != "train_id"]
    rows: list[Row] = []
    for train_id, path in _logs(store, plan):
        for number, line in _lines(path):
            try:
                # Of step 0 there is only what was measured before training.
                if line["step"] > 0:
                    rows.append({"train_id": train_id, **{name: line[name] for name in names}})
            except (KeyError, TypeError) as error:
                raise _no_step(path, number, error) from error
    return frame(CURVES, rows)


def validation(store: Store, plan: PlanFile) -> pl.DataFrame:
    """The loss on held-out rows of every adapter of the plan while it was trained.

    Returns:
        Columns VALIDATION, one row per time and language.

    Raises:
        StoreError: a log has a line that is not one of its steps.
    """
    rows: list[Row] = []
    for train_id, path in _logs(store, plan):
        for number, line in _lines(path):
            try:
                for key, loss in line.get("held_out", {}).items():
                    row = {"train_id": train_id, "step": line["step"], "language": key}
                    rows.append({**row, "loss": float(loss)})
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                raise _no_step(path, number, error) from error
    return frame(VALIDATION, rows)


def _logs(store: Store, plan: PlanFile) -> Iterator[tuple[str, Path]]:
    """The training logs that there are, by train cell."""
    for train_id, cell in plan.train.items():
        path = store.train_folder(train_id) / "log.jsonl"
        if cell.method != "none" and path.exists():
            yield train_id, path


def _lines(path: Path) -> Iterator[tuple[int, Any]]:
    """Every complete line of a log, numbered from 1."""
    # A training that runs at this moment may be in the middle of its last line.
    whole = path.read_bytes().rpartition(b"\n")[0]
    for number, line in enumerate(whole.splitlines(), start=1):
        try:
            yield number, json.loads(line)
        except ValueError as error:
            raise _no_step(path, number, error) from error


def _no_step(path: Path, number: int, error: Exception) -> StoreError:
    return StoreError(
        f"{path}: line {number} is not a training step: {error!r}",
        "delete the adapter's folder to have it trained again",
    )


def _speed(outcome: TrainOutcome | None) -> Row:
    """What was done in a second; nothing where the record does not tell."""
    found: Row = dict.fromkeys(("loop_seconds", "tokens_per_second", "ceiling_share"))
    if outcome is not None:
        found["loop_seconds"] = outcome.seconds
    if outcome is not None and outcome.seconds > 0:
        found["tokens_per_second"] = outcome.tokens / outcome.seconds
        if outcome.operations is not None and outcome.ceiling:
            found["ceiling_share"] = outcome.operations / outcome.seconds / outcome.ceiling
    return found


def _adapter(cell: TrainCell) -> Row:
    return {
        "base_name": cell.base_name,
        "method": cell.method,
        "source": cell.source,
        "mixture": cell.mixture,
        "train_languages": None if cell.languages is None else list(cell.languages),
        "r": cell.r,
        "lora_alpha": cell.lora_alpha,
        "learning_rate": cell.learning_rate,
        "train_bits": cell.train_bits,
        "seed": cell.seed,
        "train_template": cell.template_name,
    }


def _asked(cell: EvalCell, plan: PlanFile) -> Row:
    language = plan.languages[f"{cell.task}/{cell.subset}"]
    asked = {name: getattr(cell, name) for name in _ASKED_FIELDS}
    return {"language": language, **asked, "template": cell.template_name}


def _state(record: Record | None) -> Row:
    failure = record.failure if record is not None else None
    return {
        "status": record.status if record is not None else "pending",
        "failure": failure.message if failure is not None else None,
        "exit_status": failure.exit_status if failure is not None else None,
    }


def _unscored(state: Row, record: Record | None) -> Row:
    """What replaces the state of a finished cell whose answers could not be scored."""
    if state["status"] != "done" or record is None or record.failure is None:
        return {}
    return {"status": "failed", "failure": f"not scored: {record.failure.message}"}


def _cost(record: Record | None) -> Row:
    cost = record.cost if record is not None else None
    return {name: getattr(cost, name, None) for name in _COST_FIELDS}
