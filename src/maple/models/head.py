"""From hidden states to logits and losses: one path for training and evaluation.

Shapes: B rows, T tokens, H hidden width, V vocabulary, N positions that count.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedConfig, PreTrainedModel

from maple.errors import ModelError

IGNORED = -100
"""Label of positions without a loss, as in transformers."""

_LOGIT_BYTES = 64 * 2**20
"""Largest block of float32 logits alive at once: 64 rows of Gemma's 262,144 words."""


def body(model: PreTrainedModel) -> nn.Module:
    """The decoder without its vocabulary head; adapters inside `model` are inside it as well."""
    decoder: nn.Module = model.get_decoder()  # type: ignore[no-untyped-call]
    return decoder


def text_config(model: PreTrainedModel) -> PreTrainedConfig:
    """The configuration of the text decoder, also of models that see images."""
    config: PreTrainedConfig = model.config.get_text_config(decoder=True)
    return config


def final_logits(model: PreTrainedModel, hidden: Tensor) -> Tensor:
    """Logits as the model itself gives them: head, then the family's scaling.

    Args:
        hidden: [..., H], the body's last hidden state.

    Returns:
        [..., V] float32.
    """
    head = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    logits: Tensor = head(hidden).float()
    config = text_config(model)
    scale = getattr(config, "logit_scale", None)  # Cohere multiplies
    if scale is not None:
        logits = logits * scale
    divisor = getattr(config, "logits_scaling", None)  # Granite divides
    if divisor is not None:
        logits = logits / divisor
    cap = getattr(config, "final_logit_softcapping", None)  # Gemma 2
    if cap is not None:
        logits = torch.tanh(logits / cap) * cap
    return logits


def block_rows(model: PreTrainedModel) -> int:
    """How many positions are projected to the vocabulary at once."""
    return max(1, _LOGIT_BYTES // (4 * int(text_config(model).vocab_size)))


@torch.no_grad()
def check_head(model: PreTrainedModel) -> None:
    """Make sure that `final_logits` is this model's own head.

    Raises:
        ModelError: the model's own forward pass gives other logits, so the family scales them
            in a way that is not known here and would be scored wrongly.
    """
    vocabulary = int(text_config(model).vocab_size)
    ids = torch.arange(10, 18, device=model.device).remainder(vocabulary)[None]
    ours = final_logits(model, body(model)(input_ids=ids).last_hidden_state)
    theirs = model(input_ids=ids).logits.float()
    # Both paths round alike except where a cap is computed in bfloat16 there and float32 here.
    tolerance = 1e-4 if model.dtype == torch.float32 else 2e-2
    if not torch.allclose(ours, theirs, rtol=tolerance, atol=tolerance * theirs.abs().max().item()):
        raise ModelError(
            f"models of type {model.config.model_type!r} scale their logits in a way that is not "
            f"known here (largest difference {(ours - theirs).abs().max().item():.3g})",
            "choose another base model, or report this family",
        )


def answer_loss(
    model: PreTrainedModel, hidden: Tensor, labels: Tensor, num_items: int | Tensor | None = None
) -> Tensor:
    """Cross-entropy of each label given the tokens before it, in nats, in float32.

    Only positions whose next token has a label go through the head, in blocks, so the full logits
    are never alive at once. Under a frozen head the gradient of the hidden states is computed with
    the loss, block by block; a trainable head computes its blocks again in the backward pass.

    Args:
        hidden: [B, T, H], the body's last hidden state.
        labels: [B, T], token ids; `IGNORED` where there is no loss. Position t is predicted
            from hidden state t - 1, the shift happens here.
        num_items: what the sum is divided by, for gradient accumulation over several batches
            (transformers' `num_items_in_batch`); None for the labels of this batch.

    Returns:
        The mean (or sum / num_items), a scalar; 0 where nothing is labelled.
    """
    targets = labels[:, 1:].reshape(-1)
    kept = (targets != IGNORED).nonzero().squeeze(1)
    targets = targets[kept]
    rows = hidden[:, :-1].reshape(-1, hidden.shape[-1])[kept]
    if _is_frozen(model):
        total: Tensor = _FrozenHeadLoss.apply(  # type: ignore[no-untyped-call]
            rows, targets, model
        )
    else:
        total = hidden.new_zeros((), dtype=torch.float32) + 0.0 * hidden[:0].sum()
        for block in _blocks(model, len(targets)):
            total = total + checkpoint(
                _block_loss, model, rows[block], targets[block], use_reentrant=False
            )
    return total / (max(1, len(targets)) if num_items is None else num_items)


class _FrozenHeadLoss(torch.autograd.Function):
    """Summed cross-entropy through a head without gradients of its own: [N, H], [N] -> scalar.

    What follows the loss only scales it, so the gradient is computed at once and kept in place of
    the logits: two products with the head's weights a block instead of three.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, targets: Tensor, model: PreTrainedModel) -> Tensor:
        total = rows.new_zeros((), dtype=torch.float32)
        gradient = torch.empty_like(rows)
        for block in _blocks(model, len(targets)):
            with torch.enable_grad():
                part = rows[block].detach().requires_grad_()
                loss = _block_loss(model, part, targets[block])
            (gradient[block],) = torch.autograd.grad(loss, part)
            total += loss.detach()
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        # In float32: a factor such as 1/183 rounded to bfloat16 would scale the whole step.
        return (gradient.float() * outer[0]).to(gradient.dtype), None, None


def _is_frozen(model: PreTrainedModel) -> bool:
    head = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    return not any(parameter.requires_grad for parameter in head.parameters())


def _blocks(model: PreTrainedModel, count: int) -> Iterator[slice]:
    step = block_rows(model)
    return (slice(start, start + step) for start in range(0, count, step))


def _block_loss(model: PreTrainedModel, rows: Tensor, targets: Tensor) -> Tensor:
    return functional.cross_entropy(final_logits(model, rows), targets, reduction="sum")
