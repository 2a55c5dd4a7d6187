"""The benchmarks. To add one: a file here, a line in `TASKS`, a fixture for the tests.

Other packages add theirs by entry points, see `plugins`. Tasks of lm-evaluation-harness are not in
the table: `foreign` makes them as a study names them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from maple.errors import DataError
from maple.protocols import Asking, Task
from maple.records import EvalCell, Example, UserPrompt
from maple.study.config import FOREIGN
from maple.tasks.belebele import BELEBELE
from maple.tasks.foreign import Stored
from maple.tasks.mlqa import MLQA
from maple.tasks.native import NativeTask
from maple.tasks.plugins import WithPlugins
from maple.tasks.xcopa import XCOPA
from maple.tasks.xlsum import XLSUM
from maple.tasks.xnli import XNLI
from maple.tasks.xquad import XQUAD

OWN_TASKS: Mapping[str, Task] = MappingProxyType(
    {task.name: task for task in (XNLI, XCOPA, BELEBELE, MLQA, XQUAD, XLSUM)}
)
"""Every benchmark of this package by the name that a study file uses."""

TASKS = WithPlugins(OWN_TASKS)
"""Those, and the ones of other packages, each loaded when it is asked for."""


def with_prompts(task: Task, prompts: Sequence[UserPrompt]) -> Task:
    """A task that can be asked with a study's own prompts, too.

    Args:
        prompts: of any tasks; those of this one are added.

    Raises:
        DataError: some are of this task, which has shapes of its own only.
    """
    added: dict[str, dict[str, UserPrompt]] = {}
    for prompt in prompts:
        if prompt.task == task.name:
            added.setdefault(prompt.name, {})[prompt.language] = prompt
    if not added:
        return task
    if not isinstance(task, NativeTask):
        raise DataError(f"{task.name} cannot be asked with prompts of a study")
    return replace(task, user=added)


def asking(cell: EvalCell, items: Sequence[Example], prompts: Sequence[UserPrompt] = ()) -> Asking:
    """What asks a cell's items, from the store and the study's prompts alone.

    Args:
        cell: what is evaluated.
        items: stored items of it, at least one.
        prompts: the study's own.
    """
    if cell.task.startswith(FOREIGN):
        return Stored(cell, items)
    return with_prompts(TASKS[cell.task], prompts)
