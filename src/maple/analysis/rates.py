"""What scores do not say about answers: empty, unparsed, cut off, in another language.

And what prompts cost: tokens per word, character and byte in each language and tokenizer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow.compute as pc

from maple.analysis.asked import Items, answered, items_of, places
from maple.analysis.columns import ANSWERS, CHOICES, PROMPTS, frame
from maple.analysis.estimates import RESAMPLES, SCORE, Floats, Integers, intervals, weights
from maple.metrics.identify import ANOTHER
from maple.metrics.words import tokeniser, words
from maple.records import EvalCell
from maple.store import PlanFile, Store

Row = dict[str, object]

Flags = npt.NDArray[np.bool_]

_SPOKEN = r"[\p{L}\p{N}]"
"""A letter or number: a text with one has a word. Few have none; those are looked at closely."""


@dataclass(frozen=True, slots=True)
class _Answers:
    """Finished answers of k cells that were asked the same n items; m rows in all.

    Attributes:
        evals: of the cells that have answers, k.
        cell, item: number of each row's cell and item, [m].
        clusters: number of each row's cluster, in ascending order of the names, [m].
        table: the rows.
    """

    evals: tuple[str, ...]
    cell: Integers
    item: Integers
    clusters: Integers
    table: pl.DataFrame
    items: Items

    def share(self, name: str, happened: Flags, counted: Flags | None = None) -> list[Row]:
        """Of each cell's rows (those counted), the share where it happened, with its interval."""
        kept = np.ones(len(happened), np.bool_) if counted is None else counted
        return _rates(name, happened[kept], self.cell[kept], self.clusters[kept], len(self.evals))

    def counts(self, which: Flags) -> Integers:
        """How many of each cell's rows, [k]."""
        return np.bincount(self.cell[which], minlength=len(self.evals))


def answers(store: Store, plan: PlanFile) -> pl.DataFrame:
    """Rates of each eval cell with written answers: a check on every score.

    Returns:
        Columns ANSWERS, in the plan's order; no row for choice tasks, which write nothing.

    Raises:
        StoreError: a file cannot be read.
    """
    checks = {check.eval_id: name for name, check in plan.checks.items()}
    rows: dict[str, Row] = {}
    written = {name: cell for name, cell in plan.evals.items() if cell.decoding != "choices"}
    for one in _answered(store, plan, written, ("text", "stop_reason", "n_tokens")):
        empty, unparsed = _silent(one.table["text"])
        stops = one.table["stop_reason"]
        n = one.counts(np.ones(len(one.cell), np.bool_))
        tokens = np.bincount(one.cell, weights=one.table["n_tokens"].to_numpy())
        tried, told, wrong = _languages(store, plan, one, checks)
        identified = one.counts(told)
        shares = (
            one.share("empty", empty),
            one.share("unparsed", unparsed),
            one.share("length", (stops == "length").to_numpy()),
            one.share("wrong_language", wrong, told),
        )
        ends = {reason: one.counts((stops == reason).to_numpy()) / n for reason in ("eos", "stop")}
        for at, eval_id in enumerate(one.evals):
            rows[eval_id] = {
                **_head(plan, eval_id, n[at]),
                **{reason: float(share[at]) for reason, share in ends.items()},
                "mean_tokens": float(tokens[at] / n[at]),
                "identified": int(identified[at]) if eval_id in tried else None,
                **{name: value for share in shares for name, value in share[at].items()},
            }
    return frame(ANSWERS, [rows[name] for name in plan.evals if name in rows])


def choices(store: Store, plan: PlanFile) -> pl.DataFrame:
    """How often each eval cell of a choice task prefers the choice that it prefers most often.

    A model that always gives the same one does not read the items, and scores that choice's share
    of the right answers.

    Returns:
        Columns CHOICES, in the plan's order; no row for tasks with written answers.

    Raises:
        StoreError: a file cannot be read.
    """
    rows: dict[str, Row] = {}
    chosen = {name: cell for name, cell in plan.evals.items() if cell.decoding == "choices"}
    for one in _answered(store, plan, chosen, ("logprobs",)):
        picked = _picked(one.table["logprobs"])
        # What is no number prefers nothing; such answers fail their scores and are told there.
        numbers = picked >= 0
        most = np.zeros((len(one.evals), picked.max(initial=0) + 1), np.int64)
        np.add.at(most, (one.cell[numbers], picked[numbers]), 1)
        n, common = most.sum(axis=1), most.argmax(axis=1)  # of equally common ones the first
        shares = one.share("preferred", picked == common[one.cell], numbers)
        hits = numbers & (one.items.targets[one.item] == common[one.cell])
        right = one.counts(hits)
        for at, eval_id in enumerate(one.evals):
            if n[at]:
                rows[eval_id] = {
                    **_head(plan, eval_id, n[at]),
                    "choice": int(common[at]) + 1,
                    **shares[at],
                    "right": float(right[at] / n[at]),
                }
    return frame(CHOICES, [rows[name] for name in plan.evals if name in rows])


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
            int(pc.sum(kept[name]).as_py() or 0)
            for name in ("n_tokens", "n_words", "n_chars", "n_bytes")
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


def _answered(
    store: Store, plan: PlanFile, cells: Mapping[str, EvalCell], names: Sequence[str]
) -> Iterator[_Answers]:
    """Columns of the finished answers within the plan's limit, by the items that were asked."""
    groups: dict[tuple[str, str, str], dict[str, EvalCell]] = {}
    for name, cell in answered(store, cells).items():
        groups.setdefault((cell.task, cell.subset, cell.items), {})[name] = cell
    for evals in groups.values():
        done, stacked = store.stacked_responses(evals, ("example_id", *names))
        within = stacked.positions < (plan.limit or stacked.table.height)
        if not within.any():
            continue
        asked = next(iter(evals.values()))
        items = items_of(store, asked)
        item = places(stacked, items, asked, "answers")[within]
        # Without the cells that have no row.
        present, numbers = np.unique(stacked.files[within], return_inverse=True)
        clusters = np.unique(items.cluster_ids, return_inverse=True)[1]
        table = stacked.table.filter(pl.Series(within)).drop("example_id")
        evals_done = tuple(done[at] for at in present)
        yield _Answers(evals_done, numbers, item, clusters[item], table, items)


def _head(plan: PlanFile, eval_id: str, n: int) -> Row:
    """What every row of rates begins with."""
    cell = plan.evals[eval_id]
    return {"eval_id": eval_id, "task": cell.task, "subset": cell.subset, "n": int(n)}


def _silent(texts: pl.Series) -> tuple[Flags, Flags]:
    """Which texts have no visible character, and which have some but no word."""
    quiet = texts.filter(~texts.str.contains(_SPOKEN)).unique()
    wordless = [text for text in quiet if not words(text)]
    empty = texts.is_in([text for text in wordless if not text.strip()])
    unparsed = texts.is_in([text for text in wordless if text.strip()])
    return empty.to_numpy(), unparsed.to_numpy()


def _picked(logprobs: pl.Series) -> Integers:
    """As `metrics.choice.pick` for each row without lengths; -1 where one is no number."""
    sizes = logprobs.list.len().to_numpy().astype(np.int64)
    rows = np.repeat(np.arange(len(sizes)), sizes)
    # Behind the choices there is never a higher value, and of equal ones the first counts.
    matrix = np.full((len(sizes), sizes.max(initial=1)), -np.inf)
    columns = np.arange(len(rows)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    matrix[rows, columns] = logprobs.explode().to_numpy()
    return np.where(np.isnan(matrix).any(axis=1), -1, matrix.argmax(axis=1))


def _languages(
    store: Store, plan: PlanFile, one: _Answers, checks: Mapping[str, str]
) -> tuple[frozenset[str], Flags, Flags]:
    """The eval cells whose answers' language was looked at; the answers where it could be told;
    and those of them in another one."""
    cells = {checks[name]: plan.checks[checks[name]] for name in one.evals if name in checks}
    tried, stacked = store.stacked_scores(cells)
    probability = np.full((len(one.evals), len(one.items.example_ids)), np.nan)
    if stacked.table.height:
        asked = plan.evals[cells[tried[0]].eval_id]
        numbers = np.array([one.evals.index(cells[name].eval_id) for name in tried])
        at = places(stacked, one.items, asked, "scores")
        probability[numbers[stacked.files], at] = stacked.table["score"].to_numpy()
    found = probability[one.cell, one.item]
    looked_at = frozenset(cells[name].eval_id for name in tried)
    return looked_at, ~np.isnan(found), found < ANOTHER


def _rates(name: str, happened: Flags, cell: Integers, clusters: Integers, cells: int) -> list[Row]:
    """A share and its interval for each of k cells.

    Args:
        happened, cell, clusters: of each row, [m]; numbers of cells are below `cells`.
    """
    width = int(clusters.max(initial=0)) + 1
    places, length = cell * width + clusters, cells * width
    sizes = np.bincount(places, minlength=length).reshape(cells, width)
    sums = np.bincount(places[happened], minlength=length).reshape(cells, width)
    ends = _intervals(sums, sizes)
    rows: list[Row] = []
    for at in range(cells):
        n = int(sizes[at].sum())
        share = float(sums[at].sum() / n) if n else None
        low, high = (None, None) if np.isnan(ends[at]).any() else map(float, ends[at])
        rows.append({name: share, f"{name}_low": low, f"{name}_high": high})
    return rows


def _intervals(sums: Integers, sizes: Integers) -> Floats:
    """Ends of the interval of each row's share, as `estimates.mean` gives it.

    Args:
        sums, sizes: [k, c], what happened and how many there are in each cluster of each cell.

    Returns:
        Shape [k, 2]; NaN where a cell has fewer than two clusters.
    """
    found = np.full((len(sums), 2), np.nan)
    present = sizes > 0
    counts = present.sum(axis=1)
    for count in np.unique(counts[counts > 1]):
        rows = np.flatnonzero(counts == count)
        shape = len(rows), count
        drawn = _drawn(int(count))
        # Whole numbers below 2**24: exact in single precision.
        above = drawn @ sums[rows][present[rows]].reshape(shape).T.astype(np.float32)
        below = drawn @ sizes[rows][present[rows]].reshape(shape).T.astype(np.float32)
        shares = above.astype(np.float64) / below
        in_each = sizes[rows].astype(np.float64)
        groups = in_each.sum(axis=1) ** 2 / (in_each**2).sum(axis=1)
        values = sums[rows].sum(axis=1) / in_each.sum(axis=1)
        found[rows] = np.column_stack(intervals(values, shares.T, groups, bounds=SCORE))
    return found


@lru_cache(maxsize=32)
def _drawn(count: int) -> npt.NDArray[np.float32]:
    """The weights of so many clusters; 8 MB for a thousand."""
    return weights([f"{number:09d}" for number in range(count)], RESAMPLES, 0).astype(np.float32)


def _ratio(tokens: int, units: int) -> float | None:
    return tokens / units if units else None
