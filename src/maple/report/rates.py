"""What stands beside the scores: how answers ended, rates by language, tokens of the prompts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl

from maple.report import labels
from maple.report.gathered import Gathered, Line, Table
from maple.report.ledger import About, Grid, with_base

_RATES = (
    "Empty: no visible character. Unparsed: visible characters, but no letter or digit. Wrong "
    "language: of the answers whose language could be told, those that are "
    "probably in another one; short answers and languages that the identifier does not know are "
    "unknown."
)


def endings(gathered: Gathered) -> Grid | None:
    """How generated answers ended, over all languages of a row; None without generation."""
    found = {row["eval_id"]: row for row in gathered.answers.iter_rows(named=True)}
    rows = []
    about = []
    for table, line in _asked(gathered, choices=False):
        parts = [
            (table.subsets[subset], found[name])
            for subset, name in line.evals.items()
            if name in found
        ]
        if not parts:
            continue
        n = sum(row["n"] for _, row in parts)
        shares = {
            name: sum(row[name] * row["n"] for _, row in parts) / n
            for name in ("empty", "unparsed", "eos", "stop", "length", "mean_tokens")
        }
        told = sum(row["identified"] or 0 for _, row in parts)
        wrong = sum((row["wrong_language"] or 0) * (row["identified"] or 0) for _, row in parts)
        worst, most = max(parts, key=lambda part: part[1]["empty"])
        about.append(About(*line.key, task=table.title))
        rows.append(
            (
                with_base(gathered, line.base_name, line.label),
                table.title,
                labels.count(n),
                labels.percent(shares["empty"]),
                f"{worst}, {labels.percent(most['empty'])}" if most["empty"] else "–",
                labels.percent(shares["unparsed"]),
                labels.percent(shares["eos"]),
                labels.percent(shares["stop"]),
                labels.percent(shares["length"]),
                f"{shares['mean_tokens']:.1f}",
                labels.percent(wrong / told) if told else "–",
                labels.count(n - told),
            )
        )
    if not rows:
        return None
    columns = (
        "cell",
        "task",
        "answers",
        "empty",
        "most empty in",
        "unparsed",
        "ended by itself",
        "stop string",
        "cut at the limit",
        "tokens an answer",
        "wrong language",
        "language unknown",
    )
    return Grid("How generated answers ended", columns, tuple(rows), (_RATES,), tuple(about))


def preferred(gathered: Gathered) -> Grid | None:
    """How often choice tasks got their commonest answer; None without such a task."""
    found = list(_by_language(gathered, gathered.choices, choices=True))
    if not found:
        return None
    rows = tuple(
        (
            *where,
            labels.count(row["n"]),
            labels.count(row["choice"]),
            _rate(row, "preferred"),
            labels.percent(row["right"]),
        )
        for where, row, _ in found
    )
    columns = (
        *("cell", "task", "language"),
        "answers",
        "commonest choice",
        "preferred in",
        "right in",
    )
    note = (
        "By summed log-probability. Where one choice is preferred nearly always, the items are not "
        "read, and the score is near that choice's share of the right answers, whatever it is."
    )
    about = tuple(one for _, _, one in found)
    return Grid("The commonest choice by language", columns, rows, (note,), about)


def rates(gathered: Gathered) -> Grid | None:
    """The rates of every language of a row, with intervals; None without generation."""
    found = list(_by_language(gathered, gathered.answers, choices=False))
    if not found:
        return None
    rows = tuple(
        (
            *where,
            labels.count(row["n"]),
            *(_rate(row, name) for name in ("empty", "unparsed", "length", "wrong_language")),
            labels.count(None if row["identified"] is None else row["n"] - row["identified"]),
        )
        for where, row, _ in found
    )
    columns = (
        *("cell", "task", "language"),
        "answers",
        "empty",
        "unparsed",
        "cut at the limit",
        "wrong language",
        "language unknown",
    )
    about = tuple(one for _, _, one in found)
    return Grid("Rates by language", columns, rows, (_RATES,), about)


def fertility(gathered: Gathered) -> Grid | None:
    """Tokens per word, character and byte of the prompts; None where nobody has counted."""
    rows = tuple(
        (
            with_base(gathered, row["base_name"], f"{row['task']}, {row['subset']}"),
            row["prompt"],
            labels.count(row["items"]),
            labels.count(row["tokens"]),
            *(
                "–" if row[f"tokens_per_{unit}"] is None else f"{row[f'tokens_per_{unit}']:.2f}"
                for unit in ("word", "character", "byte")
            ),
            row["word"],
        )
        for row in gathered.prompts.iter_rows(named=True)
    )
    if not rows:
        return None
    about = tuple(About(language=row["language"]) for row in gathered.prompts.iter_rows(named=True))
    columns = ("subset", "prompt", "items", "tokens", "a word", "a character", "a byte", "word")
    note = (
        "Prompts of the items without exemplars, special tokens not counted. Words of different "
        "kinds do not compare; bytes do, but scripts differ in bytes a letter."
    )
    return Grid("Tokens per word, character and byte", columns, rows, (note,), about)


def _by_language(
    gathered: Gathered, frame: pl.DataFrame, *, choices: bool
) -> Iterator[tuple[tuple[str, str, str], Mapping[str, Any], About]]:
    """The rows of a table by eval cell, in the report's order: cell, task and language of each."""
    found = {row["eval_id"]: row for row in frame.iter_rows(named=True)}
    for table, line in _asked(gathered, choices=choices):
        cell = with_base(gathered, line.base_name, line.label)
        for subset, name in line.evals.items():
            if name in found:
                spoken = gathered.plan.languages[f"{table.setting.task}/{subset}"]
                about = About(*line.key, language=spoken, task=table.title)
                yield (cell, table.title, table.subsets[subset]), found[name], about


def _rate(row: Mapping[str, Any], name: str) -> str:
    """ "2.5 % [0.8, 4.9]"; a dash where there was nothing to count."""
    share, low, high = row[name], row[f"{name}_low"], row[f"{name}_high"]
    if share is None:
        return "–"
    interval = "" if low is None else f" [{100 * low:.1f}, {100 * high:.1f}]"
    return labels.percent(share) + interval


def _asked(gathered: Gathered, *, choices: bool) -> list[tuple[Table, Line]]:
    return [
        (table, line)
        for table in gathered.tables
        if table.primary and (table.setting.decoding == "choices") == choices
        for line in table.lines
    ]
