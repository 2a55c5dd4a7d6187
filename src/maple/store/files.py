"""Writing files so that a reader sees the old one or the new one, never half of one."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from maple.errors import StoreError


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn an operating-system error about `path` into a `StoreError`."""
    try:
        yield
    except OSError as error:
        hint = {
            28: "free some space, then run the same command again: finished cells are kept",
            13: "make the folder writable, or take another one",
            30: "make the folder writable, or take another one",
        }.get(error.errno or 0, "")
        raise StoreError(f"{path}: {error.strerror or error}", hint) from error


def replace(path: Path, write: Callable[[Path], object], *, durable: bool = True) -> None:
    """Create or replace `path` atomically with what `write` puts into a temporary file beside it.

    Args:
        path: the file; its folder is made where missing.
        write: receives the temporary path.
        durable: bytes reach the disk before the name does, so that even a crash of the machine
            leaves either version whole. Without it, only a crash of the process does.

    Raises:
        StoreError: no space, no permission, or the disk failed; nothing is left behind.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write(temporary)
            if durable:
                _sync(temporary)
            temporary.replace(path)
            if durable:
                _sync(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes, *, durable: bool = True) -> None:
    """`replace` with `content`."""

    def write(temporary: Path) -> None:
        temporary.write_bytes(content)

    replace(path, write, durable=durable)


def write_table(path: Path, table: pa.Table) -> None:
    """`replace` with a Parquet file. The same table gives the same bytes."""

    def write(temporary: Path) -> None:
        pq.write_table(table, temporary, compression="zstd")

    replace(path, write)


def read_table(path: Path, schema: pa.Schema) -> pa.Table:
    """A Parquet file that must have `schema`'s columns; null in those that were added since.

    Raises:
        StoreError: missing, unreadable, or of other columns.
    """
    try:
        # Three times as fast as `pq.read_table`, which opens a small file as a data set.
        with pq.ParquetFile(path, memory_map=False) as file:
            table = file.read(use_threads=False)
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(path, error) from error
    for place, column in enumerate(schema):
        if (
            column.metadata
            and b"since" in column.metadata
            and column.name not in table.schema.names
        ):
            table = table.add_column(place, column, pa.nulls(len(table), column.type))
    if not table.schema.equals(schema, check_metadata=False):
        raise StoreError(
            f"{path}: has columns {_columns(table.schema)}, expected {_columns(schema)}",
            "this folder was written by another version of maple; choose another --out",
        )
    # Reading adds the file's field numbers to the columns, which would be written again.
    return table.cast(schema)


def first_problem(error: ValidationError) -> str:
    """Where in a JSON file it is, if anywhere, and what."""
    first = error.errors()[0]
    return ": ".join(filter(None, (".".join(map(str, first["loc"])), first["msg"])))


def _columns(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name} ({field.type})" for field in schema)


def count_rows(path: Path) -> int:
    """Rows of a Parquet file, from its footer alone.

    Raises:
        StoreError: unreadable.
    """
    try:
        return int(pq.read_metadata(path).num_rows)
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(path, error) from error


def read_schema(path: Path) -> pa.Schema:
    """Columns and metadata of a Parquet file, from its footer alone.

    Raises:
        StoreError: unreadable.
    """
    try:
        return pq.read_schema(path, memory_map=False)
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> StoreError:
    if isinstance(error, FileNotFoundError):
        return StoreError(f"{path}: is missing", "run the study again to make it anew")
    return StoreError(
        f"{path}: cannot be read: {error}", "delete the file and run again to make it anew"
    )


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
