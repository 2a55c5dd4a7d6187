"""What every training source must do (`protocols.TrainingSource`)."""

from __future__ import annotations

from pathlib import Path

import pytest

from maple.data.mixtures import content_hash, select
from maple.data.sources import SOURCES
from maple.errors import DataError
from maple.languages import LANGUAGES
from maple.prompts.training import PLAIN, render
from maple.protocols import TrainingSource
from maple.records import Mixture


@pytest.fixture(params=SOURCES.values(), ids=list(SOURCES))
def source(request: pytest.FixtureRequest) -> TrainingSource:
    found: TrainingSource = request.param
    return found


def _check_rows(source: TrainingSource, language: str, folder: Path | None) -> None:
    rows = source.load(language, folder).rows
    assert rows == source.load(language, folder).rows
    assert len({row.row_id for row in rows}) == len(rows) > 0
    for row in rows:
        assert row.language == language
        *_, (prompt, _), (target, learned) = render(PLAIN, row).segments
        assert learned
        assert row.instruction.strip() in prompt
        assert target
        assert target == target.strip()


def test_the_table_names_its_sources() -> None:
    assert all(name == source.name for name, source in SOURCES.items())


def test_languages_are_known_and_sorted(source: TrainingSource) -> None:
    assert source.languages
    assert list(source.languages) == sorted(set(source.languages))
    assert set(source.languages) <= set(LANGUAGES)


def test_an_unknown_language_is_an_error(source: TrainingSource) -> None:
    with pytest.raises(DataError, match="'xxx_Latn'"):
        source.load("xxx_Latn", None)


def test_rows_of_the_packaged_source() -> None:
    source = SOURCES["mini"]
    for language in source.languages:
        _check_rows(source, language, None)


def test_a_mixture_of_the_packaged_source() -> None:
    source = SOURCES["mini"]
    mixture = Mixture(2 * len(source.languages), 0)
    rows = select(source, mixture, source.languages, None).rows
    assert {row.language for row in rows} == set(source.languages)
    assert content_hash(rows).startswith("sha256:")


def test_released_rows_where_they_are_at_hand(source: TrainingSource, real_data: Path) -> None:
    read = 0
    for language in source.languages:
        try:
            _check_rows(source, language, real_data)
        except DataError as error:
            if "none of these files is there" not in error.what:
                raise
        else:
            read += 1
    assert read
