"""Sources that a study describes: their files, fields, languages and conversations."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from data.small_hub import Hub, jsonl_file, parquet_file
from maple.data.user import source_of
from maple.errors import DataError
from maple.records import UserSource

ROWS = [
    {"q": "Name a river.", "ctx": None, "a": "The Volta.", "lang": "en", "n": 7},
    {"q": "Nombra un río.", "ctx": "en Perú", "a": "El Ucayali.", "lang": "es", "n": 7},
    {"q": "Nombra un lago.", "ctx": "", "a": " ", "lang": "es", "n": 8},
]
PLAIN = UserSource(
    name="mine",
    path="",
    hub=None,
    revision="main",
    languages={"spa_Latn": "es"},
    column=None,
    fields={"instruction": "q", "input": "ctx", "output": "a"},
    roles={},
    where="train.source[0]",
)
CHAT = replace(PLAIN, fields={"messages": "messages", "id": "id"})


def _chat(*turns: tuple[str, str], **names: str) -> dict[str, Any]:
    role, content = names.get("role", "role"), names.get("content", "content")
    return {"id": "c", "messages": [{role: who, content: text} for who, text in turns]}


def _write(path: Path, *rows: object) -> str:
    if path.suffix == ".parquet":
        path.write_bytes(parquet_file(*rows))  # type: ignore[arg-type]
    else:
        packed = path.suffix == ".gz"
        lines = ".jsonl" in path.name
        text = "".join(json.dumps(row) + "\n" for row in rows) if lines else json.dumps(rows)
        path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    return str(path)


@pytest.mark.parametrize("name", ["es.json", "es.jsonl", "es.json.gz", "es.jsonl.gz", "es.parquet"])
def test_files_of_every_format(tmp_path: Path, name: str) -> None:
    _write(tmp_path / name, *ROWS[1:])
    path = str(tmp_path / name.replace("es", "{language}", 1))
    source = source_of(replace(PLAIN, path=path))
    (row,) = source.load("spa_Latn", None).rows
    assert (row.row_id, row.language) == ("1", "spa_Latn")
    assert (row.instruction, row.input, row.output) == ("Nombra un río.", "en Perú", "El Ucayali.")
    assert source.load("spa_Latn", None).empty == 1
    assert (source.languages, source.parallel) == (("spa_Latn",), False)


def test_a_column_tells_the_language_and_the_file_is_read_once(tmp_path: Path) -> None:
    path = _write(tmp_path / "all.jsonl", *ROWS)
    fields = {**PLAIN.fields, "id": "n"}
    languages = {"spa_Latn": "es", "eng_Latn": "en", "deu_Latn": "ger"}
    source = source_of(replace(PLAIN, path=path, column="lang", fields=fields, languages=languages))
    assert source.parallel
    assert [row.row_id for row in source.load("eng_Latn", None).rows] == ["7"]
    Path(path).unlink()
    assert [row.row_id for row in source.load("spa_Latn", None).rows] == ["7"]
    with pytest.raises(DataError, match=r"all\.jsonl: no row has 'ger' in 'lang'") as caught:
        source.load("deu_Latn", None)
    assert caught.value.hint == "it has: en, es"


def test_a_set_on_the_hub(hub: Hub, tmp_path: Path) -> None:
    hub.put("me/set", {"data/es-1.jsonl": jsonl_file(*ROWS[1:]), "data/en.jsonl": b""}, "v2")
    source = source_of(replace(PLAIN, hub="me/set", revision="v2", path="data/{language}-*.jsonl"))
    # The folder of release files has nothing to do with it.
    assert len(source.load("spa_Latn", tmp_path).rows) == 1


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"instruction": "question", "output": "a"}, "no field 'question'; it has 'q', 'ctx'"),
        ({"instruction": "q", "output": "n"}, "'n' is 7, expected a string"),
        ({"instruction": "q", "output": "a", "id": "lang"}, "the id 'es' occurs twice"),
        ({"instruction": "q", "output": "a", "id": "ctx"}, "'ctx' is null, expected a string"),
    ],
)
def test_fields_that_are_not_there(tmp_path: Path, fields: dict[str, str], message: str) -> None:
    path = _write(tmp_path / "es.jsonl", *ROWS)
    with pytest.raises(DataError) as caught:
        source_of(replace(PLAIN, path=path, fields=fields)).load("spa_Latn", None)
    assert message in caught.value.what
    if "twice" not in message:
        assert f"hint: compare it with {PLAIN.where}.fields" in str(caught.value)


@pytest.mark.parametrize("name", ["c.jsonl", "c.parquet"])
def test_conversations(tmp_path: Path, name: str) -> None:
    rows = [
        _chat(
            ("system", "Be brief."),
            ("user", "Hi."),
            ("assistant", "Hello."),
            ("user", "A river?"),
            ("assistant", "The Volta."),
        ),
        _chat(("user", "A lake?"), ("assistant", "Titicaca.")) | {"id": "d"},
        _chat(("user", "Unanswered?")) | {"id": "e"},
    ]
    loaded = source_of(replace(CHAT, path=_write(tmp_path / name, *rows))).load("spa_Latn", None)
    first, second = loaded.rows
    assert (first.row_id, first.instruction, first.output) == ("c", "A river?", "The Volta.")
    assert first.turns == (("system", "Be brief."), ("user", "Hi."), ("assistant", "Hello."))
    assert (second.instruction, second.output, second.turns) == ("A lake?", "Titicaca.", ())
    assert loaded.empty == 1


def test_other_names_of_roles(tmp_path: Path) -> None:
    row = _chat(("human", "A lake?"), ("gpt", "Titicaca."), role="from", content="value")
    fields = {**CHAT.fields, "role": "from", "content": "value"}
    given = replace(CHAT, path=_write(tmp_path / "c.jsonl", row), fields=fields)
    with pytest.raises(DataError) as caught:
        source_of(given).load("spa_Latn", None)
    assert "c.jsonl:1, messages[0]: role 'human', expected one of system, user," in str(
        caught.value
    )
    assert caught.value.hint == 'say what it is in train.source[0]: roles = { human = "user" }'
    roles = {"human": "user", "gpt": "assistant"}
    (found,) = source_of(replace(given, roles=roles)).load("spa_Latn", None).rows
    assert (found.instruction, found.output) == ("A lake?", "Titicaca.")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"id": "c", "text": "a"}, "'messages' is no list of messages; it has id, text"),
        ({"id": "c", "messages": ["a"]}, "'messages' is no list of messages"),
        (_chat(), "'messages': no user asks at its end, but: nothing"),
        (_chat(("system", "a"), ("assistant", "b")), "no user asks at its end, but: system"),
        (_chat(("user", "a"), ("assistant", 3)), "messages[1]: 'content' is 3"),  # type: ignore[arg-type]
    ],
)
def test_conversations_that_are_none(tmp_path: Path, row: object, message: str) -> None:
    path = _write(tmp_path / "c.jsonl", row)
    with pytest.raises(DataError) as caught:
        source_of(replace(CHAT, path=path)).load("spa_Latn", None)
    assert message in caught.value.what


def test_files_that_are_not_there_or_broken(tmp_path: Path) -> None:
    for name in ("none.jsonl", "none.parquet"):
        with pytest.raises(DataError, match=name):
            source_of(replace(PLAIN, path=str(tmp_path / name))).load("spa_Latn", None)
    (tmp_path / "x.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match="not a readable Parquet file"):
        source_of(replace(PLAIN, path=str(tmp_path / "x.parquet"))).load("spa_Latn", None)
