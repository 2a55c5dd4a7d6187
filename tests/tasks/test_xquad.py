"""XQuAD on small release folders of our own, and on the real files where they are at hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from maple.data.hub import HubDataset
from maple.data.rows import Row
from maple.errors import DataError, NoExemplarsError
from maple.records import ChoiceResponse, Example, GenerateResponse
from maple.tasks.xquad import XQUAD

TASK = XQUAD


def _write(folder: Path, name: str, passages: Sequence[str], first: int = 0) -> None:
    """Two questions a passage, answered by its first word."""
    paragraphs = []
    for index, context in enumerate(passages, start=first):
        answer = {"text": context.split()[0], "answer_start": 0}
        qas = [
            {"id": f"q{index}-{n}", "question": f"Wer, {n}?", "answers": [answer]} for n in range(2)
        ]
        paragraphs.append({"context": context, "qas": qas})
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}), encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    _write(tmp_path, "xquad/xquad.de.json", ["Ana kam an.", "Bo ging fort."])
    _write(tmp_path, "xquad/xquad.th.json", ["อานา มาถึง", "โบ จากไป"])
    _write(tmp_path, "mlqa/dev/dev-context-de-question-de.json", ["Cy blieb."], 70)
    _write(tmp_path, "mlqa/dev/dev-context-en-question-en.json", ["Cy stayed.", "Di ran."], 80)
    return tmp_path


def test_subsets_are_language_keys() -> None:
    assert TASK.subsets("release") == (
        *("arb_Arab", "deu_Latn", "ell_Grek", "eng_Latn", "hin_Deva", "ron_Latn", "rus_Cyrl"),
        *("spa_Latn", "tha_Thai", "tur_Latn", "vie_Latn", "zho_Hans"),
    )
    with pytest.raises(DataError, match="no dataset 'relase'"):
        TASK.subsets("relase")
    with pytest.raises(DataError, match="no subset 'ita_Latn'"):
        TASK.examples("release", "ita_Latn", None)


def test_questions_of_a_passage_share_a_cluster(folder: Path) -> None:
    items = TASK.examples("release", "deu_Latn", folder)
    assert [(item.example_id, item.cluster_id) for item in items] == [
        ("q0-0", "xquad-p000"),
        ("q0-1", "xquad-p000"),
        ("q1-0", "xquad-p001"),
        ("q1-1", "xquad-p001"),
    ]
    assert items[0] == Example(
        example_id="q0-0",
        cluster_id="xquad-p000",
        fields={"context": "Ana kam an.", "question": "Wer, 0?"},
        golds=("Ana",),
    )
    thai = TASK.examples("release", "tha_Thai", folder)
    assert [item.cluster_id for item in thai] == [item.cluster_id for item in items]


def test_exemplars_are_in_the_language_or_lent_by_english(folder: Path) -> None:
    german = TASK.exemplar_pool("release", "deu_Latn", folder)
    assert {item.cluster_id for item in german} == {"mlqa-dev-deu_Latn-p000"}
    assert TASK.lent_by("release", "deu_Latn", folder) == "deu_Latn"
    assert TASK.lent_by("release", "tha_Thai", folder) == "eng_Latn"  # MLQA has no Thai
    (folder / "mlqa/dev/dev-context-de-question-de.json").unlink()
    assert TASK.lent_by("release", "deu_Latn", folder) == "eng_Latn"
    assert TASK.lent_by("mini", "deu_Latn", None) == "deu_Latn"


def test_no_pool_is_an_error(folder: Path) -> None:
    with pytest.raises(NoExemplarsError, match="questions of MLQA, which has none in tha_Thai"):
        TASK.exemplar_pool("release", "tha_Thai", folder)
    (folder / "mlqa/dev/dev-context-de-question-de.json").unlink()
    with pytest.raises(DataError, match="dev-context-de-question-de"):
        TASK.exemplar_pool("release", "deu_Latn", folder)


def test_a_question_on_a_scored_passage_is_no_exemplar(folder: Path) -> None:
    _write(folder, "mlqa/dev/dev-context-de-question-de.json", ["Cy blieb.", "Bo  ging fort. "], 70)
    pool = TASK.exemplar_pool("release", "deu_Latn", folder)
    assert [item.example_id for item in pool] == ["q70-0", "q70-1"]


def _response(text: str) -> GenerateResponse:
    return GenerateResponse(text, "stop", 3, 9, (), ())


@pytest.mark.parametrize(
    ("text", "scores"),
    [
        (" der Ana", [1.0, 1.0, 1.0]),
        ("Ana\nFrage: Wer?", [1.0, 1.0, 1.0]),
        ("\n Ana!", [1.0, 1.0, 1.0]),
        ("Ana kam", [2 / 3, 0.0, 2 * 0.5 * 1.0 / 1.5]),
        ("Bo", [0.0, 0.0, 0.0]),
        ("", [0.0, 0.0, 0.0]),
    ],
)
def test_scores_of_the_first_line(text: str, scores: list[float]) -> None:
    item = Example("q", "p", {}, golds=("Ana",))
    response = _response(text)
    found = [TASK.score(item, response, name, "deu_Latn", "native") for name in TASK.metrics]
    assert found == pytest.approx(scores)


def test_the_rules_of_a_metric_are_named() -> None:
    assert TASK.metric_identity("f1", "deu_Latn") == (1, "mlqa-official:de")
    assert TASK.metric_identity("exact_match", "tha_Thai") == (1, "no-articles:characters:tha")


def test_wrong_requests_for_scores_are_errors() -> None:
    item = Example("q", "p", {}, golds=("Ana",))
    with pytest.raises(DataError, match="no metric 'em'"):
        TASK.score(item, _response("Ana"), "em", "deu_Latn", "native")
    with pytest.raises(DataError, match="no metric 'rouge'"):
        TASK.metric_identity("rouge", "deu_Latn")
    chosen = ChoiceResponse((-1.0,), (1,), (True,), 5, (), ())
    with pytest.raises(TypeError, match="generate responses"):
        TASK.score(item, chosen, "f1", "deu_Latn", "native")


def test_the_prompt_text() -> None:
    assert TASK.prompt_text("deu_Latn", "native") == (
        "Text: {context}\nFrage: {question}\nAntwort: {answer}"
    )
    assert TASK.prompt_text("deu_Latn", "native-question-first") == (
        "Frage: {question}\nText: {context}\nAntwort: {answer}"
    )
    assert TASK.prompt_text("tha_Thai", "english") == (
        "Passage:{context}\nQuestion:{question}\nAnswer:{answer}"
    )


def test_repeated_questions_are_remarked() -> None:
    fields = {"context": "Ana kam an.", "question": "Wer?"}
    items = [Example(f"q{n}", "p", fields, golds=("Ana",)) for n in range(3)]
    assert TASK.remarks(items) == ["2 items repeat a question on the same passage"]
    assert TASK.remarks(items[:1]) == []


def test_the_hub_gives_the_same_items(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []

    def rows(self: HubDataset, *patterns: str) -> list[Row]:
        asked.append((self.repo, patterns[0]))
        name = "xquad/xquad.de.json" if self.repo == "google/xquad" else MLQA
        return [
            Row(
                f"hub:{number}", number, {**qa, "context": paragraph["context"], "answers": answers}
            )
            for paragraph in json.loads((folder / name).read_text())["data"][0]["paragraphs"]
            for number, qa in enumerate(paragraph["qas"], start=1)
            for answers in [{"text": [qa["answers"][0]["text"]], "answer_start": [0]}]
        ]

    monkeypatch.setattr(HubDataset, "rows", rows)
    local = TASK.examples("release", "deu_Latn", folder)
    assert TASK.examples("release", "deu_Latn", None) == local
    pool = TASK.exemplar_pool("release", "deu_Latn", None)
    assert pool == TASK.exemplar_pool("release", "deu_Latn", folder)
    assert set(asked) == {
        ("google/xquad", "xquad.de/validation-*.parquet"),
        ("facebook/mlqa", "mlqa.de.de/validation-*.parquet"),
    }


MLQA = "mlqa/dev/dev-context-de-question-de.json"


@pytest.mark.parametrize(
    ("key", "pool_size", "pool_key", "repeated"),
    [
        ("arb_Arab", 517, "arb_Arab", 4),
        ("deu_Latn", 512, "deu_Latn", 9),
        ("eng_Latn", 1148, "eng_Latn", 5),
        ("spa_Latn", 1148, "eng_Latn", 6),
        ("zho_Hans", 504, "zho_Hans", 9),
    ],
)
def test_the_real_xquad(
    real_data: Path, key: str, pool_size: int, pool_key: str, repeated: int
) -> None:
    items = TASK.examples("release", key, real_data)
    assert (len(items), len({item.cluster_id for item in items})) == (1190, 240)
    assert (items[0].example_id, items[0].cluster_id) == ("56beb4343aeaaa14008c925b", "xquad-p000")
    assert (items[-1].example_id, items[-1].cluster_id) == (
        "5737a25ac3c5551400e51f54",
        "xquad-p239",
    )
    assert TASK.lent_by("release", key, real_data) == pool_key
    pool = TASK.exemplar_pool("release", pool_key, real_data)
    assert len(pool) == pool_size
    assert pool[0].cluster_id == f"mlqa-dev-{pool_key}-p000"
    assert TASK.remarks(items) == [f"{repeated} items repeat a question on the same passage"]
    for prompt in TASK.prompts:
        assert TASK.lint(items, key, prompt) == TASK.lint(pool, pool_key, prompt) == []


def test_the_real_passages_are_parallel(real_data: Path) -> None:
    keys = ("arb_Arab", "deu_Latn", "eng_Latn", "spa_Latn", "zho_Hans")
    clusters = [
        {item.example_id: item.cluster_id for item in TASK.examples("release", key, real_data)}
        for key in keys
    ]
    assert all(found == clusters[0] for found in clusters)
