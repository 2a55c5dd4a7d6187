"""Products of bfloat16 matrices on CPUs that have no instructions for them.

PyTorch multiplies bfloat16 matrices through oneDNN where the CPU has AVX-512 or its like;
elsewhere, as on most laptops, by a plain loop at an eighth of the rate of float32 (17 against 143
GFLOP/s on two cores with AVX2). Here both are converted to float32, block by block, and the product
is rounded once: the same sums in another order.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

_FEWEST = 4
"""Rows or columns below which the conversion takes longer than the plain loop."""

_BLOCK_VALUES = 2**22
"""Values converted at once: 16 MB in float32."""

_library: torch.library.Library | None = None
# What is registered lives as long as this object.


def are_slow() -> bool:
    """Whether this machine's CPU multiplies bfloat16 matrices by the plain loop."""
    return not torch.ops.mkldnn._is_mkldnn_bf16_supported()  # noqa: SLF001 - no public name


def as_multiplied(states: Tensor) -> Tensor:
    """States in the type that autocast multiplies in, where it is on.

    A product written out as one node of the graph has a backward pass outside of autocast, and
    sees what was kept.
    """
    kind = states.device.type
    if not torch.is_autocast_enabled(kind):
        return states
    return states.to(torch.get_autocast_dtype(kind))


def install() -> None:
    """Let `mm`, `addmm`, `addmm_` and `bmm` of this process's CPU tensors go through this module.

    Linear layers, 4-bit layers, adapters and their gradients all end there. Products of other types
    go on to the kernels they had.
    """
    global _library
    if _library is not None:
        return
    _library = torch.library.Library("aten", "IMPL")  # type: ignore[no-untyped-call]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "(?s).*[Oo]verrid", UserWarning)
        for kernel in (mm, addmm, addmm_, bmm):
            _library.impl(  # type: ignore[no-untyped-call]
                kernel.__name__, kernel, "CPU", allow_override=True
            )


def mm(left: Tensor, right: Tensor) -> Tensor:
    """[N, K] x [K, M] -> [N, M]."""
    out = left.new_empty(left.shape[0], right.shape[1])
    if not _converts(left, right):
        return torch.mm(left, right, out=out)
    rows = left.float()
    for columns in _blocks(right.shape[1], right.shape[0]):
        out[:, columns] = rows @ right[:, columns].float()
    return out


def addmm(
    bias: Tensor, left: Tensor, right: Tensor, *, beta: float = 1, alpha: float = 1
) -> Tensor:
    """beta * bias + alpha * [N, K] x [K, M]; the bias fits [N, M] by broadcasting."""
    out = left.new_empty(left.shape[0], right.shape[1])
    if not _converts(left, right):
        return torch.addmm(bias, left, right, beta=beta, alpha=alpha, out=out)
    rows, added = left.float(), bias.expand(out.shape)
    for columns in _blocks(right.shape[1], right.shape[0]):
        block = right[:, columns].float()
        out[:, columns] = torch.addmm(
            added[:, columns].float(), rows, block, beta=beta, alpha=alpha
        )
    return out


def addmm_(
    out: Tensor, left: Tensor, right: Tensor, *, beta: float = 1, alpha: float = 1
) -> Tensor:
    """The same, added in place to `out` [N, M]."""
    if not _converts(left, right):
        return torch.addmm(out, left, right, beta=beta, alpha=alpha, out=out)
    return out.copy_(addmm(out, left, right, beta=beta, alpha=alpha))


def bmm(left: Tensor, right: Tensor) -> Tensor:
    """[B, N, K] x [B, K, M] -> [B, N, M]."""
    out = left.new_empty(left.shape[0], left.shape[1], right.shape[2])
    if not _converts(left, right):
        return torch.bmm(left, right, out=out)
    for rows in _blocks(len(left), left[0].numel() + right[0].numel() + out[0].numel()):
        out[rows] = left[rows].float() @ right[rows].float()
    return out


def _converts(left: Tensor, right: Tensor) -> bool:
    return (
        left.dtype == right.dtype == torch.bfloat16
        and min(left.shape[-2], right.shape[-1]) >= _FEWEST
        and len(left) > 0
    )


def _blocks(count: int, values: int) -> list[slice]:
    """Ranges of `count` things of so many values each, as many as are converted at once."""
    step = max(1, _BLOCK_VALUES // max(1, values))
    return [slice(start, start + step) for start in range(0, count, step)]
