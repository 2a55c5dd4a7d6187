"""MLQA's files: one for each split and pair of a passage's and a question's language."""

from __future__ import annotations

from pathlib import Path

from maple.data.hub import HubDataset
from maple.data.release import exists, find
from maple.data.squad import Question, from_hub, read_squad
from maple.languages import language

_HUB_SPLIT = {"dev": "validation", "test": "test"}


def read_questions(split: str, context: str, question: str, folder: Path | None) -> list[Question]:
    """All questions of a pair, in the release's order.

    Args:
        split: "dev" or "test".
        context: key of the language of passages and answers.
        question: key of the language of the questions.
        folder: release files; None to read from the hub.

    Raises:
        DataError: as `squad.read_squad`, `hub.HubDataset.rows`.
    """
    if folder is not None:
        return read_squad(find(folder, _file(split, context, question)))
    name = f"mlqa.{_code(context)}.{_code(question)}/{_HUB_SPLIT[split]}"
    rows = HubDataset("facebook/mlqa").rows(f"{name}-*.parquet", f"{name}/*.parquet")
    return from_hub(rows)


def is_language(key: str) -> bool:
    """Whether MLQA has a language."""
    return "mlqa" in language(key).codes


def has_questions(split: str, key: str, folder: Path | None) -> bool:
    """Whether there are passages with questions in a language: in MLQA, and in `folder`."""
    if not is_language(key):
        return False
    return folder is None or exists(folder, _file(split, key, key))


def _file(split: str, context: str, question: str) -> str:
    return f"mlqa/{split}/{split}-context-{_code(context)}-question-{_code(question)}.json"


def _code(key: str) -> str:
    return language(key).codes["mlqa"]
