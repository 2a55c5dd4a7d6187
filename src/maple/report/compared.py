"""Two cells against each other on the terminal: what the names stand for, and the table."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from maple.analysis.compare import Comparison, Difference, Side, compare, sides
from maple.errors import StoreError
from maple.report import labels
from maple.report.gathered import Table, notes_of, plan_of, tables_of
from maple.store import PlanFile, Store

_UNTUNED = "untuned"


@dataclass(frozen=True, slots=True)
class Compared:
    """Paired differences of two cells.

    Attributes:
        notes: what the reader should know first; which is A and which is B among them.
        columns: headings of `cells`.
        cells: the rows as text, in points of 100.
        caution: what stands under them.
        content: the same as JSON-ready values, scores from 0 to 1.
    """

    notes: tuple[str, ...]
    columns: tuple[str, ...]
    cells: tuple[tuple[str, ...], ...]
    caution: tuple[str, ...]
    content: dict[str, Any]


def compared(store: Store, a: str, b: str) -> Compared:
    """Cell B minus cell A by task and subset, under the primary metrics.

    Args:
        a, b: what `resolve` takes.

    Raises:
        StoreError: a name stands for no cell or for several, both stand for the same one, or
            there is nothing that both answered; no plan in the folder; a file cannot be read.
    """
    plan = plan_of(store)
    one, other = resolve(plan, a), resolve(plan, b)
    if one == other:
        raise StoreError(
            f"{a!r} and {b!r} are the same cell: {_label(plan, one)}", "name two different ones"
        )
    found = {comparison.setting: comparison for comparison in compare(store, plan, one, other)}
    shown = [(table, found[table.setting]) for table in tables_of(plan) if table.setting in found]
    if not any(comparison.subsets for _, comparison in shown):
        raise StoreError(
            f"A ({_label(plan, one)}) and B ({_label(plan, other)}) share no answered items",
            "the plan asks them nothing in common"
            if not found
            else "`maple status` says what is missing",
        )
    rows = [row for table, comparison in shown for row in _rows(plan, table, comparison)]
    sentences = _differing(one, other, [comparison for _, comparison in shown])
    notes = (
        *notes_of(store, plan),
        f"A: {_label(plan, one)}",
        f"B: {_label(plan, other)}",
        *sentences,
    )
    columns = ("task", "metric", "language", "A", "B", "B − A", "items", "clusters")
    content = {
        "a": {**asdict(one), "label": _label(plan, one)},
        "b": {**asdict(other), "label": _label(plan, other)},
        "notes": [*notes_of(store, plan), *sentences],
        "rows": [values for _, values in rows],
    }
    return Compared(notes, columns, tuple(cells for cells, _ in rows), _caution(shown), content)


def resolve(plan: PlanFile, name: str) -> Side:
    """The cell that a name stands for.

    Args:
        name: id of a train cell or the beginning of one, "untuned", or "untuned:BASE" with several
            bases; "@4" behind it where the cell is evaluated at several precisions.

    Raises:
        StoreError: it stands for none or for several, with the ones it can mean.
    """
    known = sides(plan)
    found = [side for side in known if _means(plan, side, name)]
    # A base's own name may hold an "@", too: "untuned:org/name@revision".
    cut = re.fullmatch(r"(.+)@(\d+)", name)
    if not found and cut is not None:
        found = [
            side for side in known if side.eval_bits == int(cut[2]) and _means(plan, side, cut[1])
        ]
    if len(found) == 1:
        return found[0]
    wrong = "is no evaluated cell" if not found else f"may be any of {len(found)} cells"
    candidates = found or known
    lines = [f"  {_name(plan, side, known)}: {_label(plan, side)}" for side in candidates]
    raise StoreError(f"{name!r} {wrong} of this study", "\n".join(["name one of these:", *lines]))


def _means(plan: PlanFile, side: Side, name: str) -> bool:
    cell = plan.train[side.train_id]
    if cell.method == "none" and name in {_UNTUNED, f"{_UNTUNED}:{cell.base_name}"}:
        return True
    return bool(name) and side.train_id.startswith(name)


def _name(plan: PlanFile, side: Side, known: Sequence[Side]) -> str:
    """The shortest name of a cell that says what it is."""
    cell = plan.train[side.train_id]
    name = side.train_id
    if cell.method == "none":
        several = len({plan.train[one.train_id].base for one in known}) > 1
        name = f"{_UNTUNED}:{cell.base_name}" if several else _UNTUNED
    bits = [one.eval_bits for one in known if one.train_id == side.train_id]
    return f"{name}@{side.eval_bits}" if len(bits) > 1 else name


def _label(plan: PlanFile, side: Side) -> str:
    cell = plan.train[side.train_id]
    label = labels.cell_label(cell, side.eval_bits, labels.differing(plan.train.values()))
    return label if len(plan.bases) == 1 else f"{cell.base_name}: {label}"


def _differing(a: Side, b: Side, comparisons: Sequence[Comparison]) -> tuple[str, ...]:
    """What sets the cells apart besides training, and what could not be compared."""
    told = []
    if a.eval_bits != b.eval_bits:
        told.append(
            f"Evaluated at different precisions: A in {a.eval_bits} bits, B in {b.eval_bits}."
        )
    engines = dict.fromkeys(one.engines for one in comparisons if one.engines)
    told += [f"Evaluated by different engines: {one}." for one in engines]
    left_out = [f"{one.setting.task}/{subset}" for one in comparisons for subset in one.missing]
    if left_out:
        told.append(f"Without scored answers of both, and left out: {', '.join(left_out)}.")
    return tuple(told)


def _rows(
    plan: PlanFile, table: Table, comparison: Comparison
) -> list[tuple[tuple[str, ...], dict[str, Any]]]:
    """Cells and values of every subset, and of their mean."""
    setting = asdict(comparison.setting)

    def row(
        language: str, subset: str | None, key: str | None, one: Difference
    ) -> tuple[tuple[str, ...], dict[str, Any]]:
        found = one.difference
        shown = (labels.signed(found.value), labels.interval(found, sign=True))
        cells = (
            *(table.title, comparison.setting.metric, language),
            *(labels.points(one.a), labels.points(one.b)),
            " ".join(filter(None, (*shown, labels.direction(found)))),
            *(str(found.n), str(found.clusters)),
        )
        values = {
            **setting,
            "subset": subset,
            "language": key,
            "a": one.a,
            "b": one.b,
            "difference": found.value,
            "difference_low": found.low,
            "difference_high": found.high,
            "items": found.n,
            "clusters": found.clusters,
        }
        return cells, values

    rows = [
        row(name, subset, plan.languages[f"{table.setting.task}/{subset}"], one)
        for subset, name in table.subsets.items()
        if (one := comparison.subsets.get(subset)) is not None
    ]
    if comparison.mean is not None:
        mean = f"mean of {len(comparison.subsets)} languages"
        rows.append(row(mean, None, None, comparison.mean))
    return rows


def _caution(shown: Sequence[tuple[Table, Comparison]]) -> tuple[str, ...]:
    differences = [one.difference for _, comparison in shown for one in comparison.subsets.values()]
    known = [one for one in differences if one.low is not None]
    lines = [
        "Points of 100; B minus A on the items that both answered, with 95 % intervals by cluster."
    ]
    if known:
        marked = sum(bool(labels.direction(one)) for one in known)
        lines.append(
            f"{labels.UP} or {labels.DOWN}: the interval excludes 0, which {marked} of "
            f"{labels.plural(len(known), 'language difference')} do. Without any true difference "
            "about 1 in 20 would; no correction is made for looking at many."
        )
    if len(known) < len(differences):
        lines.append("No interval where all items form one cluster.")
    return tuple(lines)
