"""The plain template of training, and users' own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from maple.errors import DataError
from maple.prompts.training import PLAIN, frame, identity, render
from maple.records import Frame, InstructionRow, RenderedRow, TextTemplate
from maple.study.identity import content_hash

GOLDEN = Path(__file__).parents[1] / "golden" / "templates.json"

ALPACA = TextTemplate(
    "alpaca",
    text="### Instruction:\n{instruction}\n\n### Response: {output}",
    with_input="### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response: {output}",
    turn="Q: {instruction}\nA: {output}\n",
)
TALK = (
    ("system", " You are a guide. "),
    ("user", "Which river?"),
    ("assistant", " The Volta.\n"),
)


def _row(
    instruction: str, given: str, output: str, *turns: tuple[str, str], row_id: str = "1"
) -> InstructionRow:
    return InstructionRow(row_id, "eng_Latn", instruction, given, output, turns)


def _pair(row: InstructionRow) -> tuple[str, str]:
    (prompt, unlearned), (target, learned) = render(PLAIN, row).segments
    assert (unlearned, learned) == (False, True)
    return prompt, target


def test_a_row_without_input() -> None:
    prompt, target = _pair(_row("Name a river.", "", "The Volta."))
    assert prompt == "Task:\nName a river.\n\nAnswer:\n"
    assert target == "The Volta."


def test_a_row_with_input() -> None:
    prompt, target = _pair(_row("Translate.", "Guten Tag", "Good day"))
    assert prompt == "Task:\nTranslate.\n\nMaterial:\nGuten Tag\n\nAnswer:\n"
    assert target == "Good day"


def test_white_space_at_the_ends_is_dropped_and_that_inside_is_kept() -> None:
    prompt, target = _pair(_row(" Do\n this. ", " \n", "\n a\n\n  b \n"))
    assert prompt == "Task:\nDo\n this.\n\nAnswer:\n"
    assert target == "a\n\n  b"


def test_text_that_looks_like_a_placeholder_is_left_alone() -> None:
    assert _pair(_row("What is {input}?", "", "{output}")) == (
        "Task:\nWhat is {input}?\n\nAnswer:\n",
        "{output}",
    )


def test_what_is_hashed_shows_both_forms() -> None:
    assert identity(PLAIN) == (
        "Task:\n{instruction}\n\nAnswer:\n{output}\f"
        "Task:\n{instruction}\n\nMaterial:\n{input}\n\nAnswer:\n{output}"
    )


def test_of_a_conversation_every_answer_is_learned_and_nothing_else() -> None:
    assert render(PLAIN, _row("And a lake?", "", "Bosumtwi.", *TALK)).segments == (
        ("You are a guide.\n\n", False),
        ("Task:\nWhich river?\n\nAnswer:\n", False),
        ("The Volta.", True),
        ("\n\n", False),
        ("Task:\nAnd a lake?\n\nAnswer:\n", False),
        ("Bosumtwi.", True),
    )


def test_a_users_template_has_its_own_form_for_each_kind_of_row() -> None:
    assert render(ALPACA, _row("Shorten.", "A long text", "Text", *TALK[1:])).segments == (
        ("Q: Which river?\nA: ", False),
        ("The Volta.", True),
        ("\n", False),
        ("### Instruction:\nShorten.\n\n### Input:\nA long text\n\n### Response: ", False),
        ("Text", True),
    )
    one = TextTemplate("one", "{instruction} {input}\n{output}")
    assert render(one, _row("Go", "", "Gone")) == RenderedRow((("Go \n", False), ("Gone", True)))


def test_an_input_that_a_template_would_lose_is_an_error() -> None:
    blind = TextTemplate("blind", "{instruction}\n{output}")
    assert render(blind, _row("Go", " ", "Gone")).segments[0] == ("Go\n", False)
    with pytest.raises(DataError, match=r"row 1 \(eng_Latn\): has an input, .* 'blind' does not"):
        render(blind, _row("Go", "there", "Gone"))


@pytest.mark.parametrize(
    "roles", [["assistant"], ["user"], ["user", "user"], ["user", "assistant", "system"]]
)
def test_turns_that_are_no_questions_with_answers_name_the_row(roles: list[str]) -> None:
    turns = [(role, "text") for role in roles]
    with pytest.raises(DataError, match=f"row 1 .*its earlier turns are {', '.join(roles)}; exp"):
        render(PLAIN, _row("Go", "", "Gone", *turns))


def test_a_request_stands_in_the_place_of_the_instruction() -> None:
    assert frame(PLAIN) == Frame("Task:\n", "\n\nAnswer:\n")
    assert frame(ALPACA) == Frame("### Instruction:\n", "\n\n### Response:", " ")
    one = TextTemplate("one", "I: {instruction} {input}\n{output}")
    assert frame(one) == Frame("I: ", " \n")


def test_renderings_and_hashes_are_the_golden_ones() -> None:
    """A template that renders otherwise is another one and needs another name or hash."""
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    rows = [
        _row(one["instruction"], one["input"], one["output"], *map(tuple, one["turns"]))
        for one in golden["rows"]
    ]
    for template in (PLAIN, ALPACA):
        found = golden[template.name]
        assert content_hash(identity(template)) == found["hash"]
        assert [[list(one) for one in render(template, row).segments] for row in rows] == (
            found["segments"]
        )
