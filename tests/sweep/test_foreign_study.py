"""Studies with tasks of lm-evaluation-harness, from the file to the report."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from maple.errors import StudyError
from maple.records import Failure
from maple.report import build
from maple.store import Store
from maple.study.load import load, validate
from maple.sweep.asked import bound
from maple.sweep.catalogue import catalogue
from maple.sweep.plan import make
from maple.sweep.progress import progress
from maple.sweep.run import score_missing
from maple.sweep.servecheck import sample
from maple.tasks.harness import Harness
from models import tiny
from sweep.studies import content, planned, swept
from tasks import foreign_files

pytestmark = pytest.mark.usefixtures("datasets_cache")


@pytest.fixture
def include(tmp_path: Path) -> Path:
    folder = tmp_path / "include"
    for base in (foreign_files.CHOICE, foreign_files.GENERATE, foreign_files.CONTINUE):
        foreign_files.write(folder, base)
    return folder


def foreign(include: Path, **changes: Any) -> dict[str, Any]:
    """The scripted study with three foreign tasks beside a native one."""
    study = content(train_bits=[16], subsets=["eng_Latn"])
    study["evaluate"]["lm_eval_include"] = [str(include)]
    study["evaluate"]["task"] = [
        study["evaluate"]["task"][0],
        {"name": "lm_eval:animals", "n_shot": 2},
        {"name": "lm_eval:animals_open", "n_shot": 0, "language": "en", **changes},
        {"name": "lm_eval:animals_next", "n_shot": 1, "language": "en"},
    ]
    return study


def test_a_study_runs_resumes_and_reports(include: Path, tmp_path: Path) -> None:
    outcome, plan, store = swept(foreign(include), tmp_path / "out", limit=4)
    assert not outcome.failed
    cells = {cell.task: cell for cell in plan.grid.evals.values()}
    animals = cells["lm_eval:animals"]
    assert (animals.subset, animals.n_shot, animals.exemplar_seed) == ("eng_Latn", 2, 0)
    assert (animals.exemplar_pool, animals.decoding) == (None, "choices")
    assert cells["lm_eval:animals_open"].max_new_tokens == 8
    metrics = {score.metric for score in plan.grid.scores.values()}
    assert {"acc", "acc_norm", "exact_match[whole]", "exact_match[noun]"} <= metrics
    rules = {score.rules for score in plan.grid.scores.values() if score.metric == "acc_norm"}
    assert rules == {"lm-eval 0.4.13, task version 2.0"}

    page = build(store).read_text(encoding="utf-8")
    assert "lm_eval:animals" in page
    assert "asked and scored by lm-evaluation-harness" in page
    again, _, _ = swept(foreign(include), tmp_path / "out", limit=4)
    assert (again.done, again.scored) == ([], 0)
    more, _, _ = swept(foreign(include), tmp_path / "out")
    assert len(more.done) == len(plan.grid.evals)


def test_they_can_be_asked_in_a_training_template(include: Path, tmp_path: Path) -> None:
    study = foreign(include)
    tasks = study["evaluate"]["task"][1:]
    study["evaluate"]["task"] = [*tasks, *({**task, "template": "plain"} for task in tasks)]
    outcome, plan, store = swept(study, tmp_path / "out", limit=2)
    assert not outcome.failed
    tokens = {
        (cell.task, cell.template_name): store.finished(name, cell)["n_prompt_tokens"].to_pylist()
        for name, cell in plan.grid.evals.items()
    }
    for task in tasks:
        bare = tokens[task["name"], None]
        # A word is a token here: "Task:" and "Answer:", once however many exemplars there are.
        assert tokens[task["name"], "plain"] == [count + 2 for count in bare]


def test_a_server_can_be_asked_them(include: Path) -> None:
    evaluate = validate(foreign(include), catalogue(), "study.toml").evaluate
    assert evaluate is not None
    harness = Harness([include])
    asked = sample([bound(section, 0, harness) for section in evaluate.task[1:3]], None)
    assert {request.choices for request in asked.choices} == {
        tuple(f" {option}" for option in item["options"]) for item in foreign_files.ANIMALS
    }
    assert all(request.prompt.count("Answer:") == 3 for request in asked.choices)
    assert {request.max_new_tokens for request in asked.completions} == {8}


RULES = """
def score(doc, results):
    found = {"whole": 1.0, "odd": 1.0}
    return found if "moo" in doc["question"] or %s else {"whole": 1.0}
"""


def test_a_metric_that_fails_is_a_row_and_the_sweep_goes_on(include: Path, tmp_path: Path) -> None:
    study = foreign(include)
    study["evaluate"]["task"] = study["evaluate"]["task"][1:2]
    code = {"process_results": "rules.score"}
    foreign_files.write(include, foreign_files.CHOICE, functions=code, metric_list=None)
    (include / "rules.py").write_text(RULES % False, encoding="utf-8")
    outcome, plan, store = swept(study, tmp_path / "out")
    failed = {name for name, score in plan.grid.scores.items() if score.metric == "odd"}
    assert set(outcome.failed) == failed
    assert len(failed) == 2
    assert outcome.scored == len(plan.grid.scores) - len(failed)
    (message,) = set(outcome.failed.values())
    assert re.fullmatch(
        r"lm_eval:animals: odd of animals-\d is None, expected a number from 0 to 1", message
    )
    record = store.score_record(min(failed), plan.grid.scores[min(failed)])
    assert record is not None
    assert record.failure == Failure(message)
    assert {row.id for row in progress(store) if row.kind == "score"} == failed

    page = build(store).read_text(encoding="utf-8")
    assert message in page
    assert "2 scores failed" in page
    tables = tmp_path / "out" / "report" / "tables"
    failures = pl.read_csv(tables / "failures.csv")
    assert failures["failure"].to_list() == [f"not scored: {message}"] * 2
    scores = pl.read_csv(tables / "scores.csv").filter(pl.col("task") == "lm_eval:animals")
    assert set(scores.select("metric", "status").rows()) == {("whole", "done"), ("odd", "failed")}

    # Tried again, and over once it succeeds.
    again, plan, store = swept(study, tmp_path / "out")
    assert set(again.failed) == failed
    task = plan.task("lm_eval:animals")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(task), "score", lambda *_: 1.0)
        assert score_missing(plan, store, {}) == len(failed)
    assert [record.kind for record in store.records() if record.status == "failed"] == []


def test_an_empty_context_needs_a_base_with_bos(include: Path, tmp_path: Path) -> None:
    foreign_files.write(include, foreign_files.CHOICE, doc_to_text="")
    tasks = [{"name": "lm_eval:animals", "n_shot": 0}]
    for family, bos in (("llama", False), ("gemma3", True)):
        base = tiny.saved(tmp_path / family, family)
        study = {
            "name": "empty",
            "base": {"models": [str(base)]},
            "evaluate": {"eval_bits": [32], "lm_eval_include": [str(include)], "task": tasks},
        }
        if bos:
            assert planned(study, tmp_path / "out")[0].grid.evals
            continue
        with pytest.raises(StudyError, match="lm_eval:animals has items with an empty context"):
            planned(study, tmp_path / "out")


def test_an_edited_file_is_another_cell(include: Path, tmp_path: Path) -> None:
    before, _ = planned(foreign(include), tmp_path / "out")
    foreign_files.write(include, foreign_files.CHOICE, doc_to_text="{{question}}\nIt is")
    after, _ = planned(foreign(include), tmp_path / "out")
    gone = set(before.grid.evals) - set(after.grid.evals)
    assert {before.grid.evals[name].task for name in gone} == {"lm_eval:animals"}


def test_another_number_of_shots_or_seed_is_another_cell(include: Path, tmp_path: Path) -> None:
    first, _ = planned(foreign(include), tmp_path / "out")
    study = foreign(include)
    study["evaluate"]["exemplar_seed"] = 1
    second, _ = planned(study, tmp_path / "out")
    kept = set(first.grid.evals) & set(second.grid.evals)
    assert {first.grid.evals[name].task for name in kept} == {"lm_eval:animals_open"}


def test_folders_are_found_from_the_study_file(include: Path, tmp_path: Path) -> None:
    study = tmp_path / "study.toml"
    study.write_text(
        'name = "here"\n[base]\nmodels = ["scripted:hash"]\n'
        '[evaluate]\neval_bits = [16]\nlm_eval_include = ["include"]\n'
        '[[evaluate.task]]\nname = "lm_eval:animals"\nn_shot = 0\nlanguage = "it"\n',
        encoding="utf-8",
    )
    loaded = load(study, catalogue())
    assert loaded.evaluate is not None
    assert loaded.evaluate.lm_eval_include == [str(include)]
    plan = make(loaded, None, None, Store(tmp_path / "out"))
    assert {cell.subset for cell in plan.grid.evals.values()} == {"ita_Latn"}


def test_mistakes_of_the_file_are_named_together(include: Path) -> None:
    study = foreign(include, prompt="native", subsets=["en"], language="xx")
    study["evaluate"]["lm_eval_include"] = [str(include / "none")]
    study["evaluate"]["task"][0]["language"] = "en"
    with pytest.raises(StudyError) as caught:
        validate(study, catalogue(), "study.toml")
    text = caught.value.what
    for part in (
        "evaluate.lm_eval_include[0]: ",
        "evaluate.task[0].language: xcopa knows the languages",
        "evaluate.task[2].prompt: lm_eval:animals_open has one of its own",
        "evaluate.task[2].subsets: ",
        "evaluate.task[2].language: unknown language 'xx'",
    ):
        assert part in text


def test_tasks_that_cannot_be_asked_are_named_together(
    include: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without the package's own 13,000 files, which take seconds to index.
    plain = Harness._manager
    monkeypatch.setattr(Harness, "_manager", lambda self, defaults: plain(self, defaults=False))
    study = foreign(include, language=None)
    study["evaluate"]["task"][1]["name"] = "lm_eval:animal"
    with pytest.raises(StudyError) as caught:
        make(validate(study, catalogue(), "test"), None, None, Store(tmp_path / "out"))
    assert "lm_eval:animal: lm-evaluation-harness has no task of that name" in caught.value.what
    assert "lm_eval:animals_open: its language is not known" in caught.value.what


def test_the_plan_keeps_what_the_study_said(include: Path, tmp_path: Path) -> None:
    _, store = planned(foreign(include), tmp_path / "out")
    plan = store.plan()
    assert plan is not None
    assert plan.languages["lm_eval:animals_next/eng_Latn"] == "eng_Latn"
    assert plan.primary_metrics["lm_eval:animals_open"] == "exact_match[whole]"
    assert json.loads(plan.to_bytes())["study"]["evaluate"]["lm_eval_include"] == [str(include)]
