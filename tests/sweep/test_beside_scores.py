"""What a sweep stores beside scores: the language of answers, the tokens of prompts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from maple.analysis import rates
from maple.errors import StoreError
from maple.evaluate.responses import ask
from maple.metrics import identify
from maple.metrics.words import words
from maple.models.scripted import ScriptedModel
from maple.records import GenerateRequest, GenerateResponse
from maple.report import build
from maple.store import Store, prompts
from maple.store.prompts import Prompts
from maple.sweep.run import run
from sweep.studies import InProcess, content, swept
from sweep.studies import planned as planned_study

ENGLISH = " The children read a new book about the sea and then walked to school"


@pytest.fixture
def in_english(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is asked, the answer is one English sentence."""

    def generate(
        self: ScriptedModel, requests: list[GenerateRequest], adapter: Path | None
    ) -> list[GenerateResponse]:
        return [GenerateResponse(ENGLISH, "stop", 14, 9, (), ()) for _ in requests]

    monkeypatch.setattr(ScriptedModel, "generate", generate)


@pytest.mark.usefixtures("in_english")
def test_answers_in_another_language_are_found_and_reported(tmp_path: Path) -> None:
    outcome, plan, store = swept(content(train_bits=[16]), tmp_path)
    assert outcome.scored == len(plan.grid.scores)
    checks = plan.checks
    assert {check.metric for check in checks.values()} == {identify.LANGUAGE}
    assert len(checks) == 2 * 3
    for name, check in checks.items():
        table = store.scores(name, check)
        assert table is not None
        right = plan.grid.evals[check.eval_id].subset == "eng_Latn"
        assert all((value > 0.9) == right for value in table["score"].to_pylist())
    planned = store.plan()
    assert planned is not None
    rows = rates.answers(store, planned).to_dicts()
    wrong = {row["subset"]: row["wrong_language"] for row in rows}
    assert wrong == {"eng_Latn": 0.0, "arb_Arab": 1.0, "zho_Hans": 1.0}
    assert {row["identified"] for row in rows} == {16}
    again, _, _ = swept(content(train_bits=[16]), tmp_path)
    assert (again.done, again.scored) == ([], 0)


def test_short_answers_are_unknown_and_nothing_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identify, "_model", None)
    monkeypatch.setattr(identify, "SHORTEST", 10**6)
    _, plan, store = swept(content(train_bits=[16], subsets=["eng_Latn"]), tmp_path)
    for name, check in plan.checks.items():
        table = store.scores(name, check)
        assert table is not None
        assert table["score"].null_count == 16


def test_prompts_are_measured_once_for_all_adapters(tmp_path: Path) -> None:
    _, plan, store = swept(content(r=[8, 16], train_bits=[16]), tmp_path, limit=5)
    files = sorted((tmp_path / "items").glob("*/*/prompts/*.parquet"))
    assert len(files) == 2 * 3
    written = {path: path.stat().st_mtime_ns for path in files}
    cell = next(c for c in plan.grid.evals.values() if (c.task, c.subset) == ("xquad", "zho_Hans"))
    (base,) = plan.checked.bases
    table = store.prompt_sizes(cell, base.tokenizer)
    assert table is not None
    items = store.items(cell.task, cell.subset, cell.items)[:5]
    texts = [plan.task("xquad").render(item, "zho_Hans", "native").text for item in items]
    assert table.to_pylist() == [
        {
            "example_id": item.example_id,
            "n_tokens": len(text.split()),  # a scripted model's tokens are words by white space
            "n_words": len(words(text)),
            "n_chars": len(text),
            "n_bytes": len(text.encode()),
        }
        for item, text in zip(items, texts, strict=True)
    ]
    swept(content(r=[8, 16, 32], train_bits=[16]), tmp_path, limit=5)
    assert {path: path.stat().st_mtime_ns for path in files} == written
    swept(content(r=[8, 16], train_bits=[16]), tmp_path, limit=7)
    table = Store(tmp_path).prompt_sizes(cell, base.tokenizer)
    assert table is not None
    assert table.num_rows == 7


def test_the_first_prompts_are_kept_as_they_were_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prompts, "KEPT", 3)
    _, plan, store = swept(content(r=[8, 16], train_bits=[16]), tmp_path, limit=2)
    cell = next(c for c in plan.grid.evals.values() if (c.task, c.subset) == ("xquad", "zho_Hans"))
    task = plan.task("xquad")

    def expected(number: int) -> Prompts:
        items = store.items(cell.task, cell.subset, cell.items)[:number]
        pool = store.items(cell.task, cell.subset, cell.exemplar_pool or "")
        asked = ask(task, cell, items, pool)
        assert cell.n_shot
        assert asked.exemplars
        own = {item.example_id: task.render(item, "zho_Hans", "native").text for item in items}
        return Prompts("".join(asked.exemplars), own)

    assert store.prompts(cell) == expected(2)
    files = sorted((tmp_path / "items").glob("*/*/prompts/*.json"))
    assert len(files) == 2 * 3
    swept(content(r=[8, 16], train_bits=[16]), tmp_path, limit=7)
    assert store.prompts(cell) == expected(3)
    assert sorted((tmp_path / "items").glob("*/*/prompts/*.json")) == files
    for file in files:
        file.write_text('{"prefix": 3}')
    with pytest.raises(StoreError, match=r"zho_Hans/prompts/\w+\.json: cannot be read as prompts"):
        store.prompts(cell)
    # Whoever asks the items next, writes them anew.
    outcome, _, _ = swept(content(r=[8, 16, 32], train_bits=[16]), tmp_path, limit=7)
    assert not outcome.failed
    assert store.prompts(cell) == expected(3)


@pytest.mark.full
@pytest.mark.usefixtures("in_english")
def test_the_report_has_both(tmp_path: Path) -> None:
    _, _, store = swept(content(train_bits=[16]), tmp_path)
    page = build(store).read_text(encoding="utf-8")
    for text in ("wrong language", "Tokens per word, character and byte", "unicode characters"):
        assert text in page
    tables = tmp_path / "report" / "tables"
    for name, rows in (("answers", 2 * 3), ("prompts", 2 * 3)):
        assert (tables / f"{name}.csv").read_text(encoding="utf-8").count("\n") == 1 + rows


def test_a_cell_is_scored_while_its_unit_is_still_at_work(tmp_path: Path) -> None:
    plan, store = planned_study(content(train_bits=[16]), tmp_path)
    seen = []

    def watched(event: Mapping[str, object]) -> None:
        if event["event"] == "done" and event["id"] in plan.grid.evals:
            own = {
                name: cell for name, cell in plan.grid.scores.items() if cell.eval_id == event["id"]
            }
            seen.append(all(store.scores(name, cell) is not None for name, cell in own.items()))

    outcome = run(plan, store, InProcess(), watched)
    assert seen == [True] * len(plan.grid.evals)
    assert outcome.scored == len(plan.grid.scores)
