"""Loss curves as figures: training loss, smoothed, and held-out loss beside it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import altair as alt
import polars as pl

from maple.languages import language
from maple.records import TrainCell
from maple.report import figures, labels
from maple.report.gathered import Gathered

# A panel's longest training is about so many windows of smoothing long.
_WINDOWS = 40
_CURVE_POINTS, _MOST_POINTS = 150, 12
# Runs times languages whose points can be told apart in one panel.
_MOST_POINTED = 24
_SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right")
# By precision, from few bits to many: there are four.
_DASHES = ([1, 0], [6, 2], [3, 2], [1, 2])


def curves(gathered: Gathered) -> list[figures.Figure]:
    """Training and held-out loss by step, one figure a base and source."""
    panels: dict[tuple[str, str], dict[str, TrainCell]] = {}
    logged = {*gathered.curves["train_id"], *gathered.validation["train_id"]}
    for name, cell in gathered.plan.train.items():
        if name in logged:
            panels.setdefault((cell.base_name, labels.trained_on(cell)), {})[name] = cell
    found = []
    for number, (key, runs) in enumerate(panels.items(), start=1):
        log = gathered.curves.filter(pl.col("train_id").is_in(list(runs)))
        longest = log.group_by("train_id").len()["len"].max() or 0
        window = 2 * (int(str(longest)) // _WINDOWS) + 1
        smoothed = "every step" if window == 1 else f"mean of {window} steps"
        series = _told_apart(gathered, runs)
        lines = [
            {"series": series[str(name)], "run": name, **point}
            for (name,), own in log.group_by("train_id", maintain_order=True)
            for point in _spaced(_smooth(own, window), _CURVE_POINTS).to_dicts()
        ]
        points = _points(gathered, runs, series)
        shown = "Training loss" + (" and held-out loss" if points else "")
        found.append(
            figures.Figure(
                f"training-{number}",
                f"{key[0]}, {key[1]}; {smoothed}",
                f"{shown} in nats a labelled token by optimiser step",
                figures.svg(_curves(lines, points, series, runs)),
            )
        )
    return found


def _told_apart(gathered: Gathered, runs: Mapping[str, TrainCell]) -> dict[str, str]:
    """Legend entry of each run of a panel, by precision within rank, so that hues go by rank."""
    several = len({cell.train_bits for cell in runs.values()}) > 1

    def order(name: str) -> tuple[object, ...]:
        cell = runs[name]
        return (
            cell.method,
            cell.learning_rate or 0,
            cell.r or 0,
            cell.train_bits or 0,
            cell.seed or 0,
        )

    return {
        name: figures.series(gathered, runs[name], runs[name].train_bits or 0)
        + (f", {runs[name].train_bits} bits" if several else "")
        for name in sorted(runs, key=order)
    }


def _points(
    gathered: Gathered, runs: Mapping[str, TrainCell], series: Mapping[str, str]
) -> list[dict[str, object]]:
    """Held-out loss of a panel: by language, or as a mean where that would be too many."""
    # The runs of a panel have their data in common.
    trained = next(iter(runs.values())).languages or ()
    found = gathered.validation.filter(pl.col("train_id").is_in(list(runs)))
    languages = found["language"].n_unique()
    if languages > len(_SHAPES) or languages * len(runs) > _MOST_POINTED:
        name = (
            pl.when(pl.col("language").is_in(trained))
            .then(pl.lit(""))
            .otherwise(pl.col("language"))
        )
        found = (
            found.with_columns(name.alias("language"))
            .group_by("train_id", "step", "language", maintain_order=True)
            .agg(pl.col("loss").mean())
        )
    drawn = found.group_by("train_id", "language", maintain_order=True)
    return [
        {
            "series": series[str(name)],
            "language": _spoken(str(key), trained),
            "step": point["step"],
            "loss": point["loss"],
        }
        for (name, key), own in drawn
        for point in _spaced(own, _MOST_POINTS).to_dicts()
    ]


def _spoken(key: str, trained: Collection[str]) -> str:
    if not key:
        return "mean of languages"
    name = language(key).name
    return name if key in trained else f"{name} (not trained on)"


def _curves(
    lines: Sequence[dict[str, object]],
    points: Sequence[dict[str, object]],
    series: Mapping[str, str],
    runs: Mapping[str, TrainCell],
) -> figures.Drawing:
    order = list(dict.fromkeys(series.values()))
    top = max(float(str(row["loss"])) for row in (*lines, *points))
    bits = sorted({cell.train_bits or 0 for cell in runs.values()})
    dashes = {
        entry: _DASHES[bits.index(runs[name].train_bits or 0)] for name, entry in series.items()
    }
    colour = figures.colour(order, "stroke")
    dash = alt.StrokeDash(
        "series:N",
        scale=alt.Scale(domain=order, range=[dashes[name] for name in order]),
        legend=colour["legend"],
    )
    x = alt.X("step:Q", title="step", axis=alt.Axis(tickMinStep=1, format="d"))
    y = alt.Y("loss:Q", title="loss", scale=alt.Scale(domain=[0, top * 1.02], nice=False))
    layers = [
        alt.Chart(alt.InlineData(values=list(lines)))
        .mark_line(strokeWidth=1.6)
        .encode(x=x, y=y, color=colour, strokeDash=dash, detail="run:N")
    ]
    if points:
        spoken = sorted({str(row["language"]) for row in points})
        shape = alt.Shape(
            "language:N",
            scale=alt.Scale(domain=spoken, range=_SHAPES[: len(spoken)]),
            legend=alt.Legend(title="held out", orient="top", titleOrient="left", columns=2),
        )
        layers.append(
            alt.Chart(alt.InlineData(values=list(points)))
            .mark_point(size=34, filled=False, strokeWidth=1.3)
            .encode(x=x, y=y, color=colour, shape=shape)
        )
    return alt.layer(*layers).properties(width=290, height=180)


def _smooth(log: pl.DataFrame, window: int) -> pl.DataFrame:
    """Step and mean loss of the `window` steps around it, of fewer at the ends."""
    mean = pl.col("loss").rolling_mean(window, min_samples=1, center=True)
    return log.select("step", mean)


def _spaced(rows: pl.DataFrame, most: int) -> pl.DataFrame:
    """At most `most` rows, evenly spaced, the first and the last among them."""
    if rows.height <= most:
        return rows
    return rows[[round(index * (rows.height - 1) / (most - 1)) for index in range(most)]]
