"""Dividing rows by shares: exact, and never fewer rows of a larger total."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from maple.data.shares import divide, least, most

WEIGHTS = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 1000), min_size=1, max_size=6)


def _shares(weights: dict[str, int]) -> dict[str, Fraction]:
    total = sum(weights.values())
    return {key: Fraction(weight, total) for key, weight in weights.items()}


def _one_by_one(shares: dict[str, Fraction], total: int) -> dict[str, int]:
    rows = dict.fromkeys(shares, 0)
    for _ in range(total):
        key = min(shares, key=lambda key: (-shares[key] / (2 * rows[key] + 1), key))
        rows[key] += 1
    return rows


@given(WEIGHTS, st.integers(0, 300))
def test_rows_are_those_of_giving_them_away_one_by_one(weights: dict[str, int], total: int) -> None:
    shares = _shares(weights)
    assert divide(shares, total) == _one_by_one(shares, total)


@given(WEIGHTS, st.data())
def test_the_largest_and_the_smallest_total(weights: dict[str, int], data: st.DataObject) -> None:
    shares = _shares(weights)
    available = {key: data.draw(st.integers(1, 40)) for key in weights}
    found = most(shares, available)
    assert all(rows <= available[key] for key, rows in divide(shares, found).items())
    assert any(rows > available[key] for key, rows in divide(shares, found + 1).items())
    assert min(divide(shares, least(shares)).values()) == 1
    assert min(divide(shares, least(shares) - 1).values()) == 0


def test_equal_shares_leave_the_rest_to_the_first() -> None:
    assert divide(_shares({"b": 1, "a": 1, "c": 1}), 11) == {"a": 4, "b": 4, "c": 3}
