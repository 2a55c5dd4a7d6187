"""Data fetched ahead, and data folders looked through, from a small hub on this machine."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data.small_hub import CONVERTED, MAIN, Hub, jsonl_file, parquet_file
from maple.data.pulled import MANIFEST, load, opened
from maple.errors import DataError, StudyError
from maple.store import Store
from maple.study.config import Study
from maple.study.load import validate
from maple.sweep import datacheck
from maple.sweep.catalogue import catalogue
from maple.sweep.plan import Plan, commit, make
from maple.sweep.pull import pull
from maple.tasks import TASKS


def copa(idx: int, /, **changes: object) -> dict[str, Any]:
    row: dict[str, Any] = {
        "premise": f"Ilinyesha siku ya {idx}.",
        "choice1": f"Barabara {idx} ililowa.",
        "choice2": f"Barabara {idx} ilikauka.",
        "question": "cause" if idx % 3 else "effect",
        "label": idx % 2,
        "idx": idx,
    }
    return row | changes


def squad(number: int, name: str) -> dict[str, Any]:
    context = f"{name} {number // 2}: Ana alikutana na Bo mwaka {1900 + number // 2}."
    return {
        "id": f"{name}-{number}",
        "context": context,
        "question": f"Nani alikutana na nani mara {number}?",
        "answers": {"text": ["Ana"], "answer_start": [context.index("Ana")]},
    }


ROWS = 8


def fill(hub: Hub) -> None:
    """The layouts of the hub: Parquet on main, a script with a converted branch, raw files."""
    tests, vals = range(ROWS), range(100, 100 + ROWS)
    hub.put(
        "cambridgeltl/xcopa",
        {
            f"{code}/{split}-00000-of-00001.parquet": parquet_file(
                *(copa(n, question="effect") if code == "th" else copa(n) for n in numbers)
            )
            for code in ("th", "it")
            for split, numbers in (("test", tests), ("validation", vals))
        },
    )
    hub.put("aps/super_glue", {"super_glue.py": b"raise SystemExit"})
    hub.put(
        "aps/super_glue",
        {
            "copa/test/0000.parquet": parquet_file(*(copa(n, label=-1) for n in tests)),
            "copa/validation/0000.parquet": parquet_file(*(copa(n) for n in vals)),
        },
        "refs/convert/parquet",
    )
    hub.put(
        "google/xquad",
        {
            f"xquad.{code}/validation-00000-of-00001.parquet": parquet_file(
                *(squad(n, "xquad") for n in range(ROWS))
            )
            for code in ("de", "el", "en")
        },
    )
    hub.put("facebook/mlqa", {"mlqa.py": b""})
    hub.put(
        "facebook/mlqa",
        {
            f"mlqa.{code}.{code}/validation/0000.parquet": parquet_file(
                *(squad(n, "mlqa") for n in range(ROWS))
            )
            for code in ("de", "en")
        },
        "refs/convert/parquet",
    )
    hub.put(
        "DAMO-NLP-MT/multialpaca",
        {
            "es.jsonl": jsonl_file(
                *({"instruction": f"Di {n}", "output": f"{n}"} for n in range(ROWS))
            )
        },
    )


@pytest.fixture
def filled(hub: Hub) -> Hub:
    fill(hub)
    return hub


def study(**changes: Any) -> Study:
    content = {
        "name": "pulled",
        "base": {"models": ["scripted:hash"]},
        "train": {
            "sources": ["multialpaca"],
            "languages": ["es"],
            "r": [8],
            "lora_alpha": "2r",
            "train_bits": [16],
        },
        "evaluate": {
            "task": [
                {"name": "xcopa", "subsets": changes.get("xcopa", ["en", "th"]), "n_shot": 2},
                {"name": "xquad", "subsets": ["de", "el"], "n_shot": 2},
                {"name": "xquad", "subsets": ["en"], "n_shot": 2, "dataset": "mini"},
            ]
        },
    }
    return validate(content, catalogue(), "test")


def planned(folder: Path | None, out: Path, what: Study | None = None) -> Plan:
    store = Store(out)
    plan = make(what or study(), folder, None, store)
    commit(plan, store, b"")
    return plan


def quiet(_step: str) -> None:
    """Nothing is shown."""


def test_a_pulled_folder_gives_the_cells_of_the_hub(filled: Hub, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    made = pull(study(), folder, {}, quiet)
    assert made.complete
    assert len(made.files) == 11
    from_hub = planned(None, tmp_path / "a")
    filled.requests.clear()
    pulled = planned(folder, tmp_path / "b")
    assert filled.requests == []
    assert (pulled.grid.train, pulled.grid.evals) == (from_hub.grid.train, from_hub.grid.evals)
    assert pulled.grid.scores == from_hub.grid.scores
    assert pulled.locks == from_hub.locks
    assert pulled.locks["dataset:google/xquad@main"] == f"hub:google/xquad@{MAIN}"
    converted = pulled.locks["dataset:facebook/mlqa@refs/convert/parquet"]
    assert converted == f"hub:facebook/mlqa@{CONVERTED}"
    thai = next(asked for asked in pulled.checked.asked if asked.subset.subset == "tha_Thai")
    assert thai.remarks == (
        "question (cause or effect) taken from English COPA in 5 items that differ",
        "exemplars: question (cause or effect) taken from English COPA in 6 items that differ",
    )


def test_a_plan_stays_at_its_commits(filled: Hub, tmp_path: Path) -> None:
    greek = {"name": "xquad", "subsets": ["el"], "n_shot": 0}
    content = {
        "name": "small",
        "base": {"models": ["scripted:hash"]},
        "evaluate": {"eval_bits": [16], "task": [greek]},
    }
    small = validate(content, catalogue(), "test")
    first = planned(None, tmp_path / "out", small)
    name = "xquad.el/validation-00000-of-00001.parquet"
    filled.put("google/xquad", {name: parquet_file(squad(1, "other"))}, commit="c" * 40)
    assert planned(None, tmp_path / "out", small).grid.evals == first.grid.evals
    assert planned(None, tmp_path / "new", small).grid.evals != first.grid.evals
    pull(small, tmp_path / "later", {}, quiet)
    with pytest.raises(StudyError) as caught:
        make(small, tmp_path / "later", None, Store(tmp_path / "out"))
    said = "is fixed to main at aaaaaaaaaaaa, the pulled folder has cccccccccccc"
    assert said in caught.value.what
    pull(small, tmp_path / "same", first.locks, quiet)
    assert planned(tmp_path / "same", tmp_path / "out", small).grid.evals == first.grid.evals


def test_an_interrupted_pull_goes_on(
    filled: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "data"

    def stop_at(wanted: str) -> Callable[[str], None]:
        def step(name: str) -> None:
            if name == wanted:
                raise KeyboardInterrupt

        return step

    with pytest.raises(KeyboardInterrupt):
        pull(study(), folder, {}, stop_at("xquad/ell_Grek"))
    begun = load(folder).manifest
    assert (begun.complete, len(begun.files)) == (False, 7)
    with pytest.raises(StudyError, match="the pull has not finished"):
        make(study(), folder, None, Store(tmp_path / "out"))
    (problem,) = datacheck.check(folder, quiet).problems
    assert problem.what == f"{folder}: the pull has not finished"
    # The hub moves on; what is begun stays one state of it. A copy that broke is fetched anew.
    filled.put("google/xquad", {}, commit="c" * 40)
    broken = next(key for key in begun.files if "mlqa.de.de" in key)
    (folder / broken).write_bytes(b"half")
    filled.fetched()
    made = pull(study(), folder, {}, quiet)
    assert made.complete
    assert len(made.files) == 11
    assert {name.split("/")[0] for name in filled.fetched()} == {
        "xquad.el",
        "xquad.en",
        "mlqa.en.en",
        "es.jsonl",
    }
    assert datacheck.check(folder, quiet).problems == []


def _news() -> bytes:
    """A release of XL-Sum: an archive with a file a split."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:bz2") as archive:
        for split, n in (("test", 1), ("val", 2)):
            row = {"id": f"n{n}", "text": f"Panjang {n}.", "summary": f"Singkat {n}."}
            entry = tarfile.TarInfo(f"indonesian_{split}.jsonl")
            entry.size = len(jsonl_file(row))
            archive.addfile(entry, io.BytesIO(jsonl_file(row)))
    return buffer.getvalue()


def test_a_pulled_folder_remembers_what_the_hub_lacks(hub: Hub, tmp_path: Path) -> None:
    raw = {"xlsum.py": b"", "data/indonesian_XLSum_v2.0.tar.bz2": _news()}
    hub.put("csebuetnlp/xlsum", raw)  # without a converted branch
    section = {"name": "xlsum", "subsets": ["id"], "n_shot": 1}
    content = {
        "name": "news",
        "base": {"models": ["scripted:hash"]},
        "evaluate": {"eval_bits": [16], "task": [section]},
    }
    folder = tmp_path / "data"
    pull(validate(content, catalogue(), "test"), folder, {}, quiet)
    task = TASKS["xlsum"]
    expected = task.examples("release", "ind_Latn", None)
    hub.requests.clear()
    with opened(folder, {}) as (source, _):
        assert task.examples("release", "ind_Latn", source) == expected
    assert hub.requests == []
    (held,) = datacheck.check(folder, quiet).held
    assert (held.items, held.exemplars, held.state) == (1, 1, "a part")


def test_all_that_a_mixture_reads_is_pulled(filled: Hub, tmp_path: Path) -> None:
    def rows(code: str) -> bytes:
        return json.dumps(
            [
                {"instruction": f"{code} {n}", "id": f"alpaca-{n}", "output": "x"}
                for n in range(ROWS)
            ]
        ).encode()

    names = {f"data/{code}.json": rows(code) for code in ("es", "en")}
    filled.put("MBZUAI/Bactrian-X", {"Bactrian-X.py": b"raise SystemExit", **names})
    filled.put("me/set", {"es.jsonl": jsonl_file(*({"q": f"{n}", "a": "x"} for n in range(ROWS)))})
    own = {
        "name": "mine",
        "hub": "me/set",
        "path": "{language}.jsonl",
        "languages": ["es"],
        "fields": {"instruction": "q", "output": "a"},
    }
    content = {
        "name": "mixed",
        "base": {"models": ["scripted:hash"]},
        "train": {
            "sources": ["multialpaca", "bactrian-x-11", "mine"],
            "languages": ["es"],
            "source": [own],
            "mixture": [{"name": "m", "english": 0.25, "english_from": "bactrian-x"}],
            "validation": {"rows": 1},
            "rows": 4,
            "r": [8],
            "lora_alpha": "2r",
            "train_bits": [16],
        },
    }
    what = validate(content, catalogue(), "test")
    folder = tmp_path / "data"
    made = pull(what, folder, {}, quiet)
    assert [(one.source, one.language) for one in made.sources] == [
        ("multialpaca", "spa_Latn"),
        ("bactrian-x", "eng_Latn"),
        ("bactrian-x", "spa_Latn"),
    ]
    from_hub = planned(None, tmp_path / "a", what)
    filled.requests.clear()
    assert planned(folder, tmp_path / "b", what).grid.train == from_hub.grid.train
    assert filled.requests == []
    assert "dataset:me/set@main" in from_hub.locks
    held = datacheck.check(folder, quiet).held
    assert [(one.name, one.subset, one.items) for one in held] == [
        ("multialpaca", "spa_Latn", ROWS),
        ("bactrian-x", "eng_Latn", ROWS),
        ("bactrian-x", "spa_Latn", ROWS),
    ]


def test_what_cannot_be_fetched_is_named_at_once(filled: Hub, tmp_path: Path) -> None:
    del filled.repos["DAMO-NLP-MT/multialpaca"]
    filled.refused["google/xquad"] = (403, "GatedRepo")
    folder = tmp_path / "data"
    with pytest.raises(StudyError) as caught:
        pull(study(), folder, {}, quiet)
    for what in (
        "xquad/deu_Latn: hub dataset google/xquad at main: its owner must grant access",
        "xquad/ell_Grek: hub dataset google/xquad at main",
        "multialpaca/spa_Latn: hub dataset DAMO-NLP-MT/multialpaca at main: no such dataset",
    ):
        assert what in caught.value.what
    assert not load(folder).manifest.complete
    assert [one.subset for one in load(folder).manifest.tasks if one.task == "xcopa"] == [
        "eng_Latn",
        "tha_Thai",
    ]


def test_a_pull_that_fails_leaves_what_other_studies_have(filled: Hub, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    pull(study(), folder, {}, quiet)
    news = {
        "name": "news",
        "base": {"models": ["scripted:hash"]},
        "evaluate": {
            "eval_bits": [16],
            "task": [{"name": "xlsum", "subsets": ["id"], "n_shot": 0}],
        },
    }
    other = validate(news, catalogue(), "test")
    with pytest.raises(StudyError, match="csebuetnlp/xlsum at main: no such dataset"):
        pull(other, folder, {}, quiet)
    assert (load(folder).manifest.studies, load(folder).manifest.unfinished) == (
        [study().name, "news"],
        ["news"],
    )
    assert make(study(), folder, None, Store(tmp_path / "out")).grid.evals
    with pytest.raises(StudyError, match="csebuetnlp/xlsum was not pulled"):
        make(other, folder, None, Store(tmp_path / "b"))


def test_folders_that_cannot_be_pulled_into(filled: Hub, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match=r"--to .*file: File exists"):
        pull(study(), tmp_path / "file", {}, quiet)
    (tmp_path / "held").mkdir()
    (tmp_path / "held" / "notes.txt").write_text("x")
    with pytest.raises(DataError, match=r"holds other files \(notes.txt\)"):
        pull(study(), tmp_path / "held", {}, quiet)
    (tmp_path / "held" / MANIFEST).write_text('{"schema_version": 2}')
    with pytest.raises(DataError, match="not written by this version of maple data pull"):
        pull(study(), tmp_path / "held", {}, quiet)


def test_one_pull_at_a_time_fills_a_folder(filled: Hub, tmp_path: Path) -> None:
    folder = tmp_path / "data"

    def again(_step: str) -> None:
        with pytest.raises(DataError, match="another pull fills it"):
            pull(study(), folder, {}, quiet)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pull(study(), folder, {}, again)


@pytest.mark.usefixtures("no_privileges")
def test_folders_that_cannot_be_read(filled: Hub, tmp_path: Path) -> None:
    folder = tmp_path / "closed" / "data"
    folder.mkdir(parents=True)
    folder.parent.chmod(0)
    try:
        with pytest.raises(DataError, match="ermission denied"):
            pull(study(), folder, {}, quiet)
        with pytest.raises(DataError, match="permission denied"):
            datacheck.check(folder, quiet)
    finally:
        folder.parent.chmod(0o700)


def test_a_full_disk_stops_a_pull(
    filled: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match=r"maple-data\.json: cannot be written \(No space left"):
        pull(study(), tmp_path / "data", {}, quiet)


def test_damage_to_a_pulled_folder_is_named(filled: Hub, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    files = sorted(pull(study(), folder, {}, quiet).files)
    found = datacheck.check(folder, quiet)
    assert found.problems == []
    assert [(one.name, one.subset, one.items, one.exemplars) for one in found.held] == [
        ("xcopa", "eng_Latn", 8, 8),
        ("xcopa", "tha_Thai", 8, 8),
        ("xquad", "deu_Latn", 8, 8),
        ("xquad", "ell_Grek", 8, None),
        ("xquad", "eng_Latn", 8, 8),
        ("multialpaca", "spa_Latn", 8, None),
    ]
    assert {one.state for one in found.held} == {"a part"}
    gone, short, changed = (
        next(folder / file for file in files if name in file)
        for name in ("xquad.de", "xquad.el", "es.jsonl")
    )
    gone.unlink()
    short.write_bytes(short.read_bytes()[:-1])
    changed.write_bytes(changed.read_bytes()[::-1])
    shown = [problem.what for problem in datacheck.check(folder, quiet).problems]
    assert shown[0] == f"{gone}: is gone"
    assert shown[1].startswith(f"{short}: has ")
    assert shown[2] == f"{changed}: has another SHA-256 than what was fetched"
    assert len(shown) == 3
    with pytest.raises(StudyError, match="is gone"):
        make(study(), folder, None, Store(tmp_path / "out"))


def test_a_pulled_folder_has_what_was_pulled(filled: Hub, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    pull(study(xcopa=["en"]), folder, {}, quiet)
    with pytest.raises(StudyError) as caught:
        make(study(), folder, None, Store(tmp_path / "out"))
    assert "th/test-00000-of-00001.parquet: was not pulled" in str(caught.value)
    content = json.loads((folder / MANIFEST).read_bytes())
    content["files"]["../outside"] = {"bytes": 1, "sha256": ""}
    (folder / MANIFEST).write_text(json.dumps(content))
    with pytest.raises(DataError, match="is not a path inside the folder"):
        load(folder)


def test_names_that_lead_out_of_the_folder_are_refused(filled: Hub, tmp_path: Path) -> None:
    name = "th/test-../../../../../x.parquet"
    held = dict(filled.repos["cambridgeltl/xcopa"]["main"][1])
    held[name] = held.pop("th/test-00000-of-00001.parquet")
    filled.put("cambridgeltl/xcopa", held)
    with pytest.raises(StudyError, match="leads out of its folder"):
        pull(study(), tmp_path / "data", {}, quiet)
