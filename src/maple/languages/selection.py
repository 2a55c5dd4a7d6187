"""Choosing languages by what is known about them."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from maple.errors import DataError, StudyError
from maple.languages import LANGUAGES, RELEASES, Language, language

UNKNOWN = "unknown"
"""What a missing fact is called, in tables and in filters."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Values that a language must have one of; an empty filter lets every language through.

    Attributes:
        family, branch, script: as the table writes them, in any case; "unknown" for none.
        resource_class: "0" to "5", or "unknown".
        release: releases that have the language, all of them.
        direction: "ltr" or "rtl".
        spaced: "yes" or "no".
    """

    family: Sequence[str] = ()
    branch: Sequence[str] = ()
    script: Sequence[str] = ()
    resource_class: Sequence[str] = ()
    release: Sequence[str] = ()
    direction: Sequence[str] = ()
    spaced: Sequence[str] = ()


def facts(row: Language) -> dict[str, str]:
    """What can be filtered by, as text."""
    return {
        "family": row.family or UNKNOWN,
        "branch": row.branch or UNKNOWN,
        "script": row.script,
        "resource_class": UNKNOWN if row.resource_class is None else str(row.resource_class),
        "direction": row.direction,
        "spaced": "yes" if row.spaced else "no",
    }


def select(
    query: str | None = None,
    where: Filter | None = None,
    tasks: Mapping[str, Collection[str]] | None = None,
) -> list[Language]:
    """The languages of the table that fit everything asked for, sorted by key.

    Args:
        query: a key or tag; or part of a name, autonym or a release's code, in any case; None for
            all.
        where: values of facts.
        tasks: by task, the keys of the languages that it has; a language must be in all of them.

    Raises:
        StudyError: values that no language has, all at once, each with the nearest ones.
        DataError: no language fits the query, with the nearest ones.
    """
    where = where or Filter()
    _check(where)
    found = [
        row
        for row in LANGUAGES.values()
        if _fits(row, where) and all(row.key in keys for keys in (tasks or {}).values())
    ]
    if query is None:
        return found
    named = _named(query)
    return [row for row in found if row.key in named]


def _named(query: str) -> set[str]:
    try:
        return {language(query).key}
    except DataError:
        named = {
            key for key, row in LANGUAGES.items() if query.casefold() in "\n".join(_names(row))
        }
    if not named:
        raise DataError(f"no language is called {query!r}, not even in part", _nearest_name(query))
    return named


def _fits(row: Language, where: Filter) -> bool:
    known = facts(row)
    return all(name in row.codes for name in where.release) and all(
        not (wanted := [value.casefold() for value in getattr(where, name)])
        or value.casefold() in wanted
        for name, value in known.items()
    )


def _check(where: Filter) -> None:
    """Raises StudyError for values that are in no row."""
    known: dict[str, set[str]] = {"release": set(RELEASES)}
    for row in LANGUAGES.values():
        for name, value in facts(row).items():
            known.setdefault(name, set()).add(value)
    problems = [
        DataError(
            f"--{name.replace('_', '-')} {value}: no language has it", _nearest(value, values)
        )
        for name, values in known.items()
        for value in getattr(where, name)
        if value.casefold() not in {one.casefold() for one in values}
    ]
    if problems:
        raise StudyError.of(problems)


def _nearest(value: str, known: Collection[str]) -> str:
    """A hint with the values nearest to one, in whatever case it was written."""
    by_case = {one.casefold(): one for one in sorted(known)}
    close = difflib.get_close_matches(value.casefold(), by_case, n=3, cutoff=0.6)
    if close:
        return "did you mean " + " or ".join(repr(by_case[one]) for one in close) + "?"
    return "known: " + ", ".join(sorted(known))


def _nearest_name(query: str) -> str:
    names = {name: row.key for row in LANGUAGES.values() for name in _names(row)}
    close = difflib.get_close_matches(query.casefold(), names, n=3, cutoff=0.6)
    keys = dict.fromkeys(names[name] for name in close)
    if not keys:
        return "`maple languages` without a name lists them all"
    return "did you mean " + " or ".join(f"{key} ({LANGUAGES[key].name})" for key in keys) + "?"


def _names(row: Language) -> list[str]:
    names = (row.key, row.bcp47, row.name, row.autonym or "", *row.codes.values())
    return [name.casefold() for name in names if name]
