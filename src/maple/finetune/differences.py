"""Adapters that start from a decomposition of each weight: PiSSA and OLoRA.

Both start from W = W' + s B0 A0 and train A and B; PEFT puts W' in the place of W. That rounds W'
in bfloat16, is not to be had on quantised layers, and ties the adapter to a base of its own. Here
the base stays what it is, and what is trained is how far A and B are from their starts, a and b:

    W' + s B A = W + s (B A - B0 A0) = W + s ((B0 + b) a + b A0) = W + s [B0 + b, b] [a; A0]

which is a plain LoRA adapter of twice the rank. It is exactly 0 at the start, has no difference of
large numbers in it, and is stored as it was trained. Gradients by a and b are those by A and B.
"""

from __future__ import annotations

from typing import Any

import torch
from bitsandbytes.functional import dequantize_4bit
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from torch.nn.utils import parametrize
from transformers import PreTrainedModel

from maple.errors import ModelError
from maple.finetune.settings import Settings

_ADAPTER = "default"


class _Inner(nn.Module):
    """[a; A0] of a [r, K]."""

    def __init__(self, start: Tensor) -> None:
        super().__init__()
        self.register_buffer("start", start.contiguous())

    def forward(self, difference: Tensor) -> Tensor:
        return torch.cat([difference, self.get_buffer("start")])

    def right_inverse(self, _weight: Tensor) -> Tensor:
        """What training starts from."""
        return torch.zeros_like(self.get_buffer("start"))


class _Outer(_Inner):
    """[B0 + b, b] of b [N, r]."""

    def forward(self, difference: Tensor) -> Tensor:
        return torch.cat([self.get_buffer("start") + difference, difference], dim=1)


@torch.no_grad()
def start(model: PreTrainedModel, settings: Settings) -> None:
    """Turn the fresh LoRA adapter of twice the rank on a model into a difference.

    Raises:
        ModelError: a layer is smaller than the rank.
    """
    for name, layer in _layers(model):
        inner, outer = layer.lora_A[_ADAPTER], layer.lora_B[_ADAPTER]
        r = int(layer.r[_ADAPTER]) // 2
        weight = dequantised(layer.get_base_layer())
        if r > min(weight.shape):
            raise ModelError(
                f"r: {settings.method.name} takes r = {r} directions from each layer, and {name} "
                f"has only {min(weight.shape)}",
                f"lower r to {min(weight.shape)}, or leave the layer out of target_modules",
            )
        first, second = _decomposed(weight, r, float(layer.scaling[_ADAPTER]), settings)
        parametrize.register_parametrization(inner, "weight", _Inner(second), unsafe=True)
        parametrize.register_parametrization(outer, "weight", _Outer(first), unsafe=True)


def finish(model: PreTrainedModel) -> None:
    """Make plain weights of the differences on a model, if there are any."""
    for _, layer in _layers(model):
        for matrices in (layer.lora_A, layer.lora_B):
            if parametrize.is_parametrized(matrices[_ADAPTER]):
                parametrize.remove_parametrizations(matrices[_ADAPTER], "weight")


def dequantised(layer: Any) -> Tensor:
    """The weight [N, K] that a linear layer stands for, float32; the layer stays as it is."""
    weight = layer.weight
    kind = type(layer).__name__
    if kind == "Linear4bit":
        values: Tensor = dequantize_4bit(weight.data, weight.quant_state)
        return values.float()
    if kind == "Linear8bitLt":
        # The first forward pass moves the scales.
        scales: Tensor = layer.state.SCB if weight.SCB is None else weight.SCB
        codes: Tensor = weight.data
        return codes.float() * (scales.float()[:, None] / 127)
    plain: Tensor = weight.detach()
    return plain.float()


def _layers(model: PreTrainedModel) -> list[tuple[str, LoraLayer]]:
    return [(name, layer) for name, layer in model.named_modules() if isinstance(layer, LoraLayer)]


def _decomposed(weight: Tensor, r: int, scale: float, settings: Settings) -> tuple[Tensor, Tensor]:
    """B0 [N, r] and A0 [r, K] of a weight [N, K].

    By singular values s B0 A0 is the best approximation of the weight; of Q R, B0 A0 is the part
    in the first r directions, as OLoRA's authors and PEFT have it, without the scale.
    """
    if settings.method.decomposition == "qr":
        directions, rest = torch.linalg.qr(weight)
        return directions[:, :r], rest[:r]
    rounds = str(settings.options.get("init_lora_weights", "")).partition("_niter_")[2]
    if rounds:
        left, values, right = torch.svd_lowrank(weight, r, niter=int(rounds))
        right = right.T
    else:
        left, values, right = torch.linalg.svd(weight, full_matrices=False)
    roots = (values[:r] / scale).sqrt()
    return left[:, :r] * roots, roots[:, None] * right[:r]
