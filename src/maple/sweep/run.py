"""Running a plan until nothing is left to do that can be done."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from maple import provenance
from maple.errors import DataError, MapleError
from maple.evaluate.extra import PMI
from maple.evaluate.scores import score
from maple.metrics.identify import LANGUAGE
from maple.protocols import Executor, Task
from maple.records import EvalCell, Failure, ScoreCell, TrainCell, Unit
from maple.store import Record, Store
from maple.sweep.attempt import death_record
from maple.sweep.plan import Plan, Todo, is_answered, is_trained

_POLL_SECONDS = 2.0
"""How often a sweep looks whether cells that another sweep works on are finished."""

_IDLE_DEATHS = 3
"""Workers that die without a cell in hand, one after the other, before the sweep gives up."""

OnEvent = Callable[[Mapping[str, object]], None]


@dataclass(slots=True)
class Outcome:
    """What one sweep did.

    Attributes:
        done: ids of the cells that this sweep finished.
        failed: message by id of the cells that failed in this sweep, score cells too.
        scored: score cells written.
    """

    done: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    scored: int = 0


def run(plan: Plan, store: Store, executor: Executor, on_event: OnEvent) -> Outcome:
    """Work on a plan until every cell is done or has failed in this sweep.

    Cells that failed in an earlier sweep are tried again. Cells that another live sweep works on
    are waited for.

    Args:
        plan: committed to `store`.
        store: the results folder.
        executor: runs the units.
        on_event: receives the workers' events and {"event": "waiting", "count": n}.
    """
    watch = _Watch(plan, store, on_event)
    todo = Todo(plan, store)
    while True:
        held = todo.held()
        failed = set(watch.outcome.failed)
        units = todo.units(failed | held)
        for unit in units:
            watch.unit = unit
            executor.run([unit], watch)
            watch.outcome.scored += score_missing(plan, store, watch.outcome.failed)
        if not units and not held - failed:
            break
        if watch.began:
            watch.began = False
            continue
        if held - failed:
            on_event({"event": "waiting", "count": len(held - failed)})
        time.sleep(_POLL_SECONDS)
    watch.outcome.scored += score_missing(plan, store, watch.outcome.failed)
    store.write_index()
    return watch.outcome


def score_missing(plan: Plan, store: Store, failed: dict[str, str]) -> int:
    """Score every finished eval cell that lacks a metric.

    Args:
        plan, store: as for `run`.
        failed: message by id of the cells that are left out because they have failed; receives
            those whose answers a task cannot score, which get a failed record.

    Returns:
        The number of score cells written.
    """
    return _score(plan, store, {**plan.grid.scores, **plan.checks}, failed)


def _score(plan: Plan, store: Store, cells: Mapping[str, ScoreCell], failed: dict[str, str]) -> int:
    """Score what some score cells lack, as `score_missing`."""
    evals = plan.grid.evals
    # What a later unit of this sweep will be asked has not failed to be scored.
    wanted = {
        name: cell
        for name, cell in cells.items()
        if cell.metric != PMI or store.count_neutral(cell.eval_id, evals[cell.eval_id])
    }
    return score_cells(store, evals, wanted, plan.task, failed)


def score_cells(
    store: Store,
    evals: Mapping[str, EvalCell],
    wanted: Mapping[str, ScoreCell],
    task: Callable[[str], Task],
    failed: dict[str, str],
) -> int:
    """Score what is answered and lacks its score.

    Args:
        store: the results folder.
        evals: eval cells by id.
        wanted: score cells by id, of these eval cells.
        task: the task of a name.
        failed: as for `score_missing`.

    Returns:
        The number of score cells written, checks of the language not counted.
    """
    metrics: dict[str, dict[str, ScoreCell]] = {}
    for name, cell in wanted.items():
        if name not in failed:
            metrics.setdefault(cell.eval_id, {})[name] = cell
    written = 0
    for eval_id, cells in metrics.items():
        source = evals[eval_id]
        record = store.eval_record(eval_id, source)
        if record is None or not record.n:
            continue
        written += _score_cell(store, eval_id, source, cells, task(source.task), failed)
    return written


def _score_cell(
    store: Store,
    eval_id: str,
    source: EvalCell,
    cells: Mapping[str, ScoreCell],
    task: Task,
    failed: dict[str, str],
) -> int:
    """Score one eval cell's answers by the metrics that lack some; the number written."""
    answered, content = store.count(eval_id, source), store.content(eval_id, source)
    # Without any neutral answers all are tried, so that the failure says what is missing.
    neutral = store.count_neutral(eval_id, source) or answered
    wanted = {name: neutral if cell.metric == PMI else answered for name, cell in cells.items()}
    # Responses that were computed again may differ in their last bits.
    lacking = [
        name for name, cell in cells.items() if store.scored(name, cell) != (wanted[name], content)
    ]
    if not answered or not lacking:
        return 0
    answers = store.finished(eval_id, source).to_pylist()
    items = store.items(source.task, source.subset, source.items)
    examples = {item.example_id: item for item in items}
    written = 0
    for name in lacking:
        cell, rows, started = cells[name], answers[: wanted[name]], provenance.utc_now()
        try:
            scores = score(task, source, cell.metric, examples, rows)
        except DataError as error:
            failed[name] = str(error)
            store.put_record(_unscored(name, cell, started, error))
            continue
        ids = [row["example_id"] for row in rows]
        store.put_scores(name, cell, ids, scores, content)
        written += cell.metric != LANGUAGE
    return written


def _unscored(name: str, cell: ScoreCell, started: str, error: DataError) -> Record:
    return Record(
        kind="score",
        id=name,
        status="failed",
        cell=cell,
        started=started,
        finished=provenance.utc_now(),
        provenance=provenance.provenance(),
        failure=Failure(str(error)),
    )


class _Watch:
    """Follows the events of workers and writes the records of those that die."""

    def __init__(self, plan: Plan, store: Store, on_event: OnEvent) -> None:
        self.outcome = Outcome()
        self.began = False
        self.unit: Unit | None = None
        self._plan = plan
        self._store = store
        self._on_event = on_event
        self._metrics: dict[str, dict[str, ScoreCell]] = {}
        for score_id, cell in (*plan.grid.scores.items(), *plan.checks.items()):
            self._metrics.setdefault(cell.eval_id, {})[score_id] = cell
        self._current: str | None = None
        self._loading = False
        self._idle_deaths = 0
        self._started = ""

    def __call__(self, event: Mapping[str, object]) -> None:
        kind = event["event"]
        name = str(event.get("id", ""))
        if kind == "start":
            self._current, self._started = name, provenance.utc_now()
            self.began = True
        elif kind in {"load", "loaded"}:
            self._loading = kind == "load"
        elif kind == "done":
            self.outcome.done.append(name)
            # At once, so that a report says something while the unit is still at work.
            cells = self._metrics.get(name, {})
            self.outcome.scored += _score(self._plan, self._store, cells, self.outcome.failed)
        elif kind == "failed":
            self._failed(name, str(event["message"]))
        elif kind == "exit":
            self._exit(event)
        elif kind == "error":
            raise MapleError(str(event["message"]), str(event["hint"]))
        if kind in {"done", "failed", "busy"}:
            self._current = None
        self._on_event(event)

    def _failed(self, name: str, message: str) -> None:
        self.outcome.failed[name] = message
        if name not in self._plan.grid.train:
            return
        for dependent, cell in self._plan.grid.evals.items():
            if cell.train_id == name and dependent not in self.outcome.failed:
                self._bury(dependent, Failure(f"its adapter {name} failed to train"))

    def _exit(self, event: Mapping[str, object]) -> None:
        status = int(str(event["status"]))
        loading, self._loading = self._loading, False
        if status == 0:
            return
        failure = Failure(_cause(status), str(event["log"]), status)
        if loading and self.unit is not None:
            # It would die the same way for each of them.
            names = [work.train_id for work in self.unit.train]
            names += [work.eval_id for work in self.unit.evals]
        else:
            names = [self._current] if self._current else []
        if not names:
            # Between two cells, or before the first: what is left is planned again.
            self._idle_deaths += 1
            if self._idle_deaths == _IDLE_DEATHS:
                raise MapleError(
                    f"workers end before they begin: {failure.message}\n{failure.detail}"
                )
            return
        self._idle_deaths = 0
        for name in names:
            self._bury(name, failure)
        self._current = None

    def _bury(self, name: str, failure: Failure) -> None:
        """Write the failed record of a cell whose process cannot, unless somebody else has it."""
        cell: TrainCell | EvalCell
        kind = "train" if name in self._plan.grid.train else "eval"
        cell = self._plan.grid.train[name] if kind == "train" else self._plan.grid.evals[name]
        lease = self._store.claim(name)
        if lease is None:
            return
        with lease:
            if self._is_done(name):
                return
            started = self._started or provenance.utc_now()
            earlier = self._store.eval_record(name, cell) if isinstance(cell, EvalCell) else None
            self._store.put_record(death_record(kind, name, cell, started, failure, earlier))
        self._failed(name, failure.message)
        self._on_event({"event": "failed", "id": name, "message": failure.message})

    def _is_done(self, name: str) -> bool:
        if name in self._plan.grid.train:
            return is_trained(self._store, name)
        cell = self._plan.grid.evals[name]
        wanted = self._plan.items(cell)
        return is_answered(self._store, name, cell, wanted, name in self._plan.neutral)


def _cause(status: int) -> str:
    if status >= 0:
        return f"its process ended with exit status {status}"
    name = signal.Signals(-status).name
    hint = "; out of memory?" if name == "SIGKILL" else ""
    return f"its process was killed by {name}{hint}"
