"""A row as it was read: its values, and where they stood, for the message when one is wrong."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from maple.data.reading import report
from maple.errors import DataError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a release file or of a hub dataset.

    Attributes:
        where: what an error message calls its place: "test.it.jsonl:12".
        number: its line in the file, or its position in a Parquet file; from 1.
        values: the release's own names and values.
        hint: what to do when one of them is wrong.
    """

    where: str
    number: int
    values: Mapping[str, object]
    hint: str = "compare the file with its release; it may be incomplete"

    def text(self, name: str) -> str:
        """A value that must be a string; it may be empty.

        Raises:
            DataError: missing, null or of another type.
        """
        value = self._value(name)
        if not isinstance(value, str):
            raise self.error(f"{name!r} is {_shown(value)}, expected a string")
        return value

    def filled(self, name: str) -> str:
        """A value that must be a string with something visible in it.

        Raises:
            DataError: as `text`, or it is empty.
        """
        value = self.text(name)
        if is_blank(value):
            raise self.error(f"{name!r} is empty")
        return value

    def optional_text(self, name: str) -> str:
        """A value that may be missing or null, which both read as "".

        Raises:
            DataError: of another type than string.
        """
        return "" if self.values.get(name) is None else self.text(name)

    def integer(self, name: str) -> int:
        """A value that must be a whole number; `true` is none.

        Raises:
            DataError: missing, null or of another type.
        """
        value = self._value(name)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.error(f"{name!r} is {_shown(value)}, expected a whole number")
        return value

    def error(self, what: str) -> DataError:
        """A DataError about this row, to be raised by the caller."""
        return DataError(f"{self.where}: {what}", self.hint)

    def _value(self, name: str) -> object:
        if name not in self.values:
            raise self.error(f"no field {name!r}; it has " + ", ".join(map(repr, self.values)))
        return self.values[name]


def build(
    rows: Iterable[Row],
    make: Callable[[Row], T],
    key: Callable[[T], Hashable] | None = None,
) -> list[T]:
    """What `make` makes of each row, in their order; all broken rows are one error.

    Args:
        rows: of one file or subset.
        make: raises DataError for a row that is broken.
        key: two rows may not have the same; None where rows have no id.

    Raises:
        DataError: every broken row and every repeated id at once. A command that collects
            problems (`reading.report`) gets the sound rows instead, of equal ids the first.
    """
    made: list[T] = []
    problems: list[DataError] = []
    places: dict[Hashable, str] = {}
    for row in rows:
        try:
            one = make(row)
        except DataError as error:
            problems.append(error)
            continue
        if key is not None:
            name = key(one)
            if name in places:
                first = "" if places[name] == row.where else f"; first {places[name]}"
                problems.append(row.error(f"the id {name!r} occurs twice{first}"))
                continue
            places[name] = row.where
        made.append(one)
    report(problems)
    return made


def is_blank(text: str) -> bool:
    """Whether nothing of a text is visible: white space, marks of direction, joiners."""
    return all(unicodedata.category(character)[0] in "CZ" for character in text)


def _shown(value: object) -> str:
    """A value of the wrong type, short enough for one line."""
    text = "null" if value is None else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
