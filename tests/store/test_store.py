"""Answers are counted from footers, parts included."""

from __future__ import annotations

from pathlib import Path

from maple.records import Cost
from maple.store import Store
from sweep.studies import content, planned, swept


def test_answers_are_counted_while_a_cell_grows(tmp_path: Path) -> None:
    _, plan, store = swept(content(subsets=["eng_Latn"]), tmp_path / "quiet")
    name, cell = next(iter(plan.grid.evals.items()))
    rows = store.responses(name, cell).to_pylist()
    order = [row["example_id"] for row in rows]
    assert store.answered(name, cell) == 16
    _, other = planned(content(subsets=["eng_Latn"]), tmp_path / "other")
    assert other.answered(name, cell) == 0
    other.put_part(name, cell, 0, rows[:5], Cost(1.0, 2.0, 3))
    other.put_part(name, cell, 7, [rows[7], rows[12], rows[8]], Cost(4.0))
    other.put_part(name, cell, 5, rows[5:7], Cost(5.0))
    assert other.answered(name, cell) == 10
    assert other.count(name, cell) == other.finished(name, cell).num_rows == 0
    assert Store(tmp_path / "other").join_parts(name, cell, order[:9]).num_rows == 9
    # Joined, but not dropped: the process may die before the record is written.
    assert other.count(name, cell) == other.answered(name, cell) == 9
    assert other.part_costs(name, cell, 0) == [Cost(1.0, 2.0, 3), Cost(5.0), Cost(4.0)]
    assert other.part_costs(name, cell, 9) == []
    joined = other.eval_path(name, cell).read_bytes()
    assert other.join_parts(name, cell, order[:9]).to_pylist() == rows[:9]
    other.put_part(name, cell, 9, rows[9:12], Cost(6.0))
    assert other.part_costs(name, cell, 9) == [Cost(6.0)]
    assert other.answered(name, cell) == 12
    assert other.join_parts(name, cell, order[:5]).to_pylist() == rows[:9]
    other.drop_parts(name, cell)
    assert other.part_costs(name, cell, 0) == []
    assert other.eval_path(name, cell).read_bytes() == joined
