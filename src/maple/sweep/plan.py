"""From a checked study to cells, and from cells to what is still to be done."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from maple import provenance
from maple.errors import StoreError
from maple.evaluate.extra import PMI
from maple.models import files
from maple.models.adapter_files import weight_bytes
from maple.prompts.literals import reviewed
from maple.protocols import Task
from maple.records import (
    EvalCell,
    EvalWork,
    Execution,
    ScoreCell,
    Server,
    TrainCell,
    TrainWork,
    Unit,
)
from maple.store import PlanFile, Record, Store
from maple.store.servecheck import server_notes
from maple.study.config import Study
from maple.study.grid import Grid, TrainingData, eval_bits, grid, train_cells
from maple.study.identity import IDENTITY_VERSION, train_id
from maple.study.methods import FULL
from maple.study.prompts import prompts_of
from maple.study.templates import templates_of
from maple.sweep.added import beside, language_checks
from maple.sweep.check import Checked, check, check_space, engine_of
from maple.sweep.external import METHOD as EXTERNAL
from maple.sweep.external import adapter_cell, bring_in
from maple.tasks.native import NativeTask

KEPT_ITEMS = 20_000
"""Items whose prompts a worker keeps in memory. Adapters take turns over subsets of so many items,
so that prompts are rendered and tokenised once and not once an adapter."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A checked study with its cells.

    Attributes:
        limit: items a subset; None for all.
        locks: identity by name, of base models and hub datasets of all plans of the store so far.
        adapter: folder of an adapter trained elsewhere, evaluated beside the untuned base.
        rescored: by task, metrics that `maple rescore` has added.
    """

    checked: Checked
    grid: Grid
    limit: int | None
    locks: Mapping[str, str]
    adapter: Path | None
    rescored: Mapping[str, tuple[str, ...]]

    @property
    def checks(self) -> Mapping[str, ScoreCell]:
        """Score cells that describe answers instead of grading them, by id."""
        return language_checks(self.grid.evals)

    @property
    def neutral(self) -> frozenset[str]:
        """Ids of the eval cells whose choices are asked after a neutral prompt, too."""
        return neutral_cells(self.grid.scores)

    def items(self, cell: EvalCell) -> int:
        """Items that an eval cell answers under the limit."""
        sizes = {asked.subset.items: len(asked.items) for asked in self.checked.asked}
        size = sizes[cell.items]
        return size if self.limit is None else min(size, self.limit)

    def task(self, name: str) -> Task:
        """The task of that name; of several that differ in their shots, which score alike, one."""
        return next(asked.task for asked in self.checked.asked if asked.subset.task == name)


def make(
    study: Study,
    folder: Path | None,
    limit: int | None,
    store: Store,
    adapter: Path | None = None,
    *,
    weights: bool = True,
) -> Plan:
    """Check a study and lay out its cells. Writes nothing.

    Args:
        study: canonicalised by `study.load`.
        folder: release files; None to read from the hub.
        limit: items a subset, over the study's own; None to leave it to the study.
        store: where results will go: its earlier plan locks revisions, its disk must suffice.
        adapter: evaluate this PEFT folder, too, on the study's one base.
        weights: those of hub models are fetched, too; only looking does without.

    Raises:
        StudyError: everything that is wrong with the study, at once.
        StoreError: the store cannot hold the results.
    """
    earlier = store.plan()
    _check_folder(store, earlier, study)
    locks = dict(earlier.locks) if earlier else {}
    checked = check(study, folder, locks, weights=weights)
    trained = train_cells(
        study, checked.bases, [drawn.data for drawn in checked.drawn], checked.templates
    )
    if adapter is not None:
        cell = adapter_cell(checked.bases[0], adapter)
        trained[train_id(cell)] = cell
    bases = {base.identity: base for base in checked.bases}
    engines = {
        (cell.base, bits): engine_of(
            bases[cell.base], bits, study.evaluate.server if study.evaluate else None
        )
        for cell in trained.values()
        for bits in eval_bits(study, cell)
    }
    cells = grid(
        study,
        trained,
        [asked.subset for asked in checked.asked],
        engines,
        checked.shortened,
        checked.templates,
    )
    rescored = dict(earlier.rescored) if earlier else {}
    added, _ = beside(cells.evals, rescored)
    cells = replace(cells, scores={**cells.scores, **added})
    if limit is None and study.evaluate is not None:
        limit = study.evaluate.limit
    locks |= {base.name: base.identity for base in checked.bases} | dict(checked.datasets)
    plan = Plan(checked, cells, limit, locks, adapter, rescored)
    todo = Todo(plan, store)
    train = [work.cell for work in todo.train()]
    check_space(store.root, train, [work.cell for work in todo.evals()], checked)
    return plan


def _check_folder(store: Store, earlier: PlanFile | None, study: Study) -> None:
    """Raises StoreError if the folder is somebody else's: another study's, or none of results."""
    if earlier is None:
        if (store.root / "study.toml").exists():
            raise StoreError(
                f"{store.root}: has a study.toml of its own, expected a folder for results",
                "choose another --out",
            )
        return
    name = earlier.study.get("name")
    if name != study.name:
        raise StoreError(
            f"{store.root}: holds the results of study {name!r}, this is {study.name!r}",
            "choose another --out, or give the study that name to replace it",
        )


def commit(plan: Plan, store: Store, study_text: bytes) -> None:
    """Write the plan, its items and its training rows: from here on the store is enough."""
    if plan.adapter is not None:
        for name, cell in plan.grid.train.items():
            if cell.method == EXTERNAL and not is_trained(store, name):
                bring_in(store, name, cell, plan.adapter)
    for drawn in plan.checked.drawn:
        data = drawn.data
        for content, rows in (
            (data.content, drawn.rows),
            (data.validation, drawn.validation),
            (data.english, drawn.english),
        ):
            if content is not None:
                store.put_rows(data.source, content, rows)
    for asked in plan.checked.asked:
        subset = asked.subset
        store.put_items(subset.task, subset.subset, subset.items, asked.items)
        if subset.pool is not None:
            store.put_items(subset.task, subset.subset, subset.pool, asked.pool)
    store.put_plan(_file(plan), study_text)


class Todo:
    """What of a plan the store does not hold yet. Looked up anew at each call."""

    def __init__(self, plan: Plan, store: Store) -> None:
        self._plan = plan
        self._store = store

    def train(self) -> Iterator[TrainWork]:
        """Adapters not trained yet."""
        for name, cell in self._plan.grid.train.items():
            made_here = cell.method not in {"none", EXTERNAL}
            if made_here and not is_trained(self._store, name):
                yield self._train_work(name, cell)

    def _train_work(self, train_id: str, cell: TrainCell) -> TrainWork:
        train = self._plan.checked.study.train
        assert train is not None  # noqa: S101  there is a cell to train
        data = next(
            drawn.data
            for drawn in self._plan.checked.drawn
            if (drawn.data.source, drawn.data.content) == (cell.source, cell.data)
        )
        every = train.validation.every if train.validation else None
        execution = Execution(
            train.pack_tokens, train.gradient_checkpointing, every, tuple(train.report_to)
        )
        return TrainWork(train_id, cell, data.validation, data.english, execution)

    def evals(self) -> Iterator[EvalWork]:
        """Eval cells that lack responses under the plan's limit."""
        asked_neutral = self._plan.neutral
        for name, cell in self._plan.grid.evals.items():
            items, neutral = self._plan.items(cell), name in asked_neutral
            if not is_answered(self._store, name, cell, items, neutral):
                untuned = self._plan.grid.train[cell.train_id].method == "none"
                adapter = None if untuned else cell.train_id
                yield EvalWork(name, cell, adapter, items, neutral)

    def held(self) -> set[str]:
        """Ids of pending cells that a live process works on."""
        pending = [work.train_id for work in self.train()]
        pending += [work.eval_id for work in self.evals()]
        return {name for name in pending if self._store.holder(name) is not None}

    def units(self, skip: Collection[str]) -> list[Unit]:
        """The pending cells as units, one a base and precision, ready to run in this order.

        A base that was finetuned in full is a base of its own to its eval cells. A cell evaluated
        at other bits than its adapter is trained at comes after that training.

        Args:
            skip: ids of cells to leave out (failed in this sweep, or held by somebody else);
                cells that need the adapter of such a cell are left out with it.
        """
        awaited = {work.train_id: work for work in self.train()}
        train = [work for name, work in awaited.items() if name not in skip]
        now: list[EvalWork] = []
        later: list[EvalWork] = []
        for work in self.evals():
            first = awaited.get(work.cell.train_id)
            if work.eval_id in skip or (first is not None and first.train_id in skip):
                continue
            same = first is None or first.cell.train_bits == work.cell.eval_bits
            (now if same else later).append(work)
        return [*self._group(train, now), *self._group([], later)]

    def _group(self, train: list[TrainWork], evals: list[EvalWork]) -> Iterator[Unit]:
        cells = self._plan.grid.train
        keyed = [
            *((work.cell.base, work.cell.train_bits or 0, "", 0, work) for work in train),
            *((cells[w.cell.train_id].base, w.cell.eval_bits, self._tuned(w), 1, w) for w in evals),
        ]
        bases = {base.identity: base for base in self._plan.checked.bases}
        order = {identity: index for index, identity in enumerate(bases)}
        keyed.sort(key=lambda key: (order[key[0]], *key[1:4]))
        for (identity, bits, tuned), group in groupby(keyed, key=lambda key: key[:3]):
            work = [key[4] for key in group]
            answering = [item for item in work if isinstance(item, EvalWork)]
            yield Unit(
                base=bases[identity],
                bits=bits,
                store=str(self._store.root),
                train=tuple(item for item in work if isinstance(item, TrainWork)),
                evals=tuple(self._in_turns(answering)),
                server=self._server(),
                prompts=prompts_of(self._plan.checked.study.evaluate),
                templates=templates_of(self._plan.checked.study),
                tuned=tuned or None,
            )

    def _tuned(self, work: EvalWork) -> str:
        """The train cell that made the base of an eval cell; "" where it was not tuned in full."""
        train_id = work.cell.train_id
        return train_id if self._plan.grid.train[train_id].method == FULL else ""

    def _server(self) -> Server | None:
        """The server that all eval cells of the study go to, if it has one."""
        evaluate = self._plan.checked.study.evaluate
        if evaluate is None or evaluate.server is None:
            return None
        (dtype,) = {cell.compute_dtype for cell in self._plan.grid.evals.values()}
        return Server(evaluate.server.url, evaluate.server.model, dtype)

    def _in_turns(self, evals: Sequence[EvalWork]) -> list[EvalWork]:
        """Adapter after adapter over the same few subsets, then over the next ones."""
        turns: dict[tuple[object, ...], int] = {}
        turn = items = 0
        for work in evals:
            subset = work.cell.asked_as
            if subset not in turns:
                items += self._plan.items(work.cell)
                if items > KEPT_ITEMS:
                    turn, items = turn + 1, self._plan.items(work.cell)
                turns[subset] = turn
        return sorted(evals, key=lambda work: turns[work.cell.asked_as])


def neutral_cells(scores: Mapping[str, ScoreCell]) -> frozenset[str]:
    """Ids of the eval cells whose scores need answers after a neutral prompt."""
    return frozenset(score.eval_id for score in scores.values() if score.metric == PMI)


def describe(plan: Plan, store: Store) -> dict[str, Any]:
    """A plan for people and machines: notes, a row a train cell, a row a task and precision.

    Returns:
        JSON-ready: "notes", "bases", "data", "train", "evaluate", "total".
    """
    todo = Todo(plan, store)
    pending = {work.train_id for work in todo.train()} | {work.eval_id for work in todo.evals()}
    grid = plan.grid
    train = [
        {
            "cell": name,
            "base": cell.base_name,
            "method": cell.method,
            "r": cell.r,
            "lora_alpha": cell.lora_alpha,
            "learning_rate": cell.learning_rate,
            "bits": cell.train_bits,
            "source": cell.source,
            "mixture": cell.mixture,
            "template": cell.template_name,
            "rows": cell.rows,
            "seed": cell.seed,
            "state": "to do" if name in pending else "done",
        }
        for name, cell in grid.train.items()
        if cell.method != "none"
    ]
    evaluate = []
    kinds = sorted({(cell.task, cell.eval_bits) for cell in grid.evals.values()})
    for task, bits in kinds:
        cells = {
            name: cell
            for name, cell in grid.evals.items()
            if (cell.task, cell.eval_bits) == (task, bits)
        }
        untuned = [c for c in cells.values() if grid.train[c.train_id].method == "none"]
        evaluate.append(
            {
                "task": task,
                "bits": bits,
                "cells": len(cells),
                "untuned": len(untuned),
                "to do": sum(name in pending for name in cells),
                "items": sum(plan.items(cell) for cell in cells.values()),
            }
        )
    server = plan.checked.study.evaluate and plan.checked.study.evaluate.server
    url, model = (server.url, server.model) if server else ("", None)
    asked = server_notes(grid.train, grid.evals, url, model, store.root)
    return {
        "notes": [*asked, *notes(plan.checked)],
        "bases": [asdict(base) for base in plan.checked.bases],
        "data": [row for drawn in plan.checked.drawn for row in _table(drawn.data)],
        "train": train,
        "evaluate": evaluate,
        "total": f"{len(train)} adapters, {len(grid.evals)} eval cells, {len(pending)} to compute",
    }


def _table(data: TrainingData) -> list[dict[str, Any]]:
    """Training data as rows of a table, one a language."""
    return [
        {
            "source": data.source,
            "mixture": data.mixture,
            "language": line.language,
            "from": line.source,
            "rows": line.rows,
            "share": round(line.rows / data.rows, 4),
            "characters": line.characters,
            "empty, left out": line.empty,
            "unpaired, left out": line.unpaired,
            "held out": line.held_out,
        }
        for line in data.table
    ]


def is_answered(
    store: Store, eval_id: str, cell: EvalCell, items: int, neutral: bool = False
) -> bool:
    """Whether an eval cell is done with at least `items` answers, and they are really there.

    Args:
        neutral: they need `neutral_logprobs`, too.
    """
    if not is_done(store.eval_record(eval_id, cell), items):
        return False
    if neutral and store.count_neutral(eval_id, cell) < items:
        return False
    return store.count(eval_id, cell) >= items


def is_trained(store: Store, train_id: str) -> bool:
    """Whether a train cell is done and its weights are there, as long as they were."""
    record = store.train_record(train_id)
    if record is None or not is_done(record):
        return False
    size = weight_bytes(store.train_folder(train_id))
    return size > 0 and (record.outcome is None or size == record.outcome.adapter_bytes)


def is_done(record: Record | None, items: int = 0) -> bool:
    """Whether a cell's record stands for a finished cell with at least `items` answers."""
    return record is not None and record.status == "done" and (record.n or 0) >= items


def notes(checked: Checked) -> list[str]:
    """What every reader of this study's results must know, the weightiest first."""
    bases, study = checked.bases, checked.study
    found: list[str] = []
    mini = [
        task.name
        for task in (study.evaluate.task if study.evaluate else ())
        if task.dataset == "mini"
    ]
    if mini or (study.train is not None and "mini" in study.train.sources):
        found.append(
            "A check of the plumbing, not evidence: this study uses the small set `mini` that "
            "ships with the program."
        )
    scripted = [base.name for base in bases if base.name.startswith(files.SCRIPTED)]
    if scripted:
        found.append(
            f"No model ran: {', '.join(scripted)} makes its answers up, to try out a study."
        )
    found += [
        f"{base.name} was published in {base.source_precision} bits: no conclusion about bits can "
        "be drawn from it."
        for base in bases
        if base.source_precision is not None
    ]
    prompts = {
        (one.task, one.name): one
        for one in prompts_of(study.evaluate)
        if (one.task, one.name) in {(a.subset.task, a.subset.prompt) for a in checked.asked}
    }
    found += [
        f"Prompt {name} of {task} is the study's own, for example: {one.text!r}"
        for (task, name), one in prompts.items()
    ]
    used = {name for _, name in checked.templates}
    found += [
        f"Training template {one.name} is the study's own: {one.text!r}"
        for one in templates_of(study)
        if one.name in used
    ]
    languages = {
        asked.task.worded_in(subset, asked.subset.prompt)
        for asked in checked.asked
        if isinstance(asked.task, NativeTask)
        and (asked.subset.task, asked.subset.prompt) not in prompts
        for subset in (asked.subset.subset, asked.subset.exemplar_subset)
        if subset is not None
    }
    unreviewed = sorted(language for language in languages if not reviewed(language))
    if unreviewed:
        found.append(
            f"Words of the prompts not yet reviewed by a speaker: {', '.join(unreviewed)}."
        )
    for drawn in checked.drawn:
        found += [f"{remark}." for remark in drawn.remarks]
    for asked in checked.asked:
        where = f"{asked.subset.task}/{asked.subset.subset}"
        found += [f"{where}: {remark}." for remark in asked.remarks]
    return list(dict.fromkeys(found))


def _languages(checked: Checked) -> dict[str, str]:
    return {
        f"{one.subset.task}/{one.subset.subset}": one.task.language(one.subset.subset)
        for one in checked.asked
    }


def _file(plan: Plan) -> PlanFile:
    study = plan.checked.study
    asked = plan.checked.asked
    return PlanFile(
        identity_version=IDENTITY_VERSION,
        maple=provenance.versions()["maple"],
        created=provenance.utc_now(),
        study=study.model_dump(mode="json"),
        bases=plan.checked.bases,
        locks=dict(plan.locks),
        limit=plan.limit,
        train=dict(plan.grid.train),
        evals=dict(plan.grid.evals),
        scores=dict(plan.grid.scores),
        checks=dict(plan.checks),
        rescored=dict(plan.rescored),
        prompts=dict(plan.grid.prompts),
        primary_metrics=dict(sorted((one.task.name, one.task.primary_metric) for one in asked)),
        languages=_languages(plan.checked),
        data=tuple(drawn.data for drawn in plan.checked.drawn),
        notes=tuple(notes(plan.checked)),
    )
