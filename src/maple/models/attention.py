"""What each token may attend to, from true positions, and the key/value store that goes with it.

Rows of different lengths share a batch, and sequences share their beginnings, so a token's place in
the store (slot) is not its place in the text (position). Masks are therefore built here and given
to the model whole. A token is seen by the slots from its own on until the end of its subtree
(`models.trie`); within a window as its position says.

A position is never larger than its slot: padding and other branches take slots and no positions.
Keys in front of all windows are therefore told by their slots, and neither copied into the rows of
a batch nor read.

Shapes: B rows, Q new tokens, K slots in use.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import Cache, PreTrainedConfig, PreTrainedModel
from transformers.cache_utils import CacheLayerMixin

from maple.errors import ModelError
from maple.models.head import body, text_config

NO_END = 2**62
"""End of the subtree of a token that all later ones see."""

NOBODY = 0
"""End of the subtree of padding: nobody sees it."""


@dataclass(frozen=True, slots=True)
class AttentionKinds:
    """How a family's layers attend, and how it takes its masks.

    Attributes:
        windows: per layer type the number of latest tokens seen, the token itself included;
            None for all.
        layers: the type of each layer, from the first to the last.
        by_type: whether masks are given as a dict by layer type, or as one tensor.
    """

    windows: dict[str, int | None]
    layers: tuple[str, ...]
    by_type: bool

    def masks(
        self, positions: Tensor, ends: Tensor, queries: int, lowest: int, dtype: torch.dtype
    ) -> Tensor | dict[str, Tensor]:
        """What to add to the attention scores, in the form the model takes: 0 or -inf.

        Args:
            positions: [B, K], of all slots in use.
            ends: [B, K], the slot behind each token's subtree.
            queries: Q, how many of the slots, the last ones, ask.
            lowest: the smallest of their positions.
            dtype: of the attention scores; each layer would convert a mask of another type.

        Returns:
            [B, 1, Q, K'], or a dict of such tensors by layer type; K' are the slots from
            `first_seen` on.
        """
        slots = torch.arange(positions.shape[1], device=positions.device)
        asking = slots[-queries:, None]
        masks = {}
        for kind, window in self.windows.items():
            first = first_seen(window, lowest)
            hidden = (slots[first:] > asking) | (ends[:, None, first:] <= asking)
            if window is not None:
                places = positions.int()  # half the memory of the largest tensor here
                distance = places[:, -queries:, None] - places[:, None, first:]
                hidden |= distance >= window
            mask = torch.zeros(hidden.shape, dtype=dtype, device=positions.device)
            masks[kind] = mask.masked_fill_(hidden, -torch.inf)[:, None]
        return masks if self.by_type else next(iter(masks.values()))


def first_seen(window: int | None, lowest: int) -> int:
    """The first slot that any query at position `lowest` or later sees."""
    return 0 if window is None else max(0, lowest - window + 1)


def attention_kinds(model: PreTrainedModel) -> AttentionKinds:
    """Read from the configuration how the layers attend.

    Raises:
        ModelError: a kind of layer whose mask is not known here.
    """
    config = text_config(model)
    window = getattr(config, "sliding_window", None)
    # Families with layer types take a dict of ready masks; the others one tensor for all layers.
    # Nothing but the code of `forward` says which.
    by_type = "attention_mask, dict)" in inspect.getsource(
        inspect.unwrap(type(body(model)).forward)
    )
    if not by_type:
        layers = ("all",) * int(config.num_hidden_layers)
        return AttentionKinds({"all": window}, layers, by_type=False)
    layers = tuple(config.layer_types)
    kinds = set(layers)
    unknown = kinds - {"full_attention", "sliding_attention"}
    if unknown or getattr(config, "use_bidirectional_attention", False):
        raise ModelError(
            f"models of type {model.config.model_type!r} have layers that are not supported: "
            + ", ".join(sorted(unknown) or ["bidirectional attention"])
        )
    known = {"full_attention": None, "sliding_attention": window}
    return AttentionKinds({kind: known[kind] for kind in sorted(kinds)}, layers, by_type=True)


def max_context(model: PreTrainedModel) -> int:
    """`context_of` a loaded model."""
    return context_of(text_config(model))


def context_of(config: PreTrainedConfig) -> int:
    """Tokens up to which a position means the same in every forward pass.

    LongRoPE turns all positions by other angles as soon as one lies beyond the length that the
    model was trained on first: a text would depend on what shares its batch, and its beginning on
    whether it ran before.

    Args:
        config: of the text decoder.
    """
    longest = int(config.max_position_embeddings)
    settings = getattr(config, "rope_parameters", None) or {}
    if settings.get("rope_type") == "longrope":
        first = settings.get("original_max_position_embeddings", longest)
        longest = min(longest, int(getattr(config, "original_max_position_embeddings", first)))
    return longest


class _SlotLayer(CacheLayerMixin):  # type: ignore[no-untyped-call]
    """Keys and values of one layer, [B, heads, slots, width], allocated once.

    Attributes:
        window: latest tokens that a query sees; None for all.
        first: the slot at which this layer's tensors begin; none before it is ever seen.
        seen: the first slot that the queries of the current pass see.
        used: slots in use, those before `first` included.
    """

    is_sliding = False

    def __init__(
        self, rows: int, slots: int, window: int | None, prefix: _SlotLayer | None
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._rows = rows
        self._slots = slots
        self._prefix = prefix
        self.window = window
        self.used: int = 0 if prefix is None else prefix.used
        self.first: int = first_seen(window, self.used)
        self.seen: int = self.first

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Allocate zeros (a mask cannot hide NaN) and copy the prefix into every row."""
        for name, states in (("keys", key_states), ("values", value_states)):
            shape = (self._rows, states.shape[1], self._slots - self.first, states.shape[3])
            store = states.new_zeros(shape)
            if self._prefix is not None and self.used:
                shared = getattr(self._prefix, name)[:, :, self.first : self.used]
                store[:, :, : self.used - self.first] = shared
            setattr(self, name, store)
        self._prefix = None
        self.is_initialized = True

    def update(
        self, key_states: Tensor, value_states: Tensor, *_args: object, **_kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Write the new states behind those in use; all that the queries of this pass see."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        assert self.keys is not None  # noqa: S101 - for the type checker: set just above
        assert self.values is not None  # noqa: S101
        start = self.used - self.first
        end = start + key_states.shape[2]
        self.keys[:, :, start:end] = key_states
        self.values[:, :, start:end] = value_states
        self.used += key_states.shape[2]
        visible = slice(self.seen - self.first, end)
        return self.keys[:, :, visible], self.values[:, :, visible]

    def keep(self, rows: Tensor) -> None:
        """Drop all rows but these."""
        if self.keys is not None and self.values is not None:
            self.keys = self.keys[rows]
            self.values = self.values[rows]

    def move_from(self, branches: Sequence[tuple[_SlotLayer, int, Tensor]], used: int) -> None:
        """Take over single sequences of other batches: (layer, row, slots behind the prefix)."""
        before = self.used - self.first
        for name in ("keys", "values"):
            row: Tensor = getattr(branches[0][0], name)[0]
            store = row.new_zeros(self._rows, len(row), self._slots - self.first, row.shape[2])
            for number, (layer, source, slots) in enumerate(branches):
                row = getattr(layer, name)[source]
                store[number, :, :before] = row[:, :before]
                store[number, :, before : before + len(slots)] = row[:, slots - self.first]
            setattr(self, name, store)
        self.used = used
        self._prefix = None
        self.is_initialized = True

    def clear(self) -> None:
        """Give the memory back."""
        self.keys = self.values = None

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """(slots seen, offset), as transformers asks; masks are ours, so it only checks sizes."""
        return self.used + query_length, 0

    def get_seq_length(self) -> int:
        """Slots in use."""
        return self.used

    def get_max_length(self) -> int:
        """Slots allocated."""
        return self._slots


class KeysValues(Cache):
    """Keys and values of a batch, with the position of every slot.

    Attributes:
        positions: [B, slots] int64.
        ends: [B, slots] int64, the slot behind each token's subtree; `NOBODY` where a slot is empty
            or holds padding.
        used: slots in use.
    """

    def __init__(
        self,
        kinds: AttentionKinds,
        device: torch.device,
        rows: int,
        slots: int,
        prefix: KeysValues | None = None,
    ) -> None:
        """Room for `slots` tokens a row, the tokens of `prefix` (one row) included."""
        inherited: Sequence[_SlotLayer | None]
        inherited = [None] * len(kinds.layers) if prefix is None else prefix.slot_layers
        self.kinds = kinds
        self.prefix = prefix
        self.slot_layers: list[_SlotLayer] = [
            _SlotLayer(rows, slots, kinds.windows[kind], layer)
            for kind, layer in zip(kinds.layers, inherited, strict=True)
        ]
        super().__init__(layers=list(self.slot_layers))
        self.used: int = 0 if prefix is None else prefix.used
        self.positions = torch.zeros((rows, slots), dtype=torch.int64, device=device)
        self.ends = torch.full_like(self.positions, NOBODY)
        if prefix is not None:
            self.positions[:, : self.used] = prefix.positions[:, : self.used]
            self.ends[:, : self.used] = prefix.ends[:, : self.used]

    @classmethod
    def gathered(
        cls, branches: Sequence[tuple[KeysValues, int, Sequence[int]]], room: int
    ) -> KeysValues:
        """Single sequences of several batches behind one prefix, each in a row of its own.

        The batches are emptied, layer by layer, so that no more than a layer exists twice.

        Args:
            branches: (batch, row, slots of the sequence's tokens behind the prefix).
            room: slots to keep free in each row.
        """
        one = branches[0][0]
        assert one.prefix is not None  # noqa: S101 - for the type checker: batches have one
        before, device = one.prefix.used, one.positions.device
        used = before + max(len(slots) for _, _, slots in branches)
        whole = cls(one.kinds, device, len(branches), used + room, one.prefix)
        places = [torch.tensor(slots, device=device) for _, _, slots in branches]
        sources = list({id(store): store for store, _, _ in branches}.values())
        for number, layer in enumerate(whole.slot_layers):
            taken = [
                (store.slot_layers[number], row, slots)
                for (store, row, _), slots in zip(branches, places, strict=True)
            ]
            layer.move_from(taken, used)
            for store in sources:
                store.slot_layers[number].clear()
        whole.used = used
        for row, slots in enumerate(places):
            # Without padding and other branches a token's position is its slot.
            own = slice(before, before + len(slots))
            whole.positions[row, own] = torch.arange(before, own.stop, device=device)
            whole.ends[row, own] = NO_END
        return whole

    def take(
        self, positions: Tensor, ends: Tensor, lowest: int, dtype: torch.dtype
    ) -> Tensor | dict[str, Tensor]:
        """Note the next tokens; the masks of their attention.

        Args:
            positions: [B, Q].
            ends: [B, Q], the slot behind each one's subtree.
            lowest: the smallest of the positions.
            dtype: of the attention scores.

        Returns:
            As `AttentionKinds.masks`.
        """
        new = slice(self.used, self.used + positions.shape[1])
        self.positions[:, new] = positions
        self.ends[:, new] = ends
        self.used = new.stop
        for layer in self.slot_layers:
            layer.seen = first_seen(layer.window, lowest)
        known = slice(0, self.used)
        return self.kinds.masks(
            self.positions[:, known], self.ends[:, known], positions.shape[1], lowest, dtype
        )

    def keep(self, rows: Tensor) -> None:
        """Drop all rows but these: int64 [n]."""
        self.positions = self.positions[rows]
        self.ends = self.ends[rows]
        for layer in self.slot_layers:
            layer.keep(rows)
