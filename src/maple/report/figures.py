"""Figures as files, for a paper: what the page draws without a filter, on white.

Few and bounded: a figure of each kind for each task under its primary metric, and one of training
curves.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import vl_convert

from maple.analysis.gains import front
from maple.languages import language
from maple.records import TrainCell
from maple.report import curves, labels, specs
from maple.report.gathered import Gathered, Line, Table
from maple.report.payload import correlations, spread
from maple.report.selection import Spread, mean_of_cells, mean_of_languages

LEAST_REACH = 5.0
"""Points at which a colour is full at the earliest: noise of a point should look pale."""

LOUD = 0.62
"""Share of the reach from which on text stands on a strong colour."""

HIGH_CLASSES = (4, 5)
"""Resource classes that count as high."""

_COLUMNS = 3
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure: file name without ending and what is drawn."""

    name: str
    spec: specs.Spec

    def __post_init__(self) -> None:
        # The renderer aborts the process over a character that XML cannot hold.
        object.__setattr__(self, "spec", _legible(self.spec))

    def svg(self) -> bytes:
        """As SVG."""
        # No address is allowed, so that a figure can never load anything.
        return str(vl_convert.vegalite_to_svg(self.spec, allowed_base_urls=[])).encode()

    def png(self) -> bytes:
        """As PNG, two pixels a point."""
        return bytes(vl_convert.vegalite_to_png(self.spec, scale=2, allowed_base_urls=[]))


def figures(gathered: Gathered) -> list[Figure]:
    """Heatmap, slopes and costs of each primary table, and the training curves."""
    found = []
    for table in gathered.tables:
        if not table.primary:
            continue
        for name, drawn in (
            ("heatmap", _heatmap(gathered, table)),
            ("slopes", _slopes(gathered, table)),
            ("pareto", _pareto(gathered, table)),
        ):
            if drawn is not None:
                rows, values = drawn
                spec = specs.filled(name, values, rows, "light")
                found.append(Figure(f"{name}-{table.anchor}", spec))
    rows = curves.rows(curves.content(gathered))
    if any(row["held"] == "" for row in rows):
        spec = specs.filled("curves", {"columns": _COLUMNS}, rows, "light")
        found.append(Figure("training", spec))
    return found


def _legible(part: Any) -> Any:
    """A specification with a replacement character for each that XML cannot hold."""
    if isinstance(part, dict):
        return {key: _legible(value) for key, value in part.items()}
    if isinstance(part, list):
        return [_legible(value) for value in part]
    return _NO_XML.sub("\N{REPLACEMENT CHARACTER}", part) if isinstance(part, str) else part


def _heatmap(gathered: Gathered, table: Table) -> tuple[list[Row], Row] | None:
    """Mean difference by rank and bits, a panel a base, training set and method."""
    groups: dict[tuple[str, int, str], list[Spread]] = {}
    order: dict[tuple[str, int, str], tuple[int, int]] = {}
    for line, cell in _ranked(gathered, table):
        key = _panel(gathered, cell), cell.r or 0, labels.bits_label(cell, line.eval_bits)
        order[key] = cell.train_bits or 0, line.eval_bits
        own = groups.setdefault(key, [])
        delta = _whole(gathered, table, line)
        if delta is not None:
            own.append(delta)
    means = {key: mean_of_cells(parts) for key, parts in groups.items()}
    if not any(mean is not None for mean in means.values()):
        return None
    reach = max(
        LEAST_REACH, *(abs(100 * mean.value) for mean in means.values() if mean is not None)
    )
    panels = list(dict.fromkeys(panel for panel, _, _ in means))
    rows = [
        {
            "panel": panel,
            "panel_order": panels.index(panel),
            "r": str(r),
            "r_order": r,
            "bits": bits,
            "bits_order": 100 * order[panel, r, bits][0] + order[panel, r, bits][1],
            **_cell(mean, reach),
            "about": f"{panel}, r {r}, {bits} bits",
        }
        for (panel, r, bits), mean in means.items()
    ]
    return rows, {"low": -reach, "high": reach, "columns": _COLUMNS}


def _cell(mean: Spread | None, reach: float) -> Row:
    if mean is None:
        return {"delta": None, "text": "unfinished", "interval": "", "loud": False}
    return {
        "delta": 100 * mean.value,
        "text": f"{labels.signed(mean.value)} {_mark(mean)}".strip(),
        "interval": ""
        if mean.low is None or mean.high is None
        else f"[{labels.signed(mean.low)}, {labels.signed(mean.high)}]",
        "loud": abs(100 * mean.value) > LOUD * reach,
    }


def _mark(mean: Spread) -> str:
    if mean.low is not None and mean.low > 0:
        return labels.UP
    return labels.DOWN if mean.high is not None and mean.high < 0 else ""


def _slopes(gathered: Gathered, table: Table) -> tuple[list[Row], Row] | None:
    """Mean difference by rank, a line a group of resource classes, a panel a base and precision."""
    rho = correlations(gathered, table)["delta"]
    groups: dict[tuple[str, str, int], list[Spread]] = {}
    for line, cell in _ranked(gathered, table):
        panel = f"{line.base_name}; {labels.bits_label(cell, line.eval_bits)} bits"
        for group, subsets in _by_class(gathered, table).items():
            parts = _deltas(gathered, table, line, subsets)
            mean = mean_of_languages(parts, rho) if len(parts) == len(subsets) else None
            if mean is not None:
                groups.setdefault((panel, group, cell.r or 0), []).append(mean)
    ranks = sorted({r for _, _, r in groups})
    if len(ranks) < 2:
        return None
    rows = []
    panels = list(dict.fromkeys(panel for panel, _, _ in groups))
    for (panel, group, r), parts in groups.items():
        mean = mean_of_cells(parts)
        if mean is not None:
            ends = [mean.value if end is None else end for end in (mean.low, mean.high)]
            rows.append(
                {
                    "panel": panel,
                    "panel_order": panels.index(panel),
                    "group": group,
                    "r": r,
                    "delta": 100 * mean.value,
                    "low": 100 * ends[0],
                    "high": 100 * ends[1],
                    "about": f"{panel}, {group}, r {r}: {labels.signed(mean.value)}",
                }
            )
    names = [name for name in _GROUPS if any(row["group"] == name for row in rows)]
    return rows, {"ranks": ranks, "groups": names, "columns": _COLUMNS}


_GROUPS = ("high (classes 4–5)", "low (classes 0–3)", "class unknown")


def _by_class(gathered: Gathered, table: Table) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for subset in table.subsets:
        known = language(gathered.plan.languages[f"{table.setting.task}/{subset}"]).resource_class
        name = _GROUPS[2] if known is None else _GROUPS[0 if known in HIGH_CLASSES else 1]
        found.setdefault(name, []).append(subset)
    return found


def _pareto(gathered: Gathered, table: Table) -> tuple[list[Row], Row] | None:
    """Mean difference against training time; the front of a base is what nothing beats."""
    seconds = dict(gathered.training.select("train_id", "seconds").iter_rows())
    rows = []
    for line in table.lines:
        cell = gathered.plan.train[line.train_id]
        delta = _whole(gathered, table, line)
        cost = seconds.get(line.train_id)
        if delta is None or not cost or not math.isfinite(cost):
            continue
        rows.append(
            {
                "cost": cost,
                "delta": 100 * delta.value,
                "low": 100 * (delta.value if delta.low is None else delta.low),
                "high": 100 * (delta.value if delta.high is None else delta.high),
                "group": f"{labels.bits_label(cell, line.eval_bits)} bits",
                "group_order": 100 * (cell.train_bits or 0) + line.eval_bits,
                "shape": line.base_name,
                "about": line.label,
            }
        )
    if not rows:
        return None
    rows.sort(key=lambda row: (row["cost"], -row["delta"]))
    for base in dict.fromkeys(row["shape"] for row in rows):
        own = [row for row in rows if row["shape"] == base]
        kept = front([row["cost"] for row in own], [row["delta"] for row in own])
        for row, on in zip(own, kept, strict=True):
            row["front"] = on
    return rows, {"cost": "training time, seconds", "width": 420}


def _ranked(gathered: Gathered, table: Table) -> Sequence[tuple[Line, TrainCell]]:
    """The lines of adapters that have a rank."""
    found = ((line, gathered.plan.train[line.train_id]) for line in table.lines)
    return [(line, cell) for line, cell in found if cell.r is not None]


def _panel(gathered: Gathered, cell: TrainCell) -> str:
    parts = cell.base_name, labels.trained_on(cell), labels.kind_label(cell, gathered.told)
    return "; ".join(part for part in parts if part)


def _whole(gathered: Gathered, table: Table, line: Line) -> Spread | None:
    """The mean difference over all languages; None where one is missing."""
    macro = gathered.macro(table, line)
    return spread(macro.delta) if macro is not None and macro.complete else None


def _deltas(gathered: Gathered, table: Table, line: Line, subsets: Sequence[str]) -> list[Spread]:
    found = (
        gathered.results.cells.get((line.evals.get(subset, ""), table.setting.metric))
        for subset in subsets
    )
    parts = [None if one is None else spread(one.delta) for one in found]
    return [part for part in parts if part is not None]
