"""Generation in batches, greedy or sampled, with the stop rules of the tasks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from maple.errors import ModelError
from maple.models.attention import Store
from maple.models.batching import Budget, batches, waves
from maple.models.head import best_tokens, drawn_tokens
from maple.models.runner import Runner
from maple.models.trie import lay_out, pack
from maple.provenance import derive_seed
from maple.records import GenerateRequest, StopReason

_CONTEXT = 4
"""Prompt tokens decoded in front of new ones, so that a leading space survives."""


_LIVE_SHARE = 0.75
"""Share of unfinished rows at which a batch is compacted: the copy then costs as much as the
finished rows would in six more steps."""


@dataclass(slots=True)
class Completion:
    """One answer while it grows."""

    prompt: tuple[int, ...]
    request: GenerateRequest
    ids: list[int] = field(default_factory=list)
    text: str = ""
    reason: StopReason | None = None


def check_request(request: GenerateRequest) -> None:
    """Refuse what no text can come from.

    Raises:
        ModelError: no token allowed, an empty stop string, or a sampling that draws from nothing.
    """
    how = request.sampling
    if request.max_new_tokens < 1 or "" in request.stop:
        raise ModelError(
            f"nothing can be generated under {request.stop=} and {request.max_new_tokens=}"
        )
    if how is not None and not (0 < how.temperature < math.inf and 0 < how.top_p <= 1):
        raise ModelError(
            f"nothing can be drawn with temperature {how.temperature} and top_p {how.top_p}",
            "expected a temperature above 0 and a top_p in (0, 1]; without sampling for greedy",
        )


def end_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Every token that ends a text: of the tokenizer and of the generation settings."""
    settings = getattr(model.generation_config, "eos_token_id", None)
    listed = settings if isinstance(settings, list) else [settings]
    return frozenset(int(token) for token in [*listed, tokenizer.eos_token_id] if token is not None)


class Generator:
    """Continues prompts."""

    def __init__(
        self, runner: Runner, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
    ) -> None:
        self._runner = runner
        self._model = model
        self._tokenizer = tokenizer
        self._ends = end_tokens(model, tokenizer)

    def complete(self, completions: Sequence[Completion], prefix: Store, limit: Budget) -> None:
        """Fill in `ids`, `text` and `reason` of each completion.

        Args:
            completions: their prompts all start with the tokens of `prefix`, and go beyond it.
        """
        before = prefix.used
        room = max(completion.request.max_new_tokens for completion in completions) - 1
        asked: dict[tuple[int, ...], list[Completion]] = {}
        for completion in completions:
            asked.setdefault(completion.prompt[before:], []).append(completion)
        prompts = list(asked)
        rows = pack(lay_out(prompts))
        plan = batches([len(row.ids) for row in rows], before, 0, limit)
        growing = [
            [len(path) for number, path in row.paths.items() for _ in asked[prompts[number]]]
            for row in rows
        ]
        for wave in waves(plan, growing, before, room, limit):
            live, branches, hidden = [], [], []
            for batch in wave:
                chosen = [rows[index] for index in batch]
                store, states = self._runner.rows(prefix, chosen)
                for place, row in enumerate(chosen):
                    for number, path in row.paths.items():
                        for completion in asked[prompts[number]]:
                            live.append(completion)
                            branches.append((store, place, [before + index for index in path]))
                            hidden.append(states[place, path[-1]])
            self._grow(live, Store.gathered(branches, room), torch.stack(hidden))

    def _grow(self, live: list[Completion], store: Store, hidden: Tensor) -> None:
        """Add tokens until all are finished; hidden: [B, H] at the last token of each prompt."""
        while True:
            tokens = self._next(live, hidden)
            for completion, token in zip(live, tokens.tolist(), strict=True):
                if completion.reason is None:
                    self._extend(completion, token)
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

    def _extend(self, completion: Completion, token: int) -> None:
        """Add a token and see whether it ends the answer."""
        completion.ids.append(token)
        request = completion.request
        if token in self._ends:
            completion.reason = "eos"
            completion.text = self._text(completion, completion.ids[:-1])
            return
        full = len(completion.ids) == request.max_new_tokens
        if request.stop or full:
            completion.text = self._text(completion, completion.ids)
        found = [at for stop in request.stop if (at := completion.text.find(stop)) >= 0]
        if found:
            completion.reason = "stop"
            completion.text = completion.text[: min(found)]
        elif full:
            completion.reason = "length"

    def _text(self, completion: Completion, ids: Sequence[int]) -> str:
        """What `ids` add to the prompt's text, without special tokens.

        Decoded behind the prompt's last tokens, because some tokenizers drop the space in front
        of the first word. A character of which not all bytes are there yet is left out.
        """
        context = list(completion.prompt[-_CONTEXT:])
        before = self._decode(context)
        text = self._decode([*context, *ids])
        text = text[len(before) :] if text.startswith(before) else self._decode(ids)
        return text.rstrip("\ufffd")

    def _decode(self, ids: Sequence[int]) -> str:
        return str(
            self._tokenizer.decode(
                list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
            )
        )
