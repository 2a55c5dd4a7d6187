"""How far apart the same study would land with other seeds, exemplars or prompts.

Macro means that are alike in everything but one factor differ for two reasons: the factor, and the
items, which its levels did not answer alike. The second is told by the resamples of the items: in
each, the levels move apart by chance, and the variance between levels of these movements, stretched
by g / (g - 1) since resampling g clusters falls short by that much, is what items contribute to the
variance V that is seen. (It is the mean of V over the resamples less V, without the noise of that
difference.) The rest of V is the factor's own, 0 where it would be negative (Searle, Casella &
McCulloch 1992, section 4.4).

Letters in shapes: l levels, b resamples.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

import numpy as np
import polars as pl
from scipy.stats import chi2

from maple.analysis.columns import VARIANCE, frame
from maple.analysis.estimates import LEVEL, Floats, Integers, Replicates
from maple.analysis.results import Results, Setting, settings_of
from maple.records import TrainCell
from maple.store import PlanFile

TRAINING_SEED, EXEMPLAR_SEED, PROMPT = "training seed", "exemplar seed", "prompt"
FACTORS = (TRAINING_SEED, EXEMPLAR_SEED, PROMPT)


@dataclass(frozen=True, slots=True)
class Group:
    """Means that differ in one factor.

    Attributes:
        levels: of the factor, l.
        values: [l], points of 100.
        replicates: their resamples, the same items in each column, [l, b].
        clusters: effective number of clusters of items, above 1.
    """

    levels: tuple[Hashable, ...]
    values: Floats = field(hash=False)
    replicates: Replicates = field(hash=False)
    clusters: float


@dataclass(frozen=True, slots=True)
class Spread:
    """Standard deviations between levels of a factor, pooled over groups, points of 100.

    Attributes:
        observed: as the means are.
        items: what items explain of it.
        component: what is left, 0 where items explain all.
        low, high: approximate 95 % interval of the component; None where levels differ by so much
            less than items would let them that it has no upper end.
        freedom: degrees of freedom of `observed` that the interval assumes.
        item_error: standard error of one mean from items alone, for comparison.
        groups: how many.
        levels: distinct levels in them.
    """

    observed: float
    items: float
    component: float
    low: float | None
    high: float | None
    freedom: int
    item_error: float
    groups: int
    levels: int


def spread(groups: Sequence[Group], *, crossed: bool) -> Spread:
    """The component of a factor apart from items.

    The interval takes the means as normal and what items contribute as known, so it is
    approximate: freedom * V / (component + items) has a chi-square distribution.

    Args:
        groups: at least one, each of at least two levels.
        crossed: whether a level is the same thing in every group, as a prompt is. Groups then tell
            of the same few levels, and add no degrees of freedom. Training seeds are not: what
            seed 0 does at one rank says nothing about another.
    """
    freedoms = np.array([len(group.levels) - 1 for group in groups])
    between = np.array([group.values.var(ddof=1) for group in groups])
    moved = [group.replicates - group.values[:, None] for group in groups]
    drawn = np.array([np.nanmean(one.var(axis=0, ddof=1)) for one in moved])
    stretch = np.array([group.clusters / (group.clusters - 1) for group in groups])
    weights = freedoms / freedoms.sum()
    variance = float(weights @ between)
    items = float(weights @ (drawn * stretch))
    errors = np.array([np.nanmean(one**2) for one in moved])
    levels = len({level for group in groups for level in group.levels})
    freedom = levels - 1 if crossed else int(freedoms.sum())
    tail = (1 - LEVEL) / 2
    ends = freedom * variance / chi2.ppf([1 - tail, tail], freedom) - items
    # Levels that differ by less than items alone would let them: how large it is cannot be told.
    told = ends[1] > 0
    low, high = np.sqrt(np.maximum(ends, 0.0)).tolist() if told else (None, None)
    return Spread(
        observed=variance**0.5,
        items=items**0.5,
        component=max(0.0, variance - items) ** 0.5,
        low=low,
        high=high,
        freedom=freedom,
        item_error=float((errors * stretch).mean() ** 0.5),
        groups=len(groups),
        levels=levels,
    )


def table(plan: PlanFile, results: Results) -> pl.DataFrame:
    """The spread of every task's macro means over every factor that varies in the study.

    Only means over all subsets of the plan are compared, under the tasks' primary metrics. Cells
    that several prompts share, as in English, tell nothing about prompts and are left out of their
    means. Groups below two clusters are left out.

    Returns:
        Columns VARIANCE, in the plan's order of tasks.
    """
    if not _varies(plan):
        return frame(VARIANCE, [])
    found = _whole(plan, results)
    rows = []
    of_task: dict[tuple[str, str, str], list[_Row]] = {}
    for row in found:
        setting = row[0]
        of_task.setdefault((setting.task, setting.dataset, setting.metric), []).append(row)
    for (names, own), factor in product(of_task.items(), FACTORS):
        groups = _groups(plan, results, {row: found[row] for row in own}, factor)
        if groups:
            one = spread(groups, crossed=factor != TRAINING_SEED)
            task, dataset, metric = names
            about = {"task": task, "dataset": dataset, "metric": metric, "factor": factor}
            rows.append({**about, **dataclasses.asdict(one)})
    return frame(VARIANCE, rows)


_Row = tuple[Setting, str, int]
"""Setting, train id and precision while answering."""


def _varies(plan: PlanFile) -> bool:
    """Whether any factor has two levels, so that nothing is gone through for nothing."""
    seeds = {cell.seed for cell in plan.train.values() if cell.method != "none"}
    exemplars = {(cell.task, cell.exemplar_seed) for cell in plan.evals.values()}
    prompts = {
        (cell.task, name)
        for eval_id, cell in plan.evals.items()
        for name in plan.prompts_of(eval_id)
    }
    tasks = {cell.task for cell in plan.evals.values()}
    return len(seeds) > 1 or max(len(exemplars), len(prompts)) > len(tasks)


def _whole(plan: PlanFile, results: Results) -> dict[_Row, dict[str, int]]:
    """Row of the panel by subset, of every mean that lacks no subset."""
    asked: dict[_Row, dict[str, int | None]] = {}
    for score_id, score in plan.scores.items():
        cell = plan.evals[score.eval_id]
        if plan.primary_metrics.get(cell.task) != score.metric:
            continue
        place = results.panel.rows.get((score.eval_id, score.metric))
        for setting in settings_of(plan, score_id):
            row = setting, cell.train_id, cell.eval_bits
            asked.setdefault(row, {})[cell.subset] = place
    return {
        row: known
        for row, places in asked.items()
        if len(known := {key: at for key, at in places.items() if at is not None}) == len(places)
    }


def _groups(
    plan: PlanFile, results: Results, rows: Mapping[_Row, Mapping[str, int]], factor: str
) -> list[Group]:
    alike: dict[Hashable, list[tuple[Hashable, Mapping[str, int]]]] = {}
    for (setting, train_id, bits), places in rows.items():
        cell = plan.train[train_id]
        level, rest = _apart(setting, cell, factor)
        alike.setdefault((*rest, bits, frozenset(places)), []).append((level, places))
    found = []
    for members in alike.values():
        if len(members) < 2:
            continue
        subsets = [
            key
            for key in members[0][1]
            if len({places[key] for _, places in members}) == len(members)
        ]
        if not subsets:
            continue
        of_levels: Integers = np.array([[own[key] for key in subsets] for _, own in members])
        panel = results.panel
        clusters = panel.groups[of_levels]
        if clusters.min() <= 1:
            continue
        found.append(
            Group(
                tuple(level for level, _ in members),
                100 * panel.values[of_levels].mean(axis=1),
                np.stack([100 * panel.replicates[own].mean(axis=0) for own in of_levels]),
                float(clusters.min()),
            )
        )
    return found


def _apart(
    setting: Setting, cell: TrainCell, factor: str
) -> tuple[Hashable, tuple[Setting, TrainCell]]:
    """The level of a factor, and all else."""
    if factor == TRAINING_SEED:
        return cell.seed, (setting, dataclasses.replace(cell, seed=None))
    if factor == EXEMPLAR_SEED:
        return setting.exemplar_seed, (dataclasses.replace(setting, exemplar_seed=None), cell)
    return setting.prompt, (dataclasses.replace(setting, prompt=""), cell)
