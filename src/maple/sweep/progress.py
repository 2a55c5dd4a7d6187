"""How far a store is, cell by cell."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from maple.records import EvalCell, TrainCell
from maple.store import PlanFile, Record, Store
from maple.sweep.plan import is_answered, is_trained, neutral_cells


@dataclass(frozen=True, slots=True)
class CellStatus:
    """One cell's state.

    Attributes:
        kind: "train", "eval", or "score" where the answers could not be scored.
        status: "done", "failed", "running" (under a live lease) or "pending".
        items: answered and wanted items of an eval cell, "32 of 50"; "" for a train cell.
        what: the cell in words, and the first line of the reason where it failed.
    """

    kind: str
    id: str
    status: str
    items: str
    what: str

    @property
    def settled(self) -> bool:
        """Nothing to look at: done."""
        return self.status == "done"

    def as_json(self) -> dict[str, str]:
        """As plain values."""
        return asdict(self)


def progress(store: Store) -> list[CellStatus]:
    """The state of every cell of a store's plan, in working order.

    Raises:
        StoreError: the plan or a record cannot be read.
    """
    plan = store.plan()
    if plan is None:
        return []
    found: list[CellStatus] = []
    for name, cell in plan.train.items():
        if cell.method != "none":
            record = store.train_record(name)
            whole = is_trained(store, name)
            found.append(_status(store, "train", name, record, whole, describe_train(cell), ""))
    sizes: dict[str, int] = {}
    asked_neutral = neutral_cells(plan.scores)
    for name, asked in plan.evals.items():
        if asked.items not in sizes:
            sizes[asked.items] = store.count_items(asked.task, asked.subset, asked.items)
        wanted = min(sizes[asked.items], plan.limit or sizes[asked.items])
        record = store.eval_record(name, asked)
        whole = is_answered(store, name, asked, wanted, name in asked_neutral)
        items = f"{store.answered(name, asked)} of {wanted}"
        found.append(_status(store, "eval", name, record, whole, describe_eval(plan, asked), items))
    for name, score in plan.scores.items():
        record = store.score_record(name, score)
        if record is not None:
            what = f"{score.metric} of {describe_eval(plan, plan.evals[score.eval_id])}"
            found.append(_status(store, "score", name, record, False, what, ""))
    return found


def describe_train(cell: TrainCell) -> str:
    """A train cell in words."""
    if cell.method == "none":
        return f"{cell.base_name}, untuned"
    if cell.train_bits is None:
        return f"{cell.base_name}, adapter {cell.source}"
    method = cell.method if cell.r is None else f"{cell.method} r={cell.r}"
    template = None if cell.template_name in (None, "plain") else f"template {cell.template_name}"
    data = ", ".join(filter(None, (cell.source, cell.mixture, template)))
    rate = f"learning rate {cell.learning_rate:g}"
    return f"{cell.base_name}, {method}, {rate}, {cell.train_bits} bits, {data}, seed {cell.seed}"


def describe_eval(plan: PlanFile, cell: EvalCell) -> str:
    """An eval cell in words."""
    trained = describe_train(plan.train[cell.train_id])
    return f"{cell.task}/{cell.subset} at {cell.eval_bits} bits: {trained}"


def _status(
    store: Store,
    kind: str,
    name: str,
    record: Record | None,
    whole: bool,
    what: str,
    items: str,
) -> CellStatus:
    """`whole`: everything that the plan wants of the cell is there."""
    if store.holder(name) is not None:
        return CellStatus(kind, name, "running", items, what)
    if record is None or (record.status == "done" and not whole):
        return CellStatus(kind, name, "pending", items, what)
    if record.failure is not None:
        what += f" - {record.failure.message.splitlines()[0]}"
    return CellStatus(kind, name, record.status, items, what)
