"""Scores of a store as matrices: one for all cells that were asked the same items.

The paper's grid has 23 million scores. As rows with the names of their cell and item they take
minutes and gigabytes; as matrices seconds and 184 MB.

Letters in shapes: n items, k cells.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from maple.analysis.asked import Items, answered, items_of, places
from maple.analysis.estimates import Floats, Integers
from maple.errors import StoreError
from maple.records import ScoreCell
from maple.store import PlanFile, Store

# What a mean of exact fractions may be off by.
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Block:
    """Scores of every cell that was asked the same items of one subset, under one metric.

    Attributes:
        items: hash of the items' content.
        metric, version: how the answers were scored.
        eval_ids: k, in the plan's order.
        example_ids, cluster_ids: n, in the order of the items.
        n_choices: [n], 0 for generation.
        scores: [k, n], 0 to 1; NaN for items that a cell has not answered, which are the last ones
            unless somebody else wrote the file.
        answered: [k], how many items each cell has answered, at least 1.
    """

    task: str
    subset: str
    items: str
    metric: str
    version: int
    eval_ids: tuple[str, ...]
    example_ids: tuple[str, ...]
    cluster_ids: tuple[str, ...]
    n_choices: Integers
    scores: Floats
    answered: Integers


def blocks(store: Store, plan: PlanFile) -> tuple[Block, ...]:
    """All scores of the plan's eval cells, in the plan's order.

    Cells without finished answers and cells that were not scored are left out. Within the plan's
    limit: cells that were answered further are cut to the same items.

    Raises:
        StoreError: a file cannot be read, or a score belongs to no stored item, is no number from
            0 to 1, or is there twice.
    """
    evals = answered(store, plan.evals)
    groups: dict[tuple[str, str, str, str, int], dict[str, ScoreCell]] = {}
    for score_id, score in plan.scores.items():
        if score.eval_id in evals:
            cell = evals[score.eval_id]
            key = cell.task, cell.subset, cell.items, score.metric, score.version
            groups.setdefault(key, {})[score_id] = score
    found = []
    for cells in groups.values():
        asked = evals[next(iter(cells.values())).eval_id]
        one = block(store, plan, cells, items_of(store, asked))
        found += [one] if one is not None else []
    return tuple(found)


def block(
    store: Store, plan: PlanFile, cells: Mapping[str, ScoreCell], items: Items
) -> Block | None:
    """The scores of some score cells whose answers are finished.

    Args:
        cells: by id; of the same items, subset and metric.
        items: theirs.

    Returns:
        None where none was scored.

    Raises:
        StoreError: as `blocks`.
    """
    scored, stacked = store.stacked_scores(cells)
    if not stacked.table.height:
        return None
    first = cells[scored[0]]
    asked = plan.evals[first.eval_id]
    at, values = places(stacked, items, asked, "scores"), stacked.table["score"].to_numpy()
    strange = np.flatnonzero(~((values > -_ROUNDING) & (values < 1 + _ROUNDING)))
    if len(strange):
        row = int(strange[0])
        raise StoreError(
            f"{stacked.paths[stacked.files[row]]}: has no number from 0 to 1 as the score of item "
            f"{stacked.table['example_id'][row]!r}",
            "delete the file and score again",
        )
    size = min(plan.limit or len(items.example_ids), len(items.example_ids))
    within = at < size
    matrix = np.full((len(scored), size), np.nan)
    matrix[stacked.files[within], at[within]] = values[within]
    counts = size - np.isnan(matrix).sum(axis=1)
    twice = np.flatnonzero(counts < np.bincount(stacked.files[within], minlength=len(scored)))
    if len(twice):
        raise StoreError(
            f"{stacked.paths[int(twice[0])]}: scores an item twice",
            "delete the file and score again",
        )
    kept = np.flatnonzero(counts)
    return Block(
        task=asked.task,
        subset=asked.subset,
        items=asked.items,
        metric=first.metric,
        version=first.version,
        eval_ids=tuple(cells[scored[row]].eval_id for row in kept),
        example_ids=items.example_ids[:size],
        cluster_ids=items.cluster_ids[:size],
        n_choices=items.n_choices[:size],
        scores=matrix if len(kept) == len(matrix) else matrix[kept],
        answered=counts[kept],
    )
