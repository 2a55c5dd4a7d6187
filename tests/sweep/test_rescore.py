"""Metrics beside a task's own: asked by a study, or added to stored answers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from maple.cli import app
from maple.errors import DataError, ModelError, StudyError
from maple.evaluate.responses import neutral_prompt
from maple.metrics import compat
from maple.models.scripted import ScriptedModel
from maple.records import ChoiceRequest, ChoiceResponse, Example, Prompted
from maple.store import Store, files, schemas
from maple.study.load import validate
from maple.sweep.catalogue import catalogue
from maple.sweep.progress import progress
from maple.sweep.rescore import rescore
from maple.tasks import TASKS
from sweep.studies import content, planned, results, swept

PMI = "accuracy[pmi]"


def with_metrics(*names: str, task: str = "xcopa", **changes: Any) -> dict[str, Any]:
    """The study, asking for metrics beside a task's own."""
    study = content(**changes)
    for section in study["evaluate"]["task"]:
        if section["name"] == task:
            section["metrics"] = list(names)
    return study


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[ChoiceRequest]:
    """Every choice request that the scripted model answers."""
    seen: list[ChoiceRequest] = []
    plain = ScriptedModel.choice_logprobs

    def noted(
        self: ScriptedModel, requests: Sequence[ChoiceRequest], adapter: Path | None
    ) -> list[ChoiceResponse]:
        seen.extend(requests)
        return plain(self, requests, adapter)

    monkeypatch.setattr(ScriptedModel, "choice_logprobs", noted)
    return seen


def test_pmi_changes_no_other_number(tmp_path: Path, asked: list[ChoiceRequest]) -> None:
    few: dict[str, Any] = {"subsets": ["eng_Latn", "zho_Hans"], "train_bits": [16]}
    _, without, _ = swept(content(**few), tmp_path / "without")
    assert all(request.prompt.count("\n") for request in asked)
    outcome, plan, store = swept(with_metrics(PMI, **few), tmp_path / "with")
    assert outcome.failed == {}
    assert plan.grid.evals == without.grid.evals
    ours, theirs = results(tmp_path / "with"), results(tmp_path / "without")
    assert theirs.keys() < ours.keys()
    assert {name for name, text in theirs.items() if ours[name] != text} == {
        str(store.eval_path(name, cell).relative_to(tmp_path / "with"))
        for name, cell in plan.grid.evals.items()
        if cell.task == "xcopa"
    }
    for name, cell in plan.grid.evals.items():
        table = store.finished(name, cell)
        other = Store(tmp_path / "without").finished(name, cell)
        if cell.task == "xcopa":
            assert other["neutral_logprobs"].null_count == 16
            assert table["neutral_logprobs"].null_count == 0
            table, other = (one.drop_columns("neutral_logprobs") for one in (table, other))
        assert table == other


def test_pmi_is_what_the_model_says_after_the_label_alone(tmp_path: Path) -> None:
    _, plan, store = swept(with_metrics(PMI, subsets=["zho_Hans"]), tmp_path)
    (name, cell) = next(
        item
        for item in plan.grid.evals.items()
        if item[1].task == "xcopa" and plan.grid.train[item[1].train_id].method == "none"
    )
    items = {item.example_id: item for item in store.items("xcopa", "zho_Hans", cell.items)}
    scores = next(
        store.scores(score_id, score)
        for score_id, score in plan.grid.scores.items()
        if score.metric == PMI and score.eval_id == name
    )
    assert scores is not None
    model = ScriptedModel()
    rights = []
    for row in store.finished(name, cell).to_pylist():
        item = items[row["example_id"]]
        rendered = plan.task("xcopa").render(item, "zho_Hans", "native")
        label = rendered.text.splitlines()[-1]
        (expected,) = model.choice_logprobs([ChoiceRequest("", label, rendered.answers)], None)
        assert tuple(row["neutral_logprobs"]) == expected.logprobs
        gains = [a - b for a, b in zip(row["logprobs"], expected.logprobs, strict=True)]
        rights.append(float(gains.index(max(gains)) == item.target))
    assert scores["score"].to_pylist() == rights
    assert 0 < sum(rights) < 16


def test_pmi_asked_later_asks_for_what_is_missing_only(
    tmp_path: Path, asked: list[ChoiceRequest]
) -> None:
    swept(content(subsets=["eng_Latn"]), tmp_path, limit=6)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "scores").rglob("*.parquet")}
    asked.clear()
    _, store = planned(with_metrics(PMI, subsets=["eng_Latn"]), tmp_path, limit=6)
    waiting = {row.id for row in progress(store) if row.status == "pending"}
    outcome, plan, store = swept(with_metrics(PMI, subsets=["eng_Latn"]), tmp_path, limit=6)
    assert sorted(waiting) == sorted(outcome.done)
    cells = {name: cell for name, cell in plan.grid.evals.items() if cell.task == "xcopa"}
    assert sorted(outcome.done) == sorted(cells)
    assert outcome.scored == len(cells)
    # The items of the noise floor are asked anew, all others after the label alone.
    short = [request for request in asked if "\n" not in request.prompt]
    assert len(short) == 6 * len(cells)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    asked.clear()
    outcome, _, _ = swept(with_metrics(PMI, subsets=["eng_Latn"]), tmp_path, limit=6)
    assert (outcome.done, outcome.scored, asked) == ([], 0, [])
    # More items: theirs alone. Fewer: nothing, and without pmi nothing is lost.
    swept(with_metrics(PMI, subsets=["eng_Latn"]), tmp_path, limit=10)
    assert len([request for request in asked if "\n" not in request.prompt]) == 4 * len(cells)
    asked.clear()
    swept(with_metrics(PMI, subsets=["eng_Latn"]), tmp_path, limit=8)
    swept(content(subsets=["eng_Latn"]), tmp_path, limit=10)
    assert asked == []
    assert all(store.count_neutral(name, cell) == 10 for name, cell in cells.items())


def test_answers_stand_when_the_neutral_prompts_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = with_metrics(PMI, subsets=["eng_Latn"])
    with monkeypatch.context() as patched:

        def broken(*_arguments: object) -> None:
            raise ModelError("out of memory")

        patched.setattr("maple.sweep.unit.neutral", broken)
        outcome, plan, store = swept(study, tmp_path, limit=6)
    cells = {name: cell for name, cell in plan.grid.evals.items() if cell.task == "xcopa"}
    assert set(outcome.failed) == set(cells)
    for name, cell in cells.items():
        record = store.eval_record(name, cell)
        assert record is not None
        assert (record.status, record.n) == ("failed", 6)
    own = {name for name, one in plan.grid.scores.items() if one.eval_id in cells}
    scored = {name for name in own if store.scores(name, plan.grid.scores[name]) is not None}
    assert {plan.grid.scores[name].metric for name in own - scored} == {PMI}
    resumed, _, _ = swept(study, tmp_path, limit=6)
    assert (sorted(resumed.done), resumed.failed) == (sorted(cells), {})
    assert resumed.scored == len(cells)


def test_equal_labels_and_choices_are_asked_once(
    tmp_path: Path, asked: list[ChoiceRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = with_metrics(PMI, subsets=["eng_Latn"], train_bits=[16])
    del study["train"]
    study["evaluate"]["eval_bits"] = [16]
    study["evaluate"]["task"] = study["evaluate"]["task"][:1]  # xcopa alone
    monkeypatch.setattr(
        "maple.tasks.native.NativeTask.render",
        lambda self, example, subset, prompt: Prompted(
            f"{example.fields['premise']}\n{example.fields['question']}:", (" yes", " no")
        ),
    )
    monkeypatch.setattr("maple.tasks.native.NativeTask.lint", lambda *_others: [])
    swept(study, tmp_path)
    short = sorted({request.prompt for request in asked if "\n" not in request.prompt})
    assert short == ["cause:", "effect:"]
    assert len([request for request in asked if "\n" not in request.prompt]) == 2


def test_a_prompt_without_a_label_has_no_neutral_one() -> None:
    item = Example("i", "i", {"premise": "The tap drips.", "question": "cause"}, ("a", "b"), 0)
    assert neutral_prompt(item, Prompted("The tap drips.\ncause:", ())) == "cause:"
    for text in ("The tap drips.", "Question:\nWhy? The tap drips. So:", "The tap drips.\n"):
        with pytest.raises(DataError, match=r"last line of its prompt is no label"):
            neutral_prompt(item, Prompted(text, ()))
    chinese = Example("i", "i", {"premise": "水龙头滴水。", "question": "cause"}, ("a", "b"), 0)
    with pytest.raises(DataError, match=r"last line of its prompt is no label"):
        neutral_prompt(chinese, Prompted("水龙头滴水。因为", ()))


def test_a_study_that_cannot_have_pmi_is_refused_before_it_runs(tmp_path: Path) -> None:
    study = with_metrics(PMI, subsets=["eng_Latn"], train_bits=[16])
    study["evaluate"]["prompt"] = [
        {"name": "joined", "task": "xcopa", "languages": ["en"], "text": "{premise} {question}:"}
    ]
    for section in study["evaluate"]["task"]:
        if section["name"] == "xcopa":
            section["prompt"] = "joined"
    with pytest.raises(StudyError, match="the last line of its prompt is no label"):
        planned(study, tmp_path)


def test_tasks_whose_package_is_gone_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, store = swept(content(subsets=["eng_Latn"], train_bits=[16]), tmp_path)
    without = {name: task for name, task in TASKS.items() if name != "xcopa"}
    monkeypatch.setattr("maple.sweep.rescore.TASKS", without)
    found = rescore(store, ["squad_english"])
    assert found.scored == 2 * found.cells // 2 > 0
    assert "xcopa: its package is not installed" in found.left_out


def test_files_of_version_two_are_read_and_a_study_gets_their_pmi(tmp_path: Path) -> None:
    _, plan, store = swept(content(subsets=["eng_Latn"], train_bits=[16]), tmp_path)
    for name, cell in plan.grid.evals.items():
        if cell.task == "xcopa":
            path = store.eval_path(name, cell)
            table = pq.ParquetFile(path).read()
            old = {**schemas.metadata(table.schema)}
            del old["neutral"]
            table = schemas.with_metadata(table.drop_columns("neutral_logprobs"), old)
            files.write_table(path, table)
            assert store.finished(name, cell)["neutral_logprobs"].null_count == 16
            assert store.count_neutral(name, cell) == 0
    before = _plan(store)
    with pytest.raises(StudyError, match="stored answers are not enough") as caught:
        rescore(store, [PMI, "squad_english"])
    assert 'metrics = ["accuracy[pmi]"]' in str(caught.value)
    assert _plan(store) == before
    found = rescore(store, ["squad_english"])
    assert (found.cells, found.scored, found.waiting, len(found.failed)) == (4, 4, 0, 0)
    # A study that asks for them gets them; one that does not is not bothered.
    outcome, again, _ = swept(content(subsets=["eng_Latn"], train_bits=[16]), tmp_path)
    assert (outcome.failed, outcome.scored) == ({}, 0)
    assert "squad_english[f1]" in {cell.metric for cell in again.grid.scores.values()}
    study = with_metrics(PMI, subsets=["eng_Latn"], train_bits=[16])
    outcome, made, _ = swept(study, tmp_path)
    assert (outcome.failed, outcome.scored) == ({}, 2)
    for name, score in made.grid.scores.items():
        assert store.score_record(name, score) is None


def _plan(store: Store) -> Any:
    plan = store.plan()
    assert plan is not None
    return plan


def test_rescoring_runs_no_model_and_happens_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, plan, store = swept(content(train_bits=[16]), tmp_path)
    before = results(tmp_path)
    monkeypatch.setattr("maple.sweep.unit.run_unit", None)
    found = rescore(store, ["squad_english", "mlqa_official[f1]", "f1_abstractive"])
    assert (found.cells, found.scored, found.waiting) == (6 * 4, 6 * 4, 0)
    assert (found.left_out, found.failed) == ((), {})
    changed = _plan(store)
    assert changed.evals == plan.grid.evals
    assert changed.scores.items() >= plan.grid.scores.items()
    after = results(tmp_path)
    assert {name: after[name] for name in before} == before
    again = rescore(store, ["squad_english", "mlqa_official[f1]", "f1_abstractive"])
    assert (again.scored, _plan(store)) == (0, changed)
    for name, cell in changed.scores.items():
        asked = changed.evals[cell.eval_id]
        if cell.metric == "squad_english[f1]":
            stored = store.items("xquad", asked.subset, asked.items)
            items = {item.example_id: item for item in stored}
            table = store.scores(name, cell)
            assert table is not None
            texts = {
                row["example_id"]: row["text"].strip()
                for row in store.finished(cell.eval_id, asked).to_pylist()
            }
            assert table["score"].to_pylist() == [
                compat.squad_f1(texts[item], items[item].golds)
                for item in table["example_id"].to_pylist()
            ]
        if cell.metric in ("mlqa_official[f1]", "f1"):
            # The primary metric's rules are the official ones in these languages.
            assert cell.rules.startswith(("official MLQA", "mlqa-official"))


def test_a_run_keeps_and_extends_what_was_rescored(tmp_path: Path) -> None:
    swept(content(subsets=["eng_Latn"], train_bits=[16]), tmp_path, limit=4)
    store = Store(tmp_path)
    rescore(store, ["squad_english"])
    outcome, plan, _ = swept(content(train_bits=[16]), tmp_path)
    assert outcome.failed == {}
    cells = [name for name, cell in plan.grid.scores.items() if "squad" in cell.metric]
    assert len(cells) == 2 * 6
    for name in cells:
        assert store.scored(name, plan.grid.scores[name])[0] == 16
    assert _plan(store).rescored == {"xquad": ("squad_english",)}


def test_languages_without_rules_are_left_out_and_said(tmp_path: Path) -> None:
    study = content(subsets=["eng_Latn", "swh_Latn"], train_bits=[16])
    swept(study, tmp_path / "a")
    found = rescore(Store(tmp_path / "a"), ["mlqa_official"])
    assert found.left_out == (
        "xquad/swh_Latn: mlqa_official[f1] has no rules for swh_Latn",
        "xquad/swh_Latn: mlqa_official[exact_match] has no rules for swh_Latn",
    )
    assert found.scored == 2 * 2
    study["evaluate"]["task"][1]["metrics"] = ["mlqa_official[f1]"]
    swept(study, tmp_path / "b")
    assert (
        "xquad/swh_Latn: mlqa_official[f1] has no rules for it."
        in _plan(Store(tmp_path / "b")).notes
    )


def test_metrics_that_are_not_for_a_task_are_refused(tmp_path: Path) -> None:
    swept(content(subsets=["eng_Latn"], train_bits=[16]), tmp_path)
    with pytest.raises(StudyError) as caught:
        rescore(Store(tmp_path), ["squad_englsh", "rouge_english"])
    assert "2 problems" in caught.value.what
    assert "no metric 'squad_englsh'\n    hint: did you mean 'squad_english'" in caught.value.what
    assert "metric 'rouge_english' is for none of xcopa, xquad" in caught.value.what
    assert "hint: known: xcopa: none; xquad: mlqa_official" in caught.value.what
    with pytest.raises(StudyError) as caught:
        validate(with_metrics("squad_english", "accuracy[pm]"), catalogue(), "s.toml")
    assert "s.toml: evaluate.task[0].metrics[0]: unknown metric" in caught.value.what
    assert "did you mean 'accuracy[pmi]'" in caught.value.what


@pytest.mark.full
def test_the_command_reports_beside_the_primary_metric(tmp_path: Path) -> None:
    swept(content(subsets=["eng_Latn"], train_bits=[16]), tmp_path)
    runner = CliRunner()
    done = runner.invoke(app, ["rescore", str(tmp_path), "--metric", "squad_english"])
    assert done.exit_code == 0
    assert "4 of 4 cells scored, 0 without answers yet, 0 failed" in done.stderr
    page = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    assert '"squad_english[exact_match]"' in page
    assert "rules SQuAD 1.1: ASCII punctuation, English articles, words by white space" in page
    assert "squad_english[f1]" in (tmp_path / "report" / "tables" / "scores.csv").read_text()
    again = runner.invoke(app, ["rescore", str(tmp_path), "--metric", "squad_english", "--json"])
    assert "0 of 4 cells scored" in again.stderr
    assert json.loads(again.stdout)["rows"]
    with pytest.raises(StudyError, match="asks the choices once more"):
        runner.invoke(app, ["rescore", str(tmp_path), "--metric", PMI], catch_exceptions=False)
