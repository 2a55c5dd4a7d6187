"""Variance of seeds and prompts apart from items: by hand, by simulation, from a store."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import chi2

from maple.analysis.blocks import blocks
from maple.analysis.estimates import draw
from maple.analysis.results import results
from maple.analysis.spread import Group, spread, table
from maple.records import EvalCell, TrainCell
from maple.report.gathered import gather
from maple.report.variance import variance
from report.fake_store import filled

ITEMS, RESAMPLES = 120, 300


def test_by_hand() -> None:
    # Levels 2 apart: variance 2. Resamples where they are 0 and 4 apart have variances 0 and 8,
    # 4 in the mean: items explain (4 - 2) * 5 / 4 = 2.5, more than there is.
    moved = np.array([[0.0, 0.0], [0.0, 4.0]], dtype=np.float32)
    group = Group((0, 1), np.array([0.0, 2.0]), moved, 5.0)
    found = spread([group], crossed=False)
    assert found.observed**2 == pytest.approx(2.0)
    assert found.items**2 == pytest.approx(2.5)
    assert (found.component, found.low) == (0.0, 0.0)
    assert (found.freedom, found.groups, found.levels) == (1, 1, 2)
    # Of one mean: variances 0 and 4 over the two resamples, stretched.
    assert found.item_error**2 == pytest.approx((0 + 4) / 2 * 5 / 4)
    still = Group((0, 1, 2), np.array([0.0, 2.0, 4.0]), np.tile([[0.0], [2.0], [4.0]], 2), 5.0)
    alone = spread([still], crossed=False)
    assert (alone.observed, alone.items, alone.component) == (2.0, 0.0, 2.0)
    assert alone.low == pytest.approx((2 * 4 / chi2.ppf(0.975, 2)) ** 0.5)
    assert alone.high == pytest.approx((2 * 4 / chi2.ppf(0.025, 2)) ** 0.5)


def test_groups_are_pooled_by_their_freedom() -> None:
    one = Group(("a", "b"), np.array([0.0, 2.0]), np.array([[0.0], [2.0]]), 9.0)
    two = Group(("a", "b", "c"), np.array([0.0, 0.0, 3.0]), np.array([[0.0], [0.0], [3.0]]), 9.0)
    pooled = spread([one, two], crossed=False)
    crossed = spread([one, two], crossed=True)
    assert pooled.observed**2 == pytest.approx((1 * 2.0 + 2 * 3.0) / 3)
    assert (pooled.freedom, pooled.levels, pooled.groups) == (3, 3, 2)
    # Prompts a, b and c are the same ones in both groups.
    assert (crossed.freedom, crossed.observed) == (2, pooled.observed)


@pytest.mark.parametrize("planted", [0.0, 3.0])
def test_what_was_planted_is_recovered(planted: float) -> None:
    generator = np.random.default_rng(5)
    weights = draw(ITEMS, RESAMPLES, 0)
    found, covered = [], 0
    for _ in range(40):
        groups = [_simulated(generator, weights, planted) for _ in range(15)]
        one = spread(groups, crossed=False)
        found.append(one)
        # Without an upper end nothing is claimed.
        covered += one.low is None or one.high is None or one.low <= planted <= one.high
    # Without a bound at 0 the variances are right in the mean.
    kept = np.mean([one.observed**2 - one.items**2 for one in found])
    assert kept == pytest.approx(planted**2, abs=0.9)
    assert np.mean([one.items**2 for one in found]) == pytest.approx(10000 * 0.1 / ITEMS, rel=0.05)
    assert covered >= 36
    assert sum(one.high is None for one in found) <= 2
    if planted == 0:
        assert np.median([one.component for one in found]) < 1.0 < found[0].observed


def test_from_a_store(tmp_path: Path) -> None:
    def scorer(cell: TrainCell, asked: EvalCell, item: int) -> float:
        """20 of 40 right, with seed 1 four more: other items at every rank."""
        return float(item < 20 or (cell.seed == 1 and item >= 36))

    fake = filled(tmp_path, scorer, seeds=(0, 1))
    found = table(fake.plan, results(fake.plan, blocks(fake.store, fake.plan)))
    rows = {row["task"]: row for row in found.iter_rows(named=True)}
    # Two ranks and two precisions; a failed and a pending cell take a group each.
    assert {task: row["groups"] for task, row in rows.items()} == {"xcopa": 3, "xquad": 3}
    assert set(found["factor"]) == {"training seed"}
    assert rows["xcopa"]["observed"] == pytest.approx(10 / 2**0.5)
    assert (rows["xcopa"]["levels"], rows["xcopa"]["freedom"]) == (2, 3)
    # A share of one in ten of 40 items, whose standard error is 4.7 points.
    assert rows["xcopa"]["items"] ** 2 == pytest.approx(10000 * 0.09 / 40 / 2 * 40 / 39, rel=0.1)
    assert rows["xcopa"]["item_error"] == pytest.approx(8.0, rel=0.05)
    grid = variance(gather(fake.store))
    assert grid is not None
    assert grid.rows[0][:5] == ("xcopa", "training seed", "3", "2", "7.07")


def test_prompts_and_exemplars(tmp_path: Path) -> None:
    fake = filled(tmp_path, lambda cell, asked, item: float(item < 20), items=24)
    plan = fake.plan
    other = {
        name: dataclasses.replace(cell, prompt="english", exemplar_seed=1)
        if cell.eval_bits == 16
        else cell
        for name, cell in plan.evals.items()
    }
    found = results(plan, blocks(fake.store, plan))
    # Precision is no factor: what differs in it is not alike.
    assert table(plan.model_copy(update={"evals": other}), found).is_empty()
    asked = {
        name: dataclasses.replace(cell, prompt="english", eval_bits=4)
        if cell.eval_bits == 16
        else cell
        for name, cell in plan.evals.items()
    }
    prompts = table(plan.model_copy(update={"evals": asked}), found)
    # Of the untuned base alone both precisions were asked, which are now two prompts.
    assert prompts["factor"].to_list() == ["prompt", "prompt"]
    assert prompts["groups"].to_list() == [1, 1]
    assert prompts["component"].to_list() == [0.0, 0.0]
    # Names of one prompt are no prompts.
    named = dict.fromkeys(plan.evals, ("native", "english"))
    assert table(plan.model_copy(update={"prompts": named}), found).is_empty()


def test_nothing_varies(tmp_path: Path) -> None:
    fake = filled(tmp_path, items=8)
    assert table(fake.plan, results(fake.plan, blocks(fake.store, fake.plan))).is_empty()
    assert variance(gather(fake.store)) is None


def _simulated(generator: np.random.Generator, weights: np.ndarray, planted: float) -> Group:
    """Three seeds on the same items: difficulty is shared, a tenth of the variance is not."""
    shared = generator.normal(0.5, 0.4, ITEMS)
    own = generator.normal(0, 0.1**0.5, (3, ITEMS))
    scores = 100 * (shared + own) + planted * generator.normal(size=(3, 1))
    drawn = (scores @ weights.T / ITEMS).astype(np.float32)
    return Group((0, 1, 2), scores.mean(axis=1), drawn, float(ITEMS))
