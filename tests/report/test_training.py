"""What the report says about training: figures of each cell, held-out loss, curves."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from maple.analysis import frames
from maple.errors import StoreError
from maple.records import Failure
from maple.report import build, curves, ledger, training
from maple.report.gathered import gather
from maple.store import PlanFile, Record, Store
from report.fake_store import FORMULA, HOSTILE, Fake, planned, put_training, put_validated
from report.test_page import Page


def german(root: Path, base: str = "tiny") -> tuple[Store, PlanFile]:
    """A study of four adapters trained on German alone, none of them yet."""
    store, plan = Store(root), planned(evaluate=False)
    cells = {
        name: replace(cell, languages=("deu_Latn",), base_name=base, learning_rate=3e-4)
        for name, cell in plan.train.items()
    }
    plan = plan.model_copy(update={"train": cells})
    store.put_plan(plan, b"")
    return store, plan


def read(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def drawn(svg: str, mark: str) -> list[str]:
    """What a figure's marks of one kind say they are."""
    return re.findall(rf'aria-roledescription="{mark}"', svg)


def test_a_line_says_what_a_training_did(tmp_path: Path) -> None:
    store, plan = german(tmp_path)
    first, second = list(plan.train)[:2]
    put_validated(store, first, plan.train[first])
    put_training(store, second, plan.train[second])
    table = training.training(gather(store))
    assert table is not None
    lines = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    assert lines[0] == {
        "base": "tiny",
        "method": "LoRA",
        "r": "8",
        "alpha": "16",
        "bits": "4",
        "source": "mini",
        "learning rate": "0.0003",
        "seed": "0",
        "status": "done",
        "rows": "84",
        "rows too long": "1",
        "tokens": "12,000",
        "labelled tokens": "6,789",
        "steps": "20",
        "kept after step": "20",
        "loss, first tenth": "2.500",
        "loss, last tenth": "2.250",
        "tokens a second": "200",
        "ceiling": "400 GFLOP/s",
        "share of it": "25.0 %",
        "peak memory": "200.0 MB",
        "energy": "1.2 kJ",
        "trained parameters": "4,096",
        "size on disk": "0.1 MB",
    }
    # An earlier version's record: nothing was counted, and nothing is zero.
    assert lines[1]["share of it"] == lines[1]["kept after step"] == "–"
    assert (lines[1]["tokens a second"], lines[1]["energy"]) == ("201", "unknown")
    assert "Energy unknown: this machine exposes no energy counter." in table.notes
    assert (lines[2]["status"], lines[2]["steps"]) == ("pending", "–")
    build(store)
    rows = read(tmp_path / "report" / "tables" / "training.csv")
    assert [row["ceiling_share"] for row in rows] == ["0.25", "", "", ""]
    assert [row["tokens_per_second"] for row in rows[::3]] == ["200.0", ""]
    assert [row["best_step"] for row in rows] == ["20", "", "", ""]


def test_columns_of_which_nothing_is_known_are_left_out(fake: Fake) -> None:
    table = training.training(gather(fake.store))
    assert table is not None
    assert {"ceiling", "share of it", "kept after step", "mixture"}.isdisjoint(table.columns)
    assert not any(note.startswith(("Ceiling", "Kept")) for note in table.notes)


def test_held_out_loss_tells_forgetting_from_learning(tmp_path: Path) -> None:
    store, plan = german(tmp_path)
    name = next(iter(plan.train))
    put_validated(store, name, plan.train[name])
    table = training.held_out(gather(store))
    assert table is not None
    assert [row[1:] for row in table.rows] == [
        ("German", "2.000", "1.500", "−0.500"),
        ("English (not trained on: forgetting)", "3.000", "3.250", "+0.250"),
    ]
    build(store)
    rows = read(tmp_path / "report" / "tables" / "held_out.csv")
    shown = ("language", "trained_on", "forgetting", "before", "after", "difference")
    assert [[row[column] for column in shown] for row in rows] == [
        ["deu_Latn", "true", "false", "2.0", "1.5", "-0.5"],
        ["eng_Latn", "false", "true", "3.0", "3.25", "0.25"],
    ]


def test_nothing_held_out_is_no_table(fake: Fake, report: Path) -> None:
    assert training.held_out(gather(fake.store)) is None
    assert read(report / "tables" / "held_out.csv") == []
    assert read(report / "tables" / "validation.csv") == []


def test_curves_have_a_line_a_run_and_a_point_a_language(tmp_path: Path) -> None:
    store, plan = german(tmp_path)
    for name in list(plan.train)[:2]:
        put_validated(store, name, plan.train[name])
    (panel,) = curves.content(gather(store))
    assert (panel["title"], panel["smoothed"]) == ("tiny, mini", "every step")
    assert [(run["series"], run["bits"]) for run in panel["runs"]] == [
        ("LoRA r=8", 4),
        ("LoRA r=8", 16),
    ]
    run = panel["runs"][0]
    assert run["loss"][0] == list(range(1, 21))
    assert run["loss"][1][:2] == [3.0, 2.0]
    assert run["held"]["German"] == [[0, 5, 10, 15, 20], [2.0, 1.875, 1.75, 1.625, 1.5]]
    assert run["held"]["English (not trained on)"][1][-1] == 3.25
    rows = curves.rows([panel])
    assert len(rows) == 2 * (20 + 2 * 5)
    assert rows[0]["about"] == "LoRA r=8, 4 bits, mini, seed 0: training, step 1: 3.000"
    build(store)
    written = read(tmp_path / "report" / "tables" / "validation.csv")
    assert len(written) == 2 * 5 * 2
    assert (written[0]["step"], written[-1]["step"], written[-1]["loss"]) == ("0", "20", "3.25")


def test_long_trainings_are_smoothed_and_thinned(tmp_path: Path) -> None:
    store, plan = german(tmp_path)
    name = next(iter(plan.train))
    put_validated(store, name, plan.train[name], steps=4000)
    (panel,) = curves.content(gather(store))
    assert panel["smoothed"] == "mean of 201 steps"
    steps, losses = panel["runs"][0]["loss"]
    assert (len(steps), steps[0], steps[-1]) == (150, 1, 4000)
    # Losses of 2 and 3 in turn are 2.5 in the mean.
    assert losses[1:-1] == pytest.approx([2.5] * 148, abs=0.01)


def test_too_many_points_become_their_mean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curves, "_MOST_POINTED", 1)
    store, plan = german(tmp_path)
    name = next(iter(plan.train))
    put_validated(store, name, plan.train[name])
    (panel,) = curves.content(gather(store))
    assert set(panel["runs"][0]["held"]) == {"mean of languages", "English (not trained on)"}


def test_a_training_that_has_not_taken_a_step_yet(tmp_path: Path) -> None:
    store, plan = german(tmp_path)
    name = next(iter(plan.train))
    folder = store.train_folder(name)
    folder.mkdir(parents=True)
    (folder / "log.jsonl").write_text("", encoding="utf-8")
    assert curves.content(gather(store)) == []
    line = {"step": 0, "held_out": {"deu_Latn": 2.5}}
    (folder / "log.jsonl").write_text(json.dumps(line) + "\n", encoding="utf-8")
    (panel,) = curves.content(gather(store))
    assert panel["runs"][0]["loss"] == [[], []]
    assert panel["runs"][0]["held"] == {"German": [[0], [2.5]]}
    build(store)


@pytest.mark.parametrize("line", ["[]", '{"held_out": {"deu_Latn": 1}}', '{"held_out": 3}', "{"])
def test_a_broken_line_is_named(tmp_path: Path, line: str) -> None:
    store, plan = german(tmp_path)
    name = next(iter(plan.train))
    put_validated(store, name, plan.train[name])
    with (store.train_folder(name) / "log.jsonl").open("a", encoding="utf-8") as log:
        log.write(line + "\n")
    with pytest.raises(StoreError, match="line 22 is not a training step"):
        frames.validation(store, plan)
    with pytest.raises(StoreError, match="line 22 is not a training step"):
        frames.curves(store, plan)


def test_failed_trainings_say_why(tmp_path: Path) -> None:
    store, plan = german(tmp_path)
    messages = (
        "training diverged at step 30 of 40: the mean loss of 10 steps rose from 2 to 9",
        f"no row has a labelled token {FORMULA} {HOSTILE}",
    )
    for name, message in zip(plan.train, messages, strict=False):
        put_validated(store, name, plan.train[name])
        store.put_record(
            Record(
                kind="train",
                id=name,
                status="failed",
                cell=plan.train[name],
                started="2025-11-03T09:00:01Z",
                finished="2025-11-03T09:00:02Z",
                provenance={},
                failure=Failure(message),
            )
        )
    gathered = gather(store)
    assert {failure.message for failure in ledger.failures(gathered)} == set(messages)
    page = Page(build(store).read_text(encoding="utf-8"))
    text = " ".join(page.texts)
    assert all(message in text for message in messages)
    assert "2 failed; the same command tries them again" in text
    # The curve shows how far each got.
    assert "img" not in {tag for tag, _ in page.tags}
    assert [panel["title"] for panel in curves.content(gathered)] == ["tiny, mini"]


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    store, plan = german(tmp_path, HOSTILE)
    name = next(iter(plan.train))
    put_validated(store, name, plan.train[name])
    content = build(store).read_text(encoding="utf-8")
    page = Page(content)
    assert "img" not in {tag for tag, _ in page.tags}
    assert [tag for tag, _ in page.tags].count("script") == 3
    assert HOSTILE.replace("<", r"\u003c").replace(">", r"\u003e") in content
