"""What is found wrong before anything costs."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from maple.errors import ModelError, StoreError, StudyError
from maple.records import BaseModel, Example, TrainCell
from maple.store import Store
from maple.study.load import validate
from maple.sweep import check, sizes
from maple.sweep.asked import fixed_order
from maple.sweep.catalogue import catalogue
from maple.sweep.plan import Todo, describe, make
from maple.sweep.sizes import Size, trained_size
from maple.tasks.native import NativeTask
from sweep.studies import content, planned


def test_a_disk_too_small_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=100_000))
    study = validate(content(), catalogue(), "test")
    with pytest.raises(StoreError, match=r"need about .* MB, 0\.1 MB are free"):
        make(study, None, None, Store(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_adapters_count_towards_the_disk(tmp_path: Path) -> None:
    plan, _ = planned(content(), tmp_path)
    cell = next(cell for cell in plan.grid.train.values() if cell.method == "lora")
    assert trained_size("", cell) == Size(0, 0)


def test_the_fixed_order_depends_on_ids_alone() -> None:
    examples = [Example(f"e{index}", "c", {"text": str(index)}) for index in range(50)]
    ordered = [example.example_id for example in fixed_order(examples)]
    assert ordered == [example.example_id for example in fixed_order(examples[::-1])]
    assert sorted(ordered) != ordered
    assert set(ordered) == {example.example_id for example in examples}


def test_prompts_that_lose_text_stop_the_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = NativeTask.render

    def cuts_the_last_letter(
        self: NativeTask, example: Example, subset: str, prompt: str
    ) -> object:
        cut = {name: example.fields[name][:-1] for name in {"premise"} & set(example.fields)}
        return whole(self, replace(example, fields={**example.fields, **cut}), subset, prompt)

    monkeypatch.setattr(NativeTask, "render", cuts_the_last_letter)
    study = validate(content(subsets=["eng_Latn"]), catalogue(), "test")
    with pytest.raises(StudyError, match="'premise' has lost its last letter"):
        make(study, None, None, Store(tmp_path))


def test_exemplars_on_a_scored_passage_stop_the_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def scored_items(
        self: NativeTask, dataset: str, subset: str, folder: Path | None
    ) -> list[Example]:
        return self.examples(dataset, subset, folder)

    monkeypatch.setattr(NativeTask, "exemplar_pool", scored_items)
    study = validate(content(subsets=["eng_Latn"]), catalogue(), "test")
    with pytest.raises(StudyError, match="shares its passage with a scored item"):
        make(study, None, None, Store(tmp_path))


def test_a_plan_describes_itself(tmp_path: Path) -> None:
    plan, store = planned(content(), tmp_path)
    found = describe(plan, store)
    assert found["total"] == "2 adapters, 24 eval cells, 26 to compute"
    assert [row["r"] for row in found["train"]] == [8, 8]
    assert [(row["task"], row["bits"], row["untuned"]) for row in found["evaluate"]] == [
        ("xcopa", 4, 3),
        ("xcopa", 16, 3),
        ("xquad", 4, 3),
        ("xquad", 16, 3),
    ]
    assert found["notes"][0].startswith("A check of the plumbing, not evidence")


@pytest.mark.parametrize("name", ["org/name", "org/name@main"])
def test_a_locked_model_is_asked_for_by_commit_and_keeps_its_name(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        check.files,
        "resolve",
        lambda asked, weights: BaseModel(asked, f"hub:{asked}", "t", None, ""),
    )
    assert check._locked(name, "abc", weights=True) == BaseModel(
        name, "hub:org/name@abc", "t", None, ""
    )
    assert check._locked(name, None, weights=True).identity == f"hub:{name}"


def test_an_earlier_plan_locks_the_revision_of_a_hub_model() -> None:
    assert check._commit("hub:org/name@abc123") == "abc123"
    assert check._commit("sha256:ff") is None
    assert check._commit(None) is None


def test_a_target_module_that_does_not_exist_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (check, sizes):
        monkeypatch.setattr(
            module, "module_shapes", lambda _path: {"model.layers.0.self_attn.q_proj": (8, 4)}
        )
    base = BaseModel("m", "sha256:0", "sha256:0", None, str(tmp_path))
    study = validate(content(), catalogue(), "test")
    assert study.train is not None
    known = study.train.model_copy(update={"target_modules": ["q_proj"]})
    check._check_targets(base, known)
    typo = study.train.model_copy(update={"target_modules": ["q_prj"]})
    with pytest.raises(ModelError, match="no module 'q_prj'") as caught:
        check._check_targets(base, typo)
    assert caught.value.hint == "did you mean 'q_proj'?"
    cell = TrainCell("m", "b", "t", "lora", r=2, target_modules=("q_proj",))
    assert trained_size(str(tmp_path), cell) == Size(4 * 2 * (8 + 4), 2 * 3 * 4 * 2 * (8 + 4))


def test_a_rank_above_what_a_decomposition_gives_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes = {"model.layers.0.self_attn.k_proj": (4, 64), "model.layers.0.mlp.up_proj": (64, 64)}
    monkeypatch.setattr(check, "module_shapes", lambda _path: shapes)
    base = BaseModel("m", "sha256:0", "sha256:0", None, str(tmp_path))
    train = validate(content(r=[4, 8]), catalogue(), "test").train
    assert train is not None
    check._check_targets(base, train)
    pissa = train.model_copy(update={"methods": ["lora", "pissa"]})
    with pytest.raises(ModelError, match=r"train\.r: pissa take.*k_proj has only 4; got r = 8"):
        check._check_targets(base, pissa)
    check._check_targets(base, pissa.model_copy(update={"target_modules": ["up_proj"]}))


@pytest.mark.parametrize(
    ("method", "options", "values"),
    [
        ("lora", None, 4 * (64 + 32) + 4 * (32 + 32)),
        ("dora", None, 4 * (64 + 32) + 4 * (32 + 32) + 64 + 32),
        ("loha", None, 2 * (4 * (64 + 32) + 4 * (32 + 32))),
        ("vera", None, 4 * (64 + 32) + (64 + 4) + (32 + 4)),
        ("ia3", None, 64 + 32),
        ("lokr", (("decompose_factor", 4),), 16 + 4 * (16 + 8) + 16 + 8 * 8),
    ],
)
def test_sizes_of_adapters(method: str, options: object, values: int) -> None:
    cell = TrainCell("m", "b", "t", method, r=4, options=options)  # type: ignore[arg-type]
    assert sizes.adapter_values(cell, {"a": (64, 32), "b": (32, 32)}) == values


def test_sizes_of_what_is_stored_otherwise_than_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sizes, "module_shapes", lambda _path: {"layers.0.q_proj": (8, 4)})
    monkeypatch.setattr(sizes, "weight_values", lambda _path: 1000)
    pissa = TrainCell("m", "b", "t", "pissa", r=2, target_modules="all-linear")
    assert trained_size("x", pissa) == Size(4 * 2 * 24, 2 * 4 * 4 * 24)
    full = TrainCell("m", "b", "t", "full", train_bits=16)
    assert trained_size("x", full) == Size(2000, 2 * 12_000)
    assert trained_size("x", replace(full, train_bits=32)).product == 4000


def test_a_tracker_must_be_installed_and_names_nothing_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = content()
    plan, _ = planned(study, tmp_path / "quiet")
    study["train"]["report_to"] = ["tensorboard"]
    told, store = planned(study, tmp_path / "told")
    assert told.grid == plan.grid
    assert [work.execution.report_to for work in Todo(told, store).train()] == [
        ("tensorboard",)
    ] * 2
    monkeypatch.setattr(check, "find_spec", lambda name: None)
    with pytest.raises(StudyError, match="report_to: tensorboard is not installed") as caught:
        planned(study, tmp_path / "other")
    assert caught.value.hint == "pip install tensorboard"
