"""From hidden states to logits: one path for training and evaluation.

Shapes: B rows, T tokens, H hidden width, V vocabulary, N positions that count.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedConfig, PreTrainedModel

from maple.errors import ModelError

IGNORED = -100
"""Label of positions without a loss, as in transformers."""

BLOCK_ROWS = 256
LEAST_WORDS = 2048
_BLOCK_LOGITS = BLOCK_ROWS * LEAST_WORDS
"""Logits of one block: 2 MiB in float32, which stay in the cache while they are worked on."""

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
class Head:
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
        words = max(LEAST_WORDS, _BLOCK_LOGITS // len(rows))
        for first in range(0, len(self.weight), words):
            block = self.words(slice(first, first + words))
            yield first, block.weight, block.logits(rows)

    def words(self, which: slice) -> Head:
        """The head of some of the vocabulary."""
        return Head(
            self.weight[which], None if self.bias is None else self.bias[which], self.scaling
        )

    def logits_of(self, rows: Tensor, words: Tensor) -> Tensor:
        """[R] float32, of each row [R, H] the logit of one word [R]."""
        products = (rows.float() * self.weight[words].float()).sum(-1)
        return self.scaling.logits(products if self.bias is None else products + self.bias[words])

    def logits(self, rows: Tensor) -> Tensor:
        """[R, V] float32 of rows [R, H]."""
        return self.scaling.logits(functional.linear(rows, self.weight, self.bias).float())


def plain_head(model: PreTrainedModel) -> Head | None:
    """The head taken apart; None where an adapter sits on it, or it is no plain linear layer."""
    head = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    if type(head) is not nn.Linear:
        return None
    return Head(head.weight, head.bias, scaling(model))


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
    head = plain_head(model)
    picked = torch.empty(len(at), dtype=torch.float32, device=hidden.device)
    greedy = torch.empty(len(at), dtype=torch.bool, device=hidden.device)
    rows_at_once = BLOCK_ROWS if head is not None else block_rows(model)
    for start in range(0, len(hidden), rows_at_once):
        rows = hidden[start : start + rows_at_once]
        wanted = ((at >= start) & (at < start + len(rows))).nonzero().squeeze(1)
        row, token = at[wanted] - start, tokens[wanted]
        if head is None:
            logits = final_logits(model, rows)
            highest, total, found = logits.amax(-1), logits.logsumexp(-1), logits[row, token]
        else:
            highest, total, found = streamed(head, rows, row, token)
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
    head = plain_head(model)
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
    for block in blocks(len(hidden), max(1, block_rows(model) // _DRAWING)):
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


def streamed(head: Head, rows: Tensor, at: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of each row's logits the highest and the log of the summed exponentials, both [R]; and the
    logits (at, tokens) [M]."""
    highest = rows.new_full((len(rows),), -torch.inf, dtype=torch.float32)
    total = highest.clone()
    found = torch.empty(len(at), dtype=torch.float32, device=rows.device)
    for first, weight, logits in head.blocks(rows):
        found = gathered(found, logits, at, tokens - first, len(weight))
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


def gathered(found: Tensor, logits: Tensor, at: Tensor, words: Tensor, count: int) -> Tensor:
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


def blocks(count: int, step: int) -> Iterator[slice]:
    return (slice(start, start + step) for start in range(0, count, step))
