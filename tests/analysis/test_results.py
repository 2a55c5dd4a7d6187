"""Estimates from a store, against values worked out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from maple.analysis import frames
from maple.analysis.blocks import blocks
from maple.analysis.estimates import Estimate, mean, paired_difference
from maple.analysis.resampling import linked, macro
from maple.analysis.results import Results, results, table, untuned
from report.fake_store import ITEMS, LANGUAGES, Fake, filled

CLUSTERS = [f"p{item // 4}" for item in range(ITEMS)]
BASE = [float(item % 2 == 0) for item in range(ITEMS)]
TUNED = [float(item % 2 == 0 or item % 10 == 1) for item in range(ITEMS)]


@pytest.fixture(scope="module")
def fake(tmp_path_factory: pytest.TempPathFactory) -> Fake:
    return filled(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def found(fake: Fake) -> Results:
    return results(fake.plan, blocks(fake.store, fake.plan))


def numbers(estimate: Estimate) -> tuple[float | None, ...]:
    return estimate.value, estimate.low, estimate.high, estimate.n, estimate.clusters


def test_a_language_by_hand(fake: Fake, found: Results) -> None:
    result = found.cells[fake.cell("xquad", "arb_Arab", 8, 4), "f1"]
    assert numbers(result.score) == pytest.approx(numbers(mean(TUNED, CLUSTERS)), abs=1e-6)
    assert result.score.value == pytest.approx(0.6)
    assert result.score.clusters == 10
    assert result.delta is not None
    by_hand = numbers(paired_difference(TUNED, BASE, CLUSTERS))
    assert numbers(result.delta) == pytest.approx(by_hand, abs=1e-6)
    assert result.delta.value == pytest.approx(0.1)
    assert result.chance is None
    choice = found.cells[fake.cell("xcopa", "swh_Latn", 64, 16), "acc"]
    assert choice.score.clusters == ITEMS
    assert choice.chance == 0.5


def test_the_untuned_base_has_no_delta(fake: Fake, found: Results) -> None:
    result = found.cells[fake.cell("xcopa", "eng_Latn", None, 16), "acc"]
    assert result.score.value == 0.5
    assert result.delta is None


def test_cells_that_are_not_done_have_no_estimate(fake: Fake, found: Results) -> None:
    assert {fake.failed, fake.pending}.isdisjoint(name for name, _ in found.cells)


def test_the_base_is_the_one_at_the_same_precision(fake: Fake) -> None:
    pairs = untuned(fake.plan)
    assert pairs[fake.cell("xquad", "eng_Latn", 8, 16)] == fake.cell("xquad", "eng_Latn", None, 16)
    assert fake.cell("xquad", "eng_Latn", None, 16) not in pairs


def test_deltas_pair_the_items_that_both_answered(tmp_path: Path) -> None:
    fake = filled(tmp_path)
    name = fake.cell("xcopa", "eng_Latn", 8, 4)
    score_id, score = next(
        (key, cell)
        for key, cell in fake.plan.scores.items()
        if (cell.eval_id, cell.metric) == (name, "acc")
    )
    # The base has all 40, the adapter the first ten: five right in the base, six in the adapter.
    ids = [f"xcopa-{item:03d}" for item in range(10)]
    fake.store.put_scores(score_id, score, ids, TUNED[:10], None)
    result = results(fake.plan, blocks(fake.store, fake.plan)).cells[name, "acc"]
    assert result.score.n == 10
    assert result.delta is not None
    assert (result.delta.n, result.delta.value) == (10, pytest.approx(0.1))


def test_macro_weighs_languages_the_same_and_says_which_are_missing(
    fake: Fake, found: Results
) -> None:
    chosen = {
        (row.setting.metric, fake.plan.train[row.train_id].r, row.eval_bits): row
        for row in found.macros
    }
    whole = chosen["acc", 8, 4]
    assert whole.complete
    assert whole.subsets == LANGUAGES
    assert whole.score.value == pytest.approx(0.6)
    assert whole.delta is not None
    assert whole.delta.value == pytest.approx(0.1)
    part = chosen["f1", 64, 4]
    assert not part.complete
    assert (part.subsets, part.planned) == (("eng_Latn", "swh_Latn"), 3)
    assert chosen["f1", None, 4].delta is None


def test_macro_of_one_language_is_the_mean() -> None:
    assert macro([(np.array(TUNED), CLUSTERS)]) == mean(TUNED, CLUSTERS)


def test_parallel_items_are_no_independent_evidence() -> None:
    # The same scores in three languages over the same items tell no more than in one.
    alone = mean(TUNED, CLUSTERS)
    same = macro([(np.array(TUNED), CLUSTERS)] * 3)
    assert (same.value, same.low, same.high) == pytest.approx((alone.value, alone.low, alone.high))
    # Over items of their own they do.
    apart = macro([(np.array(TUNED), [f"{key}-{name}" for name in CLUSTERS]) for key in LANGUAGES])
    assert apart.value == pytest.approx(alone.value)
    assert apart.low is not None
    assert apart.high is not None
    assert alone.low is not None
    assert alone.high is not None
    assert apart.high - apart.low < 0.75 * (alone.high - alone.low)


def test_macro_is_the_mean_of_means_whatever_the_sizes() -> None:
    estimate = macro(
        [(np.array([1.0, 1.0]), ["a", "b"]), (np.array([0.0] * 6), ["a", "b", "c"] * 2)]
    )
    assert (estimate.value, estimate.n, estimate.clusters) == (0.5, 8, 3)
    # A resample without "a" and "b" leaves the first part empty and is dropped; of the others
    # none moves the mean, which says little with three clusters.
    assert (estimate.low, estimate.high) == (0.0, 1.0)


def test_macro_without_clusters_to_compare_has_no_interval() -> None:
    estimate = macro([(np.array([1.0, 0.0]), ["a", "a"]), (np.array([1.0, 0.0]), ["a", "b"])])
    assert (estimate.value, estimate.low, estimate.high) == (0.5, None, None)
    with pytest.raises(ValueError, match="parts"):
        macro([])


def test_the_table_has_null_where_nothing_is_known(fake: Fake, found: Results) -> None:
    cells = frames.cells(fake.store, fake.plan)
    rows = table(cells, found)
    assert rows.height == cells.height
    done = rows.filter(pl.col("status") == "done")
    assert done["score"].null_count() == 0
    assert rows.filter(pl.col("status") != "done")["score"].null_count() == 4
    # Deltas: adapters only, 4 of 6 rows in each metric and language, less what is not done.
    assert done["delta"].drop_nulls().to_list() == pytest.approx([0.1] * (4 * 12 - 4))


def test_clusters_that_share_items_are_joined() -> None:
    english = (["q1", "q2", "q3", "q4"], ["en-a", "en-a", "en-b", "en-c"])
    german = (["q2", "q3", "q5"], ["de-x", "de-x", "de-y"])
    assert linked([english, german]) == {
        "en-a": "de-x",
        "en-b": "de-x",
        "de-x": "de-x",
        "en-c": "en-c",
        "de-y": "de-y",
    }
    # Where translations share their cluster's name, nothing changes.
    assert linked([(["1", "2"], ["p", "q"]), (["2", "1"], ["q", "p"])]) == {"p": "p", "q": "q"}
