"""Results as lm-evaluation-harness 0.4.13 lays them out: a folder a train cell and precision.

In each is `results_<date>.json`, and `samples_<task>_<date>.jsonl` for every task. A task of theirs
is a subset of ours in one setting; prompts and items are ours, so that a number compares with one
of theirs only where both have been looked at. Of most items the text of the prompt is not stored,
and so it is not in the samples.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from maple.analysis.cellscores import ItemScores, ScoreReader
from maple.analysis.resampling import linked
from maple.analysis.results import Setting
from maple.records import EvalCell, Example
from maple.report.gathered import Gathered, Line
from maple.store import Record

_NAMES = {
    "accuracy[sum]": "acc",
    "accuracy[per_char]": "acc_norm",
    "accuracy[per_byte]": "acc_bytes",
}
"""Theirs of the metrics that are computed alike; the others keep ours."""

_CAUTION = (
    "Exported from MAPLE. Task names, prompts, exemplars and the normalisation of answers are "
    "MAPLE's: numbers of tasks of the same name in lm-evaluation-harness are not comparable "
    "without a look at both. Standard errors are clustered by items that belong together; of a "
    "group, the mean weighs every subtask the same."
)


@dataclass(slots=True)
class _Task:
    """A subset of ours in one setting.

    Attributes:
        score_ids: by the metrics' names there.
    """

    name: str
    alias: str
    setting: Setting
    eval_id: str
    score_ids: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class _Group:
    """The subsets of a task of ours in one setting.

    Attributes:
        means: mean over subsets by the metrics' names there, as the report has it.
    """

    name: str
    tasks: list[_Task] = field(default_factory=list)
    means: dict[str, float] = field(default_factory=dict)


def files(gathered: Gathered) -> dict[str, Callable[[Path], object]]:
    """What writes each file, by name; only cells of which something is finished."""
    lines: dict[tuple[str, int], Line] = {}
    for table in gathered.tables:
        for line in table.lines:
            lines.setdefault(line.key, line)
    reader = ScoreReader(gathered.store, gathered.plan)
    score_ids = {(one.eval_id, one.metric): name for name, one in gathered.plan.scores.items()}
    records = {record.id: record for record in gathered.records}
    found: dict[str, Callable[[Path], object]] = {}
    for line in lines.values():
        groups = _groups(gathered, line, score_ids)
        tasks = [task for group in groups for task in group.tasks]
        if not tasks:
            continue
        folder = f"{line.train_id}-{line.eval_bits}bit"
        known = sorted(
            (records[task.eval_id] for task in tasks), key=lambda record: record.finished
        )
        date = known[-1].finished.removesuffix("Z").replace(":", "-")
        found[f"{folder}/results_{date}.json"] = partial(
            _write_results, gathered, reader, line, groups, known, folder
        )
        for task in tasks:
            name = f"{folder}/samples_{task.name}_{date}.jsonl"
            found[name] = partial(_write_samples, gathered, reader, task)
    return found


def _groups(
    gathered: Gathered, line: Line, score_ids: Mapping[tuple[str, str], str]
) -> list[_Group]:
    """What is finished of a train cell at one precision.

    Args:
        score_ids: by eval id and metric.
    """
    groups: dict[Setting, _Group] = {}
    tasks: dict[tuple[Setting, str], _Task] = {}
    for table in gathered.tables:
        own = next((one for one in table.lines if one.key == line.key), None)
        macro = gathered.macro(table, line)
        if own is None or macro is None:
            continue
        metric = _metric(table.setting.metric)
        asked = replace(table.setting, metric="", version=0)
        name = _slug(table.setting.task + table.title.removeprefix(table.setting.task))
        group = groups.setdefault(asked, _Group(name))
        group.means[metric] = macro.score.value
        for subset in macro.subsets:
            if (asked, subset) not in tasks:
                how = name.removeprefix(_slug(table.setting.task))
                task = _Task(
                    _slug(f"{table.setting.task}_{subset}") + how,
                    table.subsets[subset],
                    table.setting,
                    own.evals[subset],
                )
                tasks[asked, subset] = task
                group.tasks.append(task)
            key = own.evals[subset], table.setting.metric
            tasks[asked, subset].score_ids[metric] = score_ids[key]
    return list(groups.values())


def _write_results(
    gathered: Gathered,
    reader: ScoreReader,
    line: Line,
    groups: Sequence[_Group],
    known: Sequence[Record],
    folder: str,
    path: Path,
) -> None:
    plan = gathered.plan
    tasks = [task for group in groups for task in group.tasks]
    results: dict[str, dict[str, Any]] = {}
    means: dict[str, dict[str, Any]] = {}
    for group in groups:
        scores = {
            metric: [
                _scores(reader, task, metric) for task in group.tasks if metric in task.score_ids
            ]
            for metric in group.means
        }
        if len(group.tasks) > 1:
            means[group.name] = {
                "name": group.name,
                "alias": group.name,
                **_values({m: (group.means[m], scores[m]) for m in scores}),
            }
            results[group.name] = means[group.name]
        for task in group.tasks:
            own = {metric: _scores(reader, task, metric) for metric in task.score_ids}
            results[task.name] = {
                "name": task.name,
                "alias": f"{task.name} ({task.alias})",
                "sample_len": max(len(one.ids) for one in own.values()),
                **_values({m: (float(one.scores.mean()), [one]) for m, one in own.items()}),
            }
    several = [group for group in groups if group.name in means]
    shots = {task.name: task.setting.n_shot for task in tasks}
    better = {task.name: dict.fromkeys(task.score_ids, True) for task in tasks}
    source = known[-1].provenance.get("source", {})
    name = f"{line.base_name}, {line.label}"
    content = {
        "results": results,
        **({"groups": means} if means else {}),
        "group_subtasks": {group.name: [task.name for task in group.tasks] for group in several},
        "configs": {task.name: _config(gathered, task) for task in tasks},
        "versions": {task.name: task.setting.version for task in tasks},
        "n-shot": {**{group.name: shots[group.tasks[0].name] for group in several}, **shots},
        "higher_is_better": {
            **{group.name: dict.fromkeys(group.means, True) for group in several},
            **better,
        },
        "n-samples": {
            task.name: {
                "original": _items(gathered, task.eval_id),
                "effective": results[task.name]["sample_len"],
            }
            for task in tasks
        },
        "config": {
            "model": "maple",
            "model_args": {
                "pretrained": line.base_name,
                "peft": _peft(gathered, line),
                "eval_bits": line.eval_bits,
            },
            "limit": plan.limit,
            "fewshot_seed": next((task.setting.exemplar_seed for task in tasks), None),
        },
        "git_hash": source.get("commit"),
        "date": datetime.fromisoformat(known[-1].finished).timestamp(),
        "lm_eval_version": None,
        "task_hashes": {},
        "model_source": "maple",
        "model_name": name,
        "model_name_sanitized": folder,
        "total_evaluation_time_seconds": str(
            sum(record.cost.seconds for record in known if record.cost is not None)
        ),
        "maple": {
            "caution": _CAUTION,
            "train_id": line.train_id,
            "eval_bits": line.eval_bits,
            "label": line.label,
            "notes": list(gathered.notes),
            "versions": known[-1].provenance.get("versions", {}),
        },
    }
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False), encoding="utf-8")


def _values(metrics: Mapping[str, tuple[float, Sequence[ItemScores]]]) -> dict[str, float | str]:
    found: dict[str, float | str] = {}
    for metric, (value, parts) in metrics.items():
        error = standard_error(parts)
        found[f"{metric},none"] = value
        found[f"{metric}_stderr,none"] = "N/A" if error is None else error
    return found


def standard_error(parts: Sequence[ItemScores]) -> float | None:
    """Of the mean over subsets of their means, by clusters; None below two clusters.

    The sandwich estimate with c / (c - 1) for c clusters (Liang & Zeger 1986). Where every item is
    a cluster of its own, and for one subset, it is their standard deviation / √n.
    """
    joined = linked([(part.ids, part.clusters) for part in parts])
    sums: dict[str, float] = {}
    for part in parts:
        shares = (part.scores - part.scores.mean()) / (len(part.ids) * len(parts))
        for cluster, share in zip(part.clusters, shares, strict=True):
            sums[joined[cluster]] = sums.get(joined[cluster], 0.0) + float(share)
    count = len(sums)
    if count < 2:
        return None
    return float(np.sqrt(count / (count - 1) * np.square(list(sums.values())).sum()))


def _config(gathered: Gathered, task: _Task) -> dict[str, Any]:
    cell = gathered.plan.evals[task.eval_id]
    choices = cell.decoding == "choices"
    return {
        "task": task.name,
        "task_alias": task.alias,
        "dataset_path": cell.task,
        "dataset_name": cell.subset,
        "output_type": "multiple_choice" if choices else "generate_until",
        "num_fewshot": cell.n_shot,
        "metric_list": [
            {"metric": metric, "aggregation": "mean", "higher_is_better": True}
            for metric in task.score_ids
        ],
        **({} if choices else {"generation_kwargs": {"max_gen_toks": cell.max_new_tokens}}),
        "metadata": {
            "version": task.setting.version,
            "maple": {
                **{k: v for k, v in asdict(task.setting).items() if k not in {"metric", "version"}},
                "metrics": {
                    metric: asdict(gathered.plan.scores[name])
                    for metric, name in task.score_ids.items()
                },
                "language": gathered.plan.languages[f"{cell.task}/{cell.subset}"],
                "prompt_hash": cell.prompt_hash,
            },
        },
    }


def _write_samples(gathered: Gathered, reader: ScoreReader, task: _Task, path: Path) -> None:
    cell = gathered.plan.evals[task.eval_id]
    items = {
        item.example_id: item for item in gathered.store.items(cell.task, cell.subset, cell.items)
    }
    scores = {
        metric: dict(zip((found := _scores(reader, task, metric)).ids, found.scores, strict=True))
        for metric in task.score_ids
    }
    answers = gathered.store.finished(task.eval_id, cell).slice(0, gathered.plan.limit)
    with path.open("w", encoding="utf-8") as file:
        for number, answer in enumerate(answers.to_pylist()):
            item = items[answer["example_id"]]
            sample = {
                **_sample(cell, item, answer),
                "doc_id": number,
                "filter": "none",
                "metrics": list(scores),
                **{
                    metric: float(found[item.example_id])
                    for metric, found in scores.items()
                    if item.example_id in found
                },
            }
            file.write(json.dumps(sample, ensure_ascii=False) + "\n")


def _sample(cell: EvalCell, item: Example, answer: Mapping[str, Any]) -> dict[str, Any]:
    doc = {
        "example_id": item.example_id,
        "cluster_id": item.cluster_id,
        "fields": dict(item.fields),
        "choices": list(item.choices),
    }
    if cell.decoding == "choices":
        target = str(item.target)
        greedy = answer["greedy"] or [None] * len(answer["logprobs"])
        filtered: list[Any] = [
            [str(logprob), str(best)]
            for logprob, best in zip(answer["logprobs"], greedy, strict=True)
        ]
    else:
        target = str(list(item.golds))
        filtered = [answer["text"]]
    return {
        "doc": doc,
        "target": target,
        "arguments": {},
        "resps": [[one] for one in filtered],
        "filtered_resps": filtered,
        "doc_hash": _hash(json.dumps(doc, indent=2, ensure_ascii=False)),
        "target_hash": _hash(target),
    }


def _scores(reader: ScoreReader, task: _Task, metric: str) -> ItemScores:
    found = reader.read(task.score_ids[metric])
    if found is None:  # it was there when the report was gathered
        raise RuntimeError(f"{task.name}: the scores by {metric} have vanished")
    return found


def _items(gathered: Gathered, eval_id: str) -> int:
    cell = gathered.plan.evals[eval_id]
    return gathered.store.count_items(cell.task, cell.subset, cell.items)


def _peft(gathered: Gathered, line: Line) -> str | None:
    tuned = gathered.plan.train[line.train_id].method != "none"
    return f"train/{line.train_id}" if tuned else None


def _metric(name: str) -> str:
    """A comma stands between metric and filter there."""
    return _NAMES.get(name, name.replace(",", ";"))


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-")


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
