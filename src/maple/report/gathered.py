"""Everything that a report shows, read from the store once."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import polars as pl

from maple.analysis import frames, rates, spread, transfer_table
from maple.analysis.blocks import blocks
from maple.analysis.findings import Finding
from maple.analysis.gains import gains
from maple.analysis.observed import Observed
from maple.analysis.questions import findings
from maple.analysis.results import Macro, Results, Setting, results, settings_of
from maple.errors import StoreError
from maple.records import EvalCell, ScoreCell
from maple.report.labels import Told, cell_label, differing, plural, subset_label
from maple.store import PlanFile, Record, Snapshot, Store
from maple.store.servecheck import server_notes


@dataclass(frozen=True, slots=True)
class Line:
    """What stands in one row of a table: a train cell at one precision, with its eval cells.

    Attributes:
        evals: eval id by subset.
    """

    train_id: str
    eval_bits: int
    label: str
    base_name: str
    evals: dict[str, str] = field(hash=False)

    @property
    def key(self) -> tuple[str, int]:
        """Names the row within a setting."""
        return self.train_id, self.eval_bits


@dataclass(frozen=True, slots=True)
class Table:
    """All cells that share a setting.

    Attributes:
        lines: sorted by base, precision, untuned first, source, mixture, template, method,
            learning rate, rank, seed.
        subsets: name of each subset's column by subset, in the plan's order.
        rules: language rules of the metric by subset.
        primary: whether the setting's metric is the task's primary one.
        anchor: names the table in file names and links; distinct within a study.
        title: the task, and how it was asked where the study asks it in several ways.
    """

    setting: Setting
    lines: tuple[Line, ...]
    subsets: dict[str, str] = field(hash=False)
    rules: dict[str, str] = field(hash=False)
    primary: bool
    anchor: str
    title: str


@dataclass(frozen=True, slots=True)
class Gathered:
    """One study's results, in tables and estimates.

    Attributes:
        statuses: "done", "failed" or "pending" by eval id.
        unscored: eval id and metric where answers could not be scored.
        answered: ids of the eval cells that have answers; "failed" ones, too, which were done
            before more items were asked for.
        findings: verdicts on the paper's hypotheses; none without an adapter that has answered.
        macros: those of `results`, by (setting, train id, eval bits).
        told: what labels tell besides, from `labels.differing`.
        records: of the plan's cells only, train cells first, failed scores last.
    """

    store: Store
    plan: PlanFile
    cells: pl.DataFrame
    training: pl.DataFrame
    training_data: pl.DataFrame
    held_out: pl.DataFrame
    curves: pl.DataFrame
    validation: pl.DataFrame
    answers: pl.DataFrame
    choices: pl.DataFrame
    prompts: pl.DataFrame
    transfer: pl.DataFrame
    gains: pl.DataFrame
    variance: pl.DataFrame
    statuses: dict[str, str]
    unscored: frozenset[tuple[str, str]]
    answered: frozenset[str]
    results: Results
    findings: tuple[Finding, ...]
    macros: dict[tuple[Setting, str, int], Macro]
    tables: tuple[Table, ...]
    told: Told
    records: tuple[Record, ...]

    @property
    def notes(self) -> tuple[str, ...]:
        """What the reader should know first, in plain sentences."""
        return notes_of(self.store, self.plan)

    def macro(self, table: Table, line: Line) -> Macro | None:
        """The mean over languages of a row; None where nothing of it is finished."""
        return self.macros.get((table.setting, *line.key))

    def means(self) -> Iterator[tuple[Table, Line, Macro]]:
        """Every row that has a mean, of all tables in their order."""
        for table in self.tables:
            for line in table.lines:
                macro = self.macro(table, line)
                if macro is not None:
                    yield table, line, macro


def gather(store: Store) -> Gathered:
    """Read a store.

    Raises:
        StoreError: no plan in the folder, or a file that cannot be read.
    """
    plan = plan_of(store)
    store = Snapshot(store.root)
    scored = blocks(store, plan)
    found = results(plan, scored)
    observed = Observed(plan, found)
    training = frames.training(store, plan)
    records = _records(store, plan)
    statuses = {record.id: record.status for record in records}
    cells = frames.cells(store, plan)
    prompts, held_out = rates.prompts(store, plan), frames.held_out(store, plan)
    return Gathered(
        store=store,
        plan=plan,
        cells=cells,
        statuses={name: statuses.get(name, "pending") for name in plan.evals},
        unscored=frozenset(
            (record.cell.eval_id, record.cell.metric)
            for record in records
            if isinstance(record.cell, ScoreCell)
        ),
        answered=frozenset(cells.filter(pl.col("n") > 0)["eval_id"]),
        training=training,
        training_data=frames.training_data(store, plan),
        held_out=held_out,
        curves=frames.curves(store, plan),
        validation=frames.validation(store, plan),
        answers=rates.answers(store, plan),
        choices=rates.choices(store, plan),
        prompts=prompts,
        transfer=transfer_table.table(transfer_table.rows(observed, prompts)),
        gains=gains(observed, training, cells),
        variance=spread.table(plan, found),
        results=found,
        findings=findings(observed, prompts, held_out, scored),
        macros={(row.setting, row.train_id, row.eval_bits): row for row in found.macros},
        tables=tables_of(plan),
        told=differing(plan.train.values()),
        records=records,
    )


def _records(store: Store, plan: PlanFile) -> tuple[Record, ...]:
    """Of the plan's cells, train cells first, failed scores last."""
    found = (
        *(store.train_record(name) for name in plan.train),
        *(store.eval_record(name, cell) for name, cell in plan.evals.items()),
        *(store.score_record(name, cell) for name, cell in plan.scores.items()),
    )
    return tuple(record for record in found if record is not None)


def plan_of(store: Store) -> PlanFile:
    """A store's plan.

    Raises:
        StoreError: no plan in the folder, or it cannot be read.
    """
    plan = store.plan()
    if plan is None:
        raise StoreError(
            f"{store.root}: has no plan.json, so there is nothing to report",
            "name a folder that `maple run` has written",
        )
    return plan


def notes_of(store: Store, plan: PlanFile) -> tuple[str, ...]:
    """What the reader of a study's results should know first, in plain sentences."""
    evaluate = plan.study.get("evaluate") or {}
    server = evaluate.get("server") or {}
    url, model = server.get("url", ""), server.get("model")
    asked = server_notes(plan.train, plan.evals, url, model, store.root)
    return (*asked, *plan.notes)


def tables_of(plan: PlanFile) -> tuple[Table, ...]:
    """A table for each setting, tasks in the plan's order, of each the primary metric first."""
    groups: dict[Setting, list[str]] = {}
    for score_id in plan.scores:
        for setting in settings_of(plan, score_id):
            groups.setdefault(setting, []).append(score_id)
    tables = []
    taken: Counter[str] = Counter()
    # Stable: tasks in the plan's order, of each task the primary metric first.
    tasks = list(dict.fromkeys(setting.task for setting in groups))
    primary = {
        setting: plan.primary_metrics.get(setting.task) == setting.metric for setting in groups
    }
    for setting in sorted(groups, key=lambda key: (tasks.index(key.task), not primary[key])):
        scores = [plan.scores[score_id] for score_id in groups[setting]]
        evals = {score.eval_id: plan.evals[score.eval_id] for score in scores}
        name = re.sub(r"[^A-Za-z0-9]+", "-", f"{setting.task}-{setting.metric}")
        taken[name] += 1
        tables.append(
            Table(
                setting,
                _lines(plan, evals),
                _columns(plan, evals),
                {plan.evals[score.eval_id].subset: score.rules for score in scores},
                primary[setting],
                name if taken[name] == 1 else f"{name}-{taken[name]}",
                _title(setting, groups),
            )
        )
    return tuple(tables)


def _title(setting: Setting, settings: Iterable[Setting]) -> str:
    """ "xcopa", or "xcopa (prompt english, 4 exemplars)" beside others that differ in it."""
    told = {
        "dataset": f"dataset {setting.dataset}",
        "prompt": f"prompt {setting.prompt}",
        "template": f"template {setting.template or 'none'}",
        "n_shot": plural(setting.n_shot, "exemplar"),
        "exemplar_seed": f"exemplar seed {setting.exemplar_seed}",
        "setup": setting.setup,
        "max_new_tokens": f"at most {setting.max_new_tokens} tokens",
    }
    others = [other for other in settings if other.task == setting.task]
    differing = [
        text
        for name, text in told.items()
        if any(getattr(other, name) != getattr(setting, name) for other in others)
    ]
    return f"{setting.task} ({', '.join(differing)})" if differing else setting.task


def _lines(plan: PlanFile, evals: dict[str, EvalCell]) -> tuple[Line, ...]:
    found: dict[tuple[str, int], dict[str, str]] = {}
    for eval_id, cell in evals.items():
        found.setdefault((cell.train_id, cell.eval_bits), {})[cell.subset] = eval_id
    bases = list(dict.fromkeys(cell.base_name for cell in plan.train.values()))

    methods = list(dict.fromkeys(cell.method for cell in plan.train.values()))
    told = differing(plan.train.values())

    def order(key: tuple[str, int]) -> tuple[object, ...]:
        cell = plan.train[key[0]]
        tuned = cell.method != "none"
        data = cell.source or "", cell.mixture or "", cell.template_name or ""
        method = methods.index(cell.method), cell.learning_rate or 0.0
        numbers = cell.r or 0, cell.train_bits or 0, cell.seed or 0
        return bases.index(cell.base_name), key[1], tuned, *data, *method, *numbers

    return tuple(
        Line(
            train_id,
            bits,
            cell_label(plan.train[train_id], bits, told),
            plan.train[train_id].base_name,
            found[train_id, bits],
        )
        for train_id, bits in sorted(found, key=order)
    )


def _columns(plan: PlanFile, evals: dict[str, EvalCell]) -> dict[str, str]:
    keys = {cell.subset: plan.languages[f"{cell.task}/{cell.subset}"] for cell in evals.values()}
    languages = list(keys.values())
    return {
        subset: subset_label(subset, key, languages.count(key) > 1) for subset, key in keys.items()
    }
