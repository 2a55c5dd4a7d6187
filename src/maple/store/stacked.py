"""Many small Parquet files at once: a study has tens of thousands of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from maple.errors import StoreError
from maple.store import files

Integers = npt.NDArray[np.int64]

_PATH = "path of the file"


@dataclass(frozen=True, slots=True)
class Stacked:
    """Rows of k files, one file below the other; n rows in all.

    Attributes:
        paths: of the files.
        table: the rows, n.
        rows: of each file, [k].
    """

    paths: tuple[Path, ...]
    table: pl.DataFrame
    rows: Integers

    @property
    def files(self) -> Integers:
        """Number of the file that each row is from, [n]."""
        return np.repeat(np.arange(len(self.rows)), self.rows)

    @property
    def positions(self) -> Integers:
        """Number of each row in its file, [n]."""
        before = np.cumsum(self.rows) - self.rows
        return np.arange(self.table.height) - np.repeat(before, self.rows)


def read_stacked(paths: Sequence[Path], schema: pa.Schema, names: Sequence[str]) -> Stacked:
    """Some columns of files of one schema, in the order of the paths.

    A third of the time of `files.read_table` for each, and two threads do it in half of that.

    Args:
        paths: distinct.
        schema: of the files; columns that are not in `names` are not looked at.
        names: columns to read, in that order.

    Raises:
        StoreError: a file is missing, unreadable, or of other columns.
    """
    columns = [schema.field(name).remove_metadata() for name in names]
    empty = pl.DataFrame(pa.schema(columns).empty_table())
    if not paths:
        return Stacked((), empty, np.zeros(0, np.int64))
    try:
        table = pl.scan_parquet(
            [str(path) for path in paths],
            schema=empty.schema,
            extra_columns="ignore",
            include_file_paths=_PATH,
            glob=False,
            hive_partitioning=False,
        ).collect()
    except (OSError, pl.exceptions.PolarsError) as error:
        # Which file it is, and why, is for the reader of one file to say.
        for path in paths:
            files.read_table(path, schema)
        raise StoreError(f"{paths[0].parent} and others: cannot be read: {error}") from error
    runs = table[_PATH].rle().struct
    counts = dict(zip(runs.field("value"), runs.field("len"), strict=True))
    rows = np.array([counts.get(str(path), 0) for path in paths], np.int64)
    return Stacked(tuple(paths), table.select(names), rows)
