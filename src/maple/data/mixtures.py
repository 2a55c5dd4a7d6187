"""Which rows of a source a training cell sees, and the hash that names them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from maple.errors import DataError
from maple.protocols import TrainingSource
from maple.records import InstructionRow


def select(
    source: TrainingSource,
    languages: Sequence[str],
    rows: int | None,
    seed: int,
    folder: Path | None,
) -> list[InstructionRow]:
    """A sample of `rows` rows, spread over the languages as evenly as possible.

    Each row of each language has a place in an order that depends on the seed, its language and
    its id alone; the first rows of that order are taken, without replacement. So a larger sample
    contains every smaller one of the same seed and languages.

    Args:
        source: where the rows come from.
        languages: keys, in any order, each once. What is left over after an even split goes to
            the first languages by key.
        rows: total number, at least one a language; None for all there are.
        seed: of the sampling.
        folder: release files; None to read from the hub.

    Returns:
        The rows, languages mixed, in the order of their hashes.

    Raises:
        DataError: a language twice or none at all, fewer rows than languages, more rows asked for
            than a language has (saying how many it has), or what the source raises.
    """
    keys = sorted(languages)
    if not keys or len(set(keys)) < len(keys):
        raise DataError(f"languages to train on: {keys}, expected at least one, each once")
    if rows is not None and rows < len(keys):
        raise DataError(
            f"{rows} rows for {len(keys)} languages: some would get none",
            f"ask for at least {len(keys)} rows",
        )
    chosen: list[tuple[bytes, InstructionRow]] = []
    for position, key in enumerate(keys):
        placed = [(_place(seed, row), row) for row in source.rows(key, folder)]
        quota = len(placed)
        if rows is not None:
            quota = rows // len(keys) + (position < rows % len(keys))
        if len(placed) < quota:
            raise DataError(
                f"training source {source.name} has {len(placed)} rows in {key}, "
                f"{quota} were asked for",
                f"ask for at most {len(placed) * len(keys)} rows over {len(keys)} languages",
            )
        chosen += sorted(placed, key=_by_place)[:quota]
    return [row for _, row in sorted(chosen, key=_by_place)]


def content_hash(rows: Iterable[InstructionRow]) -> str:
    """SHA-256 over the rows, written as JSON lines with sorted keys.

    Args:
        rows: in the order of training, which counts.

    Returns:
        "sha256:" and 64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for row in rows:
        fields = asdict(row)
        if not row.turns:
            del fields["turns"]  # a field of later versions, which must rename no earlier rows
        line = json.dumps(fields, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        digest.update(line.encode("utf-8") + b"\n")
    return f"sha256:{digest.hexdigest()}"


def _place(seed: int, row: InstructionRow) -> bytes:
    return hashlib.sha256(f"{seed}\x1f{row.language}\x1f{row.row_id}".encode()).digest()


def _by_place(placed: tuple[bytes, InstructionRow]) -> bytes:
    return placed[0]
