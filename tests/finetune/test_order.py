from __future__ import annotations

import pytest

from maple.finetune.order import Order, StepRows, Steps, epoch_order, packs, shares

LENGTHS = tuple(5 + (7 * row) % 90 for row in range(331))


def test_an_epoch_holds_every_row_once_in_whole_steps() -> None:
    steps = epoch_order(331, 8, seed=1, epoch=0)
    assert sorted(row for step in steps for row in step) == list(range(331))
    assert [len(step) for step in steps] == [8] * 41 + [3]


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    first = epoch_order(331, 8, seed=1, epoch=0)
    assert epoch_order(331, 8, seed=1, epoch=0) == first
    assert epoch_order(331, 8, seed=1, epoch=1) != first
    assert epoch_order(331, 8, seed=2, epoch=0) != first


def test_the_order_is_the_same_on_every_machine() -> None:
    steps = epoch_order(8, 2, seed=0, epoch=0)
    assert steps == [(4, 2), (3, 6), (5, 7), (1, 0)]


@pytest.mark.parametrize("processes", [1, 2, 3, 8])
def test_processes_share_a_step_by_tokens(processes: int) -> None:
    step = tuple(range(40, 56))
    found = shares(step, LENGTHS, processes)
    assert sorted(row for rows in found for row in rows) == list(step)
    tokens = [sum(LENGTHS[row] for row in rows) for rows in found]
    longest = max(LENGTHS[row] for row in step)
    assert max(tokens) - min(tokens) <= longest
    if processes == 2:
        assert max(tokens) < 1.05 * min(tokens)


def test_more_processes_than_rows_leave_some_without() -> None:
    assert shares((4, 2), (9, 9, 5, 9, 7), 3) == [(4,), (2,), ()]


def test_packs_hold_rows_of_like_length_and_no_more_tokens_than_allowed() -> None:
    found = packs(range(100), LENGTHS, 500)
    assert sorted(row for pack in found for row in pack) == list(range(100))
    tokens = [sum(LENGTHS[row] for row in pack) for pack in found]
    assert max(tokens) <= 500
    assert len(found) <= 1 + -(-sum(tokens) // 500) * 1.1
    # What attention pads when rows are laid out below each other.
    padded = sum(len(pack) * max(LENGTHS[row] for row in pack) for pack in found)
    assert padded < 1.15 * sum(tokens)


def test_packs_are_even() -> None:
    """Two of 600 in place of one of 1,000 and one of 200."""
    assert packs(range(12), [100] * 12, 1000) == [(0, 1, 2, 3, 4, 5), (6, 7, 8, 9, 10, 11)]


def test_no_pack_is_a_rest() -> None:
    """247 and 284 tokens, not 489 and 42."""
    assert packs(range(3), [247, 242, 42], 512) == [(0,), (1, 2)]


def test_a_row_that_is_too_long_is_a_pack_of_its_own() -> None:
    assert packs([0, 1, 2], [40, 900, 50], 100) == [(1,), (2, 0)]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 15, 16, 17])
@pytest.mark.parametrize("processes", [1, 2])
def test_processes_together_take_every_row_of_every_step(count: int, processes: int) -> None:
    order = Order(LENGTHS[:count], batch_size=4, most_tokens=120, seed=3)
    views: list[list[StepRows]] = []
    for process in range(processes):
        steps = Steps(order, process, processes)
        steps.set_epoch(1)
        found = [step for (step,) in steps]
        assert len(found) == len(steps) == order.steps
        views.append(found)
    for number, step in enumerate(epoch_order(count, 4, seed=3, epoch=1)):
        taken = [row for view in views for pack in view[number].packs for row in pack]
        assert sorted(taken) == sorted(step)
        assert all(view[number].rows == step for view in views)
        # Each pack is an exchange of weights where those are sharded.
        assert len({len(view[number].packs) for view in views}) == 1
