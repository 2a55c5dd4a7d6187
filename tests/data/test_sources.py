"""Training sources on small files of our own, and on the real ones where they are at hand."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path

import pytest

from data.small_hub import CONVERTED, MAIN, Hub, parquet_file
from maple.data.mixtures import select
from maple.data.reading import reading
from maple.data.sizes import trained_on
from maple.data.sources import SOURCES, Source
from maple.errors import DataError
from maple.languages import language
from maple.records import Mixture


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
    first, second = _multialpaca().load("spa_Latn", tmp_path).rows
    assert (first.row_id, first.language, first.input) == ("1", "spa_Latn", "")
    assert (second.row_id, second.input, second.output) == ("2", "in Ghana", "The Volta.")


def test_rows_without_output_are_dropped_and_counted(tmp_path: Path) -> None:
    _write(tmp_path, "ja", ROW, ROW | {"output": ""}, ROW | {"output": " \n"}, ROW)
    loaded = _multialpaca().load("jpn_Jpan", tmp_path)
    assert [row.row_id for row in loaded.rows] == ["1", "4"]
    assert loaded.empty == 2


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
        _multialpaca().load("spa_Latn", tmp_path)
    assert message in caught.value.what


def test_an_id_that_occurs_twice_is_an_error(tmp_path: Path) -> None:
    _write(tmp_path, "es", ROW | {"id": "a"}, ROW | {"id": "b"}, ROW | {"id": "a"})
    with pytest.raises(DataError, match=r"es\.jsonl:3: the id 'a' occurs twice"):
        _multialpaca().load("spa_Latn", tmp_path)


def test_no_row_left_is_an_error(tmp_path: Path) -> None:
    _write(tmp_path, "es", ROW | {"output": ""})
    with pytest.raises(DataError, match="no row of this file has an output"):
        _multialpaca().load("spa_Latn", tmp_path)


def test_a_missing_file_or_language_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"multialpaca/es\.jsonl, multialpaca/es\.jsonl\.gz"):
        _multialpaca().load("spa_Latn", tmp_path)
    with pytest.raises(DataError, match="has no language 'ita_Latn'"):
        _multialpaca().load("ita_Latn", tmp_path)


@pytest.mark.parametrize(
    ("language", "rows", "dropped"),
    [("spa_Latn", 9958, 0), ("jpn_Jpan", 10190, 1), ("por_Latn", 10825, 0)],
)
def test_the_real_multialpaca(real_data: Path, language: str, rows: int, dropped: int) -> None:
    loaded = _multialpaca().load(language, real_data)
    assert (len(loaded.rows), loaded.empty) == (rows, dropped)
    assert all(row.instruction and row.output for row in loaded.rows)


def _bactrian(count: int, **changes: dict[int, object]) -> list[dict[str, object]]:
    """Rows in Bactrian-X's format; `changes` replace values of a field by row."""
    rows: list[dict[str, object]] = [
        {"instruction": f"Say {n}.", "input": "", "id": f"alpaca-{n}", "output": f"{n}"}
        for n in range(count)
    ]
    for name, values in changes.items():
        for number, value in values.items():
            rows[number][name] = value
    return rows


def _put(folder: Path, name: str, rows: object) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(row) + "\n" for row in rows) if ".jsonl" in name else None
    text = (json.dumps(rows, indent=1) if lines is None else lines).encode()
    path.write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    return path


@pytest.mark.parametrize(
    "name",
    [
        *("bactrian-x/de.json.gz", "bactrian-x/de.json", "bactrian-x/data/de.json.gz"),
        *("bactrian-x/de.jsonl", "bactrian_format/de.json.gz"),
    ],
)
def test_bactrian_x_as_an_array_or_in_lines(tmp_path: Path, name: str) -> None:
    _put(tmp_path, name, _bactrian(4, output={2: " "}))
    loaded = SOURCES["bactrian-x"].load("deu_Latn", tmp_path)
    assert [row.row_id for row in loaded.rows] == ["alpaca-0", "alpaca-1", "alpaca-3"]
    assert (loaded.rows[1].instruction, loaded.rows[1].output, loaded.empty) == ("Say 1.", "1", 1)
    assert ("not Bactrian-X" in loaded.remark) == ("format" in name)


def test_broken_rows_of_an_array_are_named_by_their_place(tmp_path: Path) -> None:
    rows = [*_bactrian(3, output={1: 5}), 7, {"instruction": "\ud83d", "output": "x"}]
    _put(tmp_path, "bactrian-x/de.json", rows)
    with pytest.raises(DataError) as caught:
        SOURCES["bactrian-x"].load("deu_Latn", tmp_path)
    assert "de.json: row 4: expected a JSON object, got int" in caught.value.what
    assert "de.json: row 5: an escaped character is half of a pair" in caught.value.what
    _put(tmp_path, "bactrian-x/de.json", rows[:3])
    with pytest.raises(DataError, match=r"de\.json: row 2: 'output' is 5, expected a string"):
        SOURCES["bactrian-x"].load("deu_Latn", tmp_path)
    (tmp_path / "bactrian-x" / "de.json").write_text('[{"instruction": "a"')
    with pytest.raises(DataError, match="not JSON at column"):
        SOURCES["bactrian-x"].load("deu_Latn", tmp_path)
    (tmp_path / "bactrian-x" / "de.json").write_text("[]")
    with pytest.raises(DataError, match="the file is empty"):
        SOURCES["bactrian-x"].load("deu_Latn", tmp_path)


def test_presets_are_parts_of_bactrian_x() -> None:
    eleven, more = SOURCES["bactrian-x-11"], SOURCES["bactrian-x-22"]
    assert eleven.languages == SOURCES["multialpaca"].languages
    assert len(more.languages) == 22
    assert set(more.languages) - set(eleven.languages) == {
        language(code).key
        for code in ("en", "zh", "hi", "it", "tr", "sw", "ta", "bn", "et", "tl", "ur")
    }
    assert len(SOURCES["bactrian-x"].languages) == 52
    # As many as MultiAlpaca's 132,701, so far as every language has the same ids.
    assert {name: trained_on(source) for name, source in SOURCES.items()} == {
        "mini": 7 * len(SOURCES["mini"].load("eng_Latn", None).rows),
        "multialpaca": 132_701,
        "bactrian-x": 52 * 67_017,
        "bactrian-x-11": 11 * 12_063,
        "bactrian-x-11:full": 11 * 67_017,
        "bactrian-x-22": 22 * 6_031,
        "bactrian-x-22:full": 22 * 67_017,
    }


def test_a_preset_draws_the_same_ids_and_drops_what_one_language_lacks(tmp_path: Path) -> None:
    _put(tmp_path, "bactrian-x/de.json", _bactrian(30, output={2: "", 3: ""}))
    _put(tmp_path, "bactrian-x/es.json", _bactrian(30, output={4: ""}))
    found = select(
        SOURCES["bactrian-x-11:full"], Mixture(None, 0), ["deu_Latn", "spa_Latn"], tmp_path
    )
    assert Counter(row.language for row in found.rows) == {"deu_Latn": 27, "spa_Latn": 27}
    lost = {"alpaca-2", "alpaca-3", "alpaca-4"}
    assert not {row.row_id for row in found.rows} & lost
    assert [(line.empty, line.unpaired) for line in found.table] == [(2, 1), (1, 2)]
    sized = SOURCES["bactrian-x-11"]
    with pytest.raises(DataError, match="has 27 rows in deu_Latn, 12063 were asked for"):
        select(sized, Mixture(None, 0), ["deu_Latn", "spa_Latn"], tmp_path)


def test_bactrian_x_on_the_hub(hub: Hub) -> None:
    packed = gzip.compress(json.dumps(_bactrian(3)).encode())
    hub.put("MBZUAI/Bactrian-X", {"Bactrian-X.py": b"raise", "data/de.json.gz": packed})
    with reading() as found:
        assert len(SOURCES["bactrian-x-11"].load("deu_Latn", None).rows) == 3
        assert found.snapshots["MBZUAI/Bactrian-X", "main"].commit == MAIN


def test_bactrian_x_as_the_hub_converts_it(hub: Hub) -> None:
    hub.put("MBZUAI/Bactrian-X", {"Bactrian-X.py": b"raise"})
    files = {"de/train/0000.parquet": parquet_file(*_bactrian(5))}
    hub.put("MBZUAI/Bactrian-X", files, "refs/convert/parquet")
    with reading() as found:
        assert len(SOURCES["bactrian-x"].load("deu_Latn", None).rows) == 5
        key = "MBZUAI/Bactrian-X", "refs/convert/parquet"
        assert found.snapshots[key].commit == CONVERTED


def test_the_real_rows_in_the_format_of_bactrian_x(real_data: Path) -> None:
    languages = ["deu_Latn", "eng_Latn"]
    found = select(SOURCES["bactrian-x-22"], Mixture(None, 0), languages, real_data)
    assert [line.rows for line in found.table] == [6031, 6031]
    ids = [{row.row_id for row in found.rows if row.language == key} for key in languages]
    assert ids[0] == ids[1]
    (remark,) = found.remarks
    assert remark.startswith("bactrian-x-22: read from bactrian_format: other rows in")
