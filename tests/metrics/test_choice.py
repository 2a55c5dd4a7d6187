"""Picking a choice: arguments of the maximum, ties, refusals."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maple.metrics.choice import pick, pointwise


@pytest.mark.parametrize(
    ("logprobs", "lengths", "expected"),
    [
        ([-3.0, -2.0], None, 1),
        ([-3.0, -2.0], [3, 1], 0),
        ([-1.0], None, 0),
        ([-2.0, -2.0, -2.0], None, 0),
        ([-4.0, -2.0, -1.0], [4, 2, 1], 0),
        ([-math.inf, -9.0], None, 1),
        ([-math.inf, -math.inf], [1, 2], 0),
    ],
)
def test_pick(logprobs: list[float], lengths: list[int] | None, expected: int) -> None:
    assert pick(logprobs, lengths) == expected


@pytest.mark.parametrize(
    ("logprobs", "lengths", "message"),
    [
        ([], None, "no choice"),
        ([-1.0, math.nan], None, "NaN"),
        ([-1.0, -2.0], [1, 0], "at least 1"),
        ([-1.0, -2.0], [1], "1 for 2"),
    ],
)
def test_refusals(logprobs: list[float], lengths: list[int] | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pick(logprobs, lengths)


@given(st.lists(st.floats(max_value=0.0, allow_nan=False), min_size=1, max_size=8))
def test_the_first_highest_wins_and_equal_lengths_of_one_change_nothing(
    logprobs: list[float],
) -> None:
    assert pick(logprobs, None) == logprobs.index(max(logprobs))
    assert pick(logprobs, [1] * len(logprobs)) == pick(logprobs, None)


@pytest.mark.parametrize(
    ("logprobs", "neutral", "expected"),
    [
        ([-3.0, -4.0], [-1.0, -5.0], [-2.0, 1.0]),
        ([-math.inf, -9.0], [-math.inf, -2.0], [-math.inf, -7.0]),
        ([-1.0, -2.0], [-math.inf, -2.0], [math.inf, 0.0]),
    ],
)
def test_what_the_prompt_adds(
    logprobs: list[float], neutral: list[float], expected: list[float]
) -> None:
    assert pointwise(logprobs, neutral) == expected


def test_what_the_prompt_adds_needs_both() -> None:
    with pytest.raises(ValueError, match="1 for 2"):
        pointwise([-1.0, -2.0], [-1.0])
    with pytest.raises(ValueError, match="NaN"):
        pointwise([-1.0], [math.nan])
