"""The training rows of a study: from its sources by its mixtures, and what is held out of them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from maple.data.mixtures import Selection, content_hash, last_rows, select
from maple.data.pulled import is_pulled, load
from maple.data.release import NoFilesError
from maple.data.sources import SOURCES, Source
from maple.data.user import source_of
from maple.errors import MapleError, OutOfReachError
from maple.languages import ENGLISH
from maple.records import InstructionRow, Mixture
from maple.study.config import TrainSection
from maple.study.grid import TrainingData
from maple.study.sources import sources_of

_PACKAGED = "mini"


@dataclass(frozen=True, slots=True)
class Drawn:
    """The rows a study trains on, of one source by one mixture.

    Attributes:
        rows: to train on, in order.
        validation: held out, of every language.
        english: held out, to measure forgetting with; those of `validation` where English is
            trained on.
        remarks: what a report must say about the data, in plain words.
    """

    data: TrainingData
    rows: tuple[InstructionRow, ...]
    validation: tuple[InstructionRow, ...] = ()
    english: tuple[InstructionRow, ...] = ()
    remarks: tuple[str, ...] = ()


def sources_by_name(train: TrainSection) -> dict[str, Source]:
    """Every source that a study can name, its own among them."""
    return {**SOURCES, **{one.name: source_of(one) for one in sources_of(train)}}


def languages_of(train: TrainSection, source: Source) -> tuple[str, ...]:
    """The languages that a study trains on of a source: "all" are those that this source has."""
    return source.languages if train.languages == "all" else tuple(train.languages)


def draw(train: TrainSection, folder: Path | None, problems: list[MapleError]) -> list[Drawn]:
    """Read every source and draw every mixture of it.

    Args:
        train: canonicalised by `study.load`.
        folder: release files; None to read from the hub.
        problems: receives what cannot be read or filled.
    """
    sources = sources_by_name(train)
    drawn: list[Drawn] = []
    for index, name in enumerate(train.sources):
        for mixture in train.mixtures():
            try:
                drawn.append(_drawn(train, sources, sources[name], mixture, folder))
            except MapleError as error:
                of = f"{name}, mixture {mixture.name}" if mixture.name else name
                problems.append(error.at(f"train.sources[{index}] ({of})"))
    return drawn


def held(name: str, folder: Path) -> tuple[str, ...]:
    """Languages of a training source that a folder has files of.

    Args:
        name: of a source; unknown ones have none.
        folder: release files, or what `maple data pull` made.

    Raises:
        DataError: a file cannot be read.
    """
    source = SOURCES.get(name)
    if source is None or not folder.is_dir():
        return ()
    if is_pulled(folder):
        own = {one.language for one in load(folder).manifest.sources if one.source == name}
        return tuple(sorted(own))
    found = []
    for language in source.languages:
        with contextlib.suppress(NoFilesError):
            source.read(language, folder)
            found.append(language)
    return tuple(found)


def reads(train: TrainSection) -> Iterator[tuple[Source, str]]:
    """Every language of a source that `draw` reads, each once."""
    sources = sources_by_name(train)
    found: dict[tuple[str, str], None] = {}
    for name in train.sources:
        source = sources[name]
        for mixture in train.mixtures():
            english = {ENGLISH} if mixture.english is not None else set()
            languages = {*languages_of(train, source)} - english
            found |= dict.fromkeys((name, language) for language in sorted(languages))
            if mixture.english:
                found[_lender(source, mixture) or name, ENGLISH] = None
            if train.validation is not None:
                found[_english_source(train, source, mixture), ENGLISH] = None
    for name, language in found:
        yield sources[name], language


def _drawn(
    train: TrainSection,
    sources: Mapping[str, Source],
    source: Source,
    mixture: Mixture,
    folder: Path | None,
) -> Drawn:
    held_out = train.validation.rows if train.validation is not None else 0
    lender = _lender(source, mixture)
    found = select(
        source,
        mixture,
        languages_of(train, source),
        folder,
        None if lender is None else sources[lender],
        held_out,
    )
    english = _english(train, sources, source, mixture, found, folder)
    data = TrainingData(
        source=source.name,
        languages=tuple(line.language for line in found.table),
        rows=len(found.rows),
        content=content_hash(found.rows),
        mixture=mixture.name,
        table=found.table,
        validation=content_hash(found.validation) if found.validation else None,
        english=content_hash(english) if english else None,
    )
    return Drawn(data, found.rows, found.validation, english, found.remarks)


def _lender(source: Source, mixture: Mixture) -> str | None:
    """Where English rows to train on come from if the source has none."""
    if not mixture.english or ENGLISH in source.languages:
        return None
    return mixture.english_from


def _english_source(train: TrainSection, source: Source, mixture: Mixture) -> str:
    """Where the English rows come from that forgetting is measured with."""
    own = source.name if ENGLISH in source.languages else _lender(source, mixture)
    stated = train.validation.english_from if train.validation is not None else None
    return stated or own or _PACKAGED


def _english(
    train: TrainSection,
    sources: Mapping[str, Source],
    source: Source,
    mixture: Mixture,
    found: Selection,
    folder: Path | None,
) -> tuple[InstructionRow, ...]:
    if train.validation is None:
        return ()
    name = _english_source(train, source, mixture)
    trained = {_release(sources[one.source]) for one in found.table if one.language == ENGLISH}
    if _release(sources[name]) in trained:
        return tuple(row for row in found.validation if row.language == ENGLISH)
    try:
        return last_rows(sources[name], ENGLISH, mixture.seed, folder, train.validation.rows)
    except OutOfReachError:
        raise
    except MapleError as error:
        raise MapleError(
            f"English to measure forgetting with, from {name}: {error.what}",
            'take it from elsewhere: [train.validation] english_from = "mini"',
        ) from error


def _release(source: Source) -> str:
    return source.part_of or source.name
