"""The same layers with fewer passes over their activations and less kept for the backward pass.

Products of a small model are so fast that what stands between them takes as long. PEFT's LoRA
layer writes its output four times; transformers' norms keep three float32 copies of their input,
its gated blocks four vectors where two are enough. Each is put here into one node of the graph,
with the backward pass written out. What is computed is the same, in the same precision, but for
the order of some roundings.

Shapes: N tokens, I inputs, O outputs, R the adapters' ranks together.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from bitsandbytes.functional import dequantize_4bit
from bitsandbytes.nn.modules import Linear4bit
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from maple.models.products import as_multiplied

Forward = Callable[..., Tensor]


@contextlib.contextmanager
def fused(model: PreTrainedModel) -> Iterator[None]:
    """Let the layers of a model that are known here compute so, until the end.

    Layers of any other make, or with anything beside plain LoRA in them, stay as they are.
    """
    found = {module: _lora(module) or _norm(module) or _gated(module) for module in model.modules()}
    changed = {module: forward for module, forward in found.items() if forward is not None}
    for module, forward in changed.items():
        module.forward = forward
    try:
        yield
    finally:
        for module in changed:
            del module.forward


def _lora(module: nn.Module) -> Forward | None:
    """The forward pass of a layer with nothing but plain LoRA adapters on it."""
    if not _is_plain(module):
        return None
    layer: Any = module
    drops = _drops(layer)

    def forward(x: Tensor, *_args: object, **_kwargs: object) -> Tensor:
        (name, *_) = layer.active_adapters
        x = as_multiplied(x)
        dropped = layer.lora_dropout[name](x) if drops and layer.training else None
        out: Tensor = _LoraLinear.apply(  # type: ignore[no-untyped-call]
            x, dropped, *_matrices(layer), layer.base_layer
        )
        return out

    return forward


def _is_plain(module: nn.Module) -> bool:
    """Whether a layer's adapters are plain LoRA, and its own weights frozen and at hand."""
    if not isinstance(module, LoraLayer) or type(module.base_layer) not in (nn.Linear, Linear4bit):
        return False
    active = [name for name in module.active_adapters if name in module.lora_A]
    plain = not module.merged and not module.lora_variant and not any(module.lora_bias.values())
    # Of several adapters each would drop out values of its own.
    return bool(active) and plain and not (_drops(module) and len(active) > 1)


def _drops(layer: Any) -> bool:
    return any(isinstance(layer.lora_dropout[name], nn.Dropout) for name in layer.active_adapters)


def _matrices(layer: Any) -> tuple[Tensor, Tensor]:
    """A [R, I] and B [O, R] of all active adapters, B times what scales them."""
    active = [name for name in layer.active_adapters if name in layer.lora_A]
    down = [layer.lora_A[name].weight for name in active]
    up = [layer.lora_B[name].weight * layer.scaling[name] for name in active]
    if len(active) == 1:
        return down[0], up[0]
    return torch.cat(down), torch.cat(up, 1)


class _LoraLinear(torch.autograd.Function):
    """x W^T + bias + x A^T B^T: x [..., I], A [R, I] and B [O, R] float32, W of a frozen layer.

    `dropped` is what the adapter sees in place of x; None for x itself.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, dropped: Tensor | None, a: Tensor, b: Tensor, base: nn.Linear
    ) -> Tensor:
        rows = x.flatten(0, -2)
        seen = rows if dropped is None else dropped.flatten(0, -2)
        down, up = a.to(x.dtype), b.to(x.dtype)
        out, low = _forward(rows, seen, down, up, base)
        ctx.save_for_backward(seen, low, down, up)
        ctx.base, ctx.is_dropped, ctx.shape = base, dropped is not None, x.shape
        return out.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        seen, low, down, up = ctx.saved_tensors
        slope = outer[0].flatten(0, -2)
        slope_low = slope @ up
        of_a, of_b = (slope_low.T @ seen).float(), (slope.T @ low).float()
        of_x = of_dropped = None
        if ctx.needs_input_grad[0]:
            of_x = slope @ _weight(ctx.base, slope.dtype)
            if not ctx.is_dropped:
                of_x.addmm_(slope_low, down)
            of_x = of_x.view(ctx.shape)
        if ctx.is_dropped and ctx.needs_input_grad[1]:
            of_dropped = (slope_low @ down).view(ctx.shape)
        return of_x, of_dropped, of_a, of_b, None


def _forward(
    rows: Tensor, seen: Tensor, down: Tensor, up: Tensor, base: nn.Linear
) -> tuple[Tensor, Tensor]:
    """A layer's output [N, O], and what is between its adapter's matrices [N, R]."""
    low = seen @ down.T
    out = functional.linear(rows, _weight(base, rows.dtype), base.bias)
    return out.addmm_(low, up.T), low


def _gated(module: nn.Module) -> Forward | None:
    """The forward pass of a gated feed-forward block whose last layer has plain LoRA on it."""
    names = ("gate_proj", "up_proj", "down_proj", "act_fn")
    gate, up, last, act = (getattr(module, name, None) for name in names)
    if gate is None or up is None or last is None or act is None or not _is_plain(last):
        return None
    kind = next((name for name, (known, _) in _ACTIVATIONS.items() if _equals(act, known)), None)
    if _drops(last) or kind is None or not _multiplies(module):
        return None

    def forward(x: Tensor) -> Tensor:
        out: Tensor = _GatedLora.apply(  # type: ignore[no-untyped-call]
            as_multiplied(gate(x)), as_multiplied(up(x)), *_matrices(last), last.base_layer, kind
        )
        return out

    return forward


_ACTIVATIONS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor, Tensor], Tensor]]] = {
    "silu": (functional.silu, torch.ops.aten.silu_backward),
    "gelu_tanh": (
        lambda x: functional.gelu(x, approximate="tanh"),
        lambda slope, x: torch.ops.aten.gelu_backward(slope, x, approximate="tanh"),
    ),
}
"""How gates are squashed, and (slope of the result, gate) -> slope of the gate."""


@torch.no_grad()
def _equals(act: Any, known: Callable[[Tensor], Tensor]) -> bool:
    points = torch.linspace(-8, 8, 33)
    return torch.allclose(act(points), known(points), rtol=1e-6, atol=1e-6)


@torch.no_grad()
def _multiplies(block: Any) -> bool:
    """Whether the block is what its parts suggest: last(act(gate(x)) * up(x)), and no more."""
    layer = block.gate_proj
    width, device = int(layer.in_features), next(layer.parameters()).device
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 2, width, generator=generator).to(device, torch.bfloat16)
    with torch.autocast(device.type, torch.bfloat16):
        ours = block.down_proj(block.act_fn(block.gate_proj(x)) * block.up_proj(x))
        return torch.equal(ours, block(x))


class _GatedLora(torch.autograd.Function):
    """_LoraLinear over act(gate) * up, [..., I] each: the product is made again, not kept."""

    @staticmethod
    def forward(
        ctx: Any, gate: Tensor, up: Tensor, a: Tensor, b: Tensor, base: nn.Linear, kind: str
    ) -> Tensor:
        act, _ = _ACTIVATIONS[kind]
        rows = act(gate).mul_(up).flatten(0, -2)
        down, out_of = a.to(gate.dtype), b.to(gate.dtype)
        out, low = _forward(rows, rows, down, out_of, base)
        ctx.save_for_backward(gate, up, low, down, out_of)
        ctx.base, ctx.kind = base, kind
        return out.view(*gate.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        gate, up, low, down, out_of = ctx.saved_tensors
        act, act_backward = _ACTIVATIONS[ctx.kind]
        slope = outer[0].flatten(0, -2)
        slope_low = slope @ out_of
        opened = act(gate)
        of_a = (slope_low.T @ (opened * up).flatten(0, -2)).float()
        of_b = (slope.T @ low).float()
        of_rows = (slope @ _weight(ctx.base, slope.dtype)).addmm_(slope_low, down)
        of_rows = of_rows.view(gate.shape)
        of_up = opened.mul_(of_rows)
        return act_backward(of_rows.mul_(up), gate), of_up, of_a, of_b, None, None


def _weight(base: nn.Linear, dtype: torch.dtype) -> Tensor:
    """[O, I], as a frozen layer multiplies by it."""
    weight: Any = base.weight
    if isinstance(base, Linear4bit):
        weight = dequantize_4bit(weight.data, weight.quant_state).to(dtype)
    found: Tensor = weight
    return found


def _norm(module: nn.Module) -> Forward | None:
    """The forward pass of a root-mean-square norm that is not trained."""
    weight: Any = getattr(module, "weight", None)
    epsilon = getattr(module, "variance_epsilon", getattr(module, "eps", None))
    if not type(module).__name__.endswith("RMSNorm") or weight is None or epsilon is None:
        return None
    if weight.ndim != 1 or weight.requires_grad:
        return None
    plain: Forward = module.forward
    # Gemma scales by 1 + weight before it rounds, others by weight after.
    for scale, is_early in ((1.0 + weight.float(), True), (weight, False)):
        if _gives_the_same(module, scale, epsilon, is_early):
            break
    else:
        return None

    def forward(x: Tensor) -> Tensor:
        if not x.requires_grad:
            return plain(x)
        out: Tensor = _RmsNorm.apply(x, scale, epsilon, is_early)  # type: ignore[no-untyped-call]
        return out

    return forward


@torch.no_grad()
def _gives_the_same(module: nn.Module, scale: Tensor, epsilon: float, is_early: bool) -> bool:
    dtype: Any = module.weight.dtype
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, len(scale), generator=generator).to(scale.device, dtype)
    ours = _normed(x, _inverse_root(x, epsilon), scale, is_early)
    tolerance = 1e-5 if x.dtype == torch.float32 else 2e-2
    return torch.allclose(ours.float(), module(x).float(), rtol=tolerance, atol=tolerance)


class _RmsNorm(torch.autograd.Function):
    """x / sqrt(mean(x^2) + epsilon) * scale over the last axis, in float32 inside."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, epsilon: float, is_early: bool) -> Tensor:
        inverse = _inverse_root(x, epsilon)
        ctx.save_for_backward(x, scale, inverse)
        return _normed(x, inverse, scale, is_early)

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        x, scale, inverse = ctx.saved_tensors
        slope = outer[0].float() * scale
        product = slope * x
        shared = product.sum(-1, keepdim=True).mul_(inverse**3).div_(-x.shape[-1])
        torch.mul(x, shared, out=product)
        return slope.mul_(inverse).add_(product).to(x.dtype), None, None, None


def _inverse_root(x: Tensor, epsilon: float) -> Tensor:
    """[..., 1] float32."""
    length: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
    return length.square_().div_(x.shape[-1]).add_(epsilon).rsqrt_()


def _normed(x: Tensor, inverse: Tensor, scale: Tensor, is_early: bool) -> Tensor:
    scaled = x * inverse
    if is_early:
        return scaled.mul_(scale).to(x.dtype)
    return scaled.to(x.dtype).mul_(scale)
