"""In which order rows are trained on, and how an optimiser step is laid out.

The order is a pure function of the cell and its rows, so that a resumed run continues exactly
where the killed one would have. How a step is cut into packs and spread over processes changes its
sums in their last bits only.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch.utils.data import Sampler

from maple.provenance import derive_seed

Pack = tuple[int, ...]
"""Rows that go through the model together, side by side in one sequence without padding."""


def epoch_order(rows: int, batch_size: int, seed: int, epoch: int) -> list[tuple[int, ...]]:
    """One epoch's optimiser steps, as row indices.

    Args:
        rows: how many there are.
        batch_size: rows of a step.
        seed: the cell's seed.
        epoch: 0 for the first.

    Returns:
        ceil(rows / batch_size) steps; only the last may hold fewer than `batch_size` rows.
    """
    generator = random.Random(derive_seed(seed, "order", str(epoch)))  # noqa: S311  not a secret
    order = list(range(rows))
    generator.shuffle(order)
    return [tuple(order[start : start + batch_size]) for start in range(0, rows, batch_size)]


def shares(step: Sequence[int], lengths: Sequence[int], processes: int) -> list[tuple[int, ...]]:
    """A step's rows over several processes, so that each gets about as many tokens.

    Args:
        step: row indices.
        lengths: tokens of each row.
        processes: how many to spread the rows over.

    Returns:
        the rows of each process, longest first; none where there are fewer rows than processes.
    """
    found: list[list[int]] = [[] for _ in range(processes)]
    tokens = [0] * processes
    for row in sorted(step, key=lambda row: (-lengths[row], row)):
        least = tokens.index(min(tokens))
        found[least].append(row)
        tokens[least] += lengths[row]
    return [tuple(rows) for rows in found]


def packs(rows: Sequence[int], lengths: Sequence[int], most_tokens: int) -> list[Pack]:
    """Rows cut into packs of rows of like length, as evenly as that goes.

    Args:
        rows: row indices.
        lengths: tokens of each row.
        most_tokens: of a pack; a longer row is a pack of its own.
    """
    ordered = sorted(rows, key=lambda row: (-lengths[row], row))
    total = sum(lengths[row] for row in ordered)
    # An even share: three packs of two thirds are as fast as two full ones and a rest, and smaller.
    fewest = max(1, -(-total // most_tokens))
    share = total / fewest
    found: list[list[int]] = []
    tokens = 0
    for row in ordered:
        length = lengths[row]
        # Where the row would bring the pack further beyond its share than it is below.
        is_enough = tokens + length / 2 > share and len(found) < fewest
        if not found or tokens + length > most_tokens or is_enough:
            found.append([])
            tokens = 0
        found[-1].append(row)
        tokens += length
    return [tuple(pack) for pack in found]


@dataclass(frozen=True, slots=True)
class Order:
    """What the order and layout of all steps follow from.

    Attributes:
        lengths: tokens of each row.
        batch_size: rows of a step.
        most_tokens: of a pack.
        seed: the cell's.
    """

    lengths: tuple[int, ...]
    batch_size: int
    most_tokens: int
    seed: int

    @property
    def steps(self) -> int:
        """Optimiser steps of an epoch."""
        return -(-len(self.lengths) // self.batch_size)


@dataclass(frozen=True, slots=True)
class StepRows:
    """The rows of an optimiser step, and the packs that one process makes of its share; some may
    be empty."""

    rows: tuple[int, ...]
    packs: tuple[Pack, ...]


class Steps(Sampler[list[StepRows]]):
    """One process's view of the steps of an epoch, as a batch sampler.

    Every process has the same number of steps, and of packs in a step, for shards of weights are
    exchanged in each forward pass; where one has fewer packs than another, the last ones are empty.
    """

    def __init__(self, order: Order, process: int, processes: int) -> None:
        self._order = order
        self._process = process
        self._processes = processes
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration goes through, 0 for the first."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[list[StepRows]]:
        order = self._order
        for step in epoch_order(len(order.lengths), order.batch_size, order.seed, self._epoch):
            cut = [
                packs(share, order.lengths, order.most_tokens)
                for share in shares(step, order.lengths, self._processes)
            ]
            mine = cut[self._process]
            none: Pack = ()
            yield [StepRows(step, (*mine, *[none] * (max(map(len, cut)) - len(mine))))]

    def __len__(self) -> int:
        return self._order.steps
