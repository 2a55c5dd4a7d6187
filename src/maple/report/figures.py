"""Figures as SVG, drawn offline: small ones, so that they stack on a narrow screen.

Nothing that a model wrote is drawn. All are on white, whatever the page's colours, with text in
the reader's own sans serif. No clip path and no gradient: their ids would clash within one page.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import vl_convert

from maple.analysis.results import Macro
from maple.records import TrainCell
from maple.report import labels
from maple.report.gathered import Gathered, Line, Table

_FONT = "Helvetica, Arial, Liberation Sans, sans-serif"
_INK, _MUTED, _UNTUNED = "#1f2328", "#59636e", "#8c959f"
# Ranks in order, light to dark; readable on white by lightness alone.
_RAMP = ("#86b6ef", "#4d8fe0", "#1f66c0", "#134689", "#0a2a57", "#04142d")
# Points at which a heatmap's colour is full at the earliest: noise of a point should look pale.
_LEAST_REACH = 5.0

Drawing = alt.Chart | alt.LayerChart | alt.FacetChart


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure: file name without ending, heading, what it shows in words, its SVG."""

    name: str
    title: str
    description: str
    svg: str


def heatmaps(gathered: Gathered, table: Table) -> list[Figure]:
    """Macro delta by rank and bits, one figure a base, source, mixture, method and seed."""
    panels: dict[tuple[object, ...], list[dict[str, Any]]] = {}
    trained: dict[tuple[object, ...], list[TrainCell]] = {}
    for line, cell, macro in _tuned(gathered, table):
        if cell.r is None:
            continue
        whole = macro is not None and macro.complete and macro.delta is not None
        delta = macro.delta if macro is not None and whole else None
        method = cell.method, cell.learning_rate, cell.options
        data = labels.trained_on(cell)
        panel: tuple[object, ...] = line.base_name, data, cell.seed or 0, *method
        trained.setdefault(panel, []).append(cell)
        panels.setdefault(panel, []).append(
            {
                "r": str(cell.r),
                "bits": _bits(cell, line.eval_bits),
                "finished": delta is not None,
                "delta": 100 * delta.value if delta else 0.0,
                "text": f"{labels.signed(delta.value)} {labels.direction(delta)}".strip()
                if delta
                else "unfinished",
                "interval": labels.interval(delta, sign=True) if delta else "",
                "order": cell.r,
                "bits_order": (cell.train_bits or 0) * 100 + line.eval_bits,
            }
        )
    shown = [abs(row["delta"]) for rows in panels.values() for row in rows]
    reach = max(shown, default=0.0)
    found = []
    for number, (key, rows) in enumerate(panels.items(), start=1):
        if not any(row["finished"] for row in rows):
            continue
        described = "; ".join(f"r {r['r']}, {r['bits']} bits: {r['text']}" for r in rows)
        found.append(
            Figure(
                f"heatmap-{table.anchor}-{number}",
                f"{key[0]}, {key[1]}, seed {key[2]}; {labels.steps_label(trained[key])}",
                f"Difference to the untuned base in points, mean over languages: {described}",
                svg(_heatmap(rows, max(reach, _LEAST_REACH))),
            )
        )
    return found


def bars(gathered: Gathered, table: Table) -> list[Figure]:
    """Score of every language with its interval, one figure a base, precision and source."""
    panels: dict[tuple[str, int, str], list[tuple[Line, TrainCell]]] = {}
    plain: dict[tuple[str, int], tuple[Line, TrainCell]] = {}
    for line in table.lines:
        cell = gathered.plan.train[line.train_id]
        if cell.method == "none":
            plain[line.base_name, line.eval_bits] = line, cell
        else:
            key = line.base_name, line.eval_bits, labels.trained_on(cell)
            panels.setdefault(key, []).append((line, cell))
    for base, bits in plain:
        if not any(key[:2] == (base, bits) for key in panels):
            panels[base, bits, ""] = []
    drawn = []
    for key, tuned in panels.items():
        shown = [plain[key[:2]], *tuned] if key[:2] in plain else tuned
        rows = [row for line, cell in shown for row in _bar_rows(gathered, table, line, cell)]
        if rows:
            drawn.append((key, shown, rows))
    top = max((row["high"] for _, _, rows in drawn for row in rows), default=1.0)
    found = []
    for number, ((base, bits, source), shown, rows) in enumerate(drawn, start=1):
        found.append(
            Figure(
                f"languages-{table.anchor}-{number}",
                ", ".join(part for part in (base, f"{bits} bits", source) if part),
                f"{table.setting.metric} by language in points, with 95 % intervals",
                svg(_bars(rows, [series(gathered, cell, bits) for _, cell in shown], top)),
            )
        )
    return found


def _tuned(gathered: Gathered, table: Table) -> Iterable[tuple[Line, TrainCell, Macro | None]]:
    for line in table.lines:
        cell = gathered.plan.train[line.train_id]
        if cell.method != "none":
            yield line, cell, gathered.macro(table, line)


def _bar_rows(
    gathered: Gathered, table: Table, line: Line, cell: TrainCell
) -> list[dict[str, Any]]:
    rows = []
    for subset, name in table.subsets.items():
        result = gathered.results.cells.get((line.evals.get(subset, ""), table.setting.metric))
        if result is None:
            continue
        score = result.score
        rows.append(
            {
                "language": name,
                "series": series(gathered, cell, line.eval_bits),
                "score": 100 * score.value,
                "low": 100 * (score.value if score.low is None else score.low),
                "high": 100 * (score.value if score.high is None else score.high),
                "chance": None if result.chance is None else 100 * result.chance,
            }
        )
    return rows


def _heatmap(rows: Sequence[dict[str, Any]], reach: float) -> Drawing:
    ranks = _ordered(rows, "r", "order")
    bits = _ordered(rows, "bits", "bits_order")
    base = alt.Chart(alt.InlineData(values=list(rows))).encode(
        x=alt.X("bits:N", sort=bits, title="bits", axis=alt.Axis(labelAngle=0)),
        y=alt.Y("r:N", sort=ranks, title="rank r"),
    )
    # The scheme's ends are dark: white ink there, dark ink on the pale middle.
    ink = alt.condition(f"abs(datum.delta) > {0.62 * reach}", alt.value("#ffffff"), alt.value(_INK))
    return alt.layer(
        base.mark_rect(stroke="#ffffff", strokeWidth=2).encode(
            color=alt.condition(
                "datum.finished",
                alt.Color(
                    "delta:Q",
                    scale=alt.Scale(scheme="blueorange", domain=[-reach, reach], reverse=True),
                    legend=None,
                ),
                alt.value("#f0f2f4"),
            )
        ),
        base.mark_text(dy=-7, fontSize=13, fontWeight="bold").encode(text="text:N", color=ink),
        base.mark_text(dy=9, fontSize=10.5).encode(text="interval:N", color=ink),
    ).properties(width=104 * len(bits), height=50 * len(ranks))


def _bars(rows: Sequence[dict[str, Any]], series: Sequence[str], top: float) -> Drawing:
    order = list(dict.fromkeys(series))
    languages = list(dict.fromkeys(str(row["language"]) for row in rows))
    end = min(100.0, 10 * math.ceil(top / 10)) or 10.0
    base = alt.Chart(alt.InlineData(values=list(rows))).encode(
        y=alt.Y(
            "language:N",
            sort=languages,
            title=None,
            scale=alt.Scale(paddingInner=0.28, paddingOuter=0.14),
            axis=alt.Axis(ticks=False, domain=False, labelPadding=6),
        ),
        yOffset=alt.YOffset("series:N", sort=order),
    )
    layers: list[alt.Chart] = [
        base.mark_bar().encode(
            x=alt.X("score:Q", title="points", scale=alt.Scale(domain=[0, end])),
            color=colour(order),
        ),
        # White below the ink, so that an interval shows on a dark bar too.
        base.mark_rule(color="#ffffff", strokeWidth=3).encode(x="low:Q", x2="high:Q"),
        base.mark_rule(color=_INK, strokeWidth=1).encode(x="low:Q", x2="high:Q"),
    ]
    chances = {row["chance"] for row in rows} - {None}
    if len(chances) == 1:
        rule = alt.Chart(alt.InlineData(values=[{"chance": chances.pop()}]))
        layers.append(rule.mark_rule(color=_MUTED, strokeDash=[4, 3]).encode(x="chance:Q"))
    height = len(languages) * (13 * len(order) + 12)
    return alt.layer(*layers).properties(width=250, height=height)


def colour(series: Sequence[str], symbol: str = "square") -> alt.Color:
    """Colour of each series, ranks in order light to dark; the untuned base is grey."""
    tuned = [name for name in series if name != "untuned"]
    steps = max(1, len(tuned) - 1)
    # Few ranks stay clear of the darkest tones, which look like ink.
    last = min(len(_RAMP) - 1, len(tuned) + 1)
    ramp = {
        name: _RAMP[round(index * last / steps)] if len(tuned) > 1 else _RAMP[2]
        for index, name in enumerate(tuned)
    }
    colours = [_UNTUNED if name == "untuned" else ramp[name] for name in series]
    return alt.Color(
        "series:N",
        scale=alt.Scale(domain=list(series), range=colours),
        legend=alt.Legend(title=None, orient="bottom", columns=3, symbolType=symbol),
    )


def series(gathered: Gathered, cell: TrainCell, bits: int) -> str:
    """Legend entry of a cell among those of its panel, which share base, source and `bits`."""
    name = labels.method_label(cell, gathered.told)
    if cell.train_bits not in {None, bits}:
        name += f", trained in {cell.train_bits} bits"
    return name + (f", seed {cell.seed}" if cell.seed else "")


def _bits(cell: TrainCell, eval_bits: int) -> str:
    if cell.train_bits in {None, eval_bits}:
        return str(eval_bits)
    return f"{cell.train_bits} → {eval_bits}"


def _ordered(rows: Sequence[dict[str, Any]], name: str, by: str) -> list[str]:
    found = {row[name]: row[by] for row in rows}
    return sorted(found, key=lambda key: found[key])


def svg(chart: Drawing) -> str:
    """A chart in the style of all figures."""
    styled = chart.configure(font=_FONT, background="#ffffff", padding=8).configure_view(
        stroke=None
    )
    styled = styled.configure_axis(
        labelColor=_MUTED,
        titleColor=_MUTED,
        titleFontWeight="normal",
        labelFontSize=11.5,
        titleFontSize=11.5,
        gridColor="#e8ebee",
        domainColor="#c9ced4",
        tickColor="#c9ced4",
        labelLimit=150,
    ).configure_legend(
        labelColor=_INK,
        titleColor=_MUTED,
        titleFontWeight="normal",
        titleFontSize=11.5,
        labelFontSize=11.5,
        labelLimit=220,
    )
    # No address is allowed, so that a chart can never load anything.
    return vl_convert.vegalite_to_svg(styled.to_dict(), allowed_base_urls=[])
