"""The item browser's sample: items with the answers of a few adapters and their untuned bases."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from maple.analysis.results import untuned
from maple.errors import StoreError
from maple.records import EvalCell, Example, ScoreCell
from maple.report import labels
from maple.report.gathered import Gathered, Line, Table
from maple.store import Record

ADAPTERS = 8
"""Adapters whose answers are shown."""

A_SUBSET, IN_ALL = 20, 2000
"""Most items of a subset, and of a report."""

BYTES = 6_000_000
"""What the sample may take of the page."""

_FIELD, _ANSWER = 1500, 600
_PREFIX = 4000

Content = dict[str, Any]

_ScoreCells = Mapping[tuple[str, str], tuple[str, ScoreCell]]
"""Id and cell by eval id and metric."""


@dataclass(frozen=True, slots=True)
class _Subset:
    """One subset of a table with the eval cells to show, by place of their cell in the page."""

    table: int
    subset: int
    cell: EvalCell
    evals: Mapping[int, str]


def content(gathered: Gathered, places: Mapping[tuple[str, int], int]) -> Content | None:
    """The first items of every subset; None where nothing is answered.

    Args:
        places: place of each cell in the page's data, by its line's key.

    Returns:
        How it was drawn, the places of the adapters, and per table and subset the items and the
        answers to them.

    Raises:
        StoreError: a file cannot be read.
    """
    adapters = _spread_out(gathered)
    shown = _with_bases(gathered, adapters)
    subsets = list(_subsets(gathered, places, shown))
    if not subsets:
        return None
    asked = gathered.plan.limit or A_SUBSET
    most = max(1, min(A_SUBSET, asked, IN_ALL // len(subsets)))
    scores: _ScoreCells = {
        (score.eval_id, score.metric): (name, score) for name, score in gathered.plan.scores.items()
    }
    records = {record.id: record for record in gathered.records}
    found = [_content(gathered, one, most, scores, records) for one in subsets]
    count = _fitting(found, most)
    for one in found:
        del one["items"][count:]
        for answers in one["answers"].values():
            del answers[count:]
    trained = {line.key for line in _tuned(gathered)}
    told = "" if len(adapters) == len(trained) else f" of {len(trained)}, spread over the grid"
    return {
        "drawn": (
            f"The first {labels.plural(count, 'item')} of every subset in the fixed order of the "
            f"items, not chosen by what was answered; answers of "
            f"{labels.plural(len(adapters), 'adapter')}{told}, and of their untuned bases. "
            f"Texts beyond {_FIELD} characters and answers beyond {_ANSWER} are cut and end in …; "
            f"prompts are cut within, what precedes all of them from {_PREFIX} characters on."
        ),
        "adapters": [places[key] for key in adapters],
        "subsets": found,
    }


def _tuned(gathered: Gathered) -> list[Line]:
    """A line of every adapter and precision that has answers, in the report's order."""
    found: dict[tuple[str, int], Line] = {}
    for table in _primary(gathered):
        for line in table.lines:
            answered = any(name in gathered.answered for name in line.evals.values())
            if answered and gathered.plan.train[line.train_id].method != "none":
                found.setdefault(line.key, line)
    return list(found.values())


def _spread_out(gathered: Gathered) -> list[tuple[str, int]]:
    """At most ADAPTERS adapters: one by one the one that has most that the others have not."""
    left = {}
    for line in _tuned(gathered):
        cell = gathered.plan.train[line.train_id]
        axes = cell.base_name, line.eval_bits, labels.trained_on(cell), cell.method, cell.r
        left[line.key] = set(enumerate((*axes, cell.seed)))
    chosen: list[tuple[str, int]] = []
    seen: set[tuple[int, object]] = set()
    order = list(left)
    while left and len(chosen) < ADAPTERS:
        best = max(left, key=lambda key: len(left[key] - seen))
        seen |= left.pop(best)
        chosen.append(best)
    return sorted(chosen, key=order.index)


def _with_bases(gathered: Gathered, adapters: Sequence[tuple[str, int]]) -> set[tuple[str, int]]:
    bases = untuned(gathered.plan)
    partners = set()
    for table in _primary(gathered):
        for line in table.lines:
            if line.key in adapters:
                names = {bases[name] for name in line.evals.values() if name in bases}
                cells = (gathered.plan.evals[name] for name in names)
                partners |= {(cell.train_id, cell.eval_bits) for cell in cells}
    alone = {line.key for table in _primary(gathered) for line in table.lines[:1]}
    return {*adapters, *partners} or alone


def _primary(gathered: Gathered) -> list[Table]:
    return [table for table in gathered.tables if table.primary]


def _subsets(
    gathered: Gathered,
    places: Mapping[tuple[str, int], int],
    shown: set[tuple[str, int]],
) -> Iterable[_Subset]:
    for number, table in enumerate(gathered.tables):
        if not table.primary:
            continue
        for position, subset in enumerate(table.subsets):
            evals = {
                places[line.key]: line.evals[subset]
                for line in table.lines
                if line.key in shown and line.evals.get(subset) in gathered.answered
            }
            if evals:
                cell = gathered.plan.evals[next(iter(evals.values()))]
                yield _Subset(number, position, cell, evals)


def _content(
    gathered: Gathered,
    one: _Subset,
    most: int,
    scores: _ScoreCells,
    records: Mapping[str, Record],
) -> Content:
    lost = ""
    try:
        prompts = gathered.store.prompts(one.cell)
    except StoreError:  # nothing is computed from them: the page says so and has the rest
        folder = f"items/{one.cell.task}/{one.cell.subset}/prompts"
        prompts, lost = None, f"The stored prompts of this subset cannot be read ({folder})."
    texts = {} if prompts is None else prompts.texts
    items = gathered.store.items(one.cell.task, one.cell.subset, one.cell.items)[:most]
    ids = [item.example_id for item in items]
    metric = gathered.tables[one.table].setting.metric
    return {
        "table": one.table,
        "subset": one.subset,
        "lost": lost,
        "prefix": "" if prompts is None else _cut_within(prompts.prefix, _PREFIX),
        "items": [_item(item, texts.get(item.example_id)) for item in items],
        "answers": {
            str(place): _answers(gathered, records[eval_id], scores.get((eval_id, metric)), ids)
            for place, eval_id in one.evals.items()
        },
    }


def _item(item: Example, prompt: str | None) -> Content:
    shown: Content = {
        "id": item.example_id,
        "fields": [[name, _shortened(text, _FIELD)] for name, text in item.fields.items()],
    }
    if item.choices:
        shown["choices"] = [_shortened(text, _ANSWER) for text in item.choices]
        shown["target"] = item.target
    if item.golds:
        shown["golds"] = [_shortened(text, _ANSWER) for text in item.golds]
    if prompt is not None:
        shown["prompt"] = _cut_within(prompt, _FIELD)
    return shown


def _answers(
    gathered: Gathered, record: Record, scored: tuple[str, ScoreCell] | None, ids: Sequence[str]
) -> list[Content]:
    """Per item the score and the text or the log-probabilities; empty where there is no answer."""
    table = gathered.store.finished(record.id, gathered.plan.evals[record.id])
    rows = {row["example_id"]: row for row in table.slice(0, len(ids)).to_pylist()}
    found_scores = None if scored is None else gathered.store.scores(*scored)
    marks = [] if found_scores is None else found_scores.slice(0, len(ids)).to_pylist()
    scores = {mark["example_id"]: mark["score"] for mark in marks}
    found = []
    for name in ids:
        answer: Content = {}
        row = rows.get(name)
        if row is not None:
            score = scores.get(name)
            answer["score"] = None if score is None else round(100 * score, 1)
            if "text" in row:
                answer["text"] = _shortened(row["text"], _ANSWER)
            else:
                answer["logprobs"] = [round(value, 3) for value in row["logprobs"]]
            if name in record.shortened:
                answer["shortened"] = True
        found.append(answer)
    return found


def _fitting(found: Sequence[Content], most: int) -> int:
    """Items of each subset, at least one, that together take no more than BYTES."""
    total = sum(len(one["prefix"].encode()) for one in found)
    for number in range(most):
        for one in found:
            parts = [part[number : number + 1] for part in (one["items"], *one["answers"].values())]
            total += len(json.dumps(parts, ensure_ascii=False).encode())
        if total > BYTES:
            return max(1, number)
    return most


def _shortened(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def _cut_within(text: str, most: int) -> str:
    """A prompt's end matters as much as its beginning."""
    if len(text) <= most:
        return text
    head = 2 * most // 3
    return f"{text[:head].rstrip()} […] {text[head - most :].lstrip()}"
