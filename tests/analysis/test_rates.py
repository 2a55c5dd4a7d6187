"""Rates beside scores: what is counted, of how many, with which interval."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

from maple.analysis import columns, rates
from maple.analysis.estimates import mean
from maple.errors import StoreError
from maple.records import GenerateResponse, ScoreCell
from maple.store import files
from maple.store.schemas import generate_row
from report.fake_store import COST, Fake, filled


@pytest.fixture
def answered(tmp_path: Path) -> tuple[Fake, str]:
    """A store, and the cell of it whose 40 answers a test writes."""
    fake = filled(tmp_path)
    return fake, fake.cell("xquad", "eng_Latn", 8, 4)


def _answer(fake: Fake, name: str, texts: list[str]) -> dict[str, object]:
    """The row of `rates.answers` for these answers."""
    cell = fake.plan.evals[name]
    fake.store.eval_path(name, cell).unlink()
    items = fake.store.items(cell.task, cell.subset, cell.items)
    rows = [
        generate_row(
            item, GenerateResponse(text, "length" if len(text) > 9 else "stop", 3, 9, (), ())
        )
        for item, text in zip(items, texts, strict=True)
    ]
    fake.store.put_part(name, cell, 0, rows, COST)
    fake.store.join_parts(name, cell, [item.example_id for item in items])
    fake.store.drop_parts(name, cell)
    return _row(fake, name)


def _row(fake: Fake, name: str) -> dict[str, object]:
    found = rates.answers(fake.store, fake.plan)
    assert found.columns == [column.name for column in columns.ANSWERS]
    return found.row(by_predicate=pl.col("eval_id") == name, named=True)


def test_what_is_counted(answered: tuple[Fake, str]) -> None:
    fake, name = answered
    # Four items share a passage. Eight answers are empty, four have no letter, ten are cut.
    texts = ["", " \n", "…", "ok"] * 4 + ["-cut at the end"] * 10 + ["fine"] * 14
    row = _answer(fake, name, texts)
    assert (row["n"], row["empty"], row["unparsed"]) == (40, 8 / 40, 4 / 40)
    assert (row["length"], row["stop"], row["eos"]) == (10 / 40, 30 / 40, 0.0)
    for rate in ("empty", "unparsed", "length"):
        low, high = row[f"{rate}_low"], row[f"{rate}_high"]
        assert isinstance(low, float)
        assert isinstance(high, float)
        assert 0 <= low < row[rate] < high <= 1  # type: ignore[operator]
    assert row["identified"] is None
    assert row["wrong_language"] is None


def test_wilsons_interval_where_nothing_happened_or_everything(
    answered: tuple[Fake, str],
) -> None:
    fake, name = answered
    row = _answer(fake, name, ["fine"] * 40)
    # Ten passages: 1.96 squared over (10 + 1.96 squared).
    assert (row["empty"], row["empty_low"]) == (0.0, 0.0)
    assert row["empty_high"] == pytest.approx(0.277533, abs=1e-6)
    assert (row["stop"], row["length"]) == (1.0, 0.0)
    row = _answer(fake, name, [""] * 40)
    assert (row["empty"], row["empty_high"], row["unparsed"]) == (1.0, 1.0, 0.0)
    assert row["empty_low"] == pytest.approx(1 - 0.277533, abs=1e-6)


def test_the_commonest_choice_is_counted(tmp_path: Path) -> None:
    fake = filled(tmp_path)
    name = fake.cell("xcopa", "eng_Latn", 8, 4)
    cell = fake.plan.evals[name]
    items = fake.store.items(cell.task, cell.subset, cell.items)
    # The second of two in all but the first four; of one answer there is no number.
    table = fake.store.finished(name, cell)
    given = [
        [-1.0, -2.0 if at < 4 else math.nan if at == 4 else -0.5] for at in range(table.num_rows)
    ]
    place = table.schema.get_field_index("logprobs")
    field = table.schema.field("logprobs")
    table = table.set_column(place, field, pa.array(given, field.type))
    files.write_table(fake.store.eval_path(name, cell), table)
    found = rates.choices(fake.store, fake.plan)
    assert found.columns == [column.name for column in columns.CHOICES]
    row = found.row(by_predicate=pl.col("eval_id") == name, named=True)
    n = len(items) - 1
    assert (row["n"], row["choice"], row["preferred"]) == (n, 2, (n - 4) / n)
    assert 0 < row["preferred_low"] < row["preferred"] < row["preferred_high"] <= 1
    counted = [item for at, item in enumerate(items) if at != 4]
    assert row["right"] == sum(item.target == 1 for item in counted) / n
    assert not set(found["eval_id"]) & set(rates.answers(fake.store, fake.plan)["eval_id"])


def test_the_language_of_the_answers_that_could_be_told(answered: tuple[Fake, str]) -> None:
    fake, name = answered
    check = ScoreCell(name, "language", 1, "by hand")
    fake = replace(fake, plan=fake.plan.model_copy(update={"checks": {"c": check}}))
    assert _row(fake, name)["identified"] is None  # not tried yet
    cell = fake.plan.evals[name]
    ids = [item.example_id for item in fake.store.items(cell.task, cell.subset, cell.items)]
    fake.store.put_scores("c", check, ids, [None] * 20 + [0.99, 0.3, 0.29, 0.0] * 5, None)
    row = _row(fake, name)
    assert (row["identified"], row["wrong_language"]) == (20, 10 / 20)
    # Alike in all five passages, so that nothing but their number says how sure that is.
    unseen = 1.959964**2 / (5 + 1.959964**2)
    assert row["wrong_language_low"] == pytest.approx(0.5 - unseen)
    assert row["wrong_language_high"] == pytest.approx(0.5 + unseen)
    fake.store.put_scores("c", check, ids, [None] * 40, None)
    row = _row(fake, name)
    assert (row["identified"], row["wrong_language"]) == (0, None)


def test_tokens_per_word_character_and_byte(tmp_path: Path) -> None:
    fake = filled(tmp_path)
    assert rates.prompts(fake.store, fake.plan).is_empty()
    cell = fake.plan.evals[fake.cell("xcopa", "arb_Arab", None, 4)]
    sizes = [
        {"example_id": "a", "n_tokens": 12, "n_words": 4, "n_chars": 20, "n_bytes": 40},
        {"example_id": "b", "n_tokens": 8, "n_words": 4, "n_chars": 20, "n_bytes": 40},
    ]
    fake.store.put_prompt_sizes(cell, "sha256:bb", sizes)
    found = rates.prompts(fake.store, fake.plan)
    assert found.columns == [column.name for column in columns.PROMPTS]
    (row,) = found.to_dicts()
    assert (row["task"], row["subset"], row["base_name"]) == ("xcopa", "arb_Arab", "tiny")
    assert (row["items"], row["tokens"], row["words"], row["word"]) == (2, 20, 8, "unicode words")
    assert row["tokens_per_word"] == 2.5
    assert row["tokens_per_character"] == 0.5
    assert row["tokens_per_byte"] == 0.25


def test_cells_that_answered_a_part_have_the_interval_of_their_own_clusters(
    answered: tuple[Fake, str],
) -> None:
    fake, name = answered
    cell = fake.plan.evals[name]
    table = fake.store.finished(name, cell)
    # Out of their order, as no cell of ours is: 14 items of 7 passages, two of each.
    order = [item for item in range(28) if item % 4 > 1][::-1]
    files.write_table(fake.store.eval_path(name, cell), table.take(order))
    row = _row(fake, name)
    texts = table["text"].to_pylist()
    empty = [float(not texts[item].strip()) for item in order]
    expected = mean(empty, [f"p{item // 4}" for item in order])
    assert (row["n"], row["empty"]) == (14, pytest.approx(sum(empty) / 14))
    assert (row["empty_low"], row["empty_high"]) == pytest.approx((expected.low, expected.high))
    others = rates.answers(fake.store, fake.plan)["n"].to_list()
    assert sorted(others) == [14] + [40] * 16


def test_an_answer_to_an_unknown_item_is_refused(answered: tuple[Fake, str]) -> None:
    fake, name = answered
    path = fake.store.eval_path(name, fake.plan.evals[name])
    table = fake.store.finished(name, fake.plan.evals[name])
    ids = pa.array(["nobody", *table["example_id"].to_pylist()[1:]])
    files.write_table(path, table.set_column(0, table.schema.field(0), ids))
    with pytest.raises(StoreError, match="answers item 'nobody', which is not among"):
        rates.answers(fake.store, fake.plan)


def test_within_the_limit(answered: tuple[Fake, str]) -> None:
    fake, name = answered
    fake = replace(fake, plan=fake.plan.model_copy(update={"limit": 8}))
    assert _row(fake, name)["n"] == 8
    assert set(rates.choices(fake.store, fake.plan)["n"]) == {8}
