"""A few items with their answers, so that a reader sees what is behind a score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from maple.analysis.results import untuned
from maple.languages import Language, language
from maple.records import Example
from maple.report.gathered import Gathered, Line, Table

ITEMS = 3
"""Items shown per language."""

LONGEST_ITEM = 3000
"""Characters of an item's fields together; tasks of longer items (articles) show none."""

# Label, stored responses and scores by example id.
_Answered = tuple[str, Mapping[str, Mapping[str, Any]], Mapping[str, float]]

_FIELD = 220
_ANSWER = 280


@dataclass(frozen=True, slots=True)
class AnswerView:
    """What one row of the table answered: the text, or a log-probability per choice."""

    who: str
    text: str
    logprobs: tuple[str, ...]
    score: str


@dataclass(frozen=True, slots=True)
class SampleView:
    """One item.

    Attributes:
        fields: name and shortened text of each field.
        choices: text of each choice and whether it is the right one.
        golds: accepted answers.
    """

    spoken: Language
    example_id: str
    fields: tuple[tuple[str, str], ...]
    choices: tuple[tuple[str, bool], ...]
    golds: tuple[str, ...]
    answers: tuple[AnswerView, ...]


def samples(gathered: Gathered, table: Table) -> tuple[SampleView, ...]:
    """The first items of every language with the answers of an adapter and its untuned base.

    The adapter is the one with most languages finished, of those the first. Empty where no cell
    is finished or the items are long.

    Raises:
        StoreError: a file cannot be read.
    """
    lines = _chosen(gathered, table)
    found: list[SampleView] = []
    for subset in table.subsets:
        cells = [(line.label, line.evals[subset]) for line in lines if subset in line.evals]
        done = [(label, name) for label, name in cells if name in gathered.answered]
        if not done:
            continue
        cell = gathered.plan.evals[done[0][1]]
        items = gathered.store.items(cell.task, cell.subset, cell.items)[:ITEMS]
        if any(sum(map(len, item.fields.values())) > LONGEST_ITEM for item in items):
            return ()
        answered = [
            (label, _responses(gathered, name), _scores(gathered, table, name))
            for label, name in done
        ]
        spoken = language(gathered.plan.languages[f"{cell.task}/{subset}"])
        found += [_sample(item, spoken, answered) for item in items]
    return tuple(found)


def _sample(item: Example, spoken: Language, answered: Sequence[_Answered]) -> SampleView:
    return SampleView(
        spoken=spoken,
        example_id=item.example_id,
        fields=tuple((name, _shortened(text, _FIELD)) for name, text in item.fields.items()),
        choices=tuple(
            (_shortened(text, _ANSWER), position == item.target)
            for position, text in enumerate(item.choices)
        ),
        golds=tuple(_shortened(text, _ANSWER) for text in item.golds),
        answers=tuple(
            _answer(label, rows[item.example_id], scores.get(item.example_id))
            for label, rows, scores in answered
            if item.example_id in rows
        ),
    )


def _chosen(gathered: Gathered, table: Table) -> list[Line]:
    """The untuned base and the adapter to show, either of them alone where there is but one."""
    finished = {
        line.key: sum(name in gathered.answered for name in line.evals.values())
        for line in table.lines
    }
    tuned = [line for line in table.lines if gathered.plan.train[line.train_id].method != "none"]
    best = max(tuned, key=lambda line: finished[line.key], default=None)
    if best is None or not finished[best.key]:
        return list(table.lines[:1])
    bases = untuned(gathered.plan)
    partners = {bases[name] for name in best.evals.values() if name in bases}
    return [
        *(line for line in table.lines if partners & set(line.evals.values())),
        best,
    ]


def _responses(gathered: Gathered, eval_id: str) -> dict[str, Mapping[str, Any]]:
    table = gathered.store.finished(eval_id, gathered.plan.evals[eval_id])
    return {row["example_id"]: row for row in table.slice(0, ITEMS).to_pylist()}


def _scores(gathered: Gathered, table: Table, eval_id: str) -> dict[str, float]:
    for score_id, score in gathered.plan.scores.items():
        if (score.eval_id, score.metric) == (eval_id, table.setting.metric):
            found = gathered.store.scores(score_id, score)
            rows = found.slice(0, ITEMS).to_pylist() if found is not None else []
            return {row["example_id"]: row["score"] for row in rows}
    return {}


def _answer(who: str, row: Mapping[str, Any], score: float | None) -> AnswerView:
    logprobs = tuple(f"{value:.2f}".replace("-", "−") for value in row.get("logprobs", ()))
    shown = "not scored" if score is None else f"{100 * score:.0f}"
    return AnswerView(who, _shortened(row.get("text", ""), _ANSWER), logprobs, shown)


def _shortened(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"
