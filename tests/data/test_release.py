"""Reading release files: what is read, and how each kind of damage is reported."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from maple.data.reading import reading
from maple.data.release import exists, find, read_json, read_jsonl
from maple.data.rows import Row, build
from maple.errors import DataError


def test_rows_keep_their_line_numbers(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": "один"}\n\n{"a": null}\n', encoding="utf-8")
    rows = read_jsonl(path)
    assert [(row.number, row.values) for row in rows] == [(1, {"a": "один"}), (3, {"a": None})]
    assert rows[1].where == f"{path}:3"
    assert read_jsonl(path, "shown")[0].where == "shown:1"


def test_gzip_reads_like_plain_text(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress('{"a": "ก"}\n'.encode()))
    assert read_jsonl(path)[0].values == {"a": "ก"}


def test_a_line_separator_inside_a_string_ends_no_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": "one\u2028two\x85three"}\r\n{"a": "b"}', encoding="utf-8")
    assert [row.number for row in read_jsonl(path)] == [1, 2]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1}\n{"a": \n', ":2: not JSON at column"),
        (b'{"a": 1}\n\xff\xfe\n', ":2: not UTF-8"),
        (b'{"a": 1}\n[1]\n', ":2: expected a JSON object, got list"),
        (b"\xef\xbb\xbf{}\n", "starts with a byte-order mark"),
        (b'\xff\xfe{\x00"\x00', "starts with a byte-order mark"),
        (b"", "the file is empty"),
        (b"\n \n", "the file is empty"),
    ],
)
def test_damage_is_named_with_its_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.jsonl") as caught:
        read_jsonl(path)
    assert message in caught.value.what


@pytest.mark.parametrize("keep", [5, 20, -4])
def test_a_truncated_archive_is_named(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"a": "some text that is long enough"}\n' * 9)[:keep])
    with pytest.raises(DataError, match="broken or cut off"):
        read_jsonl(path)


def test_an_archive_that_is_none_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_text("not gzip", encoding="utf-8")
    with pytest.raises(DataError, match="broken or cut off"):
        read_jsonl(path)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_jsonl(tmp_path / "absent.jsonl")
    with pytest.raises(DataError, match="cannot be read"):
        read_jsonl(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b'{"a": "x\\ud800y"}', "half of a pair"),
        (b'{"a": "x\\uDC00"}', "half of a pair"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_what_json_reads_and_nobody_can_write(tmp_path: Path, text: bytes, message: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a": "\\ud83d\\ude00"}\n' + text)
    with pytest.raises(DataError, match=rf"a\.jsonl:2: .*{message}"):
        read_jsonl(path)


@pytest.mark.usefixtures("no_privileges")
def test_missing_permissions_are_named(tmp_path: Path) -> None:
    path = tmp_path / "locked" / "a.jsonl"
    path.parent.mkdir()
    path.write_text("{}", encoding="utf-8")
    path.chmod(0)
    with pytest.raises(DataError, match="permission denied"):
        read_jsonl(path)
    path.parent.chmod(0)
    try:
        with pytest.raises(DataError, match="permission denied"):
            find(tmp_path, "locked/a.jsonl")
    finally:
        path.parent.chmod(0o700)


def test_a_refused_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(DataError, match=r"a\.jsonl: permission denied"):
        read_jsonl(tmp_path / "a.jsonl")


def test_find_takes_the_first_that_exists_and_lists_what_it_looked_for(tmp_path: Path) -> None:
    (tmp_path / "b").write_text("", encoding="utf-8")
    assert find(tmp_path, "a", "b") == tmp_path / "b"
    assert exists(tmp_path, "b")
    assert not exists(tmp_path, "a")
    with pytest.raises(DataError, match="none of these files is there: x, y/z"):
        find(tmp_path, "x", "y/z")
    with pytest.raises(DataError, match="no such folder"):
        find(tmp_path / "absent", "a")


def test_a_broken_json_file_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{\n"a": 1,\n}', encoding="utf-8")
    with pytest.raises(DataError, match=r"a\.json:3: not JSON"):
        read_json(path)


def test_values_of_a_row_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "t", "null": null, "true": true, "n": 3}', encoding="utf-8")
    (row,) = read_jsonl(path)
    assert (row.text("text"), row.integer("n")) == ("t", 3)
    assert (row.optional_text("null"), row.optional_text("absent")) == ("", "")
    with pytest.raises(DataError, match=r"a\.jsonl:1: no field 'absent'; it has 'text'"):
        row.text("absent")
    with pytest.raises(DataError, match="'null' is null, expected a string"):
        row.text("null")
    with pytest.raises(DataError, match="'n' is 3, expected a string"):
        row.optional_text("n")
    with pytest.raises(DataError, match="'true' is True, expected a whole number"):
        row.integer("true")


def test_every_broken_line_is_named_at_once(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"n": 1}\n{"n":\n[]\n{"n": 2}\n', encoding="utf-8")
    with pytest.raises(DataError) as caught:
        read_jsonl(path)
    assert caught.value.what.startswith("2 problems:")
    assert ":2: not JSON" in caught.value.what
    assert ":3: expected a JSON object, got list" in caught.value.what


def test_a_command_may_collect_problems_and_read_on(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"n": 1}\n{"n":\n{"n": "x"}\n{"n": 1}\n{"n": 2}\n', encoding="utf-8")
    with reading(collect=True) as found:
        for _ in range(2):  # each problem is noted once, however often a file is read
            rows = read_jsonl(path)
            assert build(rows, lambda row: row.integer("n"), lambda n: n) == [1, 2]
    assert [what.removeprefix(f"{path}:") for what in found.problems] == [
        "2: not JSON at column 6 (Expecting value)",
        "3: 'n' is 'x', expected a whole number",
        f"4: the id 1 occurs twice; first {path}:1",
    ]
    assert found.files == {path}
    with pytest.raises(DataError, match="2 problems"):
        build(read_jsonl_text(tmp_path), lambda row: row.integer("n"), lambda n: n)


def read_jsonl_text(folder: Path) -> list[Row]:
    path = folder / "b.jsonl"
    path.write_text('{"n": "x"}\n{"n": 1}\n{"n": 1}\n', encoding="utf-8")
    return read_jsonl(path)


def test_many_problems_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("[]\n" * 30, encoding="utf-8")
    with pytest.raises(DataError) as caught:
        read_jsonl(path)
    assert caught.value.what.startswith("30 problems:")
    assert caught.value.what.endswith("  ... 10 more")
    with reading(collect=True), pytest.raises(DataError, match="no line of it can be read"):
        read_jsonl(path)
