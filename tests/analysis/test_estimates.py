"""Cluster bootstrap: values by hand, coverage by simulation, refusals."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from scipy.stats import norm, t

from maple.analysis.estimates import (
    Estimate,
    effective,
    intervals,
    mean,
    paired_difference,
    weights,
)

# Two passages: "p" with three questions, "q" with one.
SCORES = [1.0, 1.0, 0.0, 0.0]
CLUSTERS = ["p", "p", "p", "q"]


def test_mean_by_hand() -> None:
    # Two draws of two clusters: pp gives 2/3, pq and qp give 2/4, qq gives 0. Of 2000 resamples
    # about a quarter are pp and a quarter qq, so the 2.5 % and 97.5 % points are 0 and 2/3. Three
    # items and one count as 16 / 10 clusters: with 0.6 degrees of freedom all is possible.
    assert mean(SCORES, CLUSTERS) == Estimate(0.5, 0.0, 1.0, 4, 2)
    # Inside the middle half only 2/4 is left: nothing to stretch, so Wilson's width of 1.6 trials.
    reach = norm.ppf(0.7) ** 2 / (1.6 + norm.ppf(0.7) ** 2)
    inner = mean(SCORES, CLUSTERS, level=0.4)
    assert (inner.low, inner.high) == pytest.approx((0.5 - reach, 0.5 + reach))


def test_paired_difference_by_hand() -> None:
    # Differences 1, 0, 0, -1: pp gives 1/3, pq gives 0, qq gives -1.
    estimate = paired_difference([1.0, 1.0, 0.0, 0.0], [0.0, 1.0, 0.0, 1.0], CLUSTERS)
    assert estimate == Estimate(0.0, -1.0, 1.0, 4, 2)


def test_the_stretch_by_hand() -> None:
    # Ten clusters of one item: t with 9 degrees of freedom over z, times the root of 10 / 9.
    replicates = np.linspace(0.2, 0.6, 2001)[None]
    low, high = intervals(np.array([0.4]), replicates, np.array([10.0]))
    stretch = t.ppf(0.975, 9) / norm.ppf(0.975) * (10 / 9) ** 0.5
    assert stretch == pytest.approx(1.2166, abs=1e-4)
    assert low[0] == pytest.approx(0.4 - stretch * 0.19)
    assert high[0] == pytest.approx(0.4 + stretch * 0.19)


def test_scores_that_never_vary_keep_the_doubt_of_few_items() -> None:
    clusters = [str(item) for item in range(96)]
    unseen = norm.ppf(0.975) ** 2 / (96 + norm.ppf(0.975) ** 2)
    right = mean([1.0] * 96, clusters)
    assert (right.low, right.high) == pytest.approx((1 - unseen, 1.0))
    wrong = mean([0.0] * 96, clusters)
    assert (wrong.low, wrong.high) == pytest.approx((0.0, unseen))
    same = paired_difference([1.0] * 96, [1.0] * 96, clusters)
    assert (same.value, same.low, same.high) == pytest.approx((0.0, -unseen, unseen))


def test_unequal_clusters_count_as_fewer() -> None:
    assert effective(np.array([3.0, 3.0, 3.0])) == pytest.approx(3)
    assert effective(np.array([9.0, 1.0])) == pytest.approx(100 / 82)


def test_interval_is_the_quantiles_of_the_reweighted_means() -> None:
    rng = np.random.default_rng(5)
    clusters = [f"c{index}" for index in rng.integers(0, 30, 200)]
    scores = rng.random(200)
    names = sorted(set(clusters))
    drawn = weights(clusters, 500, 7)
    means = []
    for row in drawn:
        per_item = np.array([row[names.index(name)] for name in clusters])
        means.append(np.average(scores, weights=per_item))
    ends = np.quantile(means, [0.05, 0.95])
    sizes = np.bincount([names.index(name) for name in clusters])
    groups = effective(sizes.astype(float))
    stretch = t.ppf(0.95, groups - 1) / norm.ppf(0.95) * (groups / (groups - 1)) ** 0.5
    low, high = scores.mean() + stretch * (ends - scores.mean())
    estimate = mean(scores, clusters, resamples=500, seed=7, level=0.9)
    assert estimate.value == pytest.approx(scores.mean())
    assert estimate.low == pytest.approx(low)
    assert estimate.high == pytest.approx(high)


def test_weights_are_multiplicities_of_draws_with_replacement() -> None:
    drawn = weights(["b", "a", "b", "c"], 4000, 0)
    assert drawn.shape == (4000, 3)
    assert drawn.min() >= 0
    assert (drawn.sum(axis=1) == 3).all()
    # Binomial(3, 1/3): mean 1, variance 2/3.
    assert drawn.mean(axis=0) == pytest.approx([1, 1, 1], abs=0.05)
    assert drawn.var(axis=0) == pytest.approx([2 / 3] * 3, abs=0.06)


def test_weights_drawn_in_parts_are_the_same_stream() -> None:
    # 3000 clusters x 700 resamples exceed one part; a prefix of the rows fits into one.
    clusters = [str(index) for index in range(3000)]
    assert (weights(clusters, 700, 3)[:200] == weights(clusters, 200, 3)).all()


def test_same_seed_same_interval_whatever_the_order_of_items() -> None:
    rng = np.random.default_rng(1)
    scores = rng.random(60)
    clusters = [f"c{index % 20}" for index in range(60)]
    order = rng.permutation(60)
    one = mean(scores, clusters, seed=4)
    other = mean(scores[order], [clusters[index] for index in order], seed=4)
    assert one == mean(scores, clusters, seed=4)
    assert one.low is not None
    assert other.low == pytest.approx(one.low)
    assert other.high == pytest.approx(one.high)
    assert mean(scores, clusters, seed=5).low != one.low


def test_a_single_cluster_has_a_value_and_no_interval() -> None:
    assert mean([1.0, 0.0], ["p", "p"]) == Estimate(0.5, None, None, 2, 1)
    assert paired_difference([1.0], [0.0], ["p"]) == Estimate(1.0, None, None, 1, 1)


def test_clusters_widen_the_interval() -> None:
    scores = [float(index // 8 % 2) for index in range(240)]
    together = mean(scores, [str(index // 8) for index in range(240)])
    alone = mean(scores, [str(index) for index in range(240)])
    assert together.low is not None
    assert together.high is not None
    assert alone.low is not None
    assert alone.high is not None
    assert together.high - together.low > 2 * (alone.high - alone.low)


def test_xquad_sized_input_is_fast() -> None:
    scores = np.linspace(0, 1, 1190)
    clusters = [f"p{index % 240}" for index in range(1190)]
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        mean(scores, clusters)
        seconds.append(time.perf_counter() - start)
    # The fastest of five: other processes share the machine.
    assert min(seconds) < 0.05


@pytest.mark.parametrize(
    ("scores", "clusters", "options", "message"),
    [
        ([], [], {}, "no item"),
        ([1.0], ["p", "q"], {}, "scores"),
        ([1.0, 0.0], ["p", ""], {}, "item 1 has none"),
        ([1.0, math.nan], ["p", "q"], {}, "nan for item 1"),
        ([1.0, math.inf], ["p", "q"], {}, "inf for item 1"),
        ([1.0, 0.0], ["p", "q"], {"resamples": 0}, "resamples"),
        ([1.0, 0.0], ["p", "q"], {"level": 1.0}, "level"),
    ],
)
def test_refusals(
    scores: list[float], clusters: list[str], options: dict[str, float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        mean(scores, clusters, **options)  # type: ignore[arg-type]


def test_unpaired_scores_are_refused() -> None:
    with pytest.raises(ValueError, match="b: got"):
        paired_difference([1.0, 0.0], [1.0], ["p", "q"])
    with pytest.raises(ValueError, match="a: got"):
        paired_difference([1.0], [1.0, 0.0], ["p", "q"])
    with pytest.raises(ValueError, match="resamples"):
        weights(["p"], 0, 0)
