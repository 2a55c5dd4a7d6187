"""The small original instruction set that ships inside the package."""

from __future__ import annotations

import json
import unicodedata
from importlib.resources import files

import pytest

# Language key -> prefix of the Unicode names of its letters.
SCRIPTS: dict[str, str] = {
    "eng_Latn": "LATIN",
    "spa_Latn": "LATIN",
    "deu_Latn": "LATIN",
    "swh_Latn": "LATIN",
    "hin_Deva": "DEVANAGARI",
    "arb_Arab": "ARABIC",
    "zho_Hans": "CJK",
}
LANGUAGES = sorted(SCRIPTS)
FIELDS = ("id", "instruction", "input", "output")
ROWS = 24
# Passage questions, whose answer stands word for word in the passage.
PASSAGE_ROWS = ("mini-04", "mini-09", "mini-11", "mini-15", "mini-19", "mini-22")
# "Copy the option" questions, whose answer is one line of the input.
OPTION_ROWS = ("mini-08", "mini-17")


def read_text(language: str) -> str:
    path = files("maple.data") / "mini" / "instructions" / f"{language}.jsonl"
    return path.read_text(encoding="utf-8")


def read_rows(language: str) -> list[dict[str, str]]:
    # Split on "\n" only: str.splitlines would also cut at characters such as U+2028.
    return [json.loads(line) for line in read_text(language).split("\n") if line]


def script_share(text: str, prefix: str) -> float:
    letters = [char for char in text if char.isalpha()]
    if not letters:
        return 1.0
    hits = sum(unicodedata.name(char, "").startswith(prefix) for char in letters)
    return hits / len(letters)


def test_no_other_language_file() -> None:
    folder = files("maple.data") / "mini" / "instructions"
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".jsonl"))
    assert names == [f"{language}.jsonl" for language in LANGUAGES]


@pytest.mark.parametrize("language", LANGUAGES)
def test_rows_and_fields(language: str) -> None:
    rows = read_rows(language)
    assert len(rows) == ROWS
    for row in rows:
        assert tuple(row) == FIELDS
        assert all(isinstance(value, str) for value in row.values())


@pytest.mark.parametrize("language", LANGUAGES)
def test_ids_are_the_same_in_the_same_order(language: str) -> None:
    expected = [f"mini-{index:02d}" for index in range(ROWS)]
    assert [row["id"] for row in read_rows(language)] == expected


@pytest.mark.parametrize("language", LANGUAGES)
def test_empty_inputs_match_english(language: str) -> None:
    english = [row["input"] == "" for row in read_rows("eng_Latn")]
    assert [row["input"] == "" for row in read_rows(language)] == english
    assert sum(english) == ROWS // 2


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_empty_or_padded_text(language: str) -> None:
    for row in read_rows(language):
        assert row["instruction"].strip(), row["id"]
        assert row["output"].strip(), row["id"]
        for field in FIELDS:
            assert row[field] == row[field].strip(), (row["id"], field)


@pytest.mark.parametrize("language", LANGUAGES)
def test_outputs_are_short(language: str) -> None:
    for row in read_rows(language):
        assert 1 <= len(row["output"].split()) <= 60, row["id"]
        assert len(row["output"]) <= 400, row["id"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_duplicates(language: str) -> None:
    rows = read_rows(language)
    inputs = [row["input"] for row in rows if row["input"]]
    assert len({row["instruction"] for row in rows}) == ROWS
    assert len({row["output"] for row in rows}) == ROWS
    assert len(set(inputs)) == len(inputs)


@pytest.mark.parametrize("language", LANGUAGES)
def test_answers_taken_from_the_input(language: str) -> None:
    rows = {row["id"]: row for row in read_rows(language)}
    for row_id in PASSAGE_ROWS:
        assert rows[row_id]["output"].casefold() in rows[row_id]["input"].casefold(), row_id
    for row_id in OPTION_ROWS:
        assert rows[row_id]["output"] in rows[row_id]["input"].split("\n"), row_id


def test_no_row_is_left_untranslated() -> None:
    instructions = [row["instruction"] for language in LANGUAGES for row in read_rows(language)]
    assert len(set(instructions)) == ROWS * len(LANGUAGES)


@pytest.mark.parametrize("language", LANGUAGES)
def test_expected_script(language: str) -> None:
    for row in read_rows(language):
        text = " ".join(row[field] for field in FIELDS if field != "id")
        assert script_share(text, SCRIPTS[language]) > 0.8, row["id"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_stored_as_readable_normalised_text(language: str) -> None:
    text = read_text(language)
    assert "\\u" not in text
    assert text == unicodedata.normalize("NFC", text)
    assert text.endswith("\n")


def test_arabic_has_no_vowel_marks() -> None:
    marks = {char for char in read_text("arb_Arab") if unicodedata.category(char) == "Mn"}
    assert marks == set()
