"""The training sources that a study brings with it, bound to languages and places."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from maple.errors import MapleError, nearest
from maple.languages import ENGLISH, language
from maple.records import UserSource
from maple.study.config import SourceSection, TrainSection


def bind(
    train: TrainSection,
    known: Mapping[str, Sequence[str]],
    where: str,
    folder: Path,
    problems: list[MapleError],
) -> list[SourceSection]:
    """The sources of a study, with languages as keys and absolute paths.

    Args:
        train: as parsed.
        known: languages by the names of the sources that there are.
        where: names the study in messages.
        folder: what the study's relative paths start from.
        problems: receives everything that is wrong, each with file and key.
    """
    found = []
    for index, section in enumerate(train.source):
        key = f"{where}: train.source[{index}]"
        if section.name in known:
            problems.append(
                MapleError(f"{key}.name: there is a source {section.name!r}", "name it otherwise")
            )
        if section.name not in _used(train):
            problems.append(
                MapleError(
                    f"{key}.name: nothing trains on {section.name!r}", "add it to train.sources"
                )
            )
        path = section.path
        if section.hub is None:
            path = str(folder.joinpath(Path(path).expanduser()).resolve())
        languages = _languages(section, key, problems)
        found.append(section.model_copy(update={"path": path, "languages": languages}))
    return found


def lenders(
    train: TrainSection,
    known: Mapping[str, Sequence[str]],
    where: str,
    problems: list[MapleError],
) -> None:
    """Check the sources that English is taken from.

    Args:
        train: as parsed.
        known: languages by the names of all sources, the study's own among them.
        where: names the study in messages.
        problems: as in `bind`.
    """
    asked = [(f"train.mixture[{at}]", one.english_from) for at, one in enumerate(train.mixture)]
    if train.validation is not None:
        asked.append(("train.validation", train.validation.english_from))
    for key, name in asked:
        if name is None:
            continue
        place = f"{where}: {key}.english_from"
        if name not in known:
            hint = nearest(name, known)
            problems.append(MapleError(f"{place}: unknown training source {name!r}", hint))
        elif ENGLISH not in known[name]:
            hint = "with English: " + ", ".join(one for one in known if ENGLISH in known[one])
            problems.append(MapleError(f"{place}: {name} has no {ENGLISH}", hint))


def sources_of(train: TrainSection) -> tuple[UserSource, ...]:
    """The sources of a canonicalised study, as they are read."""
    return tuple(
        UserSource(
            name=one.name,
            path=one.path,
            hub=one.hub,
            revision=one.revision,
            languages=_codes(one),
            column=one.column,
            fields=dict(one.fields.items()),
            roles=dict(one.roles),
            where=f"train.source[{index}]",
        )
        for index, one in enumerate(train.source)
    )


def _used(train: TrainSection) -> set[str | None]:
    lent = {one.english_from for one in train.mixture}
    if train.validation is not None:
        lent.add(train.validation.english_from)
    return {*train.sources, *lent}


def _languages(section: SourceSection, key: str, problems: list[MapleError]) -> dict[str, str]:
    """The set's codes by language key."""
    found: dict[str, str] = {}
    for tag, code in _codes(section).items():
        try:
            name = language(tag).key
        except MapleError as error:
            problems.append(MapleError(f"{key}.languages: {error.what}", error.hint))
            continue
        if name in found:
            problems.append(MapleError(f"{key}.languages: {name} is listed twice"))
        found[name] = code
    return found


def _codes(section: SourceSection) -> dict[str, str]:
    """The set's codes by tag; one that is listed without a code is the code itself."""
    given = section.languages
    return dict(given) if isinstance(given, dict) else {tag: tag for tag in given}
