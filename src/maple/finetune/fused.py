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
        a, b, scale = _matrices(layer)
        out: Tensor = _LoraLinear.apply(  # type: ignore[no-untyped-call]
            x, dropped, a, b, scale, layer.base_layer
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


def _matrices(layer: Any) -> tuple[Tensor, Tensor, float]:
    """A [R, I] and B [O, R] of all active adapters, and what scales B."""
    active = [name for name in layer.active_adapters if name in layer.lora_A]
    down = [layer.lora_A[name].weight for name in active]
    up = [layer.lora_B[name].weight for name in active]
    scales = [float(layer.scaling[name]) for name in active]
    if len(active) == 1:
        return down[0], up[0], scales[0]
    scaled = [part * scale for part, scale in zip(up, scales, strict=True)]
    return torch.cat(down), torch.cat(scaled, 1), 1.0


class _LoraLinear(torch.autograd.Function):
    """x W^T + bias + scale x A^T B^T: x [..., I], W frozen, A [R, I] and B [O, R] float32.

    `dropped` is what the adapter sees in place of x; None for x itself.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        dropped: Tensor | None,
        a: Tensor,
        b: Tensor,
        scale: float,
        base: nn.Linear,
    ) -> Tensor:
        rows = x.flatten(0, -2)
        seen = rows if dropped is None else dropped.flatten(0, -2)
        down, up = a.to(x.dtype), (b * scale).to(x.dtype)
        out, low = _forward(rows, seen, down, up, base)
        ctx.save_for_backward(seen, low, down, up)
        ctx.base, ctx.scale, ctx.is_dropped, ctx.shape = base, scale, dropped is not None, x.shape
        return out.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        seen, low, down, up = ctx.saved_tensors
        slope = outer[0].flatten(0, -2)
        slope_low, of_a, of_b = _of_adapter(slope, seen, low, up, ctx.scale)
        of_x = of_dropped = None
        if ctx.needs_input_grad[0]:
            of_x = slope @ _weight(ctx.base, slope.dtype)
            if not ctx.is_dropped:
                of_x.addmm_(slope_low, down)
            of_x = of_x.view(ctx.shape)
        if ctx.is_dropped and ctx.needs_input_grad[1]:
            of_dropped = (slope_low @ down).view(ctx.shape)
        return of_x, of_dropped, of_a, of_b, None, None


def _forward(
    rows: Tensor, seen: Tensor, down: Tensor, up: Tensor, base: nn.Linear
) -> tuple[Tensor, Tensor]:
    """A layer's output [N, O], and what is between its adapter's matrices [N, R]."""
    low = seen @ down.T
    out = functional.linear(rows, _weight(base, rows.dtype), base.bias)
    return out.addmm_(low, up.T), low


def _of_adapter(
    slope: Tensor, seen: Tensor, low: Tensor, up: Tensor, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients by what is between an adapter's matrices [N, R], by A and by B, from the output's.

    Args:
        up: [O, R], B times `scale`.
    """
    slope_low = slope @ up
    return slope_low, (slope_low.T @ seen).float(), (slope.T @ low).float().mul_(scale)


def _gated(module: nn.Module) -> Forward | None:
    """The forward pass of a gated feed-forward block with plain LoRA on its three layers."""
    names = ("gate_proj", "up_proj", "down_proj")
    layers: list[Any] = [getattr(module, name, None) for name in names]
    act = getattr(module, "act_fn", None)
    if act is None or not all(_is_plain(layer) and not _drops(layer) for layer in layers):
        return None
    kind = next((name for name, (known, _) in _ACTIVATIONS.items() if _equals(act, known)), None)
    if kind is None or not _multiplies(module):
        return None
    bases = [layer.base_layer for layer in layers]

    def forward(x: Tensor) -> Tensor:
        (a, b, of_gate), (c, d, of_up), (e, f, of_last) = (_matrices(layer) for layer in layers)
        out: Tensor = _GatedLora.apply(  # type: ignore[no-untyped-call]
            as_multiplied(x), a, b, c, d, e, f, (of_gate, of_up, of_last), bases, kind
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
    """last(act(gate(x)) * up(x)) of three layers as in `_LoraLinear`.

    The squashed gate and its product with the other layer's output are made again, not kept.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, *layers: Any) -> Tensor:
        # A and B of the three layers, what scales each B, the frozen layers, the activation.
        *pairs, scales, bases, kind = layers
        act, _ = _ACTIVATIONS[kind]
        rows = x.flatten(0, -2)
        downs = [a.to(x.dtype) for a in pairs[::2]]
        ups = [(b * scale).to(x.dtype) for b, scale in zip(pairs[1::2], scales, strict=True)]
        gate, low_gate = _forward(rows, rows, downs[0], ups[0], bases[0])
        other, low_other = _forward(rows, rows, downs[1], ups[1], bases[1])
        inner = act(gate).mul_(other)
        out, low = _forward(inner, inner, downs[2], ups[2], bases[2])
        ctx.save_for_backward(rows, gate, other, low_gate, low_other, low, *downs, *ups)
        ctx.scales, ctx.bases, ctx.kind, ctx.shape = scales, bases, kind, x.shape
        return out.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        rows, gate, other, low_gate, low_other, low, *matrices = ctx.saved_tensors
        downs, ups = matrices[:3], matrices[3:]
        act, act_backward = _ACTIVATIONS[ctx.kind]

        def back(layer: int, slope: Tensor, seen: Tensor, low: Tensor) -> tuple[Tensor, ...]:
            slope_low, of_a, of_b = _of_adapter(slope, seen, low, ups[layer], ctx.scales[layer])
            of_seen = slope @ _weight(ctx.bases[layer], slope.dtype)
            return of_seen.addmm_(slope_low, downs[layer]), of_a, of_b

        slope = outer[0].flatten(0, -2)
        opened = act(gate)
        of_inner, *last = back(2, slope, opened * other, low)
        of_x, *second = back(1, opened.mul_(of_inner), rows, low_other)
        of_gate = act_backward(of_inner.mul_(other), gate)
        part, *first = back(0, of_gate, rows, low_gate)
        return of_x.add_(part).view(ctx.shape), *first, *second, *last, None, None, None


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
