"""From hidden states to logits and losses: one path for training and evaluation.

Shapes: B rows, T tokens, H hidden width, V vocabulary, N positions that count.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedConfig, PreTrainedModel

from maple.errors import ModelError

IGNORED = -100
"""Label of positions without a loss, as in transformers."""

_BLOCK_ROWS = 256
_LEAST_WORDS = 2048
_BLOCK_LOGITS = _BLOCK_ROWS * _LEAST_WORDS
"""Logits of one block: 2 MiB in float32, which stay in the cache while they are worked on."""

_NEGLIGIBLE = 2.0**-16
"""Largest probability of a word that counts as the mean of such words."""

_MOST_WORDS = 0.5
"""Share of the words of a block beyond which picking them out costs more than it saves."""

_LOGIT_BYTES = 64 * 2**20
"""Largest block of float32 logits where the vocabulary is not cut: 64 rows of 262,144 words."""

_DRAWING = 12
"""How many times their memory drawing from logits takes: sorted, summed up, in float64."""

_FAR = 100.0
"""Logits this far apart still leave their difference 1e-5 nats exact in float32."""

_MOST = 0.999
"""Share of a model's logits whose size says how exact all of them can be."""


def body(model: PreTrainedModel) -> nn.Module:
    """The decoder without its vocabulary head; adapters inside `model` are inside it as well."""
    decoder: nn.Module = model.get_decoder()  # type: ignore[no-untyped-call]
    return decoder


def text_config(model: PreTrainedModel) -> PreTrainedConfig:
    """The configuration of the text decoder, also of models that see images."""
    config: PreTrainedConfig = model.config.get_text_config(decoder=True)
    return config


@dataclass(frozen=True, slots=True)
class Scaling:
    """What a family does to the products of its head.

    Attributes:
        factor: logits are products times this...
        cap: ...then squashed into (-cap, cap) by a tanh; None for no cap.
    """

    factor: float
    cap: float | None

    def logits(self, products: Tensor) -> Tensor:
        """Logits from products, both float32."""
        logits = products if self.factor == 1.0 else products * self.factor
        return logits if self.cap is None else torch.tanh(logits / self.cap) * self.cap

    def slope(self, logits: Tensor) -> Tensor | float:
        """Derivative of the logits by their products."""
        return self.factor if self.cap is None else self.factor * (1 - (logits / self.cap) ** 2)


def scaling(model: PreTrainedModel) -> Scaling:
    """Read from the configuration how the family scales its logits."""
    config = text_config(model)
    factor = 1.0
    multiplier = getattr(config, "logit_scale", None)  # Cohere
    if multiplier is not None:
        factor *= multiplier
    divisor = getattr(config, "logits_scaling", None)  # Granite
    if divisor is not None:
        factor /= divisor
    return Scaling(factor, getattr(config, "final_logit_softcapping", None))  # Gemma 2


def final_logits(model: PreTrainedModel, hidden: Tensor) -> Tensor:
    """Logits as the model itself gives them: head, then the family's scaling.

    Args:
        hidden: [..., H], the body's last hidden state.

    Returns:
        [..., V] float32.
    """
    head = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    return scaling(model).logits(head(hidden).float())


@dataclass(frozen=True, slots=True)
class _Head:
    """A head that can be taken apart: one matrix, an optional bias, a scaling."""

    weight: Tensor
    bias: Tensor | None
    scaling: Scaling

    @property
    def is_trained(self) -> bool:
        """Whether its weights or its bias take gradients."""
        return any(part is not None and part.requires_grad for part in (self.weight, self.bias))

    def blocks(self, rows: Tensor) -> Iterator[tuple[int, Tensor, Tensor]]:
        """(first word, weights [W, H], logits [R, W] float32) of each block of the vocabulary."""
        words = max(_LEAST_WORDS, _BLOCK_LOGITS // len(rows))
        for first in range(0, len(self.weight), words):
            block = self.words(slice(first, first + words))
            yield first, block.weight, block.logits(rows)

    def words(self, which: slice) -> _Head:
        """The head of some of the vocabulary."""
        return _Head(
            self.weight[which], None if self.bias is None else self.bias[which], self.scaling
        )

    def logits_of(self, rows: Tensor, words: Tensor) -> Tensor:
        """[R] float32, of each row [R, H] the logit of one word [R]."""
        products = (rows.float() * self.weight[words].float()).sum(-1)
        return self.scaling.logits(products if self.bias is None else products + self.bias[words])

    def logits(self, rows: Tensor) -> Tensor:
        """[R, V] float32 of rows [R, H]."""
        return self.scaling.logits(functional.linear(rows, self.weight, self.bias).float())


def _plain_head(model: PreTrainedModel) -> _Head | None:
    """The head taken apart; None where an adapter sits on it, or it is no plain linear layer."""
    head = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    if type(head) is not nn.Linear:
        return None
    return _Head(head.weight, head.bias, scaling(model))


def token_logprobs(
    model: PreTrainedModel, hidden: Tensor, at: Tensor, tokens: Tensor
) -> tuple[Tensor, Tensor]:
    """Log-probabilities of single tokens, without the matrix of all logits. No gradients.

    Args:
        hidden: [N, H], states of the positions that predict a wanted token.
        at: [M] int64, positions in `hidden`; each at least once.
        tokens: [M] int64, the wanted token of each.

    Returns:
        [M] float32, nats; and [M] bool, whether no other token is more probable.
    """
    head = _plain_head(model)
    picked = torch.empty(len(at), dtype=torch.float32, device=hidden.device)
    greedy = torch.empty(len(at), dtype=torch.bool, device=hidden.device)
    rows_at_once = _BLOCK_ROWS if head is not None else block_rows(model)
    for start in range(0, len(hidden), rows_at_once):
        rows = hidden[start : start + rows_at_once]
        wanted = ((at >= start) & (at < start + len(rows))).nonzero().squeeze(1)
        row, token = at[wanted] - start, tokens[wanted]
        if head is None:
            logits = final_logits(model, rows)
            highest, total, found = logits.amax(-1), logits.logsumexp(-1), logits[row, token]
        else:
            highest, total, found = _streamed(head, rows, row, token)
        picked[wanted] = found - total[row]
        greedy[wanted] = found >= highest[row]
    return picked, greedy


def best_tokens(model: PreTrainedModel, hidden: Tensor) -> Tensor:
    """The most probable next token at each position, the first one of equals.

    Args:
        hidden: [N, H].

    Returns:
        [N] int64.

    Raises:
        ModelError: a logit that decides is infinite or no number.
    """
    head = _plain_head(model)
    if head is None:
        best, tokens = final_logits(model, hidden).max(-1)
        check_finite(best)
        return tokens
    best = hidden.new_full((len(hidden),), -torch.inf, dtype=torch.float32)
    tokens = torch.zeros_like(best, dtype=torch.int64)
    for first, _, logits in head.blocks(hidden):
        highest, word = logits.max(-1)
        tokens = torch.where(highest > best, word + first, tokens)
        best = torch.maximum(best, highest)  # what is no number stays none, for the check below
    check_finite(best)
    return tokens


def drawn_tokens(
    model: PreTrainedModel, hidden: Tensor, temperatures: Tensor, top_ps: Tensor, draws: Tensor
) -> Tensor:
    """Next tokens by temperature and nucleus sampling (Holtzman et al. 2020).

    The tokens are laid side by side from the most probable one on, each as wide as it is probable,
    cut behind the first that reaches `top_ps`; the draw points at one of them.

    Args:
        hidden: [N, H].
        temperatures: [N] float64, above 0.
        top_ps: [N] float64, in (0, 1].
        draws: [N] float64, in [0, 1).

    Returns:
        [N] int64.

    Raises:
        ModelError: a logit that decides is infinite or no number.
    """
    tokens = torch.empty(len(hidden), dtype=torch.int64, device=hidden.device)
    for block in _blocks(len(hidden), max(1, block_rows(model) // _DRAWING)):
        logits = final_logits(model, hidden[block])
        check_finite(logits.amax(-1))
        scaled = logits.double() / temperatures[block, None]
        shares, words = scaled.softmax(-1).sort(dim=-1, descending=True, stable=True)
        reached = shares.cumsum(-1)
        # The first token always stays; of the others those with something left before them.
        left = reached - shares < top_ps[block, None]
        width = (shares * left).sum(-1)
        place = torch.searchsorted(reached, (draws[block] * width)[:, None], right=True)
        place = torch.minimum(place, left.sum(-1, keepdim=True) - 1)
        tokens[block] = words.gather(-1, place).squeeze(-1)
    return tokens


def check_finite(values: Tensor) -> None:
    """Refuse logits or log-probabilities that overflowed: any answer made of them would be noise.

    Raises:
        ModelError: a value is infinite or no number.
    """
    if not values.isfinite().all():
        raise ModelError(
            "the model's log-probabilities are not finite",
            "its activations overflow at this precision, or weights are broken; choose other bits",
        )


def _streamed(
    head: _Head, rows: Tensor, at: Tensor, tokens: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Of each row's logits the highest and the log of the summed exponentials, both [R]; and the
    logits (at, tokens) [M]."""
    highest = rows.new_full((len(rows),), -torch.inf, dtype=torch.float32)
    total = highest.clone()
    found = torch.empty(len(at), dtype=torch.float32, device=rows.device)
    for first, weight, logits in head.blocks(rows):
        found = _gathered(found, logits, at, tokens - first, len(weight))
        peak = logits.amax(-1)
        highest = torch.maximum(highest, peak)
        if bool((peak - logits[:, 0] <= _FAR).all()):
            # One pass over the block where logsumexp takes four.
            block = logits[:, 0] - logits.log_softmax(-1)[:, 0]
        else:
            # The difference of two large numbers would have no digits left.
            block = logits.logsumexp(-1)
        total = torch.logaddexp(total, block)
    # Rounding must not make a token more than certain.
    return highest, torch.maximum(total, highest), found


def _gathered(found: Tensor, logits: Tensor, at: Tensor, words: Tensor, count: int) -> Tensor:
    """`found` with the logits of the `words` that lie in a block of `count`."""
    inside = (words >= 0) & (words < count)
    return torch.where(inside, logits[at, words.clamp(0, count - 1)], found)


def block_rows(model: PreTrainedModel) -> int:
    """How many positions are projected to the whole vocabulary at once."""
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
    if theirs.isnan().any() or not theirs.isfinite().any():
        check_finite(theirs)
    # Both paths round alike except where a cap is computed in bfloat16 there and float32 here.
    tolerance = 1e-4 if model.dtype == torch.float32 else 2e-2
    # A bias that forbids a few words must not widen what is allowed for all others.
    scale = theirs[theirs.isfinite()].abs().quantile(_MOST).item()
    if not torch.allclose(ours, theirs, rtol=tolerance, atol=tolerance * scale):
        raise ModelError(
            f"models of type {model.config.model_type!r} scale their logits in a way that is not "
            f"known here (largest difference {(ours - theirs).abs().max().item():.3g})",
            "choose another base model, or report this family",
        )


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
    head = _plain_head(model)
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
        for block in _blocks(len(targets), block_rows(model)):
            total = total + checkpoint(
                _block_loss, model, rows[block], targets[block], use_reentrant=False
            )
    return total / (max(1, len(targets)) if num_items is None else num_items)


def _as_computed(head: _Head) -> _Head:
    """The head in the precision that autocast computes in, where it is on.

    The backward pass runs outside of it and must find the logits of the forward pass again.
    """
    kind = head.weight.device.type
    if not torch.is_autocast_enabled(kind):
        return head
    dtype = torch.get_autocast_dtype(kind)
    bias = None if head.bias is None else head.bias.to(dtype)
    return _Head(head.weight.to(dtype), bias, head.scaling)


class _FrozenHeadLoss(torch.autograd.Function):
    """Summed cross-entropy through a head without gradients of its own: [N, H], [N] -> scalar.

    What follows the loss only scales it, so the gradient is computed at once: the weighted mean of
    the head's rows under the softmax, minus the row of the label. The mean is built up over blocks
    of the vocabulary as in FlashAttention (Dao et al. 2022), relative to the sum so far, with no
    more logits than fit the cache.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, targets: Tensor, head: _Head) -> Tensor:
        loss = rows.new_zeros((), dtype=torch.float32)
        gradient = torch.empty_like(rows)
        rows = rows.to(head.weight.dtype)
        for block in _even_blocks(len(rows), _BLOCK_ROWS):
            losses, gradient[block] = _losses(head, rows[block], targets[block])
            loss += losses.sum()
        ctx.save_for_backward(gradient)
        return loss

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        # In float32: a factor such as 1/183 rounded to bfloat16 would scale the whole step.
        return (gradient.float() * outer[0]).to(gradient.dtype), None, None


def _losses(head: _Head, rows: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy of each row [R] and its gradient by the row [R, H], both float32."""
    every = torch.arange(len(rows), device=rows.device)
    found = head.logits_of(rows, targets)
    # What the logits are taken relative to: the log of their sum so far, which no later one
    # passes, so that a share is at least a word's probability. The sum will hold the label.
    reference, total = found, torch.zeros_like(found)
    mean = torch.zeros_like(rows, dtype=torch.float32)
    for first, weight, logits in head.blocks(rows):
        found = _gathered(found, logits, every, targets - first, len(weight))
        higher = torch.maximum(reference + total.log().clamp(min=0), logits.amax(-1))
        kept = (reference - higher).exp()
        shares = (logits - higher[:, None]).exp_()
        total = total * kept + shares.sum(-1)
        slope = head.scaling.slope(logits)
        weighed = shares if isinstance(slope, float) and slope == 1.0 else shares.mul_(slope)
        mean = mean.mul_(kept[:, None]).add_(_weighed_sum(weighed, weight))
        reference = higher
    label = head.weight[targets].float() * head.scaling.slope(found[:, None])
    return reference + total.log() - found, mean / total[:, None] - label


def _weighed_sum(shares: Tensor, weight: Tensor) -> Tensor:
    """[R, W] x [W, H] -> [R, H], where on a CPU in bfloat16 most words are counted as their mean.

    In bfloat16 each share is rounded by up to 2^-9 of itself. Words that have no more than
    `_NEGLIGIBLE` of any row's probability have so little together that putting their mean row in
    the place of each changes the gradient by a tenth of that rounding (docs/decisions/0019), and
    nine words in ten are such. On a GPU the product is cheaper than finding them.
    """
    if weight.dtype == torch.float32 or weight.device.type != "cpu":
        return shares.to(weight.dtype) @ weight
    words = (shares.amax(0) > _NEGLIGIBLE).nonzero().squeeze(1)
    if len(words) > _MOST_WORDS * len(weight):
        return shares.to(weight.dtype) @ weight
    counted = shares[:, words]
    rest = shares.sum(-1) - counted.sum(-1)
    weights = weight[words]
    others = (weight.sum(0, dtype=torch.float32) - weights.sum(0, dtype=torch.float32)) / (
        len(weight) - len(words)
    )
    return (counted.to(weight.dtype) @ weights).float().add_(rest[:, None] * others)


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
        head = _Head(weight, bias, scaling)
        totals = rows.new_empty(len(rows), dtype=torch.float32)
        loss = rows.new_zeros((), dtype=torch.float32)
        for start in range(0, len(rows), _BLOCK_ROWS):
            block = slice(start, start + _BLOCK_ROWS)
            part = rows[block].to(weight.dtype)
            every = torch.arange(len(part), device=rows.device)
            _, totals[block], found = _streamed(head, part, every, targets[block])
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
        for first in range(0, len(weight), _LEAST_WORDS):
            words = slice(first, first + _LEAST_WORDS)
            head = _Head(weight, bias, ctx.scaling).words(words)
            of_weight = torch.zeros_like(head.weight, dtype=torch.float32)
            of_bias = torch.zeros_like(of_weight[:, 0])
            for start in range(0, len(rows), _BLOCK_ROWS):
                block = slice(start, start + _BLOCK_ROWS)
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


def _errors(head: _Head, rows: Tensor, totals: Tensor, targets: Tensor) -> Tensor:
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


def _blocks(count: int, step: int) -> Iterator[slice]:
    return (slice(start, start + step) for start in range(0, count, step))


def _even_blocks(count: int, most: int) -> Iterator[slice]:
    """As few blocks as possible, of like size: a rest of a few rows reads all weights as well."""
    return _blocks(count, -(-count // -(-count // most))) if count else iter(())


def _block_loss(model: PreTrainedModel, rows: Tensor, targets: Tensor) -> Tensor:
    return functional.cross_entropy(final_logits(model, rows), targets, reduction="sum")
