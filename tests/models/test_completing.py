"""Where an answer ends and what its text is, on a tokenizer that falls back to bytes."""

from __future__ import annotations

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from maple.models.completing import Completion, Extender
from maple.records import GenerateRequest

WORDS = ["a", "b", "\u2581", "\u2581c"]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    names = ["<unk>", "<s>", "</s>", "<turn>"]
    names += [f"<0x{byte:02X}>" for byte in range(256)] + WORDS
    vocabulary = {name: number for number, name in enumerate(names)}
    raw = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>", byte_fallback=True))  # noqa: S106
    raw.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    raw.add_special_tokens([AddedToken(name, special=True) for name in names[1:4]])
    return PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="</s>")  # noqa: S106


def tokens(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    """A token a letter of `WORDS`, a special token, or the bytes of a character."""
    ids: list[int] = []
    for part in text.split("|"):
        known = tokenizer.get_vocab().get(part)
        ids += [known] if known is not None else [4 + byte for byte in part.encode()]
    return ids


def completed(
    tokenizer: PreTrainedTokenizerFast,
    prompt: str,
    ids: list[int],
    limit: int,
    stop: tuple[str, ...] = (),
) -> tuple[str, str | None]:
    """Text and reason after as many of the tokens as it takes."""
    completion = Completion(
        tuple(tokens(tokenizer, prompt)), GenerateRequest("", prompt, stop, limit)
    )
    extender = Extender(tokenizer, {2})
    for token in ids:
        extender.extend(completion, token)
        if completion.reason is not None:
            break
    return completion.text, completion.reason


CHARACTERS = "\ua66e\U000130b8\u07ca"
"""Characters of 3, 4 and 2 bytes."""


@pytest.mark.parametrize("prompt", ["a", "a|\u2581|\ua66e\ua66e", "\ua66e\ua66e\ua66e"])
@pytest.mark.parametrize("length", range(1, 10))
def test_whole_characters_survive(
    tokenizer: PreTrainedTokenizerFast, prompt: str, length: int
) -> None:
    ids = tokens(tokenizer, CHARACTERS)
    whole = CHARACTERS.encode()[:length].decode(errors="ignore")
    assert completed(tokenizer, prompt, ids, length) == (whole, "length")


def test_a_space_in_front_survives(tokenizer: PreTrainedTokenizerFast) -> None:
    ids = tokens(tokenizer, "\u2581c|b|</s>")
    assert completed(tokenizer, "a|\ua66e", ids, 8) == (" cb", "eos")


def test_a_broken_byte_in_the_middle_stays(tokenizer: PreTrainedTokenizerFast) -> None:
    ids = [*tokens(tokenizer, "b"), 4 + 0xE2, *tokens(tokenizer, "a|</s>")]
    assert completed(tokenizer, "a", ids, 8) == ("b\ufffda", "eos")


def test_special_tokens_stop(tokenizer: PreTrainedTokenizerFast) -> None:
    ids = tokens(tokenizer, "b|<turn>|a|a")
    assert completed(tokenizer, "a", ids, 4, ("<turn>",)) == ("b", "stop")
    assert completed(tokenizer, "a", ids, 4, ("x",)) == ("baa", "length")
    ids = tokens(tokenizer, "b|</s>")
    assert completed(tokenizer, "a", ids, 4, ("</s>",)) == ("b", "eos")
