"""Belebele on small release folders of our own, and on the real files where they are at hand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from maple.data.hub import HubDataset
from maple.data.rows import Row
from maple.errors import DataError, NoExemplarsError
from maple.records import Example
from maple.tasks.belebele import BELEBELE as TASK


def _row(number: int, /, **changes: object) -> dict[str, Any]:
    row: dict[str, Any] = {
        "link": f"https://example.org/{number // 2}",
        "question_number": 1 + number % 2,
        "flores_passage": f"Boot {number // 2} ist blau und alt.",
        "question": f"Welche Farbe hat Boot {number // 2}, {number % 2}?",
        "mc_answer1": "Blau ",
        "mc_answer2": "Rot",
        "mc_answer3": "Grün",
        "mc_answer4": "Gelb",
        "correct_answer_num": str(1 + number % 4),
        "dialect": "deu_Latn",
        "ds": "2023-05-03",
    }
    return row | changes


ROWS = [_row(number) for number in range(10)]


def _write(folder: Path, *rows: Mapping[str, object], name: str = "deu_Latn") -> Path:
    path = folder / f"belebele/{name}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


def test_there_are_122_variants() -> None:
    assert len(TASK.subsets("release")) == 122
    assert {"ary_Arab", "hin_Latn", "zho_Hant"} <= set(TASK.subsets("release"))


def test_items_are_read_as_released(tmp_path: Path) -> None:
    items = TASK.examples("release", "deu_Latn", _write(tmp_path, *ROWS))
    assert items[1] == Example(
        example_id="https://example.org/0#2",
        cluster_id="https://example.org/0",
        fields={
            "flores_passage": "Boot 0 ist blau und alt.",
            "question": "Welche Farbe hat Boot 0, 1?",
            "mc_answer1": "Blau ",
            "mc_answer2": "Rot",
            "mc_answer3": "Grün",
            "mc_answer4": "Gelb",
        },
        choices=("Blau", "Rot", "Grün", "Gelb"),
        target=1,
    )
    assert [item.target for item in items] == [0, 1, 2, 3] * 2 + [0, 1]
    assert len({item.cluster_id for item in items}) == 5


def test_numbers_may_be_numbers(tmp_path: Path) -> None:
    _write(tmp_path, _row(0, correct_answer_num=3))
    assert TASK.examples("release", "deu_Latn", tmp_path)[0].target == 2


def test_there_are_no_exemplars(tmp_path: Path) -> None:
    _write(tmp_path, *ROWS)
    for dataset in ("release", "mini"):
        with pytest.raises(NoExemplarsError, match="all its items are scored") as caught:
            TASK.exemplar_pool(dataset, "deu_Latn", tmp_path)
        assert caught.value.hint == "set n_shot = 0"


def test_the_hub_gives_the_same_items(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, ...]] = []

    def rows(self: HubDataset, *patterns: str) -> list[Row]:
        asked.append((self.repo, *patterns))
        return [Row(f"hub:{n}", n, row) for n, row in enumerate(ROWS, start=1)]

    monkeypatch.setattr(HubDataset, "rows", rows)
    local = TASK.examples("release", "deu_Latn", _write(tmp_path, *ROWS))
    assert TASK.examples("release", "deu_Latn", None) == local
    assert asked[0][:2] == ("facebook/belebele", "data/deu_Latn.jsonl")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"correct_answer_num": "5"}, "'correct_answer_num' is '5', expected 1 to 4"),
        ({"correct_answer_num": "0"}, "'correct_answer_num' is '0', expected 1 to 4"),
        ({"correct_answer_num": True}, "'correct_answer_num' is True, expected 1 to 4"),
        ({"correct_answer_num": None}, "'correct_answer_num' is None, expected 1 to 4"),
        ({"mc_answer3": " "}, "'mc_answer3' is empty"),
        ({"flores_passage": ""}, "'flores_passage' is empty"),
        ({"question": 3}, "'question' is 3, expected a string"),
        ({"dialect": "nld_Latn"}, "'dialect' is 'nld_Latn', expected 'deu_Latn'"),
        ({"question_number": 1}, "occurs twice"),
    ],
)
def test_broken_rows_are_named(tmp_path: Path, changes: Mapping[str, object], message: str) -> None:
    with pytest.raises(DataError) as caught:
        TASK.examples("release", "deu_Latn", _write(tmp_path, _row(0), _row(1, **changes)))
    assert "deu_Latn.jsonl:2: " in caught.value.what
    assert message in caught.value.what


def test_a_missing_field_is_named(tmp_path: Path) -> None:
    row = _row(0)
    del row["mc_answer4"]
    with pytest.raises(DataError, match=r"deu_Latn\.jsonl:1: no field 'mc_answer4'"):
        TASK.examples("release", "deu_Latn", _write(tmp_path, row))


def test_a_repeated_choice_is_remarked_and_no_fault_of_the_prompt(tmp_path: Path) -> None:
    items = TASK.examples("release", "deu_Latn", _write(tmp_path, _row(0, mc_answer4="Rot")))
    assert TASK.remarks(items) == ["items that list one answer twice: 1"]
    assert [TASK.lint(items, "deu_Latn", prompt) for prompt in TASK.prompts] == [[]] * 4


def test_a_language_without_words_is_asked_in_english() -> None:
    assert TASK.prompt_text("fin_Latn", "english") == (
        "Passage: {passage}\nQuestion: {question}\nAnswer: {choice}"
    )
    with pytest.raises(DataError, match="no prompt word for 'passage' in fin_Latn") as caught:
        TASK.prompt_text("fin_Latn", "native")
    assert 'prompt = "english"' in caught.value.hint


def test_the_real_belebele(real_data: Path) -> None:
    english = TASK.examples("release", "eng_Latn", real_data)
    assert (len(english), len({item.cluster_id for item in english})) == (900, 488)
    tamil = TASK.examples("release", "tam_Taml", real_data)
    assert [(i.example_id, i.cluster_id, i.target) for i in tamil] == [
        (i.example_id, i.cluster_id, i.target) for i in english
    ]
    assert TASK.remarks(tamil) == ["items that list one answer twice: 2"]
