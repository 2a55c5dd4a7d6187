"""The benchmarks. To add one: a file here, a line in `TASKS`, a fixture for the tests.

Other packages add theirs by entry points, see `plugins`. Tasks of lm-evaluation-harness are not in
the table: `foreign` makes them as a study names them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from maple.protocols import Asking, Task
from maple.records import EvalCell, Example
from maple.study.config import FOREIGN
from maple.tasks.belebele import BELEBELE
from maple.tasks.foreign import Stored
from maple.tasks.mlqa import MLQA
from maple.tasks.plugins import WithPlugins
from maple.tasks.xcopa import XCOPA
from maple.tasks.xlsum import XLSUM
from maple.tasks.xnli import XNLI
from maple.tasks.xquad import XQUAD

OWN_TASKS: Mapping[str, Task] = MappingProxyType(
    {task.name: task for task in (XNLI, XCOPA, BELEBELE, MLQA, XQUAD, XLSUM)}
)
"""Every benchmark of this package by the name that a study file uses."""

TASKS: Mapping[str, Task] = WithPlugins(OWN_TASKS)
"""Those, and the ones of other packages, each loaded when it is asked for."""


def asking(cell: EvalCell, items: Sequence[Example]) -> Asking:
    """What asks a cell's items, from the store alone.

    Args:
        cell: what is evaluated.
        items: stored items of it, at least one.
    """
    return Stored(cell, items) if cell.task.startswith(FOREIGN) else TASKS[cell.task]
