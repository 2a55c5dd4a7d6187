"""Training sources that a study describes: whose fields, and which files or hub dataset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from maple.data.hub import HubDataset
from maple.data.release import read_rows
from maple.data.rows import Row
from maple.data.sources import Source
from maple.errors import DataError
from maple.records import InstructionRow, UserSource

PLACE = "{language}"
"""Stands in a path for a language's code."""

_ROLES = ("system", "user", "assistant")


def source_of(described: UserSource) -> Source:
    """The described set, to be read like any other. Local files are read wherever `--data` is."""

    # A file of several languages is read once, not once a language.
    @lru_cache(maxsize=1)
    def rows_of(path: str) -> list[Row]:
        if described.hub is not None:
            rows = HubDataset(described.hub, described.revision).rows(path)
        else:
            rows = read_rows(Path(path))
        return [replace(row, hint=f"compare it with {described.where}.fields") for row in rows]

    def read(language: str, _folder: Path | None) -> list[Row]:
        code = described.languages[language]
        rows = rows_of(described.path.replace(PLACE, code))
        return rows if described.column is None else _of_language(rows, described.column, code)

    chat = "messages" in described.fields
    make = _conversation if chat else _instruction
    return Source(
        described.name,
        tuple(sorted(described.languages)),
        "the study's own",
        read,
        lambda row, language: make(row, language, described),
        parallel="id" in described.fields,
    )


def _of_language(rows: list[Row], column: str, code: str) -> list[Row]:
    found = [row for row in rows if row.text(column) == code]
    if not found:
        where = rows[0].where.rpartition(":")[0]
        codes = sorted({row.text(column) for row in rows})
        raise DataError(
            f"{where}: no row has {code!r} in {column!r}",
            "it has: " + ", ".join(codes),
        )
    return found


def _instruction(row: Row, language: str, described: UserSource) -> InstructionRow:
    fields = described.fields
    return InstructionRow(
        _row_id(row, fields),
        language,
        row.text(fields["instruction"]),
        row.optional_text(fields["input"]) if "input" in fields else "",
        row.text(fields["output"]),
    )


def _conversation(row: Row, language: str, described: UserSource) -> InstructionRow:
    """A conversation as its last question and answer, and what was said before.

    One that ends without an answer has an empty output, as rows of other sets may have.
    """
    turns = _turns(row, described)
    answer = turns.pop()[1] if turns and turns[-1][0] == "assistant" else ""
    if not turns or turns[-1][0] != "user":
        said = ", ".join(role for role, _ in turns) or "nothing"
        raise row.error(f"{described.fields['messages']!r}: no user asks at its end, but: {said}")
    question = turns.pop()[1]
    return InstructionRow(
        _row_id(row, described.fields), language, question, "", answer, tuple(turns)
    )


def _turns(row: Row, described: UserSource) -> list[tuple[str, str]]:
    fields = described.fields
    name = fields["messages"]
    messages = row.values.get(name)
    if not isinstance(messages, list) or not all(isinstance(one, Mapping) for one in messages):
        raise row.error(f"{name!r} is no list of messages; it has " + ", ".join(row.values))
    turns = []
    for number, message in enumerate(messages):
        inner = Row(f"{row.where}, {name}[{number}]", number, message, row.hint)
        given = inner.text(fields.get("role", "role"))
        role = described.roles.get(given, given)
        if role not in _ROLES:
            raise DataError(
                f"{inner.where}: role {given!r}, expected one of {', '.join(_ROLES)}",
                f'say what it is in {described.where}: roles = {{ {given} = "user" }}',
            )
        turns.append((role, inner.text(fields.get("content", "content"))))
    return turns


def _row_id(row: Row, fields: Mapping[str, str]) -> str:
    """By the set's own id, or else by its line number."""
    if "id" not in fields:
        return str(row.number)
    value = row.values.get(fields["id"])
    return str(value) if type(value) is int else row.text(fields["id"])
