"""Means and paired differences of scores, with intervals that know which items belong together.

Questions about one passage stand or fall together, so what is resampled is the cluster, with all
its items (the cluster bootstrap: Cameron, Gelbach & Miller 2008; Davison & Hinkley 1997, section
3.8). A resample is a row of multiplicities, one per cluster; every quantity over the same items
and the same seed uses the same rows, so differences between quantities are paired by resample.

Letters in shapes: n items, c clusters, b resamples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

# Draws held in memory at a time: 8 MB as int64. Part of the recipe of nothing: the stream of random
# numbers does not depend on it.
_DRAWS_AT_ONCE = 1_000_000


@dataclass(frozen=True, slots=True)
class Estimate:
    """A quantity and its interval.

    Attributes:
        value: computed from the items as they are, not from the resamples; unit of the scores.
        low, high: ends of the interval; both None where fewer than two clusters were seen, since
            then nothing tells how much clusters differ. Never a width of zero for lack of data.
        n: items.
        clusters: distinct clusters among them.
    """

    value: float
    low: float | None
    high: float | None
    n: int
    clusters: int


def weights(clusters: Sequence[str], resamples: int, seed: int) -> Integers:
    """How often each cluster is drawn in each bootstrap resample.

    Args:
        clusters: cluster of each item, n names; repeated where items share one.
        resamples: rows to draw, at least 1.
        seed: of NumPy's default generator.

    Returns:
        Shape [b, c]: multiplicities >= 0, each row multinomial with sum c. Columns are the
        distinct names in ascending order, so the order of the items changes nothing.

    Raises:
        ValueError: no item, an item without a cluster, or `resamples` below 1.
    """
    return _draw(len(_index(clusters)[0]), resamples, seed)


def mean(
    scores: Sequence[float] | Floats,
    clusters: Sequence[str],
    *,
    resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Estimate:
    """Mean score over items, with a percentile interval over resampled clusters.

    Every item weighs the same, so a cluster weighs as much as it has items, in the value and in
    each resample. A percentile interval is too narrow where clusters are few: at a level of 0.95
    it covered 94 % of the time with 48 clusters of normal scores, 91 % with 20, 89 % with 10, 83 %
    with 5 (1000 simulations each). Show `clusters` beside it.

    Args:
        scores: one per item, n finite numbers; any unit.
        clusters: cluster of each item, n names, in the order of the scores.
        resamples: bootstrap resamples.
        seed: of the resamples; the same seed over the same clusters draws the same ones.
        level: coverage aimed at, between 0 and 1.

    Raises:
        ValueError: no item, unequal lengths, a score that is not finite, an item without a
            cluster, `resamples` below 1 or `level` not between 0 and 1.
    """
    if not 0 < level < 1:
        raise ValueError(f"level: got {level}, expected a number between 0 and 1")
    values = _finite("scores", scores, len(clusters))
    names, positions = _index(clusters)
    count = len(names)
    if resamples < 1:
        raise ValueError(f"resamples: got {resamples}, expected at least 1")
    value = float(values.mean())
    if count < 2:
        return Estimate(value, None, None, len(values), count)
    sums = np.bincount(positions, weights=values, minlength=count)
    sizes = np.bincount(positions, minlength=count)
    drawn = _draw(count, resamples, seed) @ np.column_stack([sums, sizes])
    # Sizes are at least 1 and every row draws c clusters, so no denominator is 0.
    means = drawn[:, 0] / drawn[:, 1]
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(value, float(low), float(high), len(values), count)


def paired_difference(
    a: Sequence[float] | Floats,
    b: Sequence[float] | Floats,
    clusters: Sequence[str],
    *,
    resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Estimate:
    """Mean of a minus b over the same items, with an interval as `mean`.

    Both sides of a resample hold the same items, so what makes an item hard for both cancels.

    Args:
        a, b: one score per item each, n finite numbers, the same items in the same order.
        clusters: cluster of each item, n names, in that order.
        resamples: bootstrap resamples.
        seed: of the resamples.
        level: coverage aimed at, between 0 and 1.

    Raises:
        ValueError: as `mean`, or a and b differ in length.
    """
    left = _finite("a", a, len(clusters))
    right = _finite("b", b, len(clusters))
    return mean(left - right, clusters, resamples=resamples, seed=seed, level=level)


def _finite(name: str, scores: Sequence[float] | Floats, items: int) -> Floats:
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 1 or len(values) != items:
        raise ValueError(f"{name}: got shape {list(values.shape)} for {items} clusters of items")
    if not np.isfinite(values).all():
        first = int(np.flatnonzero(~np.isfinite(values))[0])
        raise ValueError(f"{name}: got {values[first]} for item {first}, expected a finite number")
    return values


def _index(clusters: Sequence[str]) -> tuple[list[str], Integers]:
    """Distinct names in ascending order, and per item the position of its name among them."""
    if len(clusters) == 0:
        raise ValueError("clusters: got no item, expected at least one")
    for item, name in enumerate(clusters):
        if not name:
            raise ValueError(f"clusters: item {item} has none; an item on its own needs its own")
    names = sorted(set(clusters))
    place = {name: position for position, name in enumerate(names)}
    return names, np.fromiter((place[name] for name in clusters), np.int64, len(clusters))


def _draw(count: int, resamples: int, seed: int) -> Integers:
    """Multiplicities [b, c] of c draws with replacement from c clusters."""
    if resamples < 1:
        raise ValueError(f"resamples: got {resamples}, expected at least 1")
    generator = np.random.default_rng(seed)
    drawn = np.empty((resamples, count), dtype=np.int64)
    at_once = max(1, _DRAWS_AT_ONCE // count)
    # Counting uniform draws is the multinomial, several times faster than drawing binomials.
    for start in range(0, resamples, at_once):
        rows = min(at_once, resamples - start)
        picks = generator.integers(0, count, size=(rows, count))
        picks += np.arange(rows)[:, None] * count
        flat = np.bincount(picks.ravel(), minlength=rows * count)
        drawn[start : start + rows] = flat.reshape(rows, count)
    return drawn
