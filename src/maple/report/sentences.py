"""What the numbers say, in plain sentences generated from them."""

from __future__ import annotations

from collections import Counter

from maple.analysis.results import Macro
from maple.report import labels
from maple.report.gathered import Gathered, Table


def summary(gathered: Gathered) -> tuple[str, ...]:
    """What was compared, how far it got, and what came out of each task."""
    tables = [table for table in gathered.tables if table.primary]
    return (
        _compared(gathered),
        _progress(gathered),
        *(sentence for table in tables for sentence in _outcome(gathered, table)),
    )


def _compared(gathered: Gathered) -> str:
    plan = gathered.plan
    adapters = [cell for cell in plan.train.values() if cell.method != "none"]
    bases = ", ".join(base.name for base in plan.bases)
    tasks = list(dict.fromkeys(cell.task for cell in plan.evals.values()))
    languages = set(plan.languages.values())
    asked = f"on {', '.join(tasks)} in {labels.plural(len(languages), 'language')}"
    if not adapters:
        return f"This study evaluates {bases} {asked}."
    text = f"This study trains {labels.plural(len(adapters), 'adapter')} on {bases}"
    axes = [
        ("r", {cell.r for cell in adapters}),
        ("bits", {cell.train_bits for cell in adapters}),
        ("seed", {cell.seed for cell in adapters}),
    ]
    stated = [
        f"{name} {', '.join(str(value) for value in sorted(v for v in values if v is not None))}"
        for name, values in axes
        if values - {None}
    ]
    text += f" ({'; '.join(stated)})" if stated else ""
    if not tasks:
        return f"{text} and evaluates nothing."
    return f"{text} and evaluates them {asked}."


def _progress(gathered: Gathered) -> str:
    parts = []
    for noun, states in (
        ("adapter", Counter(gathered.training["status"].to_list())),
        ("evaluation cell", Counter(gathered.statuses.values())),
    ):
        total = sum(states.values())
        if total:
            text = f"{states['done']} of {labels.plural(total, noun)} done"
            for state in ("failed", "pending"):
                text += f", {states[state]} {state}" if states[state] else ""
            parts.append(text)
    return "; ".join(parts) + "."


def _outcome(gathered: Gathered, table: Table) -> list[str]:
    tuned = [
        (line, macro)
        for line in table.lines
        if (macro := gathered.macro(table, line)) is not None
        and macro.complete
        and macro.delta is not None
    ]
    name = f"{table.setting.task} ({table.setting.metric})"
    if len([other for other in gathered.tables if other.primary]) > len(
        {other.setting.task for other in gathered.tables if other.primary}
    ):
        name = f"{name}, prompt {table.setting.prompt}, {table.setting.n_shot} exemplars"
    if not tuned:
        return [f"{name}: no adapter has been compared with its untuned base in every language."]

    def value(pair: tuple[object, Macro]) -> float:
        delta = pair[1].delta
        return delta.value if delta is not None else 0.0

    best, worst = max(tuned, key=value), min(tuned, key=value)

    def told(line_label: str, base: str, macro: Macro) -> str:
        delta = macro.delta
        assert delta is not None  # noqa: S101  chosen by it above
        where = line_label if len(gathered.plan.bases) == 1 else f"{base}: {line_label}"
        bounds = labels.interval(delta, sign=True) or "no interval"
        return f"{labels.signed(delta.value)} points {bounds} ({where})"

    text = f"{name}: against the untuned base, the mean over languages changes by "
    text += told(best[0].label, best[0].base_name, best[1])
    if len(tuned) > 1:
        text += f" at best and {told(worst[0].label, worst[0].base_name, worst[1])} at worst"
    marks = Counter(
        labels.direction(macro.delta) for _, macro in tuned if macro.delta is not None
    )
    text += f". Of {labels.plural(len(tuned), 'difference')}, "
    text += f"{marks[labels.UP]} lie above 0 and {marks[labels.DOWN]} below with their interval"
    if len(tuned) > 1:
        text += "; the best of several looks better than it is"
    return [text + "."]
