"""The report's tables as Parquet, and every item's score."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from maple.analysis.cellscores import ScoreReader
from maple.report import csvs
from maple.report.gathered import Gathered
from maple.store import PlanFile, Store

ITEM_SCORES = pa.schema(
    [
        *(
            pa.field(name, pa.string())
            for name in ("eval_id", "metric", "example_id", "cluster_id")
        ),
        pa.field("score", pa.float64()),
    ]
)
"""Columns of item_scores.parquet: an item of an eval cell under a metric, 0 to 1."""

_ROWS_AT_ONCE = 500_000
"""Rows held in memory: a row group."""


def files(gathered: Gathered) -> dict[str, Callable[[Path], object]]:
    """What writes each file, by name."""
    return {
        **{
            f"{name}.parquet": partial(pl.DataFrame.write_parquet, rows)
            for name, rows in csvs.frames(gathered).items()
        },
        "item_scores.parquet": partial(_write_scores, gathered.store, gathered.plan),
    }


def _write_scores(store: Store, plan: PlanFile, path: Path) -> None:
    held: list[pa.Table] = []
    with pq.ParquetWriter(path, ITEM_SCORES, compression="zstd") as writer:
        for table in _scores(store, plan):
            held.append(table)
            if sum(map(len, held)) >= _ROWS_AT_ONCE:
                writer.write_table(pa.concat_tables(held))
                held.clear()
        if held:
            writer.write_table(pa.concat_tables(held))


def _scores(store: Store, plan: PlanFile) -> Iterator[pa.Table]:
    """A table a score cell, task after task, so that no more than one task's items are held."""
    tasks = dict.fromkeys(cell.task for cell in plan.evals.values())
    for task in tasks:
        reader = ScoreReader(store, plan)
        for score_id, score in plan.scores.items():
            if plan.evals[score.eval_id].task != task:
                continue
            found = reader.read(score_id)
            if found is not None:
                n = len(found.ids)
                columns = [
                    pa.repeat(score.eval_id, n),
                    pa.repeat(score.metric, n),
                    pa.array(found.ids, pa.string()),
                    pa.array(found.clusters, pa.string()),
                    pa.array(found.scores),
                ]
                yield pa.table(columns, schema=ITEM_SCORES)
