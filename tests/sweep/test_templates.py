"""Training templates in a study: an axis of training, a factor of evaluation, mistakes at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from maple.data.mixtures import content_hash
from maple.errors import StudyError
from maple.models.adapter_files import template_of
from maple.models.files import resolve
from maple.models.templates import Templates
from maple.records import InstructionRow, TextTemplate
from maple.report.gathered import gather
from maple.report.tables import table_notes
from maple.study.config import TrainSection
from maple.study.grid import TrainingData
from maple.study.load import validate
from maple.sweep.catalogue import catalogue
from maple.sweep.drawing import Drawn
from maple.sweep.templates import unwritable
from models import chats, tiny
from sweep.studies import content, planned, swept

MINE = {
    "name": "mine",
    "text": "Q: {instruction}\n{input}\nA: {output}",
    "turn": "Q: {instruction}\nA: {output}\n",
}


def _study(**changes: Any) -> dict[str, Any]:
    study = content(subsets=["eng_Latn"], train_bits=[16])
    study["train"] |= {"templates": ["plain", "mine"], "template": [{**MINE, **changes}]}
    xcopa, xquad = study["evaluate"]["task"]
    study["evaluate"]["task"] = [
        xcopa,
        {**xcopa, "template": "mine"},
        {**xquad, "template": "plain"},
    ]
    return study


def test_templates_are_an_axis_and_a_factor(tmp_path: Path) -> None:
    outcome, plan, store = swept(_study(), tmp_path / "out")
    assert not outcome.failed
    trained = [cell for cell in plan.grid.train.values() if cell.method != "none"]
    assert [cell.template_name for cell in trained] == ["plain", "mine"]
    asked = [(cell.task, cell.template_name) for cell in plan.grid.evals.values()]
    # The untuned base is asked in them, too.
    assert asked == [("xcopa", None), ("xcopa", "mine"), ("xquad", "plain")] * 3
    assert all(store.scored(name, cell)[0] for name, cell in plan.grid.scores.items())
    tails = {
        cell.template_name: store.finished(name, cell).to_pylist()[0]["n_prompt_tokens"]
        for name, cell in plan.grid.evals.items()
        if cell.task == "xcopa"
    }
    assert tails["mine"] == tails[None] + 2  # "Q:" and "A:"
    gathered = gather(store)
    told = r"Training template mine is the study's own: 'Q: {instruction}\n{input}\nA: {output}'"
    assert told in gathered.notes
    shown = {table.title: table_notes(gathered, table) for table in gathered.tables}
    assert set(shown) == {"xcopa (template none)", "xcopa (template mine)", "xquad"}
    assert "native in training template mine, 2 ex" in shown["xcopa (template mine)"].protocol[1]
    assert "native, 2 exemplars" in shown["xcopa (template none)"].protocol[1]
    xquad = next(table for table in gathered.tables if table.title == "xquad")
    labels = [line.label for line in xquad.lines]
    assert labels == [
        "untuned, 16 bits",
        "LoRA r=8, 16 bits, mini, template mine, seed 0",
        "LoRA r=8, 16 bits, mini, seed 0",
    ]


def test_what_a_template_does_is_its_identity_and_its_name_is_not(tmp_path: Path) -> None:
    first, _ = planned(_study(), tmp_path / "a")
    study = json.loads(json.dumps(_study()).replace('"mine"', '"ours"'))
    renamed, _ = planned(study, tmp_path / "b")
    changed, _ = planned(_study(turn="{instruction}: {output}; "), tmp_path / "c")
    assert first.grid.evals.keys() == renamed.grid.evals.keys()
    assert first.grid.train.keys() == renamed.grid.train.keys()
    assert len(first.grid.train.keys() - changed.grid.train.keys()) == 1
    # Cells without a template, and those trained in the plain one, are called as ever.
    plain, _ = planned(content(subsets=["eng_Latn"], train_bits=[16]), tmp_path / "d")
    assert plain.grid.train.keys() <= first.grid.train.keys()
    bare = {name for name, cell in plain.grid.evals.items() if cell.task == "xcopa"}
    assert bare <= first.grid.evals.keys()


MISTAKES = [
    ({"name": "plain"}, "train.template[0].name: 'plain' is one that ships already"),
    ({"name": "a b"}, "train.template[0].name: got 'a b'"),
    ({"text": "{instruction}\n{input}"}, "train.template[0].text: shows no {output}"),
    ({"text": "{input}{output}"}, "train.template[0].text: shows no {instruction}"),
    (
        {"text": "{output} {instruction}{output}"},
        "train.template[0].text: shows 2 times {output}",
    ),
    ({"text": "{instruktion}{output}"}, "train.template[0].text: rows have no 'instruktion'"),
    ({"text": "{instruction} {{output}"}, "train.template[0].text: '{' is no field in braces"),
    (
        {"text": "{instruction} {output}\n"},
        "train.template[0].text: '\\n' follows {output}, which must come last",
    ),
    ({"with_input": "{instruction}{output}"}, "train.template[0].with_input: shows no {input}"),
    ({"turn": "{instruction}"}, "train.template[0].turn: shows no {output}"),
    ({"turn": "{output}{instruction}"}, "train.template[0].turn: shows {output} before {inst"),
    ({"turn": "{instruction}{input}{output}"}, "train.template[0].turn: shows {input}, which"),
    ({"txet": ""}, "train.template[0].txet: unknown key"),
]


@pytest.mark.parametrize(("changes", "problem"), MISTAKES, ids=[one[1] for one in MISTAKES])
def test_mistakes_are_told_with_file_and_key(changes: dict[str, str], problem: str) -> None:
    with pytest.raises(StudyError) as raised:
        validate(_study(**changes), catalogue(), "s.toml")
    assert f"s.toml: {problem}" in raised.value.what


def test_names_are_told_at_once() -> None:
    study = _study()
    study["train"]["templates"] = ["plain", "miene"]
    study["evaluate"]["task"][0]["template"] = "caht"
    study["evaluate"]["template"] = [MINE]
    with pytest.raises(StudyError) as raised:
        validate(study, catalogue(), "s.toml")
    for problem in (
        "s.toml: train.templates[1]: unknown training template 'miene'",
        "did you mean 'mine'?",
        "s.toml: evaluate.task[0].template: unknown training template 'caht'",
        "did you mean 'chat'?",
        "s.toml: evaluate.template[0].name: 'mine' is train.template[0] already",
    ):
        assert problem in raised.value.what


def test_a_base_without_a_chat_template_is_an_error_of_the_plan(tmp_path: Path) -> None:
    base = tiny.saved(tmp_path / "tiny")
    study = _study()
    study["base"]["models"] = [str(base)]
    study["train"]["templates"] = ["chat"]
    study["evaluate"]["task"][1]["template"] = "chat"
    with pytest.raises(StudyError) as raised:
        planned(study, tmp_path / "out")
    for key in ("train.templates[0]", "evaluate.task[1].template"):
        assert f"{key}: {base}: its tokenizer has no chat template" in raised.value.what
    assert not (tmp_path / "out").exists()


def test_rows_that_a_template_cannot_write_are_errors_of_the_plan() -> None:
    talk = (("user", "Hm?"), ("user", "Well?"))
    rows = [
        InstructionRow("a", "eng_Latn", "Go", "", "Gone"),
        InstructionRow("b", "eng_Latn", "Go", "there", "Gone"),
        *(InstructionRow(name, "eng_Latn", "Go", "", "Gone", talk) for name in "cd"),
    ]
    blind = {"name": "blind", "text": "{instruction}{output}"}
    study = content()
    study["train"] |= {"templates": ["plain", "blind"], "template": [blind]}
    train = validate(study, catalogue(), "s.toml").train
    assert isinstance(train, TrainSection)
    base = resolve("scripted:hash")
    templates = Templates([TextTemplate("blind", "{instruction}{output}")])
    bound = {(base.identity, name): templates.of(name, base) for name in ("plain", "blind")}
    data = TrainingData("mini", ("eng_Latn",), len(rows), "sha256:00")
    drawn = Drawn(data, tuple(rows[:3]), validation=tuple(rows[3:]))
    first, second = [error.what for error in unwritable(train, [drawn], bound)]
    assert first.startswith("train.templates[0]: mini: row c (eng_Latn): its earlier turns are ")
    assert first.endswith("; and 1 rows more")
    assert second.startswith("train.templates[1]: mini: row b (eng_Latn): has an input, which ")
    assert second.endswith("; and 2 rows more")


def test_turns_rename_no_row_that_has_none() -> None:
    row = InstructionRow("a", "eng_Latn", "Go", "", "Gone")
    talk = InstructionRow("a", "eng_Latn", "Go", "", "Gone", (("user", "Hm?"), ("assistant", "H")))
    assert content_hash([row]) == (
        "sha256:d4e82f4ca20f8454be3120d5b78ea72475f4cdc0c60b5124cdeed81729f296a0"
    )
    assert content_hash([talk]) != content_hash([row])


@pytest.mark.full
@pytest.mark.parametrize("family", ["chatml", "gemma"])
def test_a_tiny_base_is_trained_and_asked_in_its_chat_template(tmp_path: Path, family: str) -> None:
    shape = {"max_position_embeddings": 4096}
    kind = "llama" if family == "chatml" else "gemma3"
    base = tiny.saved(tmp_path / "base", kind, **shape)
    chats.tokenizer(family, merges=100).save_pretrained(base)
    study = content(subsets=["eng_Latn"], train_bits=[32])
    study["base"]["models"] = [str(base)]
    study["train"] |= {"templates": ["chat"], "languages": ["en"], "rows": 4, "batch_size": 2}
    for task in study["evaluate"]["task"]:
        task["template"] = "chat"
    outcome, plan, store = swept(study, tmp_path / "out", limit=2)
    assert not outcome.failed
    (cell,) = (cell for cell in plan.grid.train.values() if cell.method != "none")
    (name,) = (name for name, one in plan.grid.train.items() if one is cell)
    note = json.loads((store.train_folder(name) / "maple.json").read_text())
    assert note["template"] == {
        "name": "chat",
        "hash": cell.template,
        "text": chats.FAMILIES[family][0],
        "instruction": "{instruction}\n\n{input}",
    }
    tokenizer = chats.tokenizer(family, merges=100)
    for eval_id, asked in plan.grid.evals.items():
        assert asked.template == cell.template
        for row in store.finished(eval_id, asked).to_pylist():
            head = tokenizer.convert_ids_to_tokens(row["prompt_head"])
            tail = tokenizer.decode(row["prompt_tail"])
            if family == "chatml":
                assert head[0] == "<|im_start|>"
                assert tail.endswith("assistant\n")
            else:
                assert head[:2] == ["<s>", "<start_of_turn>"]
                assert tail.endswith("model\n")


def test_an_adapter_brings_its_own_template(tmp_path: Path) -> None:
    note = {"template": {"hash": "sha256:00", **MINE}}
    (tmp_path / "maple.json").write_text(json.dumps(note))
    assert template_of(tmp_path, "mine") == MINE
    for name in ("plain", "chat", "other", None):
        assert template_of(tmp_path, name) is None
    assert template_of(tmp_path / "none", "mine") is None
