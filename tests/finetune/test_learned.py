"""What is learned of rendered rows, token by token: exactly the answers and the end markers."""

from __future__ import annotations

from functools import cache
from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from maple.finetune.encoding import EncodedRow, encode
from maple.models.chat import ChatTemplate
from maple.models.head import IGNORED
from maple.prompts.training import PLAIN, render
from maple.records import InstructionRow, RenderedRow
from models import chats

_tokenizer = cache(chats.tokenizer)

_LETTERS = st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="<>")
_TEXTS = st.text(_LETTERS, max_size=12)
_WORDS = _TEXTS.filter(lambda text: bool(text.strip()))
_ROWS = st.builds(
    lambda asked, given, answer, earlier: InstructionRow(
        "1",
        "eng_Latn",
        asked,
        given,
        answer,
        tuple(turn for one in earlier for turn in zip(("user", "assistant"), one, strict=True)),
    ),
    _WORDS,
    _TEXTS,
    _WORDS,
    st.lists(st.tuples(_WORDS, _WORDS), max_size=3),
)


def _rendered(template: str, row: InstructionRow) -> tuple[RenderedRow, str]:
    """The row in a template, and the family whose tokenizer reads it."""
    if template == "plain":
        return render(PLAIN, row), "llama"
    return ChatTemplate(_tokenizer(template), "tiny").render(row), template


def _runs(tokenizer: PreTrainedTokenizerFast, row: EncodedRow) -> list[str]:
    """The text of each run of labelled tokens."""
    pairs = zip(row.input_ids, row.labels, strict=True)
    runs = groupby(pairs, key=lambda pair: pair[1] != IGNORED)
    return [tokenizer.decode([token for token, _ in run]) for learned, run in runs if learned]


def _wanted(rendered: RenderedRow, eos: str) -> list[str]:
    found = [text for text, learned in rendered.segments if learned and text]
    return [*found[:-1], found[-1].removesuffix(eos) + eos]


@pytest.mark.parametrize("template", ["plain", "chatml", "gemma", "llama", "mistral"])
@given(row=_ROWS)
def test_learned_tokens_are_the_learned_segments(template: str, row: InstructionRow) -> None:
    rendered, family = _rendered(template, row)
    tokenizer = _tokenizer(family)
    (found,) = encode(tokenizer, [rendered], 10_000).rows
    eos, bos = tokenizer.eos_token_id, tokenizer.bos_token_id
    assert _runs(tokenizer, found) == _wanted(rendered, tokenizer.eos_token)
    assert found.input_ids[-1] == found.labels[-1] == eos != found.input_ids[-2]
    assert found.input_ids[0] == bos or family == "chatml"
    assert found.input_ids[1] != bos
    text = "".join(text for text, _ in rendered.segments)
    whole = tokenizer.decode(found.input_ids).removesuffix(tokenizer.eos_token)
    begun = "" if family == "chatml" else tokenizer.bos_token
    assert whole == begun + text.removesuffix(tokenizer.eos_token)


@pytest.mark.parametrize("template", ["plain", "chatml", "gemma", "llama", "mistral"])
@given(row=_ROWS)
def test_a_token_across_a_border_is_learned_whole(template: str, row: InstructionRow) -> None:
    rendered, family = _rendered(template, row)
    tokenizer = _tokenizer(family, merges=60)
    (found,) = encode(tokenizer, [rendered], 10_000).rows
    runs = _runs(tokenizer, found)
    for wanted, run in zip(_wanted(rendered, tokenizer.eos_token), runs, strict=True):
        before, _, after = run.partition(wanted)
        assert wanted in run
        assert not (before + after).strip()


def test_gemmas_turn_ends_in_its_own_marker_and_in_eos() -> None:
    rendered, family = _rendered("gemma", InstructionRow("1", "eng_Latn", "Go", "", "Gone"))
    (found,) = encode(_tokenizer(family), [rendered], 100).rows
    tail = _tokenizer(family).convert_ids_to_tokens(found.labels[-3:])
    assert tail == ["e", "<end_of_turn>", "</s>"]
