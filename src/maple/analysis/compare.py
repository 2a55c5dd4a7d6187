"""Two cells of a study against each other: paired differences by task and subset, and their mean.

Compared are the items that both answered under the same setting (task, dataset, prompt, template,
exemplars, metric and its version) of the same subset. Precision and engine of the evaluation may
differ. The mean over subsets weighs each the same, as `results.macro` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from maple.analysis.cellscores import ItemScores, ScoreReader
from maple.analysis.estimates import DIFFERENCE, Estimate, Floats, paired_difference
from maple.analysis.resampling import linked, macro
from maple.analysis.results import Setting, settings_of
from maple.records import EvalCell
from maple.store import PlanFile, Store


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two: a train cell at the precision it is evaluated in, bits."""

    train_id: str
    eval_bits: int


@dataclass(frozen=True, slots=True)
class Difference:
    """What two cells scored on the items that both answered.

    Attributes:
        a, b: mean scores, 0 to 1; over subsets the mean of their means.
        difference: b - a with its interval; `n` and `clusters` count items and clusters.
    """

    a: float
    b: float
    difference: Estimate


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two cells in one setting.

    Attributes:
        subsets: in the plan's order; only those with items that both answered.
        mean: over `subsets`; None for a single one.
        missing: subsets that the plan asks both for, and that lack such items.
        engines: engine and data type of each side where they differ, "" where they do not.
    """

    setting: Setting
    subsets: dict[str, Difference]
    mean: Difference | None
    missing: tuple[str, ...]
    engines: str


@dataclass(frozen=True, slots=True)
class _Paired:
    """Scores of both sides on the same items, n each."""

    ids: list[str]
    clusters: list[str]
    a: Floats
    b: Floats


def compare(store: Store, plan: PlanFile, a: Side, b: Side) -> tuple[Comparison, ...]:
    """Every setting and subset that the plan asks both for, under the primary metrics.

    Raises:
        StoreError: a file cannot be read, or a score belongs to no stored item.
    """
    of_a, of_b = _asked(plan, a), _asked(plan, b)
    reader = ScoreReader(store, plan)
    found = []
    for setting in of_a:
        both = {
            subset: (own, of_b[setting][subset])
            for subset, own in of_a[setting].items()
            if subset in of_b.get(setting, {})
        }
        pairs = {
            subset: paired
            for subset, names in both.items()
            if (paired := _paired(reader.read(names[0]), reader.read(names[1]))) is not None
        }
        if both:
            found.append(
                Comparison(
                    setting,
                    {subset: _difference(paired) for subset, paired in pairs.items()},
                    _mean(list(pairs.values())) if len(pairs) > 1 else None,
                    tuple(subset for subset in both if subset not in pairs),
                    _engines(plan, list(both.values())),
                )
            )
    return tuple(found)


def sides(plan: PlanFile) -> tuple[Side, ...]:
    """Everything of a plan that can be compared, in the plan's order."""
    return tuple(dict.fromkeys(Side(cell.train_id, cell.eval_bits) for cell in plan.evals.values()))


def _asked(plan: PlanFile, side: Side) -> dict[Setting, dict[str, str]]:
    """Score id by setting and subset, under the primary metrics."""
    found: dict[Setting, dict[str, str]] = {}
    for score_id, score in plan.scores.items():
        cell = plan.evals[score.eval_id]
        own = (cell.train_id, cell.eval_bits) == (side.train_id, side.eval_bits)
        if own and plan.primary_metrics.get(cell.task) == score.metric:
            for setting in settings_of(plan, score_id):
                found.setdefault(setting, {})[cell.subset] = score_id
    return found


def _paired(a: ItemScores | None, b: ItemScores | None) -> _Paired | None:
    if a is None or b is None:
        return None
    place = {name: position for position, name in enumerate(b.ids)}
    shared = [position for position, name in enumerate(a.ids) if name in place]
    if not shared:
        return None
    ids = [a.ids[position] for position in shared]
    return _Paired(
        ids,
        [a.clusters[position] for position in shared],
        a.scores[shared],
        b.scores[[place[name] for name in ids]],
    )


def _difference(paired: _Paired) -> Difference:
    return Difference(
        float(paired.a.mean()),
        float(paired.b.mean()),
        paired_difference(paired.b, paired.a, paired.clusters),
    )


def _mean(pairs: Sequence[_Paired]) -> Difference:
    joined = linked([(paired.ids, paired.clusters) for paired in pairs])
    return Difference(
        float(np.mean([paired.a.mean() for paired in pairs])),
        float(np.mean([paired.b.mean() for paired in pairs])),
        macro(
            [
                (paired.b - paired.a, [joined[cluster] for cluster in paired.clusters])
                for paired in pairs
            ],
            bounds=DIFFERENCE,
        ),
    )


def _engines(plan: PlanFile, both: Sequence[tuple[str, str]]) -> str:
    """ "A builtin in bfloat16, B server in float16"; "" where they are the same."""

    def told(cell: EvalCell) -> str:
        return f"{cell.engine} in {cell.compute_dtype}"

    cells = [[plan.evals[plan.scores[pair[side]].eval_id] for pair in both] for side in (0, 1)]
    a, b = (", ".join(sorted({told(cell) for cell in side})) for side in cells)
    return "" if a == b else f"A {a}, B {b}"
