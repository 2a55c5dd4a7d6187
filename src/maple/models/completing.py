"""When a completion ends and what its text is: the rules that every engine with tokens follows."""

from __future__ import annotations

import math
from collections.abc import Set
from dataclasses import dataclass, field
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from maple.errors import ModelError
from maple.models.files import read_json
from maple.records import GenerateRequest, GenerateResponse, StopReason

_CONTEXT = 4
"""Prompt tokens decoded in front of new ones, so that a leading space survives."""


@dataclass(slots=True)
class Completion:
    """One answer while it grows."""

    prompt: tuple[int, ...]
    request: GenerateRequest
    ids: list[int] = field(default_factory=list)
    text: str = ""
    reason: StopReason | None = None

    def response(self) -> GenerateResponse:
        """The finished answer."""
        if self.reason is None:
            raise RuntimeError("generation ended before its completion did")
        return GenerateResponse(
            text=self.text,
            stop_reason=self.reason,
            n_tokens=len(self.ids),
            n_prompt_tokens=len(self.prompt),
            prompt_head=self.prompt[:8],
            prompt_tail=self.prompt[-8:],
        )


@dataclass(frozen=True, slots=True)
class Extender:
    """Adds tokens to completions.

    Attributes:
        tokenizer: of the base.
        ends: every token that ends a text.
    """

    tokenizer: PreTrainedTokenizerBase
    ends: Set[int]

    def extend(self, completion: Completion, token: int) -> None:
        """Add a token and see whether it ends the answer."""
        completion.ids.append(token)
        request = completion.request
        if token in self.ends:
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

    def _text(self, completion: Completion, ids: list[int]) -> str:
        """What `ids` add to the prompt's text, without special tokens.

        Decoded behind the prompt's last tokens, because some tokenizers drop the space in front
        of the first word. A character of which not all bytes are there yet is left out.
        """
        context = list(completion.prompt[-_CONTEXT:])
        before = self._decode(context)
        text = self._decode([*context, *ids])
        text = text[len(before) :] if text.startswith(before) else self._decode(ids)
        return text.rstrip("\ufffd")

    def _decode(self, ids: list[int]) -> str:
        return str(
            self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        )


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


def end_tokens(folder: Path, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Every token that ends a text: of the tokenizer and of the base's generation settings.

    Args:
        folder: the base in transformers' layout. Without generation settings of its own, those
            in config.json hold, as in transformers.
    """
    path = folder / "generation_config.json"
    settings = read_json(path if path.is_file() else folder / "config.json", str(folder))
    found = settings.get("eos_token_id")
    listed = [*(found if isinstance(found, list) else [found]), tokenizer.eos_token_id]
    return frozenset(int(token) for token in listed if token is not None)
