"""A plan's cost as tables for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from maple.sweep.costs import CARDS


@dataclass(frozen=True, slots=True)
class View:
    """A table to print."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def views(cost: Mapping[str, Any], *, shape: bool) -> Iterator[View]:
    """The tables of what `estimate.estimate` returned.

    Args:
        shape: rows and items, too; a plan whose cells are shown has told of them.
    """
    yield _plain(
        "minimum detectable difference to the untuned base, points of 100", cost["detectable"]
    )
    if shape:
        yield _rows(cost["rows"])
        yield _plain("evaluation", cost["tasks"])
    yield _plain("tokens of one adapter, estimated", cost["tokens"])
    yield _compute(cost["compute"])
    yield _memory(cost["memory"])
    shown = {name: gigabytes(size) for name, size in cost["disk"].items()}
    yield View("disk, estimated, GB", list(shown), [list(shown.values())])


def gigabytes(count: float) -> str:
    """In GB of 10^9 bytes."""
    return _figure(count / 1e9)


def _rows(rows: Sequence[Mapping[str, Any]]) -> View:
    """A line a language, a column a source."""
    sources = list(dict.fromkeys(row["source"] for row in rows))
    counts = {(row["language"], row["source"]): row["rows"] for row in rows}
    languages = sorted({language for language, _ in counts})
    lines = [
        [language, *(_count(counts.get((language, source), "")) for source in sources)]
        for language in languages
    ]
    sums = [sum(row["rows"] or 0 for row in rows if row["source"] == source) for source in sources]
    how = ", ".join(sorted({row["how"] for row in rows}))
    if lines:
        lines.append(["all", *map(_count, sums)])
    return View(f"training rows, {how}", ["language", *sources], lines)


def _plain(title: str, rows: Sequence[Mapping[str, Any]]) -> View:
    lines = [[_count(value) for value in row.values()] for row in rows]
    return View(title, list(rows[0]) if rows else [], lines)


def _compute(rows: Sequence[Mapping[str, Any]]) -> View:
    lines = [
        [
            row["work"],
            row["base"] or "",
            "" if row["bits"] is None else str(row["bits"]),
            _count(row["cells"]),
            _figure(row["tokens"] / 1e6),
            _figure(row["operations"] / 1e15),
            *(_figure(row["hours"][card.name]) for card in CARDS),
        ]
        for row in rows
    ]
    cards = [f"h on {card.name}" for card in CARDS]
    columns = ["work", "base", "bits", "cells", "million tokens", "PFLOP", *cards]
    return View("computing, estimated", columns, lines)


def _memory(rows: Sequence[Mapping[str, Any]]) -> View:
    lines = [
        [
            row["base"],
            str(row["bits"]),
            str(row["r"]),
            _count(row["trainable"]),
            gigabytes(row["base bytes"]),
            gigabytes(row["adapter and optimiser bytes"]),
            *(_fits(card["rows"], card["rows checkpointed"]) for card in row["cards"]),
        ]
        for row in rows
    ]
    cards = [f"{card['memory'] / 1e9:g} GB" for row in rows[:1] for card in row["cards"]]
    columns = ["base", "bits", "r", "trainable", "base GB", "adapter, AdamW GB", *cards]
    title = (
        "memory of training, estimated: rows of max_tokens at once (with gradient checkpointing)"
    )
    return View(title, columns, lines)


def _fits(rows: int, checkpointed: int) -> str:
    if not checkpointed:
        return "does not fit"
    return f"fits: {rows:,} ({checkpointed:,})" if rows else f"fits: – ({checkpointed:,})"


def _figure(value: float) -> str:
    """Three digits of an estimate, or all before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _count(value: object) -> str:
    if value is None:
        return "unknown"
    return f"{value:,}" if isinstance(value, int) else str(value)
