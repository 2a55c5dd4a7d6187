"""What cells were asked: items that many of them share, and which of them answered.

Letters in shapes: n items, m rows of answers or scores.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow.compute as pc

from maple.analysis.estimates import Integers
from maple.errors import StoreError
from maple.records import EvalCell
from maple.store import Stacked, Store


@dataclass(frozen=True, slots=True)
class Items:
    """The items of a subset in their order, n.

    Attributes:
        n_choices: 0 for generation.
        targets: number of the right choice; -1 for generation.
    """

    example_ids: tuple[str, ...]
    cluster_ids: tuple[str, ...]
    n_choices: Integers
    targets: Integers


def items_of(store: Store, cell: EvalCell) -> Items:
    """The items that an eval cell is asked.

    Raises:
        StoreError: they cannot be read.
    """
    table = store.items_table(cell.task, cell.subset, cell.items)
    return Items(
        tuple(table["example_id"].to_pylist()),
        tuple(table["cluster_id"].to_pylist()),
        pc.list_value_length(table["choices"]).to_numpy().astype(np.int64),
        pc.fill_null(table["target"], -1).to_numpy().astype(np.int64),
    )


def answered(store: Store, evals: Mapping[str, EvalCell]) -> dict[str, EvalCell]:
    """The eval cells whose answers are finished, all, or those before more were asked for in vain.

    Raises:
        StoreError: a record cannot be read.
    """
    records = {name: store.eval_record(name, cell) for name, cell in evals.items()}
    return {name: evals[name] for name, record in records.items() if record and record.n}


def places(stacked: Stacked, items: Items, cell: EvalCell, does: str) -> Integers:
    """Which item each row is about, [m].

    Args:
        stacked: with the column `example_id`.
        items: those of the cells that the rows are from.
        cell: one of these, for the message.
        does: what a file does to an item, for the message: "scores".

    Raises:
        StoreError: a row is about none of the items.
    """
    ids, positions = stacked.table["example_id"], stacked.positions
    known = pl.Series("example_id", items.example_ids, pl.String)
    # Cells answer items in their order, all of them or the first ones.
    if stacked.rows.max(initial=0) <= len(known) and (ids == known.gather(positions)).all():
        return positions
    numbers = known.to_frame().with_row_index("place")
    found = ids.to_frame().join(numbers, on="example_id", how="left", maintain_order="left")
    missing = found["place"].is_null().arg_max()
    if missing is not None and found["place"][missing] is None:
        raise StoreError(
            f"{stacked.paths[stacked.files[missing]]}: {does} item {ids[missing]!r}, which is not "
            f"among the items of {cell.task}/{cell.subset}",
            "delete the file and score again" if does == "scores" else "delete it and run again",
        )
    return found["place"].to_numpy().astype(np.int64)
