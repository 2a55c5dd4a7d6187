"""What each adapter gains for its cost."""

from __future__ import annotations

from typing import Any

from maple.report import labels
from maple.report.gathered import Gathered
from maple.report.ledger import About, Grid, with_base

_COLUMNS = (
    *("cell", "gain, points", "95 % interval", "training", "peak memory, training", "adapter"),
    *("energy, training", "1,000 answers", "peak memory, answering", "energy, 1,000 answers"),
    *("training a point", "memory a point", "adapter MB a point", "energy a point"),
    "on the front of",
)
_FRONTS = {"front_seconds": "time", "front_memory": "memory", "front_size": "size"}


def gains(gathered: Gathered) -> Grid | None:
    """Gain and cost of every finished adapter at every precision; None where there is none.

    Columns of which nothing is known are left out.
    """
    found = list(gathered.gains.iter_rows(named=True))
    if not found:
        return None
    labelled = {
        line.key: with_base(gathered, line.base_name, line.label)
        for table in gathered.tables
        for line in table.lines
    }
    rows = [_row(labelled[row["train_id"], row["eval_bits"]], row) for row in found]
    kept = [index for index in range(len(_COLUMNS)) if any(row[index] != "–" for row in rows)]
    columns = tuple(_COLUMNS[index] for index in kept)
    return Grid(
        "What a point gained costs",
        columns,
        tuple(tuple(row[index] for index in kept) for row in rows),
        _notes(gathered, len(found)),
        tuple(About(row["train_id"], row["eval_bits"]) for row in found),
    )


def _notes(gathered: Gathered, shown: int) -> tuple[str, ...]:
    plan = gathered.plan
    asked = {
        (cell.train_id, cell.eval_bits)
        for cell in plan.evals.values()
        if plan.train[cell.train_id].method != "none"
    }
    gain = (
        "Gain: mean difference to the untuned base at the same precision over all tasks under "
        "their primary metrics, each weighing the same; the interval is over items, and other "
        "seeds may differ by more."
    )
    price = (
        "A cost a point is shown where the gain's interval lies above 0: what is paid for nothing "
        "has no price a point."
    )
    fronts = (
        "On the front of training time, peak memory of training or size of the adapter: no other "
        "adapter of the base gains at least as much for no more; by the point estimates, so it is "
        "itself uncertain."
    )
    left_out = len(asked) - shown
    unfinished = [f"{labels.plural(left_out, 'row')} left out: not finished."] if left_out else []
    return gain, price, fronts, *unfinished


def _row(label: str, row: dict[str, Any]) -> tuple[str, ...]:
    on = [name for column, name in _FRONTS.items() if row[column]]
    low, high = row["low"], row["high"]
    return (
        label,
        labels.signed(row["gain"] / 100),
        "–"
        if low is None or high is None
        else f"[{labels.signed(low / 100)}, {labels.signed(high / 100)}]",
        labels.seconds(row["train_seconds"]),
        labels.megabytes(row["train_peak_bytes"]),
        labels.megabytes(row["adapter_bytes"]),
        _kilojoules(row["train_joules"]),
        labels.seconds(row["eval_seconds"]),
        labels.megabytes(row["eval_peak_bytes"]),
        _kilojoules(row["eval_joules"]),
        labels.seconds(row["seconds_per_point"]),
        labels.megabytes(row["peak_bytes_per_point"]),
        labels.megabytes(row["adapter_bytes_per_point"]),
        _kilojoules(row["joules_per_point"]),
        ", ".join(on) or "–",
    )


def _kilojoules(joules: float | None) -> str:
    return "–" if joules is None else f"{joules / 1000:,.1f} kJ"
