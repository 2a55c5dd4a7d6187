"""Tables read from a store: what they hold, and what half-finished stores look like."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from maple.analysis import columns, frames, rates
from maple.analysis.blocks import blocks
from maple.errors import StoreError
from maple.records import Failure
from maple.store import PlanFile, Record, Store
from report.fake_store import Fake, filled, planned


@pytest.fixture(scope="module")
def fake(tmp_path_factory: pytest.TempPathFactory) -> Fake:
    return filled(tmp_path_factory.mktemp("store"))


def test_every_cell_and_metric_of_the_plan_is_a_row(fake: Fake) -> None:
    found = frames.cells(fake.store, fake.plan)
    assert found.columns == [column.name for column in columns.CELLS]
    assert found["score_id"].to_list() == list(fake.plan.scores)
    # 1 base at 2 precisions and 4 adapters, 2 tasks with 2 metrics each, 3 languages.
    assert found.height == 6 * 2 * 2 * 3
    states = dict(found.group_by("status").len().iter_rows())
    assert states == {"done": 68, "failed": 2, "pending": 2}
    failed = found.row(
        by_predicate=(pl.col("status") == "failed") & pl.col("is_primary"), named=True
    )
    assert (failed["eval_id"], failed["metric"], failed["exit_status"]) == (fake.failed, "f1", 137)
    assert failed["n"] is None
    done = found.filter(pl.col("status") == "done")
    assert done["n"].unique().to_list() == [40]
    assert done["train_languages"].drop_nulls()[0].to_list() == ["deu_Latn", "eng_Latn"]


def test_answers_say_how_generation_ended(fake: Fake) -> None:
    found = rates.answers(fake.store, fake.plan)
    assert found.height == 6 * 3 - 1  # XQuAD only, without the failed cell
    base = found.row(
        by_predicate=pl.col("eval_id") == fake.cell("xquad", "eng_Latn", None, 4), named=True
    )
    # Wrong answers whose item ends in 3 are empty: 4 of 40.
    assert base["empty"] == pytest.approx(0.1)
    assert (base["eos"], base["stop"], base["length"]) == pytest.approx((0.9, 0.0, 0.1))
    assert base["mean_tokens"] == 6


def test_training_and_curves(fake: Fake) -> None:
    training = frames.training(fake.store, fake.plan)
    assert training.height == 4
    assert training["adapter_bytes"].to_list() == [123456] * 4
    assert training["seconds"].to_list() == [60.0] * 4
    curves = frames.curves(fake.store, fake.plan)
    assert curves.height == 80
    assert curves["step"].to_list()[:20] == list(range(1, 21))


def test_a_line_that_is_being_written_is_left_out_and_a_broken_one_is_named(tmp_path: Path) -> None:
    fake = filled(tmp_path)
    name = next(name for name, cell in fake.plan.train.items() if cell.method != "none")
    log = fake.store.train_folder(name) / "log.jsonl"
    whole = log.read_text(encoding="utf-8")
    log.write_text(whole + '{"step": 21, "lo', encoding="utf-8")
    assert frames.curves(fake.store, fake.plan).height == 80
    log.write_text(whole + '{"step": 21}\n', encoding="utf-8")
    with pytest.raises(StoreError, match="line 21 is not a training step"):
        frames.curves(fake.store, fake.plan)


def test_an_empty_store_is_all_pending(tmp_path: Path) -> None:
    store, plan = Store(tmp_path), planned()
    assert set(frames.cells(store, plan)["status"]) == {"pending"}
    assert blocks(store, plan) == ()
    assert rates.choices(store, plan).is_empty()
    assert rates.answers(store, plan).is_empty()
    assert frames.curves(store, plan).is_empty()
    assert set(frames.training(store, plan)["status"]) == {"pending"}


def test_cells_outside_the_plan_are_ignored(fake: Fake) -> None:
    kept = {name: cell for name, cell in fake.plan.evals.items() if cell.task == "xcopa"}
    scores = {name: score for name, score in fake.plan.scores.items() if score.eval_id in kept}
    smaller = fake.plan.model_copy(update={"evals": kept, "scores": scores})
    assert set(frames.cells(fake.store, smaller)["task"]) == {"xcopa"}
    assert {block.task for block in blocks(fake.store, smaller)} == {"xcopa"}


def test_an_evaluation_says_that_its_adapter_failed(tmp_path: Path) -> None:
    store, plan = Store(tmp_path), planned()
    name = list(plan.train)[1]
    store.put_record(_failed(plan, name))
    found = frames.cells(store, plan).filter(pl.col("train_id") == name)
    assert set(found["status"]) == {"pending"}
    assert set(found["failure"]) == {"not run: its adapter failed to train"}


def test_rows_must_have_the_declared_columns() -> None:
    with pytest.raises(ValueError, match="expected"):
        columns.frame(columns.ANSWERS, [{"eval_id": "x"}])


def _failed(plan: PlanFile, name: str) -> Record:
    cell = plan.train[name]
    return Record(
        kind="train",
        id=name,
        status="failed",
        cell=cell,
        started="2025-11-03T09:00:01Z",
        finished="2025-11-03T09:00:02Z",
        provenance={},
        failure=Failure("out of memory"),
    )
