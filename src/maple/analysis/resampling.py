"""One benchmark's scores under one matrix of weights, so that resamples may be subtracted.

Letters in shapes: n items, c clusters, b resamples, k cells.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from maple.analysis.blocks import Block
from maple.analysis.estimates import (
    LEVEL,
    RESAMPLES,
    SCORE,
    Estimate,
    Floats,
    Integers,
    Replicates,
    draw,
    effective,
    intervals,
)
from maple.analysis.significance import flip_test

Key = tuple[str, str]
"""Eval id and metric."""

Mask = npt.NDArray[np.bool_]

SEED = 0
"""Of the resamples and the flips of every study: the same answers give the same report."""


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean over items.

    Attributes:
        replicates: its resamples, [b].
        shares: what each cluster of the benchmark contributes to it, [c]; their sum is `value`.
        sizes: items of each cluster, [c].
        n: items.
        told: whether there are clusters enough for an interval.
    """

    value: float
    replicates: Replicates
    shares: Floats
    sizes: Floats
    n: int
    told: bool


class Resampled:
    """The cells of one benchmark, with their resamples.

    Attributes:
        means: of every cell's scores.
        deltas: of its differences to the untuned base, over the items that both answered.

    Args:
        found: its blocks.
        bases: from `untuned`.
        resamples: bootstrap resamples.
    """

    def __init__(self, found: Sequence[Block], bases: Mapping[str, str], resamples: int) -> None:
        self.bases = bases
        joined = linked([(block.example_ids, block.cluster_ids) for block in found])
        names = sorted(set(joined.values()))
        place = {name: position for position, name in enumerate(names)}
        self.count = len(names)
        # Each item's place among the clusters of the benchmark.
        self.positions = [
            np.array([place[joined[name]] for name in block.cluster_ids]) for block in found
        ]
        self.weights = draw(self.count, resamples, SEED).astype(np.float32)
        self.means: dict[Key, Mean] = {}
        self.deltas: dict[Key, Mean] = {}
        for block, positions in zip(found, self.positions, strict=True):
            self._measure(block, positions)

    def _measure(self, block: Block, positions: Integers) -> None:
        """Means and deltas of a block's cells."""
        valid = ~np.isnan(block.scores)
        rows = {name: row for row, name in enumerate(block.eval_ids)}
        for mask, members in _alike(valid):
            drawn = self._means(block.scores[members][:, mask], positions[mask])
            for row, one in zip(members, drawn, strict=True):
                self.means[block.eval_ids[row], block.metric] = one
        pairs = [
            (row, rows[base])
            for name, row in rows.items()
            if (base := self.bases.get(name)) is not None and base in rows
        ]
        if not pairs:
            return
        own, untuned = (np.array(side) for side in zip(*pairs, strict=True))
        for mask, members in _alike(valid[own] & valid[untuned]):
            if not mask.any():
                continue
            differences = block.scores[own[members]] - block.scores[untuned[members]]
            drawn = self._means(differences[:, mask], positions[mask])
            for row, one in zip(own[members], drawn, strict=True):
                self.deltas[block.eval_ids[row], block.metric] = one

    def _means(self, scores: Floats, positions: Integers) -> Iterator[Mean]:
        """Means over the same items of several cells, [k, n] scores."""
        order = np.argsort(positions, kind="stable")
        clusters, starts = np.unique(positions[order], return_index=True)
        totals = np.add.reduceat(scores[:, order], starts, axis=1)
        sizes = np.diff(np.append(starts, len(positions))).astype(np.float64)
        weights = self.weights[:, clusters]
        drawn = totals.astype(np.float32) @ weights.T
        items = weights @ sizes.astype(np.float32)
        # Resamples without any of the items say nothing about them.
        with np.errstate(invalid="ignore", divide="ignore"):
            replicates = drawn / np.where(items > 0, items, np.nan)
        whole = np.zeros(self.count)
        whole[clusters] = sizes
        for values, own, of_cell in zip(scores, totals, replicates, strict=True):
            shares = np.zeros(self.count)
            shares[clusters] = own / len(values)
            yield Mean(float(values.mean()), of_cell, shares, whole, len(values), len(clusters) > 1)


def averaged(means: Sequence[Mean]) -> Mean:
    """The mean of means, each weighing the same."""
    return Mean(
        float(np.mean([one.value for one in means])),
        np.mean([one.replicates for one in means], axis=0),
        np.mean([one.shares for one in means], axis=0),
        np.sum([one.sizes for one in means], axis=0),
        sum(one.n for one in means),
        all(one.told for one in means),
    )


def estimates(means: Sequence[Mean], bounds: tuple[float, float]) -> list[Estimate]:
    """Means with their intervals, in that order.

    Args:
        bounds: what each of them can be.
    """
    told = [one for one in means if one.told]
    ends: Iterator[tuple[float, float]] = iter(())
    if told:
        low, high = intervals(
            np.array([one.value for one in told]),
            np.stack([one.replicates for one in told]),
            np.array([effective(one.sizes) for one in told]),
            bounds=bounds,
        )
        ends = iter(zip(low.tolist(), high.tolist(), strict=True))
    found = []
    for one in means:
        low_end, high_end = next(ends) if one.told else (None, None)
        clusters = int(np.count_nonzero(one.sizes))
        found.append(Estimate(one.value, low_end, high_end, one.n, clusters))
    return found


def p_values(deltas: Sequence[Mean]) -> list[float | None]:
    """Two-sided ones by sign flips; None where there are no clusters enough."""
    if not deltas:
        return []
    found = flip_test(np.stack([one.shares for one in deltas]), SEED)
    return [float(p) if one.told else None for p, one in zip(found, deltas, strict=True)]


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
    resamples: int = RESAMPLES,
    seed: int = SEED,
    level: float = LEVEL,
    bounds: tuple[float, float] = SCORE,
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
        bounds: what a score can be.

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
    drawn = draw(len(names), resamples, seed) @ totals
    sums, sizes = drawn[:, : len(parts)], drawn[:, len(parts) :]
    whole = (sizes > 0).all(axis=1)
    means = (sums[whole] / sizes[whole]).mean(axis=1)
    group = effective(totals[:, len(parts) :].sum(axis=1))
    low, high = intervals(
        np.array([value]), means[None], np.array([group]), level=level, bounds=bounds
    )
    return Estimate(value, float(low[0]), float(high[0]), items, len(names))


def _alike(valid: Mask) -> Iterator[tuple[Mask, Integers]]:
    """Rows that have the same items, with the mask of these."""
    groups: dict[bytes, list[int]] = {}
    for row, mask in enumerate(valid):
        groups.setdefault(mask.tobytes(), []).append(row)
    for rows in groups.values():
        yield valid[rows[0]], np.array(rows)
