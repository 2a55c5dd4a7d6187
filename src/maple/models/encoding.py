"""Requests as token ids: one string, tokenised whole, then cut into prompt and answer."""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from maple.errors import ModelError
from maple.records import BaseModel, ChoiceRequest, GenerateRequest

_AT_ONCE = 256
"""Texts of one call of the tokenizer, which takes 300 bytes a token until it is done."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A text as the model sees it.

    Attributes:
        ids: all tokens, BOS included where the tokenizer adds one.
        start: index of the first token of the answer; len(ids) for a prompt without one.
        shared: how many tokens from the start lie wholly inside the request's prefix.
    """

    ids: tuple[int, ...]
    start: int
    shared: int


class Encodings:
    """Encoded texts of the latest requests, four bytes a token, so that none is tokenised twice."""

    def __init__(self, most_tokens: int) -> None:
        self._most = most_tokens
        self._size = 0
        self._kept: OrderedDict[tuple[object, ...], _Packed] = OrderedDict()

    def get(self, requests: tuple[object, ...]) -> list[Encoded] | None:
        """The texts of these requests; None where they are not kept (any more)."""
        found = self._kept.get(requests)
        if found is None:
            return None
        self._kept.move_to_end(requests)
        return found.unpack()

    def put(self, requests: tuple[object, ...], texts: Sequence[Encoded]) -> None:
        """Keep texts; the ones used longest ago go."""
        packed = _Packed.of(texts)
        self._kept[requests] = packed
        self._size += len(packed.ids)
        while self._size > self._most:
            _, oldest = self._kept.popitem(last=False)
            self._size -= len(oldest.ids)


@dataclass(frozen=True, slots=True)
class _Packed:
    """Texts, end to end."""

    ids: array[int]
    borders: tuple[tuple[int, int, int], ...]

    @classmethod
    def of(cls, texts: Sequence[Encoded]) -> _Packed:
        ids = array("i", (token for text in texts for token in text.ids))
        return cls(ids, tuple((len(text.ids), text.start, text.shared) for text in texts))

    def unpack(self) -> list[Encoded]:
        ids, at = self.ids.tolist(), 0
        texts = []
        for length, start, shared in self.borders:
            texts.append(Encoded(tuple(ids[at : at + length]), start, shared))
            at += length
        return texts


def load_tokenizer(base: BaseModel) -> PreTrainedTokenizerBase:
    """The base's own tokenizer, as published.

    Raises:
        ModelError: broken files, or none from which a fast tokenizer can be made.
    """
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            base.path, local_files_only=True
        )
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        raise ModelError(f"base model {base.name!r}: cannot be loaded: {error}") from error
    if not tokenizer.is_fast:
        raise ModelError(f"base model {base.name!r}: has no fast tokenizer (tokenizer.json)")
    return tokenizer


def bos_count(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> int:
    """BOS tokens at the start of `ids`."""
    return sum(1 for _ in takewhile(lambda token: token == tokenizer.bos_token_id, ids))


def expected_bos(tokenizer: PreTrainedTokenizerBase, model_type: str) -> int:
    """BOS tokens that a text must start with: 1 or 0.

    Raises:
        ModelError: the tokenizer adds none to a family that cannot do without (Gemma's accuracy
            falls to chance), or it also adds an end marker.
    """
    ids = tokenizer("a").input_ids
    found = bos_count(tokenizer, ids) if tokenizer.bos_token_id is not None else 0
    if model_type.startswith("gemma") and found != 1:
        raise ModelError(
            f"models of type {model_type!r} need one BOS token, their tokenizer adds {found}",
            "the tokenizer files are damaged; fetch them again",
        )
    if tokenizer.eos_token_id is not None and ids[-1] == tokenizer.eos_token_id:
        raise ModelError("the tokenizer ends every text with EOS, so no answer could follow")
    return found


def triples(
    requests: Sequence[ChoiceRequest | GenerateRequest],
) -> list[tuple[str, str, str | None]]:
    """(prefix, prompt, answer) of each text that is tokenised: every choice, or the prompt."""
    made: list[tuple[str, str, str | None]] = []
    for request in requests:
        answers = request.choices if isinstance(request, ChoiceRequest) else (None,)
        made += [(request.prefix, request.prompt, answer) for answer in answers]
    return made


def encode(
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[tuple[str, str, str | None]],
    bos: int,
) -> list[Encoded]:
    """Tokenise (prefix, prompt, answer) triples, each as one string.

    A token that straddles the border between prompt and answer belongs to the answer, so that
    every choice is scored on all of its characters. A text without an answer has None there.

    Args:
        bos: BOS tokens that the tokenizer puts before each text.

    Raises:
        ModelError: an answer without a token, or a missing or doubled BOS.
    """
    starts = range(0, len(texts), _AT_ONCE)
    return [
        text
        for start in starts
        for text in _encoded(tokenizer, texts[start : start + _AT_ONCE], bos)
    ]


def lengths(
    tokenizer: PreTrainedTokenizerBase,
    requests: Sequence[ChoiceRequest | GenerateRequest],
    bos: int,
) -> list[int]:
    """Tokens of the context that each request takes; see `protocols.LanguageModel.lengths`.

    Raises:
        ModelError: as `encode`.
    """
    texts = iter(encode(tokenizer, triples(requests), bos))
    found = []
    for request in requests:
        if isinstance(request, ChoiceRequest):
            found.append(max(len(next(texts).ids) for _ in request.choices))
        else:
            found.append(len(next(texts).ids) + request.max_new_tokens)
    return found


def _encoded(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[tuple[str, str, str | None]], bos: int
) -> list[Encoded]:
    batch = tokenizer(
        [prefix + prompt + (answer or "") for prefix, prompt, answer in texts],
        return_offsets_mapping=True,
        verbose=False,
    )
    encoded = []
    for (prefix, prompt, answer), ids, offsets in zip(
        texts, batch["input_ids"], batch["offset_mapping"], strict=True
    ):
        found = bos_count(tokenizer, ids) if tokenizer.bos_token_id is not None else 0
        # Where the tokenizer adds none, a chat template may begin with the token called BOS:
        # SmolLM2's marks the start of every turn.
        if found not in {bos, 1}:
            raise ModelError(
                f"a prompt starts with {found} BOS tokens, expected {bos}: "
                f"{(prefix + prompt)[:60]!r}",
                "remove the BOS marker from the prompt's text; the tokenizer adds it",
            )
        border = len(prefix) + len(prompt)
        start = _tokens_before(border, offsets)
        if start == 0:
            raise ModelError(
                f"the prompt {prompt[-60:]!r} has no token of its own to continue from: "
                + ("it is empty" if not prefix + prompt else "it is one with the answer's first")
            )
        if answer is not None and start == len(ids):
            raise ModelError(f"the choice {answer!r} after {prompt[-60:]!r} has no token to score")
        encoded.append(Encoded(tuple(ids), start, _tokens_before(len(prefix), offsets)))
    return encoded


def _tokens_before(border: int, offsets: Sequence[tuple[int, int]]) -> int:
    """Tokens from the start that end at or before a character of the text."""
    return sum(1 for _ in takewhile(lambda span: span[1] <= border, offsets))


def common_prefix(encoded: Sequence[Encoded]) -> tuple[int, ...]:
    """The tokens that all texts start with and that lie inside their prefix.

    At least one token of each prompt is left out: the first answer token is predicted from it.
    """
    first = encoded[0].ids
    length = min(min(text.shared, text.start - 1) for text in encoded)
    for text in encoded[1:]:
        if text.ids[:length] != first[:length]:
            pairs = zip(first[:length], text.ids, strict=False)
            length = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    return first[:length]


def check_length(prompt: int, answer: int, what: str, context: int) -> None:
    """Refuse what does not fit the context.

    Args:
        prompt, answer, context: in tokens.
        what: the answer, for the message: "the choice", "max_new_tokens".

    Raises:
        ModelError: prompt and answer together exceed the context.
    """
    if prompt + answer > context:
        raise ModelError(
            f"a prompt of {prompt} tokens and {answer} for {what} exceed the context of "
            f"{context} tokens",
            "use fewer exemplars or a shorter prompt",
        )
