"""Attention as matrix products against PyTorch's own."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from maple.finetune import attention
from maple.finetune.packing import _mask


def both(
    states: list[torch.Tensor], window: int | None, outer: torch.Tensor
) -> list[tuple[torch.Tensor, ...]]:
    """Output [B, T, Q, D] and gradients of query, key and value, by ours and by PyTorch."""
    found = []
    scaling = 0.3
    mask = _mask(states[0].shape[2], window, states[0])
    for attend in (attention.attend, _plain):
        given = [part.clone().requires_grad_() for part in states]
        out = attend(given[0], given[1], given[2], mask, scaling)
        out.backward(outer.to(out.dtype))  # type: ignore[no-untyped-call]
        gradients = [part.grad for part in given if part.grad is not None]
        found.append((out.detach(), *gradients))
    return found


def _plain(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor, scaling: float
) -> torch.Tensor:
    out = functional.scaled_dot_product_attention(
        query, key, value, attn_mask=mask.to(query.dtype), scale=scaling, enable_gqa=True
    )
    return out.transpose(1, 2)


@pytest.mark.parametrize("window", [None, 3])
@pytest.mark.parametrize(("heads", "shared"), [(4, 1), (6, 3), (2, 2)])
@pytest.mark.parametrize(("width", "tokens"), [(8, 11), (5, 11), (8, 1), (5, 300)])
def test_values_and_gradients_are_those_of_pytorch(
    window: int | None, heads: int, shared: int, width: int, tokens: int
) -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = ((heads, 8), (shared, 8), (shared, width))
    states = [torch.randn(3, count, tokens, w, generator=generator) for count, w in shapes]
    outer = torch.randn(3, tokens, heads, width, generator=generator)
    ours, plain = both(states, window, outer)
    assert len(ours) == 4
    for mine, theirs in zip(ours, plain, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)


def test_in_bfloat16_it_is_as_exact_as_pytorch() -> None:
    generator = torch.Generator().manual_seed(0)
    states = [torch.randn(2, count, 40, 16, generator=generator) for count in (4, 2, 2)]
    outer = torch.randn(2, 40, 4, 16, generator=generator)
    exact = both(states, None, outer)[1]
    ours, plain = both([part.bfloat16() for part in states], None, outer)
    for mine, theirs, right in zip(ours, plain, exact, strict=True):
        error, usual = ((part.float() - right).norm() / right.norm() for part in (mine, theirs))
        assert error < max(1.5 * usual, 0.01)


def test_under_autocast_it_multiplies_in_bfloat16_and_gradients_keep_their_type() -> None:
    generator = torch.Generator().manual_seed(0)
    query, key, value = (
        torch.randn(1, 2, 6, 8, generator=generator).requires_grad_() for _ in range(3)
    )
    mask = _mask(6, None, query)
    with torch.autocast("cpu", torch.bfloat16):
        out = attention.attend(query, key, value, mask, 0.3)
    out.float().sum().backward()  # type: ignore[no-untyped-call]
    assert out.dtype == torch.bfloat16
    assert query.grad is not None
    assert query.grad.dtype == torch.float32


def test_long_rows_and_many_are_left_to_pytorch() -> None:
    assert attention.is_short(8, 4, 512)
    assert not attention.is_short(9, 4, 512)
    assert not attention.is_short(1, 1, 513)
