"""Forward passes of the body: a shared prefix once, then batches of rows behind it.

Shapes: B rows, S tokens of the longest row of a batch, H hidden width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

from maple.models.attention import NO_END, Store, attention_kinds
from maple.models.batching import padded
from maple.models.head import body
from maple.models.trie import Row

_PREFIX_BLOCK = 512
"""Prefix tokens of one forward pass. Bounds the mask of a long prefix, and what is computed in
vain: keys after a query, or before its window."""


class Runner:
    """Runs token ids through the body of a model with masks of our own.

    Attributes:
        kinds: how its layers attend.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model
        self.kinds = attention_kinds(model)
        self._body = body(model)

    def prefix(self, ids: Sequence[int]) -> Store:
        """Keys and values of a prefix: one row of len(ids) slots."""
        store = Store(self.kinds, self._model.device, rows=1, slots=len(ids))
        for start in range(0, len(ids), _PREFIX_BLOCK):
            block = torch.tensor(ids[start : start + _PREFIX_BLOCK])[None]
            positions = torch.arange(start, start + block.shape[1])[None]
            self._forward(store, block, positions, torch.full_like(positions, NO_END))
        return store

    def rows(self, prefix: Store, rows: Sequence[Row]) -> tuple[Store, Tensor]:
        """Run rows that all continue `prefix`.

        Args:
            rows: tokens after the prefix, at least one each.

        Returns:
            Their store, and hidden states [B, S, H] in the order of each row's tokens; padding is
            on the right.
        """
        before = prefix.used
        longest = padded(max(len(row.ids) for row in rows))
        ids, positions, ends = [], [], []
        for row in rows:
            padding = longest - len(row.ids)
            ids.append([*row.ids, *[row.ids[-1]] * padding])
            positions.append([before + depth for depth in (*row.depths, *[0] * padding)])
            # Padding comes last, where no token sees it, and sees itself: a query without a key
            # would give NaN, which no mask hides from the layers above.
            ends.append([*(before + end for end in row.ends), *[NO_END] * padding])
        store = Store(self.kinds, self._model.device, len(rows), before + longest, prefix)
        tensors = (torch.tensor(values) for values in (ids, positions, ends))
        return store, self._forward(store, *tensors)

    def step(self, store: Store, ids: Tensor, positions: Tensor) -> Tensor:
        """Run one more token of each row: ids and positions [B]; hidden states [B, H]."""
        positions = positions[:, None]
        return self._forward(store, ids[:, None], positions, torch.full_like(positions, NO_END))[
            :, 0
        ]

    def _forward(self, store: Store, ids: Tensor, positions: Tensor, ends: Tensor) -> Tensor:
        device = self._model.device
        lowest = int(positions.min())
        positions = positions.to(device)
        output = self._body(
            input_ids=ids.to(device),
            position_ids=positions,
            attention_mask=store.take(positions, ends.to(device), lowest, self._model.dtype),
            past_key_values=store,
            use_cache=True,
        )
        hidden: Tensor = output.last_hidden_state
        return hidden
