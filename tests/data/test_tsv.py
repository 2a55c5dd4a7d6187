"""Tables of text separated by tabs: what is read, and how damage is reported."""

from __future__ import annotations

from pathlib import Path

import pytest

from maple.data.tsv import read_tsv
from maple.errors import DataError


def _write(folder: Path, text: str) -> Path:
    path = folder / "a.tsv"
    path.write_bytes(text.encode())
    return path


def test_columns_are_named_by_the_caller_or_by_the_first_line(tmp_path: Path) -> None:
    path = _write(tmp_path, 'a\tb\r\n"1\t2"\n3\t\n\n\n')
    named = read_tsv(path, ("x", "y"))
    assert [row.values for row in named] == [
        {"x": "a", "y": "b"},
        {"x": '"1', "y": '2"'},
        {"x": "3", "y": ""},
    ]
    assert [row.number for row in named] == [1, 2, 3]
    headed = read_tsv(path)
    assert [row.values for row in headed] == [{"a": '"1', "b": '2"'}, {"a": "3", "b": ""}]
    assert headed[1].where == f"{path}:3"


def test_an_empty_line_between_rows_is_named(tmp_path: Path) -> None:
    # Items named by their place would be others from there on.
    with pytest.raises(DataError, match=r"a\.tsv:2: an empty line"):
        read_tsv(_write(tmp_path, "a\tb\n\nc\td\n"), ("x", "y"))


def test_a_line_separator_inside_a_text_ends_no_line(tmp_path: Path) -> None:
    (row,) = read_tsv(_write(tmp_path, "one\u2028two\x85\tb\n"), ("x", "y"))
    assert row.values == {"x": "one\u2028two\x85", "y": "b"}


def test_lines_of_other_columns_are_named_all_at_once(tmp_path: Path) -> None:
    path = _write(tmp_path, "a\tb\n1\n2\t3\n4\t5\t6\n")
    with pytest.raises(DataError) as caught:
        read_tsv(path, ("x", "y"))
    assert f"{path}:2: 1 columns, expected 2 separated by tabs: x, y" in caught.value.what
    assert f"{path}:4: 3 columns" in caught.value.what


@pytest.mark.parametrize("text", ["", "\n\n"])
def test_an_empty_file_is_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError, match=r"a\.tsv: the file is empty"):
        read_tsv(_write(tmp_path, text), ("x",))


def test_other_encodings_are_named_with_their_line(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_bytes(b"a\tb\n\xff\tb\n")
    with pytest.raises(DataError, match=r"a\.tsv:2: not UTF-8"):
        read_tsv(path, ("x", "y"))
