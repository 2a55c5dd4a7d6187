"""A study end to end on the scripted model: what is computed, and what is not computed again."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from maple.analysis import frames
from maple.analysis.blocks import blocks
from maple.errors import StoreError
from maple.evaluate.responses import Asked
from maple.models.adapter_files import WEIGHTS_FILE
from maple.models.scripted import ScriptedModel
from maple.protocols import Task
from maple.records import ChoiceRequest, ChoiceResponse, EvalCell, Noise, Unit
from maple.report import build, gather, summary
from maple.store import Store
from maple.sweep import plan as plan_module
from maple.sweep import unit as unit_module
from maple.sweep.plan import Plan, Todo
from maple.sweep.progress import progress
from maple.sweep.run import Outcome, run, score_missing
from maple.sweep.unit import run_unit
from sweep.studies import InProcess, content, planned, results, swept


def test_every_cell_is_done_scored_and_recorded(tmp_path: Path) -> None:
    outcome, plan, store = swept(content(), tmp_path)
    assert outcome.failed == {}
    trained = [name for name, cell in plan.grid.train.items() if cell.method == "lora"]
    assert len(trained) == 2
    assert len(plan.grid.evals) == 4 * 3 * 2  # two adapters, two baselines; three languages
    assert sorted(outcome.done) == sorted([*trained, *plan.grid.evals])
    assert outcome.scored == len(plan.grid.scores) == 12 * 4 + 12 * 3
    for name, cell in plan.grid.evals.items():
        record = store.eval_record(name, cell)
        assert record is not None
        assert (record.status, record.n, len(record.exemplar_ids)) == ("done", 16, 2)
        assert store.responses(name, cell).num_rows == 16
    for name, score in plan.grid.scores.items():
        table = store.scores(name, score)
        assert table is not None
        assert table.num_rows == 16
        assert all(0 <= value <= 1 for value in table["score"].to_pylist())
    assert (tmp_path / "index.parquet").exists()
    assert not list((tmp_path / "leases").glob("*.json"))


def test_noise_is_recorded_and_reported(tmp_path: Path) -> None:
    _, plan, store = swept(content(), tmp_path)
    for name, cell in plan.grid.evals.items():
        record = store.eval_record(name, cell)
        assert record is not None
        assert record.noise == Noise(4 if cell.task == "xquad" else 16, 0.0, 0)
    page = build(store).read_text()
    assert "4 bits: 0 of 16 answers change, log-probabilities by up to 0 nats a token; 16" in page


@pytest.mark.full
def test_deterministic_cells_are_others_and_ask_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    plain = ScriptedModel.choice_logprobs

    def counted(
        self: ScriptedModel, requests: Sequence[ChoiceRequest], adapter: Path | None
    ) -> list[ChoiceResponse]:
        calls.append(len(requests))
        return plain(self, requests, adapter)

    monkeypatch.setattr(ScriptedModel, "choice_logprobs", counted)
    _, plan, _ = swept(content(), tmp_path / "batched")
    assert set(calls) == {1, 4, 16}
    calls.clear()
    study = content()
    study["evaluate"]["deterministic"] = True
    _, other, store = swept(study, tmp_path / "alone")
    assert set(calls) == {1}
    assert len(calls) == 12 * 16
    assert not plan.grid.evals.keys() & other.grid.evals.keys()
    assert plan.grid.train.keys() == other.grid.train.keys()
    name, cell = next(iter(other.grid.evals.items()))
    record = store.eval_record(name, cell)
    assert record is not None
    assert record.noise is None
    assert "every item asked alone" in build(store).read_text()


def test_adapters_take_turns_over_what_fits_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rendered: list[str] = []
    plain = unit_module.ask

    def counted(task: Task, cell: EvalCell, *others: Any) -> Asked:
        rendered.append(f"{cell.task}/{cell.subset}")
        return plain(task, cell, *others)

    monkeypatch.setattr(unit_module, "ask", counted)
    study = content(r=[8, 16], train_bits=[16])
    whole, _ = planned(study, tmp_path / "whole")
    (once,) = Todo(whole, Store(tmp_path / "whole")).units(set())
    monkeypatch.setattr(plan_module, "KEPT_ITEMS", 40)
    monkeypatch.setattr(unit_module, "KEPT_ITEMS", 40)
    made, store = planned(study, tmp_path / "turns")
    (turns,) = Todo(made, store).units(set())
    assert sorted(work.eval_id for work in turns.evals) == sorted(w.eval_id for w in once.evals)
    # Two subsets of 16 items fit into 40: three adapters answer these, then the next two.
    asked = [f"{work.cell.task}/{work.cell.subset}" for work in turns.evals]
    assert asked[:6] == asked[:2] * 3
    assert len(set(asked)) == 6
    run(made, store, InProcess(), lambda _event: None)
    assert sorted(rendered) == sorted(set(asked))
    run(whole, Store(tmp_path / "whole"), InProcess(), lambda _event: None)
    assert results(tmp_path / "whole") == results(tmp_path / "turns")


def test_different_numbers_of_shots_are_different_requests(tmp_path: Path) -> None:
    study = content(r=[8], train_bits=[16], subsets=["eng_Latn"])
    study["evaluate"]["task"] += [{**study["evaluate"]["task"][0], "n_shot": 0}]
    made, store = planned(study, tmp_path)
    (unit,) = Todo(made, store).units(set())
    kept = {work.cell.asked_as for work in unit.evals}
    assert len(unit.evals) == 2 * len(kept) == 6


def test_unreadable_items_fail_their_own_cells(tmp_path: Path) -> None:
    made, store = planned(content(), tmp_path)
    broken = {name for name, cell in made.grid.evals.items() if cell.subset == "arb_Arab"}
    for path in tmp_path.glob("items/*/arb_Arab/*.parquet"):
        path.write_bytes(path.read_bytes()[:-20])
    outcome = run(made, store, InProcess(), lambda _event: None)
    assert set(outcome.failed) == broken
    assert set(outcome.done) == {*made.grid.evals, *made.grid.train} - broken - _untuned(made)
    for path in tmp_path.glob("items/*/arb_Arab/*.parquet"):
        path.unlink()
    outcome, _, _ = swept(content(), tmp_path)
    assert set(outcome.done) == broken


def _untuned(made: Plan) -> set[str]:
    return {name for name, cell in made.grid.train.items() if cell.method == "none"}


def test_a_second_run_computes_nothing(tmp_path: Path) -> None:
    swept(content(), tmp_path)
    before = results(tmp_path)
    outcome, _, _ = swept(content(), tmp_path)
    assert (outcome.done, outcome.scored) == ([], 0)
    assert results(tmp_path) == before


def test_the_untuned_base_is_measured_once_a_precision(tmp_path: Path) -> None:
    plan, _ = planned(content(r=[8, 16, 64], seeds=[0, 1]), tmp_path)
    untuned = [name for name, cell in plan.grid.train.items() if cell.method == "none"]
    baselines = {
        (cell.train_id, cell.eval_bits)
        for cell in plan.grid.evals.values()
        if cell.train_id in untuned
    }
    assert len(baselines) == 2
    crossed, _ = planned(content(eval_bits=[4, 8, 16]), tmp_path / "crossed")
    baselines = {
        (cell.train_id, cell.eval_bits)
        for cell in crossed.grid.evals.values()
        if crossed.grid.train[cell.train_id].method == "none"
    }
    assert len(baselines) == 3
    assert len(crossed.grid.evals) == (2 * 3 + 3) * 6


def test_a_rank_more_trains_and_evaluates_exactly_that_rank(tmp_path: Path) -> None:
    swept(content(), tmp_path)
    before = results(tmp_path)
    outcome, plan, _ = swept(content(r=[8, 16]), tmp_path)
    added = {name for name, cell in plan.grid.train.items() if cell.r == 16}
    evals = {name for name, cell in plan.grid.evals.items() if cell.train_id in added}
    assert set(outcome.done) == added | evals
    assert len(added) == 2
    assert before.items() <= results(tmp_path).items()


def test_a_subset_more_trains_nothing(tmp_path: Path) -> None:
    swept(content(subsets=["eng_Latn"]), tmp_path)
    outcome, plan, _ = swept(content(subsets=["eng_Latn", "hin_Deva"]), tmp_path)
    assert {plan.grid.evals[name].subset for name in outcome.done} == {"hin_Deva"}
    assert len(outcome.done) == 2 * 4


def test_a_higher_limit_answers_only_the_new_items(tmp_path: Path) -> None:
    _, plan, store = swept(content(), tmp_path, limit=5)
    first = {name: store.responses(name, cell) for name, cell in plan.grid.evals.items()}
    assert {table.num_rows for table in first.values()} == {5}
    outcome, plan, store = swept(content(), tmp_path, limit=9)
    assert set(outcome.done) == set(plan.grid.evals)
    for name, cell in plan.grid.evals.items():
        table = store.responses(name, cell)
        assert table.num_rows == 9
        assert table.slice(0, 5).equals(first[name])
    assert all(
        store.scores(name, score).num_rows == 9  # type: ignore[union-attr]
        for name, score in plan.grid.scores.items()
    )
    whole, _, _ = swept(content(), tmp_path, limit=5)
    assert whole.done == []


def test_a_limited_run_takes_the_same_items_in_every_language(tmp_path: Path) -> None:
    _, plan, store = swept(content(), tmp_path, limit=5)
    for task in ("xcopa", "xquad"):
        ids = {
            tuple(store.responses(name, cell)["example_id"].to_pylist())
            for name, cell in plan.grid.evals.items()
            if cell.task == task
        }
        assert len(ids) == 1


def test_precisions_crossed_wait_for_the_training_of_the_other(tmp_path: Path) -> None:
    outcome, plan, _ = swept(content(eval_bits=[4, 16], subsets=["eng_Latn"]), tmp_path)
    assert outcome.failed == {}
    assert len(plan.grid.evals) == 2 * (2 * 2 + 2)
    assert set(plan.grid.evals) <= set(outcome.done)


def test_exemplars_are_not_scored_items(tmp_path: Path) -> None:
    _, plan, store = swept(content(), tmp_path)
    for name, cell in plan.grid.evals.items():
        record = store.eval_record(name, cell)
        assert record is not None
        scored = set(store.responses(name, cell)["example_id"].to_pylist())
        assert not scored & set(record.exemplar_ids)


class _Death(BaseException):
    """Not an Exception: nothing in a worker may catch it, as nothing catches SIGKILL."""


class _Dies:
    """An executor whose worker dies once, in the middle of a cell, at an event of a kind."""

    def __init__(self, event: str, cell: str) -> None:
        self._event = event
        self._cell = cell
        self._died = False

    def run(self, units: Iterable[Unit], on_event: Callable[[Mapping[str, object]], None]) -> None:
        """See `protocols.Executor`."""

        def emit(event: Mapping[str, object]) -> None:
            on_event(event)
            here = event["event"] == self._event and event.get("id", self._cell) == self._cell
            if here and not self._died:
                self._died = True
                raise _Death

        for unit in units:
            try:
                run_unit(unit, emit)
            except _Death:
                on_event({"event": "exit", "status": -9, "log": "last words"})
            else:
                on_event({"event": "exit", "status": 0, "log": ""})


def _with_death(folder: Path, event: str, cells: str) -> tuple[str, Outcome, Plan, Store]:
    plan, store = planned(content(), folder)
    todo = Todo(plan, store).units(())[0]
    victim = todo.train[0].train_id if cells == "train" else todo.evals[0].eval_id
    return victim, run(plan, store, _Dies(event, victim), lambda _event: None), plan, store


def test_a_dead_worker_is_one_failed_cell_and_the_rest_goes_on(tmp_path: Path) -> None:
    victim, outcome, plan, store = _with_death(tmp_path, "progress", "eval")
    assert list(outcome.failed) == [victim]
    record = store.eval_record(victim, plan.grid.evals[victim])
    assert record is not None
    assert record.failure is not None
    assert record.failure.exit_status == -9
    assert record.failure.detail == "last words"
    assert "SIGKILL" in record.failure.message
    again, _, _ = swept(content(), tmp_path)
    assert again.done == [victim]


def test_a_failed_adapter_fails_its_evaluations_visibly(tmp_path: Path) -> None:
    victim, outcome, plan, store = _with_death(tmp_path, "loaded", "train")
    dependent = {n for n, c in plan.grid.evals.items() if c.train_id == victim}
    assert set(outcome.failed) == {victim} | dependent
    for name in dependent:
        record = store.eval_record(name, plan.grid.evals[name])
        assert record is not None
        assert record.failure is not None
        assert record.failure.message == f"its adapter {victim} failed to train"
    again, _, _ = swept(content(), tmp_path)
    assert set(again.done) == {victim} | dependent


@pytest.mark.full
def test_a_failed_extension_keeps_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, plan, store = swept(content(), tmp_path, limit=5)
    victim, cell = next(iter(plan.grid.evals.items()))
    earlier = store.eval_record(victim, cell)
    assert earlier is not None
    plan, store = planned(content(), tmp_path, limit=9)
    outcome = run(plan, store, _Dies("progress", victim), lambda _event: None)
    assert list(outcome.failed) == [victim]
    record = store.eval_record(victim, cell)
    assert record is not None
    assert (record.status, record.n, record.cost) == ("failed", 5, earlier.cost)
    assert record.proof == earlier.proof
    file = store.plan()
    assert file is not None
    metric = file.primary_metrics[cell.task]
    answered = [
        block.answered[block.eval_ids.index(victim)]
        for block in blocks(store, file)
        if victim in block.eval_ids and block.metric == metric
    ]
    assert answered == [5]
    states = frames.cells(store, file).filter(eval_id=victim).select("status", "n")
    assert states.unique().rows() == [("failed", 5)]
    # The same through an error that the worker itself records.
    with monkeypatch.context() as patch:
        patch.setattr(Store, "put_part", lambda *_: 1 / 0)
        outcome, _, _ = swept(content(), tmp_path, limit=12)
    assert victim in outcome.failed
    record = store.eval_record(victim, cell)
    assert record is not None
    assert (record.status, record.n, record.cost) == ("failed", 5, earlier.cost)
    again, _, _ = swept(content(), tmp_path, limit=12)
    assert victim in again.done
    record = store.eval_record(victim, cell)
    assert record is not None
    assert (record.status, record.n) == ("done", 12)


@pytest.mark.full
def test_two_names_of_one_prompt_are_one_cell_in_two_tables(tmp_path: Path) -> None:
    study = content(subsets=["eng_Latn", "zho_Hans"], train_bits=[4])
    tasks = study["evaluate"]["task"]
    tasks += [{**task, "prompt": "english"} for task in tasks]
    outcome, plan, store = swept(study, tmp_path)
    assert outcome.failed == {}
    english = [name for name, cell in plan.grid.evals.items() if cell.subset == "eng_Latn"]
    assert len(english) == 2 * 2
    assert len(plan.grid.evals) == 2 * 2 * 3
    assert dict(plan.grid.prompts) == dict.fromkeys(english, ("native", "english"))
    gathered = gather(store)
    for table in gathered.tables:
        assert set(table.subsets) == {"eng_Latn", "zho_Hans"}
        for line in table.lines:
            macro = gathered.macro(table, line)
            assert macro is not None
            assert macro.complete
    titles = [table.title for table in gathered.tables if table.setting.task == "xquad"]
    assert set(titles) == {"xquad (prompt native)", "xquad (prompt english)"}
    shown = summary(gather(store))
    assert [row["prompt"] for row in shown.rows] == ["native"] * 2 + ["english"] * 2 + [
        "native"
    ] * 2 + ["english"] * 2
    assert shown.cells[2][0] == "xcopa (prompt english)"
    page = build(store).read_text(encoding="utf-8")
    names = re.findall(r' id="([^"]+)"', page)
    assert len(names) == len(set(names))
    prompts = gathered.cells.filter(eval_id=english[0], is_primary=True)["prompt"].to_list()
    assert prompts == ["native", "english"]


def test_a_lower_limit_compares_the_same_items(tmp_path: Path) -> None:
    swept(content(r=[4]), tmp_path, limit=12)
    _, plan, store = swept(content(r=[4, 8]), tmp_path, limit=6)
    gathered = gather(store)
    assert {result.score.n for result in gathered.results.cells.values()} == {6}
    assert gathered.answers["n"].unique().to_list() == [6]
    assert {store.count(name, cell) for name, cell in plan.grid.evals.items()} == {6, 12}


def test_status_counts_what_the_plan_wants(tmp_path: Path) -> None:
    study = content(subsets=["eng_Latn"], train_bits=[4])
    _, plan, store = swept(study, tmp_path, limit=5)
    assert {row.status for row in progress(store)} == {"done"}
    assert {row.items for row in progress(store) if row.kind == "eval"} == {"5 of 5"}
    planned(study, tmp_path, limit=9)
    states = {row.kind: (row.status, row.items) for row in progress(store)}
    assert states == {"train": ("done", ""), "eval": ("pending", "5 of 9")}
    swept(study, tmp_path, limit=9)
    name, cell = next(iter(plan.grid.evals.items()))
    store.eval_path(name, cell).unlink()
    assert [row.id for row in progress(store) if row.status == "pending"] == [name]


def test_a_lost_adapter_is_trained_again(tmp_path: Path) -> None:
    _, plan, store = swept(content(), tmp_path)
    before = results(tmp_path)
    lost, cut = (name for name, cell in plan.grid.train.items() if cell.method != "none")
    (store.train_folder(lost) / WEIGHTS_FILE).unlink()
    path = store.train_folder(cut) / WEIGHTS_FILE
    path.write_bytes(path.read_bytes()[:100])
    assert {row.id for row in progress(store) if row.status == "pending"} == {lost, cut}
    outcome, _, _ = swept(content(), tmp_path)
    assert set(outcome.done) == {lost, cut}
    assert results(tmp_path) == before


def test_a_folder_belongs_to_one_study(tmp_path: Path) -> None:
    swept(content(), tmp_path / "out")
    with pytest.raises(StoreError, match=r"results of study 'scripted', this is 'other'"):
        planned({**content(), "name": "other"}, tmp_path / "out")
    own = tmp_path / "mine"
    own.mkdir()
    (own / "study.toml").write_text("# mine", encoding="utf-8")
    with pytest.raises(StoreError, match=r"has a study\.toml of its own"):
        planned(content(), own)
    assert (own / "study.toml").read_text(encoding="utf-8") == "# mine"


def test_what_a_hub_name_stood_for_is_never_forgotten(tmp_path: Path) -> None:
    plan, store = planned(content(), tmp_path)
    first = store.plan()
    assert first is not None
    store.put_plan(first.model_copy(update={"locks": {"org/model": "hub:org/model@abc"}}), b"")
    planned(content(), tmp_path)
    later = store.plan()
    assert later is not None
    (base,) = plan.checked.bases
    assert later.locks == {"org/model": "hub:org/model@abc", base.name: base.identity}


def test_who_lost_the_lease_writes_nothing(tmp_path: Path) -> None:
    plan, store = planned(content(train_bits=[4], subsets=["eng_Latn"]), tmp_path)
    (unit,) = Todo(plan, store).units(())
    victim = unit.evals[0]
    events: list[Mapping[str, object]] = []

    def emit(event: Mapping[str, object]) -> None:
        events.append(event)
        if event["event"] == "progress" and event["id"] == victim.eval_id:
            path = tmp_path / "leases" / f"{victim.eval_id}.json"
            held = json.loads(path.read_bytes())
            path.write_text(json.dumps({**held, "token": "another"}), encoding="utf-8")

    run_unit(unit, emit)
    assert {"event": "busy", "id": victim.eval_id} in events
    assert store.eval_record(victim.eval_id, victim.cell) is None
    done = {event["id"] for event in events if event["event"] == "done"}
    assert done == {unit.train[0].train_id} | {w.eval_id for w in unit.evals[1:]}


def test_a_deleted_file_of_responses_is_computed_again(tmp_path: Path) -> None:
    _, plan, store = swept(content(), tmp_path)
    before = results(tmp_path)
    name, cell = next(iter(plan.grid.evals.items()))
    store.eval_path(name, cell).unlink()
    outcome, _, _ = swept(content(), tmp_path)
    assert (outcome.done, outcome.scored) == ([name], 0)
    assert results(tmp_path) == before


def test_other_responses_are_scored_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batched in other company, they differ in their last bits."""
    _, plan, store = swept(content(), tmp_path)
    name, cell = next(item for item in plan.grid.evals.items() if item[1].task == "xcopa")
    store.eval_path(name, cell).unlink()
    plain = ScriptedModel.choice_logprobs

    def turned(
        self: ScriptedModel, requests: Sequence[ChoiceRequest], adapter: Path | None
    ) -> list[ChoiceResponse]:
        found = plain(self, requests, adapter)
        return [replace(response, logprobs=response.logprobs[::-1]) for response in found]

    monkeypatch.setattr(ScriptedModel, "choice_logprobs", turned)
    scores = {n: c for n, c in plan.grid.scores.items() if c.eval_id == name}
    before = {n: store.scores(n, c) for n, c in scores.items()}
    outcome, _, _ = swept(content(), tmp_path)
    assert (outcome.done, outcome.scored) == ([name], len(scores))
    for score_id, score in scores.items():
        assert store.scores(score_id, score) != before[score_id]
        assert store.scored(score_id, score) == (16, store.content(name, cell))


def test_the_death_of_an_idle_worker_fails_no_cell(tmp_path: Path) -> None:
    plan, store = planned(content(subsets=["eng_Latn"]), tmp_path)
    deaths: list[int] = []

    class DiesFirst(InProcess):
        def run(
            self, units: Iterable[Unit], on_event: Callable[[Mapping[str, object]], None]
        ) -> None:
            if len(deaths) < 2:
                deaths.append(1)
                on_event({"event": "exit", "status": -11, "log": ""})
            else:
                super().run(units, on_event)

    outcome = run(plan, store, DiesFirst(), lambda _event: None)
    assert outcome.failed == {}
    assert len(outcome.done) == 2 + len(plan.grid.evals)


def test_scores_are_made_again_when_lost(tmp_path: Path) -> None:
    _, plan, store = swept(content(), tmp_path)
    before = results(tmp_path)
    for path in (tmp_path / "scores").rglob("*.parquet"):
        path.unlink()
    assert score_missing(plan, store, {}) == len(plan.grid.scores)
    assert results(tmp_path) == before


@pytest.mark.parametrize("name", ["plan.json", "record"])
def test_a_broken_file_is_named(tmp_path: Path, name: str) -> None:
    swept(content(subsets=["eng_Latn"]), tmp_path)
    path = tmp_path / "plan.json"
    if name == "record":
        path = next((tmp_path / "eval").rglob("*.json"))
    path.write_text(path.read_text(encoding="utf-8")[:50], encoding="utf-8")
    with pytest.raises(StoreError, match=path.name):
        swept(content(subsets=["eng_Latn"]), tmp_path)


def test_a_model_finetuned_in_full_is_a_base_of_its_own(tmp_path: Path) -> None:
    study = content(methods=["lora", "full"], train_bits=[16], eval_bits=[4, 16])
    plan, store = planned(study, tmp_path)
    full = next(name for name, cell in plan.grid.train.items() if cell.method == "full")
    units = Todo(plan, store).units(set())
    told = [(unit.bits, unit.tuned, len(unit.train), len(unit.evals)) for unit in units]
    # Two tasks in three languages: the base and LoRA together, the tuned model alone. At other
    # bits than were trained in: after the training.
    assert told == [
        (4, None, 0, 6),
        (16, None, 2, 12),
        (16, full, 0, 6),
        (4, None, 0, 6),
        (4, full, 0, 6),
    ]
    outcome = run(plan, store, InProcess(), lambda _event: None)
    assert outcome.failed == {}
    assert Todo(plan, store).units(set()) == []
    assert {work.adapter for unit in units if unit.tuned for work in unit.evals} == {full}
