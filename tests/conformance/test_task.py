"""What every task must do (`protocols.Task`), tried on its packaged "mini" dataset.

And on real release files, where they are at hand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean

import pytest

from maple.errors import DataError, NoExemplarsError
from maple.languages import LANGUAGES
from maple.models.scripted import ScriptedModel
from maple.prompts.exemplars import choose, prefix
from maple.protocols import Task
from maple.records import (
    ChoiceRequest,
    ChoiceResponse,
    Example,
    GenerateRequest,
    GenerateResponse,
)
from maple.tasks import TASKS
from maple.tasks.foreign import OWN, ForeignTask
from maple.tasks.harness import Harness
from maple.tasks.native import NativeTask
from tasks import foreign_files

CASES = [(task, subset) for task in TASKS.values() for subset in task.subsets("mini")]
IDS = [f"{task.name}-{subset}" for task, subset in CASES]

Right = Callable[[int], int]
"""Which item's right answer an engine gives to an item, by number."""


@pytest.fixture(params=TASKS.values(), ids=list(TASKS))
def task(request: pytest.FixtureRequest) -> Task:
    found: Task = request.param
    return found


@pytest.fixture(
    params=[foreign_files.CHOICE, foreign_files.GENERATE], ids=lambda base: base["task"]
)
def foreign(request: pytest.FixtureRequest, tmp_path: Path, datasets_cache: Path) -> ForeignTask:
    """A task of lm-evaluation-harness; see also tests/tasks/test_foreign.py."""
    folder = foreign_files.write(tmp_path, request.param)
    return ForeignTask(Harness([folder]), f"lm_eval:{request.param['task']}", "en", 1, 0)


def _lender(task: Task, dataset: str, subset: str, folder: Path | None) -> str:
    return task.lent_by(dataset, subset, folder) if isinstance(task, NativeTask) else subset


def _pool(task: Task, dataset: str, subset: str, folder: Path | None = None) -> list[Example]:
    """The exemplar pool; none where all items are scored."""
    try:
        return task.exemplar_pool(dataset, _lender(task, dataset, subset, folder), folder) or []
    except NoExemplarsError:
        return []


def _prompts(task: Task, subset: str) -> list[str]:
    """The prompts that the language of a subset has words for."""
    found = []
    for prompt in task.prompts:
        try:
            task.prompt_text(subset, prompt)
        except DataError as error:
            if 'ask in English instead (prompt = "english")' not in error.hint:
                raise
        else:
            found.append(prompt)
    return found


def _answered(
    task: Task, items: Sequence[Example], subset: str, prompt: str, right: Right
) -> list[ChoiceResponse | GenerateResponse]:
    """What a scripted engine answers that knows the right answers: those of items `right`."""
    current = [""]
    model = ScriptedModel(answer=lambda _: current[0])
    given: list[ChoiceResponse | GenerateResponse] = []
    for number, item in enumerate(items):
        other, asked = items[right(number)], task.render(item, subset, prompt)
        if task.max_new_tokens is None:
            current[0] = asked.answers[other.target or 0]
            given += model.choice_logprobs([ChoiceRequest("", asked.text, asked.answers)], None)
        else:
            current[0] = f" {other.golds[0]}"
            request = GenerateRequest("", asked.text, task.stop, task.max_new_tokens)
            given += model.generate([request], None)
    return given


def _means(
    task: Task, items: Sequence[Example], subset: str, prompt: str, right: Right
) -> dict[str, float]:
    """Mean score by metric of what `_answered` answers."""
    responses = _answered(task, items, subset, prompt, right)
    return {
        metric: fmean(
            task.score(item, response, metric, subset, prompt)
            for item, response in zip(items, responses, strict=True)
        )
        for metric in task.metrics
    }


def _shifted(by: int, count: int) -> Right:
    return lambda number: (number + by) % count


def test_the_table_names_its_tasks() -> None:
    assert all(name == task.name for name, task in TASKS.items())


def test_metadata_is_consistent(task: Task) -> None:
    assert task.kind in ("choice", "generate")
    assert task.primary_metric in task.metrics
    assert len(set(task.metrics)) == len(task.metrics)
    assert len(set(task.prompts)) == len(task.prompts) >= 2
    assert {"release", "mini"} <= set(task.datasets)
    assert (task.kind == "generate") == (task.max_new_tokens is not None) == bool(task.stop)


def test_subsets_are_sorted_and_their_languages_known(task: Task) -> None:
    for dataset in task.datasets:
        subsets = task.subsets(dataset)
        assert subsets
        assert list(subsets) == sorted(subsets)
        assert all(task.language(subset) in LANGUAGES for subset in subsets)
        assert all(task.answer_language(subset) in LANGUAGES for subset in subsets)


def test_unknown_names_are_errors(task: Task) -> None:
    subset = task.subsets("mini")[0]
    example = task.examples("mini", subset, None)[0]
    (right,) = _answered(task, [example], subset, task.prompts[0], lambda _: 0)
    with pytest.raises(DataError):
        task.subsets("no such dataset")
    with pytest.raises(DataError):
        task.examples("mini", "no such subset", None)
    with pytest.raises(DataError):
        task.exemplar_pool("mini", "no such subset", None)
    for prompt in ("no such prompt", "native-no-such-shape"):
        with pytest.raises(DataError):
            task.render(example, subset, prompt)
    with pytest.raises(DataError):
        task.metric_identity("no such metric", subset)
    with pytest.raises(DataError):
        task.score(example, right, "no such metric", subset, task.prompts[0])


def test_a_folder_without_its_files_is_an_error(task: Task, tmp_path: Path) -> None:
    for subset in task.subsets("release"):
        with pytest.raises(DataError, match=r"none of these files is there"):
            task.examples("release", subset, tmp_path)


def test_every_released_language_can_be_asked_in_different_prompts(task: Task) -> None:
    for subset in task.subsets("release"):
        prompts = _prompts(task, subset)
        texts = [task.prompt_text(subset, prompt) for prompt in prompts]
        assert [prompt for prompt in task.prompts if prompt.startswith("english")] == [
            prompt for prompt in prompts if prompt.startswith("english")
        ]
        assert all("{" in text for text in texts)
        if task.language(subset) != "eng_Latn":
            assert len(set(texts)) == len(texts)


def test_mini_items_are_parallel_over_languages(task: Task) -> None:
    found = {
        tuple((item.example_id, item.cluster_id) for item in task.examples("mini", subset, None))
        for subset in task.subsets("mini")
    }
    assert len(found) == 1


@pytest.mark.parametrize(("task", "subset"), CASES, ids=IDS)
def test_items_are_whole_and_the_same_each_time(task: Task, subset: str) -> None:
    _check_items(task, "mini", subset, None)


def test_items_of_a_foreign_task_are_whole_too(foreign: ForeignTask) -> None:
    _check_items(foreign, OWN, foreign.subsets(OWN)[0], None)


def _check_items(task: Task, dataset: str, subset: str, folder: Path | None) -> None:
    items = task.examples(dataset, subset, folder)
    assert items == task.examples(dataset, subset, folder)
    assert len({item.example_id for item in items}) == len(items) > 0
    for item in items:
        assert item.cluster_id
        if task.kind == "choice":
            assert item.target in range(len(item.choices))
            assert not item.golds
        else:
            assert all(item.golds)
            assert item.golds
            assert item.target is None


@pytest.mark.parametrize(("task", "subset"), CASES, ids=IDS)
def test_exemplars_are_never_scored_items_nor_on_their_passages(task: Task, subset: str) -> None:
    _check_pool(task, "mini", subset, None)


def _check_pool(task: Task, dataset: str, subset: str, folder: Path | None) -> None:
    items, pool = task.examples(dataset, subset, folder), _pool(task, dataset, subset, folder)
    assert not {i.example_id for i in items} & {i.example_id for i in pool}
    assert not {i.cluster_id for i in items} & {i.cluster_id for i in pool}
    texts = {tuple(item.fields.values()) for item in items}
    assert not texts & {tuple(item.fields.values()) for item in pool}


@pytest.mark.parametrize(("task", "subset"), CASES, ids=IDS)
def test_prompts_pass_the_linter(task: Task, subset: str) -> None:
    items = [*task.examples("mini", subset, None), *_pool(task, "mini", subset)]
    for prompt in task.prompts:
        assert task.lint(items, subset, prompt) == []


@pytest.mark.parametrize(("task", "subset"), CASES, ids=IDS)
def test_exemplars_and_prompt_make_one_text(task: Task, subset: str) -> None:
    pool = _pool(task, "mini", subset)
    shots = choose(pool, 2 if pool else 0, 0, f"{task.name}/{subset}")
    for prompt in task.prompts:
        rendered = [task.render(shot, subset, prompt) for shot in shots]
        text = prefix(rendered, shots)
        assert text.count("\n\n") == len(shots)
        for shot, asked in zip(shots, rendered, strict=True):
            right = asked.answers[shot.target or 0]
            assert right.strip()
            assert f"{asked.text}{right}\n\n" in text


@pytest.mark.parametrize(("task", "subset"), CASES, ids=IDS)
def test_right_answers_score_one_and_wrong_ones_less(task: Task, subset: str) -> None:
    items = task.examples("mini", subset, None)
    assert task.self_test(items, subset) == []
    for metric in task.metrics:
        version, rules = task.metric_identity(metric, subset)
        assert version >= 1
        assert rules
    for prompt in task.prompts:
        assert set(_means(task, items, subset, prompt, lambda n: n).values()) == {1.0}
    shifted = _means(task, items, subset, task.prompts[0], _shifted(5, len(items)))
    assert max(shifted.values()) < 0.7


@pytest.mark.parametrize(("task", "subset"), CASES, ids=IDS)
def test_an_empty_answer_scores_zero(task: Task, subset: str) -> None:
    if task.kind == "choice":
        return
    for text in ("", " \n", "\nlate"):
        response = GenerateResponse(text.partition("\n")[0], "stop", 1, 9, (), ())
        for item in task.examples("mini", subset, None):
            for metric in task.metrics:
                assert task.score(item, response, metric, subset, task.prompts[0]) == 0.0


def test_right_answers_of_a_foreign_task_score_one_too(foreign: ForeignTask) -> None:
    (subset,) = foreign.subsets(OWN)
    items = foreign.examples(OWN, subset, None)
    assert set(_means(foreign, items, subset, OWN, lambda n: n).values()) == {1.0}


def test_a_foreign_task_is_consistent(foreign: ForeignTask) -> None:
    (subset,) = foreign.subsets(OWN)
    items = foreign.examples(OWN, subset, None)
    assert foreign.language(subset) == foreign.answer_language(subset)
    assert foreign.language(subset) in LANGUAGES
    assert foreign.datasets == (OWN,)
    assert foreign.primary_metric in foreign.metrics
    assert (foreign.kind == "generate") == (foreign.max_new_tokens is not None)
    assert foreign.exemplar_pool(OWN, subset, None) is None
    assert foreign.lint(items, subset, OWN) == []
    assert foreign.self_test(items, subset) == []


def _at_hand(task: Task, folder: Path) -> list[tuple[str, str]]:
    """Datasets and subsets of which the folder has the scored items."""
    found = []
    for dataset in set(task.datasets) - {"mini"}:
        for subset in task.subsets(dataset):
            try:
                task.examples(dataset, subset, folder)
            except DataError as error:
                if "none of these files is there" not in error.what:
                    raise
            else:
                found.append((dataset, subset))
    return sorted(found)


AT_HAND = {"xnli": 7, "xcopa": 6, "belebele": 7, "mlqa": 4, "xquad": 5, "xlsum": 2}
"""Subsets of each task in the folder of real files, at least."""

EXAMINED = 300
"""Real items of a subset whose prompts are all looked at here; `maple lint` looks at every one."""


@pytest.mark.full
def test_real_items_where_they_are_at_hand(task: Task, real_data: Path) -> None:
    read = _at_hand(task, real_data)
    assert len(read) >= AT_HAND.get(task.name, 0)
    for dataset, subset in read:
        _check_items(task, dataset, subset, real_data)
        _check_pool(task, dataset, subset, real_data)
        items = task.examples(dataset, subset, real_data)
        pool = _pool(task, dataset, subset, real_data)
        lender = _lender(task, dataset, subset, real_data)
        assert task.self_test(items, subset) == []
        for prompt in task.prompts:
            assert task.lint(items[:EXAMINED], subset, prompt) == []
            assert task.lint(pool[:EXAMINED], lender, prompt) == []


@pytest.mark.full
def test_gold_in_is_100_out_on_real_items(task: Task, real_data: Path) -> None:
    for dataset, subset in _at_hand(task, real_data):
        items = task.examples(dataset, subset, real_data)
        for prompt in task.prompts[:1] + task.prompts[-1:]:
            some = items if prompt == task.prompts[0] else items[:EXAMINED]
            assert set(_means(task, some, subset, prompt, lambda n: n).values()) == {1.0}
        others = _means(task, items, subset, task.prompts[0], _shifted(len(items) // 2, len(items)))
        if task.kind == "choice":
            chance = 1 / len(items[0].choices)
            assert all(abs(value - chance) < 0.1 for value in others.values())
        else:
            assert others[task.primary_metric] < 0.15
