"""The benchmarks. To add one: a file here, a line in `TASKS`, a fixture for the tests.

Tasks of lm-evaluation-harness are not in the table: `foreign` makes them as a study names them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from maple.protocols import Asking, Task
from maple.records import EvalCell, Example
from maple.study.config import FOREIGN
from maple.tasks.foreign import Stored
from maple.tasks.xcopa import Xcopa
from maple.tasks.xquad import Xquad

TASKS: Mapping[str, Task] = MappingProxyType({task.name: task for task in (Xcopa(), Xquad())})
"""Every benchmark by the name that a study file uses."""


def asking(cell: EvalCell, items: Sequence[Example]) -> Asking:
    """What asks a cell's items, from the store alone.

    Args:
        cell: what is evaluated.
        items: stored items of it, at least one.
    """
    return Stored(cell, items) if cell.task.startswith(FOREIGN) else TASKS[cell.task]
