"""Exemplars in English, and items translated to English: what is asked, named and refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from maple.data.packaged import MINI
from maple.errors import StudyError
from maple.evaluate.responses import exemplars_of
from maple.report import build
from maple.store import Store
from maple.study.load import validate
from maple.study.setups import setup_of, translated, translation
from maple.sweep.catalogue import catalogue
from maple.sweep.plan import commit, make, notes
from maple.sweep.pull import pull
from maple.sweep.run import run
from maple.tasks import TASKS
from sweep.studies import InProcess, content, planned, swept


def _study(name: str = "xcopa", **section: Any) -> dict[str, Any]:
    study = content(train_bits=[16])
    del study["train"]
    given = {"name": name, "dataset": "mini", "subsets": ["en", "sw"], "n_shot": 2, **section}
    study["evaluate"]["eval_bits"] = [16]
    study["evaluate"]["task"] = [given]
    return study


def _release(folder: Path) -> Path:
    """A folder of XCOPA in Swahili and English, made of `mini`."""
    for split in ("test", "val"):
        for key, path in (
            ("eng_Latn", f"copa_en/{split}-en.jsonl"),
            ("swh_Latn", f"xcopa/data/sw/{split}.sw.jsonl"),
        ):
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((MINI / "xcopa" / f"{key}.{split}.jsonl").read_bytes())
    return folder


def _translations(folder: Path) -> Path:
    """The Swahili test items, "translated": the English ones in the Swahili file."""
    target = folder / "xcopa/data/sw/test.sw.jsonl"
    target.parent.mkdir(parents=True)
    target.write_bytes((MINI / "xcopa" / "eng_Latn.test.jsonl").read_bytes())
    return folder


def test_exemplars_are_in_english_whatever_the_language(tmp_path: Path) -> None:
    both = _study()
    both["evaluate"]["task"].append({**both["evaluate"]["task"][0], "setup": "cross-lingual"})
    outcome, plan, store = swept(both, tmp_path)
    assert not outcome.failed
    cells = {(cell.subset, cell.exemplar_subset): cell for cell in plan.grid.evals.values()}
    # In English it is the same thing, and the same cell.
    assert set(cells) == {("eng_Latn", None), ("swh_Latn", None), ("swh_Latn", "eng_Latn")}
    records = {
        (cell.subset, cell.exemplar_subset): store.eval_record(name, cell)
        for name, cell in plan.grid.evals.items()
    }
    across, english = records["swh_Latn", "eng_Latn"], records["eng_Latn", None]
    assert across is not None
    assert english is not None
    assert across.exemplar_ids == english.exemplar_ids
    assert across.n == 16
    page = build(store).read_text(encoding="utf-8")
    assert "cross-lingual, prompt native, 2 exemplars" in page
    assert "monolingual, prompt native, 2 exemplars" in page


def test_their_words_are_english_and_the_items_words_are_not(tmp_path: Path) -> None:
    plan, _ = planned(_study(setup="cross-lingual", subsets=["sw"]), tmp_path)
    (asked,) = plan.checked.asked
    subset, task = asked.subset, asked.task
    assert subset.exemplar_subset == "eng_Latn"
    shots = exemplars_of("xcopa", "eng_Latn", 2, 0, asked.pool)
    shown = [task.render(shot, subset.exemplar_subset, "native").text for shot in shots]
    assert all("Reason:" in text or "Result:" in text for text in shown)
    item = task.render(asked.items[0], subset.subset, "native").text
    assert "Reason:" not in item
    assert "Result:" not in item


def test_translated_items_are_asked_and_scored_as_english(tmp_path: Path) -> None:
    data, mine = _release(tmp_path / "data"), _translations(tmp_path / "mine")
    section = {
        "dataset": "release",
        "subsets": ["sw"],
        "setup": "translate-test",
        "translations": str(mine),
        "translated_by": "nllb",
    }
    store = Store(tmp_path / "out")
    plan = make(validate(_study(**section), catalogue(), "test"), data, None, store)
    commit(plan, store, b"")
    assert not run(plan, store, InProcess(), lambda _: None).failed
    ((name, cell),) = plan.grid.evals.items()
    assert cell.subset == "swh_Latn.eng_Latn-x-nllb"
    assert cell.exemplar_subset == "eng_Latn"
    record = store.eval_record(name, cell)
    assert record is not None
    assert (record.n, len(record.exemplar_ids)) == (16, 2)
    (asked,) = plan.checked.asked
    assert asked.task.language(cell.subset) == "eng_Latn"
    # The items, the words and the exemplars are those of English.
    english = validate(_study(dataset="release", subsets=["en"]), catalogue(), "test")
    (same,) = make(english, data, None, Store(tmp_path / "b")).checked.asked
    assert asked.items == same.items
    assert (asked.subset.prompt_hash, asked.subset.pool) == (
        same.subset.prompt_hash,
        same.subset.pool,
    )
    assert not [one for one in asked.remarks if "do not read as English" in one]
    page = build(store).read_text(encoding="utf-8")
    assert "translated to English by nllb, asked and scored in English." in page
    assert "translate-test, prompt native" in page
    assert "Swahili in English by nllb" in page


def test_items_that_nobody_translated_are_told(tmp_path: Path) -> None:
    data = _release(tmp_path / "data")
    section = {
        "dataset": "release",
        "subsets": ["sw"],
        "setup": "translate-test",
        "translations": str(data),
        "translated_by": "nobody",
    }
    study = validate(_study(**section), catalogue(), "test")
    (asked,) = make(study, data, None, Store(tmp_path / "out")).checked.asked
    assert [one for one in asked.remarks if re.fullmatch(r"16 of the first 16 do not read .*", one)]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"setup": "crosslingual"}, "evaluate.task[0].setup: got 'crosslingual'"),
        ({"setup": "cross-lingual", "n_shot": 0}, "expected n_shot of 1 or more"),
        ({"setup": "translate-test"}, "translate-test needs translations (a folder)"),
        ({"translated_by": "nllb"}, 'belong to setup = "translate-test"'),
        (
            {"setup": "translate-test", "translations": ".", "translated_by": "NLLB!"},
            "evaluate.task[0].translated_by: got 'NLLB!'",
        ),
        (
            {"setup": "translate-test", "translations": "none", "translated_by": "mt"},
            "evaluate.task[0].translations: ",
        ),
        (
            {"setup": "translate-test", "translations": ".", "translated_by": "mt"},
            "evaluate.task[0].subsets: eng_Latn needs no translation to English",
        ),
        (
            {"setup": "translate-test", "translations": ".", "translated_by": "mt"},
            "evaluate.task[0].dataset: nobody has translated mini",
        ),
        (
            {"name": "belebele", "setup": "cross-lingual"},
            "belebele (mini) has no exemplars",
        ),
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(StudyError) as raised:
        validate(_study(**changes), catalogue(), "s.toml")
    assert problem in raised.value.what


def test_a_translation_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    section = {
        "dataset": "release",
        "subsets": ["sw"],
        "setup": "translate-test",
        "translations": str(tmp_path),
        "translated_by": "mt",
    }
    study = validate(_study(**section), catalogue(), "test")
    data = _release(tmp_path / "data")
    with pytest.raises(StudyError, match=r"none of these files is there: xcopa/data/sw/test\.sw"):
        make(study, data, None, Store(tmp_path / "out"))


def test_exemplars_that_are_lent_are_named_and_worded_as_what_they_are(tmp_path: Path) -> None:
    for name, source in (
        ("xquad/xquad.el.json", "swh_Latn.test"),
        ("xquad/xquad.en.json", "eng_Latn.test"),
        ("mlqa/dev/dev-context-en-question-en.json", "eng_Latn.val"),
    ):
        target = tmp_path / "data" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((MINI / "xquad" / f"{source}.json").read_bytes())
    section = {"dataset": "release", "subsets": ["el"], "prompt": "english"}
    study = validate(_study("xquad", **section), catalogue(), "test")
    plan = make(study, tmp_path / "data", None, Store(tmp_path / "out"))
    (cell,) = plan.grid.evals.values()
    assert (cell.subset, cell.exemplar_subset) == ("ell_Grek", "eng_Latn")
    assert setup_of(cell) == "cross-lingual"
    assert "xquad/ell_Grek: has no exemplars of its own here, takes those of eng_Latn." in notes(
        plan.checked
    )
    # Without shots there is nothing to lend.
    alone = validate(_study("xquad", **{**section, "n_shot": 0}), catalogue(), "test")
    (cell,) = make(alone, tmp_path / "data", None, Store(tmp_path / "b")).grid.evals.values()
    assert setup_of(cell) == "monolingual"


def test_a_pull_fetches_exemplars_in_english(tmp_path: Path) -> None:
    study = validate(_study(setup="cross-lingual", subsets=["sw"]), catalogue(), "test")
    found = pull(study, tmp_path / "data", {}, lambda _: None)
    assert {(one.subset, one.pool) for one in found.tasks} == {
        ("swh_Latn", False),
        ("eng_Latn", True),
    }


def test_names_of_translated_subsets_are_read_back() -> None:
    for subset in ("tha_Thai", "deu_Latn.spa_Latn"):
        assert translation(translated(subset, "nllb")) == (subset, "nllb")
    assert translation("deu_Latn.eng_Latn") is None
    assert translation("eng_Latn-x-rev") is None


def test_a_pair_translated_is_english_on_both_sides() -> None:
    name = translated("deu_Latn.spa_Latn", "mt")
    assert TASKS["mlqa"].language(name) == TASKS["mlqa"].answer_language(name) == "eng_Latn"
    assert TASKS["mlqa"].metric_identity("f1", name) == TASKS["mlqa"].metric_identity(
        "f1", "eng_Latn.eng_Latn"
    )


def test_the_words_of_exemplars_are_part_of_the_identity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = _study(setup="cross-lingual")
    before, _ = planned(study, tmp_path / "a")
    texts = {"eng_Latn": "{premise}\n{question}:", "swh_Latn": "{premise}\n{question}?"}

    def ids(english: str) -> dict[str, str]:
        changed = _study(setup="cross-lingual", prompt="own")
        changed["evaluate"]["prompt"] = [
            {"name": "own", "task": "xcopa", "languages": [key], "text": text}
            for key, text in {**texts, "eng_Latn": english}.items()
        ]
        plan, _ = planned(changed, tmp_path / "b")
        return {cell.subset: cell.prompt_hash for cell in plan.grid.evals.values()}

    first, other = ids(texts["eng_Latn"]), ids("{premise}\nSo {question}:")
    assert first["swh_Latn"] != other["swh_Latn"]
    assert len({cell.prompt_hash for cell in before.grid.evals.values()}) == 2
