"""Questions on passages, from release files and from the hub's flat rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from maple.data.rows import Row
from maple.data.squad import from_hub, read_squad
from maple.errors import DataError


def _question(number: int, text: str, start: int) -> dict[str, Any]:
    answer = {"text": text, "answer_start": start}
    return {"id": f"q{number}", "question": f"Who, {number}? ", "answers": [answer]}


def _file(tmp_path: Path, *passages: tuple[str, list[dict[str, Any]]]) -> Path:
    paragraphs = [{"context": context, "qas": qas} for context, qas in passages]
    path = tmp_path / "a.json"
    content = {"version": "1.1", "data": [{"title": "T", "paragraphs": paragraphs}]}
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_questions_are_read_in_order_with_their_passage(tmp_path: Path) -> None:
    path = _file(
        tmp_path,
        ("Ana met Bo.", [_question(1, "Ana", 0), _question(2, "Bo", 8)]),
        ("𝄞 Cy ran.", [_question(3, "Cy", 2)]),
    )
    questions = read_squad(path)
    assert [(q.item_id, q.passage, q.answers) for q in questions] == [
        ("q1", 0, ("Ana",)),
        ("q2", 0, ("Bo",)),
        ("q3", 1, ("Cy",)),
    ]
    assert questions[0].context == "Ana met Bo."
    assert questions[0].question == "Who, 1? "


def test_equal_answers_count_once(tmp_path: Path) -> None:
    qa = _question(1, "Ana", 0)
    qa["answers"] *= 3
    assert read_squad(_file(tmp_path, ("Ana met Bo.", [qa])))[0].answers == ("Ana",)


def test_an_answer_elsewhere_than_stated_is_an_error(tmp_path: Path) -> None:
    path = _file(tmp_path, ("Ana met Bo.", [_question(7, "Bo", 7)]))
    with pytest.raises(
        DataError, match=r"a\.json: question q7: answer 1: 'Bo' is not at character 7"
    ):
        read_squad(path)


def test_an_id_that_occurs_twice_is_an_error(tmp_path: Path) -> None:
    qa = _question(1, "Ana", 0)
    with pytest.raises(DataError, match=r"a\.json: question q1: the id 'q1' occurs twice"):
        read_squad(_file(tmp_path, ("Ana met Bo.", [qa, qa])))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answers": []}, "question q1: there is no answer"),
        ({"answers": [{"text": " ", "answer_start": 3}]}, "question q1: there is no answer"),
        ({"answers": "Ana"}, "question q1: 'answers' must be a list of objects"),
        ({"answers": [{"text": "Ana"}]}, "no field 'answer_start'"),
        ({"question": None}, "question q1: 'question' is null"),
        ({"question": " "}, "question q1: 'question' is empty"),
        ({"id": 1}, "'id' is 1, expected a string"),
    ],
)
def test_a_broken_question_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = _file(tmp_path, ("Ana met Bo.", [_question(1, "Ana", 0) | change]))
    with pytest.raises(DataError) as caught:
        read_squad(path)
    assert str(path) in caught.value.what
    assert message in caught.value.what


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "'data' must be a list"),
        ({"data": []}, "there is no question"),
        ({"data": [{"paragraphs": [{"qas": []}]}]}, "article 1: paragraph 1: no field 'context'"),
        ({"data": [{"paragraphs": [{"context": "c"}]}]}, "'qas' must be a list"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, content: object, message: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(DataError) as caught:
        read_squad(path)
    assert message in caught.value.what


def _hub_row(number: int, context: str, texts: object) -> Row:
    values = {"id": f"q{number}", "context": context, "question": "Who?", "answers": texts}
    return Row(f"repo/file:{number}", number, values)


def test_hub_rows_share_a_passage_by_its_text() -> None:
    rows = [
        _hub_row(1, "Ana met Bo.", {"text": ["Ana", "Ana"], "answer_start": [9, 9]}),
        _hub_row(2, "Ana met Bo.", {"text": ["Bo"], "answer_start": [8]}),
        _hub_row(3, "Cy ran.", {"text": ["Cy"], "answer_start": [0]}),
    ]
    questions = from_hub(rows)
    assert [q.passage for q in questions] == [0, 0, 1]
    assert questions[0].answers == ("Ana",)


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ({"text": ["Dee"]}, "repo/file:1: the answer 'Dee' does not occur in its passage"),
        ({"text": []}, "there is no answer"),
        (["Ana"], "must hold a list of strings under 'text'"),
        ({"text": [1]}, "must hold a list of strings under 'text'"),
    ],
)
def test_broken_hub_rows_are_named(answers: object, message: str) -> None:
    with pytest.raises(DataError) as caught:
        from_hub([_hub_row(1, "Ana met Bo.", answers)])
    assert message in caught.value.what
