"""In which order rows are trained on, and how an optimiser step is split.

Both are pure functions of the cell and its rows, so that a resumed run continues exactly where
the killed one would have.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from torch.utils.data import Sampler

from maple.provenance import derive_seed

_MEGA_STEPS = 16
"""Optimiser steps whose rows are grouped by length together: enough to make padding rare, few
enough to leave the order random at the scale of a run."""


def epoch_order(
    lengths: Sequence[int], batch_size: int, seed: int, epoch: int
) -> list[tuple[int, ...]]:
    """One epoch's optimiser steps, as row indices.

    Rows are shuffled, cut into mega-batches, sorted by length inside each, cut into steps, and
    the steps of a mega-batch are shuffled again, so that length does not follow a rhythm. The
    rows that fill no whole step (a random choice) are the last step.

    Args:
        lengths: tokens of each row.
        batch_size: rows of a step.
        seed: the cell's seed.
        epoch: 0 for the first.

    Returns:
        ceil(rows / batch_size) steps; only the last may hold fewer than `batch_size` rows.
    """
    generator = random.Random(derive_seed(seed, "order", str(epoch)))  # noqa: S311  not a secret
    rows = list(range(len(lengths)))
    generator.shuffle(rows)
    whole = len(rows) - len(rows) % batch_size
    steps: list[tuple[int, ...]] = []
    for start in range(0, whole, batch_size * _MEGA_STEPS):
        end = min(start + batch_size * _MEGA_STEPS, whole)
        mega = sorted(rows[start:end], key=lambda row: (lengths[row], row))
        part = [tuple(mega[i : i + batch_size]) for i in range(0, len(mega), batch_size)]
        generator.shuffle(part)
        steps += part
    if whole < len(rows):
        steps.append(tuple(sorted(rows[whole:], key=lambda row: (lengths[row], row))))
    return steps


def micro_batch_rows(batch_size: int, longest: int, max_tokens: int) -> int:
    """Rows that go through the model together: the largest divisor of `batch_size` that fits.

    Args:
        batch_size: rows of an optimiser step.
        longest: tokens of the longest row.
        max_tokens: tokens that may go through the model together, padding included.

    Returns:
        at least 1, even where a single row is larger than `max_tokens`.
    """
    fitting = (
        rows
        for rows in range(batch_size, 0, -1)
        if batch_size % rows == 0 and rows * longest <= max_tokens
    )
    return next(fitting, 1)


class MicroBatches(Sampler[list[int]]):
    """The micro-batches of an epoch as a batch sampler; transformers calls `set_epoch`."""

    def __init__(
        self, lengths: Sequence[int], batch_size: int, micro_batch_rows: int, seed: int
    ) -> None:
        self._lengths = lengths
        self._batch_size = batch_size
        self._rows = micro_batch_rows
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration goes through, 0 for the first."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[list[int]]:
        for step in epoch_order(self._lengths, self._batch_size, self._seed, self._epoch):
            for start in range(0, len(step), self._rows):
                yield list(step[start : start + self._rows])

    def __len__(self) -> int:
        whole, rest = divmod(len(self._lengths), self._batch_size)
        return whole * (self._batch_size // self._rows) + -(-rest // self._rows)
