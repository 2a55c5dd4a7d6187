"""The page's data: equal to the estimates, small, and no character of it ends a script."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from maple.records import EvalCell, TrainCell
from maple.report import labels, samples
from maple.report.gathered import Gathered, gather
from maple.report.payload import STATES, finite, payload, to_json, whole
from maple.report.selection import Spread, correlation, mean_of_cells, mean_of_languages
from report.fake_store import FORMULA, HOSTILE, Fake, filled


def varied(cell: TrainCell, asked: EvalCell, item: int) -> float:
    """Right where a number of the cell, the language and the item says so."""
    return float((item * 7 + (cell.r or 3) * 5 + len(asked.subset) + asked.eval_bits) % 11 < 6)


@pytest.fixture(scope="module")
def gathered(fake: Fake) -> Gathered:
    return gather(fake.store)


@pytest.fixture(scope="module")
def content(gathered: Gathered) -> dict[str, Any]:
    return dict(payload(gathered, items=True))


def test_numbers_equal_the_estimates(gathered: Gathered, content: dict[str, Any]) -> None:
    for table, shown in zip(gathered.tables, content["tables"], strict=True):
        assert [content["cells"][cell]["train"] for cell in shown["lines"]] == [
            line.train_id for line in table.lines
        ]
        for row, line in enumerate(table.lines):
            for column, subset in enumerate(table.subsets):
                place = row * len(table.subsets) + column
                result = gathered.results.cells.get((line.evals[subset], table.setting.metric))
                score = None if result is None else result.score
                assert shown["score"]["value"][place] == (
                    None if score is None else round(100_000 * score.value)
                )
                counts = result is not None and labels.sure(result.adjusted)
                assert shown["sure"][place] == "01"[counts]
                assert shown["n"][place] == (None if score is None else score.n)
            macro = gathered.macro(table, line)
            assert macro is not None
            assert shown["mean"]["score"]["low"][row] == whole(macro.score.low)
            assert shown["mean"]["delta"]["high"][row] == whole(
                None if macro.delta is None else macro.delta.high
            )


def test_what_is_not_done_says_so(gathered: Gathered, content: dict[str, Any], fake: Fake) -> None:
    found = {
        line.evals[subset]: STATES[shown["state"][row * len(table.subsets) + column]]
        for table, shown in zip(gathered.tables, content["tables"], strict=True)
        for row, line in enumerate(table.lines)
        for column, subset in enumerate(table.subsets)
    }
    assert {name: state for name, state in found.items() if state != "done"} == {
        fake.failed: "failed",
        fake.pending: "pending",
    }


def test_no_character_ends_a_script(content: dict[str, Any]) -> None:
    text = to_json({**content, "study": f"{HOSTILE}\u2028&\u2029"})
    assert not set("<>&\u2028\u2029") & set(text)
    assert json.loads(text)["study"] == f"{HOSTILE}\u2028&\u2029"
    assert finite(float("nan")) is finite(float("inf")) is finite(None) is None


def test_a_cell_takes_few_characters(content: dict[str, Any]) -> None:
    shown = content["tables"][0]
    numbers = {name: shown[name] for name in ("score", "delta", "sure", "n", "state")}
    # 23,040 cells at this size are 1.4 MB.
    assert len(to_json(numbers)) / len(shown["state"]) < 60


def test_items_of_the_sample(content: dict[str, Any]) -> None:
    sample = content["items"]
    assert sample["drawn"].startswith("The first 20 items of every subset in the fixed order")
    assert len(sample["subsets"]) == 6
    first = sample["subsets"][0]
    assert len(first["items"]) == 20
    assert ["note", HOSTILE] in first["items"][0]["fields"]
    assert first["items"][1]["target"] == 1
    assert first["prefix"].endswith(f"{FORMULA}\n\n")
    assert first["items"][0]["prompt"].endswith(f"\n{HOSTILE}")
    assert [number for number, one in enumerate(first["items"]) if "prompt" in one] == [0, 1]
    # Even items are right for the base, item 1 for the adapters alone.
    scores = {
        content["cells"][int(place)]["untuned"]: [one["score"] for one in answers[:3]]
        for place, answers in first["answers"].items()
    }
    assert scores == {True: [100.0, 0.0, 100.0], False: [100.0, 100.0, 100.0]}
    generated = sample["subsets"][3]
    assert generated["items"][0]["golds"] == [FORMULA]
    assert {answers[0]["text"] for answers in generated["answers"].values()} == {FORMULA}


def test_items_beyond_a_limit_are_not_in_the_sample(gathered: Gathered) -> None:
    plan = gathered.plan.model_copy(update={"limit": 3})
    found = payload(dataclasses.replace(gathered, plan=plan), items=True)["items"]
    assert {len(one["items"]) for one in found["subsets"]} == {3}
    assert found["drawn"].startswith("The first 3 items of every subset")


def test_a_long_prompt_keeps_its_end(gathered: Gathered, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "_FIELD", 30)
    (first, *_) = payload(gathered, items=True)["items"]["subsets"]
    assert first["items"][0]["prompt"] == "The kettle boiled ov […] =alert(1)>"


def test_the_sample_is_cut_to_its_size(gathered: Gathered, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "BYTES", 12_000)
    found = payload(gathered, items=True)["items"]
    counts = {len(one["items"]) for one in found["subsets"]}
    assert len(counts) == 1
    assert counts < {1, 2, 3, 4, 5}
    assert all(
        len(a) == counts.copy().pop() for s in found["subsets"] for a in s["answers"].values()
    )
    monkeypatch.setattr(samples, "ADAPTERS", 2)
    chosen = payload(gathered, items=True)
    cells = [chosen["cells"][place] for place in chosen["items"]["adapters"]]
    assert {cell["r"] for cell in cells} == {8, 64}
    assert {cell["bits"] for cell in cells} == {4, 16}
    assert "2 adapters of 4, spread over the grid" in chosen["items"]["drawn"]


def test_without_items(gathered: Gathered) -> None:
    text = to_json(payload(gathered, items=False))
    assert "kettle" not in text
    assert json.loads(text)["items"] is None


def test_rho_gives_the_widths_of_the_means_back(tmp_path: Path) -> None:
    gathered = gather(filled(tmp_path, varied).store)
    shown = payload(gathered, items=False)["tables"][0]
    table = gathered.tables[0]
    assert 0 < shown["rho"]["score"] <= 1
    widths = []
    for line in table.lines:
        macro = gathered.macro(table, line)
        if macro is None or not macro.complete:
            continue
        found = [gathered.results.cells[name, "acc"].score for name in line.evals.values()]
        parts = [Spread(one.value, one.low, one.high) for one in found]
        mean = mean_of_languages(parts, shown["rho"]["score"])
        assert mean is not None
        assert mean.value == pytest.approx(macro.score.value)
        assert mean.high is not None
        assert mean.low is not None
        assert macro.score.high is not None
        assert macro.score.low is not None
        widths.append((mean.high - mean.low) / (macro.score.high - macro.score.low))
    assert len(widths) == 5
    assert sum(widths) / len(widths) == pytest.approx(1, abs=0.05)


def test_means_over_a_selection() -> None:
    one, two = Spread(1.0, 1 - 1.96, 1 + 1.96), Spread(3.0, 3 - 3.92, 3 + 3.92)
    # Errors 1 and 2: independent sqrt(5) / 2, together 3 / 2.
    independent, together = mean_of_languages([one, two], 0), mean_of_languages([one, two], 1)
    assert independent is not None
    assert together is not None
    assert independent.error == pytest.approx(5**0.5 / 2)
    assert together.error == pytest.approx(1.5)
    assert correlation([(together, [one, two])]) == pytest.approx(1)
    assert correlation([(independent, [one, two])]) == pytest.approx(0)
    assert correlation([(replace(together, high=99.0), [one, two])]) == 1
    assert correlation([]) == 0
    assert mean_of_languages([], 0) is None
    assert mean_of_languages([one, Spread(1.0, None, None)], 0) == Spread(1.0, None, None)
    averaged = mean_of_cells([one, two])
    assert averaged is not None
    assert (averaged.value, averaged.error) == (2.0, pytest.approx(1.5))
    assert mean_of_cells([one]) == one
    assert mean_of_cells([]) is None
