"""XCOPA on small release folders of our own, and on the real files where they are at hand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from maple.data.hub import HubDataset
from maple.data.rows import Row
from maple.errors import DataError
from maple.records import ChoiceResponse, Example, GenerateResponse
from maple.tasks.xcopa import XCOPA

TASK = XCOPA


def _row(idx: int, /, **changes: object) -> dict[str, Any]:
    row: dict[str, Any] = {
        "premise": f"Ilinyesha siku ya {idx}.",
        "choice1": f"Barabara {idx} ililowa.",
        "choice2": f"Barabara {idx} ilikauka.",
        "question": "effect",
        "label": idx % 2,
        "idx": idx,
        "changed": False,
    }
    return row | changes


def _write(folder: Path, name: str, rows: list[dict[str, Any]]) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    _write(tmp_path, "xcopa/data/sw/test.sw.jsonl", [_row(n) for n in range(4)])
    _write(tmp_path, "xcopa/data/sw/val.sw.jsonl", [_row(n) for n in range(10, 13)])
    return tmp_path


def _message(folder: Path, *rows: dict[str, Any]) -> str:
    _write(folder, "xcopa/data/sw/test.sw.jsonl", list(rows))
    with pytest.raises(DataError) as caught:
        TASK.examples("release", "swh_Latn", folder)
    return caught.value.what


def test_subsets_are_language_keys() -> None:
    assert TASK.subsets("release") == (
        *("eng_Latn", "est_Latn", "hat_Latn", "ind_Latn", "ita_Latn", "qve_Latn", "swh_Latn"),
        *("tam_Taml", "tha_Thai", "tur_Latn", "vie_Latn", "zho_Hans"),
    )
    with pytest.raises(DataError, match="'released'"):
        TASK.subsets("released")
    with pytest.raises(DataError, match="no subset 'sw'"):
        TASK.examples("release", "sw", None)


def test_items_are_read_as_released(folder: Path) -> None:
    items = TASK.examples("release", "swh_Latn", folder)
    assert [item.example_id for item in items] == [f"xcopa-test-{n}" for n in range(4)]
    assert items[1] == Example(
        example_id="xcopa-test-1",
        cluster_id="xcopa-test-1",
        fields={
            "premise": "Ilinyesha siku ya 1.",
            "choice1": "Barabara 1 ililowa.",
            "choice2": "Barabara 1 ilikauka.",
            "question": "effect",
        },
        choices=("Barabara 1 ililowa.", "Barabara 1 ilikauka."),
        target=1,
    )
    assert TASK.remarks(items) == []


def test_choices_lose_space_at_their_ends_and_fields_keep_it(folder: Path) -> None:
    _write(folder, "xcopa/data/sw/test.sw.jsonl", [_row(0, choice2=" Ilikauka. ")])
    (item,) = TASK.examples("release", "swh_Latn", folder)
    assert (item.choices[1], item.fields["choice2"]) == ("Ilikauka.", " Ilikauka. ")


def test_exemplars_are_validation_items(folder: Path) -> None:
    pool = TASK.exemplar_pool("release", "swh_Latn", folder)
    assert [item.example_id for item in pool] == [f"xcopa-val-{n}" for n in range(10, 13)]


def test_a_scored_item_is_no_exemplar(folder: Path) -> None:
    _write(folder, "xcopa/data/sw/val.sw.jsonl", [_row(3, idx=40), _row(4, idx=41)])
    pool = TASK.exemplar_pool("release", "swh_Latn", folder)
    assert [item.example_id for item in pool] == ["xcopa-val-41"]


def test_the_question_is_taken_from_english_where_it_is_at_hand(folder: Path) -> None:
    rows = [_row(n, question="cause" if n < 3 else "effect") for n in range(4)]
    _write(folder, "copa_en/test-en.jsonl", rows)
    items = TASK.examples("release", "swh_Latn", folder)
    assert [item.fields["question"] for item in items] == ["cause"] * 3 + ["effect"]
    assert [item.fields.get("released_question") for item in items] == ["effect"] * 3 + [None]
    assert TASK.remarks(items) == [
        "question (cause or effect) taken from English COPA in 3 items that differ"
    ]


def test_a_label_other_than_the_english_one_is_an_error(folder: Path) -> None:
    _write(folder, "copa_en/test-en.jsonl", [_row(n, label=0) for n in range(4)])
    with pytest.raises(DataError, match=r"test\.sw\.jsonl:2: 'label' is 1, English COPA has 0"):
        TASK.examples("release", "swh_Latn", folder)


def test_an_item_that_english_lacks_is_an_error(folder: Path) -> None:
    _write(folder, "copa_en/test-en.jsonl", [_row(n) for n in range(3)])
    with pytest.raises(DataError, match="no item of idx 3"):
        TASK.examples("release", "swh_Latn", folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label": 2}, "'label' is 2, expected 0 or 1"),
        ({"label": "0"}, "'label' is '0', expected a whole number"),
        ({"question": "why"}, "'question' is 'why'"),
        ({"premise": " "}, "the premise or a choice is empty"),
        ({"choice1": "Ilikauka.", "choice2": "Ilikauka. "}, "the choices are alike"),
        ({"choice2": None}, "'choice2' is null"),
        ({"idx": 0}, "the id 'xcopa-test-0' occurs twice; first "),
    ],
)
def test_broken_rows_are_named(tmp_path: Path, changes: Mapping[str, object], message: str) -> None:
    what = _message(tmp_path, _row(0), _row(1, **changes))
    assert "test.sw.jsonl:2: " in what
    assert message in what


def _response(logprobs: tuple[float, float], n_tokens: tuple[int, int] = (1, 1)) -> ChoiceResponse:
    return ChoiceResponse(logprobs, n_tokens, (False,) * len(n_tokens), 5, (), ())


def test_scores_follow_their_normalisation() -> None:
    fields = {"premise": "ฝนตก", "question": "effect"}
    item = Example("a", "a", fields, ("ก", "abcd"), 0)  # 1 and 4 characters, 3 and 4 bytes

    def scores(logprobs: tuple[float, float], n_tokens: tuple[int, int]) -> list[float]:
        response = _response(logprobs, n_tokens)
        return [TASK.score(item, response, name, "tha_Thai", "native") for name in TASK.metrics]

    assert scores((-2.0, -3.0), (1, 1)) == [1.0, 1.0, 0.0, 1.0]
    assert scores((-3.0, -3.5), (3, 3)) == [1.0, 1.0, 0.0, 0.0]
    assert scores((-3.0, -2.0), (3, 1)) == [0.0, 1.0, 0.0, 0.0]
    assert scores((-1.0, -1.0), (1, 1)) == [1.0, 1.0, 0.0, 0.0]


def test_letters_are_equally_long() -> None:
    item = Example("a", "a", {"premise": "p", "question": "cause"}, ("b", "cdefg"), 0)
    response = _response((-2.0, -3.0), (1, 1))
    scores = [
        TASK.score(item, response, name, "eng_Latn", "english-letters") for name in TASK.metrics
    ]
    assert scores == [1.0, 1.0, 1.0, 1.0]


def test_wrong_requests_for_scores_are_errors() -> None:
    item = Example("a", "a", {}, ("b", "c"), 0)
    with pytest.raises(DataError, match=r"no metric 'accuracy'"):
        TASK.score(item, _response((-1.0, -2.0)), "accuracy", "eng_Latn", "native")
    with pytest.raises(DataError, match=r"no metric 'f1'"):
        TASK.metric_identity("f1", "eng_Latn")
    generated = GenerateResponse("b", "eos", 1, 5, (), ())
    with pytest.raises(TypeError, match="choice responses"):
        TASK.score(item, generated, "accuracy[sum]", "eng_Latn", "native")


def test_the_prompt_text_shows_both_questions() -> None:
    assert TASK.prompt_text("eng_Latn", "native") == (
        "{premise}\nReason: {choice}\f{premise}\nResult: {choice}"
    )
    assert TASK.prompt_text("zho_Hans", "native") == (
        "{premise}\n原因：{choice}\f{premise}\n结果：{choice}"
    )
    assert TASK.prompt_text("zho_Hans", "native-letters") == (
        "{premise}\n甲：{choice1}\n乙：{choice2}\n原因：甲乙\f"
        "{premise}\n甲：{choice1}\n乙：{choice2}\n结果：甲乙"
    )
    assert TASK.prompt_text("zho_Hans", "english") == (
        "{premise}\nReason:{choice}\f{premise}\nResult:{choice}"
    )


def _serve(monkeypatch: pytest.MonkeyPatch, held: Mapping[str, list[dict[str, Any]]]) -> None:
    def rows(self: HubDataset, *patterns: str) -> list[Row]:
        values = held[f"{self.repo} {patterns[0]}"]
        return [Row(f"hub:{n}", n, value) for n, value in enumerate(values, start=1)]

    monkeypatch.setattr(HubDataset, "rows", rows)


def test_the_hub_repairs_questions_and_lends_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    hidden = [_row(n, label=-1, question="cause") for n in range(2)]
    held = {
        "cambridgeltl/xcopa sw/test-*.parquet": [_row(n) for n in range(2)],
        "cambridgeltl/xcopa it/test-*.parquet": [_row(n) for n in range(2)],
        "aps/super_glue copa/test-*.parquet": hidden,
        "aps/super_glue copa/validation-*.parquet": [_row(50)],
    }
    _serve(monkeypatch, held)
    swahili = TASK.examples("release", "swh_Latn", None)
    assert [(item.target, item.fields["question"]) for item in swahili] == [
        (0, "cause"),
        (1, "cause"),
    ]
    english = TASK.examples("release", "eng_Latn", None)
    assert [item.target for item in english] == [0, 1]
    assert TASK.exemplar_pool("release", "eng_Latn", None)[0].example_id == "xcopa-val-50"
    held["cambridgeltl/xcopa it/test-*.parquet"].pop()
    with pytest.raises(DataError, match="hub:2: 'label' is null"):
        TASK.examples("release", "eng_Latn", None)


@pytest.mark.parametrize(
    ("key", "test", "val"),
    [
        ("ita_Latn", 4, 5),
        ("swh_Latn", 37, 6),
        ("ind_Latn", 4, 5),
        ("tha_Thai", 250, 52),
        ("zho_Hans", 0, 0),
        ("eng_Latn", 0, 0),
    ],
)
def test_the_real_xcopa(real_data: Path, key: str, test: int, val: int) -> None:
    items = TASK.examples("release", key, real_data)
    pool = TASK.exemplar_pool("release", key, real_data)
    assert (len(items), len(pool)) == (500, 100)
    repaired = [sum("released_question" in i.fields for i in part) for part in (items, pool)]
    assert repaired == [test, val]
    assert sum(item.fields["question"] == "cause" for item in items) == 250
    for prompt in TASK.prompts:
        assert TASK.lint([*items, *pool], key, prompt) == []


def test_the_real_thai_premises_keep_their_last_letter(real_data: Path) -> None:
    item = TASK.examples("release", "tha_Thai", real_data)[0]
    rendered = TASK.render(item, "tha_Thai", "native")
    assert rendered.text.endswith("\nสาเหตุ:")
    assert rendered.text.startswith(item.fields["premise"])
    assert not rendered.answers[0].startswith(" ")
