"""Tables of text whose columns are separated by tabs, without quoting."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from maple.data.reading import report
from maple.data.release import read_text
from maple.data.rows import Row
from maple.errors import DataError


def read_tsv(path: Path, columns: Sequence[str] | None = None) -> list[Row]:
    """All rows of a table, each with its line; blank lines may stand at the end only.

    Rows of some releases are named by their place, so that a line too many would rename all others.

    Args:
        path: the file, UTF-8.
        columns: names of its columns; None where the first line has them.

    Raises:
        DataError: missing or unreadable, not UTF-8, lines with more or fewer columns (all at
            once), or no row; with file and line.
    """
    lines = read_text(path).rstrip("\r\n").split("\n")
    if lines == [""]:
        raise DataError(f"{path}: the file is empty", "download it again")
    first = 1
    if columns is None:
        columns, first = lines[0].rstrip("\r").split("\t"), 2
    rows: list[Row] = []
    problems: list[DataError] = []
    for number, line in enumerate(lines[first - 1 :], start=first):
        values = line.rstrip("\r").split("\t")
        if values == [""]:
            problems.append(
                DataError(f"{path}:{number}: an empty line", "compare the file with its release")
            )
        elif len(values) != len(columns):
            problem = (
                f"{path}:{number}: {len(values)} columns, expected {len(columns)} separated by "
                f"tabs: {', '.join(columns)}"
            )
            hint = "compare the file with its release; it may be another layout, or broken"
            problems.append(DataError(problem, hint))
        else:
            rows.append(Row(f"{path}:{number}", number, dict(zip(columns, values, strict=True))))
    report(problems)
    if not rows:
        raise DataError(f"{path}: the file is empty", "download it again")
    return rows
