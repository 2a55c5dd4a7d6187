"""Rows side by side in one sequence, each attending to itself alone.

Everything but attention treats tokens one by one, so it runs over all rows without padding. For
attention the rows are laid out below each other and back, which costs two copies, and the mask is
the causal one that every kernel knows. A row sees what it would see alone.

Shapes: N tokens of a pack, B rows, T tokens of the longest row and a few more.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor
from transformers import AttentionInterface, PreTrainedModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from maple.errors import ModelError
from maple.finetune.attention import attend, is_short
from maple.finetune.encoding import EncodedRow
from maple.models import products
from maple.models.attention import attention_kinds
from maple.models.head import IGNORED, body, check_finite, text_config

_TOLERANCE = 0.1
"""Of the largest state: far above the rounding of any precision, far below another row's words."""


_MULTIPLE = 32
"""T is a multiple of this: a softmax of 90 scores in bfloat16 takes 2.8 times as long as one of 96,
and there are few shapes of products."""

_HARMLESS = frozenset({"scaling", "is_causal", "position_ids", "use_cache", "cache_position"})
"""What attention is given, by transformers' names, that `attend` knows or that changes nothing;
with anything else the family's own kernel is asked."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the rows of a pack lie.

    Attributes:
        lengths: tokens of each row, B.
        places: [N] int64, each token's place in B rows of T.
        tokens: [B T] int64, the token at each place; behind a row its last one again.
        spare: [B T - N] int64, the places behind rows.
        masks: those that layers have asked for, by window and type: each backward pass would keep
            one of its own, 8 MB for 2,048 tokens in bfloat16.
    """

    lengths: tuple[int, ...]
    places: Tensor
    tokens: Tensor
    spare: Tensor
    masks: dict[tuple[int | None, torch.dtype], Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, lengths: Sequence[int]) -> Layout:
        """Rows of these lengths, one after the other."""
        width = -(-max(lengths) // _MULTIPLE) * _MULTIPLE
        ends = list(itertools.accumulate(lengths))
        own = torch.arange(width)
        within = own < torch.tensor(lengths)[:, None]
        starts = torch.tensor([0, *ends[:-1]])[:, None]
        lasts = torch.tensor(ends)[:, None] - 1
        return cls(
            lengths=tuple(lengths),
            places=within.flatten().nonzero().squeeze(1),
            tokens=torch.minimum(starts + own, lasts).flatten(),
            spare=within.logical_not().flatten().nonzero().squeeze(1),
        )

    def to(self, device: torch.device) -> Layout:
        """The same on another device, with no masks."""
        return Layout(
            self.lengths, self.places.to(device), self.tokens.to(device), self.spare.to(device)
        )

    @property
    def longest(self) -> int:
        """Tokens of the longest row."""
        return max(self.lengths)

    @property
    def width(self) -> int:
        """T."""
        return len(self.tokens) // len(self.lengths)

    def mask(self, window: int | None, like: Tensor) -> Tensor:
        """[1, 1, T, T] to add to the scores: 0 where a token is seen, -inf elsewhere.

        Args:
            window: latest tokens seen, the token itself included; None for all.
            like: of the mask's type and device.
        """
        key = window, like.dtype
        if key not in self.masks:
            self.masks[key] = _mask(self.width, window, like)
        return self.masks[key]

    def below(self, states: Tensor) -> Tensor:
        """[1, heads, N, width] to [B, heads, T, width]; what is behind a row counts for nothing."""
        flat = states[0].transpose(0, 1)
        if len(self.spare):
            flat = _Gathered.apply(  # type: ignore[no-untyped-call]
                flat, self.tokens, self.places, None
            )
        return flat.view(len(self.lengths), -1, *flat.shape[1:]).transpose(1, 2)

    def beside(self, states: Tensor) -> Tensor:
        """[B, T, heads, width] to [1, N, heads, width]."""
        flat = states.flatten(0, 1)
        if len(self.spare):
            flat = _Gathered.apply(  # type: ignore[no-untyped-call]
                flat, self.places, self.tokens, self.spare
            )
        return flat[None]


class _Gathered(torch.autograd.Function):
    """`states[there]`; the gradient is gathered as well, where autograd would add it up row by row.

    That is right where every state but those that nothing depends on is taken exactly once.
    """

    @staticmethod
    def forward(
        ctx: Any, states: Tensor, there: Tensor, back: Tensor, spare: Tensor | None
    ) -> Tensor:
        ctx.back, ctx.spare = back, spare
        return states.index_select(0, there)

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        slope = outer[0].index_select(0, ctx.back)
        if ctx.spare is not None:
            slope.index_fill_(0, ctx.spare, 0.0)
        return slope, None, None, None


@dataclass(frozen=True, slots=True)
class PackedRows:
    """Rows as one sequence.

    Attributes:
        input_ids: [1, N].
        position_ids: [1, N], from 0 in each row.
        labels: [1, N]; the first token of a row has none, so none is predicted across a border.
        layout: where each row lies.
    """

    input_ids: Tensor
    position_ids: Tensor
    labels: Tensor
    layout: Layout

    @property
    def labelled_tokens(self) -> int:
        """Tokens that are learned."""
        return int((self.labels != IGNORED).sum())

    def to(self, device: torch.device) -> PackedRows:
        """The same rows on another device."""
        return PackedRows(
            self.input_ids.to(device),
            self.position_ids.to(device),
            self.labels.to(device),
            self.layout.to(device),
        )


def pack(rows: Sequence[EncodedRow]) -> PackedRows:
    """Encoded rows as one sequence, in their order."""
    lengths = tuple(len(row.input_ids) for row in rows)
    positions = [torch.arange(length) for length in lengths]
    return PackedRows(
        input_ids=torch.tensor([[token for row in rows for token in row.input_ids]]),
        position_ids=torch.cat(positions)[None],
        labels=torch.tensor([[label for row in rows for label in row.labels]]),
        layout=Layout.of(lengths),
    )


@contextlib.contextmanager
def packed(model: PreTrainedModel) -> Iterator[None]:
    """Let a model attend by the `layout` that its forward pass is given, until the end.

    Raises:
        ModelError: rows of a pack influence each other in this model, a kind of layer is
            unknown, or (in a forward pass) a row goes beyond a window that cannot be had.
    """
    kinds = attention_kinds(model)
    windows = tuple(kinds.windows[kind] for kind in kinds.layers)
    config = text_config(model)
    plain = str(config._attn_implementation)  # noqa: SLF001 - transformers has no other name
    rows = _probes(model)
    alone = torch.cat([_states(model, input_ids=torch.tensor([row.input_ids])) for row in rows])
    name = f"maple_packed_{plain}"
    AttentionInterface.register(name, functools.partial(_attend, plain, windows))
    config._attn_implementation = name  # noqa: SLF001
    try:
        _check(model, rows, alone)
        yield
    finally:
        config._attn_implementation = plain  # noqa: SLF001


def _attend(
    plain: str,
    windows: Sequence[int | None],
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    layout: Layout,
    sliding_window: int | None = None,
    **settings: Any,
) -> tuple[Tensor, None]:
    """The attention function `plain` over the rows of a pack, as transformers calls it.

    Args:
        windows: of each layer, as the configuration has them.
        query, key, value: [1, heads, N, width].
        layout: of the pack.
        sliding_window: latest tokens seen, the token itself included; None for all.
    """
    if attention_mask is not None:
        # transformers makes none for this attention.
        raise ModelError(
            f"{type(module).__name__} attends by a mask of its own, which cannot be had row by row",
            "choose another base model, or report this family",
        )
    own: Any = module
    window = windows[own.layer_idx]
    if window is not None and sliding_window is None and layout.longest > window:
        # Its mask alone would have said so, and transformers makes none here.
        raise ModelError(
            f"{type(module).__name__} sees {window} tokens, a row has {layout.longest}, and this "
            "family hides the others in a way that is not known row by row",
            f"set max_tokens to {window} or less",
        )
    is_cut = sliding_window is not None and layout.longest > sliding_window
    with _as_is_fast([layout.below(part) for part in (query, key, value)]) as states:
        mask = functools.partial(layout.mask, sliding_window if is_cut else None, states[0])
        if _is_plain(plain, states[0], settings):
            attended = attend(states[0], states[1], states[2], mask(), settings["scaling"])
        else:
            # Without a mask the other kernels hide what comes later by themselves.
            given = mask() if plain == "eager" or is_cut else None
            kernel = _kernel(plain, module)
            attended, _ = kernel(module, *states, given, sliding_window=sliding_window, **settings)
    return layout.beside(attended.to(query.dtype)), None


def _is_plain(plain: str, query: Tensor, settings: dict[str, Any]) -> bool:
    """Whether `attend` does all that is asked: no caps, sinks, biases or dropout, short rows."""
    others = [value for name, value in settings.items() if name not in _HARMLESS]
    idle = all(not isinstance(value, Tensor) and value in (None, False, 0) for value in others)
    return plain == "sdpa" and query.device.type == "cpu" and is_short(*query.shape[:3]) and idle


def _kernel(plain: str, module: torch.nn.Module) -> Callable[..., tuple[Tensor, Tensor | None]]:
    if plain == "eager":
        found = sys.modules[type(module).__module__].eager_attention_forward
    else:
        found = ALL_ATTENTION_FUNCTIONS[plain]
    return cast(Callable[..., tuple[Tensor, Tensor | None]], found)


@contextlib.contextmanager
def _as_is_fast(states: list[Tensor]) -> Iterator[list[Tensor]]:
    """The states in float32 where bfloat16 goes through the plain loop.

    The backward pass of attention multiplies inside its kernel, where `models.products` does not
    reach: in bfloat16 it took a fifth of a step without AVX-512.
    """
    is_bfloat = states[0].dtype == torch.bfloat16 and states[0].device.type == "cpu"
    if not (is_bfloat and products.are_slow()):
        yield states
        return
    with torch.autocast("cpu", enabled=False):
        yield [part.float() for part in states]


def _mask(length: int, window: int | None, like: Tensor) -> Tensor:
    places = torch.arange(length, device=like.device)
    distance = places[:, None] - places
    hidden = distance < 0
    if window is not None:
        hidden |= distance >= window
    mask = like.new_zeros(length, length).masked_fill_(hidden, -torch.inf)
    return mask[None, None]


def _probes(model: PreTrainedModel) -> list[EncodedRow]:
    """Short rows of any tokens."""
    vocabulary = int(text_config(model).vocab_size)
    return [
        EncodedRow(tuple((7 * token + start) % vocabulary for token in range(length)), ())
        for start, length in ((3, 9), (5, 6), (4, 1))
    ]


@torch.no_grad()
def _states(model: PreTrainedModel, **inputs: Any) -> Tensor:
    """[T, width] float32, last states of one sequence."""
    given = {
        name: value.to(model.device) if isinstance(value, Tensor) else value
        for name, value in inputs.items()
    }
    # Adapters are float32 on a base that is not: training runs under autocast as well.
    is_rounded = model.dtype != torch.float32
    with torch.autocast(model.device.type, torch.bfloat16, enabled=is_rounded):
        found: Tensor = body(model)(**given, use_cache=False).last_hidden_state
    return found[0].float()


def _check(model: PreTrainedModel, rows: Sequence[EncodedRow], alone: Tensor) -> None:
    """Rows side by side give the states that each gives alone, by the model's own attention.

    Raises:
        ModelError: they do not.
    """
    batch = pack(rows).to(model.device)
    together = _states(
        model,
        input_ids=batch.input_ids,
        position_ids=batch.position_ids,
        layout=batch.layout,
    )
    check_finite(alone)
    difference = (together - alone).abs().max() / alone.abs().max()
    # Eight bits depend on what else is in the batch, by far more than rounding.
    if not difference < _TOLERANCE:
        raise ModelError(
            f"models of type {model.config.model_type!r} let rows of a batch influence each "
            f"other, or attend in a way that is not known here (by {difference.item():.2g} of the "
            "largest state)",
            "choose another base model, or report this family",
        )
