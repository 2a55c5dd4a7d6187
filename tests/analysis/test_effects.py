"""Effects with several variances, by hand and by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm, t, ttest_1samp

from maple.analysis.effects import Effect, Variance, average, design, items


def test_an_effect_of_one_variance_is_students() -> None:
    values = np.array([1.0, 2.0, 4.0, 5.0])
    known = average(values, np.zeros((4, 3)), 100.0)
    effect = Effect(3.0, tuple(one for one in known.variances if one.of == "adapters"), 4)
    theirs = ttest_1samp(values, 0.0)
    assert effect.value == 3.0
    assert effect.differs() == pytest.approx(theirs.pvalue)
    interval = theirs.confidence_interval(0.95)
    assert effect.interval() == pytest.approx((interval.low, interval.high))


def test_variances_add_up_with_satterthwaites_freedom() -> None:
    effect = Effect(1.0, (Variance("items", 0.04, 99), Variance("adapters", 0.12, 3)), 8)
    assert effect.error == pytest.approx(0.4)
    assert effect.freedom == pytest.approx(0.16**2 / (0.04**2 / 99 + 0.12**2 / 3))
    assert effect.above() == pytest.approx(t.sf(1 / 0.4, effect.freedom))
    assert effect.below() == pytest.approx(t.cdf(1 / 0.4, effect.freedom))
    assert effect.within(2.0) == pytest.approx(t.sf(1 / 0.4, effect.freedom))
    assert effect.within(0.5) > 0.5


def test_items_bring_the_variance_of_the_resamples_stretched() -> None:
    drawn = np.random.default_rng(0).normal(0, 2.0, 4000)
    found = items(drawn, 11.0)
    assert found.value == pytest.approx(drawn.var(ddof=1) * 11 / 10)
    assert found.freedom == 10


def test_what_adapters_differ_in_by_design_is_no_chance() -> None:
    ranks = [3.0, 3.0, 5.0, 5.0]
    values = np.array([1.0, 1.2, 9.0, 9.2])
    flat = np.tile([0.0, 0.001], (4, 1))
    alone = average(values, flat, 50.0)
    known = average(values, flat, 50.0, design([ranks]))
    assert known.value == alone.value == pytest.approx(5.1)
    assert known.error < 0.1 < alone.error
    # Nothing to spare: adapters have no variance, items alone have one.
    full = average(values, flat, 50.0, design([ranks, ["a", "b", "c", "d"]]))
    assert [one.of for one in full.variances] == ["items"]


def test_design_columns() -> None:
    assert design([[1.0, 2.0, 1.0], ["a", "b", "a"], ["x", "x", "x"]]).tolist() == [
        [1.0, 0.0],
        [2.0, 1.0],
        [1.0, 0.0],
    ]
    assert design([[8.0, 8.0]]).shape == (2, 0)


def test_what_never_varies_proves_nothing() -> None:
    found = items(np.zeros(500), 50.0)
    z = norm.ppf(0.975)
    assert found.value**0.5 * z == pytest.approx(100 * z**2 / (50 + z**2))
    effect = average(np.zeros(8), np.zeros((8, 500)), 50.0)
    assert effect.above(-1.0) > 0.3
    assert effect.within() > 0.3
    still = Effect(0.5, (Variance("items", 0.0, 9),), 1)
    assert (still.above(), still.below(), still.differs()) == (1.0, 1.0, 1.0)
    assert still.interval() == (0.5, 0.5)
