"""Generation in batches, greedy or sampled, with the stop rules of the tasks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

from maple.models.attention import KeysValues
from maple.models.batching import Budget, batches, waves
from maple.models.completing import Completion, Extender
from maple.models.head import best_tokens, drawn_tokens
from maple.models.runner import Runner
from maple.models.trie import lay_out, pack
from maple.provenance import derive_seed

_LIVE_SHARE = 0.75
"""Share of unfinished rows at which a batch is compacted: the copy then costs as much as the
finished rows would in six more steps."""


class Generator:
    """Continues prompts."""

    def __init__(self, runner: Runner, model: PreTrainedModel, extender: Extender) -> None:
        self._runner = runner
        self._model = model
        self._extender = extender

    def complete(
        self, completions: Sequence[Completion], prefix: KeysValues, limit: Budget
    ) -> None:
        """Fill in `ids`, `text` and `reason` of each completion.

        Args:
            completions: their prompts all start with the tokens of `prefix`, and go beyond it.
        """
        before = prefix.used
        room = max(completion.request.max_new_tokens for completion in completions) - 1
        asked = _by_prompt(completions, before)
        prompts = list(asked)
        tries = sorted(lay_out(prompts), key=lambda row: -max(map(len, row.paths.values())))
        # What shares a beginning stays together as long as memory allows.
        order = [item for row in tries for number in row.paths for item in asked[prompts[number]]]
        lengths = [len(completion.prompt) - before for completion in order]
        for wave in waves(lengths, before, room, limit):
            self._complete(order[wave], prefix, room, limit)

    def _complete(
        self, completions: Sequence[Completion], prefix: KeysValues, room: int, limit: Budget
    ) -> None:
        """The same for completions that are in memory together."""
        before = prefix.used
        asked = _by_prompt(completions, before)
        prompts = list(asked)
        rows = pack(lay_out(prompts))
        live, branches, hidden = [], [], []
        for batch in batches([len(row.ids) for row in rows], before, 0, limit):
            chosen = [rows[index] for index in batch]
            store, states = self._runner.rows(prefix, chosen)
            for place, row in enumerate(chosen):
                for number, path in row.paths.items():
                    for completion in asked[prompts[number]]:
                        live.append(completion)
                        branches.append((store, place, [before + index for index in path]))
                        hidden.append(states[place, path[-1]])
        self._grow(live, KeysValues.gathered(branches, room), torch.stack(hidden))

    def _grow(self, live: list[Completion], store: KeysValues, hidden: Tensor) -> None:
        """Add tokens until all are finished; hidden: [B, H] at the last token of each prompt."""
        while True:
            tokens = self._next(live, hidden)
            for completion, token in zip(live, tokens.tolist(), strict=True):
                if completion.reason is None:
                    self._extender.extend(completion, token)
            going = [index for index, item in enumerate(live) if item.reason is None]
            if not going:
                return
            # Compacting copies what is left; a few finished rows ride along until it pays.
            if len(going) <= _LIVE_SHARE * len(live):
                kept = torch.tensor(going, device=tokens.device)
                store.keep(kept)
                tokens = tokens[kept]
                live = [live[index] for index in going]
            places = [len(item.prompt) + len(item.ids) - 1 for item in live]
            hidden = self._runner.step(store, tokens, torch.tensor(places))

    def _next(self, live: Sequence[Completion], hidden: Tensor) -> Tensor:
        """The next token of each row: [B] int64."""
        tokens = best_tokens(self._model, hidden)
        sampled = [
            (row, item.request.sampling, len(item.ids))
            for row, item in enumerate(live)
            if item.request.sampling is not None and item.reason is None
        ]
        if sampled:
            rows = torch.tensor([row for row, _, _ in sampled], device=hidden.device)
            numbers = [
                (how.temperature, how.top_p, derive_seed(how.seed, "sampling", str(step)) / 2**31)
                for _, how, step in sampled
            ]
            settings = torch.tensor(numbers, dtype=torch.float64, device=hidden.device)
            tokens[rows] = drawn_tokens(self._model, hidden[rows], *settings.unbind(1))
        return tokens


def _by_prompt(
    completions: Sequence[Completion], before: int
) -> dict[tuple[int, ...], list[Completion]]:
    """Completions by the tokens of their prompt behind the prefix."""
    asked: dict[tuple[int, ...], list[Completion]] = {}
    for completion in completions:
        asked.setdefault(completion.prompt[before:], []).append(completion)
    return asked
