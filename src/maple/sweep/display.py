"""A sweep's events as progress bars, or as plain lines where nobody watches."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from maple.store import Store
from maple.sweep.plan import Plan, Todo
from maple.sweep.progress import describe_train

_QUIET_SECONDS = 60.0
"""After so long without a line, one says how far the work is, where there are no bars."""


class Display:
    """Shows the events of `run` on a console.

    Args:
        plan: the plan that is run.
        store: where it is run.
        console: usually of stderr.
    """

    def __init__(self, plan: Plan, store: Store, console: Console) -> None:
        todo = Todo(plan, store)
        self._pending = len(list(todo.train())) + len(list(todo.evals()))
        self._names = {name: describe_train(cell) for name, cell in plan.grid.train.items()}
        for name, cell in plan.grid.evals.items():
            self._names[name] = (
                f"{cell.task}/{cell.subset} at {cell.eval_bits} bits: {self._names[cell.train_id]}"
            )
        self._console = console
        self._live = console.is_terminal
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            disable=not self._live,
        )
        self._all = self._bars.add_task("cells", total=self._pending)
        self._one = self._bars.add_task("", total=None, visible=False)
        self._settled = 0
        self._trained = frozenset(plan.grid.train)
        self._begun = False
        self._said = time.monotonic()

    def __enter__(self) -> Display:
        self._console.print(f"{self._pending} cells to compute")
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bars.stop()

    def __call__(self, event: Mapping[str, object]) -> None:
        """Show one event."""
        kind = event["event"]
        name = self._names.get(str(event.get("id", "")), "")
        if kind == "start":
            self._begun = False
            self._bars.reset(self._one, description=name, visible=True, total=None)
        elif kind == "progress":
            self._show_step(
                str(event["id"]), name, int(str(event["step"])), int(str(event["steps"]))
            )
        elif kind == "load":
            if "server" in event:
                self._line(f"asking for {event['base']} on server {event['server']}")
            else:
                self._line(f"loading {event['base']} in {event['bits']} bits")
        elif kind in {"done", "failed"}:
            self._settled += 1
            self._bars.advance(self._all)
            self._line(f"[{self._settled}/{self._pending}] {kind}: {name}")
        elif kind == "waiting":
            self._line(f"waiting for {event['count']} cells that another sweep works on")

    def _show_step(self, cell_id: str, name: str, step: int, steps: int) -> None:
        self._bars.update(self._one, completed=step, total=steps)
        if cell_id in self._trained and step > 1 and not self._begun:
            self._line(f"going on behind step {step - 1} of {steps}: {name}")
        elif not self._live and time.monotonic() - self._said > _QUIET_SECONDS:
            self._line(f"{step} of {steps}: {name}")
        self._begun = True

    def _line(self, text: str) -> None:
        self._said = time.monotonic()
        self._bars.console.print(text, markup=False)
