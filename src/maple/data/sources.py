"""Instruction data to train on, one entry of `SOURCES` a release."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from maple.data.hub import HubDataset
from maple.data.packaged import MINI, mini_languages
from maple.data.release import find, read_jsonl
from maple.data.rows import Row, build
from maple.errors import DataError, nearest
from maple.languages import language as language_of
from maple.languages import of_release
from maple.records import InstructionRow

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a language of a source holds.

    Attributes:
        rows: in the release's order.
        dropped: rows left out because their output is empty or only white space.
    """

    rows: tuple[InstructionRow, ...]
    dropped: int


@dataclass(slots=True)
class Source:
    """One release of instruction data. See `protocols.TrainingSource`.

    Attributes:
        name: as the study file names it.
        languages: keys, sorted.
        licence: of the data, as its release states it.
        read: (language key, folder or None) -> the release's rows.
    """

    name: str
    languages: tuple[str, ...]
    licence: str
    read: Callable[[str, Path | None], list[Row]]

    def load(self, language: str, folder: Path | None) -> Loaded:
        """All usable rows of a language, and how many were dropped.

        Args:
            language: a key from `languages`.
            folder: release files; None to read from the hub. Packaged sources ignore it.

        Raises:
            DataError: no such language; missing file; a row without instruction or output (not
                there, null, or no string); an id that occurs twice; no row left; with file and
                line.
        """
        if language not in self.languages:
            raise DataError(
                f"training source {self.name} has no language {language!r}",
                nearest(language, self.languages),
            )
        read = self.read(language, folder)
        rows = build(read, lambda row: _instruction(row, language), lambda row: row.row_id)
        kept = tuple(row for row in rows if row.output.strip())
        if not kept:
            raise DataError(f"{read[0].where}: no row of this file has an output")
        return Loaded(kept, len(rows) - len(kept))

    def rows(self, language: str, folder: Path | None) -> list[InstructionRow]:
        """The rows of `load`; a line in the log says how many were dropped."""
        loaded = self.load(language, folder)
        if loaded.dropped:
            _LOG.warning(
                "%s, %s: dropped %d rows with an empty output", self.name, language, loaded.dropped
            )
        return list(loaded.rows)


def _instruction(row: Row, language: str) -> InstructionRow:
    """A row by its release's id, or else by its line number."""
    return InstructionRow(
        row_id=row.text("id") if "id" in row.values else str(row.number),
        language=language,
        instruction=row.text("instruction"),
        input=row.optional_text("input"),
        output=row.text("output"),
    )


def _multialpaca(language: str, folder: Path | None) -> list[Row]:
    code = language_of(language).codes["multialpaca"]
    if folder is None:
        return HubDataset("DAMO-NLP-MT/multialpaca").rows(f"{code}.jsonl", f"{code}.jsonl.gz")
    names = (f"multialpaca/{code}.jsonl", f"multialpaca/{code}.jsonl.gz")
    return read_jsonl(find(folder, *names))


def _mini(language: str, _folder: Path | None) -> list[Row]:
    return read_jsonl(MINI / "instructions" / f"{language}.jsonl")


SOURCES: Mapping[str, Source] = MappingProxyType(
    {
        source.name: source
        for source in (
            Source("mini", mini_languages("instructions", ".jsonl"), "Apache-2.0", _mini),
            Source(
                "multialpaca",
                tuple(language.key for language in of_release("multialpaca")),
                "none stated for the data",
                _multialpaca,
            ),
        )
    }
)
"""Every training source by the name that a study file uses."""
