"""Published scores beside ours, where task, language and metric agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean

from maple.analysis.published import CAUTION, SOURCE, Published, published
from maple.report import labels
from maple.report.gathered import Gathered, Line, Table
from maple.report.ledger import Grid, with_base

_MOST_ROWS = 12
"""Rows of ours, the untuned bases first: the published ones should stay in sight."""

_TRANSLATED = "translate-test"
"""The set-up whose items are in English: its languages are none of those published."""


def references(gathered: Gathered, table: Table) -> Grid | None:
    """Published systems by our languages, then rows of ours; None where nothing agrees.

    Numbers that cannot be scores are left out, and counted in the notes.
    """
    setting = table.setting
    found = published(setting.task, setting.metric.partition("[")[0])
    if setting.dataset != "release" or setting.setup == _TRANSLATED or not found:
        return None
    subsets = _subsets(gathered, table)
    shared = [row for row in found if row.language in subsets]
    systems: dict[tuple[str, str], dict[str, float]] = {}
    for row in shared:
        if not row.doubt:
            systems.setdefault((row.system, row.mode), {})[row.language] = row.value
    known = {key for values in systems.values() for key in values}
    columns = {key: name for key, name in subsets.items() if key in known}
    if not columns:
        return None
    ours, more = _ours(gathered, table, columns)
    return Grid(
        f"Published scores beside ours: {table.title}, {setting.metric}",
        ("scores of", "set-up", *(table.subsets[name] for name in columns.values()), "mean"),
        (
            *(
                _row(system, mode, values, list(columns))
                for (system, mode), values in systems.items()
            ),
            *ours,
        ),
        (SOURCE, CAUTION, _protocol(gathered, table), *_left_out(shared, more)),
    )


def _subsets(gathered: Gathered, table: Table) -> dict[str, str]:
    """Subset by language; of pairs, those with both sides in it."""
    found = {}
    for subset in table.subsets:
        key = gathered.plan.languages[f"{table.setting.task}/{subset}"]
        if subset in {key, f"{key}.{key}"}:
            found[key] = subset
    return found


def _ours(
    gathered: Gathered, table: Table, columns: Mapping[str, str]
) -> tuple[list[tuple[str, ...]], int]:
    """Our rows, and how many more there are."""
    rows = []

    def tuned(line: Line) -> bool:
        return gathered.plan.train[line.train_id].method != "none"

    for line in sorted(table.lines, key=tuned):
        values = {
            key: 100 * result.score.value
            for key, subset in columns.items()
            if subset in line.evals
            and (result := gathered.results.cells.get((line.evals[subset], table.setting.metric)))
        }
        if values:
            name = f"ours: {with_base(gathered, line.base_name, line.label)}"
            rows.append(_row(name, table.setting.setup, values, list(columns)))
    return rows[:_MOST_ROWS], len(rows[_MOST_ROWS:])


def _row(
    name: str, setup: str, values: Mapping[str, float], languages: Sequence[str]
) -> tuple[str, ...]:
    """`values` in points by language."""
    whole = all(key in values for key in languages)
    return (
        name,
        setup,
        *(labels.points(values[key] / 100) if key in values else "–" for key in languages),
        labels.points(mean(values.values()) / 100) if whole else "–",
    )


def _protocol(gathered: Gathered, table: Table) -> str:
    setting = table.setting
    template = "" if setting.template is None else f" in training template {setting.template}"
    limit = gathered.plan.limit
    items = "all items" if limit is None else f"the first {limit} items of each language"
    return (
        f"Ours: prompt {setting.prompt}{template}, {labels.plural(setting.n_shot, 'exemplar')}, "
        f"{items}, metric {setting.metric}; intervals are in the table of the task. "
        "Mean: of rows that have every language here."
    )


def _left_out(shared: Sequence[Published], more: int) -> list[str]:
    told = []
    doubts = [row.doubt for row in shared if row.doubt]
    if doubts:
        reasons = "; ".join(dict.fromkeys(doubts))
        told.append(f"{labels.plural(len(doubts), 'published number')} left out: {reasons}.")
    if more:
        told.append(f"{labels.plural(more, 'row')} of ours left out, which the table above has.")
    return told
