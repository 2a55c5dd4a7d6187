"""Questions on passages in the format of SQuAD v1.1, from release files or from the hub."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from maple.data.reading import report
from maple.data.release import read_json
from maple.data.rows import Row, build, is_blank
from maple.errors import DataError


@dataclass(frozen=True, slots=True)
class Question:
    """One question.

    Attributes:
        where: its place, for messages.
        item_id: the release's id.
        passage: position of its passage in the file, from 0. It is the same in every language of
            a release whose files are translations of each other.
        context: the passage, as released.
        question: as released; some have white space at an end.
        answers: the accepted answers, each once, in the release's order.
    """

    where: str
    item_id: str
    passage: int
    context: str
    question: str
    answers: tuple[str, ...]


def read_squad(path: Path) -> list[Question]:
    """All questions of a release file, in its order.

    Raises:
        DataError: the file is missing or broken, a field is missing or of the wrong type, an
            answer does not stand at its `answer_start` (in characters), there is no answer or no
            question, or two questions have one id; all of them, with file and id.
    """
    rows: list[Row] = []
    problems: list[DataError] = []
    passage = 0
    top = Row(str(path), 1, read_json(path))
    for article in _children(top, "data", "article"):
        for paragraph in _children(article, "paragraphs", "paragraph"):
            try:
                rows += _flat(paragraph, passage, str(path))
            except DataError as error:
                problems.append(error)
            passage += 1
    report(problems)
    return _questions(rows, _release_answers, str(path))


def from_hub(rows: Sequence[Row]) -> list[Question]:
    """The same from the hub's flat rows, in which passages are told apart by their text.

    The hub's conversions have no titles, and some strip passages, so that `answer_start` no
    longer fits: an answer only has to occur in its passage.

    Raises:
        DataError: as `read_squad`.
    """
    numbered: list[Row] = []
    passage, before = -1, object()
    for row in rows:
        context = row.values.get("context")
        passage += context != before
        before = context
        numbered.append(Row(row.where, row.number, {**row.values, "passage": passage}))
    return _questions(numbered, _hub_answers, rows[0].where if rows else "no file")


def _flat(paragraph: Row, passage: int, file: str) -> list[Row]:
    """The questions of a paragraph, each with its passage."""
    common = {"context": paragraph.text("context"), "passage": passage}
    return [
        Row(f"{file}: question {qa.text('id')}", qa.number, {**qa.values, **common})
        for qa in _children(paragraph, "qas", "question")
    ]


def _questions(
    rows: Sequence[Row], answers: Callable[[Row, str], tuple[str, ...]], name: str
) -> list[Question]:
    if not rows:
        raise DataError(f"{name}: there is no question in it", "download it again")
    return build(rows, lambda row: _question(row, answers), lambda one: one.item_id)


def _question(row: Row, answers: Callable[[Row, str], tuple[str, ...]]) -> Question:
    context, question = row.filled("context"), row.filled("question")
    number = row.integer("passage")
    golds = answers(row, context)
    return Question(row.where, row.text("id"), number, context, question, golds)


def _children(parent: Row, name: str, kind: str) -> list[Row]:
    """The objects of a list inside an object, each with its place."""
    value = parent.values.get(name)
    if not isinstance(value, list) or not all(isinstance(child, dict) for child in value):
        raise parent.error(f"{name!r} must be a list of objects")
    return [
        Row(f"{parent.where}: {kind} {number}", number, child)
        for number, child in enumerate(value, start=1)
    ]


def _release_answers(row: Row, context: str) -> tuple[str, ...]:
    answers = []
    for answer in _children(row, "answers", "answer"):
        text, start = answer.text("text"), answer.integer("answer_start")
        if context[start : start + len(text)] != text:
            raise answer.error(
                f"{text!r} is not at character {start} of the passage, where "
                f"{context[start : start + len(text)]!r} stands"
            )
        answers.append(text)
    return _golds(row, answers)


def _hub_answers(row: Row, context: str) -> tuple[str, ...]:
    answers = row.values.get("answers")
    texts = answers.get("text") if isinstance(answers, Mapping) else None
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise row.error("'answers' must hold a list of strings under 'text'")
    for text in texts:
        if text not in context:
            raise row.error(f"the answer {text!r} does not occur in its passage")
    return _golds(row, texts)


def _golds(row: Row, texts: Iterable[str]) -> tuple[str, ...]:
    golds = tuple(dict.fromkeys(texts))
    if not golds or any(map(is_blank, golds)):
        raise row.error("there is no answer, or an empty one")
    return golds
