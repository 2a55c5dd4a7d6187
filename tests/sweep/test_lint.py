"""`maple lint`: each planted fault is caught by name, and nothing that ships has one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from maple.models.scripted import ScriptedModel
from maple.prompts import literals
from maple.records import Example, Prompted
from maple.study.load import validate
from maple.sweep import check
from maple.sweep.catalogue import catalogue
from maple.sweep.lint import Linted, of_all, right_answer, violations
from maple.tasks import TASKS
from maple.tasks.native import NativeTask
from maple.tasks.scoring import Choosing
from sweep.studies import content

Break = Callable[[Prompted, Example], Prompted]


def _plant(monkeypatch: pytest.MonkeyPatch, fault: Break) -> None:
    """Every prompt of every task has the fault."""
    for task in TASKS.values():
        assert isinstance(task, NativeTask)
        shapes = {
            name: replace(shape, render=_broken(shape.render, fault))
            for name, shape in task.shapes.items()
        }
        monkeypatch.setattr(task, "shapes", shapes)


def _broken(render: Callable[..., Prompted], fault: Break) -> Callable[..., Prompted]:
    return lambda words, item: fault(render(words, item), item)


def _lint(**changes: object) -> list[Linted]:
    return check.lint(validate(content(**changes), catalogue(), "test"), None)


def _problems(found: Sequence[Linted]) -> str:
    return "\n".join(problem for one in found for problem in one.problems)


def _shown(item: Example) -> str:
    return item.fields["premise" if "premise" in item.fields else "question"].strip()


FAULTS: list[tuple[Break, str]] = [
    (
        lambda asked, item: replace(
            asked, text=asked.text.replace(_shown(item), "the premise of the question")
        ),
        "is there by its name, not by its text",
    ),
    (
        lambda asked, item: replace(
            asked, text=asked.text.replace(_shown(item), _shown(item)[:-1])
        ),
        "has lost its last letter",
    ),
    (
        lambda asked, _: replace(asked, text=asked.text.replace("\n", "\\n")),
        "a line break is spelled out",
    ),
    (
        lambda asked, _: replace(asked, text=asked.text + " {answer}:"),
        "a placeholder survives",
    ),
]


@pytest.mark.parametrize(("fault", "name"), FAULTS, ids=[name for _, name in FAULTS])
def test_a_broken_prompt_is_caught_by_name(
    fault: Break, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _plant(monkeypatch, fault)
    for one in _lint(subsets=["eng_Latn"]):
        assert name in _problems([one])


@pytest.mark.parametrize(
    ("word", "text", "name"),
    [
        ("answer", "Question", "two words of the prompts are alike"),
        ("answer", "Ответ", "in the word for 'answer' is of another script"),
    ],
)
def test_a_broken_word_is_caught_by_name(
    word: str, text: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = dict(literals._table())
    table["eng_Latn"] = {**table["eng_Latn"], word: text}
    monkeypatch.setattr(literals, "_table", lambda: table)
    assert name in _problems(_lint(subsets=["eng_Latn"]))


def test_a_prompt_too_long_for_the_context_is_caught_by_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ScriptedModel, "max_context", 70)
    choices, texts = _lint(subsets=["eng_Latn"])
    assert not choices.problems
    (line,) = texts.problems
    assert "the prompt is too long: " in line
    assert line.endswith("tokens without exemplars, scripted:hash reads 70")


def test_prompts_that_fit_without_some_exemplars_are_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ScriptedModel, "max_context", 230)
    choices, texts = _lint(subsets=["eng_Latn"])
    assert (choices.shortened, texts.problems) == ({}, ())
    assert 0 < texts.shortened["scripted:hash"] <= texts.items


def test_a_metric_that_does_not_reward_the_right_answer_is_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    score = Choosing.score
    monkeypatch.setattr(
        Choosing,
        "score",
        lambda self, metric, *rest: 0.5 if "char" in metric else score(self, metric, *rest),
    )
    choices, texts = _lint(subsets=["eng_Latn"])
    assert not texts.problems
    (line,) = choices.problems
    assert line.endswith("accuracy[per_char] gives less than 1 to the right answer")


def test_one_text_that_no_metric_rewards_is_told_and_stops_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task = TASKS["xlsum"]
    items = task.examples("mini", "eng_Latn", None)
    short = replace(items[0], golds=("Rain",))
    monkeypatch.setattr(task, "read_scored", lambda *_where: [short, *items[1:]])
    study = content()
    study["evaluate"]["task"] = [
        {"name": "xlsum", "dataset": "mini", "subsets": ["en"], "n_shot": 0}
    ]
    (one,) = check.lint(validate(study, catalogue(), "test"), None)
    assert one.problems == ()
    assert one.asked is not None
    remark = f"{short.example_id}: the right answer gets less than 1 by rouge2"
    assert remark in one.asked.remarks


def test_what_cannot_be_read_is_a_finding() -> None:
    study = content(subsets=["eng_Latn"])
    del study["evaluate"]["task"][1:]
    study["evaluate"]["task"][0].update(n_shot=999)
    (one,) = check.lint(validate(study, catalogue(), "test"), None)
    assert one.items == 0
    assert "999 exemplars asked for" in one.as_json()["problems"][0]


def test_an_exemplar_among_the_scored_items_is_caught() -> None:
    task = TASKS["xcopa"]
    items = task.examples("mini", "eng_Latn", None)
    found, _ = violations(task, "eng_Latn", "native", items, items[:1], "eng_Latn")
    assert f"exemplar {items[0].example_id} shares its passage with a scored item" in found


def test_an_exemplar_on_a_scored_passage_is_caught_under_any_name() -> None:
    task = TASKS["xquad"]
    items = task.examples("mini", "eng_Latn", None)
    shot = dataclasses.replace(items[0], example_id="other", cluster_id="elsewhere")
    found, _ = violations(task, "eng_Latn", "native", items, [shot], "eng_Latn")
    assert "exemplar other shares its passage with a scored item" in found


@pytest.mark.full
def test_everything_that_is_packaged_passes() -> None:
    seen: list[str] = []
    found = of_all(None, seen.append)
    assert not [one for one in found if one.problems or one.error]
    assert {one.task for one in found} == set(TASKS)
    assert {(one.task, one.prompt) for one in found if one.subset.startswith("swh_Latn")} >= {
        ("xnli", "native-letters"),
        ("belebele", "english"),
    }
    assert seen[0].endswith("(mini)")


@pytest.mark.full
def test_everything_in_the_folder_of_real_files_passes(real_data: Path) -> None:
    found = of_all(real_data, lambda _: None)
    assert not [one.as_json() for one in found if one.problems or one.error]
    released = {one.task for one in found if one.dataset.startswith("release")}
    assert released == set(TASKS)


def test_the_right_answer_prefers_the_target() -> None:
    item = Example("i", "i", {}, ("a", "b"), 1)
    response = right_answer(TASKS["xcopa"], item)
    assert response.logprobs == (-1e6, -1.0)  # type: ignore[union-attr]
