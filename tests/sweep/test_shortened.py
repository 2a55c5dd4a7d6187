"""Prompts that exceed the context: what is left out is counted from the record to the report."""

from __future__ import annotations

from pathlib import Path

import pytest

from maple.models.scripted import ScriptedModel
from maple.report import build
from sweep.studies import content, planned, swept


def test_what_is_left_out_is_stored_and_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = content(subsets=["eng_Latn"], train_bits=[16])
    whole, _ = planned(study, tmp_path / "whole")
    monkeypatch.setattr(ScriptedModel, "max_context", 230)
    outcome, plan, store = swept(study, tmp_path / "short")
    assert not outcome.failed
    shortened = {"xcopa": set(), "xquad": set()}
    for name, cell in plan.grid.evals.items():
        record = store.eval_record(name, cell)
        assert record is not None
        if cell.task == "xcopa":
            assert (cell.truncation, record.shortened) == ("refuse", {})
        else:
            assert cell.truncation == "shorten"
            assert {one.tokens for one in record.shortened.values()} == {0}
            assert {one.exemplars for one in record.shortened.values()} <= {1, 2}
            rows = store.finished(name, cell).to_pylist()
            assert max(row["n_prompt_tokens"] for row in rows) + 64 <= 230
        shortened[cell.task].add(name)
    # Where everything fits, a cell is called what it was always called.
    assert shortened["xcopa"] <= whole.grid.evals.keys()
    assert not shortened["xquad"] & whole.grid.evals.keys()
    page = build(store).read_text(encoding="utf-8")
    assert "no prompt leaves anything out" in page
    assert "to fit the context " in page
