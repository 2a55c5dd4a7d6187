"""What can be wrong with rendered prompts, found before a sweep costs anything.

The linter looks at texts alone, not at how they were made: it takes the item's fields out of the
prompt and examines what remains.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

from maple.languages import foreign_letters
from maple.languages import language as language_of
from maple.prompts.literals import Wording, problems
from maple.records import Example, Prompted

_OPENING = re.escape("([{<\"'«‹“„‘‚¿¡")
"""Punctuation that a text follows without a space."""

# Stands for a field's text in what remains. A private-use character: in no text, and no letter.
_FIELD = "\ue000"

_NO_SPACE = "no space between a label and the text after it"
_SPACE = "a space before text of a script without spaces"


def lint(
    examples: Sequence[Example],
    prompted: Sequence[Prompted],
    shown: Sequence[str],
    wording: Wording,
    *,
    labels: bool = False,
) -> list[str]:
    """Problems of the prompts of a subset; none where all is well.

    Args:
        examples: n items.
        prompted: the same n, rendered without exemplars.
        shown: names of the fields whose whole text must appear.
        wording: that the prompts were rendered with.
        labels: the answers are words of the prompt ("A", "true") and not texts of the items; the
            examples' `choices` are these words.

    Returns:
        One line a kind of problem, with the first item that has it and how many more do.
    """
    found: dict[str, list[str]] = {}
    for example, rendered in zip(examples, prompted, strict=True):
        for problem in dict.fromkeys(_of_item(example, rendered, shown, wording, labels)):
            found.setdefault(problem, []).append(example.example_id)
    for one, other in _alike(examples, prompted):
        found.setdefault("renders like another item", []).append(f"{one} (as {other})")
    lines = problems(wording.language)
    for problem, items in found.items():
        more = f" and {len(items) - 1} more" if len(items) > 1 else ""
        lines.append(f"{items[0]}{more}: {problem}")
    return lines


def _of_item(
    example: Example,
    rendered: Prompted,
    shown: Sequence[str],
    wording: Wording,
    labels: bool,
) -> Iterator[str]:
    wanted = example.choices or example.golds[:1]
    rest, missing = _without(rendered.text, [example.fields[name] for name in shown])
    for index in missing:
        name = shown[index]
        yield _lost(f"the field {name!r}", example.fields[name], rest, name)
    yield from _of_rest(rest, wording)
    if len(rendered.answers) != len(wanted):
        yield f"{len(rendered.answers)} answers, expected {len(wanted)}"
        return
    for answer, text in zip(rendered.answers, wanted, strict=True):
        remains, lost = _without(answer, [text])
        if not answer.strip():
            yield "an answer has no text, so no token of its own"
        elif lost:
            yield _lost("an answer", text, answer, "")
        else:
            yield from _of_answer(remains, wording.label_space if labels else wording.space)
    # Some releases list one choice twice; that is for the task to remark, not the prompt.
    if len(set(rendered.answers)) < len(set(wanted)):
        yield "two answers are alike"
    if rendered.text != rendered.text.rstrip():
        yield "the prompt ends in white space"


def _lost(what: str, text: str, rendered: str, name: str) -> str:
    """How a text is missing: cut short, or its field's name in its place."""
    whole = text.strip()
    if len(whole) > 1 and whole[:-1] in rendered:
        return f"{what} has lost its last letter"
    if name and re.search(rf"\b{re.escape(name)}\b", rendered):
        return f"{what} is there by its name, not by its text"
    return f"{what} does not appear whole"


@lru_cache(maxsize=256)  # the same for almost all items of a subset
def _of_rest(rest: str, wording: Wording) -> tuple[str, ...]:
    """Problems of what the prompt adds to the fields."""
    return tuple(_problems_of(rest, wording))


def _problems_of(rest: str, wording: Wording) -> Iterator[str]:
    if re.search(r"\{\w*\}", rest):
        yield "a placeholder survives"
    if "\\n" in rest:
        yield "a line break is spelled out"
    if "  " in rest or " \n" in rest:
        yield "a space too many"
    if wording.space and re.search(rf"[^\s{_FIELD}{_OPENING}]{_FIELD}", rest):
        yield _NO_SPACE
    if not wording.space and f" {_FIELD}" in rest:
        yield _SPACE
    if foreign := foreign_letters(rest, language_of(wording.language).script):
        yield f"{foreign!r} is not in the script of {wording.language}"


def _of_answer(remains: str, space: str) -> Iterator[str]:
    """Problems of what stands around the text of an answer."""
    if remains == space + _FIELD:
        return
    if remains == _FIELD:
        yield _NO_SPACE
    elif remains == f" {_FIELD}":
        yield _SPACE
    elif remains.strip() == _FIELD:
        yield "a space too many"
    else:
        yield "an answer has more than its text"


def _without(text: str, fields: Sequence[str]) -> tuple[str, list[int]]:
    """The text with each field's first occurrence marked, and the indices of absent fields."""
    missing = []
    # Longest first: a question may be quoted in its passage, never the other way round.
    for index in sorted(range(len(fields)), key=lambda index: -len(fields[index])):
        whole = fields[index].strip()
        if whole and whole in text:
            text = text.replace(whole, _FIELD, 1)
        else:
            missing.append(index)
    return text, sorted(missing)


def _alike(examples: Sequence[Example], prompted: Sequence[Prompted]) -> Iterator[tuple[str, str]]:
    """Pairs of items that differ and yet render alike.

    Some releases repeat an item under two ids; that is for the task to remark, not the prompt.
    """
    seen: dict[Prompted, Example] = {}
    for example, rendered in zip(examples, prompted, strict=True):
        first = seen.setdefault(rendered, example)
        if _stripped(first) != _stripped(example):
            yield example.example_id, first.example_id


def _stripped(example: Example) -> dict[str, str]:
    return {name: text.strip() for name, text in example.fields.items()}
