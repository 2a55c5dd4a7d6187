"""What the page's program draws from: a study's numbers as compact JSON.

Scores and differences are whole numbers of 1/1000 point, in arrays by line and then by subset; a
number that is not there is null. The scripts in `js/` read this, and nothing else writes it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from maple.analysis.estimates import Estimate
from maple.analysis.results import Macro
from maple.languages import language
from maple.report import curves, gains, labels, ledger, rates, samples, specs, training, variance
from maple.report.gathered import Gathered, Line, Table
from maple.report.ledger import Grid
from maple.report.selection import Spread, correlation
from maple.report.tables import cell_state

UNIT = 100_000
"""Whole numbers in a score of 1."""

STATES = ("done", "pending", "failed", "not scored", "not in the plan", "failed, fewer items")
"""What became of a cell, by its number in the data."""

Content = dict[str, Any]


def payload(gathered: Gathered, *, items: bool) -> Content:
    """Everything that the page shows by program, ready for JSON.

    Args:
        items: whether texts of items and answers may be in it.

    Raises:
        StoreError: a file cannot be read.
    """
    lines = ledger.all_lines(gathered)
    places = {line.key: place for place, line in enumerate(lines)}
    spoken = _languages(gathered)
    names = {key: place for place, key in enumerate(spoken)}
    return {
        "states": STATES,
        "languages": [_language(key) for key in spoken],
        "cells": [_cell(gathered, line, names) for line in lines],
        "tables": [_table(gathered, table, places, names) for table in gathered.tables],
        "grids": _grids(gathered, places, names),
        "curves": curves.content(gathered),
        "items": samples.content(gathered, places) if items else None,
        "specs": specs.SPECS,
        "themes": specs.THEMES,
    }


def to_json(content: Content) -> str:
    """JSON that may stand in a script element: no character of it can end the element."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _languages(gathered: Gathered) -> list[str]:
    """Keys of all languages asked in, the most resourced first, then by name."""

    def order(key: str) -> tuple[int, str]:
        known = language(key)
        return -(-1 if known.resource_class is None else known.resource_class), known.name

    asked = {
        gathered.plan.languages[f"{table.setting.task}/{subset}"]
        for table in gathered.tables
        for subset in table.subsets
    }
    return sorted(asked, key=order)


def _language(key: str) -> Content:
    known = language(key)
    return {
        "key": key,
        "name": known.name,
        "class": known.resource_class,
        "family": known.family or "unknown",
        "bcp47": known.bcp47,
    }


def _cell(gathered: Gathered, line: Line, names: dict[str, int]) -> Content:
    cell = gathered.plan.train[line.train_id]
    measured = gathered.training.filter(gathered.training["train_id"] == line.train_id)
    cost = next(measured.iter_rows(named=True), {})
    return {
        "train": line.train_id,
        "label": line.label,
        "base": cell.base_name,
        "data": "" if cell.method == "adapter" else labels.trained_on(cell),
        "method": labels.kind_label(cell, gathered.told),
        "r": cell.r,
        "bits": line.eval_bits,
        "precision": labels.bits_label(cell, line.eval_bits),
        "seed": cell.seed,
        "untuned": cell.method == "none",
        "languages": sorted(names[key] for key in cell.languages or () if key in names),
        "seconds": finite(cost.get("seconds")),
        "memory": finite(cost.get("peak_bytes")),
        "size": finite(cost.get("adapter_bytes")),
    }


def _table(
    gathered: Gathered, table: Table, places: dict[tuple[str, int], int], names: dict[str, int]
) -> Content:
    metric = table.setting.metric
    evals = [line.evals.get(subset) for line in table.lines for subset in table.subsets]
    found = [None if name is None else gathered.results.cells.get((name, metric)) for name in evals]
    macros = [gathered.macro(table, line) for line in table.lines]
    keys = [gathered.plan.languages[f"{table.setting.task}/{name}"] for name in table.subsets]
    return {
        "anchor": table.anchor,
        "title": table.title,
        "metric": metric,
        "primary": table.primary,
        "subsets": [
            {"key": subset, "label": label, "language": names[key]}
            for (subset, label), key in zip(table.subsets.items(), keys, strict=True)
        ],
        "lines": [places[line.key] for line in table.lines],
        "score": _columns([None if one is None else one.score for one in found]),
        "delta": _columns([None if one is None else one.delta for one in found]),
        "sure": _sure([None if one is None else one.adjusted for one in found]),
        "n": [None if one is None else one.score.n for one in found],
        "state": [STATES.index(cell_state(gathered, name, metric)) for name in evals],
        "mean": {
            "score": _columns([None if one is None else one.score for one in macros]),
            "delta": _columns([None if one is None else one.delta for one in macros]),
            "sure": _sure([None if one is None else one.adjusted for one in macros]),
            "done": [0 if one is None else len(one.subsets) for one in macros],
        },
        "rho": correlations(gathered, table),
    }


def _sure(adjusted: Sequence[float | None]) -> str:
    """A character a difference: "1" where its p-value counts after correction."""
    return "".join("01"[labels.sure(p)] for p in adjusted)


def correlations(gathered: Gathered, table: Table) -> dict[str, float]:
    """How much the languages of a table rise and fall together, in scores and in differences."""
    rows: dict[str, list[tuple[Spread, list[Spread]]]] = {"score": [], "delta": []}
    for line in table.lines:
        macro = gathered.macro(table, line)
        if macro is None:
            continue
        for name, kept in rows.items():
            pair = _with_parts(gathered, line, macro, name)
            if pair is not None:
                kept.append(pair)
    return {name: round(correlation(pairs), 6) for name, pairs in rows.items()}


def _with_parts(
    gathered: Gathered, line: Line, macro: Macro, name: str
) -> tuple[Spread, list[Spread]] | None:
    """A line's mean with its languages, where the mean is over all of these."""
    mean = spread(getattr(macro, name))
    found = [gathered.results.cells[line.evals[key], macro.setting.metric] for key in macro.subsets]
    parts = [spread(getattr(one, name)) for one in found]
    known = [part for part in parts if part is not None]
    return None if mean is None or len(known) < len(parts) else (mean, known)


def spread(estimate: Estimate | None) -> Spread | None:
    """An estimate's value and interval."""
    if estimate is None:
        return None
    return Spread(estimate.value, estimate.low, estimate.high)


def whole(value: float | None) -> int | None:
    """A score or difference as a whole number of 1/1000 point."""
    return None if value is None else round(UNIT * value)


def finite(value: float | None) -> float | None:
    """None for what JSON has no number for."""
    return value if value is not None and math.isfinite(value) else None


def _columns(estimates: Sequence[Estimate | None]) -> dict[str, list[int | None]]:
    return {
        name: [None if one is None else whole(getattr(one, name)) for one in estimates]
        for name in ("value", "low", "high")
    }


def _grids(
    gathered: Gathered, places: dict[tuple[str, int], int], names: dict[str, int]
) -> Content:
    grids = {
        "training": training.training(gathered),
        "data": ledger.training_data(gathered),
        "held": training.held_out(gathered),
        "cost": ledger.cost(gathered),
        "gains": gains.gains(gathered),
        "variance": variance.variance(gathered),
        "prompts": rates.fertility(gathered),
        "endings": rates.endings(gathered),
        "rates": rates.rates(gathered),
        "preferred": rates.preferred(gathered),
    }
    by_train: dict[str, list[int]] = {}
    for (train_id, _), place in places.items():
        by_train.setdefault(train_id, []).append(place)
    return {
        name: _grid(grid, places, by_train, names)
        for name, grid in grids.items()
        if grid is not None
    }


def _grid(
    grid: Grid,
    places: dict[tuple[str, int], int],
    by_train: dict[str, list[int]],
    names: dict[str, int],
) -> Content:
    """A table with each distinct text once, and what its rows are about, by the filters.

    `about` has of every row the cells it is about (it is shown where one of them is), the language
    and the title of its task; null where it is about none in particular.
    """
    texts = {text: None for row in grid.rows for text in row}
    number = {text: place for place, text in enumerate(texts)}
    about = [
        (
            None
            if one.train_id is None
            else by_train.get(one.train_id, [])
            if one.eval_bits is None
            else [places[one.train_id, one.eval_bits]],
            None if one.language is None else names.get(one.language),
            one.task,
        )
        for one in grid.about
    ]
    return {
        "caption": grid.caption,
        "columns": grid.columns,
        "notes": grid.notes,
        "texts": list(texts),
        "rows": [[number[text] for text in row] for row in grid.rows],
        "about": [list(column) for column in zip(*about, strict=True)],
    }
