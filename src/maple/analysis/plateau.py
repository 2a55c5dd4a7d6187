"""Where more rank stops paying: a line with one bend over log2 r.

The bend is at one of the ranks between the first and the last, wherever the fit is best; its
interval and that of the slope behind it come from refitting resamples of the items to which the
chance of adapters is added, so that a bend that could be elsewhere has a wide interval (Muggeo 2003
on such fits; here the candidates are few enough to try all).

Letters in shapes: a adapters, b resamples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from maple.analysis.effects import Effect, Variance, design
from maple.analysis.estimates import Floats, Replicates
from maple.analysis.observed import Means, arm, doublings

_SEED = 0


@dataclass(frozen=True, slots=True)
class Bend:
    """A fitted line with a bend.

    Attributes:
        at: rank of the bend.
        low, high: ranks between which 95 % of the resamples have it.
        before, after: slopes, points a doubling of r.
        ranks: that were trained.
    """

    at: int
    low: int
    high: int
    before: Effect
    after: Effect
    ranks: tuple[int, ...]


def bend(means: Means) -> Bend | str:
    """Fit the line to the gains of adapters that have a rank.

    Returns:
        The line, or why there is none: words that end a sentence.
    """
    ranks = sorted({cell.r for cell in means.cells if cell.r})
    if len(ranks) < 4:
        return f"a bend takes four ranks, and the study has {len(ranks)}"
    dose = np.array([doublings(cell.r) for cell in means.cells])
    others = design(
        [[doublings(bits) for _, bits in means.adapters], [arm(cell) for cell in means.cells]]
    )
    bends = [float(np.log2(rank)) for rank in ranks[1:-1]]
    columns = [
        np.column_stack([np.ones(len(dose)), dose, np.maximum(0, dose - at), others])
        for at in bends
    ]
    free = len(dose) - int(np.linalg.matrix_rank(columns[0])) - 1
    if free < 1:
        return f"too few adapters to tell chance by: {len(dose)}"
    place, slopes, left = _best(columns, means.values[:, None])
    chance = float(left[0]) / free
    generator = np.random.default_rng(_SEED)
    moved = means.replicates + generator.normal(0.0, chance**0.5, means.replicates.shape)
    places, again, _ = _best(columns, moved)
    low, high = np.quantile(places, [0.025, 0.975], method="nearest")
    before, after = (
        Effect(
            float(slopes[side, 0]),
            (Variance("items and adapters", float(again[side].var(ddof=1)), free),),
            len(dose),
        )
        for side in (0, 1)
    )
    inner = ranks[1:-1]
    return Bend(inner[place[0]], inner[int(low)], inner[int(high)], before, after, tuple(ranks))


def _best(columns: Sequence[Floats], values: Floats | Replicates) -> tuple[Floats, Floats, Floats]:
    """Of each column of values the best bend, the slopes before and behind it, what is left.

    Args:
        columns: of each candidate, [a, p]: mean, dose, dose behind the bend, the rest.
        values: [a, b].

    Returns:
        Place of the candidate [b], slopes [2, b], sum of squares [b].
    """
    fitted = [np.linalg.lstsq(one, values, rcond=None)[0] for one in columns]
    left = np.stack(
        [
            ((values - one @ line) ** 2).sum(axis=0)
            for one, line in zip(columns, fitted, strict=True)
        ]
    )
    place = left.argmin(axis=0)
    every = np.stack([np.stack([line[1], line[1] + line[2]]) for line in fitted])
    at = np.arange(values.shape[1])
    return place, every[place, :, at].T, left[place, at]
