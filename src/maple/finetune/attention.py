"""Attention of short rows on a CPU, as matrix products.

PyTorch's kernel goes through its scores in small tiles, which saves memory where rows are long. The
scores of short ones fit, and then two products forward and four backward, of all query heads that
share keys at once, take a third to a half of its time (benchmarks/attention_speed.py).

Shapes: B rows, T tokens of the longest, Q query heads, K heads of keys and values, D their width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from maple.models import products

_LONGEST = 512
"""Tokens of a row up to which its probabilities are kept: half a MiB a query head in bfloat16."""

_MOST_SCORES = 2**23
"""Scores of all rows up to which this is done: 32 MiB in float32."""


def is_short(rows: int, heads: int, tokens: int) -> bool:
    """Whether B rows of T tokens with Q query heads are few enough."""
    return tokens <= _LONGEST and rows * heads * tokens**2 <= _MOST_SCORES


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scaling: float) -> Tensor:
    """Softmax of the scaled scores, times the values.

    Args:
        query: [B, Q, T, D].
        key: [B, K, T, D].
        value: [B, K, T, D].
        mask: [1, 1, T, T] to add to the scores; each token sees at least one.
        scaling: of the scores.

    Returns:
        [B, T, Q, D], as transformers wants it.
    """
    states = [products.as_multiplied(part) for part in (query, key, value)]
    with torch.autocast(query.device.type, enabled=False):
        out: Tensor = _Attention.apply(*states, mask, scaling)  # type: ignore[no-untyped-call]
    return out.transpose(1, 2)


class _Attention(torch.autograd.Function):
    """The probabilities are kept for the backward pass, rounded as the values are."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scaling: float
    ) -> Tensor:
        rows, heads, tokens, width = query.shape
        # The query heads that share keys lie below each other.
        queries = query.reshape(-1, heads // key.shape[1] * tokens, width)
        keys, values = key.flatten(0, 1), value.flatten(0, 1)
        hidden = mask[0, 0].to(query.dtype).repeat(heads // key.shape[1], 1)
        shares = torch.baddbmm(hidden, queries, keys.transpose(1, 2), alpha=scaling)
        # In place: a copy would be too large for the cache, and cut up the heap.
        torch.softmax(shares, -1, out=shares)
        ctx.save_for_backward(queries, keys, values, shares)
        ctx.scaling, ctx.shapes = scaling, (query.shape, key.shape, value.shape)
        return torch.bmm(shares, values).view(rows, heads, tokens, -1)

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        queries, keys, values, shares = ctx.saved_tensors
        slope = outer[0].reshape(*queries.shape[:2], -1)
        of_values = torch.bmm(shares.transpose(1, 2), slope)
        of_shares = torch.bmm(slope, values.transpose(1, 2))
        of_scores = torch.ops.aten._softmax_backward_data(  # noqa: SLF001 - no public name
            of_shares, shares, -1, shares.dtype
        ).mul_(ctx.scaling)
        of_queries = torch.bmm(of_scores, keys)
        of_keys = torch.bmm(of_scores.transpose(1, 2), queries)
        found = zip((of_queries, of_keys, of_values), ctx.shapes, strict=True)
        return *(part.view(shape) for part, shape in found), None, None
