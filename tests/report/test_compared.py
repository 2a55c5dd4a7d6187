"""`maple compare`: which cells a name stands for, and paired differences as they must come out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from command import maple
from maple.analysis.compare import Side, compare
from maple.analysis.estimates import paired_difference
from maple.errors import StoreError
from maple.report import compared
from maple.report.compared import resolve
from maple.store import PlanFile
from report.fake_store import FORMULA, HOSTILE, LANGUAGES, NOTES, Fake, filled


def tuned(plan: PlanFile, r: int, bits: int) -> str:
    return next(name for name, cell in plan.train.items() if (cell.r, cell.train_bits) == (r, bits))


def untuned(plan: PlanFile) -> str:
    return next(name for name, cell in plan.train.items() if cell.method == "none")


def test_differences_are_those_of_the_items(fake: Fake) -> None:
    a, b = Side(untuned(fake.plan), 4), Side(tuned(fake.plan, 8, 4), 4)
    xcopa, xquad = compare(fake.store, fake.plan, a, b)
    assert list(xcopa.subsets) == list(LANGUAGES)
    assert (xcopa.missing, xcopa.engines) == ((), "")
    base = np.array([item % 2 == 0 for item in range(40)], dtype=float)
    own = np.array([item % 2 == 0 or item % 10 == 1 for item in range(40)], dtype=float)
    for comparison, clusters, count in (
        (xcopa, [f"xcopa-{item:03d}" for item in range(40)], 40),
        (xquad, [f"p{item // 4}" for item in range(40)], 10),
    ):
        for found in comparison.subsets.values():
            assert (found.a, found.b) == (0.5, 0.6)
            assert found.difference == paired_difference(own, base, clusters)
            assert found.difference.clusters == count
        assert comparison.mean is not None
        assert comparison.mean.a == pytest.approx(0.5)
        assert comparison.mean.difference.value == pytest.approx(0.1)
        # Languages share their items, so three of them are as many clusters as one.
        assert (comparison.mean.difference.n, comparison.mean.difference.clusters) == (120, count)


def test_only_items_that_both_answered_are_compared(tmp_path: Path) -> None:
    fake = filled(tmp_path)
    name = fake.cell("xcopa", "eng_Latn", 8, 4)
    score_id, score = next(
        (key, one)
        for key, one in fake.plan.scores.items()
        if (one.eval_id, one.metric) == (name, "acc")
    )
    # The adapter answered items 10 to 39 only, in another order, all rightly.
    ids = [f"xcopa-{item:03d}" for item in reversed(range(10, 40))]
    fake.store.put_scores(score_id, score, ids, [1.0] * 30, None)
    a, b = Side(untuned(fake.plan), 4), Side(tuned(fake.plan, 8, 4), 4)
    found = compare(fake.store, fake.plan, a, b)[0].subsets["eng_Latn"]
    assert (found.a, found.b, found.difference.n) == (0.5, 1.0, 30)
    fake.store.put_scores(score_id, score, ["stranger"], [1.0], None)
    with pytest.raises(StoreError, match="scores item 'stranger', which is not among the items"):
        compare(fake.store, fake.plan, a, b)


def test_cells_beyond_the_limit_are_cut(tmp_path: Path) -> None:
    fake = filled(tmp_path)
    plan = fake.plan.model_copy(update={"limit": 10})
    a, b = Side(untuned(plan), 4), Side(tuned(plan, 8, 4), 4)
    found = compare(fake.store, plan, a, b)[0].subsets["eng_Latn"]
    assert (found.a, found.b, found.difference.n) == (0.5, 0.6, 10)


def test_the_same_setting_is_asked_of_both(fake: Fake) -> None:
    plan = fake.plan
    name = tuned(plan, 8, 4)
    evals = {
        key: replace(cell, n_shot=4) if cell.train_id == name and cell.task == "xcopa" else cell
        for key, cell in plan.evals.items()
    }
    changed = plan.model_copy(update={"evals": evals})
    found = compare(fake.store, changed, Side(untuned(plan), 4), Side(name, 4))
    assert [one.setting.task for one in found] == ["xquad"]


def test_names_of_cells(fake: Fake) -> None:
    plan = fake.plan
    name = tuned(plan, 64, 16)
    short = next(
        name[:length]
        for length in range(1, 17)
        if sum(other.startswith(name[:length]) for other in plan.train) == 1
    )
    assert resolve(plan, name) == resolve(plan, short) == resolve(plan, f"{short}@16")
    assert resolve(plan, name) == Side(name, 16)
    assert resolve(plan, "untuned@4") == resolve(plan, "untuned:tiny@4")
    assert resolve(plan, "untuned@4") == Side(untuned(plan), 4)
    with pytest.raises(StoreError) as ambiguous:
        resolve(plan, "untuned")
    assert str(ambiguous.value) == (
        "'untuned' may be any of 2 cells of this study\n\nhint: name one of these:\n"
        "  untuned@4: untuned, 4 bits\n  untuned@16: untuned, 16 bits"
    )
    for wrong in ("nonsense", "", "untuned@8", f"{name}@4", "untuned:other"):
        with pytest.raises(StoreError) as unknown:
            resolve(plan, wrong)
        assert f"{wrong!r} is no evaluated cell of this study" in str(unknown.value)
        assert f"{name}: LoRA r=64, 16 bits, mini, seed 0" in str(unknown.value)


def test_names_with_several_bases_and_revisions(fake: Fake) -> None:
    first = untuned(fake.plan)
    other = replace(fake.plan.train[first], base_name="org/name@16", base="hub:org/name@cafe")
    train = {**fake.plan.train, "feed": other}
    evals = {
        **fake.plan.evals,
        "beef": replace(next(iter(fake.plan.evals.values())), train_id="feed", eval_bits=16),
    }
    bases = (*fake.plan.bases, replace(fake.plan.bases[0], name="org/name@16"))
    plan = fake.plan.model_copy(update={"train": train, "evals": evals, "bases": bases})
    assert resolve(plan, "untuned:org/name@16") == resolve(plan, "untuned:org/name@16@16")
    assert resolve(plan, "untuned:org/name@16") == Side("feed", 16)
    with pytest.raises(StoreError, match="'untuned@16' may be any of 2 cells") as ambiguous:
        resolve(plan, "untuned@16")
    assert "untuned:org/name@16: org/name@16: untuned, 16 bits" in str(ambiguous.value)
    assert "untuned:tiny@16: tiny: untuned, 16 bits" in str(ambiguous.value)


def test_the_same_cell_twice_and_nothing_in_common(tmp_path: Path) -> None:
    fake = filled(tmp_path)
    with pytest.raises(StoreError, match="are the same cell: untuned, 4 bits"):
        compared(fake.store, "untuned@4", "untuned:tiny@4")
    for path in (tmp_path / "scores").rglob("*.parquet"):
        path.unlink()
    with pytest.raises(StoreError, match="share no answered items") as nothing:
        compared(fake.store, "untuned@4", "untuned@16")
    assert "maple status" in nothing.value.hint


def test_the_terminal_shows_rows_and_says_what_differs(fake: Fake, tmp_path: Path) -> None:
    name = tuned(fake.plan, 64, 4)
    done = maple("compare", fake.store.root, "untuned@16", name[:12], folder=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[:2] == list(NOTES)
    assert lines[2:4] == ["A: untuned, 16 bits", "B: LoRA r=64, 4 bits, mini, seed 0"]
    assert lines[4] == "Evaluated at different precisions: A in 16 bits, B in 4."
    # Failed on one side: left out of the rows and of the mean, and said.
    assert lines[5] == "Without scored answers of both, and left out: xquad/arb_Arab."
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if "│" in line]
    assert [row[:5] for row in rows] == [
        ["xcopa", "acc", "English", "50.0", "60.0"],
        ["xcopa", "acc", "Modern Standard Arabic", "50.0", "60.0"],
        ["xcopa", "acc", "Swahili", "50.0", "60.0"],
        ["xcopa", "acc", "mean of 3 languages", "50.0", "60.0"],
        ["xquad", "f1", "English", "50.0", "60.0"],
        ["xquad", "f1", "Swahili", "50.0", "60.0"],
        ["xquad", "f1", "mean of 2 languages", "50.0", "60.0"],
    ]
    assert all(row[5].startswith("+10.0 [+") and row[5].endswith("▲") for row in rows)
    assert [row[6:] for row in rows][3:5] == [["120", "40"], ["40", "10"]]
    assert "which 5 of 5 language differences do" in done.stdout
    assert HOSTILE not in done.stdout
    assert FORMULA not in done.stdout

    machine = maple("compare", fake.store.root, "untuned@16", name, "--json", folder=tmp_path)
    content = json.loads(machine.stdout)
    assert content["b"] == {
        "train_id": name,
        "eval_bits": 4,
        "label": "LoRA r=64, 4 bits, mini, seed 0",
    }
    assert [row["subset"] for row in content["rows"]][3:5] == [None, "eng_Latn"]
    first = content["rows"][0]
    assert (first["task"], first["metric"], first["language"]) == ("xcopa", "acc", "eng_Latn")
    assert (first["a"], first["b"]) == (0.5, 0.6)
    assert first["difference"] == pytest.approx(0.1)
    assert 0 < first["difference_low"] < 0.1 < first["difference_high"]


def test_other_engines_are_said(fake: Fake) -> None:
    plan = fake.plan
    name = tuned(plan, 8, 4)
    evals = {
        key: replace(cell, engine="server") if cell.train_id == name else cell
        for key, cell in plan.evals.items()
    }
    found = compare(
        fake.store,
        plan.model_copy(update={"evals": evals}),
        Side(untuned(plan), 4),
        Side(name, 4),
    )
    assert {one.engines for one in found} == {"A builtin in bfloat16, B server in bfloat16"}


def test_mistakes_are_one_message(fake: Fake, tmp_path: Path) -> None:
    done = maple("compare", fake.store.root, "untuned", "nonsense", folder=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "'untuned' may be any of 2 cells" in done.stderr
    empty = maple("compare", tmp_path / "empty", "a", "b", folder=tmp_path)
    assert empty.returncode == 2
    assert "no results here" in empty.stderr
