"""Estimates from a store: score, difference to the untuned base, mean over languages.

A language's score is the mean over its items; its delta is paired by item with the untuned base
asked in exactly the same way (same items, prompt, exemplars, precision, engine). The macro mean
weighs every language the same. Its interval resamples clusters over all languages at once: the
same passage in several languages is drawn as often in each, since translated items rise and fall
together and languages are therefore no independent evidence.

Letters in shapes: n items, c clusters, b resamples, k subsets.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from maple.analysis.blocks import Block
from maple.analysis.columns import ESTIMATES, frame
from maple.analysis.estimates import Estimate, Floats, mean, paired_difference, weights
from maple.records import EvalCell
from maple.store import PlanFile
from maple.study.setups import setup_of

LEVEL = 0.95
"""Coverage that every interval aims at."""


@dataclass(frozen=True, slots=True)
class Result:
    """One finished eval cell under one metric.

    Attributes:
        score: mean over its items, 0 to 1.
        delta: minus the untuned base, over the items both answered; None for the untuned base
            itself and where that base was not scored.
        chance: mean over the items of 1 / number of choices; None for generation, and where an
            item has a single one.
    """

    eval_id: str
    metric: str
    score: Estimate
    delta: Estimate | None
    chance: float | None


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


@dataclass(frozen=True, slots=True)
class Macro:
    """The mean over the subsets of a setting, of one train cell at one precision.

    Attributes:
        score: over the subsets that are finished, each weighing the same; 0 to 1.
        delta: over the subsets that are finished on both sides.
        subsets: the finished ones, in the plan's order; `planned` counts all.
    """

    setting: Setting
    train_id: str
    eval_bits: int
    score: Estimate
    delta: Estimate | None
    subsets: tuple[str, ...]
    planned: int

    @property
    def complete(self) -> bool:
        """Whether no subset is missing, so that macros of different cells compare."""
        return len(self.subsets) == self.planned


@dataclass(frozen=True, slots=True)
class _Scored:
    """Scores of one eval cell under one metric, n items each."""

    ids: list[str]
    clusters: list[str]
    scores: Floats
    chance: float | None


@dataclass(frozen=True, slots=True)
class Results:
    """All estimates of a study."""

    cells: Mapping[tuple[str, str], Result]
    """By (eval id, metric); finished and scored cells only."""

    macros: tuple[Macro, ...]
    """In the plan's order; only cells with at least one finished subset."""


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


def results(plan: PlanFile, blocks: Sequence[Block]) -> Results:
    """Every estimate that the scores allow.

    Args:
        plan: which cells belong together.
        blocks: its scores, from `blocks.blocks`.
    """
    scored = _by_cell(blocks)
    bases = untuned(plan)
    found: dict[tuple[str, str], Result] = {}
    groups: dict[tuple[Setting, str, int], list[str]] = {}
    for score_id, score in plan.scores.items():
        cell = plan.evals[score.eval_id]
        for setting in settings_of(plan, score_id):
            row = (setting, cell.train_id, cell.eval_bits)
            groups.setdefault(row, []).append(score.eval_id)
        key = score.eval_id, score.metric
        if key in scored:
            base = bases.get(score.eval_id)
            reference = scored.get((base, score.metric)) if base is not None else None
            found[key] = _result(key, scored[key], reference)
    macros = []
    for (setting, train_id, bits), evals in groups.items():
        done = [name for name in evals if (name, setting.metric) in scored]
        if done:
            score_parts = [scored[name, setting.metric] for name in done]
            joined = linked([(part.ids, part.clusters) for part in score_parts])
            delta_parts = [
                paired
                for name in done
                if name in bases
                and (base_scored := scored.get((bases[name], setting.metric))) is not None
                and (paired := _paired(scored[name, setting.metric], base_scored)) is not None
            ]
            macros.append(
                Macro(
                    setting,
                    train_id,
                    bits,
                    macro([(one.scores, [joined[c] for c in one.clusters]) for one in score_parts]),
                    macro(
                        [(a - b, [joined[c] for c in clusters]) for a, b, clusters in delta_parts]
                    )
                    if delta_parts
                    else None,
                    tuple(plan.evals[name].subset for name in done),
                    len(evals),
                )
            )
    return Results(found, tuple(macros))


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


def linked(parts: Sequence[tuple[Sequence[str], Sequence[str]]]) -> dict[str, str]:
    """Clusters that stand or fall together over several subsets.

    Items of one id are translations of each other. Where each language has passages of its own,
    as in MLQA, their clusters differ, and clusters that share an item are joined.

    Args:
        parts: example ids and clusters of the items of each subset.

    Returns:
        The name of the joined cluster, the first of its members' names, by cluster.
    """
    parent = {name: name for _, clusters in parts for name in clusters}

    def root(name: str) -> str:
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    first: dict[str, str] = {}
    for ids, clusters in parts:
        for item, cluster in zip(ids, clusters, strict=True):
            low, high = sorted((root(cluster), root(first.setdefault(item, cluster))))
            parent[high] = low
    return {name: root(name) for name in parent}


def macro(
    parts: Sequence[tuple[Floats, Sequence[str]]],
    *,
    resamples: int = 2000,
    seed: int = 0,
    level: float = LEVEL,
) -> Estimate:
    """Mean over subsets of their mean over items, with clusters resampled jointly.

    One resample draws from the clusters of all subsets together, and a cluster counts in every
    subset that has it. A resample that leaves a subset without any item is dropped; that happens
    only where a subset has a handful of clusters that the others lack.

    Args:
        parts: k pairs of scores (n finite numbers) and the cluster of each item.
        resamples: bootstrap resamples.
        seed: of the resamples.
        level: coverage aimed at, between 0 and 1.

    Returns:
        The mean; its interval is None where a subset has fewer than two clusters. `n` counts
        items over all subsets, `clusters` distinct clusters.

    Raises:
        ValueError: no part, or a part without items.
    """
    if not parts or not all(len(clusters) for _, clusters in parts):
        raise ValueError("parts: expected at least one, each with items")
    value = float(np.mean([scores.mean() for scores, _ in parts]))
    names = sorted({name for _, clusters in parts for name in clusters})
    items = sum(len(clusters) for _, clusters in parts)
    if min(len(set(clusters)) for _, clusters in parts) < 2:
        return Estimate(value, None, None, items, len(names))
    place = {name: position for position, name in enumerate(names)}
    # Shape [c, 2k]: per cluster the sum of scores in each subset, then the number of its items.
    totals = np.zeros((len(names), 2 * len(parts)))
    for column, (scores, clusters) in enumerate(parts):
        positions = [place[name] for name in clusters]
        np.add.at(totals[:, column], positions, scores)
        np.add.at(totals[:, len(parts) + column], positions, 1.0)
    drawn = weights(names, resamples, seed) @ totals
    sums, sizes = drawn[:, : len(parts)], drawn[:, len(parts) :]
    whole = (sizes > 0).all(axis=1)
    means = (sums[whole] / sizes[whole]).mean(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(value, float(low), float(high), items, len(names))


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
            }
        )
    return cells.hstack(frame(ESTIMATES, rows))


def _result(key: tuple[str, str], own: _Scored, base: _Scored | None) -> Result:
    paired = _paired(own, base) if base is not None else None
    return Result(
        eval_id=key[0],
        metric=key[1],
        score=mean(own.scores, own.clusters, level=LEVEL),
        delta=paired_difference(*paired, level=LEVEL) if paired is not None else None,
        chance=own.chance,
    )


def _by_cell(blocks: Sequence[Block]) -> dict[tuple[str, str], _Scored]:
    found = {}
    for block in blocks:
        for eval_id, scores in zip(block.eval_ids, block.scores, strict=True):
            at = np.flatnonzero(~np.isnan(scores))
            found[eval_id, block.metric] = _Scored(
                [block.example_ids[item] for item in at],
                [block.cluster_ids[item] for item in at],
                scores[at],
                _chance(block.n_choices[at].astype(np.float64)),
            )
    return found


def _chance(choices: Floats) -> float | None:
    return float((1 / choices).mean()) if (choices > 1).all() else None


def _paired(own: _Scored, base: _Scored) -> tuple[Floats, Floats, list[str]] | None:
    """Scores of the items both answered, in the order of `own`, and their clusters."""
    place = {name: position for position, name in enumerate(base.ids)}
    shared = [position for position, name in enumerate(own.ids) if name in place]
    if not shared:
        return None
    theirs = [place[own.ids[position]] for position in shared]
    return own.scores[shared], base.scores[theirs], [own.clusters[position] for position in shared]
