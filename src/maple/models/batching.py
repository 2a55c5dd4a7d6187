"""Which rows run together: a pure function of the rows and the base, never of free memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedModel

from maple.models.attention import AttentionKinds
from maple.models.head import text_config

_MAX_TOKENS = 4096
"""New tokens of a batch, padding included; past a thousand a CPU gains nothing, a GPU little."""

_STEP = 16
"""Row lengths are multiples of this. Each shape of a matrix product has a compiled kernel that the
CPU library keeps, in the middle of the memory that the next, larger shape cannot reuse then: two
hundred shapes took 700 MB (docs/log.md)."""

_MAX_STORE_BYTES = 2**30
"""Keys and values of the rows that are in memory together."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What rows that run together may take.

    Attributes:
        new_tokens: of one forward pass.
        store_bytes: of their keys and values, the shared prefix counted once a row.
        windows: for each kind of layer its window, None for all tokens, and the bytes of a token in
            all layers of that kind.
    """

    new_tokens: int
    store_bytes: int
    windows: tuple[tuple[int | None, int], ...]

    def rows(self, before: int, own: int) -> int:
        """Rows that fit the store, at least one.

        Args:
            before: tokens of the prefix, of which a window shows the latest.
            own: slots of each row behind it.
        """
        row = sum(
            size * (own + (before if window is None else min(before, window - 1)))
            for window, size in self.windows
        )
        return max(1, self.store_bytes // row)


def budget(model: PreTrainedModel, kinds: AttentionKinds) -> Budget:
    """The budget for a base; depends on its shape and precision alone."""
    config = text_config(model)
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    layer = 2 * heads * width * model.dtype.itemsize
    windows = tuple(
        (window, layer * kinds.layers.count(kind)) for kind, window in kinds.windows.items()
    )
    return Budget(_MAX_TOKENS, _MAX_STORE_BYTES, windows)


def padded(length: int) -> int:
    """The length at which a row of so many tokens runs."""
    return -(-length // _STEP) * _STEP


def batches(lengths: Sequence[int], before: int, room: int, limit: Budget) -> list[list[int]]:
    """Rows of similar length together, the longest first.

    Args:
        lengths: new tokens of each row.
        before: tokens of the prefix.
        room: slots that each row needs behind them, for tokens generated later.
        limit: of one batch; a single row may exceed it.

    Returns:
        Indices into `lengths`, each exactly once.
    """
    order = sorted(range(len(lengths)), key=lambda row: (-lengths[row], row))
    plan: list[list[int]] = []
    while order:
        longest = padded(lengths[order[0]])
        rows = min(limit.new_tokens // longest, limit.rows(before, longest + room))
        rows = max(1, rows)
        plan.append(order[:rows])
        order = order[rows:]
    return plan


def waves(lengths: Sequence[int], before: int, room: int, limit: Budget) -> list[slice]:
    """Sequences that stay in memory together and grow a token a step, as many as the store holds.

    A step reads all weights whatever the number of its rows, so there should be few steps.

    Args:
        lengths: of each sequence behind the prefix; those of similar length side by side.
        before, room, limit: as in `batches`.

    Returns:
        Runs of them, together all.
    """
    found: list[slice] = []
    start = longest = 0
    for place, length in enumerate(lengths):
        longest = max(longest, length)
        if place > start and place + 1 - start > limit.rows(before, longest + room):
            found.append(slice(start, place))
            start, longest = place, length
    return [*found, slice(start, len(lengths))]
