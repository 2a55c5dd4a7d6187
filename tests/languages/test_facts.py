"""The table held against langcodes (CLDR and the registries), its sources, and the shared facts."""

from __future__ import annotations

import csv
import tomllib
from importlib import resources
from pathlib import Path

import langcodes
import pytest

from maple.languages import LANGUAGES, Language

# CLDR replaces these two codes by others: prs is Persian of Afghanistan, tgl is Filipino.
REPLACED = {"prs_Arab": "fas", "tgl_Latn": "fil"}

# Where the releases' names are not CLDR's.
OTHER_NAMES = {
    "acq_Arab": "Ta'izzi-Adeni Arabic",
    "ben_Beng": "Bangla",
    "ben_Latn": "Bangla",
    "ilo_Latn": "Iloko",
    "kac_Latn": "Kachin",
    "lua_Latn": "Luba-Lulua",
    "luo_Latn": "Luo (Kenya and Tanzania)",
    "mni_Beng": "Manipuri",
    "mri_Latn": "Māori",
    "npi_Deva": "Nepali (individual language)",
    "npi_Latn": "Nepali (individual language)",
    "ory_Orya": "Odia (individual language)",
    "pan_Guru": "Punjabi",
    "pes_Arab": "Iranian Persian",
    "prs_Arab": "Persian",
    "swh_Latn": "Swahili (individual language)",
    "tgl_Latn": "Filipino",
    "yue_Hant": "Cantonese",
}


def _rows() -> list[dict[str, str]]:
    text = resources.files("maple.languages").joinpath("languages.csv").read_text("utf-8")
    return list(csv.DictReader(text.splitlines()))


def _tag(row: Language) -> langcodes.Language:
    return langcodes.Language.get(row.bcp47)


def test_tags_are_standard_and_valid() -> None:
    for row in LANGUAGES.values():
        assert row.bcp47 == langcodes.standardize_tag(row.key), row.key
        assert _tag(row).is_valid(), row.key


def test_codes_and_scripts_are_those_of_the_tags() -> None:
    for row in LANGUAGES.values():
        assert row.key == f"{row.iso639_3}_{row.script}"
        assert _tag(row).to_alpha3() == REPLACED.get(row.key, row.iso639_3), row.key
        assert (_tag(row).script or _tag(row).maximize().script) == row.script, row.key


def test_names_are_those_of_cldr_or_known_to_differ() -> None:
    other = {
        row.key: _tag(row).language_name()
        for row in LANGUAGES.values()
        if _tag(row).language_name().casefold() not in row.name.casefold()
    }
    assert other == OTHER_NAMES


def test_autonyms_are_those_of_cldr() -> None:
    for row in LANGUAGES.values():
        if row.autonym is not None:
            alone = langcodes.Language.get(_tag(row).language or "")
            in_script = _tag(row).autonym()  # "Hindi (Latin)"
            known = (alone.autonym(), alone.prefer_macrolanguage().autonym())
            assert row.autonym in known or in_script.startswith(f"{row.autonym} ("), row.key


def test_every_column_has_a_source_and_a_licence() -> None:
    text = resources.files("maple.languages").joinpath("sources.toml").read_text("utf-8")
    sources = tomllib.loads(text)["source"]
    columns = [column for source in sources for column in source["columns"]]
    assert sorted(columns) == sorted(_rows()[0])
    assert all(source["from"] and source["licence"] for source in sources)


def test_the_reference_page_names_every_source() -> None:
    page = Path(__file__).parents[2] / "docs" / "reference" / "languages.md"
    text = resources.files("maple.languages").joinpath("sources.toml").read_text("utf-8")
    for source in tomllib.loads(text)["source"]:
        row = f"| {', '.join(source['columns'])} | {source['from']} | {source['licence']} |"
        assert row in page.read_text("utf-8")


def test_the_table_is_the_shared_one(release_files: Path) -> None:
    path = release_files / "languages" / "languages.csv"
    if not path.is_file():
        pytest.skip(f"no {path}")
    with path.open(encoding="utf-8", newline="") as file:
        assert list(csv.DictReader(file)) == _rows()
