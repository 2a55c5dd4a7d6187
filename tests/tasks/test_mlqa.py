"""MLQA on small release folders of our own, and on the real files where they are at hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from maple.data.hub import HubDataset
from maple.data.rows import Row
from maple.errors import DataError, NoExemplarsError
from maple.records import Example, GenerateResponse
from maple.tasks.mlqa import MLQA as TASK

PAIR = "deu_Latn.eng_Latn"
TEST, DEV = "test/test-context-de-question-en", "dev/dev-context-de-question-en"


def _qas(index: int, passage: str) -> list[dict[str, object]]:
    answer = {"text": passage.split()[0], "answer_start": 0}
    return [
        {"id": f"q{index}-{n}", "question": f"Who, {n}?", "answers": [answer]} for n in range(2)
    ]


def _write(folder: Path, name: str, *passages: str, first: int = 0) -> None:
    """Two English questions on each German passage, answered by its first word."""
    paragraphs = [
        {"context": passage, "qas": _qas(index, passage)}
        for index, passage in enumerate(passages, start=first)
    ]
    path = folder / f"mlqa/{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}), encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    _write(tmp_path, TEST, "Ana kam an.", "Bo ging fort.", "Cy blieb.")
    _write(tmp_path, DEV, "Di schlief.", "Ed sang.", first=50)
    return tmp_path


def test_subsets_are_pairs_of_keys() -> None:
    pairs = TASK.subsets("release")
    assert len(pairs) == 49
    assert pairs[:2] == ("arb_Arab.arb_Arab", "arb_Arab.deu_Latn")
    assert TASK.subsets("release-dev") == pairs
    assert set(TASK.subsets("mini")) == {f"{a}.{b}" for a in MINI for b in MINI}
    assert (TASK.language(PAIR), TASK.answer_language(PAIR)) == ("eng_Latn", "deu_Latn")
    with pytest.raises(DataError, match="no subset 'deu_Latn'"):
        TASK.examples("release", "deu_Latn", None)


MINI = ("arb_Arab", "deu_Latn", "eng_Latn", "hin_Deva", "spa_Latn", "swh_Latn", "zho_Hans")


def test_items_are_read_as_released(folder: Path) -> None:
    items = TASK.examples("release", PAIR, folder)
    assert len(items) == 6
    assert items[1] == Example(
        example_id="q0-1",
        cluster_id="mlqa-test-8950cf46c96bd0fb",  # the passage names it, in every file that has it
        fields={"context": "Ana kam an.", "question": "Who, 1?"},
        golds=("Ana",),
    )
    pool = TASK.exemplar_pool("release", PAIR, folder)
    assert [item.example_id for item in pool] == ["q50-0", "q50-1", "q51-0", "q51-1"]


def test_the_development_split_can_be_scored_and_has_no_exemplars(folder: Path) -> None:
    items = TASK.examples("release-dev", PAIR, folder)
    assert [item.example_id for item in items] == ["q50-0", "q50-1", "q51-0", "q51-1"]
    with pytest.raises(NoExemplarsError, match=r"mlqa \(release-dev\) has no exemplars"):
        TASK.exemplar_pool("release-dev", PAIR, folder)


def test_a_question_on_a_scored_passage_is_no_exemplar(folder: Path) -> None:
    _write(folder, DEV, "Di schlief.", "Bo ging  fort. ", first=50)
    pool = TASK.exemplar_pool("release", PAIR, folder)
    assert [item.example_id for item in pool] == ["q50-0", "q50-1"]


def test_answers_follow_the_rules_of_the_passage(folder: Path) -> None:
    item = TASK.examples("release", PAIR, folder)[0]
    assert TASK.metric_identity("f1", PAIR) == (1, "mlqa-official:de")
    german = GenerateResponse(" der Ana", "stop", 3, 9, (), ())
    english = GenerateResponse(" the Ana", "stop", 3, 9, (), ())
    for response, right in ((german, 1.0), (english, 0.0)):
        assert TASK.score(item, response, "exact_match", PAIR, "native") == right


def test_words_follow_the_question() -> None:
    assert TASK.prompt_text("deu_Latn.spa_Latn", "native") == (
        "Texto: {context}\nPregunta: {question}\nRespuesta: {answer}"
    )
    assert TASK.prompt_text("deu_Latn.zho_Hans", "native-question-first") == (
        "问题：{question}\n文章：{context}\n答案：{answer}"
    )


def test_the_small_set_asks_across_languages() -> None:
    german = TASK.examples("mini", "deu_Latn.deu_Latn", None)
    spanish = TASK.examples("mini", "spa_Latn.spa_Latn", None)
    across = TASK.examples("mini", "deu_Latn.spa_Latn", None)
    for one, two, both in zip(german, spanish, across, strict=True):
        assert one.example_id == two.example_id == both.example_id
        assert both.fields == {
            "context": one.fields["context"],
            "question": two.fields["question"],
        }
        assert both.golds == one.golds


def test_the_hub_gives_the_same_items(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: set[tuple[str, str]] = set()

    def rows(self: HubDataset, *patterns: str) -> list[Row]:
        asked.add((self.repo, patterns[0]))
        name = TEST if "/test-" in patterns[0] else DEV
        content = json.loads((folder / f"mlqa/{name}.json").read_text())
        return [
            Row(f"hub:{n}", n, {**qa, "context": paragraph["context"], "answers": answers})
            for paragraph in content["data"][0]["paragraphs"]
            for n, qa in enumerate(paragraph["qas"], start=1)
            for answers in [{"text": [qa["answers"][0]["text"]], "answer_start": [0]}]
        ]

    monkeypatch.setattr(HubDataset, "rows", rows)
    for dataset in ("release", "release-dev"):
        local = TASK.examples(dataset, PAIR, folder)
        assert TASK.examples(dataset, PAIR, None) == local
    pool = TASK.exemplar_pool("release", PAIR, folder)
    assert TASK.exemplar_pool("release", PAIR, None) == pool
    assert asked == {
        ("facebook/mlqa", "mlqa.de.en/test-*.parquet"),
        ("facebook/mlqa", "mlqa.de.en/validation-*.parquet"),
    }


@pytest.mark.parametrize(("key", "size"), [("arb_Arab", 517), ("deu_Latn", 512), ("zho_Hans", 504)])
def test_the_real_mlqa(real_data: Path, key: str, size: int) -> None:
    items = TASK.examples("release-dev", f"{key}.{key}", real_data)
    assert len(items) == size
    with pytest.raises(DataError, match="none of these files is there: mlqa/test/"):
        TASK.examples("release", f"{key}.{key}", real_data)
