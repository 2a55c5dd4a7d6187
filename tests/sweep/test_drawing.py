"""Training data of a study: every source by every mixture, what is held out, what is told of it."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from maple.errors import StudyError
from maple.records import InstructionRow
from maple.report import build
from maple.store import Store
from maple.study.config import Study
from maple.study.load import validate
from maple.sweep.catalogue import catalogue
from maple.sweep.drawing import Drawn, draw, reads
from maple.sweep.plan import commit, describe, make
from maple.sweep.run import run
from sweep.studies import InProcess, content


def study(folder: Path | None = None, **train: Any) -> Study:
    """The scripted study without evaluation; `train` goes into [train]."""
    given = content(train_bits=[16])
    del given["evaluate"]
    given["train"] |= train
    return validate(given, catalogue(), "test", folder)


def drawn(what: Study, folder: Path | None = None) -> list[Drawn]:
    assert what.train is not None
    problems: list[Any] = []
    found = draw(what.train, folder, problems)
    if problems:
        raise StudyError.of(problems)
    return found


def by_language(rows: tuple[InstructionRow, ...]) -> dict[str, int]:
    return dict(Counter(row.language for row in rows))


MIXTURES = [{"name": "even"}, {"name": "less-english", "english": 0.25}]
OWN = {
    "name": "mine",
    "path": "mine/{language}.json",
    "languages": {"en": "e", "sw": "s"},
    "fields": {"instruction": "q", "output": "a", "id": "n"},
}


def write_own(folder: Path, code: str, count: int = 20) -> None:
    rows = [{"q": f"{code} {n}?", "a": f"{n}" if n != 3 else "", "n": n} for n in range(count)]
    path = folder / "mine" / f"{code}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(rows))


def test_each_source_by_each_mixture_is_training_data_of_its_own(tmp_path: Path) -> None:
    for code in ("e", "s"):
        write_own(tmp_path, code)
    what = study(tmp_path, sources=["mini", "mine"], source=[OWN], mixture=MIXTURES, rows=12)
    found = drawn(what)
    assert [(one.data.source, one.data.mixture) for one in found] == [
        ("mini", "even"),
        ("mini", "less-english"),
        ("mine", "even"),
        ("mine", "less-english"),
    ]
    assert [by_language(one.rows) for one in found[2:]] == [
        {"eng_Latn": 6, "swh_Latn": 6},
        {"eng_Latn": 3, "swh_Latn": 9},
    ]
    assert [(line.rows, line.empty) for line in found[3].data.table] == [(3, 1), (9, 1)]
    plan = make(what, None, None, Store(tmp_path / "out"))
    cells = list(plan.grid.train.values())
    assert [(cell.source, cell.mixture, cell.rows) for cell in cells] == [
        (one.data.source, one.data.mixture, 12) for one in found
    ]


def test_an_even_mixture_is_what_a_study_without_mixtures_trains_on(tmp_path: Path) -> None:
    plain = make(study(rows=12), None, None, Store(tmp_path))
    named = make(study(rows=12, mixture=[{"name": "even"}]), None, None, Store(tmp_path))
    assert list(plain.grid.train) == list(named.grid.train)
    assert plain.checked.drawn[0].data.mixture is None


def test_where_a_source_lies_is_no_part_of_its_identity(tmp_path: Path) -> None:
    ids = []
    for name, path in (("here", "mine/{language}.json"), ("there", "{language}.json")):
        folder = tmp_path / name
        folder.mkdir()
        for code in ("e", "s"):
            write_own(folder, code)
            (folder / f"{code}.json").write_bytes((folder / "mine" / f"{code}.json").read_bytes())
        own = OWN | {"path": path, "name": name}
        plan = make(study(folder, sources=[name], source=[own]), None, None, Store(tmp_path / "o"))
        ids += list(plan.grid.train)
    assert ids[0] == ids[1]


def test_held_out_rows_move_no_cell_and_are_stored(tmp_path: Path) -> None:
    plain = make(study(rows=12), None, None, Store(tmp_path / "a"))
    store = Store(tmp_path / "b")
    what = study(rows=12, validation={"rows": 4})
    plan = make(what, None, None, store)
    assert list(plan.grid.train) == list(plain.grid.train)
    (one,) = plan.checked.drawn
    assert by_language(one.validation) == {"eng_Latn": 4, "swh_Latn": 4}
    assert one.english == tuple(row for row in one.validation if row.language == "eng_Latn")
    assert not set(one.rows) & {*one.validation, *one.english}
    commit(plan, store, b"")
    assert one.data.validation is not None
    assert one.data.english is not None
    assert tuple(store.rows("mini", one.data.validation)) == one.validation
    assert tuple(store.rows("mini", one.data.english)) == one.english
    planned = store.plan()
    assert planned is not None
    assert planned.data == (one.data,)


@pytest.mark.parametrize(
    ("languages", "validation", "mixture", "source", "trained"),
    [
        (["en", "sw"], {"rows": 4}, {}, "mini", True),
        (["sw"], {"rows": 4}, {}, "mini", False),
        (["sw"], {"rows": 4}, {"english": 0.2}, "mini", True),
        (["en", "sw"], {"rows": 4}, {"english": 0.0}, "mini", False),
        (["sw"], {"rows": 4, "english_from": "mine"}, {}, "mine", False),
        (["en", "sw"], {"rows": 4, "english_from": "mine"}, {}, "mine", True),
    ],
)
def test_english_to_measure_forgetting_with(
    tmp_path: Path,
    languages: list[str],
    validation: dict[str, Any],
    mixture: dict[str, Any],
    source: str,
    trained: bool,
) -> None:
    write_own(tmp_path, "e")
    own = OWN | {"languages": {"en": "e"}}
    what = study(
        tmp_path,
        languages=languages,
        rows=10,
        validation=validation,
        source=[own] if source == "mine" else [],
        mixture=[{"name": "m"} | mixture],
    )
    (one,) = drawn(what)
    assert by_language(one.english) == {"eng_Latn": 4}
    assert ("eng_Latn" in by_language(one.rows)) == trained
    assert not set(one.rows) & set(one.english)
    assert all(row.instruction.startswith("e ") for row in one.english) == (source == "mine")
    assert what.train is not None
    assert (source, "eng_Latn") in [(of.name, language) for of, language in reads(what.train)]


def _multialpaca(folder: Path) -> None:
    path = folder / "multialpaca" / "es.jsonl"
    path.parent.mkdir()
    rows = ({"instruction": f"Di {n}", "output": f"{n}"} for n in range(40))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_english_is_lent_to_a_source_without(tmp_path: Path) -> None:
    _multialpaca(tmp_path)
    mixture = {"name": "m", "english": 0.25, "english_from": "mini"}
    what = study(
        sources=["multialpaca"],
        languages=["es"],
        rows=20,
        mixture=[mixture],
        validation={"rows": 3},
    )
    (one,) = drawn(what, tmp_path)
    assert by_language(one.rows) == {"spa_Latn": 15, "eng_Latn": 5}
    assert [line.source for line in one.data.table] == ["mini", "multialpaca"]
    assert one.data.languages == ("eng_Latn", "spa_Latn")
    assert by_language(one.english) == {"eng_Latn": 3}
    assert not set(one.rows) & set(one.english)
    assert what.train is not None
    assert [(of.name, language) for of, language in reads(what.train)] == [
        ("multialpaca", "spa_Latn"),
        ("mini", "eng_Latn"),
    ]


def test_problems_name_source_and_mixture(tmp_path: Path) -> None:
    _multialpaca(tmp_path)
    given = study(
        sources=["multialpaca", "bactrian-x"],
        languages=["es"],
        rows=60,
        mixture=[{"name": "a"}, {"name": "b", "english": 0.1}],
        validation={"rows": 3, "english_from": "bactrian-x"},
    )
    with pytest.raises(StudyError) as caught:
        make(given, tmp_path, None, Store(tmp_path / "out"))
    found = str(caught.value)
    assert "train.sources[0] (multialpaca, mixture a): training source multialpaca has 37" in found
    assert "train.sources[0] (multialpaca, mixture b): training source multialpaca has no " in found
    assert "train.sources[1] (bactrian-x, mixture a): " in found
    assert "none of these files is there: bactrian-x/es.json.gz" in found
    little = study(sources=["multialpaca"], languages=["es"], rows=5, validation={"rows": 3})
    assert little.train is not None
    (one,) = drawn(little, tmp_path)
    assert by_language(one.english) == {"eng_Latn": 3}
    lent = little.train.model_copy(update={"validation": given.train and given.train.validation})
    with pytest.raises(StudyError, match="English to measure forgetting with, from bactrian-x"):
        drawn(little.model_copy(update={"train": lent}), tmp_path)


def test_the_realised_table_is_in_plan_and_report(tmp_path: Path) -> None:
    store = Store(tmp_path / "out")
    plan = make(study(rows=12, mixture=MIXTURES), None, None, store)
    found = describe(plan, store)
    assert found["data"][2] == {
        "source": "mini",
        "mixture": "less-english",
        "language": "eng_Latn",
        "from": "mini",
        "rows": 3,
        "share": 0.25,
        "characters": plan.checked.drawn[1].data.table[0].characters,
        "empty, left out": 0,
        "unpaired, left out": 0,
        "held out": 0,
    }
    commit(plan, store, b"")
    run(plan, store, InProcess(), lambda _event: None)
    page = build(store)
    assert '"caption":"Training data"' in page.read_text(encoding="utf-8")
    assert "mini, less-english" in page.read_text(encoding="utf-8")
    text = (page.parent / "tables" / "training_data.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [(row["mixture"], row["language"], row["rows"], row["share"]) for row in rows] == [
        ("even", "eng_Latn", "6", "0.5"),
        ("even", "swh_Latn", "6", "0.5"),
        ("less-english", "eng_Latn", "3", "0.25"),
        ("less-english", "swh_Latn", "9", "0.75"),
    ]
    words = sum(
        len(f"{row.instruction} {row.input} {row.output}".split())
        for row in plan.checked.drawn[1].rows
        if row.language == "eng_Latn"
    )
    assert (rows[2]["rows_trained"], rows[2]["tokens"]) == ("3", str(words))
