"""The model and the trainer that need no weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from conformance import language_model as conformance
from maple.errors import ModelError
from maple.models.files import resolve
from maple.models.scripted import ScriptedModel, train_scripted
from maple.records import (
    ChoiceRequest,
    GenerateRequest,
    InstructionRow,
    LanguageTokens,
    TrainCell,
)

ASKED = [
    ChoiceRequest("some shots\n\n", f"question {n}", (" yes", " no", " it may be"))
    for n in range(5)
]
WRITE = [GenerateRequest("", f"one two three {n} four five", ("\n",), 8) for n in range(5)]
BASE = resolve("scripted:hash")
CELL = TrainCell(
    base_name=BASE.name,
    base=BASE.identity,
    tokenizer=BASE.tokenizer,
    method="lora",
    r=4,
    lora_alpha=8.0,
    epochs=2.0,
    batch_size=2,
    learning_rate=1e-4,
)
ROWS = [InstructionRow(str(n), "eng_Latn", f"do {n}", "", "done so") for n in range(30)]


def test_conformance() -> None:
    model = ScriptedModel()
    conformance.check_choices(model, ASKED)
    conformance.check_generation(model, WRITE)
    conformance.check_order_and_purity(model, ASKED, tolerance=0.0)
    conformance.check_nothing(model)
    conformance.check_too_long(model)


def test_answers_are_spread_and_copied_from_the_prompt() -> None:
    model = ScriptedModel()
    values = [value for one in model.choice_logprobs(ASKED, None) for value in one.logprobs]
    assert len(set(values)) == len(values)
    assert all(-20.0 < value < 0.0 for value in values)
    for request, response in zip(WRITE, model.generate(WRITE, None), strict=True):
        assert response.text.strip() in request.prompt


def test_a_scripted_answer() -> None:
    model = ScriptedModel(answer=lambda text: " yes" if text.endswith("1") else " no")
    best = [
        max(zip(one.logprobs, "ynm", strict=True))[1] for one in model.choice_logprobs(ASKED, None)
    ]
    assert best == ["n", "y", "n", "n", "n"]
    assert model.generate(WRITE, None)[0].text == " no"


def test_training_is_deterministic_and_loaded(tmp_path: Path) -> None:
    outcome = train_scripted(ROWS, CELL, tmp_path / "a")
    train_scripted(ROWS, CELL, tmp_path / "b")
    train_scripted(ROWS[1:], CELL, tmp_path / "c")
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()
    assert outcome.steps == 30
    assert outcome.by_language == {"eng_Latn": LanguageTokens(30, 2 * 30 * 4, 2 * 30 * 2)}
    assert outcome.loss_last < outcome.loss_first
    lines = [json.loads(line) for line in (tmp_path / "a/log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 31))
    assert set(lines[0]) == {"step", "loss", "learning_rate", "epoch"}
    model = ScriptedModel()
    answers = [
        model.choice_logprobs(ASKED, folder)
        for folder in (None, *(tmp_path / name for name in "abc"))
    ]
    assert answers[1] == answers[2]
    assert answers[0] != answers[1] != answers[3]
    assert (model.proof(tmp_path / "a").probe_max_abs_diff or 0.0) > 0.0
    assert model.proof(None).probe_max_abs_diff is None


def test_adapters_of_other_bases_are_refused(tmp_path: Path) -> None:
    other = TrainCell(base_name="org/x", base="hub:org/x@0", tokenizer="sha256:0", method="lora")
    train_scripted(ROWS, other, tmp_path)
    with pytest.raises(ModelError, match="org/x"):
        ScriptedModel().choice_logprobs(ASKED, tmp_path)
    with pytest.raises(ModelError, match="no rows"):
        train_scripted([], CELL, tmp_path)
