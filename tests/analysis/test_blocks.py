"""Scores as matrices: whose they are, of which items, and which files are refused."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from maple.analysis.blocks import Block, blocks
from maple.errors import StoreError
from maple.records import ScoreCell
from report.fake_store import Fake, filled

IDS = tuple(f"xquad-{item:03d}" for item in range(40))


@pytest.fixture(scope="module")
def fake(tmp_path_factory: pytest.TempPathFactory) -> Fake:
    return filled(tmp_path_factory.mktemp("store"))


def block(fake: Fake, task: str, subset: str, metric: str) -> Block:
    (found,) = [
        one
        for one in blocks(fake.store, fake.plan)
        if (one.task, one.subset, one.metric) == (task, subset, metric)
    ]
    return found


def score(fake: Fake, eval_id: str, metric: str) -> tuple[str, ScoreCell]:
    return next(
        (name, cell)
        for name, cell in fake.plan.scores.items()
        if (cell.eval_id, cell.metric) == (eval_id, metric)
    )


def test_a_block_has_the_cells_that_were_asked_the_same_items(fake: Fake) -> None:
    assert len(blocks(fake.store, fake.plan)) == 2 * 2 * 3
    found = block(fake, "xquad", "eng_Latn", "em")
    # Two base rows and four adapters, in the plan's order.
    assert found.eval_ids == tuple(
        name
        for name, cell in fake.plan.evals.items()
        if (cell.task, cell.subset) == ("xquad", "eng_Latn")
    )
    assert found.example_ids == IDS
    assert found.cluster_ids == tuple(f"p{item // 4}" for item in range(40))
    assert found.n_choices.tolist() == [0] * 40
    assert found.version == 1
    assert found.scores.shape == (6, 40)
    assert found.answered.tolist() == [40] * 6
    assert found.scores[0].tolist() == [float(item % 2 == 0) for item in range(40)]
    assert found.scores.sum(axis=1).tolist() == [20, 20, 24, 24, 24, 24]
    assert block(fake, "xcopa", "arb_Arab", "acc").n_choices.tolist() == [2] * 40


def test_cells_that_are_not_done_are_left_out(fake: Fake) -> None:
    assert len(block(fake, "xquad", "arb_Arab", "f1").eval_ids) == 5
    names = {name for one in blocks(fake.store, fake.plan) for name in one.eval_ids}
    assert {fake.failed, fake.pending}.isdisjoint(names)
    assert names | {fake.failed, fake.pending} == set(fake.plan.evals)


def test_a_cell_that_answered_the_first_items_ends_in_nan(tmp_path: Path) -> None:
    fake = filled(tmp_path)
    name = fake.cell("xquad", "eng_Latn", 8, 4)
    fake.store.put_scores(*score(fake, name, "f1"), IDS[:3], [0.25, 0.5, 1.0], None)
    found = block(fake, "xquad", "eng_Latn", "f1")
    row = found.eval_ids.index(name)
    assert found.answered[row] == 3
    assert found.scores[row, :3].tolist() == [0.25, 0.5, 1.0]
    assert np.isnan(found.scores[row, 3:]).all()
    assert sorted(found.answered.tolist()) == [3, 40, 40, 40, 40, 40]


def test_scores_in_another_order_find_their_items(tmp_path: Path) -> None:
    fake = filled(tmp_path)
    name = fake.cell("xquad", "eng_Latn", 8, 4)
    given = [item / 40 for item in range(40)]
    fake.store.put_scores(*score(fake, name, "f1"), IDS[::-1], given[::-1], None)
    found = block(fake, "xquad", "eng_Latn", "f1")
    assert found.scores[found.eval_ids.index(name)].tolist() == given
    assert found.scores[0].tolist() == [float(item % 2 == 0) for item in range(40)]


def test_items_behind_the_limit_are_cut(fake: Fake) -> None:
    limited = replace(fake, plan=fake.plan.model_copy(update={"limit": 7}))
    found = block(limited, "xquad", "eng_Latn", "f1")
    assert found.example_ids == IDS[:7]
    assert len(found.cluster_ids) == len(found.n_choices) == 7
    assert found.scores.shape == (6, 7)
    assert found.answered.tolist() == [7] * 6


def test_a_cell_without_a_score_file_or_row_is_left_out(tmp_path: Path) -> None:
    fake = filled(tmp_path)
    without, empty = fake.cell("xquad", "eng_Latn", 8, 4), fake.cell("xquad", "eng_Latn", 8, 16)
    fake.store.score_path(*score(fake, without, "f1")).unlink()
    fake.store.put_scores(*score(fake, empty, "f1"), [], [], None)
    found = block(fake, "xquad", "eng_Latn", "f1")
    assert len(found.eval_ids) == len(found.scores) == len(found.answered) == 4
    assert {without, empty}.isdisjoint(found.eval_ids)
    assert without in block(fake, "xquad", "eng_Latn", "em").eval_ids


@pytest.mark.parametrize(
    ("ids", "scores", "told"),
    [
        (["nobody"], [1.0], "scores item 'nobody', which is not among the items of xquad/eng_Latn"),
        (IDS[:2], [1.0, math.nan], "no number from 0 to 1 as the score of item 'xquad-001'"),
        (IDS[:2], [None, 1.0], "no number from 0 to 1 as the score of item 'xquad-000'"),
        (IDS[:2], [1.0, 1.5], "no number from 0 to 1 as the score of item 'xquad-001'"),
        (IDS[:2], [-0.5, 1.0], "no number from 0 to 1 as the score of item 'xquad-000'"),
        ([*IDS, "more"], [1.0] * 41, "scores item 'more', which is not among"),
        ([IDS[1], IDS[1]], [1.0, 1.0], "scores an item twice"),
    ],
    ids=["unknown", "nan", "null", "high", "low", "too-many", "twice"],
)
def test_a_score_of_no_item_or_that_is_no_number_is_refused(
    tmp_path: Path, ids: list[str], scores: list[float | None], told: str
) -> None:
    fake = filled(tmp_path)
    chosen = score(fake, fake.cell("xquad", "eng_Latn", 8, 16), "f1")
    fake.store.put_scores(*chosen, ids, scores, None)
    with pytest.raises(StoreError, match=told) as raised:
        blocks(fake.store, fake.plan)
    assert str(fake.store.score_path(*chosen)) in str(raised.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    fake = filled(tmp_path)
    path = fake.store.score_path(*score(fake, fake.cell("xquad", "eng_Latn", 8, 16), "f1"))
    path.write_bytes(b"no Parquet")
    with pytest.raises(StoreError, match="cannot be read") as raised:
        blocks(fake.store, fake.plan)
    assert str(path) in str(raised.value)
