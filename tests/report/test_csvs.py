"""CSV files: equal to the estimates, and no text in them is a formula."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import polars as pl
import pytest

from maple.analysis.blocks import blocks
from maple.analysis.results import results
from maple.records import EvalCell, TrainCell
from maple.report.csvs import frames, to_csv
from maple.report.gathered import gather
from report.fake_store import FORMULA, HOSTILE, Fake, filled


def read(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))


def test_scores_and_deltas_equal_the_estimates(fake: Fake, report: Path) -> None:
    found = results(fake.plan, blocks(fake.store, fake.plan))
    rows = {(row["eval_id"], row["metric"]): row for row in read(report / "tables" / "scores.csv")}
    assert len(rows) == len(fake.plan.scores)
    for key, result in found.cells.items():
        row = rows[key]
        assert float(row["score"]) == result.score.value
        assert (float(row["score_low"]), float(row["score_high"])) == (
            result.score.low,
            result.score.high,
        )
        assert row["train_languages"] in {"deu_Latn eng_Latn", ""}
    assert rows[fake.failed, "f1"]["score"] == ""
    deltas = read(report / "tables" / "deltas.csv")
    assert {(row["eval_id"], row["metric"]) for row in deltas} == {
        key for key, result in found.cells.items() if result.delta is not None
    }
    for row in deltas:
        delta = found.cells[row["eval_id"], row["metric"]].delta
        assert delta is not None
        assert (float(row["delta"]), float(row["delta_low"])) == (delta.value, delta.low)
        result = found.cells[row["eval_id"], row["metric"]]
        assert (float(row["p"]), float(row["adjusted"])) == (result.p, result.adjusted)
    whole = {(one.train_id, one.eval_bits, one.setting.metric): one for one in found.macros}
    for row in read(report / "tables" / "macros.csv"):
        macro = whole[row["train_id"], int(row["eval_bits"]), row["metric"]]
        known = [None if row[name] == "" else float(row[name]) for name in ("p", "adjusted")]
        assert known == [macro.p, macro.adjusted]


def test_the_english_ledger_has_the_worst_first(tmp_path: Path) -> None:
    def scorer(cell: TrainCell, asked: EvalCell, item: int) -> float:
        """20 of 40 right, tuned some fewer: 1 to 10 by rank and bits, but for the other metric."""
        fewer = 0 if cell.r is None else (cell.r + asked.eval_bits) // 8
        return float(item < 20 - fewer)

    fake = filled(tmp_path, scorer)
    frames_ = frames(gather(fake.store))
    ledger = frames_["english"]
    assert ledger.height == 2 * 4
    assert set(ledger["language"]) == {"eng_Latn"}
    assert set(ledger["metric"]) == {"acc", "f1"}
    assert ledger["delta"].to_list() == pytest.approx(
        [-10 / 40] * 2 + [-8 / 40] * 2 + [-3 / 40] * 2 + [-1 / 40] * 2
    )
    worst = ledger.row(0, named=True)
    assert (worst["r"], worst["eval_bits"]) == (64, 16)
    assert worst["delta_low"] < worst["delta"] < worst["delta_high"]
    # Ten items of one sign: 2 / 2^10, of the largest in a family that is no larger corrected.
    acc = ledger.filter(ledger["metric"] == "acc").row(0, named=True)
    assert acc["p"] == pytest.approx(2 / 2**10, abs=0.002)
    assert acc["p"] <= acc["adjusted"] < 0.05


def test_other_tables(fake: Fake, report: Path) -> None:
    macros = read(report / "tables" / "macros.csv")
    assert len(macros) == 6 * 4
    assert float(macros[1]["delta"]) == pytest.approx(0.1)
    # A row says all that its setting consists of: settings that differ are never alike here.
    settings = {
        (row["task"], row["setup"], row["exemplar_seed"], row["decoding"], row["max_new_tokens"])
        for row in macros
    }
    assert settings == {
        ("xcopa", "monolingual", "0", "choices", ""),
        ("xquad", "monolingual", "0", "greedy", "32"),
    }
    training = read(report / "tables" / "training.csv")
    assert [row["loss_last"] for row in training] == ["1.1"] * 4
    failures = read(report / "tables" / "failures.csv")
    assert [row["eval_id"] for row in failures] == [fake.failed]
    assert failures[0]["failure"] == f"'{FORMULA} {HOSTILE}"
    assert len(read(report / "tables" / "cost.csv")) == 4 + 36
    assert len(read(report / "tables" / "curves.csv")) == 80


@pytest.mark.parametrize("first", ["=", "+", "-", "@", "\t", "\r"])
def test_text_is_never_a_formula_and_numbers_stay_numbers(first: str) -> None:
    rows = pl.DataFrame({"text": [f"{first}1+1", "a=b", None], "number": [-0.5, 1.0, None]})
    parsed = list(csv.reader(io.StringIO(to_csv(rows).decode(), newline="")))
    assert parsed == [
        ["text", "number"],
        [f"'{first}1+1", "-0.5"],
        ["a=b", "1.0"],
        ["", ""],
    ]
