"""How cells and numbers are written."""

from __future__ import annotations

from dataclasses import replace

import pytest

from maple.analysis.estimates import Estimate
from maple.records import TrainCell
from maple.report import labels

LORA = TrainCell("b", "i", "t", "lora", source="mini", r=8, train_bits=4, seed=0)


def test_cells() -> None:
    untuned = TrainCell("b", "i", "t", "none")
    assert labels.cell_label(untuned, 4) == "untuned, 4 bits"
    assert labels.cell_label(LORA, 4) == "LoRA r=8, 4 bits, mini, seed 0"
    assert labels.cell_label(LORA, 16) == (
        "LoRA r=8, trained in 4 bits, evaluated in 16, mini, seed 0"
    )
    assert labels.train_label(replace(LORA, method="dora")) == "DoRA r=8, 4 bits, mini, seed 0"
    outside = TrainCell("b", "i", "t", "adapter", source="/home/me/my-adapter")
    assert labels.cell_label(outside, 16) == "adapter my-adapter, 16 bits"


def test_step_sizes_are_told_where_they_tell_cells_apart() -> None:
    slow, fast = (
        replace(LORA, learning_rate=rate, lora_alpha=16.0, train_bits=4) for rate in (1e-4, 3e-4)
    )
    dora = replace(fast, method="dora")
    told = labels.differing([slow, fast, dora])
    assert labels.train_label(fast, told) == "LoRA r=8 (learning rate 0.0003), 4 bits, mini, seed 0"
    assert labels.train_label(dora, told) == "DoRA r=8, 4 bits, mini, seed 0"
    scaled = replace(dora, options=(("use_rslora", True),))
    told = labels.differing([dora, scaled])
    assert labels.method_label(scaled, told) == "DoRA r=8 (use_rslora = True)"


def test_the_step_size_of_a_slope_over_ranks() -> None:
    def told(*alphas: tuple[int, float]) -> str:
        cells = [replace(LORA, r=r, lora_alpha=alpha, learning_rate=3e-4) for r, alpha in alphas]
        return labels.steps_label(cells)

    assert told((8, 16.0), (64, 128.0)) == "LoRA, lora_alpha = 2r, learning rate 0.0003"
    assert told((8, 8.0)) == "LoRA, lora_alpha = r, learning rate 0.0003"
    assert told((8, 16.0), (64, 16.0)) == "LoRA, lora_alpha = 16, learning rate 0.0003"
    full = replace(LORA, method="full", r=None, learning_rate=2e-5)
    assert labels.steps_label([full]) == "full finetuning, learning rate 2e-05"


def test_points() -> None:
    assert labels.points(0.5432) == "54.3"
    assert labels.signed(0.0312) == "+3.1"
    assert labels.signed(-0.0312) == "−3.1"
    assert labels.signed(-0.0004) == labels.signed(0.0) == "0.0"


def test_an_interval_that_excludes_zero_does_not_end_there() -> None:
    def shown(low: float, high: float) -> str:
        return labels.interval(Estimate(0.0, low, high, 10, 10), sign=True)

    assert shown(-0.101, -0.0004) == "[−10.1, −0.04]"
    assert shown(0.00004, 0.031) == "[+0.004, +3.1]"
    assert shown(-0.0004, 0.031) == "[0.0, +3.1]"
    assert shown(0.0, 0.031) == "[0.0, +3.1]"


@pytest.mark.parametrize(
    ("low", "high", "mark"),
    [(0.01, 0.2, "▲"), (-0.2, -0.01, "▼"), (-0.1, 0.1, ""), (0.0, 0.2, ""), (None, None, "")],
)
def test_marks(low: float | None, high: float | None, mark: str) -> None:
    assert labels.direction(Estimate(0.0, low, high, 4, 2)) == mark


@pytest.mark.parametrize(
    ("low", "adjusted", "mark"),
    [(0.01, 0.04, "▲▲"), (0.01, 0.05, "▲"), (0.01, None, "▲"), (-0.1, 0.04, ""), (None, None, "")],
)
def test_marks_are_doubled_where_the_correction_leaves_them(
    low: float | None, adjusted: float | None, mark: str
) -> None:
    high = None if low is None else 0.3
    assert labels.mark(Estimate(0.2, low, high, 4, 2), adjusted) == mark
    assert labels.mark(None, adjusted) == ""


def test_intervals() -> None:
    assert labels.interval(Estimate(0.5, 0.4, 0.6, 4, 2)) == "[40.0, 60.0]"
    assert labels.interval(Estimate(0.5, -0.1, 0.6, 4, 2), sign=True) == "[−10.0, +60.0]"
    assert labels.interval(Estimate(0.5, None, None, 4, 1)) == ""


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "–"), (0.44, "0.4 s"), (61.5, "62 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")],
)
def test_seconds(value: float | None, shown: str) -> None:
    assert labels.seconds(value) == shown
