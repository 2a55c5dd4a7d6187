"""The benchmarks. To add one: a file here, a line in `TASKS`, a fixture for the tests."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from maple.protocols import Task
from maple.tasks.xcopa import Xcopa
from maple.tasks.xquad import Xquad

TASKS: Mapping[str, Task] = MappingProxyType({task.name: task for task in (Xcopa(), Xquad())})
"""Every benchmark by the name that a study file uses."""
