"""What an adapter gains over its untuned base, and what that costs in time, memory and energy."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import polars as pl

from maple.analysis.columns import ADAPTER, GAINS, frame
from maple.analysis.observed import Means, Observation, Observed, ends

_FRONTS = {
    "front_seconds": "train_seconds",
    "front_memory": "train_peak_bytes",
    "front_size": "adapter_bytes",
}
"""Cost of each front."""

_PER_POINT = {
    "seconds_per_point": "train_seconds",
    "peak_bytes_per_point": "train_peak_bytes",
    "adapter_bytes_per_point": "adapter_bytes",
    "joules_per_point": "train_joules",
}

Row = dict[str, object]


def gains(observed: Observed, training: pl.DataFrame, cells: pl.DataFrame) -> pl.DataFrame:
    """Mean gain and cost of every adapter at every precision that is finished.

    Gains are means over all settings under the tasks' primary metrics, each setting weighing the
    same and each subset within it; their intervals are over items, the adapter being this very
    one. Adapters that lack units that others of their base have are left out.

    A cost per point is a number only where the gain's interval lies above 0: what is paid for
    nothing has no price a point.

    Args:
        training: from `frames.training`.
        cells: from `frames.cells`.

    Returns:
        Columns GAINS, by base, then in the plan's order.
    """
    trained = {str(row["train_id"]): row for row in training.iter_rows(named=True)}
    asked = _answering(cells)
    rows: list[Row] = []
    for base in observed.plan.bases:
        means = observed.gains_of_adapters(_on(base.name))
        if means is not None:
            rows += _of_base(means, trained, asked)
    return frame(GAINS, rows)


def _on(base: str) -> Callable[[Observation], bool]:
    return lambda one: one.cell.base_name == base


def front(costs: Sequence[float | None], values: Sequence[float]) -> list[bool | None]:
    """Which of several things nothing dominates: none costs at most as much and gains at least as
    much, one of the two strictly.

    Args:
        costs: None, or nothing that a logarithmic axis shows, where unknown.
        values: what each gains, in the same order.

    Returns:
        None where the cost is unknown; such things dominate nothing.
    """
    known = [
        (cost, value)
        for cost, value in zip(costs, values, strict=True)
        if cost is not None and _priced(cost)
    ]
    return [
        None
        if cost is None or not _priced(cost)
        else not any(
            other <= cost and more >= value and (other < cost or more > value)
            for other, more in known
        )
        for cost, value in zip(costs, values, strict=True)
    ]


def _priced(cost: float) -> bool:
    return math.isfinite(cost) and cost > 0


def _of_base(means: Means, trained: dict[str, Row], asked: dict[tuple[str, int], Row]) -> list[Row]:
    groups = np.full(len(means.values), means.groups)
    spans = ends(means.values, means.replicates, groups)
    rows = [
        _row(train_id, bits, (float(value), *span), means.units, trained, asked)
        for (train_id, bits), value, span in zip(means.adapters, means.values, spans, strict=True)
    ]
    values = [float(value) for value in means.values]
    for name, cost in _FRONTS.items():
        for row, kept in zip(
            rows, front([_number(row[cost]) for row in rows], values), strict=True
        ):
            row[name] = kept
    return rows


def _row(
    train_id: str,
    bits: int,
    gain: tuple[float, float | None, float | None],
    units: int,
    trained: dict[str, Row],
    asked: dict[tuple[str, int], Row],
) -> Row:
    about = trained[train_id]
    costs = {
        "train_seconds": about["seconds"],
        "train_peak_bytes": about["peak_bytes"],
        "train_joules": about["energy_joules"],
        "adapter_bytes": about["adapter_bytes"],
    }
    value, low, high = gain
    pays = low is not None and low > 0
    per_point = {
        name: paid / value if pays and (paid := _number(costs[cost])) is not None else None
        for name, cost in _PER_POINT.items()
    }
    return {
        "train_id": train_id,
        **{column.name: about[column.name] for column in ADAPTER},
        "eval_bits": bits,
        "gain": value,
        "low": low,
        "high": high,
        "cells": units,
        **costs,
        **asked.get((train_id, bits), _NOTHING_ASKED),
        **per_point,
    }


_NOTHING_ASKED: Row = {"eval_seconds": None, "eval_peak_bytes": None, "eval_joules": None}


def _answering(cells: pl.DataFrame) -> dict[tuple[str, int], Row]:
    """What 1,000 items cost each adapter at each precision, over all that it has answered."""
    # A cell has a row for each metric and for each name of its prompt.
    done = cells.unique("eval_id").filter((pl.col("n") > 0) & pl.col("seconds").is_not_null())
    joules = pl.col("energy_joules")
    summed = done.group_by("train_id", "eval_bits").agg(
        (1000 * pl.col("seconds").sum() / pl.col("n").sum()).alias("eval_seconds"),
        pl.col("peak_bytes").max().alias("eval_peak_bytes"),
        pl.when(joules.is_not_null().all())
        .then(1000 * joules.sum() / pl.col("n").sum())
        .alias("eval_joules"),
    )
    return {
        (row.pop("train_id"), row.pop("eval_bits")): row for row in summed.iter_rows(named=True)
    }


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
