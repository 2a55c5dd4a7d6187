"""What every task must do (`protocols.Task`), tried on its packaged "mini" dataset."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from maple.errors import DataError
from maple.languages import LANGUAGES
from maple.prompts.exemplars import choose, prefix
from maple.protocols import Task
from maple.records import ChoiceResponse, Example, GenerateResponse
from maple.tasks import TASKS
from maple.tasks.foreign import OWN, ForeignTask
from maple.tasks.harness import Harness
from tasks import foreign_files

CASES = [(task, subset) for task in TASKS.values() for subset in task.subsets("mini")]
IDS = [f"{task.name}-{subset}" for task, subset in CASES]


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


def _right(task: Task, example: Example) -> ChoiceResponse | GenerateResponse:
    return _answer(task, example, example.target, example.golds[0] if example.golds else "")


def _wrong(task: Task, example: Example) -> ChoiceResponse | GenerateResponse:
    return _answer(task, example, 1 - (example.target or 0), "")


def _answer(
    task: Task, example: Example, index: int | None, text: str
) -> ChoiceResponse | GenerateResponse:
    if task.kind == "generate":
        return GenerateResponse(f" {text}", "stop", 3, 9, (), ())
    logprobs = tuple(-1.0 if i == index else -1e6 for i in range(len(example.choices)))
    return ChoiceResponse(logprobs, (1,) * len(logprobs), (False,) * len(logprobs), 9, (), ())


def test_the_table_names_its_tasks() -> None:
    assert all(name == task.name for name, task in TASKS.items())


def test_metadata_is_consistent(task: Task) -> None:
    assert task.kind in ("choice", "generate")
    assert task.primary_metric in task.metrics
    assert len(set(task.metrics)) == len(task.metrics)
    assert len(task.prompts) >= 2
    assert (task.kind == "generate") == (task.max_new_tokens is not None) == bool(task.stop)


def test_subsets_are_sorted_and_their_languages_known(task: Task) -> None:
    for dataset in ("release", "mini"):
        subsets = task.subsets(dataset)
        assert subsets
        assert list(subsets) == sorted(subsets)
        assert all(task.language(subset) in LANGUAGES for subset in subsets)


def test_unknown_names_are_errors(task: Task) -> None:
    subset = task.subsets("mini")[0]
    example = task.examples("mini", subset, None)[0]
    with pytest.raises(DataError):
        task.subsets("no such dataset")
    with pytest.raises(DataError):
        task.examples("mini", "no such subset", None)
    with pytest.raises(DataError):
        task.exemplar_pool("mini", "no such subset", None)
    with pytest.raises(DataError):
        task.render(example, subset, "no such prompt")
    with pytest.raises(DataError):
        task.metric_identity("no such metric", subset)
    with pytest.raises(DataError):
        task.score(example, _right(task, example), "no such metric", subset, task.prompts[0])


def test_a_folder_without_its_files_is_an_error(task: Task, tmp_path: Path) -> None:
    for subset in task.subsets("release"):
        with pytest.raises(DataError, match=r"none of these files is there"):
            task.examples("release", subset, tmp_path)


def test_every_released_language_can_be_asked_in_every_prompt(task: Task) -> None:
    for subset in task.subsets("release"):
        texts = [task.prompt_text(subset, prompt) for prompt in task.prompts]
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
    _check_items(task, "mini", subset)


def test_items_of_a_foreign_task_are_whole_too(foreign: ForeignTask) -> None:
    _check_items(foreign, OWN, foreign.subsets(OWN)[0])


def _check_items(task: Task, dataset: str, subset: str) -> None:
    items = task.examples(dataset, subset, None)
    assert items == task.examples(dataset, subset, None)
    assert len({item.example_id for item in items}) == len(items) > 0
    for item in items:
        assert item.cluster_id
        if task.kind == "choice":
            assert item.target in range(len(item.choices))
            assert not item.golds
        else:
            assert item.golds
            assert item.target is None


@pytest.mark.parametrize(("task", "subset"), CASES, ids=IDS)
def test_exemplars_are_never_scored_items_nor_on_their_passages(task: Task, subset: str) -> None:
    items, pool = task.examples("mini", subset, None), task.exemplar_pool("mini", subset, None)
    assert pool
    assert not {i.example_id for i in items} & {i.example_id for i in pool}
    assert not {i.cluster_id for i in items} & {i.cluster_id for i in pool}


@pytest.mark.parametrize(("task", "subset"), CASES, ids=IDS)
def test_prompts_pass_the_linter(task: Task, subset: str) -> None:
    items = [*task.examples("mini", subset, None), *task.exemplar_pool("mini", subset, None)]
    for prompt in task.prompts:
        assert task.lint(items, subset, prompt) == []


@pytest.mark.parametrize(("task", "subset"), CASES, ids=IDS)
def test_exemplars_and_prompt_make_one_text(task: Task, subset: str) -> None:
    pool = task.exemplar_pool("mini", subset, None)
    shots = choose(pool, 2, 0, f"{task.name}/{subset}")
    rendered = [task.render(shot, subset, "native") for shot in shots]
    text = prefix(rendered, shots)
    assert text.count("\n\n") == 2
    for shot in shots:
        right = shot.choices[shot.target] if shot.target is not None else shot.golds[0]
        assert f"{right}\n\n" in text


@pytest.mark.parametrize(("task", "subset"), CASES, ids=IDS)
def test_right_answers_score_one_and_wrong_ones_zero(task: Task, subset: str) -> None:
    _check_scores(task, "mini", subset)


def test_right_answers_of_a_foreign_task_score_one_too(foreign: ForeignTask) -> None:
    _check_scores(foreign, OWN, foreign.subsets(OWN)[0])


def test_a_foreign_task_is_consistent(foreign: ForeignTask) -> None:
    (subset,) = foreign.subsets(OWN)
    items = foreign.examples(OWN, subset, None)
    assert foreign.language(subset) in LANGUAGES
    assert foreign.primary_metric in foreign.metrics
    assert (foreign.kind == "generate") == (foreign.max_new_tokens is not None)
    assert foreign.exemplar_pool(OWN, subset, None) is None
    assert foreign.lint(items, subset, OWN) == []


def _check_scores(task: Task, dataset: str, subset: str) -> None:
    for metric in task.metrics:
        version, rules = task.metric_identity(metric, subset)
        assert version >= 1
        assert rules
        for item, prompt in _asked(task, dataset, subset):
            assert task.score(item, _right(task, item), metric, subset, prompt) == 1.0
            assert task.score(item, _wrong(task, item), metric, subset, prompt) == 0.0


def _asked(task: Task, dataset: str, subset: str) -> Iterator[tuple[Example, str]]:
    for item in task.examples(dataset, subset, None):
        for prompt in task.prompts:
            yield item, prompt


def test_real_items_where_they_are_at_hand(task: Task, real_data: Path) -> None:
    read = 0
    for subset in task.subsets("release"):
        try:
            items = task.examples("release", subset, real_data)
        except DataError as error:
            if "none of these files is there" not in error.what:
                raise
            continue
        read += 1
        for prompt in task.prompts:
            assert task.lint(items, subset, prompt) == []
    assert read >= 5
