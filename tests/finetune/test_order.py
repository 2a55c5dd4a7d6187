from __future__ import annotations

import pytest

from maple.finetune.order import MicroBatches, epoch_order, micro_batch_rows

LENGTHS = [5 + (7 * row) % 90 for row in range(331)]


def test_an_epoch_holds_every_row_once_in_whole_steps() -> None:
    steps = epoch_order(LENGTHS, 8, seed=1, epoch=0)
    assert sorted(row for step in steps for row in step) == list(range(331))
    assert [len(step) for step in steps] == [8] * 41 + [3]


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    first = epoch_order(LENGTHS, 8, seed=1, epoch=0)
    assert epoch_order(LENGTHS, 8, seed=1, epoch=0) == first
    assert epoch_order(LENGTHS, 8, seed=1, epoch=1) != first
    assert epoch_order(LENGTHS, 8, seed=2, epoch=0) != first


def test_the_order_is_the_same_on_every_machine() -> None:
    steps = epoch_order([3, 1, 4, 1, 5, 9, 2, 6], 2, seed=0, epoch=0)
    assert steps == [(1, 3), (7, 5), (6, 0), (2, 4)]


def test_rows_of_a_step_are_of_like_length_and_length_has_no_rhythm() -> None:
    steps = epoch_order(LENGTHS, 8, seed=1, epoch=0)[:-1]
    padded = sum(8 * max(LENGTHS[row] for row in step) for step in steps)
    real = sum(LENGTHS[row] for step in steps for row in step)
    assert padded < 1.1 * real
    longest = [max(LENGTHS[row] for row in step) for step in steps]
    assert longest != sorted(longest)
    assert longest != sorted(longest, reverse=True)


@pytest.mark.parametrize(
    ("batch_size", "longest", "max_tokens", "rows"),
    [(8, 100, 800, 8), (8, 100, 799, 4), (6, 100, 399, 3), (8, 900, 800, 1), (7, 10, 60, 1)],
)
def test_micro_batches_divide_the_step(
    batch_size: int, longest: int, max_tokens: int, rows: int
) -> None:
    assert micro_batch_rows(batch_size, longest, max_tokens) == rows


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 15, 16, 17])
def test_micro_batches_are_the_steps_split(count: int) -> None:
    lengths = LENGTHS[:count]
    batches = MicroBatches(lengths, batch_size=4, micro_batch_rows=2, seed=3)
    batches.set_epoch(1)
    found = list(batches)
    assert len(found) == len(batches)
    assert [row for batch in found for row in batch] == [
        row for step in epoch_order(lengths, 4, seed=3, epoch=1) for row in step
    ]
    assert all(len(batch) <= 2 for batch in found)
