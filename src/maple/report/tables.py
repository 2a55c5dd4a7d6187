"""What stands under the main table of each setting, and the table of means for a paper."""

from __future__ import annotations

from dataclasses import dataclass

from maple.analysis.results import Result
from maple.records import EvalCell, Noise, TrainCell
from maple.report import labels
from maple.report.gathered import Gathered, Table
from maple.report.ledger import Grid, with_base

FEW_CLUSTERS = 20
"""Up to here 95 % intervals of scores near 0 or 100 hold in 92 % (docs/guides/statistics.md)."""


@dataclass(frozen=True, slots=True)
class TableNotes:
    """What must stand under a table.

    Attributes:
        protocol: pieces of the protocol line.
        caution: how to read intervals and marks.
    """

    protocol: tuple[str, ...]
    caution: tuple[str, ...]


def table_notes(gathered: Gathered, table: Table) -> TableNotes:
    """What must stand under a setting's table."""
    return TableNotes(_protocol(gathered, table), _caution(gathered, table))


def cell_state(gathered: Gathered, eval_id: str | None, metric: str) -> str:
    """What became of a cell of a table, as the page says it."""
    if eval_id is None:
        return "not in the plan"
    status = "failed" if (eval_id, metric) in gathered.unscored else gathered.statuses[eval_id]
    if (eval_id, metric) in gathered.results.cells:
        return "failed, fewer items" if status == "failed" else "done"
    return "not scored" if status == "done" else status


def means(gathered: Gathered) -> Grid:
    """The mean over languages of every cell under every metric, for a paper."""
    rows = []
    for table, line, macro in gathered.means():
        delta = macro.delta
        mark = labels.mark(delta, macro.adjusted)
        rows.append(
            (
                with_base(gathered, line.base_name, line.label),
                table.title,
                table.setting.metric,
                labels.points(macro.score.value),
                labels.interval(macro.score),
                "" if delta is None else f"{labels.signed(delta.value)} {mark}".strip(),
                "" if delta is None else labels.interval(delta, sign=True),
                f"{len(macro.subsets)} of {macro.planned}",
            )
        )
    columns = (
        *("cell", "task", "metric", "mean", "95 % interval", "difference", "95 % interval"),
        "languages",
    )
    note = (
        "Means over languages in points of 100; difference to the untuned base at the same "
        f"precision, {labels.UP} or {labels.DOWN} where its interval excludes 0, doubled where its "
        "p-value by sign flips is below 0.05 by Holm over the cells of the task and metric, too."
    )
    return Grid("Mean over languages", columns, tuple(rows), (note,))


def results_of(gathered: Gathered, table: Table) -> list[Result]:
    """Every finished and scored cell of a table."""
    found = (
        gathered.results.cells.get((eval_id, table.setting.metric))
        for line in table.lines
        for eval_id in line.evals.values()
    )
    return [result for result in found if result is not None]


def _protocol(gathered: Gathered, table: Table) -> tuple[str, ...]:
    setting = table.setting
    cells = [gathered.plan.evals[name] for line in table.lines for name in line.evals.values()]
    shots = "no exemplars"
    if setting.n_shot:
        shots = f"{labels.plural(setting.n_shot, 'exemplar')} (seed {setting.exemplar_seed})"
    template = "" if setting.template is None else f" in training template {setting.template}"
    answered = "answers by log-probability of the choices"
    if any(cell.deterministic for cell in cells):
        shots += ", every item asked alone"
    if setting.decoding != "choices":
        answered = f"{setting.decoding} decoding, at most {setting.max_new_tokens} new tokens"
    engines = {(cell.eval_bits, cell.engine, cell.compute_dtype) for cell in cells}
    subsets = labels.plural(len(table.subsets), "subset")
    return (
        f"{setting.task}, dataset {setting.dataset}, {subsets}: {', '.join(table.subsets)}",
        f"{setting.setup}, prompt {setting.prompt}{template}, {shots}",
        f"{answered}; {_shortened(gathered, table)}",
        f"metric {setting.metric}, version {setting.version}, rules {_rules(table)}",
        "; ".join(
            f"{bits} bits: engine {engine}, computing in {dtype}"
            for bits, engine, dtype in sorted(engines)
        ),
        _sizes(gathered, table),
        *_trained(gathered, table),
    )


def _trained(gathered: Gathered, table: Table) -> list[str]:
    """What sets the size of the steps of every method, beside the numbers of its ranks."""
    groups: dict[tuple[object, ...], list[TrainCell]] = {}
    for line in table.lines:
        cell = gathered.plan.train[line.train_id]
        if cell.train_bits is not None:
            key = cell.method, cell.learning_rate, cell.options
            groups.setdefault(key, []).append(cell)
    told = [labels.steps_label(cells) for cells in groups.values()]
    return [f"trained: {'; '.join(told)}"] if told else []


def _shortened(gathered: Gathered, table: Table) -> str:
    """How many prompts of a table leave something out, and how much."""
    names = {name for line in table.lines for name in line.evals.values()}
    records = [record for record in gathered.records if record.id in names]
    left_out = [one for record in records for one in record.shortened.values()]
    if not left_out:
        return "no prompt leaves anything out"
    answers = sum(record.n or 0 for record in records)
    cut = sum(one.tokens > 0 for one in left_out)
    return (
        f"to fit the context {len(left_out)} of {answers} prompts leave out "
        f"{labels.plural(sum(one.exemplars for one in left_out), 'exemplar')}, and {cut} of them "
        f"{labels.plural(sum(one.tokens for one in left_out), 'token')} of their text"
    )


def _rules(table: Table) -> str:
    by_rule: dict[str, list[str]] = {}
    for subset, rule in table.rules.items():
        by_rule.setdefault(rule, []).append(table.subsets[subset])
    if len(by_rule) == 1:
        return next(iter(by_rule)) or "none"
    return ", ".join(f"{rule} ({', '.join(names)})" for rule, names in by_rule.items())


def _sizes(gathered: Gathered, table: Table) -> str:
    scores = [result.score for result in results_of(gathered, table)]
    if not scores:
        return "nothing scored yet"
    items = [score.n for score in scores]
    clusters = labels.spread([score.clusters for score in scores])
    limit = gathered.plan.limit
    limited = "no limit" if limit is None else f"limit {limit}"
    return f"{labels.spread(items)} items a subset in {clusters} clusters, {limited}"


def _caution(gathered: Gathered, table: Table) -> tuple[str, ...]:
    found = results_of(gathered, table)
    meaning = (
        "Points of 100 with 95 % intervals (bootstrap over clusters of items, paired by item for "
        "the difference to the untuned base at the same precision)."
    )
    lines = [meaning]
    marks = [
        labels.mark(row.delta, row.adjusted)
        for row in found
        if row.delta is not None and row.delta.low is not None
    ]
    if marks:
        marked, doubled = (sum(len(mark) >= size for mark in marks) for size in (1, 2))
        lines.append(
            f"{labels.UP} or {labels.DOWN}: the interval of the difference excludes 0, which "
            f"{marked} of {len(marks)} language differences do. Without any true difference about "
            f"1 in 20 would. Doubled ({2 * labels.UP}, {2 * labels.DOWN}): its p-value by sign "
            f"flips is below 0.05 after correction for looking at many, too, as {doubled} are "
            "(languages: Benjamini-Hochberg over this table; means: Holm over its cells)."
        )
    lines += _noise(gathered, table)
    if any(row.score.low is None for row in found):
        lines.append("No interval where all items form one cluster.")
    elif found and min(row.score.clusters for row in found) <= FEW_CLUSTERS:
        lines.append(
            f"With {FEW_CLUSTERS} clusters or fewer, intervals of scores near 0 or 100 are "
            "somewhat narrower than they should be."
        )
    chances = [row.chance for row in found if row.chance is not None]
    if chances:
        low, high = labels.points(min(chances)), labels.points(max(chances))
        lines.append(f"Chance: {low if low == high else f'{low} to {high}'}.")
    return tuple(lines)


def _noise(gathered: Gathered, table: Table) -> list[str]:
    """What batching alone does to answers, per precision: no smaller effect means anything."""
    evals = {eval_id for line in table.lines for eval_id in line.evals.values()}
    found: dict[int, list[Noise]] = {}
    for record in gathered.records:
        if record.id in evals and isinstance(record.cell, EvalCell) and record.noise is not None:
            found.setdefault(record.cell.eval_bits, []).append(record.noise)
    told = []
    for bits, noises in sorted(found.items()):
        worst = max(noises, key=lambda noise: noise.changed / noise.items)
        text = f"{bits} bits: {worst.changed} of {worst.items} answers change"
        moved = [noise.max_abs_diff for noise in noises if noise.max_abs_diff is not None]
        if moved:
            text += f", log-probabilities by up to {max(moved):.2g} nats a token"
        told.append(text)
    if not told:
        return []
    return [f"Noise of batching (items asked alone and together): {'; '.join(told)}."]
