"""The plain template in which instruction rows are trained on."""

from __future__ import annotations

from maple.records import InstructionRow


def render(row: InstructionRow) -> tuple[str, str]:
    """A row as (prompt, target); the model learns the target, followed by its end marker.

    The prompt ends in a line break, which no tokenizer joins with the first word of the target.
    White space at the ends of the release's texts is dropped, so that the end marker comes right
    after the last word.
    """
    return _prompt(row.instruction.strip(), row.input.strip()), row.output.strip()


def template_text() -> str:
    """The template with its fields as placeholders, without and with input: what is hashed."""
    return "\f".join(_prompt("{instruction}", given) + "{output}" for given in ("", "{input}"))


def _prompt(instruction: str, given: str) -> str:
    # Labels are in English for every language: one template, so that a row's language is the
    # only thing that differs between mixtures.
    material = f"\n\nMaterial:\n{given}" if given else ""
    return f"Task:\n{instruction}{material}\n\nAnswer:\n"
