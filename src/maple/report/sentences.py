"""What the numbers say, in plain sentences generated from them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from maple.analysis.estimates import Estimate
from maple.report import labels
from maple.report.gathered import Gathered, Line, Table
from maple.study.methods import METHODS


@dataclass(frozen=True, slots=True)
class Sentence:
    """A statement; `about` is the task it is about, or "" for the whole study."""

    about: str
    text: str


def summary(gathered: Gathered) -> tuple[Sentence, ...]:
    """What was compared, how far it got, and what came out of each task."""
    tables = [table for table in gathered.tables if table.primary]
    return (
        Sentence("", _compared(gathered)),
        Sentence("", _progress(gathered)),
        *(_outcome(gathered, table) for table in tables),
        *_verdicts(gathered),
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
    methods = {METHODS[cell.method].label for cell in adapters if cell.method in METHODS}
    axes: list[tuple[str, set[Any]]] = [
        ("methods", methods if len(methods) > 1 else set()),
        ("r", {cell.r for cell in adapters}),
        ("bits", {cell.train_bits for cell in adapters}),
        ("seed", {cell.seed for cell in adapters}),
    ]
    stated = [
        f"{name} {', '.join(str(value) for value in sorted(v for v in values if v is not None))}"
        for name, values in axes
        if values - {None}  # of an adapter trained elsewhere nothing is known
    ]
    text += f" ({'; '.join(stated)})" if stated else ""
    if not tasks:
        return f"{text} and evaluates nothing."
    them = "it" if len(adapters) == 1 else "them"
    return f"{text} and evaluates {them} {asked}."


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
    waiting = _waiting_for_scores(gathered)
    if waiting:
        parts.append(f"{labels.plural(waiting, 'evaluation cell')} not scored yet")
    if gathered.unscored:
        parts.append(f"{labels.plural(len(gathered.unscored), 'score')} failed")
    text = "; ".join(parts) + "."
    if gathered.findings and any(state != "done" for state in gathered.statuses.values()):
        text += " Findings leave out adapters that lack a cell of what is compared."
    return text


def _waiting_for_scores(gathered: Gathered) -> int:
    """How many cells have their answers, and no score under some metric, which did not fail."""
    lacking = {
        score.eval_id
        for score in gathered.plan.scores.values()
        if gathered.statuses[score.eval_id] == "done"
        and (score.eval_id, score.metric) not in gathered.results.cells
        and (score.eval_id, score.metric) not in gathered.unscored
    }
    return len(lacking)


def _outcome(gathered: Gathered, table: Table) -> Sentence:
    compared = []
    waiting = 0
    for line in table.lines:
        macro = gathered.macro(table, line)
        if gathered.plan.train[line.train_id].method == "none":
            continue
        if macro is None or not macro.complete or macro.delta is None:
            waiting += 1
        else:
            compared.append((line, macro.delta))
    about = f"{table.title}, {table.setting.metric}"
    if not compared:
        return Sentence(f"{about}:", "nothing to compare with an untuned base in every language.")
    compared.sort(key=lambda pair: pair[1].value)
    (worst, low), (best, high) = compared[0], compared[-1]
    text = "against the untuned base, the mean over languages changes by "
    text += f"{_told(high)} with {_named(gathered, best)}"
    if len(compared) > 1:
        text += f" (the best) and by {_told(low)} with {_named(gathered, worst)} (the worst)"
    told = [labels.direction(delta) for _, delta in compared if delta.low is not None]
    if told:
        text += (
            f". Of {labels.plural(len(told), 'interval')}, {told.count(labels.UP) or 'none'} "
            f"wholly above 0 and {told.count(labels.DOWN) or 'none'} wholly below"
        )
    text += "; the best of several looks better than it is." if len(compared) > 1 else "."
    if waiting:
        text += f" {waiting} not comparable yet: a language is missing."
    return Sentence(f"{about}:", text)


def _verdicts(gathered: Gathered) -> Iterator[Sentence]:
    """What was decided, a sentence each; what was not, in one."""
    undecided = []
    for one in gathered.findings:
        if one.verdict == "undecided":
            undecided.append(one.key)
            continue
        text = f"{one.claim} {one.verdict.capitalize()}"
        if one.effect is not None and one.low is not None and one.high is not None:
            bounds = f"[{labels.signed_two(one.low)}, {labels.signed_two(one.high)}]"
            text += f": {labels.signed_two(one.effect)} {bounds} {one.unit} ({one.contrast})"
        yield Sentence(f"{one.key}:", f"{text}.")
    tuned = (gathered.plan.evals[name].train_id for name in gathered.answered)
    if not gathered.findings and any(gathered.plan.train[one].method != "none" for one in tuned):
        text = "no cell has items of two clusters, so nothing tells how far any can be trusted."
        yield Sentence("No verdicts:", text)
    if undecided:
        yield Sentence("Undecided:", f"{', '.join(undecided)}; the findings below say why.")


def _told(delta: Estimate) -> str:
    bounds = labels.interval(delta, sign=True).replace(" ", "\N{NO-BREAK SPACE}") or "(no interval)"
    return f"{labels.signed(delta.value)} points {bounds}"


def _named(gathered: Gathered, line: Line) -> str:
    alone = len(gathered.plan.bases) == 1
    return line.label if alone else f"{line.base_name}, {line.label}"
