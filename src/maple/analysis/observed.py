"""The finished cells of a study as observations: what was asked of which adapter, in what language.

Letters in shapes: m observations, a adapters, b resamples.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from maple.analysis.effects import Effect, average, design
from maple.analysis.estimates import Floats, Replicates, intervals
from maple.analysis.results import Results, Setting, settings_of, untuned
from maple.languages import ENGLISH, Language, language
from maple.records import TrainCell
from maple.store import PlanFile

LOW, HIGH, IN_ENGLISH = "low", "high", "English"
"""Groups of languages: resource classes 0 to 3, 4 and 5 without English, English."""

Adapter = tuple[str, int]
"""Train id and precision while answering."""

Unit = tuple[Setting, str]
"""One subset under one setting."""

Span = tuple[float | None, float | None]
"""Ends of an interval; None below two clusters."""

_Name = TypeVar("_Name", bound=Hashable)
_Member = TypeVar("_Member")


@dataclass(frozen=True, slots=True)
class Observation:
    """A cell mean of an adapter, under its task's primary metric.

    Attributes:
        row: of the panel.
        base: row of the untuned base asked the same items in the same way; None where it is not
            there.
        n: items answered.
    """

    unit: Unit
    language: Language
    adapter: Adapter
    cell: TrainCell
    row: int
    base: int | None
    n: int

    @property
    def group(self) -> str | None:
        """LOW, HIGH or IN_ENGLISH; None where `group_of` knows none."""
        return group_of(self.language)

    @property
    def natural(self) -> bool:
        """Whether people speak the language: neither derived from one nor translated by machine."""
        return "-x-" not in self.language.key

    @property
    def as_trained(self) -> bool:
        """Whether it answered in the precision that it was trained in."""
        return self.cell.train_bits == self.adapter[1]


@dataclass(frozen=True, slots=True)
class Means:
    """One number for each of several adapters, over the same units, in points of 100.

    Attributes:
        adapters, cells: what each number belongs to.
        values: [a].
        replicates: their resamples, [a, b].
        groups: effective number of clusters behind them.
        units: how many cell means went into each.
        left_out: adapters that lack some of the units.
    """

    adapters: tuple[Adapter, ...]
    cells: tuple[TrainCell, ...]
    values: Floats
    replicates: Replicates
    groups: float
    units: int
    left_out: int

    def design(self) -> Floats:
        """What the adapters differ in by the study's intention, [a, p]."""
        return intended(self.cells, [bits for _, bits in self.adapters])

    def mean(self) -> Effect:
        """Over the adapters, as one would see it with other seeds and other items."""
        return average(self.values, self.replicates, self.groups, self.design())

    def at(self, places: Sequence[int]) -> Means:
        """Those of some adapters, in the order of `places`."""
        kept = list(places)
        return replace(
            self,
            adapters=tuple(self.adapters[place] for place in kept),
            cells=tuple(self.cells[place] for place in kept),
            values=self.values[kept],
            replicates=self.replicates[kept],
        )


def group_of(spoken: Language) -> str | None:
    """The group that a language counts to.

    None where its resource class is unknown, and for derived languages: how much is written in
    English says nothing about English turned round.
    """
    if spoken.key == ENGLISH:
        return IN_ENGLISH
    if spoken.resource_class is None or "-x-" in spoken.key:
        return None
    return LOW if spoken.resource_class <= 3 else HIGH


def arm(cell: TrainCell) -> tuple[object, ...]:
    """What an adapter differs in from others beside rank, bits and seed."""
    return (
        cell.base_name,
        cell.source,
        cell.mixture,
        cell.template_name,
        cell.method,
        cell.learning_rate,
        cell.options,
        cell.transform,
    )


def intended(cells: Sequence[TrainCell], bits: Sequence[int | None]) -> Floats:
    """Columns of what adapters differ in by the study's intention, [a, p].

    Ranks and bits count by doublings.

    Args:
        cells: of the adapters.
        bits: theirs.
    """
    return design(
        [
            [doublings(cell.r) for cell in cells],
            [doublings(one) for one in bits],
            [arm(cell) for cell in cells],
        ]
    )


def doublings(level: int | None) -> float:
    """log2 of a rank or of bits; 0 where there is none."""
    return float(np.log2(level)) if level else 0.0


def whole(
    found: Mapping[_Name, Sequence[_Member]], unit: Callable[[_Member], Unit]
) -> dict[_Name, Sequence[_Member]]:
    """Those that have the most units, and the same ones: means over others do not compare.

    Of several sets of as many units the most frequent one counts.
    """
    units = {name: frozenset(map(unit, members)) for name, members in found.items()}
    times = Counter(units.values())
    most = max(times, key=lambda one: (len(one), times[one]))
    return {name: found[name] for name, own in units.items() if own == most}


class Observed:
    """A study's observations, its untuned bases left out.

    Args:
        plan: the study.
        results: its estimates.
    """

    def __init__(self, plan: PlanFile, results: Results) -> None:
        self.plan = plan
        self.panel = results.panel
        bases = untuned(plan)
        rows = self.panel.rows
        answered = {key: one.score.n for key, one in results.cells.items()}
        found = []
        for score_id, score in plan.scores.items():
            asked = plan.evals[score.eval_id]
            cell = plan.train[asked.train_id]
            key = score.eval_id, score.metric
            primary = plan.primary_metrics.get(asked.task) == score.metric
            if cell.method == "none" or not primary or key not in rows:
                continue
            spoken = language(plan.languages[f"{asked.task}/{asked.subset}"])
            of_base = bases.get(score.eval_id, ""), score.metric
            same = of_base in rows and answered[of_base] == answered[key]
            base = rows[of_base] if same else None
            # A prompt of several names is one prompt.
            setting = settings_of(plan, score_id)[0]
            adapter = asked.train_id, asked.eval_bits
            unit = setting, asked.subset
            found.append(Observation(unit, spoken, adapter, cell, rows[key], base, answered[key]))
        self.all = tuple(found)

    def judged(self) -> Observed:
        """With the observations alone that verdicts may rest on.

        An adapter that answers in several precisions counts once, in the one that it was trained
        in, or else in the most bits: its luck is one, however often it is looked at. Cells of a
        single cluster are left out, since nothing tells how far they can be trusted, and so are
        those that have answered fewer items than others of their subset: means over other items
        do not compare.
        """
        precisions = _precisions(self.plan)
        kept = [
            one
            for one in self.all
            if one.adapter[1] == precisions[one.adapter[0]] and self.panel.groups[one.row] > 1
        ]
        most: dict[Unit, int] = {}
        for one in kept:
            most[one.unit] = max(one.n, most.get(one.unit, 0))
        found = copy.copy(self)
        found.all = tuple(one for one in kept if one.n == most[one.unit])
        return found

    def compared(self) -> list[Observation]:
        """Those whose untuned base has answered the same items."""
        return [one for one in self.all if one.base is not None]

    def points(self, observations: Sequence[Observation]) -> tuple[Floats, Replicates]:
        """Scores in points, [m], and their resamples, [m, b]."""
        rows = [one.row for one in observations]
        return 100 * self.panel.values[rows], 100 * self.panel.replicates[rows]

    def mean_points(self, observations: Sequence[Observation]) -> tuple[float, Replicates]:
        """Their mean score in points, and its resamples, [b]."""
        values, replicates = self.points(observations)
        return float(values.mean()), replicates.mean(axis=0)

    def gains(self, observations: Sequence[Observation]) -> tuple[Floats, Replicates]:
        """Differences to the untuned base in points, [m], and their resamples, [m, b]."""
        own = [one.row for one in observations]
        base = [one.base for one in observations if one.base is not None]
        values, replicates = self.panel.values, self.panel.replicates
        return 100 * (values[own] - values[base]), 100 * (replicates[own] - replicates[base])

    def groups(self, observations: Iterable[Observation]) -> float:
        """The smallest effective number of clusters behind any of them."""
        return float(min(self.panel.groups[one.row] for one in observations))

    def gains_of_adapters(self, wanted: Callable[[Observation], bool]) -> Means | None:
        """Mean gain of each adapter: over languages within a setting, then over settings.

        Adapters that lack some of the units that others have are left out, since means over other
        units do not compare.

        Args:
            wanted: which observations to take; the same units for every adapter.

        Returns:
            None where no adapter has any.
        """
        kept = [one for one in self.compared() if wanted(one)]
        return self._by_adapter(kept)

    def gains_in_each(
        self, wanted: Callable[[Observation], bool]
    ) -> dict[str, tuple[float, Replicates]]:
        """Mean gain over all adapters and settings by language key, in points, with resamples."""
        by_language: dict[str, list[Observation]] = {}
        for one in self.compared():
            if wanted(one):
                by_language.setdefault(one.language.key, []).append(one)
        found = {}
        for key, observations in by_language.items():
            values, replicates = self.gains(observations)
            found[key] = float(values.mean()), replicates.mean(axis=0)
        return found

    def weighted_gain(
        self, observations: Sequence[Observation], weights: Floats
    ) -> tuple[float, Replicates]:
        """A weighted sum of their gains, in points, and its resamples, [b].

        Args:
            weights: [m].
        """
        own = [one.row for one in observations]
        base = [one.base for one in observations if one.base is not None]
        values, replicates = self.panel.values, self.panel.replicates
        scaled = (100 * weights).astype(np.float32)
        drawn = scaled @ replicates[own] - scaled @ replicates[base]
        return float(100 * (weights @ (values[own] - values[base]))), drawn

    def _by_adapter(self, observations: Sequence[Observation]) -> Means | None:
        kept, left_out = complete(observations)
        if not kept:
            return None
        gained = [self.weighted_gain(found, shares(found)) for found in kept.values()]
        return Means(
            tuple(kept),
            tuple(found[0].cell for found in kept.values()),
            np.array([value for value, _ in gained]),
            np.stack([drawn for _, drawn in gained]),
            self.groups(one for found in kept.values() for one in found),
            len(next(iter(kept.values()))),
            left_out,
        )


def by_adapter(observations: Iterable[Observation]) -> dict[Adapter, list[Observation]]:
    """All observations of each adapter."""
    found: dict[Adapter, list[Observation]] = {}
    for one in observations:
        found.setdefault(one.adapter, []).append(one)
    return found


def complete(observations: Iterable[Observation]) -> tuple[dict[Adapter, list[Observation]], int]:
    """The adapters that have the same units, as many as possible, and how many lack some.

    Means over other units do not compare. Of several sets of equally many units, the one that
    most adapters have is taken.
    """
    of_adapter = by_adapter(observations)
    if not of_adapter:
        return {}, 0
    kept = whole(of_adapter, lambda one: one.unit)
    return {name: list(found) for name, found in kept.items()}, len(of_adapter) - len(kept)


def shares(observations: Sequence[Observation]) -> Floats:
    """Weights that make every setting count the same, and every language within it."""
    sizes: dict[Setting, int] = {}
    for one in observations:
        sizes[one.unit[0]] = sizes.get(one.unit[0], 0) + 1
    return np.array([1 / sizes[one.unit[0]] / len(sizes) for one in observations])


def ends(values: Floats, replicates: Replicates, groups: Floats) -> list[Span]:
    """Intervals of differences in points, as `estimates.intervals` has them.

    Args:
        values: [k].
        replicates: [k, b].
        groups: effective numbers of clusters, [k].
    """
    found: list[Span] = [(None, None)] * len(values)
    told = np.flatnonzero(groups > 1)
    if len(told):
        # What never varies has the interval of a share, which is of units of 1.
        low, high = intervals(values[told] / 100, replicates[told] / 100, groups[told])
        for place, at in enumerate(told):
            found[at] = float(100 * low[place]), float(100 * high[place])
    return found


def _precisions(plan: PlanFile) -> dict[str, int]:
    """The precision that each train cell counts in."""
    asked: dict[str, set[int]] = {}
    for one in plan.evals.values():
        asked.setdefault(one.train_id, set()).add(one.eval_bits)
    trained = {name: plan.train[name].train_bits for name in asked}
    return {
        name: own if (own := trained[name]) is not None and own in bits else max(bits)
        for name, bits in asked.items()
    }
