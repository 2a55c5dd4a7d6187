"""What a doubling of the rank, or of the bits, does to the score, by group of languages.

A mixed model of cell means. Fixed: a mean for every subset of every task and base, what the arms
of the study (source, template, method, learning rate) add to it in each task, and the slopes asked
for. Random: adapters, adapters in each task, and how much each language's slope differs from its
group's. Items come in by the bootstrap: the model's slopes of each resample. What the items of
different languages share is in neither the adapters' nor the languages' variance, and what they do
not share is in both: the intervals are rather too wide than too narrow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from maple.analysis.effects import Effect, Variance, items
from maple.analysis.estimates import Floats
from maple.analysis.mixed import Term, fit, independent, term
from maple.analysis.observed import Observation, Observed, arm

Group = Callable[[Observation], str | None]

RANK, BITS = "rank", "bits"


@dataclass(frozen=True, slots=True)
class Slopes:
    """Slopes by what is doubled and group, points a doubling.

    Attributes:
        effects: by (RANK or BITS, group).
        ranks, bits: what the adapters were trained at, ascending.
        adapters, languages: how many are behind them.
        deviations: standard deviation of each random effect, points.
        residual: of what is left, points.
    """

    effects: dict[tuple[str, str], Effect]
    ranks: tuple[int, ...]
    bits: tuple[int, ...]
    adapters: int
    languages: int
    deviations: dict[str, float]
    residual: float


def slopes(
    observed: Observed, wanted: Sequence[Observation], group: Group, *, languages_vary: bool = True
) -> Slopes | str:
    """Fit the model.

    Args:
        observed: whose panel the observations point into.
        wanted: of adapters with a rank, answering in the bits they were trained in.
        group: of each observation; None leaves it out.
        languages_vary: whether the languages stand for others. If not, the slopes are those of
            these very languages.

    Returns:
        The slopes, or why there are none: words that end a sentence.
    """
    kept = [one for one in wanted if group(one) is not None and one.cell.r and one.as_trained]
    if not kept:
        return "no adapter with a rank has answered"
    adapters = {one.adapter: one.cell for one in kept}
    ranks = sorted({cell.r or 0 for cell in adapters.values()})
    bits = sorted({bits for _, bits in adapters})
    groups = sorted({str(group(one)) for one in kept})
    languages = {one.language.key for one in kept}
    axes = [(RANK, ranks), (BITS, bits)]
    doubled = {
        name: np.log2([_dose(one, name) for one in kept])
        for name, levels in axes
        if len(levels) > 1
    }
    if not doubled:
        return "the study has one rank and one precision"
    columns, names = [], []
    for name, dose in doubled.items():
        for one_group in groups:
            columns.append(dose * [float(group(one) == one_group) for one in kept])
            names.append((name, one_group))
    strata = [(one.unit, one.cell.base_name) for one in kept]
    every = np.column_stack([*columns, _arms(kept)])
    fixed = every[:, independent(every, strata)]
    if fixed.shape[1] < len(columns) or not np.array_equal(
        fixed[:, : len(columns)], every[:, : len(columns)]
    ):
        return "ranks and bits go with each other or with the training sets"
    free = len(adapters) - len({arm(cell) for cell in adapters.values()}) - len(doubled)
    if free < 1:
        return f"too few adapters to tell chance by: {len(adapters)}"
    terms = [term("adapter", [one.adapter for one in kept])]
    settings = {one.unit[0] for one in kept}
    if len(settings) > 1:
        terms.append(term("adapter in task", [(one.adapter, one.unit[0]) for one in kept]))
    spare = len(languages) - len(groups)
    if languages_vary:
        if spare < 1:
            return (
                f"too few languages to tell chance by: {len(languages)}, in {len(groups)} of the "
                "groups compared"
            )
        terms += _of_languages(kept, doubled)
    values, replicates = observed.points(kept)
    try:
        found = fit(values, fixed, terms, strata)
    except ValueError as error:
        return str(error)
    again = found.again(replicates)
    clusters = observed.groups(kept)
    freedom = min(free, spare) if languages_vary else free
    effects = {
        name: Effect(
            float(found.fixed[place]),
            (
                Variance("adapters and languages", float(found.covariance[place, place]), freedom),
                items(again[place], clusters),
            ),
            sum(group(one) == name[1] for one in kept),
        )
        for place, name in enumerate(names)
    }
    return Slopes(
        effects,
        tuple(ranks),
        tuple(bits),
        len(adapters),
        len(languages),
        found.deviations,
        found.residual,
    )


def _dose(one: Observation, name: str) -> int:
    return (one.cell.r or 1) if name == RANK else one.adapter[1]


def _of_languages(kept: Sequence[Observation], doubled: dict[str, Floats]) -> list[Term]:
    keys = [one.language.key for one in kept]
    # Around its mean, so that the slope does not stand for the level, which strata have.
    return [term(f"{name} in language", keys, dose - dose.mean()) for name, dose in doubled.items()]


def _arms(kept: Sequence[Observation]) -> Floats:
    """Columns of what each arm adds in each setting, [m, any number]."""
    found: dict[object, list[int]] = {}
    for place, one in enumerate(kept):
        found.setdefault((arm(one.cell), one.unit[0]), []).append(place)
    columns = np.zeros((len(kept), len(found)))
    for column, places in enumerate(found.values()):
        columns[places, column] = 1.0
    return columns
