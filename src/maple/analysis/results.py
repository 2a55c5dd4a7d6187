"""Estimates from a store: score, difference to the untuned base, mean over languages.

A language's score is the mean over its items; its delta is paired by item with the untuned base
asked in exactly the same way (same items, prompt, exemplars, precision, engine). The macro mean
weighs every language the same. Its interval resamples clusters over all languages at once: the
same passage in several languages is drawn as often in each, since translated items rise and fall
together and languages are therefore no independent evidence.

Everything of one benchmark shares one matrix of weights, so that the resamples kept in `Panel` may
be subtracted and averaged at will: each such combination has the interval that its items give it.

Declared families of tests: the deltas of all languages and adapters of a setting
(Benjamini-Hochberg), and the macro deltas of its adapters (Holm).

Letters in shapes: n items, c clusters, b resamples, k cells.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from maple.analysis.blocks import Block
from maple.analysis.columns import ESTIMATES, frame
from maple.analysis.estimates import (
    DIFFERENCE,
    RESAMPLES,
    SCORE,
    Estimate,
    Floats,
    Integers,
    Replicates,
    effective,
)
from maple.analysis.resampling import (
    Key,
    Resampled,
    averaged,
    estimates,
    p_values,
)
from maple.analysis.significance import adjusted
from maple.records import EvalCell
from maple.store import PlanFile
from maple.study.setups import setup_of


@dataclass(frozen=True, slots=True)
class Result:
    """One finished eval cell under one metric.

    Attributes:
        score: mean over its items, 0 to 1.
        delta: minus the untuned base, over the items both answered; None for the untuned base
            itself and where that base was not scored.
        chance: mean over the items of 1 / number of choices; None for generation, and where an
            item has a single one.
        p: two-sided p-value of the delta by sign flips; None without a delta or its interval.
        adjusted: p corrected over its family.
    """

    eval_id: str
    metric: str
    score: Estimate
    delta: Estimate | None
    chance: float | None
    p: float | None = None
    adjusted: float | None = None


@dataclass(frozen=True, slots=True)
class Setting:
    """What cells must share for their scores to stand in one table.

    Subsets (languages), base models, adapters and precisions vary within it.
    """

    task: str
    dataset: str
    prompt: str
    template: str | None
    n_shot: int
    exemplar_seed: int | None
    setup: str
    decoding: str
    max_new_tokens: int | None
    metric: str
    version: int


_Row = tuple[Setting, str, int]
"""Setting, train id and precision while answering."""


@dataclass(frozen=True, slots=True)
class Macro:
    """The mean over the subsets of a setting, of one train cell at one precision.

    Attributes:
        score: over the subsets that are finished, each weighing the same; 0 to 1.
        delta: over the subsets that are finished on both sides.
        subsets: the finished ones, in the plan's order; `planned` counts all.
        p: two-sided p-value of the delta by sign flips; None without a delta or its interval.
        adjusted: p corrected over its family.
    """

    setting: Setting
    train_id: str
    eval_bits: int
    score: Estimate
    delta: Estimate | None
    subsets: tuple[str, ...]
    planned: int
    p: float | None = None
    adjusted: float | None = None

    @property
    def complete(self) -> bool:
        """Whether no subset is missing, so that macros of different cells compare."""
        return len(self.subsets) == self.planned


@dataclass(frozen=True, slots=True)
class Panel:
    """Scores of k finished cells with their resamples.

    Attributes:
        rows: row of each cell and metric.
        values: mean score, [k], 0 to 1.
        replicates: its resamples, [k, b]; NaN where a resample holds none of the cell's items.
        groups: effective number of clusters, [k].
    """

    rows: Mapping[Key, int] = field(hash=False)
    values: Floats = field(hash=False)
    replicates: Replicates = field(hash=False)
    groups: Floats = field(hash=False)


@dataclass(frozen=True, slots=True)
class Results:
    """All estimates of a study."""

    cells: Mapping[Key, Result]
    """By (eval id, metric); finished and scored cells only."""

    macros: tuple[Macro, ...]
    """In the plan's order; only cells with at least one finished subset."""

    panel: Panel
    """What further analyses combine."""


def settings_of(plan: PlanFile, score_id: str) -> tuple[Setting, ...]:
    """The settings that a score cell belongs to: one for each name of its prompt."""
    score = plan.scores[score_id]
    cell = plan.evals[score.eval_id]
    one = Setting(
        task=cell.task,
        dataset=cell.dataset,
        prompt=cell.prompt,
        template=cell.template_name,
        n_shot=cell.n_shot,
        exemplar_seed=cell.exemplar_seed,
        setup=setup_of(cell),
        decoding=cell.decoding,
        max_new_tokens=cell.max_new_tokens,
        metric=score.metric,
        version=score.version,
    )
    names = plan.prompts_of(score.eval_id)
    return tuple(dataclasses.replace(one, prompt=name) for name in names)


def results(plan: PlanFile, found: Sequence[Block], resamples: int = RESAMPLES) -> Results:
    """Every estimate that the scores allow.

    Args:
        plan: which cells belong together.
        found: from `blocks.blocks`.
        resamples: bootstrap resamples.
    """
    bases = untuned(plan)
    settings = {
        (score.eval_id, score.metric): settings_of(plan, score_id)
        for score_id, score in plan.scores.items()
    }
    groups: dict[tuple[str, str], list[Block]] = {}
    for block in found:
        dataset = plan.evals[block.eval_ids[0]].dataset
        groups.setdefault((block.task, dataset), []).append(block)
    measured: dict[Key, _Measured] = {}
    macros: dict[_Row, Macro] = {}
    kept: list[tuple[list[Key], Floats, Replicates, Floats]] = []
    asked = _asked(plan, settings)
    for group in groups.values():
        resampled = Resampled(group, bases, resamples)
        chances = {
            (name, block.metric): _chance(block.n_choices[~np.isnan(scores)])
            for block in group
            for name, scores in zip(block.eval_ids, block.scores, strict=True)
        }
        measured |= _cells(resampled, chances)
        macros |= _macros(resampled, asked)
        kept.append(_kept(resampled))
    cells = _corrected_cells(measured, settings)
    in_order = {key: cells[key] for key in settings if key in cells}
    return Results(
        in_order,
        _corrected_macros([macros[row] for row in asked if row in macros]),
        _panel(kept, resamples),
    )


def untuned(plan: PlanFile) -> dict[str, str]:
    """Per eval cell of an adapter, the eval cell that asks the untuned base in the same way.

    Eval cells whose base the plan does not ask in that way are left out.
    """
    bases = {
        (cell.base, cell.tokenizer): name
        for name, cell in plan.train.items()
        if cell.method == "none"
    }
    by_cell: dict[EvalCell, str] = {cell: name for name, cell in plan.evals.items()}
    found = {}
    for name, cell in plan.evals.items():
        trained = plan.train[cell.train_id]
        base = bases.get((trained.base, trained.tokenizer))
        if trained.method == "none" or base is None:
            continue
        reference = by_cell.get(dataclasses.replace(cell, train_id=base))
        if reference is not None:
            found[name] = reference
    return found


def table(cells: pl.DataFrame, found: Results) -> pl.DataFrame:
    """The rows of `frames.cells` with their estimates.

    Returns:
        Columns CELLS, then ESTIMATES; null where a cell has no estimate.
    """
    rows = []
    for eval_id, metric in cells.select("eval_id", "metric").iter_rows():
        result = found.cells.get((eval_id, metric))
        score = result.score if result is not None else None
        delta = result.delta if result is not None else None
        rows.append(
            {
                "score": score.value if score else None,
                "score_low": score.low if score else None,
                "score_high": score.high if score else None,
                "items": score.n if score else None,
                "clusters": score.clusters if score else None,
                "chance": result.chance if result is not None else None,
                "delta": delta.value if delta else None,
                "delta_low": delta.low if delta else None,
                "delta_high": delta.high if delta else None,
                "delta_items": delta.n if delta else None,
                "p": result.p if result is not None else None,
                "adjusted": result.adjusted if result is not None else None,
            }
        )
    return cells.hstack(frame(ESTIMATES, rows))


@dataclass(frozen=True, slots=True)
class _Measured:
    score: Estimate
    delta: Estimate | None
    chance: float | None
    p: float | None


def _cells(one: Resampled, chances: Mapping[Key, float | None]) -> dict[Key, _Measured]:
    """Estimates of every cell, p-values not corrected yet."""
    scores = estimates(list(one.means.values()), SCORE)
    compared = list(one.deltas.values())
    deltas = dict(zip(one.deltas, estimates(compared, DIFFERENCE), strict=True))
    tested = dict(zip(one.deltas, p_values(compared), strict=True))
    return {
        key: _Measured(score, deltas.get(key), chances[key], tested.get(key))
        for key, score in zip(one.means, scores, strict=True)
    }


def _macros(one: Resampled, asked: Mapping[_Row, Sequence[tuple[str, str]]]) -> dict[_Row, Macro]:
    """Means over the subsets of every row that has any of its cells here.

    Args:
        asked: subset and eval id of the cells of each row.
    """
    rows, means, deltas, names = [], [], [], []
    for row, cells in asked.items():
        metric = row[0].metric
        done = [(subset, name) for subset, name in cells if (name, metric) in one.means]
        if not done:
            continue
        rows.append(row)
        names.append(tuple(subset for subset, _ in done))
        means.append(averaged([one.means[name, metric] for _, name in done]))
        both = [one.deltas[name, metric] for _, name in done if (name, metric) in one.deltas]
        deltas.append(averaged(both) if both else None)
    compared = [delta for delta in deltas if delta is not None]
    of_deltas = iter(zip(estimates(compared, DIFFERENCE), p_values(compared), strict=True))
    found = {}
    for row, score, mean, subsets in zip(rows, estimates(means, SCORE), deltas, names, strict=True):
        delta, p = next(of_deltas) if mean is not None else (None, None)
        found[row] = Macro(*row, score, delta, subsets, len(asked[row]), p)
    return found


def _kept(one: Resampled) -> tuple[list[Key], Floats, Replicates, Floats]:
    """What `Panel` holds of these cells."""
    means = list(one.means.values())
    return (
        list(one.means),
        np.array([mean.value for mean in means]),
        np.stack([mean.replicates for mean in means]),
        np.array([effective(mean.sizes) for mean in means]),
    )


def _asked(
    plan: PlanFile, settings: Mapping[Key, tuple[Setting, ...]]
) -> dict[_Row, list[tuple[str, str]]]:
    """Subset and eval id of the cells of every row: a train cell at one precision in a setting."""
    found: dict[_Row, list[tuple[str, str]]] = {}
    for (name, _), of_cell in settings.items():
        cell = plan.evals[name]
        for setting in of_cell:
            row = (setting, cell.train_id, cell.eval_bits)
            found.setdefault(row, []).append((cell.subset, name))
    return found


def _corrected_cells(
    measured: Mapping[Key, _Measured], settings: Mapping[Key, tuple[Setting, ...]]
) -> dict[Key, Result]:
    families: dict[Setting, list[Key]] = {}
    for key, one in measured.items():
        if one.p is not None:
            # A prompt of several names is one prompt.
            families.setdefault(settings[key][0], []).append(key)
    corrected: dict[Key, float] = {}
    for keys in families.values():
        p_values = [p for key in keys if (p := measured[key].p) is not None]
        corrected |= zip(keys, adjusted(p_values, "bh"), strict=True)
    return {
        key: Result(*key, one.score, one.delta, one.chance, one.p, corrected.get(key))
        for key, one in measured.items()
    }


def _corrected_macros(macros: Sequence[Macro]) -> tuple[Macro, ...]:
    families: dict[Setting, list[float]] = {}
    for one in macros:
        if one.p is not None:
            families.setdefault(one.setting, []).append(one.p)
    corrected = {setting: iter(adjusted(p, "holm")) for setting, p in families.items()}
    return tuple(
        one if one.p is None else dataclasses.replace(one, adjusted=next(corrected[one.setting]))
        for one in macros
    )


def _panel(kept: Sequence[tuple[list[Key], Floats, Replicates, Floats]], resamples: int) -> Panel:
    keys = [key for part in kept for key in part[0]]
    if not keys:
        empty = np.zeros(0)
        return Panel({}, empty, np.zeros((0, resamples), dtype=np.float32), empty)
    return Panel(
        {key: row for row, key in enumerate(keys)},
        np.concatenate([part[1] for part in kept]),
        np.concatenate([part[2] for part in kept]),
        np.concatenate([part[3] for part in kept]),
    )


def _chance(choices: Integers) -> float | None:
    return float((1 / choices).mean()) if (choices > 1).all() else None
