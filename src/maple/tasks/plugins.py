"""Benchmarks of other packages: the entry points of the group "maple.tasks".

A package names its tasks in its own pyproject.toml:

    [project.entry-points."maple.tasks"]
    tydiqa = "maple_tydiqa:TYDIQA"

The name is the one that a study uses, the object is a `protocols.Task` of that name. Code of
another package runs when a study or a command asks for its task, not before, and it cannot take
the place of a task that is there already: two of one name are an error for whoever asks for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import cast

from maple.errors import StudyError
from maple.protocols import Task

GROUP = "maple.tasks"

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")


class WithPlugins(Mapping[str, Task]):
    """Tasks by name: those given, and the ones that other packages offer.

    Args:
        own: tasks that no other package may replace.
    """

    def __init__(self, own: Mapping[str, Task]) -> None:
        self._own = own
        self._loaded: dict[str, Task] = {}

    def __getitem__(self, name: str) -> Task:
        """The task of a name, from its package if need be.

        Raises:
            KeyError: nobody offers one.
            StudyError: several do, or it cannot be loaded, or is no task.
        """
        offered = self._offered.get(name, [])
        sources = [_package(point) for point in offered]
        if name in self._own:
            sources.insert(0, "maple itself")
        if len(sources) > 1:
            raise StudyError(
                f"task {name!r} is offered by {' and by '.join(sources)}",
                "uninstall one of the packages: a name stands for one benchmark",
            )
        if name in self._own:
            return self._own[name]
        if name not in self._loaded:
            (point,) = self._offered[name]
            self._loaded[name] = _load(point)
        return self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys((*self._own, *self._offered)))

    def __len__(self) -> int:
        return len({*self._own, *self._offered})

    def loadable(self) -> tuple[dict[str, Task], list[StudyError]]:
        """All tasks that are sound, and what is wrong with the others."""
        found: dict[str, Task] = {}
        problems = []
        for name in self:
            try:
                found[name] = self[name]
            except StudyError as error:
                problems.append(error)
        return found, problems

    @cached_property
    def _offered(self) -> dict[str, list[EntryPoint]]:
        found: dict[str, list[EntryPoint]] = {}
        for point in sorted(entry_points(group=GROUP), key=lambda one: (one.name, one.value)):
            found.setdefault(point.name, []).append(point)
        return found


def _load(point: EntryPoint) -> Task:
    where = f"task {point.name!r} of the package {_package(point)} ({point.value})"
    try:
        found = point.load()
    except Exception as error:  # code of somebody else: whatever it raises, it has no task
        raise StudyError(
            f"{where}: cannot be loaded: {type(error).__name__}: {error}",
            "update or uninstall the package",
        ) from error
    lacking = [name for name in _members() if not hasattr(found, name)]
    if lacking or isinstance(found, type):
        what = "is a class" if isinstance(found, type) else f"has no {', '.join(lacking)}"
        raise StudyError(
            f"{where}: {what}; expected an object with the members of maple.protocols.Task",
            "update the package to this version of maple",
        )
    task = cast("Task", found)
    if task.name != point.name or not _NAME.fullmatch(point.name):
        raise StudyError(
            f"{where}: calls itself {task.name!r}; expected the same name in both places, of "
            "small letters, digits, '.', '_' and '-'"
        )
    return task


def _members() -> list[str]:
    methods = [name for name, value in vars(Task).items() if callable(value)]
    return sorted({*Task.__annotations__, *(name for name in methods if not name.startswith("_"))})


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else "an unknown package"
