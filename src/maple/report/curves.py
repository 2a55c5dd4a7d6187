"""Training loss, smoothed, and held-out loss beside it: what the figure of curves is drawn from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import polars as pl

from maple.languages import language
from maple.records import TrainCell
from maple.report import labels
from maple.report.gathered import Gathered

# A panel's longest training is about so many windows of smoothing long.
_WINDOWS = 40
_CURVE_POINTS, _MOST_POINTS = 150, 12
# Runs times languages whose points can be told apart in one panel.
_MOST_POINTED, _MOST_LANGUAGES = 24, 7

Content = dict[str, Any]


def content(gathered: Gathered) -> list[Content]:
    """A panel a base and source, with its runs.

    Returns:
        Per panel its title, the window of smoothing, and per run the adapter, its series (method
        and rank), its precision, its loss by step, and by name of the language its held-out loss
        by step.
    """
    panels: dict[tuple[str, str], dict[str, TrainCell]] = {}
    logged = {*gathered.curves["train_id"], *gathered.validation["train_id"]}
    for name, cell in gathered.plan.train.items():
        if name in logged:
            panels.setdefault((cell.base_name, labels.trained_on(cell)), {})[name] = cell
    return [_panel(gathered, ", ".join(key), runs) for key, runs in panels.items()]


def rows(panels: list[Content]) -> list[Content]:
    """The panels as rows of the figure: a row a step of a run, or a held-out loss."""
    found = []
    for number, panel in enumerate(panels):
        for run in panel["runs"]:
            shared = {
                "panel": f"{panel['title']}; {panel['smoothed']}",
                "panel_order": number,
                "series": run["series"],
                "bits": f"{run['bits']} bits",
            }
            for name, (steps, losses) in {"": run["loss"], **run["held"]}.items():
                found += [
                    {
                        **shared,
                        "run": run["train"],
                        "held": name,
                        "step": step,
                        "loss": loss,
                        "about": f"{run['label']}: {name or 'training'}, step {step}: {loss:.3f}",
                    }
                    for step, loss in zip(steps, losses, strict=True)
                    if loss is not None
                ]
    return found


def _panel(gathered: Gathered, title: str, runs: Mapping[str, TrainCell]) -> Content:
    log = gathered.curves.filter(pl.col("train_id").is_in(list(runs)))
    longest = log.group_by("train_id").len()["len"].max() or 0
    window = 2 * (int(str(longest)) // _WINDOWS) + 1
    held = _held(gathered, runs)

    def order(name: str) -> tuple[object, ...]:
        cell = runs[name]
        method = cell.method, cell.learning_rate or 0, cell.r or 0
        return *method, cell.train_bits or 0, cell.seed or 0

    return {
        "title": title,
        "smoothed": "every step" if window == 1 else f"mean of {window} steps",
        "runs": [
            {
                "train": name,
                "label": labels.train_label(runs[name], gathered.told),
                "series": labels.method_label(runs[name], gathered.told),
                "bits": runs[name].train_bits or 0,
                "loss": _points(
                    _smooth(log.filter(pl.col("train_id") == name), window), _CURVE_POINTS
                ),
                "held": held.get(name, {}),
            }
            for name in sorted(runs, key=order)
        ],
    }


def _held(
    gathered: Gathered, runs: Mapping[str, TrainCell]
) -> dict[str, dict[str, list[list[float | None]]]]:
    """Held-out loss of a panel's runs: by language, or as a mean where that would be too many."""
    # The runs of a panel have their data in common.
    trained = next(iter(runs.values())).languages or ()
    found = gathered.validation.filter(pl.col("train_id").is_in(list(runs)))
    languages = found["language"].n_unique()
    if languages > _MOST_LANGUAGES or languages * len(runs) > _MOST_POINTED:
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
    held: dict[str, dict[str, list[list[float | None]]]] = {}
    for (run, key), own in found.group_by("train_id", "language", maintain_order=True):
        spoken = _spoken(str(key), trained)
        held.setdefault(str(run), {})[spoken] = _points(own.select("step", "loss"), _MOST_POINTS)
    return held


def _spoken(key: str, trained: tuple[str, ...]) -> str:
    if not key:
        return "mean of languages"
    name = language(key).name
    return name if key in trained else f"{name} (not trained on)"


def _smooth(log: pl.DataFrame, window: int) -> pl.DataFrame:
    """Step and mean loss of the `window` steps around it, of fewer at the ends."""
    mean = pl.col("loss").rolling_mean(window, min_samples=1, center=True)
    return log.select("step", mean)


def _points(rows: pl.DataFrame, most: int) -> list[list[float | None]]:
    """Steps and losses of at most `most` rows, evenly spaced, the first and the last among them."""
    if rows.height > most:
        rows = rows[[round(index * (rows.height - 1) / (most - 1)) for index in range(most)]]
    losses = [round(loss, 4) if math.isfinite(loss) else None for loss in rows["loss"]]
    return [rows["step"].to_list(), losses]
