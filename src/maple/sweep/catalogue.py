"""The names a study may use, gathered from the tables of tasks and sources."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial

from maple.data.sources import SOURCES
from maple.errors import NoWordError, StudyError, nearest
from maple.evaluate.extra import available
from maple.prompts.training import BUILTIN
from maple.prompts.user import places
from maple.protocols import Task
from maple.study.load import Catalogue
from maple.study.prompts import KnownTask
from maple.tasks import TASKS
from maple.tasks.card import Card
from maple.tasks.native import NativeTask


def catalogue() -> Catalogue:
    """Every task with its datasets, subsets and prompts, every source with its languages."""
    return Catalogue(
        tasks=_Tasks(),
        sources={name: source.languages for name, source in SOURCES.items()},
        templates=BUILTIN,
    )


class _Tasks(Mapping[str, KnownTask]):
    """Looks at a task when a study names it: other packages' tasks are not loaded before."""

    def __getitem__(self, name: str) -> KnownTask:
        task = TASKS[name]
        known = KnownTask(
            {dataset: task.subsets(dataset) for dataset in task.datasets},
            task.prompts,
            available(task.metrics, name),
            task.poolless,
            partial(_asks, task),
        )
        if not isinstance(task, NativeTask):
            return known
        samples = [sample for shape in task.shapes.values() for sample in shape.samples]
        fields = sorted({name for sample in samples for name in sample.fields})
        choices = max(len(sample.choices) for sample in samples)
        numbered = [f"choice{number}" for number in range(1, choices + 1)]
        return replace(
            known,
            fields=list(dict.fromkeys([*fields, *numbered])),
            places=places,
            choices=choices,
            labels=next(iter(task.shapes.values())).labels is not None,
        )

    def __iter__(self) -> Iterator[str]:
        return iter(TASKS)

    def __len__(self) -> int:
        return len(TASKS)


def languages_of(tasks: Iterable[str]) -> dict[str, set[str]]:
    """Keys of the languages that the release of each task has.

    Raises:
        StudyError: no such task.
    """
    found: dict[str, set[str]] = {}
    for name in tasks:
        if name not in TASKS:
            raise StudyError(f"--task {name}: no such task", nearest(name, TASKS))
        found[name] = {TASKS[name].language(subset) for subset in TASKS[name].subsets("release")}
    return found


def cards(tasks: Iterable[str]) -> dict[str, Card]:
    """What is known about the tasks that are written for MAPLE, by name."""
    found = ((name, TASKS[name]) for name in tasks if name in TASKS)
    return {name: task.card for name, task in found if isinstance(task, NativeTask)}


def hubs() -> dict[str, str]:
    """Repository by training source, of those that a hub has."""
    return {name: source.hub for name, source in SOURCES.items() if source.hub is not None}


def _asks(task: Task, subset: str, prompt: str) -> bool:
    try:
        task.prompt_text(subset, prompt)
    except NoWordError:
        return False
    return True
