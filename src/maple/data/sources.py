"""Instruction data to train on, one entry of `SOURCES` a release."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from maple.data.hub import HubDataset
from maple.data.packaged import MINI, mini_languages
from maple.data.release import find, read_jsonl, read_rows
from maple.data.rows import Row, build
from maple.errors import DataError, nearest
from maple.languages import language as language_of
from maple.languages import of_release
from maple.records import InstructionRow, SourceRows

_MATCHED_ROWS = 132_701
"""Rows of MultiAlpaca, which the presets of Bactrian-X are cut to."""

_MULTIALPACA_HUB, _BACTRIAN_X_HUB = "DAMO-NLP-MT/multialpaca", "MBZUAI/Bactrian-X"

_SAME_FORMAT = "bactrian_format"
"""Folder of other rows in the format of Bactrian-X."""


def instruction(row: Row, language: str) -> InstructionRow:
    """A row by its release's id, or else by its line number."""
    return InstructionRow(
        row_id=row.text("id") if "id" in row.values else str(row.number),
        language=language,
        instruction=row.text("instruction"),
        input=row.optional_text("input"),
        output=row.text("output"),
    )


@dataclass(slots=True)
class Source:
    """One release of instruction data, or a part of one. See `protocols.TrainingSource`.

    Attributes:
        name: as the study file names it.
        languages: keys, sorted.
        licence: of the data, as its release states it.
        read: (language key, folder or None) -> the release's rows.
        make: (row of the release, language key) -> what is trained on.
        about: a row of the release -> what must be said of its file, or "".
        part_of: the source whose files these are, for a preset; None for a whole release.
        parallel: rows of one id are translations of each other.
        same_ids: a preset that is drawn with the same ids in every language.
        rows_each: rows a language where a study does not say how many; None for all.
        hub: repository that it is read from without a folder; None for packaged sources.
    """

    name: str
    languages: tuple[str, ...]
    licence: str
    read: Callable[[str, Path | None], list[Row]]
    make: Callable[[Row, str], InstructionRow] = instruction
    about: Callable[[Row], str] = lambda _row: ""
    part_of: str | None = None
    parallel: bool = False
    same_ids: bool = False
    rows_each: int | None = None
    hub: str | None = None

    def load(self, language: str, folder: Path | None) -> SourceRows:
        """All rows of a language that have an output, and how many have none.

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
        rows = build(read, lambda row: self.make(row, language), lambda row: row.row_id)
        kept = tuple(row for row in rows if row.output.strip())
        if not kept:
            raise DataError(f"{read[0].where}: no row of this file has an output")
        return SourceRows(kept, len(rows) - len(kept), self.about(read[0]))


def _multialpaca(language: str, folder: Path | None) -> list[Row]:
    code = language_of(language).codes["multialpaca"]
    if folder is None:
        return HubDataset(_MULTIALPACA_HUB).rows(f"{code}.jsonl", f"{code}.jsonl.gz")
    names = (f"multialpaca/{code}.jsonl", f"multialpaca/{code}.jsonl.gz")
    return read_jsonl(find(folder, *names))


def _bactrian_x(language: str, folder: Path | None) -> list[Row]:
    code = language_of(language).codes["bactrian_x"]
    if folder is None:
        patterns = (f"data/{code}.json.gz", f"data/{code}.json", f"{code}/train*/*.parquet")
        return HubDataset(_BACTRIAN_X_HUB).rows(*patterns, f"{code}/*.parquet")
    folders = ("bactrian-x", "bactrian-x/data", _SAME_FORMAT)
    endings = ("json.gz", "json", "jsonl.gz", "jsonl")
    names = [f"{name}/{code}.{ending}" for name in folders for ending in endings]
    return read_rows(find(folder, *names))


def _about_bactrian_x(row: Row) -> str:
    if _SAME_FORMAT not in Path(row.where).parts:
        return ""
    return f"read from {_SAME_FORMAT}: other rows in Bactrian-X's format, not Bactrian-X"


def _mini(language: str, _folder: Path | None) -> list[Row]:
    return read_jsonl(MINI / "instructions" / f"{language}.jsonl")


_MULTIALPACA = tuple(language.key for language in of_release("multialpaca"))
_BACTRIAN_X = Source(
    "bactrian-x",
    tuple(language.key for language in of_release("bactrian_x")),
    "CC BY-NC 4.0",
    _bactrian_x,
    about=_about_bactrian_x,
    parallel=True,
    hub=_BACTRIAN_X_HUB,
)


def _preset(name: str, languages: Collection[str], rows: int | None) -> Source:
    """Some languages of Bactrian-X, the same ids in each; together `rows`, if all are asked."""
    each = None if rows is None else rows // len(languages)
    found: Source = replace(
        _BACTRIAN_X,
        name=name,
        languages=tuple(sorted(languages)),
        part_of=_BACTRIAN_X.name,
        same_ids=True,
        rows_each=each,
    )
    return found


# Which languages the paper's 22 are is unknown.
_ELEVEN_MORE = tuple(  # not from the paper
    language_of(code).key
    for code in ("en", "zh", "hi", "it", "tr", "sw", "ta", "bn", "et", "tl", "ur")
)

SOURCES: Mapping[str, Source] = MappingProxyType(
    {
        source.name: source
        for source in (
            Source("mini", mini_languages("instructions", ".jsonl"), "Apache-2.0", _mini),
            Source(
                "multialpaca",
                _MULTIALPACA,
                "none stated for the data",
                _multialpaca,
                hub=_MULTIALPACA_HUB,
            ),
            _BACTRIAN_X,
            _preset("bactrian-x-11", _MULTIALPACA, _MATCHED_ROWS),
            _preset("bactrian-x-11:full", _MULTIALPACA, None),
            _preset("bactrian-x-22", (*_MULTIALPACA, *_ELEVEN_MORE), _MATCHED_ROWS),
            _preset("bactrian-x-22:full", (*_MULTIALPACA, *_ELEVEN_MORE), None),
        )
    }
)
"""Every training source by the name that a study file uses."""
