"""The templates in which instruction rows are trained on: the plain one, and users' own.

A row becomes segments of text, of which the model learns the answers. Only the text of a template
is searched for braces; those in rows mean nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from maple.errors import DataError
from maple.records import (
    TEMPLATE_FIELDS,
    Frame,
    InstructionRow,
    RenderedRow,
    TextTemplate,
)

# Labels are in English for every language: one template, so that a row's language is the only
# thing that differs between mixtures.
PLAIN = TextTemplate(
    name="plain",
    text="Task:\n{instruction}\n\nAnswer:\n{output}",
    with_input="Task:\n{instruction}\n\nMaterial:\n{input}\n\nAnswer:\n{output}",
)
"""The default. Its prompt ends in a line break, which no tokenizer joins with the first word of the
answer."""

CHAT = "chat"
"""Name of the tokenizer's own chat template, which is not text: see `maple.models.chat`."""

BUILTIN = (PLAIN.name, CHAT)

_PLACE = re.compile("{(" + "|".join(TEMPLATE_FIELDS) + ")}")
_BLANK_LINE = "\n\n"


def render(template: TextTemplate, row: InstructionRow) -> RenderedRow:
    """A row as segments; each answer is one that the model learns.

    A text that sets a conversation's scene ("system") stands before everything, and earlier
    questions and answers as rows without an input, a blank line after each. What stands behind an
    earlier answer is not learned: an answer ends with the end marker, not with the next question.

    White space at the ends of the release's texts is dropped, so that the end marker comes right
    after the last word.

    Raises:
        DataError: the earlier turns are no questions with their answers, or the row has an input
            that the template does not show.
    """
    scene, earlier = exchanges(row)
    segments = [(scene + _BLANK_LINE, False)] if scene else []
    turn = template.turn or template.text + _BLANK_LINE
    for question, answer in earlier:
        segments += _filled(turn, {"instruction": question, "input": "", "output": answer})
    given = row.input.strip()
    text = template.with_input if given and template.with_input else template.text
    if given and "{input}" not in text:
        raise DataError(
            f"{named(row)}: has an input, which the template {template.name!r} does not show",
            "add {input} to its text, or with_input, the text of rows that have one",
        )
    fields = {"instruction": row.instruction.strip(), "input": given, "output": row.output.strip()}
    return RenderedRow((*segments, *_filled(text, fields)))


def exchanges(row: InstructionRow) -> tuple[str, list[tuple[str, str]]]:
    """What a conversation begins with ("" for nothing), and its earlier questions and answers.

    Raises:
        DataError: a "system" turn that is not the first one, a question without an answer, or the
            reverse.
    """
    turns = [(role, text.strip()) for role, text in row.turns]
    scene = turns.pop(0)[1] if turns and turns[0][0] == "system" else ""
    roles = [role for role, _ in turns]
    if roles != ["user", "assistant"] * (len(roles) // 2):
        raise DataError(
            f"{named(row)}: its earlier turns are {', '.join(role for role, _ in row.turns)}; "
            "expected user and assistant by turns, after one system turn at most",
            "leave the row out, or mend its roles",
        )
    texts = [text for _, text in turns]
    return scene, list(zip(texts[::2], texts[1::2], strict=True))


def named(row: InstructionRow) -> str:
    """A row in messages."""
    return f"row {row.row_id} ({row.language})"


def identity(template: TextTemplate) -> str:
    """What a template does, to be hashed: its texts."""
    texts = [template.text, template.with_input or "", template.turn]
    return "\f".join(text for text in texts if text is not None)


def texts(template: TextTemplate) -> Mapping[str, str]:
    """A template's texts by the names of their keys in a study."""
    found = {"text": template.text, "with_input": template.with_input, "turn": template.turn}
    return {name: text for name, text in found.items() if text is not None}


def frame(template: TextTemplate) -> Frame:
    """What the template puts around a request that stands in the place of the instruction."""
    head, _, rest = template.text.replace("{input}", "").partition("{instruction}")
    before = rest.removesuffix("{output}")
    tail = before.rstrip(" ")
    return Frame(head, tail, before[len(tail) :])


def _filled(text: str, fields: Mapping[str, str]) -> Iterator[tuple[str, bool]]:
    """The text with its fields, what is learned apart from what is not."""
    # The pieces between names, and the names, by turns.
    pieces = _PLACE.split(text)
    known = ""
    for at, piece in enumerate(pieces):
        if at % 2 and piece == "output":
            yield known, False
            yield fields[piece], True
            known = ""
        else:
            known += fields[piece] if at % 2 else piece
    if known:
        yield known, False
