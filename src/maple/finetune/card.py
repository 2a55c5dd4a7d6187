"""README.md of a product: what it is and what it was made of, for people and model hubs."""

from __future__ import annotations

from maple import provenance
from maple.languages import hub_code
from maple.records import TrainCell, TrainOutcome
from maple.study.cards import body, library, quoted


def card(cell: TrainCell, outcome: TrainOutcome) -> str:
    """Markdown with the header that model hubs read. No times: it is a function of the training."""
    lines = [
        "---",
        f"base_model: {quoted(cell.base_name)}",
        f"library_name: {library(cell)}",
        *_languages(outcome),
        "tags:",
        "- maple",
        f"- {cell.method}",
        "---",
        "",
        f"# {cell.method} on {cell.base_name}",
        "",
        *body(cell, outcome, provenance.versions()["maple"]),
    ]
    return "\n".join(lines)


def _languages(outcome: TrainOutcome) -> list[str]:
    tags = sorted({hub_code(key) for key in outcome.by_language})
    return ["language:", *(f"- {quoted(tag)}" for tag in tags)] if tags else []
