"""When a completion ends and what its text is: the rules that every engine with tokens follows."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from maple.errors import ModelError
from maple.models.files import read_json
from maple.records import GenerateRequest, GenerateResponse, StopReason

_CONTEXT = 4
"""Prompt tokens decoded in front of new ones, so that a leading space survives."""

_INCOMPLETE = "\ufffd"
"""What stands in a decoded text for bytes that are no character."""

_CHARACTER_BYTES = 4
"""Bytes of the longest character in UTF-8."""

_BYTE = re.compile("<0x[0-9A-F]{2}>")
"""A token that is one byte, of tokenizers that fall back to bytes."""


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


class Extender:
    """Adds tokens to completions.

    Args:
        tokenizer: of the base.
        ends: every token that ends a text.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, ends: Set[int]) -> None:
        self._tokenizer = tokenizer
        self._ends = ends
        added = tokenizer.added_tokens_decoder.items()
        self._special = {token.content: number for number, token in added if token.special}

    def extend(self, completion: Completion, token: int) -> None:
        """Add a token and see whether it ends the answer."""
        completion.ids.append(token)
        request = completion.request
        # Special tokens have no text in which a stop string could be found.
        stops = {self._special.get(stop) for stop in request.stop}
        if token in self._ends or token in stops:
            completion.reason = "eos" if token in self._ends else "stop"
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
        context = self._context(completion.prompt)
        text = self._added(context, ids)
        if not text.endswith(_INCOMPLETE):
            return text
        # Tokenizers that fall back to bytes decode all of a run of bytes or nothing of it.
        cuts = range(min(_CHARACTER_BYTES, len(ids) + 1))
        shorter = (self._added(context, ids[: len(ids) - cut]) for cut in cuts)
        return max((found.rstrip(_INCOMPLETE) for found in shorter), key=len)

    def _context(self, prompt: Sequence[int]) -> list[int]:
        """The prompt's last tokens, whole characters of them."""
        start = max(0, len(prompt) - _CONTEXT)
        while start and _BYTE.fullmatch(str(self._tokenizer.convert_ids_to_tokens(prompt[start]))):
            start -= 1
        return list(prompt[start:])

    def _added(self, context: list[int], ids: list[int]) -> str:
        before = self._decode(context)
        text = self._decode([*context, *ids])
        return text[len(before) :] if text.startswith(before) else self._decode(ids)

    def _decode(self, ids: list[int]) -> str:
        return str(
            self._tokenizer.decode(
                ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
            )
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
