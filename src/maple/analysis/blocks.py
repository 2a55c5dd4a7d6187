"""Scores of many cells at once: one matrix for all that were asked the same items.

Letters in shapes: n items, k cells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from maple.analysis.estimates import Floats, Integers
from maple.analysis.rates import has_answers
from maple.errors import StoreError
from maple.records import EvalCell, ScoreCell
from maple.store import PlanFile, Record, Store

_READERS = 4
"""Threads that read files: opening one is mostly waiting, and Arrow holds no lock."""


@dataclass(frozen=True, slots=True)
class Block:
    """Scores of every cell that was asked the same items of one subset, under one metric.

    Attributes:
        items: content hash of the items.
        eval_ids: k cells, in the plan's order.
        example_ids, cluster_ids: of n items, in their fixed order.
        n_choices: of each item, [n]; 0 for generation.
        scores: [k, n], 0 to 1; NaN for items that a cell has not answered.
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


@dataclass(frozen=True, slots=True)
class _Items:
    ids: tuple[str, ...]
    column: pa.Array
    clusters: tuple[str, ...]
    choices: Integers


def blocks(
    store: Store, plan: PlanFile, records: Mapping[str, Record] | None = None
) -> tuple[Block, ...]:
    """The scores of all answered items of all cells of a plan, in its order.

    Within the plan's limit: cells that were answered further are cut to the same items. Cells
    without answers or scores are left out.

    Args:
        records: eval records by id, where the caller has read them.

    Raises:
        StoreError: a file cannot be read, or a score belongs to no stored item.
    """
    groups: dict[tuple[str, str, str, str, int], list[tuple[str, ScoreCell]]] = {}
    for score_id, score in plan.scores.items():
        cell = plan.evals[score.eval_id]
        record = (
            store.eval_record(score.eval_id, cell)
            if records is None
            else records.get(score.eval_id)
        )
        if has_answers(record):
            key = cell.task, cell.subset, cell.items, score.metric, score.version
            groups.setdefault(key, []).append((score_id, score))
    items: dict[str, _Items] = {}
    found = []
    with ThreadPoolExecutor(_READERS) as readers:
        for key, members in groups.items():
            cell = plan.evals[members[0][1].eval_id]
            if cell.items not in items:
                items[cell.items] = _items(store, plan, cell)
            tables = readers.map(lambda member: store.scores(*member), members)
            scored = [
                (member, table)
                for member, table in zip(members, tables, strict=True)
                if table is not None
            ]
            if scored:
                found.append(_block(store, key, items[cell.items], scored))
    return tuple(found)


def _items(store: Store, plan: PlanFile, cell: EvalCell) -> _Items:
    examples = store.items(cell.task, cell.subset, cell.items)
    ids = tuple(example.example_id for example in examples[: plan.limit])
    return _Items(
        ids,
        pa.array([example.example_id for example in examples], pa.string()),
        tuple(example.cluster_id for example in examples[: plan.limit]),
        np.array([len(example.choices) for example in examples[: plan.limit]], dtype=np.int64),
    )


def _block(
    store: Store,
    key: tuple[str, str, str, str, int],
    items: _Items,
    scored: Sequence[tuple[tuple[str, ScoreCell], pa.Table]],
) -> Block:
    scores = np.full((len(scored), len(items.ids)), np.nan)
    for row, ((score_id, score), table) in enumerate(scored):
        ids, values = table["example_id"], table["score"].to_numpy()
        if table.num_rows <= len(items.column) and ids.combine_chunks().equals(
            items.column.slice(0, table.num_rows)
        ):
            # As they are answered: a prefix of the fixed order.
            kept = min(table.num_rows, len(items.ids))
            scores[row, :kept] = values[:kept]
            continue
        place = {name: position for position, name in enumerate(items.column.to_pylist())}
        for name, value in zip(ids.to_pylist(), values, strict=True):
            if name not in place:
                raise StoreError(
                    f"{store.score_path(score_id, score)}: scores item {name!r}, which is not "
                    f"among the items of {key[0]}/{key[1]}",
                    "delete the file and score again",
                )
            if place[name] < len(items.ids):
                scores[row, place[name]] = value
    return Block(
        *key,
        tuple(score.eval_id for (_, score), _ in scored),
        items.ids,
        items.clusters,
        items.choices,
        scores,
    )
