"""Sign flips against all of them, corrections against statsmodels."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from maple.analysis.significance import adjusted, flip_test


def test_flips_approach_the_exact_p_value() -> None:
    rng = np.random.default_rng(0)
    totals = rng.normal(0.3, 1.0, (4, 10))
    signs = np.array(list(product((-1.0, 1.0), repeat=10)))
    sums = np.abs(totals @ signs.T)
    exact = (sums >= np.abs(totals.sum(axis=1))[:, None] - 1e-9).mean(axis=1)
    assert flip_test(totals, seed=1, flips=20_000) == pytest.approx(exact, abs=0.012)


def test_whole_numbers_tie_and_ties_count() -> None:
    # One cluster of six differs: every flip is as far from 0.
    totals = np.array([[1.0, 0, 0, 0, 0, 0], [0.0] * 6])
    assert flip_test(totals, seed=0, flips=99).tolist() == [1.0, 1.0]
    # All six alike: two of 64 sign vectors are as far.
    clear = flip_test(np.full((1, 6), 1 / 6), seed=0, flips=20_000)
    assert clear == pytest.approx([2 / 64], abs=0.005)


def test_the_smallest_p_value_is_that_of_the_seen_one_alone() -> None:
    assert flip_test(np.full((1, 200), 0.01), seed=0, flips=999).tolist() == [1 / 1000]


def test_chunks_of_flips_change_nothing_but_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    totals = np.random.default_rng(2).normal(0.1, 1.0, (3, 40))
    whole = flip_test(totals, seed=5, flips=8000)
    monkeypatch.setattr("maple.analysis.significance._SIGNS_AT_ONCE", 4000)
    assert flip_test(totals, seed=5, flips=8000) == pytest.approx(whole, abs=0.02)


@pytest.mark.parametrize(("ours", "theirs"), [("holm", "holm"), ("bh", "fdr_bh")])
def test_corrections_are_those_of_statsmodels(ours: str, theirs: str) -> None:
    values = np.random.default_rng(4).uniform(0, 0.2, 25).tolist()
    expected = multipletests(values, method=theirs)[1]
    assert adjusted(values, ours) == pytest.approx(expected)  # type: ignore[arg-type]
    assert adjusted([], ours) == []  # type: ignore[arg-type]


def test_family_wise_error_is_kept() -> None:
    """Twenty adapters that are alike, compared with their base on the same 60 passages."""
    rng = np.random.default_rng(7)
    studies, wrong = 400, 0
    for study in range(studies):
        base = rng.normal(0, 0.5, 60)
        totals = rng.normal(0, 1.0, (20, 60)) - base
        wrong += min(adjusted(flip_test(totals, seed=study, flips=1999).tolist(), "holm")) < 0.05
    assert wrong / studies <= 0.05 + 2 * (0.05 * 0.95 / studies) ** 0.5
