"""Loss on held-out rows, language by language, and what to keep when it no longer falls."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save

from maple.finetune.disk import write_bytes
from maple.finetune.encoding import EncodedRow
from maple.finetune.order import packs
from maple.finetune.packing import PackedRows, pack

_STATE = "validation.json"
_WEIGHTS = "best.safetensors"

Weights = Mapping[str, torch.Tensor]


class HeldOut:
    """Rows that are not trained on, encoded and packed.

    Attributes:
        counts: rows by language.
    """

    def __init__(self, rows: Mapping[str, Sequence[EncodedRow]], most_tokens: int) -> None:
        """
        Args:
            rows: by language key, at least one each.
            most_tokens: of a pack.
        """
        self.counts = {language: len(own) for language, own in sorted(rows.items())}
        self._packs: dict[str, list[PackedRows]] = {}
        for language, own in sorted(rows.items()):
            lengths = [len(row.input_ids) for row in own]
            parts = packs(range(len(own)), lengths, most_tokens)
            self._packs[language] = [pack([own[row] for row in part]) for part in parts]

    @torch.no_grad()
    def losses(self, model: torch.nn.Module, device: torch.device) -> dict[str, float]:
        """Mean loss by language, in nats a labelled token.

        Every process computes all of them, so that all come to the same decision.

        Args:
            model: an `AnswerLoss`, wrapped or not; in eval mode meanwhile.
            device: where it lies.
        """
        was_training = model.training
        model.eval()
        found = {
            language: sum(model(rows.to(device), 1).item() for rows in own if rows.labelled_tokens)
            / sum(rows.labelled_tokens for rows in own)
            for language, own in self._packs.items()
        }
        model.train(was_training)
        return found


@dataclass(slots=True)
class _State:
    best_step: int = 0
    best_loss: float = float("inf")
    waited: int = 0


class EarlyStopping:
    """The weights with the lowest loss on held-out rows, and when to give up on lower ones.

    Attributes:
        best_step: optimiser steps after which the loss was lowest.
    """

    def __init__(
        self, patience: int, languages: Sequence[str], weights: Callable[[], Weights]
    ) -> None:
        """
        Args:
            patience: validations without a lower loss before training ends.
            languages: those whose mean loss counts.
            weights: a copy of the trained weights as they are now.
        """
        self._patience = patience
        self._languages = languages
        self._weights = weights
        self._state = _State()
        self._best: Weights = {}

    @property
    def best_step(self) -> int:
        return self._state.best_step

    @property
    def best(self) -> Weights:
        """Weights after `best_step`."""
        return self._best

    def is_over(self, step: int, losses: Mapping[str, float]) -> bool:
        """Take note of a validation; whether training should end."""
        loss = sum(losses[language] for language in self._languages) / len(self._languages)
        state = self._state
        if loss < state.best_loss:
            state.best_step, state.best_loss, state.waited = step, loss, 0
            self._best = self._weights()
            return False
        state.waited += 1
        return state.waited >= self._patience

    def save(self, folder: Path) -> None:
        """Write the state into a checkpoint."""
        write_bytes(folder / _WEIGHTS, save(dict(self._best)))
        write_bytes(folder / _STATE, json.dumps(asdict(self._state)).encode())

    def load(self, folder: Path) -> None:
        """Take up the state that a checkpoint holds."""
        self._best = load_file(folder / _WEIGHTS)
        self._state = _State(**json.loads((folder / _STATE).read_bytes()))
