"""Training sources on small files of our own, and on the real ones where they are at hand."""

from __future__ import annotations

import gzip
import json
import logging
from pathlib import Path

import pytest

from maple.data.sources import SOURCES, Source
from maple.errors import DataError


def _multialpaca() -> Source:
    source = SOURCES["multialpaca"]
    assert isinstance(source, Source)
    return source


def _write(folder: Path, code: str, *rows: object, packed: bool = False) -> Path:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    path = folder / "multialpaca" / f"{code}.jsonl{'.gz' if packed else ''}"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    return path


ROW = {"instruction": "Name a river.", "input": None, "output": "The Volta."}


@pytest.mark.parametrize("packed", [False, True])
def test_rows_are_numbered_by_line(tmp_path: Path, packed: bool) -> None:
    _write(tmp_path, "es", ROW, ROW | {"input": "in Ghana"}, packed=packed)
    first, second = _multialpaca().rows("spa_Latn", tmp_path)
    assert (first.row_id, first.language, first.input) == ("1", "spa_Latn", "")
    assert (second.row_id, second.input, second.output) == ("2", "in Ghana", "The Volta.")


def test_rows_without_output_are_dropped_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _write(tmp_path, "ja", ROW, ROW | {"output": ""}, ROW | {"output": " \n"}, ROW)
    loaded = _multialpaca().load("jpn_Jpan", tmp_path)
    assert [row.row_id for row in loaded.rows] == ["1", "4"]
    assert loaded.dropped == 2
    with caplog.at_level(logging.WARNING):
        assert len(_multialpaca().rows("jpn_Jpan", tmp_path)) == 2
    assert "dropped 2 rows" in caplog.text


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"instruction": "a", "input": ""}, "es.jsonl:2: no field 'output'"),
        ({"output": "a"}, "es.jsonl:2: no field 'instruction'"),
        (ROW | {"output": None}, "es.jsonl:2: 'output' is null"),
        (ROW | {"instruction": ["a"]}, "es.jsonl:2: 'instruction' is ['a']"),
        (ROW | {"input": 5}, "es.jsonl:2: 'input' is 5"),
    ],
)
def test_a_broken_row_is_an_error_with_file_and_line(
    tmp_path: Path, row: object, message: str
) -> None:
    _write(tmp_path, "es", ROW, row)
    with pytest.raises(DataError) as caught:
        _multialpaca().rows("spa_Latn", tmp_path)
    assert message in caught.value.what


def test_an_id_that_occurs_twice_is_an_error(tmp_path: Path) -> None:
    _write(tmp_path, "es", ROW | {"id": "a"}, ROW | {"id": "b"}, ROW | {"id": "a"})
    with pytest.raises(DataError, match=r"es\.jsonl:3: the id 'a' occurs twice"):
        _multialpaca().rows("spa_Latn", tmp_path)


def test_no_row_left_is_an_error(tmp_path: Path) -> None:
    _write(tmp_path, "es", ROW | {"output": ""})
    with pytest.raises(DataError, match="no row of this file has an output"):
        _multialpaca().rows("spa_Latn", tmp_path)


def test_a_missing_file_or_language_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"multialpaca/es\.jsonl, multialpaca/es\.jsonl\.gz"):
        _multialpaca().rows("spa_Latn", tmp_path)
    with pytest.raises(DataError, match="has no language 'ita_Latn'"):
        _multialpaca().rows("ita_Latn", tmp_path)


@pytest.mark.parametrize(
    ("language", "rows", "dropped"),
    [("spa_Latn", 9958, 0), ("jpn_Jpan", 10190, 1), ("por_Latn", 10825, 0)],
)
def test_the_real_multialpaca(real_data: Path, language: str, rows: int, dropped: int) -> None:
    loaded = _multialpaca().load(language, real_data)
    assert (len(loaded.rows), loaded.dropped) == (rows, dropped)
    assert all(row.instruction and row.output for row in loaded.rows)
