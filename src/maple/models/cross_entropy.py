"""Cross-entropy through the vocabulary head, without the matrix of all logits.

Shapes: B rows, T tokens, H hidden width, V vocabulary, N positions that count, R rows and W words
of a block.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from maple.models.head import (
    BLOCK_ROWS,
    IGNORED,
    LEAST_WORDS,
    Head,
    Scaling,
    block_rows,
    blocks,
    final_logits,
    gathered,
    plain_head,
    streamed,
    token_logprobs,
)

_NEGLIGIBLE = 2.0**-16
"""Largest probability of a word that counts as the mean of such words."""

_MOST_WORDS = 0.5
"""Share of the words of a block beyond which picking them out costs more than it saves."""

_BLOCK_WORDS = 4096
"""Words of a block: 4 MiB of float32 logits for `BLOCK_ROWS` rows."""

_LEAST = torch.finfo(torch.float32).min

_PICKED_AT_ONCE = 256
"""Picked words are a multiple of this, for few shapes of products."""

_SAMPLED_WORDS = 2048
"""Rows of a head whose mean stands for that of all: their spread adds nothing that can be seen."""


def answer_loss(
    model: PreTrainedModel, hidden: Tensor, labels: Tensor, num_items: int | Tensor | None = None
) -> Tensor:
    """Cross-entropy of each label given the tokens before it, in nats, in float32.

    Only positions whose next token has a label go through the head, in blocks of rows and
    vocabulary, so the full logits are never alive. Under a frozen head the gradient of the hidden
    states is computed with the loss; a trained head computes its blocks again in the backward pass,
    and so does one with an adapter, in blocks of rows over the whole vocabulary.

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
    head = plain_head(model)
    total: Tensor
    if not torch.is_grad_enabled():
        every = torch.arange(len(rows), device=rows.device)
        total = -token_logprobs(model, rows, every, targets)[0].sum()
    elif head is not None and head.is_trained:
        head = _as_computed(head)
        total = _TrainedHeadLoss.apply(  # type: ignore[no-untyped-call]
            rows, head.weight, head.bias, targets, head.scaling
        )
    elif head is not None:
        total = _FrozenHeadLoss.apply(rows, targets, head)  # type: ignore[no-untyped-call]
    else:
        total = hidden.new_zeros((), dtype=torch.float32) + 0.0 * hidden[:0].sum()
        for block in blocks(len(targets), block_rows(model)):
            total = total + checkpoint(
                _block_loss, model, rows[block], targets[block], use_reentrant=False
            )
    return total / (max(1, len(targets)) if num_items is None else num_items)


def _as_computed(head: Head) -> Head:
    """The head in the precision that autocast computes in, where it is on.

    The backward pass runs outside of it and must find the logits of the forward pass again.
    """
    kind = head.weight.device.type
    if not torch.is_autocast_enabled(kind):
        return head
    dtype = torch.get_autocast_dtype(kind)
    bias = None if head.bias is None else head.bias.to(dtype)
    return Head(head.weight.to(dtype), bias, head.scaling)


class _FrozenHeadLoss(torch.autograd.Function):
    """Summed cross-entropy through a head without gradients of its own: [N, H], [N] -> scalar.

    What follows the loss only scales it, so the gradient is computed at once: the weighted mean of
    the head's rows under the softmax, minus the row of the label. The mean is built up over blocks
    of the vocabulary as in FlashAttention (Dao et al. 2022), relative to the sum so far, with no
    more logits than fit the cache.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, targets: Tensor, head: Head) -> Tensor:
        loss = rows.new_zeros((), dtype=torch.float32)
        gradient = torch.empty_like(rows)
        rows = rows.to(head.weight.dtype)
        may_pick = rows.device.type == "cpu" and rows.dtype != torch.float32
        mean_row = _mean_row(head.weight) if may_pick else None
        for block in _even_blocks(len(rows), BLOCK_ROWS):
            losses, gradient[block] = _losses(head, mean_row, rows[block], targets[block])
            loss += losses.sum()
        ctx.save_for_backward(gradient)
        return loss

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        # In float32: a factor such as 1/183 rounded to bfloat16 would scale the whole step.
        return (gradient.float() * outer[0]).to(gradient.dtype), None, None


def _losses(
    head: Head, mean_row: Tensor | None, rows: Tensor, targets: Tensor
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of each row [R] and its gradient by the row [R, H], both float32.

    Args:
        mean_row: [H], about the mean of the head's rows, for words that may be left out; None
            to leave out none.
    """
    every = torch.arange(len(rows), device=rows.device)
    found = head.logits_of(rows, targets)
    total = torch.full_like(found, -torch.inf)
    mean = torch.zeros_like(rows, dtype=torch.float32)
    left = torch.zeros_like(found)
    # Blocks of one size: oneDNN compiles a product for each shape that it has not seen.
    for first in range(0, len(head.weight), _BLOCK_WORDS):
        block = head.words(slice(first, first + _BLOCK_WORDS))
        logits = block.logits(rows)
        found = gathered(found, logits, every, targets - first, len(block.weight))
        if head.bias is not None:
            # It may rule out every word of a block; softmax makes no numbers of that.
            logits.clamp_(min=_LEAST)
        shares = logits.softmax(-1)
        # The highest logit and its share tell what the block's exponentials add up to.
        own = logits.amax(-1) - shares.amax(-1).log()
        grown = torch.logaddexp(total, own)
        share, kept = (own - grown).exp(), (total - grown).exp()
        total = grown
        shares.mul_(share[:, None])
        slope = head.scaling.slope(logits)
        weighed = shares if isinstance(slope, float) and slope == 1.0 else shares * slope
        part, rest = _weighed_sum(weighed, shares, block.weight, picks=mean_row is not None)
        mean = mean.mul_(kept[:, None]).add_(part)
        left = left * kept + rest
    if mean_row is not None:
        mean.addcmul_(left[:, None], mean_row)
    label = head.weight[targets].float() * head.scaling.slope(found[:, None])
    return total - found, mean.sub_(label)


def _weighed_sum(
    weighed: Tensor, shares: Tensor, weight: Tensor, *, picks: bool
) -> tuple[Tensor, Tensor | float]:
    """Weighed [R, W] x weight [W, H] -> [R, H], and what of the weights [R] is left out.

    With `picks` words that have no more than `_NEGLIGIBLE` of any row's probability are left out,
    nine in ten, to be counted as a mean row of the head. In bfloat16 each share is rounded by up to
    2^-9 of itself; this changes the gradient by no more than that does (docs/decisions/0019).

    Args:
        weighed: shares times the derivative of the logits.
        shares: [R, W] float32, probabilities.
    """
    if picks:
        highest = shares.amax(0)
        count = int((highest > _NEGLIGIBLE).sum())
        count = max(1, -(-count // _PICKED_AT_ONCE)) * _PICKED_AT_ONCE
        if count < _MOST_WORDS * len(weight):
            words = highest.topk(count, sorted=False).indices
            picked = weighed.index_select(1, words)
            part = picked.to(weight.dtype) @ weight.index_select(0, words)
            return part, weighed.sum(-1) - picked.sum(-1)
    return weighed.to(weight.dtype) @ weight, 0.0


def _mean_row(weight: Tensor) -> Tensor:
    """About the mean of a head's rows [V, H] -> [H] float32, from `_SAMPLED_WORDS` of them."""
    return weight[:: max(1, len(weight) // _SAMPLED_WORDS)].float().mean(0)


class _TrainedHeadLoss(torch.autograd.Function):
    """Summed cross-entropy through a head that is trained: rows [N, H], weight [V, H], bias [V].

    Its weights' gradient needs the finished softmax, so the logits are computed twice: for the sum
    of their exponentials, and block by block again in the backward pass.
    """

    @staticmethod
    def forward(
        ctx: Any,
        rows: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        scaling: Scaling,
    ) -> Tensor:
        head = Head(weight, bias, scaling)
        totals = rows.new_empty(len(rows), dtype=torch.float32)
        loss = rows.new_zeros((), dtype=torch.float32)
        for start in range(0, len(rows), BLOCK_ROWS):
            block = slice(start, start + BLOCK_ROWS)
            part = rows[block].to(weight.dtype)
            every = torch.arange(len(part), device=rows.device)
            _, totals[block], found = streamed(head, part, every, targets[block])
            loss += (totals[block] - found).sum()
        ctx.save_for_backward(rows, weight, bias, targets, totals)
        ctx.scaling = scaling
        return loss

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        rows, weight, bias, targets, totals = ctx.saved_tensors
        rows_gradient = torch.zeros_like(rows, dtype=torch.float32)
        weight_gradient = torch.empty_like(weight)
        bias_gradient = None if bias is None else torch.empty_like(bias)
        for first in range(0, len(weight), LEAST_WORDS):
            words = slice(first, first + LEAST_WORDS)
            head = Head(weight, bias, ctx.scaling).words(words)
            of_weight = torch.zeros_like(head.weight, dtype=torch.float32)
            of_bias = torch.zeros_like(of_weight[:, 0])
            for start in range(0, len(rows), BLOCK_ROWS):
                block = slice(start, start + BLOCK_ROWS)
                part = rows[block].to(weight.dtype)
                errors = _errors(head, part, totals[block], targets[block] - first) * outer[0]
                of_bias += errors.sum(0)
                errors = errors.to(weight.dtype)
                of_weight += errors.T @ part
                rows_gradient[block] += errors @ head.weight
            weight_gradient[words] = of_weight
            if bias_gradient is not None:
                bias_gradient[words] = of_bias
        return rows_gradient.to(rows.dtype), weight_gradient, bias_gradient, None, None


def _errors(head: Head, rows: Tensor, totals: Tensor, targets: Tensor) -> Tensor:
    """Derivative of the cross-entropy by the products of a block of words: [R, W] float32.

    Args:
        totals: [R], log of the summed exponentials of each row's logits, over all words.
        targets: [R], the label's place in the block; none where it lies outside.
    """
    logits = head.logits(rows)
    errors = (logits - totals[:, None]).exp_()
    inside = ((targets >= 0) & (targets < len(head.weight))).nonzero().squeeze(1)
    errors[inside, targets[inside]] -= 1.0
    return errors * head.scaling.slope(logits)


def _even_blocks(count: int, most: int) -> Iterator[slice]:
    """As few blocks as possible, of like size: a rest of a few rows reads all weights as well."""
    return blocks(count, -(-count // -(-count // most))) if count else iter(())


def _block_loss(model: PreTrainedModel, rows: Tensor, targets: Tensor) -> Tensor:
    return functional.cross_entropy(final_logits(model, rows), targets, reduction="sum")
