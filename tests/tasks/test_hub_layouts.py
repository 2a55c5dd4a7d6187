"""Each benchmark read from the hub in the layouts that its repository has had."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from typing import Any

import pytest

from data.small_hub import Hub, jsonl_file, parquet_file
from maple.errors import DataError
from maple.tasks import TASKS

SCRIPT = {"README.md": b"", "loader.py": b"raise SystemExit"}
CONVERTED = "refs/convert/parquet"


def _nli(n: int) -> dict[str, Any]:
    return {"premise": f"Es regnet {n}.", "hypothesis": f"Nass {n}.", "label": n % 3}


def _belebele(n: int) -> dict[str, Any]:
    return {
        "link": f"https://example.org/{n // 2}",
        "question_number": n % 2 + 1,
        "flores_passage": f"Es regnet {n // 2}.",
        "question": f"Wie oft {n}?",
        **{f"mc_answer{k}": f"{n + k}-mal" for k in range(1, 5)},
        "correct_answer_num": str(n % 4 + 1),
        "dialect": "deu_Latn",
        "ds": "2023-05-03",
    }


def _squad(n: int) -> dict[str, Any]:
    context = f"Ana traf Bo {n // 2}-mal."
    answers = {"text": ["Ana"], "answer_start": [0]}
    return {"id": f"q{n}", "context": context, "question": f"Wer {n}?", "answers": answers}


def _news(n: int) -> dict[str, Any]:
    return {"id": f"n{n}", "url": "", "title": "", "summary": f"Kurz {n}.", "text": f"Lang {n}."}


def _news_archive() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:bz2") as archive:
        for split, first in (("train", 90), ("val", 50), ("test", 0)):
            content = jsonl_file(*map(_news, range(first, first + 4)))
            entry = tarfile.TarInfo(f"indonesian_{split}.jsonl")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def _tables(name: str, row: Any, pattern: str) -> dict[str, bytes]:
    """A file a split, four rows in each, different ones."""
    return {
        pattern.format(name, split): parquet_file(*map(row, range(first, first + 4)))
        for split, first in (("test", 0), ("validation", 50))
    }


MAIN = "{}/{}-00000-of-00001.parquet"
BRANCH = "{}/{}/0000.parquet"
XNLI = ("xnli", "deu_Latn", "facebook/xnli")
BELEBELE = ("belebele", "deu_Latn", "facebook/belebele")
MLQA = ("mlqa", "deu_Latn.eng_Latn", "facebook/mlqa")
XLSUM = ("xlsum", "ind_Latn", "csebuetnlp/xlsum")
LAYOUTS: list[tuple[tuple[str, str, str], Mapping[str, bytes], Mapping[str, bytes]]] = [
    (XNLI, _tables("de", _nli, MAIN), {}),
    (XNLI, SCRIPT, _tables("de", _nli, BRANCH)),
    (BELEBELE, {"data/deu_Latn.jsonl": jsonl_file(*map(_belebele, range(4)))}, {}),
    (BELEBELE, SCRIPT, {"deu_Latn/test/0000.parquet": parquet_file(*map(_belebele, range(4)))}),
    (MLQA, _tables("mlqa.de.en", _squad, MAIN), {}),
    (MLQA, SCRIPT, _tables("mlqa.de.en", _squad, BRANCH)),
    (XLSUM, SCRIPT, _tables("indonesian", _news, BRANCH)),
    (XLSUM, {**SCRIPT, "data/indonesian_XLSum_v2.0.tar.bz2": _news_archive()}, {}),
]


@pytest.mark.parametrize(("where", "main", "branch"), LAYOUTS)
def test_the_layouts_of_the_hub(
    hub: Hub,
    where: tuple[str, str, str],
    main: Mapping[str, bytes],
    branch: Mapping[str, bytes],
) -> None:
    name, subset, repo = where
    hub.put(repo, main)
    if branch:
        hub.put(repo, branch, CONVERTED)
    task = TASKS[name]
    items = task.examples("release", subset, None)
    assert len(items) == 4
    assert items[1].target == {"xnli": 1, "belebele": 1}.get(name)
    if name == "belebele":
        assert items[1].cluster_id == items[0].cluster_id != items[2].cluster_id
        with pytest.raises(DataError, match="has no exemplars"):
            task.exemplar_pool("release", subset, None)
    else:
        pool = task.exemplar_pool("release", subset, None)
        assert pool is not None
        assert len(pool) == 4
        assert not {item.example_id for item in items} & {item.example_id for item in pool}
