"""Attention of short rows as products against PyTorch's own kernel, forward and back, on a CPU.

    python benchmarks/attention_speed.py

Rows and heads as a pack of each demo model has them. Sides alternate in one process; medians count.
Prints a JSON list:

    shape                   rows, tokens of each, query heads, heads of keys and values, their width
    ours_ms, peer_ms        of one layer, forward and backward
    ratio                   the peer's over ours
    difference              largest relative error of output and gradients between the two
"""

from __future__ import annotations

import json
import statistics
import time
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from maple.finetune.attention import attend
from maple.models.allocation import keep_freed_memory

SHAPES = (
    (3, 142, 4, 1, 256),
    (8, 60, 4, 1, 256),
    (1, 500, 4, 1, 256),
    (3, 151, 9, 3, 64),
    (1, 500, 9, 3, 64),
)
REPEATS = 15


def ours(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    """[B, T, Q, D]."""
    return attend(query, key, value, mask, query.shape[-1] ** -0.5)


def peer(query: Tensor, key: Tensor, value: Tensor, _mask: Tensor) -> Tensor:
    """[B, T, Q, D], as transformers asks for it on a CPU."""
    out = functional.scaled_dot_product_attention(
        query, key, value, is_causal=True, enable_gqa=True
    )
    return out.transpose(1, 2)


def compare(shape: tuple[int, int, int, int, int]) -> dict[str, Any]:
    """One line of the result."""
    rows, tokens, heads, shared, width = shape
    states = [torch.randn(rows, h, tokens, width).bfloat16() for h in (heads, shared, shared)]
    slope = torch.randn(rows, tokens, heads, width).bfloat16()
    mask = torch.full((1, 1, tokens, tokens), -torch.inf).triu_(1)
    seconds: dict[str, list[float]] = {"ours": [], "peer": []}
    found: dict[str, list[Tensor]] = {}
    for _ in range(REPEATS):
        for side, attention in (("ours", ours), ("peer", peer)):
            given = [part.clone().requires_grad_() for part in states]
            began = time.perf_counter()
            out = attention(*given, mask)
            gradients = torch.autograd.grad(out, given, slope)
            seconds[side].append(time.perf_counter() - began)
            found[side] = [out.detach(), *gradients]
    middle = {side: 1e3 * statistics.median(times[1:]) for side, times in seconds.items()}
    pairs = zip(found["ours"], found["peer"], strict=True)
    return {
        "shape": shape,
        "ours_ms": round(middle["ours"], 2),
        "peer_ms": round(middle["peer"], 2),
        "ratio": round(middle["peer"] / middle["ours"], 2),
        "difference": round(
            max(float((a - b).float().norm() / b.float().norm()) for a, b in pairs), 4
        ),
    }


if __name__ == "__main__":
    torch.manual_seed(0)
    keep_freed_memory()
    print(json.dumps([compare(shape) for shape in SHAPES], indent=1))
