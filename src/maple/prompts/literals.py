"""The words of the prompts, per language: `literals.toml` beside this module."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Literal

from maple.errors import DataError, NoWordError, nearest
from maple.languages import foreign_letters
from maple.languages import language as language_of

Word = Literal[
    "passage",
    "question",
    "answer",
    "letters",
    "cause",
    "effect",
    "claim",
    "verdict",
    "true",
    "unclear",
    "false",
    "summary",
    "summarise",
    "colon",
]

PROMPTS = ("native", "english")
"""Prompts by the language of their words: that of the items, or English. The default first."""


@dataclass(frozen=True, slots=True)
class Wording:
    """How the words of a prompt meet the texts of an item.

    Attributes:
        language: key of the language that the words are in.
        space: what stands between a label and the item's text: " ", or "" where the text's
            script puts no spaces between words.
        label_space: the same before words of the prompt itself: a letter, "true".
    """

    language: str
    space: str
    label_space: str

    def label(self, word: Word) -> str:
        """A word and the colon that its language writes after it.

        Raises:
            DataError: the language has no such word.
        """
        return self.word(word) + self.word("colon")

    def word(self, word: Word) -> str:
        """A word as it is.

        Raises:
            DataError: the language has no such word.
        """
        return literal(self.language, word)

    def letters(self, count: int) -> tuple[str, ...]:
        """What the first `count` choices of a list are called: "A", "B", ...

        Raises:
            DataError: the language has no letters, or too few.
        """
        letters = self.word("letters").split()
        if len(letters) < count:
            raise DataError(
                f"{self.language} has letters for {len(letters)} choices, an item has {count}"
            )
        return tuple(letters[:count])


def wording(prompt: str, language: str) -> Wording:
    """The wording of a prompt for items in a language.

    Args:
        prompt: a name from `PROMPTS`.
        language: key of the language of the items.

    Raises:
        DataError: no such prompt, or no such language.
    """
    if prompt not in PROMPTS:
        raise DataError(f"no prompt {prompt!r}", nearest(prompt, PROMPTS))
    words = language if prompt == "native" else "eng_Latn"
    return Wording(words, _space(language), _space(words))


def _space(language: str) -> str:
    return " " if language_of(language).spaced else ""


def literal(language: str, word: Word) -> str:
    """A word in a language.

    Raises:
        NoWordError: there is none, naming the word and the language.
    """
    value = _table().get(language, {}).get(word)
    if not isinstance(value, str):
        raise NoWordError(
            f"no prompt word for {word!r} in {language}",
            'ask in English instead (prompt = "english"), or add the word to literals.toml',
        )
    return value


def reviewed(language: str) -> bool:
    """Whether a native speaker has checked the words of a language; no if it has none."""
    return _table().get(language, {}).get("reviewed") is True


def problems(language: str) -> list[str]:
    """What is wrong with the words of a language: alike, padded, or in another script."""
    words = {name: text for name, text in _table().get(language, {}).items() if name != "reviewed"}
    found = []
    if len(set(words.values())) < len(words):
        found.append(f"{language}: two words of the prompts are alike")
    for name, text in words.items():
        # French puts a space before its colon.
        bare = text.lstrip() if name == "colon" and isinstance(text, str) else text
        if not isinstance(bare, str) or bare != bare.strip() or not bare:
            found.append(f"{language}: the word for {name!r} is empty or has space at an end")
        elif foreign := foreign_letters(bare, language_of(language).script):
            found.append(f"{language}: {foreign!r} in the word for {name!r} is of another script")
    return found


@cache
def _table() -> Mapping[str, Mapping[str, str | bool]]:
    text = resources.files("maple.prompts").joinpath("literals.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)
