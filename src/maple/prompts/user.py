"""Prompts that users write: a text with the names of an item's fields in braces.

Only the text of the prompt is searched for braces; those in items, and in what is put in, mean
nothing. A space before a field is written only where the script of the item has spaces between
words, so that one text serves several languages.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace

from maple.errors import DataError
from maple.languages import foreign_letters
from maple.languages import language as language_of
from maple.prompts.lint import lint as lint_prompts
from maple.prompts.literals import Wording
from maple.records import Example, Prompted, UserPrompt

_PLACE = re.compile(r"\{(\w+)\}")


def places(text: str) -> list[str]:
    """Names in braces, in the order of the text."""
    return _PLACE.findall(text)


def render(
    prompt: UserPrompt, item: Example, language: str, cuttable: str | None = None
) -> Prompted:
    """An item under a user's prompt.

    Args:
        prompt: of the item's task.
        item: a scored item or an exemplar.
        language: key of the language that the item is asked in.
        cuttable: name of the field whose end may be cut, see `Prompted.cut`: where it stands first.

    Raises:
        DataError: the item lacks a field, has a value that the prompt has no word for, or another
            number of choices than the prompt has answers.
    """
    wording = wording_of(prompt, language)
    # The pieces between names, and the names, by turns.
    pieces = _PLACE.split(prompt.text)
    cuttable_at = pieces.index(cuttable, 1) if cuttable in pieces[1::2] else None
    for at in range(1, len(pieces), 2):
        if not wording.space and pieces[at] not in prompt.values:
            pieces[at - 1] = pieces[at - 1].removesuffix(" ")
        pieces[at] = _text(prompt, item, pieces[at])
    answers: Sequence[str] = item.choices or item.golds[:1]
    space = wording.space
    if prompt.answers:
        if len(prompt.answers) != len(item.choices):
            raise DataError(
                f"{prompt.where}.answers: {len(prompt.answers)} answers, "
                f"{item.example_id} has {len(item.choices)} choices"
            )
        answers, space = prompt.answers, wording.label_space
    cut = None
    if cuttable_at is not None:
        start = len("".join(pieces[:cuttable_at]))
        cut = start, start + len(pieces[cuttable_at])
    return Prompted("".join(pieces), tuple(space + answer.strip() for answer in answers), cut)


def identity(prompt: UserPrompt, language: str) -> str:
    """Everything that what is asked depends on, apart from the item; see `Task.prompt_text`."""
    wording = wording_of(prompt, language)
    spaces = [wording.space, wording.label_space]
    values = {name: dict(words) for name, words in prompt.values.items()}
    return json.dumps(
        {"text": prompt.text, "spaces": spaces, "answers": list(prompt.answers), "values": values},
        sort_keys=True,
        ensure_ascii=False,
    )


def wording_of(prompt: UserPrompt, language: str) -> Wording:
    """How the words of a prompt meet the texts of items in a language."""
    spaces = (" " if language_of(key).spaced else "" for key in (language, prompt.words_in))
    return Wording(prompt.words_in, *spaces)


def lint(prompt: UserPrompt, items: Sequence[Example], language: str) -> list[str]:
    """Problems of the prompts of these items; see `prompts.lint`."""
    prompted = [render(prompt, item, language) for item in items]
    shown = [name for name in places(prompt.text) if name not in prompt.values]
    seen = [replace(item, fields=_with_choices(item)) for item in items]
    if prompt.answers:
        seen = [replace(item, choices=prompt.answers) for item in seen]
    labels = bool(prompt.answers)
    found = lint_prompts(seen, prompted, shown, wording_of(prompt, language), labels=labels)
    for name, words in prompt.values.items():
        if len({word.strip() for word in words.values()}) < len(words):
            found.append(f"values.{name}: two words of the prompt are alike")
    script = language_of(prompt.words_in).script
    for answer in prompt.answers:
        if foreign_letters(answer, script):
            found.append(f"answers: {answer!r} is of another script")
    return found


def left_out(
    prompt: UserPrompt, items: Sequence[Example], needed: Sequence[str], language: str
) -> list[str]:
    """What of the items the prompt never shows: fields, and the choices behind its answers.

    Args:
        prompt: of the items' task.
        items: all items of a subset.
        needed: fields that the task's own prompts show.
        language: key of the language that the items are asked in.
    """
    found = [name for name in needed if name not in places(prompt.text)]
    if prompt.answers and len({item.choices for item in items}) > 1:
        text = render(prompt, items[0], language).text
        if not all(choice.strip() in text for choice in items[0].choices):
            found.append("choices")
    return found


def _with_choices(item: Example) -> dict[str, str]:
    numbered = {f"choice{at}": text for at, text in enumerate(item.choices, start=1)}
    return {**numbered, **item.fields}


def _text(prompt: UserPrompt, item: Example, name: str) -> str:
    fields = _with_choices(item)
    if name not in fields:
        raise DataError(f"{prompt.where}.text: {item.example_id} has no {name!r}")
    text = fields[name].strip()
    words = prompt.values.get(name)
    if words is None:
        return text
    if text not in words:
        raise DataError(
            f"{prompt.where}.values.{name}: no word for {text!r}, which {item.example_id} has"
        )
    return words[text]
