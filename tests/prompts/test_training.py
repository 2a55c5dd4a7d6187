"""The template of training."""

from __future__ import annotations

from maple.prompts.training import render, template_text
from maple.records import InstructionRow


def _row(instruction: str, given: str, output: str) -> InstructionRow:
    return InstructionRow("1", "eng_Latn", instruction, given, output)


def test_a_row_without_input() -> None:
    prompt, target = render(_row("Name a river.", "", "The Volta."))
    assert prompt == "Task:\nName a river.\n\nAnswer:\n"
    assert target == "The Volta."


def test_a_row_with_input() -> None:
    prompt, target = render(_row("Translate.", "Guten Tag", "Good day"))
    assert prompt == "Task:\nTranslate.\n\nMaterial:\nGuten Tag\n\nAnswer:\n"
    assert target == "Good day"


def test_white_space_at_the_ends_is_dropped_and_that_inside_is_kept() -> None:
    prompt, target = render(_row(" Do\n this. ", " \n", "\n a\n\n  b \n"))
    assert prompt == "Task:\nDo\n this.\n\nAnswer:\n"
    assert target == "a\n\n  b"


def test_text_that_looks_like_a_placeholder_is_left_alone() -> None:
    assert render(_row("What is {input}?", "", "{output}")) == (
        "Task:\nWhat is {input}?\n\nAnswer:\n",
        "{output}",
    )


def test_the_template_for_hashing_shows_both_forms() -> None:
    assert template_text() == (
        "Task:\n{instruction}\n\nAnswer:\n{output}\f"
        "Task:\n{instruction}\n\nMaterial:\n{input}\n\nAnswer:\n{output}"
    )
