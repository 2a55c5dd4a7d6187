"""What a doubling of the rank, or of the bits, does to the score, by group of languages.

A mixed model of cell means. Fixed: a mean for every subset of every task and base, what the arms
of the study (source, template, method, learning rate) add to it in each task, and a slope for each
group in each task. A group's slope is the mean of its own over the tasks that it was asked in, each
weighing the same: one slope for all tasks would have what a task does to one group pull at the
others, wherever tasks are asked in different languages. Random: adapters, adapters in each task,
and how much each language's slope differs from its group's. Items come in by the bootstrap: the
model's slopes of each resample. What the items of different languages share is in neither the
adapters' nor the languages' variance, and what they do not share is in both: the intervals are
rather too wide than too narrow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from maple.analysis.blocks import Block
from maple.analysis.effects import Effect, Variance, items
from maple.analysis.estimates import Floats
from maple.analysis.mixed import Fit, Term, fit, independent, term
from maple.analysis.observed import Observation, Observed, arm

Group = Callable[[Observation], str | None]

RANK, BITS = "rank", "bits"

ANSWERS = 20_000
"""Single answers that a model is fitted to at most."""

LEAST_ITEMS = 10
"""Items of a subset that it takes to be in that sample, where there are enough subsets."""

MOST_ITEMS = 300
"""Items of all subsets together: each is a random effect, and the cost goes by their cube."""


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
    """Fit the model to cell means.

    Args:
        observed: whose panel the observations point into.
        wanted: of adapters with a rank, answering in the bits they were trained in.
        group: of each observation; None leaves it out.
        languages_vary: whether the languages stand for others. If not, the slopes are those of
            these very languages.

    Returns:
        The slopes, or why there are none: words that end a sentence.
    """
    model = _model(wanted, group, languages_vary=languages_vary)
    if isinstance(model, str):
        return model
    values, replicates = observed.points(model.kept)
    try:
        found = fit(values, model.fixed, model.terms, model.strata)
    except ValueError as error:
        return str(error)
    again = found.again(replicates)
    clusters = observed.groups(model.kept)
    resampled = {name: items(share @ again, clusters) for name, share in model.shares.items()}
    return model.slopes(found, resampled)


@dataclass(frozen=True, slots=True)
class ItemSlopes:
    """Slopes from single answers: a check on those from cell means.

    Attributes:
        answers: how many were fitted.
        items: of each subset, the first ones.
        subsets: how many, spread over all.
    """

    slopes: Slopes
    answers: int
    items: int
    subsets: int


def item_slopes(
    observed: Observed, wanted: Sequence[Observation], group: Group, scored: Sequence[Block]
) -> ItemSlopes | str:
    """Fit the model to single answers of a sample: items and translated items vary, too.

    All answers of a study are out of reach, so the sample is `ANSWERS` at most: the first items of
    every subset, or of evenly spaced ones. Right-or-wrong answers are taken as they are (a linear
    probability model), so that the slopes are points.

    Args:
        observed, wanted, group: as for `slopes`.
        scored: the study's item scores.

    Returns:
        The slopes, or why there are none: words that end a sentence.
    """
    chosen, number = _sample(wanted, group)
    model = _model(chosen, group, languages_vary=True)
    if isinstance(model, str):
        return model
    places = {
        (name, block.metric): (block, row)
        for block in scored
        for row, name in enumerate(block.eval_ids)
    }
    keys = {row: key for key, row in observed.panel.rows.items()}
    values, rows, shared, own = [], [], [], []
    for at, one in enumerate(model.kept):
        block, row = places[keys[one.row]]
        for item in np.flatnonzero(~np.isnan(block.scores[row]))[:number]:
            values.append(100 * block.scores[row, item])
            rows.append(at)
            shared.append((one.unit[0].task, block.example_ids[item]))
            own.append((one.unit, block.example_ids[item]))
    wide = np.array(rows)
    terms = [Term(one.name, one.columns[wide]) for one in model.terms]
    terms += [term("item", shared), term("item in language", own)]
    try:
        found = fit(np.array(values), model.fixed[wide], terms, [model.strata[at] for at in rows])
    except ValueError as error:
        return str(error)
    subsets = len({one.unit for one in model.kept})
    return ItemSlopes(model.slopes(found, {}), len(values), number, subsets)


@dataclass(frozen=True, slots=True)
class _Model:
    """What a fit takes, for m observations.

    Attributes:
        fixed: [m, p], the slopes first.
        shares: what each slope of `fixed` weighs in a group's, [p], by what is doubled and group.
        freedom: degrees of freedom that adapters and languages leave.
    """

    kept: list[Observation]
    fixed: Floats
    shares: dict[tuple[str, str], Floats]
    terms: list[Term]
    strata: list[object]
    freedom: int
    ranks: tuple[int, ...]
    bits: tuple[int, ...]
    groups: list[str]

    def slopes(self, found: Fit, resampled: Mapping[tuple[str, str], Variance]) -> Slopes:
        """The fitted slopes; `resampled` is what items add to the variance of each."""
        effects = {}
        for name, share in self.shares.items():
            known = float(share @ found.covariance @ share)
            variances = [Variance("adapters and languages", known, self.freedom)]
            variances += [resampled[name]] if name in resampled else []
            effects[name] = Effect(
                float(share @ found.fixed), tuple(variances), self.groups.count(name[1])
            )
        return Slopes(
            effects,
            self.ranks,
            self.bits,
            len({one.adapter for one in self.kept}),
            len({one.language.key for one in self.kept}),
            found.deviations,
            found.residual,
        )


def _model(wanted: Sequence[Observation], group: Group, *, languages_vary: bool) -> _Model | str:
    """The model of some observations, or why there is none."""
    kept = [one for one in wanted if group(one) is not None and one.cell.r and one.as_trained]
    if not kept:
        return "no adapter with a rank has answered in the languages compared"
    adapters = {one.adapter: one.cell for one in kept}
    ranks = sorted({cell.r or 0 for cell in adapters.values()})
    bits = sorted({bits for _, bits in adapters})
    of_each = [str(group(one)) for one in kept]
    groups = sorted(set(of_each))
    languages = {one.language.key for one in kept}
    axes = [(RANK, ranks), (BITS, bits)]
    doubled = {
        name: np.log2([_dose(one, name) for one in kept])
        for name, levels in axes
        if len(levels) > 1
    }
    if not doubled:
        return "the study has one rank and one precision"
    settings = [one.unit[0] for one in kept]
    columns: list[Floats] = []
    own: dict[tuple[str, str], list[int]] = {}
    for (name, dose), one_group in product(doubled.items(), groups):
        for setting in dict.fromkeys(settings):
            inside = [
                (theirs, asked) == (one_group, setting)
                for theirs, asked in zip(of_each, settings, strict=True)
            ]
            if any(inside):
                own.setdefault((name, one_group), []).append(len(columns))
                columns.append(dose * np.array(inside))
    strata: list[object] = [(one.unit, one.cell.base_name) for one in kept]
    every = np.column_stack([*columns, _arms(kept)])
    told = independent(every, strata)
    if told[: len(columns)] != list(range(len(columns))):
        return "ranks and bits go with each other or with the training sets"
    free = len(adapters) - len({arm(cell) for cell in adapters.values()}) - len(doubled)
    if free < 1:
        return f"too few adapters to tell chance by: {len(adapters)}"
    terms = [term("adapter", [one.adapter for one in kept])]
    if len(set(settings)) > 1:
        terms.append(term("adapter in task", [(one.adapter, one.unit[0]) for one in kept]))
    spare = len(languages) - len(groups)
    if languages_vary:
        if spare < 1:
            return (
                f"too few languages to tell chance by: {len(languages)}, in {len(groups)} of the "
                "groups compared"
            )
        terms += _of_languages(kept, doubled)
    freedom = min(free, spare) if languages_vary else free
    shares = {name: np.zeros(len(told)) for name in own}
    for key, places in own.items():
        shares[key][places] = 1 / len(places)
    return _Model(
        kept, every[:, told], shares, terms, strata, freedom, tuple(ranks), tuple(bits), of_each
    )


def _sample(wanted: Sequence[Observation], group: Group) -> tuple[list[Observation], int]:
    """Observations whose answers are fitted one by one, and how many answers of each."""
    kept = [one for one in wanted if group(one) is not None]
    units = list(dict.fromkeys(one.unit for one in kept))
    adapters = len({one.adapter for one in kept})
    if not units:
        return [], 0
    affordable = min(ANSWERS // (adapters * LEAST_ITEMS), MOST_ITEMS // LEAST_ITEMS)
    most = max(1, min(len(units), affordable))
    spaced = {units[at * len(units) // most] for at in range(most)}
    number = max(1, min(ANSWERS // (adapters * most), MOST_ITEMS // most))
    return [one for one in kept if one.unit in spaced], number


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
