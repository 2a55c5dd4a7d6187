"""Adapters side by side: those alike but for one thing, and what chance does to their means."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from maple.analysis.effects import Effect, average, design
from maple.analysis.estimates import Replicates
from maple.analysis.observed import Means, Observation, Observed, Unit, doublings, whole
from maple.records import TrainCell

Pair = tuple[Observation, Observation]


class Beside(NamedTuple):
    """What two adapters must share to make a pair; the seed alone is chance."""

    r: int | None
    bits: int | None
    arm: tuple[object, ...]
    seed: int | None


def matched(
    observed: Observed,
    seen: Sequence[Observation],
    first: Callable[[TrainCell], bool],
    second: Callable[[TrainCell], bool],
    beside: Callable[[Observation], Beside],
) -> Effect | None:
    """Mean difference in points of adapters of two kinds that are alike beside.

    Args:
        seen: observations; scores, not gains, are compared.
        first, second: the kinds.
        beside: what must be equal for two adapters to make a pair.

    Returns:
        The first minus the second; None where no two are alike.
    """
    sides: list[dict[tuple[Beside, Unit], Observation]] = [{}, {}]
    for one in seen:
        for side, kind in zip(sides, (first, second), strict=True):
            if kind(one.cell):
                side[beside(one), one.unit] = one
    pairs: dict[Beside, list[Pair]] = {}
    for key, one in sides[0].items():
        if key in sides[1]:
            pairs.setdefault(key[0], []).append((one, sides[1][key]))
    if not pairs:
        return None
    kept = whole(pairs, lambda pair: pair[0].unit)
    found = [difference(observed, own) for own in kept.values()]
    columns = design(
        [
            [doublings(key.r) for key in kept],
            [doublings(key.bits) for key in kept],
            [key.arm for key in kept],
        ]
    )
    return average(
        np.array([value for value, _ in found]),
        np.stack([drawn for _, drawn in found]),
        observed.groups(one for own in kept.values() for one, _ in own),
        columns,
    )


def difference(observed: Observed, pairs: Sequence[Pair]) -> tuple[float, Replicates]:
    """Mean difference of some pairs in points, and its resamples, [b]."""
    own, drawn = observed.points([one for one, _ in pairs])
    other, drawn_other = observed.points([one for _, one in pairs])
    return float((own - other).mean()), (drawn - drawn_other).mean(axis=0)


def data_of(cell: TrainCell) -> str:
    """Names a training set; "" for adapters that do not say theirs."""
    return ", ".join(name for name in (cell.source, cell.mixture) if name)


def trained_here(observations: Iterable[Observation]) -> list[Observation]:
    """Those of adapters whose training set is known: the file of another one names no set."""
    return [one for one in observations if one.cell.method != "adapter"]


def trained_on(name: str) -> Callable[[TrainCell], bool]:
    """Whether an adapter has the training set of that name."""
    return lambda cell: data_of(cell) == name


def beside_data(one: Observation) -> Beside:
    """All that matters of an adapter but its training set."""
    cell = one.cell
    made = cell.base_name, cell.template_name, cell.method, cell.learning_rate, cell.options
    return Beside(cell.r, one.adapter[1], (*made, cell.transform, cell.train_bits), cell.seed)


def over(means: Means) -> str:
    """What a mean over adapters is over, in sentences."""
    text = f"Adapters: {len(means.adapters)}; cells of each: {means.units}."
    text += left_out(means.left_out)
    if means.mean().source("adapters") is None:
        text += " No two differ by chance alone, so other seeds may differ by more."
    return text


def left_out(adapters: int) -> str:
    """Of those that are not finished; "" for none."""
    return f" Left out, since not finished: {adapters}." if adapters else ""
