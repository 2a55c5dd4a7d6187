"""Which rows run together: a pure function of the rows and the base, never of free memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedModel

from maple.models.head import text_config

_MAX_TOKENS = 4096
"""New tokens of a batch, padding included; past a thousand a CPU gains nothing, a GPU little."""

_MAX_STORE_BYTES = 2**30
"""Keys and values of a batch, the shared prefix counted once a row."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What one batch may take: new tokens, and tokens kept in the key/value store."""

    new_tokens: int
    stored_tokens: int


def budget(model: PreTrainedModel) -> Budget:
    """The budget for a base; depends on its shape and precision alone."""
    config = text_config(model)
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    token_bytes = 2 * config.num_hidden_layers * heads * width * model.dtype.itemsize
    return Budget(_MAX_TOKENS, max(1, _MAX_STORE_BYTES // token_bytes))


def batches(lengths: Sequence[int], extra: int, limit: Budget) -> list[list[int]]:
    """Rows of similar length together, the longest first.

    Args:
        lengths: new tokens of each row.
        extra: slots each row needs beside them: the prefix before, the room for answers after.
        limit: of one batch; a single row may exceed it.

    Returns:
        Indices into `lengths`, each exactly once.
    """
    order = sorted(range(len(lengths)), key=lambda row: (-lengths[row], row))
    plan: list[list[int]] = []
    while order:
        longest = lengths[order[0]]
        rows = min(limit.new_tokens // longest, limit.stored_tokens // (longest + extra))
        rows = max(1, rows)
        plan.append(order[:rows])
        order = order[rows:]
    return plan


def waves(
    plan: Sequence[list[int]], lengths: Sequence[int], extra: int, limit: Budget
) -> list[list[list[int]]]:
    """Batches of `batches` whose rows stay in memory together and then grow a token a step.

    A step reads all weights whatever the number of its rows, so there should be few steps.
    """
    grouped: list[list[list[int]]] = []
    rows = slots = 0
    for batch in plan:
        # The first batch of a wave has the longest rows, as the plan is in order.
        if not grouped or (rows + len(batch)) * slots > limit.stored_tokens:
            grouped.append([])
            rows, slots = 0, lengths[batch[0]] + extra
        grouped[-1].append(batch)
        rows += len(batch)
    return grouped
