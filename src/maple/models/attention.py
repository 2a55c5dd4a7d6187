"""What each token may attend to, from true positions, and the key/value store that goes with it.

Rows of different lengths share a batch, and a prefix computed once is followed by a gap, so a
token's place in the store (slot) says nothing about its place in the text (position). Masks are
therefore built here, from positions, and given to the model whole.

Shapes: B rows, Q new tokens, K slots in use.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import Cache, PreTrainedModel
from transformers.cache_utils import CacheLayerMixin

from maple.errors import ModelError
from maple.models.head import body, text_config

_NOWHERE = -1
"""Position of a slot that holds padding."""


@dataclass(frozen=True, slots=True)
class AttentionKinds:
    """How a family's layers attend, and how it takes its masks.

    Attributes:
        windows: per layer type the number of latest tokens seen, the token itself included;
            None for all.
        by_type: whether masks are given as a dict by layer type, or as one tensor.
    """

    windows: dict[str, int | None]
    by_type: bool

    def masks(self, query_positions: Tensor, key_positions: Tensor) -> Tensor | dict[str, Tensor]:
        """Masks in the form the model takes; True where attention is allowed.

        Args:
            query_positions: [B, Q].
            key_positions: [B, K].

        Returns:
            [B, 1, Q, K] bool, or a dict of such tensors by layer type.
        """
        distance = query_positions[:, :, None] - key_positions[:, None, :]
        seen = (distance >= 0) & (key_positions[:, None, :] != _NOWHERE)
        masks = {
            kind: (seen if window is None else seen & (distance < window))[:, None]
            for kind, window in self.windows.items()
        }
        return masks if self.by_type else next(iter(masks.values()))


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
        return AttentionKinds({"all": window}, by_type=False)
    kinds = set(config.layer_types)
    unknown = kinds - {"full_attention", "sliding_attention"}
    if unknown or getattr(config, "use_bidirectional_attention", False):
        raise ModelError(
            f"models of type {model.config.model_type!r} have layers that are not supported: "
            + ", ".join(sorted(unknown) or ["bidirectional attention"])
        )
    known = {"full_attention": None, "sliding_attention": window}
    return AttentionKinds({kind: known[kind] for kind in sorted(kinds)}, by_type=True)


class _SlotLayer(CacheLayerMixin):  # type: ignore[no-untyped-call]
    """Keys and values of one layer, [B, heads, slots, width], allocated once.

    Sliding layers keep every slot too: which of them a token sees is the mask's business.
    """

    is_sliding = False

    def __init__(self, rows: int, slots: int, prefix: _SlotLayer | None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._rows = rows
        self._slots = slots
        self._prefix = prefix
        self.used: int = prefix.used if prefix is not None else 0

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Allocate zeros (a mask cannot hide NaN) and copy the prefix into every row."""
        for name, states in (("keys", key_states), ("values", value_states)):
            store = states.new_zeros(self._rows, states.shape[1], self._slots, states.shape[3])
            if self._prefix is not None and self.used:
                store[:, :, : self.used] = getattr(self._prefix, name)[:, :, : self.used]
            setattr(self, name, store)
        self._prefix = None
        self.is_initialized = True

    def update(
        self, key_states: Tensor, value_states: Tensor, *_args: object, **_kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Write the new states behind those in use; all that are then in use."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        assert self.keys is not None  # noqa: S101 - for the type checker: set just above
        assert self.values is not None  # noqa: S101
        end = self.used + key_states.shape[2]
        self.keys[:, :, self.used : end] = key_states
        self.values[:, :, self.used : end] = value_states
        self.used = end
        return self.keys[:, :, :end], self.values[:, :, :end]

    def keep(self, rows: Tensor) -> None:
        """Drop all rows but these."""
        if self.keys is not None and self.values is not None:
            self.keys = self.keys[rows]
            self.values = self.values[rows]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """(slots seen, offset), as transformers asks; masks are ours, so it only checks sizes."""
        return self.used + query_length, 0

    def get_seq_length(self) -> int:
        """Slots in use."""
        return self.used

    def get_max_length(self) -> int:
        """Slots allocated."""
        return self._slots


class Store(Cache):
    """Keys and values of a batch, with the position of every slot.

    Attributes:
        positions: [B, slots] long; -1 where a slot is empty or holds padding.
        used: slots in use.
    """

    def __init__(
        self, model: PreTrainedModel, rows: int, slots: int, prefix: Store | None = None
    ) -> None:
        """Room for `slots` tokens a row, the tokens of `prefix` (one row) included."""
        inherited: Sequence[_SlotLayer | None]
        layers = int(text_config(model).num_hidden_layers)
        inherited = [None] * layers if prefix is None else prefix.slot_layers
        self.slot_layers: list[_SlotLayer] = [_SlotLayer(rows, slots, layer) for layer in inherited]
        super().__init__(layers=list(self.slot_layers))
        self.used: int = 0 if prefix is None else prefix.used
        self.positions = torch.full((rows, slots), _NOWHERE, device=model.device)
        if prefix is not None:
            self.positions[:, : self.used] = prefix.positions[:, : self.used]

    def take(self, positions: Tensor, *, real: Tensor) -> Tensor:
        """Note the positions of the next tokens; the positions of all slots then in use.

        Args:
            positions: [B, Q].
            real: [B, Q] bool; False for padding.

        Returns:
            [B, K].
        """
        end = self.used + positions.shape[1]
        self.positions[:, self.used : end] = positions.where(real, _NOWHERE)
        self.used = end
        return self.positions[:, :end]

    def keep(self, rows: Tensor) -> None:
        """Drop all rows but these: int64 [n]."""
        self.positions = self.positions[rows]
        for layer in self.slot_layers:
            layer.keep(rows)
