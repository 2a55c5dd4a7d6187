"""Detectable differences, against the textbook formula and against simulated studies."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t

from maple.analysis import power
from maple.analysis.estimates import intervals


def test_one_language_of_single_items_by_hand() -> None:
    found = power.detectable([[str(item) for item in range(100)]], written=False, adapters=1)
    assert found is not None
    error = (0.2 / 100) ** 0.5
    by_hand = 100 * (t.ppf(0.975, 99) + t.ppf(0.8, 99)) * error
    assert found.one == pytest.approx(by_hand)
    assert found.one == pytest.approx(12.65, abs=0.01)
    assert found.mean == pytest.approx(by_hand)
    assert found.corrected is None


def test_passages_inflate_and_languages_help_less_than_if_they_were_apart() -> None:
    passages = [str(item // 5) for item in range(100)]
    found = power.detectable([passages] * 4, written=True, adapters=6)
    assert found is not None
    # Five items a passage, correlated by 0.1: 1.4 times the variance.
    variance = 0.35**2 * 1.4 / 100
    both = t.ppf(0.975, 19) + t.ppf(0.8, 19)
    assert found.one == pytest.approx(100 * both * variance**0.5)
    assert found.mean == pytest.approx(100 * both * (variance * (1 + 3 * 0.1) / 4) ** 0.5)
    sixth = t.ppf(1 - 0.025 / 6, 19) + t.ppf(0.8, 19)
    assert found.corrected == pytest.approx(found.mean * sixth / both)


def test_too_few_clusters_can_tell_nothing() -> None:
    assert power.detectable([["a", "a"]], written=False, adapters=1) is None
    assert power.detectable([], written=False, adapters=1) is None


def test_the_power_that_is_promised_is_there() -> None:
    items, runs = 200, 1500
    found = power.detectable([[str(item) for item in range(items)]], written=False, adapters=1)
    assert found is not None
    effect = found.one / 100
    rng = np.random.default_rng(3)
    up, down = (power.CHANGED + effect) / 2, (power.CHANGED - effect) / 2
    drawn = rng.choice([1.0, -1.0, 0.0], (runs, items), p=[up, down, 1 - power.CHANGED])
    weights = rng.multinomial(items, np.full(items, 1 / items), 400) / items
    low, _ = intervals(drawn.mean(axis=1), drawn @ weights.T, np.full(runs, float(items)))
    assert (low > 0).mean() == pytest.approx(power.POWER, abs=0.04)
