"""XL-Sum on small release folders of our own, and on the real files where they are at hand."""

from __future__ import annotations

import bz2
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from maple.data.hub import HubDataset
from maple.data.rows import Row
from maple.errors import DataError
from maple.records import Example, GenerateResponse
from maple.tasks.xlsum import XLSUM as TASK


def _row(number: int, /, **changes: object) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": f"world-{number}",
        "url": "",
        "title": f"Boti {number}",
        "summary": f"Boti namba {number} imefika.",
        "text": f"Boti namba {number} imefika bandarini.\nWatu walishangilia.",
    }
    return row | changes


ROWS = [_row(number) for number in range(10)]
POOL = [_row(number) for number in range(50, 53)]


def _jsonl(rows: Sequence[Mapping[str, object]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def _write(folder: Path, name: str, content: bytes) -> Path:
    path = folder / f"xlsum/{name}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    _write(tmp_path, "swahili_test.jsonl", _jsonl(ROWS))
    return _write(tmp_path, "swahili_val.jsonl", _jsonl(POOL))


def _archive() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, rows in (("swahili_test.jsonl", ROWS), ("swahili_val.jsonl", POOL)):
            content = _jsonl(rows)
            entry = tarfile.TarInfo(f"./{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return bz2.compress(buffer.getvalue())


def test_there_are_45_languages_in_two_scripts_where_the_release_has_them() -> None:
    subsets = TASK.subsets("release")
    assert len(subsets) == 45
    assert {"srp_Cyrl", "srp_Latn", "zho_Hans", "zho_Hant", "uzn_Cyrl"} <= set(subsets)


def test_items_are_read_as_released(folder: Path) -> None:
    items = TASK.examples("release", "swh_Latn", folder)
    assert len(items) == 10
    assert items[1] == Example(
        example_id="world-1",
        cluster_id="world-1",
        fields={"text": "Boti namba 1 imefika bandarini.\nWatu walishangilia."},
        golds=("Boti namba 1 imefika.",),
    )
    pool = TASK.exemplar_pool("release", "swh_Latn", folder)
    assert [item.example_id for item in pool] == ["world-50", "world-51", "world-52"]


def test_all_layouts_give_the_same_items(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archived = _write(tmp_path / "archived", "swahili_XLSum_v2.0.tar.bz2", _archive())
    held = {"swahili/test-*.parquet": ROWS, "swahili/validation-*.parquet": POOL}

    def rows(_: HubDataset, *patterns: str) -> list[Row]:
        return [Row(f"hub:{n}", n, row) for n, row in enumerate(held[patterns[0]], start=1)]

    def member(_: HubDataset, archive: str, name: str) -> list[Row]:
        assert archive == "data/swahili_XLSum_v2.0.tar.bz2"
        found = ROWS if name == "swahili_test.jsonl" else POOL
        return [Row(f"hub:{n}", n, row) for n, row in enumerate(found, start=1)]

    monkeypatch.setattr(HubDataset, "rows", rows)
    monkeypatch.setattr(HubDataset, "member", member)
    for read in (TASK.examples, TASK.exemplar_pool):
        local = read("release", "swh_Latn", folder)
        assert read("release", "swh_Latn", archived) == local
        for converted in (True, False):
            monkeypatch.setattr(HubDataset, "has", lambda *_, there=converted: there)
            assert read("release", "swh_Latn", None) == local


def test_a_sample_of_exemplars_serves_where_the_validation_file_is_missing(folder: Path) -> None:
    (folder / "xlsum/swahili_val.jsonl").rename(folder / "xlsum/swahili_fewshot.jsonl")
    assert len(TASK.exemplar_pool("release", "swh_Latn", folder)) == 3


def test_a_scored_article_is_no_exemplar(folder: Path) -> None:
    _write(folder, "swahili_val.jsonl", _jsonl([_row(3, id="again"), *POOL]))
    assert len(TASK.exemplar_pool("release", "swh_Latn", folder)) == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id": "world-0"}, "the id 'world-0' occurs twice"),
        ({"id": " "}, "'id' is empty"),
        ({"text": "\n"}, "'text' is empty"),
        ({"summary": ""}, "'summary' is empty"),
        ({"summary": None}, "'summary' is null, expected a string"),
    ],
)
def test_broken_rows_are_named(tmp_path: Path, changes: Mapping[str, object], message: str) -> None:
    _write(tmp_path, "swahili_test.jsonl", _jsonl([_row(0), _row(1, **changes)]))
    with pytest.raises(DataError) as caught:
        TASK.examples("release", "swh_Latn", tmp_path)
    assert "swahili_test.jsonl:2: " in caught.value.what
    assert message in caught.value.what


def test_scores_of_the_first_line(folder: Path) -> None:
    item = TASK.examples("release", "swh_Latn", folder)[0]

    def scores(text: str) -> list[float]:
        response = GenerateResponse(text, "stop", 3, 9, (), ())
        return [TASK.score(item, response, name, "swh_Latn", "native") for name in TASK.metrics]

    assert TASK.primary_metric == "rougeL"
    assert scores(" Boti namba 0 imefika.\nna zaidi") == [1.0] * 4
    *rouge, chrf = scores(" Boti namba 0")
    assert rouge == pytest.approx([6 / 7, 6 / 7, 4 / 5])
    assert 0.5 < chrf < 0.6
    assert scores("") == [0.0] * 4
    assert TASK.metric_identity("rougeL", "swh_Latn")[1].startswith("F-measure")


def test_the_instruction_stands_before_the_text() -> None:
    assert TASK.prompt_text("fra_Latn", "native") == "Texte : {text}\nRésumé : {summary}"
    assert TASK.prompt_text("fra_Latn", "native-instruction") == (
        "Résume le texte en une phrase.\nTexte : {text}\nRésumé : {summary}"
    )
    assert TASK.prompt_text("ukr_Cyrl", "english") == "Passage: {text}\nSummary: {summary}"


def test_the_real_xlsum(real_data: Path) -> None:
    for key in ("ind_Latn", "tam_Taml"):
        assert len(TASK.examples("release", key, real_data)) == 100
        assert len(TASK.exemplar_pool("release", key, real_data)) == 5
