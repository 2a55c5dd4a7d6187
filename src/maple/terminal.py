"""What a terminal shows: tables, lines and colours. Data goes to stdout, the rest to stderr.

Piped into a file, the same without colours; `--json` prints JSON instead.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from maple.store.servecheck import ServeCheck
    from maple.sweep.datacheck import Found
    from maple.sweep.shown import ShownRow

# Control characters, of which escape sequences are made, and marks that turn the text around them.
_ALIVE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def _dead(text: str) -> str:
    """Text that does nothing to a terminal but show."""
    return _ALIVE.sub("\N{REPLACEMENT CHARACTER}", text)


class _Console(Console):
    """Prints names, messages and texts that others wrote."""

    def render_str(self, text: str, **style: Any) -> Text:
        """Every line, cell and heading that is a string passes here."""
        return super().render_str(_dead(text), **style)


# Without emoji: "file:100:" is a place in a file.
stdout = _Console(soft_wrap=True, emoji=False)
stderr = _Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)


def show_plan(found: dict[str, Any]) -> None:
    from maple.sweep.costview import views

    for note in found["notes"]:
        stdout.print(note, markup=False)
    if found["unchecked"]:
        stdout.print("Not checked here, because it is out of reach:")
        for line in found["unchecked"]:
            stdout.print(f"  {line}", markup=False)
    titles = {"data": "training data", "train": "train cells", "evaluate": "eval cells"}
    for name, title in titles.items():
        known = found[name] or []
        rows = [["–" if one is None else str(one) for one in row.values()] for row in known]
        show_table(title, list(known[0]) if rows else [], rows)
    stdout.print(found["total"], markup=False)
    for view in views(found["cost"], shape=found["train"] is None):
        show_table(view.title, view.columns, view.rows)
    for line in (*found["cost"]["assumed"], *found["cost"]["left out"]):
        stdout.print(line, markup=False)


def show_linted(rows: Sequence[dict[str, Any]]) -> None:
    show_table(
        "",
        ["task", "dataset", "subset", "prompt", "items", "shortened", "violations"],
        [
            (
                row["task"],
                row["dataset"],
                row["subset"],
                row["prompt"],
                row["items"],
                ", ".join(f"{base}: {count}" for base, count in row["shortened"].items()) or "–",
                len(row["problems"]) or "–",
            )
            for row in rows
        ],
    )
    for row in rows:
        for problem in row["problems"]:
            where = "/".join(filter(None, (row["task"], row["subset"], row["prompt"])))
            stdout.print(f"{where}: {problem}", markup=False)


def show_verdict(found: ServeCheck) -> None:
    show_table(
        f"{found.model} at {found.server} against the built-in engine, {found.bits} bits",
        [
            "through",
            "requests",
            "other picks",
            "mean difference",
            "largest",
            "asked again",
            "completions",
            "differ",
            "after tokens",
        ],
        [
            (
                one.through,
                one.requests,
                one.other_picks,
                f"{one.mean:.2g}",
                f"{one.largest:.2g}",
                f"{one.repeat:.2g}",
                one.completions,
                len(one.first_differences),
                ", ".join(map(str, one.first_differences)) or "–",
            )
            for one in found.agreements
        ],
    )
    stdout.print("Differences of log-probabilities in nats per answer token.")
    stdout.print(f"The server {found.sentence()}.", markup=False)


def show_data(found: Found) -> None:
    rows = [
        (
            one.name,
            one.dataset,
            one.subset,
            _of(one.items, one.items_known),
            _of(one.exemplars, one.exemplars_known),
            one.state,
            "; ".join(one.remarks),
        )
        for one in found.held
    ]
    columns = ("what", "dataset", "subset", "items", "exemplars", "state", "remarks")
    show_table("", columns, rows)
    if found.unread:
        folders = Counter(str(Path(name).parent) for name in found.unread)
        shown = ", ".join(f"{name} ({count})" for name, count in sorted(folders.items()))
        stdout.print(f"read by no task and no source: files in {shown}", markup=False)
    for problem in found.problems:
        stdout.print(f"problem: {problem.what}", markup=False, style="red")
        if problem.hint:
            stdout.print(f"  hint: {problem.hint}", markup=False)
    stdout.print(f"{len(found.held)} subsets, {len(found.problems)} problems")


def show_row(row: ShownRow, max_tokens: int) -> None:
    """What is learned is green on a terminal, and in double brackets elsewhere."""
    bos = f"{row.bos} BOS" if row.bos else "no BOS"
    eos = "EOS at its end" if row.eos else "no EOS"
    fate = f"left out: longer than {max_tokens}" if row.dropped else f"fits {max_tokens}"
    stdout.print(f"row {row.row_id}, {row.language}", style="bold", markup=False)
    _print_marked(row.parts, "")
    runs = groupby(row.tokens, key=lambda token: token.learned)
    tokens = [("|".join(repr(token.text)[1:-1] for token in run), learned) for learned, run in runs]
    _print_marked(tokens, "|")
    stdout.print(f"{row.n_tokens} tokens, {row.n_learned} learned, {bos}, {eos}; {fate}\n")


def show_list(title: str, rows: Sequence[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        show_json(rows)
        return
    shown = [[_cell(value) for value in row.values()] for row in rows]
    show_table(title, list(rows[0]), shown)


def show_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    rows = list(rows)
    if not rows:
        return
    table = Table(title=title or None, title_justify="left")
    for column in columns:
        table.add_column(column)
    for row in rows:
        table.add_row(*(escape(str(value)) for value in row))
    # Piped into a file nothing limits the width, and rich would assume 80 columns.
    _Console(width=None if stdout.is_terminal else 160, emoji=False).print(table)


def show_json(value: object) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))  # noqa: T201  data goes to stdout


def show_reading(name: str) -> None:
    """Says on a terminal what is being read; a log file needs no line a subset."""
    if stderr.is_terminal:
        stderr.print(f"reading {name}", markup=False)


def _print_marked(parts: Iterable[tuple[str, bool]], between: str) -> None:
    text = Text()
    for number, (part, learned) in enumerate(parts):
        marked = f"[[{part}]]" if learned and not stdout.is_terminal else part
        text.append(between if number else "").append(
            _dead(marked), style="green" if learned else ""
        )
    stdout.print(text)


def _of(count: int | None, whole: int | None) -> str:
    """A count, with what the whole release has where it has more or less."""
    if count is None:
        return "–"
    return str(count) if whole in (None, count) else f"{count} of {whole}"


def _cell(value: object) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(value) if isinstance(value, list) else str(value)
