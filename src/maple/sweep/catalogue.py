"""The names a study may use, gathered from the tables of tasks and sources."""

from __future__ import annotations

from maple.data.sources import SOURCES
from maple.evaluate.extra import available
from maple.study.load import Catalogue, KnownTask
from maple.tasks import TASKS


def catalogue() -> Catalogue:
    """Every task with its datasets, subsets and prompts, and every source with its languages."""
    return Catalogue(
        tasks={
            name: KnownTask(
                {dataset: task.subsets(dataset) for dataset in task.datasets},
                task.prompts,
                available(task.metrics, name),
            )
            for name, task in TASKS.items()
        },
        sources={name: source.languages for name, source in SOURCES.items()},
    )
