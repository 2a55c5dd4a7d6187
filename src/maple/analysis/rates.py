"""What scores do not say about answers: empty, unparsed, cut off, in another language.

And what prompts cost: tokens per word, character and byte in each language and tokenizer.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from maple.analysis.columns import ANSWERS, CHOICES, PROMPTS, frame
from maple.analysis.estimates import mean
from maple.metrics.choice import pick
from maple.metrics.identify import ANOTHER
from maple.metrics.words import tokeniser, words
from maple.records import EvalCell, Example
from maple.store import PlanFile, Record, Store

Row = dict[str, object]

Clusters = Mapping[str, str]

_Z = 1.959964
"""Of the normal distribution, for 95 %."""


def answers(store: Store, plan: PlanFile) -> pl.DataFrame:
    """Rates of each eval cell with written answers: a check on every score.

    Returns:
        Columns ANSWERS; no row for choice tasks, which write nothing.

    Raises:
        StoreError: a file cannot be read.
    """
    languages = {check.eval_id: _language(store, plan, name) for name, check in plan.checks.items()}
    clusters: dict[str, Clusters] = {}
    rows: list[Row] = []
    for eval_id, cell in plan.evals.items():
        if cell.decoding == "choices" or not has_answers(store.eval_record(eval_id, cell)):
            continue
        table = store.finished(eval_id, cell).slice(0, plan.limit).to_pylist()
        if table:
            if cell.items not in clusters:
                clusters[cell.items] = _clusters(store, cell)
            of_language = languages.get(eval_id)
            rows.append(_rates(eval_id, cell, table, of_language, clusters[cell.items]))
    return frame(ANSWERS, rows)


def choices(store: Store, plan: PlanFile) -> pl.DataFrame:
    """How often each eval cell of a choice task prefers the choice that it prefers most often.

    A model that always gives the same one does not read the items, and scores that choice's share
    of the right answers.

    Returns:
        Columns CHOICES; no row for tasks with written answers.

    Raises:
        StoreError: a file cannot be read.
    """
    known: dict[str, dict[str, Example]] = {}
    rows: list[Row] = []
    for eval_id, cell in plan.evals.items():
        if cell.decoding != "choices" or not has_answers(store.eval_record(eval_id, cell)):
            continue
        table = store.finished(eval_id, cell).slice(0, plan.limit).to_pylist()
        if cell.items not in known:
            items = store.items(cell.task, cell.subset, cell.items)
            known[cell.items] = {item.example_id: item for item in items}
        asked = known[cell.items]
        # What is no number prefers nothing; such answers fail their scores and are told there.
        picked = {
            row["example_id"]: pick(row["logprobs"], None)
            for row in table
            if not any(math.isnan(logprob) for logprob in row["logprobs"])
        }
        if not picked:
            continue
        most, _ = min(Counter(picked.values()).items(), key=lambda one: (-one[1], one[0]))
        rows.append(
            {
                "eval_id": eval_id,
                "task": cell.task,
                "subset": cell.subset,
                "n": len(picked),
                "choice": most + 1,
                **_rate(
                    "preferred",
                    [one == most for one in picked.values()],
                    [asked[name].cluster_id for name in picked],
                ),
                "right": sum(asked[name].target == most for name in picked) / len(picked),
            }
        )
    return frame(CHOICES, rows)


def prompts(store: Store, plan: PlanFile) -> pl.DataFrame:
    """How many tokens the prompts of each language take, per word, character and byte.

    Returns:
        Columns PROMPTS; a row for each subset, prompt and tokenizer that was asked.

    Raises:
        StoreError: a file cannot be read.
    """
    names = {base.tokenizer: base.name for base in reversed(plan.bases)}
    rows: dict[tuple[str, ...], Row] = {}
    for cell in plan.evals.values():
        tokenizer = plan.train[cell.train_id].tokenizer
        key = (cell.task, cell.subset, cell.items, cell.prompt_hash, tokenizer)
        table = None if key in rows else store.prompt_sizes(cell, tokenizer)
        if table is None:
            continue
        kept = table.slice(0, plan.limit)
        tokens, spelled, characters, size = (
            sum(kept[name].to_pylist()) for name in ("n_tokens", "n_words", "n_chars", "n_bytes")
        )
        language = plan.languages[f"{cell.task}/{cell.subset}"]
        rows[key] = {
            "task": cell.task,
            "subset": cell.subset,
            "language": language,
            "prompt": cell.prompt,
            "base_name": names[tokenizer],
            "tokenizer": tokenizer,
            "items": kept.num_rows,
            "tokens": tokens,
            "words": spelled,
            "word": tokeniser(language),
            "tokens_per_word": _ratio(tokens, spelled),
            "tokens_per_character": _ratio(tokens, characters),
            "tokens_per_byte": _ratio(tokens, size),
        }
    return frame(PROMPTS, list(rows.values()))


def has_answers(record: Record | None) -> bool:
    """Whether answers are finished: all, or those before more were asked for in vain."""
    return record is not None and bool(record.n)


def _rates(
    eval_id: str,
    cell: EvalCell,
    table: Sequence[Mapping[str, Any]],
    probabilities: Mapping[str, float | None] | None,
    clusters: Clusters,
) -> Row:
    n = len(table)
    groups = [clusters[row["example_id"]] for row in table]
    empty = [not row["text"].strip() for row in table]
    unparsed = [bool(row["text"].strip()) and not words(row["text"]) for row in table]
    reasons = [row["stop_reason"] for row in table]
    told = [
        (value < ANOTHER, group)
        for row, group in zip(table, groups, strict=True)
        if (value := (probabilities or {}).get(row["example_id"])) is not None
    ]
    return {
        "eval_id": eval_id,
        "task": cell.task,
        "subset": cell.subset,
        "n": n,
        **_rate("empty", empty, groups),
        **_rate("unparsed", unparsed, groups),
        **{name: reasons.count(name) / n for name in ("eos", "stop")},
        **_rate("length", [reason == "length" for reason in reasons], groups),
        "mean_tokens": sum(row["n_tokens"] for row in table) / n,
        "identified": None if probabilities is None else len(told),
        **_rate("wrong_language", [wrong for wrong, _ in told], [group for _, group in told]),
    }


def _rate(name: str, happened: Sequence[bool], clusters: Sequence[str]) -> Row:
    """A share with its interval.

    Resamples of what happened always, or never, say nothing: the interval is Wilson's (1927) then,
    of as many trials as there are clusters.
    """
    if not happened:
        return {name: None, f"{name}_low": None, f"{name}_high": None}
    share = sum(happened) / len(happened)
    if share in (0.0, 1.0):
        beyond = _Z**2 / (len(set(clusters)) + _Z**2)
        low, high = (0.0, beyond) if share == 0.0 else (1.0 - beyond, 1.0)
        return {name: share, f"{name}_low": low, f"{name}_high": high}
    found = mean([float(one) for one in happened], clusters)
    return {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}


def _language(store: Store, plan: PlanFile, name: str) -> dict[str, float | None] | None:
    """Probability of the right language by example id; None before it was tried."""
    table = store.scores(name, plan.checks[name])
    if table is None:
        return None
    return dict(zip(table["example_id"].to_pylist(), table["score"].to_pylist(), strict=True))


def _clusters(store: Store, cell: EvalCell) -> Clusters:
    items = store.items(cell.task, cell.subset, cell.items)
    return {item.example_id: item.cluster_id for item in items}


def _ratio(tokens: int, units: int) -> float | None:
    return tokens / units if units else None
