"""Forward passes of the body: a shared prefix once, then batches of rows behind it.

Shapes: B rows, S tokens of the longest row of a batch, H hidden width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from maple.errors import ModelError
from maple.models.attention import NO_END, KeysValues, attention_kinds
from maple.models.batching import padded
from maple.models.head import body, final_logits, text_config
from maple.models.trie import Row, lay_out

_BLOCK = 512
"""Tokens of a row in one forward pass. Bounds the masks of long rows, and what is computed in vain:
keys after a query, or before its window."""


class Runner:
    """Runs token ids through the body of a model with masks of our own.

    Attributes:
        kinds: how its layers attend.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model
        self.kinds = attention_kinds(model)
        self._body = body(model)

    def prefix(self, ids: Sequence[int]) -> KeysValues:
        """Keys and values of a prefix: one row of len(ids) slots."""
        store = KeysValues(self.kinds, self._model.device, rows=1, slots=len(ids))
        for start in range(0, len(ids), _BLOCK):
            block = torch.tensor(ids[start : start + _BLOCK])[None]
            positions = torch.arange(start, start + block.shape[1])[None]
            self._forward(store, block, positions, torch.full_like(positions, NO_END))
        return store

    def rows(self, prefix: KeysValues, rows: Sequence[Row]) -> tuple[KeysValues, Tensor]:
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
        store = KeysValues(self.kinds, self._model.device, len(rows), before + longest, prefix)
        tensors = [torch.tensor(values) for values in (ids, positions, ends)]
        width = padded(-(-longest // -(-longest // _BLOCK)))
        passes = zip(*(torch.split(tensor, width, dim=1) for tensor in tensors), strict=True)
        return store, torch.cat([self._forward(store, *part) for part in passes], dim=1)

    def step(self, store: KeysValues, ids: Tensor, positions: Tensor) -> Tensor:
        """Run one more token of each row: ids and positions [B]; hidden states [B, H]."""
        positions = positions[:, None]
        return self._forward(store, ids[:, None], positions, torch.full_like(positions, NO_END))[
            :, 0
        ]

    def _forward(self, store: KeysValues, ids: Tensor, positions: Tensor, ends: Tensor) -> Tensor:
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


@torch.inference_mode()
def check_rows(runner: Runner, model: PreTrainedModel) -> None:
    """Make sure that branches of a row behind a prefix are what plain forward passes give.

    Raises:
        ModelError: they are not, so the family uses positions or masks in a way that is not known
            here and would be scored wrongly.
    """
    vocabulary = int(text_config(model).vocab_size)
    ids = [(2 + 997 * number) % vocabulary for number in range(24)]
    prefix, sequences = ids[:4], [ids[4:20], [*ids[4:14], *ids[20:]]]
    (row,) = lay_out(sequences)
    _, hidden = runner.rows(runner.prefix(prefix), [row])
    found = torch.stack([hidden[0, row.paths[number][-1]] for number in range(2)])
    whole = (torch.tensor([[*prefix, *sequence]], device=model.device) for sequence in sequences)
    plain = [body(model)(input_ids=text).last_hidden_state[0, -1] for text in whole]
    ours, theirs = final_logits(model, found), final_logits(model, torch.stack(plain))
    apart = 1 - functional.cosine_similarity(_centred(ours), _centred(theirs)).min().item()
    # LLM.int8 chooses its outlier columns over all tokens of a pass: up to 0.03 on a small Gemma.
    # The two branches themselves are 0.1 to 0.9 apart there and on SmolLM2.
    if not apart <= (1e-4 if model.dtype == torch.float32 else 0.1):
        raise ModelError(
            f"models of type {model.config.model_type!r} use positions or masks in a way that is "
            f"not known here (cosine of the logits {1 - apart:.4f})",
            "choose another base model, or report this family",
        )


def _centred(logits: Tensor) -> Tensor:
    return logits - logits.mean(-1, keepdim=True)
