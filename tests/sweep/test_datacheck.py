"""Folders of release files looked through: ours with every kind of damage, and the real ones."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from maple.errors import DataError
from maple.records import Example
from maple.sweep.datacheck import Found, check, contradictions
from maple.tasks import TASKS


def _copa(idx: int, /, **changes: object) -> dict[str, Any]:
    row: dict[str, Any] = {
        "premise": f"Ilinyesha siku ya {idx}.",
        "choice1": f"Barabara {idx} ililowa.",
        "choice2": f"Barabara {idx} ilikauka.",
        "question": "cause" if idx % 3 else "effect",
        "label": idx % 2,
        "idx": idx,
    }
    return row | changes


def _write(folder: Path, name: str, rows: Sequence[Mapping[str, object] | str]) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def _xcopa(folder: Path, code: str, **changes: object) -> None:
    for split, first in (("test", 0), ("val", 100)):
        rows = [_copa(first + n, **changes) for n in range(6)]
        _write(folder, f"xcopa/data/{code}/{split}.{code}.jsonl", rows)


def _check(folder: Path) -> Found:
    return check(folder, lambda _step: None)


def _states(found: Found) -> list[tuple[str, str, int | None, int | None, str]]:
    return [(one.name, one.subset, one.items, one.exemplars, one.state) for one in found.held]


def test_every_kind_of_damage_is_named_in_one_run(tmp_path: Path) -> None:
    _xcopa(tmp_path, "it")
    broken = _write(
        tmp_path,
        "xcopa/data/sw/test.sw.jsonl",
        [
            _copa(0),
            '{"premise": "Mvua',
            _copa(0),
            _copa(2, label=2),
            {key: value for key, value in _copa(3).items() if key != "choice2"},
            _copa(5),
        ],
    )
    pool = _write(tmp_path, "xcopa/data/sw/val.sw.jsonl", ["[]"])
    rows = [{"instruction": "a", "output": "b"}, {"instruction": "a", "output": ""}]
    source = _write(tmp_path, "multialpaca/es.jsonl", [*rows, {"instruction": 3, "output": "b"}])
    other = _write(tmp_path, "notes/more.jsonl", ["{}", "{"])
    (tmp_path / "notes" / "table.csv").write_text("a,b", encoding="utf-8")
    _write(tmp_path, "README.md", [])
    found = _check(tmp_path)
    assert [problem.what for problem in found.problems] == [
        f"{broken}:2: not JSON at column 13 (Unterminated string starting at)",
        f"{broken}:3: the id 'xcopa-test-0' occurs twice; first {broken}:1",
        f"{broken}:4: 'label' is 2, expected 0 or 1",
        f"{broken}:5: no field 'choice2'; it has 'premise', 'choice1', 'question', 'label', 'idx'",
        f"{pool}:1: expected a JSON object, got list",
        f"{source}:3: 'instruction' is 3, expected a string",
        f"{other}:2: not JSON at column 2 (Expecting property name enclosed in double quotes)",
        f"{pool}: no line of it can be read",
    ]
    assert _states(found) == [
        ("xcopa", "ita_Latn", 6, 6, "a part"),
        ("xcopa", "swh_Latn", 2, None, "a part"),
        ("multialpaca", "spa_Latn", 2, None, "a part"),
    ]
    assert found.held[-1].remarks == ("1 rows without an output are left out",)
    assert found.unread == ["notes/more.jsonl", "notes/table.csv"]


def test_a_folder_of_bactrian_x_is_looked_through_once(tmp_path: Path) -> None:
    rows = [{"instruction": "a", "id": f"alpaca-{n}", "output": "b" * (n > 0)} for n in range(3)]
    path = tmp_path / "bactrian-x" / "de.json"
    path.parent.mkdir()
    path.write_text(json.dumps([*rows, {"instruction": 3, "id": "x", "output": ""}]))
    found = _check(tmp_path)
    assert [problem.what for problem in found.problems] == [
        f"{path}: row 4: 'instruction' is 3, expected a string"
    ]
    assert _states(found) == [("bactrian-x", "deu_Latn", 3, None, "a part")]
    assert found.held[0].remarks == ("1 rows without an output are left out",)
    assert found.unread == []


def test_questions_are_compared_over_languages(tmp_path: Path) -> None:
    for code in ("it", "sw", "id"):
        _xcopa(tmp_path, code)
    _xcopa(tmp_path, "th", question="effect")
    items, pool = _check(tmp_path).problems
    assert items.what == (
        "xcopa (release): tha_Thai: 'question' differs from most languages in 4 items: "
        "xcopa-test-1, xcopa-test-2, xcopa-test-4, xcopa-test-5"
    )
    assert "xcopa-val-100" in pool.what
    assert "copa_en/test-en.jsonl" in items.hint
    # English COPA repairs them; what was repaired is a remark and no problem.
    for split, first in (("test", 0), ("val", 100)):
        _write(tmp_path, f"copa_en/{split}-en.jsonl", [_copa(first + n) for n in range(6)])
    found = _check(tmp_path)
    assert found.problems == []
    thai = next(one for one in found.held if one.subset == "tha_Thai")
    assert thai.remarks == (
        "question (cause or effect) taken from English COPA in 4 items that differ",
    )


def _items(**labels: list[int]) -> dict[str, list[Example]]:
    return {
        subset: [
            Example(f"e{n}", "c", {"question": "cause"}, ("a", "b"), label)
            for n, label in enumerate(given)
        ]
        for subset, given in labels.items()
    }


def test_the_right_choice_is_the_same_in_all_languages() -> None:
    task = TASKS["xcopa"]
    english = _items(eng_Latn=[0, 1, 0], deu_Latn=[0, 1, 0], spa_Latn=[1, 1, 0])
    assert contradictions(task, english) == [
        "spa_Latn: 'label' differs from the English item in 1 items: e0"
    ]
    three = _items(deu_Latn=[0] * 7, ita_Latn=[0] * 7, spa_Latn=[1] * 7)
    assert contradictions(task, three) == [
        "spa_Latn: 'label' differs from most languages in 7 items: e0, e1, e2, e3, e4 and 2 more"
    ]
    # Of two that differ nobody can say which is wrong.
    assert contradictions(task, _items(deu_Latn=[0], spa_Latn=[1])) == [
        "'label' differs between deu_Latn and spa_Latn in 1 items: e0"
    ]


def test_more_items_than_the_release_has(tmp_path: Path) -> None:
    _write(tmp_path, "xcopa/data/it/test.it.jsonl", [_copa(n) for n in range(501)])
    found = _check(tmp_path)
    (problem,) = found.problems
    assert problem.what == "xcopa (release), ita_Latn: 501 items, the release has 500"
    assert _states(found) == [("xcopa", "ita_Latn", 501, None, "more than the release")]


def test_a_folder_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        _check(tmp_path / "absent")
    _write(tmp_path, "other/file.jsonl", ["{}"])
    with pytest.raises(DataError, match="no task and no training source finds files of its own"):
        _check(tmp_path)


@pytest.mark.full
def test_the_real_files_are_sound(release_files: Path) -> None:
    found = _check(release_files)
    assert found.problems == []
    states = {(one.name, one.subset): (one.items, one.state) for one in found.held}
    assert states["xcopa", "tha_Thai"] == (500, "whole")
    assert states["xquad", "zho_Hans"] == (1190, "whole")
    assert states["xnli", "swh_Latn"] == (5010, "whole")
    assert states["belebele", "tha_Thai"] == (900, "whole")
    assert states["mlqa", "eng_Latn.eng_Latn"] == (1148, "whole")
    assert states["xlsum", "tam_Taml"] == (100, "a part")
    assert states["multialpaca", "jpn_Jpan"] == (10191, "whole")
    assert states["bactrian-x", "deu_Latn"] == (12000, "a part")
    (remark,) = next(one for one in found.held if one.name == "bactrian-x").remarks
    assert remark.endswith("not Bactrian-X")
    assert "copa_en/train-en.jsonl" in found.unread
