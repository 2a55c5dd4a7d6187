"""How many tokens rows and items have: counted where texts and tokenizer are here, else estimated.

The estimate is in `lengths.toml`, with its rule and where its figures come from.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from statistics import fmean, median
from typing import Any

DEFAULT = "llama-2"
"""The tokenizer whose lengths stand for those of a tokenizer that is neither here nor measured."""

COUNTED = 100
"""Rows or items of a language that are counted; the others are taken to be as long."""

_BYTES = ("Ethi", "Laoo", "Mymr", "Telu")
"""Scripts that both measured tokenizers spell in bytes, which stand for scripts not measured."""

_TEMPLATE = 8
"""Tokens of a training template's own words and of the end marker, beside a row's texts."""

Counter = Callable[[Sequence[str]], list[int]]


@dataclass(frozen=True, slots=True)
class Length:
    """Mean tokens of a row, or of an item without its exemplars.

    Attributes:
        prompt: what stands before the answer.
        answer: of a row, or of an item that is written; of all choices together where they are
            read.
    """

    prompt: float
    answer: float


def of_row(source: str, language: str, tokenizer: str) -> Length:
    """The estimate for a row of a training source, by the name of its release."""
    rows = _facts()["source"]
    return _scaled(rows.get(source, rows["other"]), language, tokenizer)


def of_item(task: str, language: str, tokenizer: str) -> Length | None:
    """The estimate for an item of a task; None for tasks whose items nobody has measured."""
    found = _facts()["task"].get(task)
    return None if found is None else _scaled(found, language, tokenizer)


def counted(count: Counter, texts: Sequence[tuple[str, str]], template: bool = False) -> Length:
    """The mean length of texts.

    Args:
        texts: (prompt, answer), at least one.
        template: they are rows, which a template's words come to.
    """
    prompts, answers = (count(part) for part in zip(*texts, strict=True))
    return Length(fmean(prompts) + (_TEMPLATE if template else 0), fmean(answers))


def factor(tokenizer: str, language: str) -> float:
    """Tokens of a text relative to those of the same text in English.

    Args:
        tokenizer: a measured one; "" for one that is not.
        language: its key.
    """
    table: Mapping[str, float] = _facts()["tokens"][tokenizer or DEFAULT]
    released = language.partition("-")[0]  # what a derived language comes from
    if released in table:
        return table[released]
    alike = _of_scripts(table, (released.rpartition("_")[2],))
    return median(alike or _of_scripts(table, _BYTES))


def _scaled(english: Mapping[str, int], language: str, tokenizer: str) -> Length:
    times = factor(tokenizer, language)
    return Length(english["prompt"] * times, english["answer"] * times)


def _of_scripts(table: Mapping[str, float], scripts: Sequence[str]) -> list[float]:
    return [value for key, value in table.items() if key.rpartition("_")[2] in scripts]


@cache
def _facts() -> Mapping[str, Any]:
    text = resources.files("maple.sweep").joinpath("lengths.toml").read_text("utf-8")
    return tomllib.loads(text)
