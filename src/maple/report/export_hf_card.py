"""A model card an adapter: what it was made of, and its results for people and for hubs.

The header is huggingface_hub's own, so that it reads it back. A licence is not stated: which one
an adapter has follows from its base and its rows, and is for whoever publishes it to say.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from huggingface_hub import EvalResult, ModelCardData

from maple.errors import DataError
from maple.languages import RELEASES, hub_code, language
from maple.records import TrainCell, TrainOutcome
from maple.report import labels
from maple.report.gathered import Gathered, Line, Table
from maple.report.tables import table_notes
from maple.store import PlanFile
from maple.study.cards import body, library
from maple.study.setups import translation

_RELEASE = "release"
_CONFIGS = {"mlqa": "mlqa.{}.{}", "xquad": "xquad.{}"}
"""Names of hub datasets' parts, where they are more than the languages' codes."""

_TASK_TYPES = {
    "accuracy": "multiple-choice",
    "f1": "question-answering",
    "exact_match": "question-answering",
    "rougeL": "summarization",
}
_METRIC_TYPES = {"rougeL": "rouge"}
"""The hub's names of the metrics that are called otherwise there."""


class Described(Protocol):
    """What is known about a benchmark: `tasks.card.Card`."""

    @property
    def title(self) -> str:
        """As its authors write it."""
        ...

    @property
    def hub(self) -> tuple[str, ...]:
        """Repositories that it is read from, that of its items first."""
        ...

    @property
    def scored(self) -> str:
        """The split that is scored."""
        ...


@dataclass(frozen=True, slots=True)
class Origins:
    """Where data are from.

    Attributes:
        tasks: by name; those of other programs are left out.
        sources: repository by training source; those of no hub are left out.
    """

    tasks: Mapping[str, Described] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)


def files(gathered: Gathered, origins: Origins) -> dict[str, Callable[[Path], object]]:
    """What writes each adapter's <train id>/README.md; adapters that failed have none."""
    protocols = {
        table.anchor: table_notes(gathered, table).protocol
        for table in gathered.tables
        if table.primary
    }
    found: dict[str, Callable[[Path], object]] = {}
    trained = {record.id: record for record in gathered.records if record.kind == "train"}
    for name, cell in gathered.plan.train.items():
        record = trained.get(name)
        if cell.method == "none" or record is None or record.status != "done":
            continue
        version = str(record.provenance.get("versions", {}).get("maple", "unknown"))
        text = _card(gathered, origins, protocols, name, record.outcome, version)
        found[f"{name}/README.md"] = partial(Path.write_text, data=text, encoding="utf-8")
    return found


def _card(
    gathered: Gathered,
    origins: Origins,
    protocols: Mapping[str, tuple[str, ...]],
    name: str,
    outcome: TrainOutcome | None,
    version: str,
) -> str:
    cell = gathered.plan.train[name]
    shown = [
        (table, line)
        for table in gathered.tables
        if table.primary
        for line in table.lines
        if line.train_id == name
    ]
    data = ModelCardData(
        base_model=cell.base_name,
        library_name=library(cell),
        language=_languages(cell, outcome),
        datasets=_datasets(gathered.plan, origins, cell),
        tags=["maple", cell.method],
        model_name=labels.train_label(cell, gathered.told),
        eval_results=[
            one for table, line in shown for one in _results(gathered, origins, table, line)
        ]
        or None,
    )
    made = [] if outcome is None else body(cell, outcome, version)
    results = [text for table, line in shown for text in _section(gathered, table, line, protocols)]
    lines = [
        "---",
        data.to_yaml(),
        "---",
        "",
        f"# {plain(labels.train_label(cell, gathered.told))} on {plain(cell.base_name)}",
        "",
        *made,
        *(["## Results", "", _INTRODUCTION, "", *_notes(gathered), *results] if results else []),
    ]
    return "\n".join(lines)


_INTRODUCTION = (
    "Scores in points of 100 with 95 % intervals by clusters of items, and paired differences to "
    "the untuned base at the same precision. The protocol stands under each table; the header of "
    "this file has the same scores from 0 to 1, without intervals and protocol."
)


def _notes(gathered: Gathered) -> list[str]:
    notes = [f"- {plain(note)}" for note in gathered.notes]
    return [*notes, ""] if notes else []


def _section(
    gathered: Gathered, table: Table, line: Line, protocols: Mapping[str, tuple[str, ...]]
) -> list[str]:
    rows = []
    for subset, name in table.subsets.items():
        result = gathered.results.cells.get((line.evals.get(subset, ""), table.setting.metric))
        if result is None:
            continue
        score, delta = result.score, result.delta
        cells = (
            *(plain(name), f"{labels.points(score.value)} {labels.interval(score)}".strip()),
            f"{labels.signed(delta.value)} {labels.interval(delta, sign=True)}".strip()
            if delta is not None
            else "–",
            *(str(score.n), str(score.clusters)),
        )
        rows.append("| " + " | ".join(cells) + " |")
    if not rows:
        return []
    return [
        f"### {plain(table.title)}, {plain(table.setting.metric)}, {line.eval_bits} bits",
        "",
        "| language | score | to untuned | items | clusters |",
        "|---|---|---|---|---|",
        *rows,
        "",
        f"Protocol of the whole study: {plain('; '.join(protocols[table.anchor]))}.",
        "",
    ]


def _results(gathered: Gathered, origins: Origins, table: Table, line: Line) -> list[EvalResult]:
    family = table.setting.metric.partition("[")[0]
    how = table.title.removeprefix(table.setting.task).strip(" ()")
    told = ", ".join(filter(None, (table.setting.metric, f"{line.eval_bits} bits", how)))
    found = []
    for subset, name in table.subsets.items():
        result = gathered.results.cells.get((line.evals.get(subset, ""), table.setting.metric))
        if result is None:
            continue
        found.append(
            EvalResult(
                task_type=_TASK_TYPES.get(family, "text-generation"),
                **_dataset(gathered.plan, origins, table, subset, name),
                metric_type=_METRIC_TYPES.get(family, family),
                metric_name=told,
                metric_value=result.score.value,
            )
        )
    return found


def _dataset(
    plan: PlanFile, origins: Origins, table: Table, subset: str, name: str
) -> dict[str, Any]:
    """Fields of an `EvalResult` about the data; those of a hub only for what a release has."""
    task, dataset = table.setting.task, table.setting.dataset
    known = origins.tasks.get(task)
    if known is None or dataset != _RELEASE or translation(subset) is not None:
        # Other items than the benchmark's must not look like it.
        own = task if dataset == _RELEASE else f"{task}-{dataset}"
        return {"dataset_type": own, "dataset_name": f"{own} ({name})", "dataset_config": subset}
    codes = _codes(task, subset)
    # English in XCOPA is COPA, which has a repository of its own.
    borrowed = codes is None and task in RELEASES and len(known.hub) > 1
    repository = known.hub[1] if borrowed else known.hub[0]
    config = subset if codes is None else _CONFIGS.get(task, "{}").format(*codes)
    return {
        "dataset_type": repository,
        "dataset_name": f"{known.title} ({name})",
        "dataset_config": config,
        "dataset_split": known.scored,
        "dataset_revision": _commit(plan, repository),
    }


def _codes(task: str, subset: str) -> list[str] | None:
    """The release's own codes of a subset's languages; None where it has them not."""
    try:
        found = [language(key).codes.get(task) for key in subset.split(".")]
    except DataError:
        return None
    known = [code for code in found if code is not None]
    return known if len(known) == len(found) else None


def _commit(plan: PlanFile, repository: str) -> str | None:
    found = [lock for key, lock in plan.locks.items() if key.startswith(f"dataset:{repository}@")]
    return found[0] if len(found) == 1 else None


def _datasets(plan: PlanFile, origins: Origins, cell: TrainCell) -> list[str] | None:
    """Repositories of the rows, where the plan says that they were read from a hub."""
    sources = {
        line.source for data in plan.data if data.content == cell.data for line in data.table
    }
    sources |= {cell.source} if cell.source else set()
    described = (plan.study.get("train") or {}).get("source") or []
    hubs = {**origins.sources, **{one.get("name"): one.get("hub") for one in described}}
    repositories = {hubs[name] for name in sources if hubs.get(name)}
    read = {key.removeprefix("dataset:").partition("@")[0] for key in plan.locks}
    return sorted(repositories & read) or None


def _languages(cell: TrainCell, outcome: TrainOutcome | None) -> list[str] | None:
    seen = outcome.by_language if outcome is not None else {}
    keys = seen.keys() or set(cell.languages or ())
    return sorted({hub_code(key) for key in keys}) or None


def plain(text: str) -> str:
    """Text as Markdown shows it unchanged, on one line: no tags, links, rules or cells."""
    one_line = " ".join(html.escape(text, quote=False).split())
    return re.sub(r"([\\`*_\[\]|#~])", r"\\\1", one_line)
