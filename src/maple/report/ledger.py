"""The smaller tables: training data, cost, failures, where numbers come from."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from maple.languages import language
from maple.records import Cost, EvalCell, ScoreCell, TrainCell
from maple.report import labels
from maple.report.gathered import Gathered, Line
from maple.store import Record

_KINDS = {"train": "training", "eval": "evaluation", "score": "scoring"}
"""What a report calls the kinds of records."""


@dataclass(frozen=True, slots=True)
class About:
    """What a row of a grid is about, so that the page's filters know it; None for all.

    Attributes:
        language: its key.
        task: a table's title.
    """

    train_id: str | None = None
    eval_bits: int | None = None
    language: str | None = None
    task: str | None = None


@dataclass(frozen=True, slots=True)
class Grid:
    """A plain table: the first column of each row is its heading.

    Attributes:
        notes: sentences under it.
        about: of each row; empty where no filter applies.
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    about: tuple[About, ...] = ()


@dataclass(frozen=True, slots=True)
class FailureView:
    """A failed cell: what it is, what was said, the rest of what is known."""

    kind: str
    label: str
    where: str
    message: str
    exit_status: str
    detail: str


def training_data(gathered: Gathered) -> Grid | None:
    """What was trained on, by language; None where the plan does not say."""
    found = gathered.training_data
    if found.is_empty():
        return None
    bases = list(found["base_name"].unique(maintain_order=True))
    by_line: dict[tuple[str, ...], list[str]] = {}
    for row in found.iter_rows(named=True):
        resource = row["resource_class"]
        line = (
            labels.data_label(row["source"], row["mixture"]),
            language(row["language"]).name,
            "unknown" if resource is None else str(resource),
            row["from_source"],
            labels.count(row["rows"]),
            labels.percent(row["share"]),
            labels.count(row["characters"]),
            *(labels.count(row[name]) for name in ("empty", "unpaired", "held_out")),
        )
        by_line.setdefault(line, []).append(labels.count(row["tokens"]))
    columns = (
        *("data", "language", "class", "from", "rows", "share", "characters"),
        *("empty, left out", "unpaired, left out", "held out"),
        *(f"tokens, {base}" if len(bases) > 1 else "tokens" for base in bases),
    )
    note = (
        "Empty: rows of the source without an output. Unpaired: rows whose id lacks an output in "
        "another language. Tokens: those trained on, over all epochs."
    )
    rows = tuple((*line, *tokens) for line, tokens in by_line.items())
    return Grid("Training data", columns, rows, (note,))


def cost(gathered: Gathered) -> Grid | None:
    """Time, memory and energy per row of the study; None where nothing has been measured."""
    records = {record.id: record for record in gathered.records}
    rows = []
    about = []
    reasons: set[str] = set()
    for line in all_lines(gathered):
        trained = records.get(line.train_id)
        evaluated = [records[name] for name in line.evals.values() if name in records]
        costs = [record.cost for record in evaluated if record.cost is not None]
        train_cost = trained.cost if trained is not None else None
        known = [*costs, *([train_cost] if train_cost is not None else [])]
        if not known:
            continue
        reasons |= {item.energy_note for item in known if item.energy_note}
        outcome = trained.outcome if trained is not None else None
        about.append(About(*line.key))
        rows.append(
            (
                with_base(gathered, line.base_name, line.label),
                labels.seconds(train_cost.seconds if train_cost is not None else None),
                labels.megabytes(train_cost.peak_bytes if train_cost is not None else None),
                labels.megabytes(outcome.adapter_bytes if outcome is not None else None),
                labels.seconds(sum(item.seconds for item in costs) if costs else None),
                labels.count(sum(record.n or 0 for record in evaluated)),
                labels.megabytes(_highest(costs)),
                _energy(known),
            )
        )
    if not rows:
        return None
    columns = (
        "cell",
        "training",
        "peak memory, training",
        "adapter",
        "evaluation",
        "items answered",
        "peak memory, evaluation",
        "energy",
    )
    note = (
        "Wall time of the work itself, loading the base not counted; memory above that at the "
        "cell's start; MB are 10⁶ bytes."
    )
    unknown = [f"Energy unknown: {reason}." for reason in sorted(reasons)]
    notes = (note, *unknown)
    return Grid("Time, memory and energy", columns, tuple(rows), notes, tuple(about))


def failures(gathered: Gathered) -> tuple[FailureView, ...]:
    """Every failed cell of the plan, train cells first."""
    found = []
    for record in gathered.records:
        if record.status != "failed":
            continue
        failure = record.failure
        status = failure.exit_status if failure is not None else None
        found.append(
            FailureView(
                kind=_KINDS[record.kind],
                label=_record_label(gathered, record),
                where=_where(gathered, record),
                message=failure.message if failure is not None else "no message was recorded",
                exit_status="–" if status is None else str(status),
                detail=failure.detail if failure is not None else "",
            )
        )
    return tuple(found)


def provenance(gathered: Gathered) -> Grid:
    """What the numbers were made with; a row for each distinct environment."""
    counted = Counter(
        json.dumps(record.provenance, sort_keys=True)
        for record in gathered.records
        if record.kind != "score"  # no number was made with it
    )
    rows = []
    for text, number in counted.items():
        about: dict[str, Any] = json.loads(text)
        machine, source = about.get("machine", {}), about.get("source", {})
        memory = machine.get("memory_bytes")
        versions = about.get("versions", {})
        commit = source.get("commit") or "unknown"
        if source.get("dirty"):
            commit += ", with uncommitted changes"
        computer = (
            f"{machine.get('host', 'unknown')}: {machine.get('processor', 'unknown')}, "
            f"{machine.get('cores', '?')} cores, {labels.megabytes(memory)}"
        )
        rows.append(
            (
                labels.plural(number, "cell"),
                ", ".join(f"{name} {version}" for name, version in versions.items()),
                commit,
                computer,
            )
        )
    columns = ("made", "versions", "commit", "machine")
    return Grid("Software and machines", columns, tuple(rows))


def bases(gathered: Gathered) -> Grid:
    """The base models, resolved."""
    rows = tuple(
        (
            base.name,
            base.identity,
            base.tokenizer,
            "–" if base.source_precision is None else f"{base.source_precision} bits",
        )
        for base in gathered.plan.bases
    )
    return Grid("Base models", ("name", "identity", "tokenizer", "published quantised in"), rows)


def identifiers(gathered: Gathered) -> Grid:
    """Which folder of the store belongs to which train cell."""
    rows = tuple(
        (with_base(gathered, cell.base_name, labels.train_label(cell, gathered.told)), name)
        for name, cell in gathered.plan.train.items()
    )
    return Grid("Train cells", ("cell", "id"), rows)


def all_lines(gathered: Gathered) -> list[Line]:
    """One line per train cell and precision over all tasks, adapters without evaluation too."""
    evals: dict[tuple[str, int], dict[str, str]] = {}
    order: dict[tuple[str, int], Line] = {}
    for table in gathered.tables:
        for line in table.lines:
            order.setdefault(line.key, line)
            evals.setdefault(line.key, {}).update({name: name for name in line.evals.values()})
    seen = {train_id for train_id, _ in order}
    lines = [
        Line(line.train_id, line.eval_bits, line.label, line.base_name, evals[key])
        for key, line in order.items()
    ]
    for train_id, cell in gathered.plan.train.items():
        if train_id not in seen and cell.method != "none":
            bits = cell.train_bits or 0
            label = labels.train_label(cell, gathered.told)
            lines.append(Line(train_id, bits, label, cell.base_name, {}))
    return lines


def _record_label(gathered: Gathered, record: Record) -> str:
    if isinstance(record.cell, TrainCell):
        cell = record.cell
        label = labels.train_label(cell, gathered.told)
    else:
        asked = _asked(gathered, record.cell)
        cell = gathered.plan.train[asked.train_id]
        label = labels.cell_label(cell, asked.eval_bits, gathered.told)
    return with_base(gathered, cell.base_name, label)


def _where(gathered: Gathered, record: Record) -> str:
    if isinstance(record.cell, TrainCell):
        return ""
    asked = _asked(gathered, record.cell)
    metric = f", {record.cell.metric}" if isinstance(record.cell, ScoreCell) else ""
    return f"{asked.task}, {asked.subset}{metric}"


def _asked(gathered: Gathered, cell: EvalCell | ScoreCell) -> EvalCell:
    return cell if isinstance(cell, EvalCell) else gathered.plan.evals[cell.eval_id]


def with_base(gathered: Gathered, base: str, label: str) -> str:
    """A label with the base's name in front, where the study has several."""
    return label if len(gathered.plan.bases) == 1 else f"{base}: {label}"


def _highest(costs: Sequence[Cost]) -> int | None:
    known = [item.peak_bytes for item in costs if item.peak_bytes is not None]
    return max(known, default=None)


def _energy(costs: Sequence[Cost]) -> str:
    known = [item.energy_joules for item in costs if item.energy_joules is not None]
    if len(known) < len(costs):
        return "unknown"
    return f"{sum(known) / 1000:,.1f} kJ"
