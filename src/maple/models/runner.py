"""Forward passes of the body: a shared prefix once, then batches of rows behind it.

Shapes: B rows, S tokens of the longest row of a batch, H hidden width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

from maple.models.attention import Store, attention_kinds
from maple.models.head import body

_PREFIX_BLOCK = 512
"""Prefix tokens of one forward pass. Bounds the mask of a long prefix, and what is computed in
vain: keys after a query, or before its window."""


class Runner:
    """Runs token ids through the body of a model with masks built from true positions."""

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model
        self._kinds = attention_kinds(model)
        self._body = body(model)

    def prefix(self, ids: Sequence[int]) -> Store:
        """Keys and values of a prefix: one row of len(ids) slots."""
        store = Store(self._kinds, self._model.device, rows=1, slots=len(ids))
        for start in range(0, len(ids), _PREFIX_BLOCK):
            block = ids[start : start + _PREFIX_BLOCK]
            positions = torch.arange(start, start + len(block))[None]
            self._forward(
                store, torch.tensor(block)[None], positions, torch.ones_like(positions).bool()
            )
        return store

    def rows(self, prefix: Store, rows: Sequence[Sequence[int]]) -> tuple[Store, Tensor]:
        """Run rows that all continue `prefix`.

        Args:
            rows: token ids after the prefix, at least one each.

        Returns:
            Their store, and hidden states [B, S, H]; padding is on the right.
        """
        before = prefix.used
        longest = max(map(len, rows))
        lengths = torch.tensor([len(row) for row in rows])[:, None]
        ids = torch.tensor([[*row, *[row[-1]] * (longest - len(row))] for row in rows])
        offsets = torch.arange(longest)[None]
        # Padding repeats the last token's position, so that no query is left without a key:
        # its output would be NaN, which no mask hides from the layers above.
        positions = before + torch.minimum(offsets, lengths - 1)
        store = Store(self._kinds, self._model.device, len(rows), before + longest, prefix)
        return store, self._forward(store, ids, positions, offsets < lengths)

    def step(self, store: Store, ids: Tensor, positions: Tensor) -> Tensor:
        """Run one more token of each row: ids and positions [B]; hidden states [B, H]."""
        real = torch.ones_like(positions, dtype=torch.bool)
        return self._forward(store, ids[:, None], positions[:, None], real[:, None])[:, 0]

    def _forward(self, store: Store, ids: Tensor, positions: Tensor, real: Tensor) -> Tensor:
        device = self._model.device
        lowest = int(positions.min())
        positions = positions.to(device)
        keys = store.take(positions, lowest, real=real.to(device))
        output = self._body(
            input_ids=ids.to(device),
            position_ids=positions,
            attention_mask=self._kinds.masks(positions, keys, lowest, self._model.dtype),
            past_key_values=store,
            use_cache=True,
        )
        hidden: Tensor = output.last_hidden_state
        return hidden
