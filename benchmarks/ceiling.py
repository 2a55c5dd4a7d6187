"""What this machine can do at most."""

from __future__ import annotations

import time


def matrix_rate(bits: int) -> float:
    """Operations a second of a large matrix product, in float32 for 32 bits, else in bfloat16."""
    import torch

    dtype = torch.float32 if bits == 32 else torch.bfloat16
    left, right = torch.randn(2048, 2048).to(dtype), torch.randn(2048, 2048).to(dtype)
    best = 0.0
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(4):
            left @ right
        best = max(best, 4 * 2 * 2048**3 / (time.perf_counter() - start))
    return best
