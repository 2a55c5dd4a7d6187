"""What one command reads: from which commits and files, and what it found wrong there.

Readers stand deep below the commands, behind protocols that say nothing of hubs or reports. What
belongs to a whole command is therefore held here, for as long as a `with reading(...)` lasts.
Outside of one nothing is kept: every read is a first one, and every problem is raised.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from maple.errors import DataError

SHOWN = 20
"""Problems of one file that an error spells out."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A dataset repository at one commit.

    Attributes:
        commit: 40 hexadecimal digits.
        files: names of all its files, sorted.
    """

    commit: str
    files: tuple[str, ...]


class Mirror(Protocol):
    """A local folder of hub files, which is read in place of the hub or filled from it."""

    def snapshot(self, repo: str, revision: str) -> Snapshot | None:
        """What the folder knows of a revision; None if nothing and the hub may be asked.

        Raises:
            DataError: nothing, and the hub may not be asked.
        """
        ...

    def keep_snapshot(self, repo: str, revision: str, snapshot: Snapshot) -> None:
        """Note what the hub has answered."""
        ...

    def file(self, repo: str, commit: str, name: str) -> Path | None:
        """A file of the folder; None if it is not there and the hub may be asked.

        Raises:
            DataError: not there, and the hub may not be asked; or it is not what was fetched.
        """
        ...

    def keep_file(self, repo: str, commit: str, name: str, path: Path) -> None:
        """Take a copy of a file that the hub has sent."""
        ...


@dataclass(slots=True)
class Reading:
    """One command's reading.

    Attributes:
        pins: commit by (repository, revision), where an earlier plan has fixed it.
        mirror: a folder that stands in for the hub, or is being filled from it.
        collect: problems of rows are noted in `problems`, and reading goes on without the row.
        snapshots: by (repository, revision), each asked for once.
        files: every local file read.
        problems: what was found wrong, each place once, while `collect` is set.
        lost: the hub could not be reached, so it is not asked again.
    """

    pins: Mapping[tuple[str, str], str] = field(default_factory=dict)
    mirror: Mirror | None = None
    collect: bool = False
    snapshots: dict[tuple[str, str], Snapshot] = field(default_factory=dict)
    files: set[Path] = field(default_factory=set)
    problems: dict[str, DataError] = field(default_factory=dict)
    lost: bool = False


_CURRENT: ContextVar[Reading | None] = ContextVar("reading", default=None)


@contextmanager
def reading(
    *,
    pins: Mapping[tuple[str, str], str] | None = None,
    mirror: Mirror | None = None,
    collect: bool = False,
) -> Iterator[Reading]:
    """Read as one command, until the block ends. See `Reading`."""
    token = _CURRENT.set(Reading(pins or {}, mirror, collect))
    try:
        current = _CURRENT.get()
        assert current is not None  # noqa: S101  set two lines above
        yield current
    finally:
        _CURRENT.reset(token)


def current() -> Reading:
    """The reading of the command that runs; one for this call alone where there is none."""
    return _CURRENT.get() or Reading()


def report(problems: Sequence[DataError]) -> None:
    """Say what is wrong with a file: noted if the command collects problems, else raised.

    Args:
        problems: of one kind or one file; nothing happens if there are none.

    Raises:
        DataError: all of them as one, the first twenty spelled out.
    """
    if not problems:
        return
    found = current()
    if not found.collect:
        raise DataError.of(problems, SHOWN)
    for problem in problems:
        found.problems.setdefault(problem.what, problem)
