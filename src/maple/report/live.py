"""A report that follows a sweep: built again whenever the store has changed, until all is over."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from maple.report.gathered import plan_of
from maple.report.page import build
from maple.store import Store

_POLL_SECONDS = 5.0
# Shares of the time that looking at the store, and building, take at most: a sweep needs the rest.
_LOOKING, _BUILDING = 0.1, 0.5
# How deep the files lie that a report reads; parts of unfinished cells lie deeper.
_DEPTHS = {"train": 2, "eval": 4, "scores": 2}


class CellState(Protocol):
    """What is asked of a cell's state: `sweep.progress.CellStatus`."""

    @property
    def kind(self) -> str:
        """ "train", "eval", or "score" where the answers could not be scored."""
        ...

    @property
    def id(self) -> str:
        """The cell's id."""
        ...

    @property
    def status(self) -> str:
        """ "done", "failed", "running" (under a live lease) or "pending"."""
        ...


def follow(
    store: Store,
    states: Callable[[Store], Sequence[CellState]],
    say: Callable[[str], None],
    poll: float = _POLL_SECONDS,
    *,
    items: bool = True,
) -> Path:
    """Build the report, and again after every change, until no cell is left to wait for.

    A cell is waited for unless it is done and scored, has failed, or cannot run because its
    adapter failed to train; and while somebody holds its lease. Building takes at most half of the
    time. The page loads itself again in a browser, except the one of the last build.

    Args:
        store: a folder with a plan.
        states: the state of every cell of the store's plan.
        say: receives a line a build: how many cells are in which state.
        poll: seconds between two looks at the store.
        items: as `build`.

    Returns:
        The page's path.

    Raises:
        StoreError: as `build`.
    """
    seen: tuple[int, int] | None = None
    running: list[str] = []
    while True:
        began, share = time.monotonic(), _LOOKING
        now = _changed(store.root)
        # The last thing that happens to a cell is that its lease ends, which changes no result.
        freed = running and not any(store.holder(name) for name in running)
        if now != seen or freed:
            found = states(store)
            unscored = _unscored(store, found)
            over = not unscored and _is_over(store, found)
            page = build(store, live=not over, items=items)
            say(_line(found, unscored))
            if over:
                return page
            seen, share = now, _BUILDING
            running = [cell.id for cell in found if cell.status == "running"]
        taken = time.monotonic() - began
        time.sleep(max(poll, taken / share - taken))


def _is_over(store: Store, found: Sequence[CellState]) -> bool:
    plan = plan_of(store)
    lost = {cell.id for cell in found if (cell.kind, cell.status) == ("train", "failed")}
    for cell in found:
        in_vain = cell.kind == "eval" and plan.evals[cell.id].train_id in lost
        if cell.status == "running" or (cell.status == "pending" and not in_vain):
            record = store.train_record(cell.id) if cell.kind == "train" else None
            # Where its weights are gone a sweep would train again, but it is in the report.
            if cell.status == "running" or record is None or record.status != "done":
                return False
    return True


def _unscored(store: Store, found: Sequence[CellState]) -> int:
    """How many scores of finished answers are still to come."""
    answered = {cell.id for cell in found if (cell.kind, cell.status) == ("eval", "done")}
    return sum(
        not store.score_path(name, score).exists() and store.score_record(name, score) is None
        for name, score in plan_of(store).scores.items()
        if score.eval_id in answered
    )


def _line(found: Sequence[CellState], unscored: int) -> str:
    """ "train: 4 done; eval: 34 done, 1 failed, 1 running; scores: 12 to come"."""
    told = []
    for kind in dict.fromkeys(cell.kind for cell in found):
        states = [cell.status for cell in found if cell.kind == kind]
        counts = ", ".join(f"{states.count(state)} {state}" for state in sorted(set(states)))
        told.append(f"{kind}: {counts}")
    return "; ".join([*told, *([f"scores: {unscored} to come"] if unscored else [])])


def _changed(root: Path) -> tuple[int, int]:
    """Number of the files that a report reads, and when the newest was written, nanoseconds."""
    times = [(root / "plan.json").stat().st_mtime_ns]
    for name, depth in _DEPTHS.items():
        for entry in _files(root / name, depth):
            with contextlib.suppress(FileNotFoundError):
                times.append(entry.stat().st_mtime_ns)
    return len(times), max(times)


def _files(folder: str | Path, depth: int) -> Iterator[os.DirEntry[str]]:
    """Files `depth` levels below a folder, those that are being written left out."""
    try:
        entries = list(os.scandir(folder))
    except FileNotFoundError:
        return
    for entry in entries:
        if depth > 1 and entry.is_dir():
            yield from _files(entry.path, depth - 1)
        elif depth == 1 and entry.is_file() and not entry.name.endswith(".tmp"):
            yield entry
