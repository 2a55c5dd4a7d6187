"""Row schemas are frozen; rows come back as they went in."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

from maple.errors import StoreError
from maple.records import ChoiceResponse, Example, GenerateResponse, InstructionRow
from maple.store import files, schemas

GOLDEN = Path(__file__).parents[1] / "golden" / "schemas.json"
TABLES = {
    "items": schemas.ITEMS,
    "instructions": schemas.INSTRUCTIONS,
    "choice_responses": schemas.CHOICE_RESPONSES,
    "generate_responses": schemas.GENERATE_RESPONSES,
    "scores": schemas.SCORES,
    "prompt_sizes": schemas.PROMPT_SIZES,
    "index": schemas.INDEX,
}
CHOICE = Example("x-1", "x", {"premise": "नमस्ते", "b": ""}, (" a", " ä"), 0)
READING = Example("q-1", "p", {"context": "\u202eشمس"}, golds=("one", "two"))


def test_columns_of_this_version_are_the_golden_ones() -> None:
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))[str(schemas.SCHEMA_VERSION)]
    found = {
        name: {field.name: str(field.type) for field in schema} for name, schema in TABLES.items()
    }
    assert found == golden


def test_items_and_instructions_come_back(tmp_path: Path) -> None:
    path = tmp_path / "items.parquet"
    files.write_table(path, schemas.items_table([CHOICE, READING]))
    assert schemas.examples(files.read_table(path, schemas.ITEMS)) == [CHOICE, READING]
    told = (("system", "Be brief."), ("user", "Hi."), ("assistant", ""))
    rows = [
        InstructionRow("1", "eng_Latn", "a\nb", "", "ç"),
        InstructionRow("2", "eng_Latn", "a", "b", "c", told),
    ]
    files.write_table(path, schemas.instructions_table(rows))
    assert schemas.instructions(files.read_table(path, schemas.INSTRUCTIONS)) == rows
    # A file of before version 4 has no column for earlier turns.
    files.write_table(path, schemas.instructions_table(rows[:1]).drop_columns("turns"))
    assert schemas.instructions(files.read_table(path, schemas.INSTRUCTIONS)) == rows[:1]


def test_response_rows_keep_what_scoring_needs() -> None:
    response = ChoiceResponse((-1.5, -2.25), (1, 2), (True, False), 9, (1, 2), (8, 9))
    assert schemas.choice_row(CHOICE, CHOICE.choices, response) == {
        "example_id": "x-1",
        "logprobs": [-1.5, -2.25],
        "n_tokens": [1, 2],
        "n_chars": [2, 2],
        "n_bytes": [2, 3],
        "greedy": [True, False],
        "neutral_logprobs": None,
        "n_prompt_tokens": 9,
        "prompt_head": [1, 2],
        "prompt_tail": [8, 9],
    }
    generated = schemas.generate_row(READING, GenerateResponse(" one", "stop", 3, 7, (1,), (2,)))
    assert generated["text"] == " one"
    assert generated["stop_reason"] == "stop"


def test_the_same_table_gives_the_same_bytes(tmp_path: Path) -> None:
    table = schemas.with_metadata(schemas.items_table([CHOICE, READING]), {"b": 1, "a": 2})
    for name in ("one", "two"):
        files.write_table(tmp_path / name, table)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_other_columns_and_broken_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    files.write_table(path, pa.table({"a": [1]}))
    with pytest.raises(StoreError, match="has columns"):
        files.read_table(path, schemas.SCORES)
    path.write_bytes(b"PAR1")
    with pytest.raises(StoreError, match="cannot be read"):
        files.read_table(path, schemas.SCORES)
    with pytest.raises(StoreError, match="none: is missing"):
        files.read_table(tmp_path / "none", schemas.SCORES)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "x"
    files.write_bytes(path, b"old")

    def fails(temporary: Path) -> None:
        temporary.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(StoreError) as caught:
        files.replace(path, fails)
    assert "No space left" in caught.value.what
    assert "finished cells are kept" in caught.value.hint
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
