"""How many operations a training must spend, counted from the shapes: what its rate is a share of.

A product of [N, K] by [K, M] is 2NKM operations. Counted are products alone: of the layers, of
attention over the tokens that a token sees, of the adapter, and of the vocabulary head for labelled
tokens. The forward pass is one product a weight; the backward pass one for the states in front of
it and, where the weight is trained, one for its gradient.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn
from transformers import PreTrainedModel

from maple.models.head import body, text_config

_CPU_SIDE, _GPU_SIDE = 1024, 4096
"""Of the matrices whose product is timed: large enough for the full rate, done in a moment."""

_TIMES = 3


@dataclass(frozen=True, slots=True)
class Operations:
    """Operations of forward and backward pass together.

    Attributes:
        per_token: products with weights.
        per_pair: attention, for each token and each one that it sees.
        per_label: products with the vocabulary head, for each token that is learned.
    """

    per_token: int
    per_pair: int
    per_label: int

    def of(self, lengths: Iterable[int], labelled_tokens: int) -> int:
        """Of rows of these lengths in tokens, with so many labelled tokens among them."""
        tokens = pairs = 0
        for length in lengths:
            tokens += length
            pairs += length * (length + 1) // 2
        return tokens * self.per_token + pairs * self.per_pair + labelled_tokens * self.per_label


def operations(model: PreTrainedModel) -> Operations:
    """Of a model with whatever is attached to it, as it is trained."""
    config = text_config(model)
    decoder = body(model)
    frozen = trained = 0
    embeddings = {id(m.weight) for m in decoder.modules() if isinstance(m, nn.Embedding)}
    for parameter in decoder.parameters():
        if parameter.ndim != 2 and not hasattr(parameter, "quant_state"):
            continue  # scales and biases
        if id(parameter) in embeddings:
            continue
        if parameter.requires_grad:
            trained += parameter.numel()
        else:
            frozen += _values(parameter)
    head = model.get_output_embeddings().weight  # type: ignore[no-untyped-call]
    heads = int(config.num_attention_heads)
    width = int(getattr(config, "head_dim", None) or config.hidden_size // heads)
    return Operations(
        per_token=2 * (2 * frozen + 3 * trained),
        # Two products, scores and values; twice as many backwards.
        per_pair=int(config.num_hidden_layers) * 3 * 2 * 2 * heads * width,
        per_label=2 * head.numel() * (3 if head.requires_grad else 2),
    )


def _values(parameter: nn.Parameter) -> int:
    """Weights that a parameter holds; 4-bit ones are stored two a byte."""
    state = getattr(parameter, "quant_state", None)
    return parameter.numel() if state is None else int(state.shape.numel())


@torch.no_grad()
def ceiling(dtype: torch.dtype, device: torch.device) -> float:
    """Operations a second of a large matrix product, the best of a few: what a rate compares to."""
    side = _CPU_SIDE if device.type == "cpu" else _GPU_SIDE
    left, right = torch.randn(2, side, side, device=device).to(dtype)
    best = 0.0
    for _ in range(_TIMES):
        started = time.perf_counter()
        # Reading a value waits for the device.
        (left @ right)[0, 0].item()
        best = max(best, 2 * side**3 / (time.perf_counter() - started))
    return best
