"""Answers are counted from footers, parts included."""

from __future__ import annotations

from pathlib import Path

from maple.store import Store
from sweep.studies import content, planned, swept


def test_answers_are_counted_while_a_cell_grows(tmp_path: Path) -> None:
    _, plan, store = swept(content(subsets=["eng_Latn"]), tmp_path / "quiet")
    name, cell = next(iter(plan.grid.evals.items()))
    rows = store.responses(name, cell).to_pylist()
    assert store.answered(name, cell) == 16
    _, other = planned(content(subsets=["eng_Latn"]), tmp_path / "other")
    assert other.answered(name, cell) == 0
    other.put_part(name, cell, 0, rows[:5])
    other.put_part(name, cell, 5, rows[5:9])
    assert other.answered(name, cell) == 9
    assert other.count(name, cell) == 0
    assert Store(tmp_path / "other").finish_responses(name, cell).num_rows == 9
    assert other.count(name, cell) == other.answered(name, cell) == 9
