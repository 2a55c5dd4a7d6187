"""What training did: a line a trained cell, and the loss on held-out rows by language."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from maple.languages import language
from maple.report import labels
from maple.report.gathered import Gathered
from maple.report.ledger import About, Grid, with_base
from maple.study.methods import METHODS

_COLUMNS = (
    *("base", "method", "r", "alpha", "bits", "source", "mixture", "template", "learning rate"),
    *("seed", "status", "rows", "rows too long", "tokens", "labelled tokens", "steps"),
    *("kept after step", "loss, first tenth", "loss, last tenth", "tokens a second"),
    *("ceiling", "share of it", "peak memory", "energy", "trained parameters", "size on disk"),
)
_NOTES = {
    "loss, last tenth": (
        "Loss in nats a labelled token, mean over the first and the last tenth of the steps."
    ),
    "kept after step": "Kept after step: training could stop early, and kept its best weights.",
    "tokens a second": (
        "Tokens a second: padding does not count; the time of the steps, with checkpoints and "
        "without validation."
    ),
    "ceiling": (
        "Ceiling: rate of a large matrix product, the best of some before and after the training; "
        "other work on the machine lowers it. Share of it: operations of all steps, counted from "
        "the shapes, by the time of the steps."
    ),
    "peak memory": (
        "Peak memory above that with the base loaded; like energy, of the last attempt where a "
        "training was interrupted."
    ),
}


def training(gathered: Gathered) -> Grid | None:
    """What became of every adapter; None for a study that trains none.

    Columns of which nothing is known are left out.
    """
    found = list(gathered.training.iter_rows(named=True))
    if not found:
        return None
    rows = [_row(gathered, row) for row in found]
    kept = [index for index in range(len(_COLUMNS)) if any(row[index] != "–" for row in rows)]
    columns = tuple(_COLUMNS[index] for index in kept)
    unknown = sorted({row["energy_note"] for row in found} - {None, ""})
    return Grid(
        "Training",
        columns,
        tuple(tuple(row[index] for index in kept) for row in rows),
        (
            *(note for name, note in _NOTES.items() if name in columns),
            *(f"Energy unknown: {reason}." for reason in unknown),
        ),
        tuple(About(row["train_id"]) for row in found),
    )


def held_out(gathered: Gathered) -> Grid | None:
    """Loss on held-out rows before and after; None where nothing was held out."""
    rows = []
    about = []
    for row in gathered.held_out.iter_rows(named=True):
        cell = gathered.plan.train[row["train_id"]]
        name = language(row["language"]).name
        about.append(About(row["train_id"]))
        rows.append(
            (
                with_base(gathered, cell.base_name, labels.train_label(cell, gathered.told)),
                f"{name} (not trained on: forgetting)" if row["forgetting"] else name,
                labels.nats(row["before"]),
                labels.nats(row["after"]),
                labels.signed_nats(row["difference"]),
            )
        )
    if not rows:
        return None
    note = (
        "Mean loss in nats a labelled token on rows that were not trained on, before training and "
        "of the weights that were kept; a difference below 0 is a lower loss. No interval: "
        "few rows tell little."
    )
    columns = ("adapter", "language", "before", "after", "difference")
    return Grid("Held-out loss", columns, tuple(rows), (note,), tuple(about))


def _row(gathered: Gathered, row: Mapping[str, Any]) -> tuple[str, ...]:
    cell = gathered.plan.train[row["train_id"]]
    method = METHODS.get(cell.method)
    share = row["ceiling_share"]
    return (
        cell.base_name,
        labels.method_label(cell) if method is None else method.label,
        _number(cell.r),
        _number(cell.lora_alpha),
        _number(cell.train_bits),
        _text(None if method is None else cell.source),
        _text(cell.mixture),
        _text(cell.template_name),
        _number(cell.learning_rate),
        _number(cell.seed),
        row["status"],
        *(
            labels.count(row[name])
            for name in ("rows", "dropped_rows", "tokens", "labelled_tokens", "steps", "best_step")
        ),
        labels.nats(row["loss_first"]),
        labels.nats(row["loss_last"]),
        labels.count(row["tokens_per_second"]),
        "–" if row["ceiling"] is None else f"{row['ceiling'] / 1e9:,.0f} GFLOP/s",
        "–" if share is None else labels.percent(share),
        labels.megabytes(row["peak_bytes"]),
        _energy(row),
        labels.count(row["trainable_parameters"]),
        labels.megabytes(row["adapter_bytes"]),
    )


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:g}"


def _text(value: str | None) -> str:
    return value or "–"


def _energy(row: Mapping[str, Any]) -> str:
    if row["energy_joules"] is not None:
        return f"{row['energy_joules'] / 1000:,.1f} kJ"
    return "unknown" if row["energy_note"] else "–"
