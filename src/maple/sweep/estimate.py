"""What a study will cost, before it runs: tokens, operations, GPU-hours, memory and disk.

Nothing here was measured on this study. What is estimated is called so, and `ASSUMED` says how.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from maple.analysis import power
from maple.models.architecture import Architecture
from maple.records import TrainCell
from maple.study.config import Study
from maple.study.grid import eval_bits
from maple.sweep import costs, lengths
from maple.sweep.costs import CARDS, MEMORIES, SHARES, WRITING_SHARES, Tuning
from maple.sweep.lengths import Length
from maple.sweep.workload import Base, Items, Rows

_LIKE_LORA = ("lora", "rslora", "dora", "pissa", "olora")
"""Methods whose parameters are LoRA's, give or take a vector a matrix."""


def _spread(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return f"{low}" if low == high else f"{low}–{high}"


def _percent(shares: Mapping[int, float]) -> str:
    return ", ".join(f"{100 * share:g}" for share in shares.values()) + " %"


ASSUMED = (
    "All of the study is counted, what is done already, too.",
    (
        "Tokens are estimated unless they were counted: those of the text in English times what "
        "the tokenizer makes of the language (docs/guides/planning.md). Rows over max_tokens count "
        "as max_tokens. Exemplars are read once a subset."
    ),
    (
        "GPU-hours are for one card at an assumed share of its peak in bfloat16: "
        f"{_percent(SHARES)} for training and for reading prompts, {_percent(WRITING_SHARES)} for "
        "writing answers, at 4, 8, 16 and 32 bits; without gradient checkpointing, which makes "
        "training half as long again."
    ),
    (
        "Memory is that of training: base with embeddings and head unquantised, adapter with "
        "gradient and AdamW's moments in float32, activations under bfloat16, the blockwise head, "
        f"{costs.RESERVE / 1e9:g} GB for CUDA. Rows are of max_tokens, all labelled; a card of "
        "24 GB has 24 x 10^9 bytes."
    ),
)
"""What stands under the numbers."""


@dataclass(slots=True)
class Sum:
    """Work on one base at one precision, summed up.

    Attributes:
        cells: adapters trained, or eval cells answered.
        read: tokens trained on or read.
        written: tokens written.
        operations: on the tokens read, and on those written.
    """

    cells: int = 0
    read: float = 0.0
    written: float = 0.0
    operations: list[float] = field(default_factory=lambda: [0.0, 0.0])

    def hours(self, card: costs.Card, bits: int) -> float:
        """On one card."""
        shares = SHARES[bits], WRITING_SHARES[bits]
        return sum(
            costs.hours(count, card, share)
            for count, share in zip(self.operations, shares, strict=True)
        )


def estimate(
    study: Study,
    trained: Mapping[str, TrainCell],
    bases: Sequence[Base],
    rows: Sequence[Rows],
    items: Sequence[Items],
) -> dict[str, Any]:
    """All numbers of a plan's section about cost.

    Args:
        trained: adapters and untuned bases by id, as `study.grid.train_cells` makes them.
        bases: of the study.
        rows, items: what it trains on and asks, as `workload` has them.

    Returns:
        JSON-ready: "grid", "detectable", "rows", "tokens", "tasks", "compute", "memory", "disk",
        "assumed", "left out".
    """
    work = _Work(study, trained, bases, rows, items)
    return {
        "grid": work.grid(),
        "detectable": work.detectable_table(),
        "rows": work.row_table(),
        "tokens": work.token_table(),
        "tasks": work.task_table(),
        "compute": work.compute(),
        "memory": work.memory(),
        "disk": work.disk(),
        "assumed": [*([power.ASSUMED] if study.evaluate else []), *ASSUMED],
        "left out": work.left_out(),
    }


class _Work:
    """A study's work, gone through once for each table."""

    def __init__(
        self,
        study: Study,
        trained: Mapping[str, TrainCell],
        bases: Sequence[Base],
        rows: Sequence[Rows],
        items: Sequence[Items],
    ) -> None:
        self.study = study
        self.cells = list(trained.values())
        self.bases = {base.name: base for base in bases}
        self.rows = {one.data.content: one for one in rows}
        self.items = items
        self._lengths: dict[tuple[str, str, str], Length] = {}

    def grid(self) -> dict[str, int]:
        """How many of what. An answer is one item asked of one adapter or base."""
        answers = sum(one.items or 0 for one in self.items)
        evaluated = sum(len(eval_bits(self.study, cell)) for cell in self.cells)
        untuned = [cell for cell in self.cells if cell.method == "none"]
        return {
            "adapters": len(self.cells) - len(untuned),
            "baselines": sum(len(eval_bits(self.study, cell)) for cell in untuned),
            "eval cells": evaluated * len(self.items),
            "answers": evaluated * answers,
        }

    def row_table(self) -> list[dict[str, Any]]:
        """Rows by source and language."""
        return [
            {
                "source": _named(one),
                "language": language,
                "rows": count,
                "how": "as drawn" if one.read else "by the sizes of the releases",
            }
            for one in self.rows.values()
            for language, count in one.by_language.items()
        ]

    def token_table(self) -> list[dict[str, Any]]:
        """Tokens that one adapter is trained on, by base and source."""
        epochs = self.study.train.epochs if self.study.train else 0.0
        found = []
        for base in self._shaped():
            for one in self.rows.values():
                tokens, labelled = self._trained_tokens(base, one)
                here = base.count is not None and one.read
                found.append(
                    {
                        "base": base.name,
                        "source": _named(one),
                        "rows": sum(count or 0 for count in one.by_language.values()),
                        "tokens an epoch": round(tokens),
                        "labelled": round(labelled),
                        "epochs": epochs,
                        "tokens": round(tokens * epochs),
                        "how": f"from {lengths.COUNTED} rows a language" if here else "estimated",
                    }
                )
        return found

    def task_table(self) -> list[dict[str, Any]]:
        """Subsets and items by task, and what all adapters and bases answer of them."""
        evaluated = sum(len(eval_bits(self.study, cell)) for cell in self.cells)
        tasks: dict[str, list[Items]] = defaultdict(list)
        for one in self.items:
            tasks[one.task].append(one)
        return [
            {
                "task": task,
                "subsets": len(found),
                "items": sum(one.items or 0 for one in found),
                "eval cells": evaluated * len(found),
                "answers": evaluated * sum(one.items or 0 for one in found),
            }
            for task, found in tasks.items()
        ]

    def detectable_table(self) -> list[dict[str, Any]]:
        """Smallest differences to the untuned base that each task can tell, in points.

        Items that were not read count as clusters of their own.
        """
        comparisons = sum(
            len(eval_bits(self.study, cell)) for cell in self.cells if cell.method != "none"
        )
        tasks: dict[tuple[str, bool], dict[str, Sequence[str]]] = defaultdict(dict)
        for one in self.items:
            clusters = one.clusters or tuple(map(str, range(one.items or 0)))
            if clusters:
                tasks[one.task, one.writes][one.subset] = clusters
        found = []
        for (task, writes), subsets in tasks.items():
            least = power.detectable(
                list(subsets.values()), written=writes, adapters=max(1, comparisons)
            )
            found.append(
                {
                    "task": task,
                    "subsets": len(subsets),
                    "items each": _spread([len(one) for one in subsets.values()]),
                    "clusters each": _spread([len(set(one)) for one in subsets.values()]),
                    "one subset": None if least is None else round(least.one, 2),
                    "mean of subsets": None if least is None else round(least.mean, 2),
                    "comparisons": comparisons,
                    "mean, corrected": None
                    if least is None or least.corrected is None
                    else round(least.corrected, 2),
                }
            )
        return found

    def compute(self) -> list[dict[str, Any]]:
        """Operations and hours by kind of work, base and bits; the last row is the sum."""
        sums: dict[tuple[str, str, int], Sum] = {}
        for cell in self.cells:
            base = self.bases[cell.base_name]
            tuning = _tuning(cell)
            if base.shape is None or (tuning is None and cell.method != "none"):
                continue
            if tuning is not None and cell.data is not None:
                made = sums.setdefault(("training", base.name, tuning.bits), Sum())
                self._train(made, base, base.shape, tuning, self.rows[cell.data])
            for bits in eval_bits(self.study, cell):
                made = sums.setdefault(("evaluation", base.name, bits), Sum())
                self._answer(made, base, base.shape, tuning)
        order = sorted(sums, key=lambda key: key[0] != "training")
        found = [
            {
                "work": work,
                "base": name,
                "bits": bits,
                "cells": sums[work, name, bits].cells,
                "tokens": round(sums[work, name, bits].read + sums[work, name, bits].written),
                "operations": sum(sums[work, name, bits].operations),
                "hours": {card.name: sums[work, name, bits].hours(card, bits) for card in CARDS},
            }
            for work, name, bits in order
        ]
        return [*found, _total(found)] if found else []

    def memory(self) -> list[dict[str, Any]]:
        """Memory of training by base, bits and rank, and what fits on which card."""
        if self.study.train is None:
            return []
        train = self.study.train
        found = []
        for base, shape, tuning in self._tunings():
            whole = train.batch_size * train.max_tokens
            row = {
                "base": base.name,
                "bits": tuning.bits,
                "r": tuning.r,
                "trainable": costs.adapter_parameters(shape, tuning),
                "base bytes": costs.weight_bytes(shape, tuning.bits),
                "adapter and optimiser bytes": costs.state_bytes(shape, tuning),
                "head bytes": costs.head_bytes(shape, train.max_tokens, tuning.bits),
            }
            for name, checkpointing in (("", False), (" checkpointed", True)):
                row[f"bytes a token{name}"] = costs.activation_bytes(
                    shape, tuning, checkpointing=checkpointing
                )
                for rows, tokens in ((1, train.max_tokens), (train.batch_size, whole)):
                    row[f"bytes with {rows} rows{name}"] = costs.training_bytes(
                        shape, tuning, tokens, tokens, checkpointing=checkpointing
                    )
            row["cards"] = [
                {
                    "memory": memory,
                    "rows": costs.rows_that_fit(
                        shape, tuning, memory, train.max_tokens, checkpointing=False
                    ),
                    "rows checkpointed": costs.rows_that_fit(
                        shape, tuning, memory, train.max_tokens, checkpointing=True
                    ),
                }
                for memory in MEMORIES
            ]
            found.append(row)
        return found

    def disk(self) -> dict[str, int]:
        """Bytes: what stays, what training needs on top for a while, and the bases' own files."""
        sizes = [
            costs.adapter_bytes(base.shape, tuning)
            for cell in self.cells
            if (base := self.bases[cell.base_name]).shape is not None
            and (tuning := _tuning(cell)) is not None
        ]
        grid = self.grid()
        answers = grid["answers"] * costs.BYTES_PER_ANSWER
        return {
            "bases": sum(
                costs.weight_bytes(base.shape, 16) for base in self._shaped() if base.shape
            ),
            "adapters": sum(sizes),
            "checkpoints": max(sizes, default=0) * (costs.ADAPTER_COPIES - 1),
            "responses and scores": answers + grid["eval cells"] * costs.BYTES_PER_CELL,
        }

    def left_out(self) -> list[str]:
        """What is not in the numbers, and why."""
        found = [
            f"{base.name}: its shape is not known here, so nothing about it is estimated"
            for base in self.bases.values()
            if base.shape is None
        ]
        found += sorted(
            {
                f"method {cell.method}: not estimated"
                for cell in self.cells
                if cell.method != "none" and _tuning(cell) is None
            }
        )
        found += [
            f"{_named(one)}: how many rows it has is not known here"
            for one in self.rows.values()
            if None in one.by_language.values()
        ]
        lacking = {
            one.task: "how many items it has, or how long they are, is not known here"
            for one in self.items
            if one.items is None or any(base.item(one) is None for base in self.bases.values())
        }
        return found + [f"{task}: {why}" for task, why in lacking.items()]

    def _shaped(self) -> list[Base]:
        return [base for base in self.bases.values() if base.shape is not None]

    def _tunings(self) -> Iterator[tuple[Base, Architecture, Tuning]]:
        """Each once, in the order of the study."""
        seen = set()
        for cell in self.cells:
            base, tuning = self.bases[cell.base_name], _tuning(cell)
            if base.shape is None or tuning is None or (base.name, tuning) in seen:
                continue
            seen.add((base.name, tuning))
            yield base, base.shape, tuning

    def _trained_tokens(self, base: Base, rows: Rows) -> tuple[float, float]:
        """Tokens of an epoch, and those of them with a label."""
        tokens = labelled = 0.0
        longest = self.study.train.max_tokens if self.study.train else 0
        for language, count in rows.by_language.items():
            key = (base.name, rows.data.content, language)
            if key not in self._lengths:
                self._lengths[key] = base.row(rows, language)
            length = self._lengths[key]
            whole = min(length.prompt + length.answer, longest)
            tokens += (count or 0) * whole
            labelled += (count or 0) * min(length.answer, whole)
        return tokens, labelled

    def _train(
        self, made: Sum, base: Base, shape: Architecture, tuning: Tuning, rows: Rows
    ) -> None:
        tokens, labelled = self._trained_tokens(base, rows)
        count = sum(number or 0 for number in rows.by_language.values())
        epochs = self.study.train.epochs if self.study.train else 0.0
        made.cells += 1
        made.read += tokens * epochs
        made.operations[0] += costs.training_operations(
            shape, tuning, tokens * epochs, labelled * epochs, tokens / max(1, count)
        )

    def _answer(self, made: Sum, base: Base, shape: Architecture, tuning: Tuning | None) -> None:
        for one in self.items:
            key = (base.name, one.task, one.subset)
            length = self._lengths.get(key) or base.item(one)
            if length is None:
                continue
            self._lengths[key] = length
            count, whole = one.items or 0, length.prompt + length.answer
            answers = count * length.answer
            read = count * (length.prompt if one.writes else whole) + one.n_shot * whole
            written = answers if one.writes else 0.0
            seen = (1 + one.n_shot) * whole
            made.cells += 1
            made.read += read
            made.written += written
            scored = 0.0 if one.writes else answers
            made.operations[0] += costs.answering_operations(shape, tuning, read, scored, seen)
            made.operations[1] += costs.answering_operations(shape, tuning, written, written, seen)


def _tuning(cell: TrainCell) -> Tuning | None:
    """None for the untuned base, and for methods that are not of LoRA's kind."""
    if cell.method not in _LIKE_LORA or cell.r is None or cell.train_bits is None:
        return None
    targets = cell.target_modules or "all-linear"
    return Tuning(cell.train_bits, cell.r, targets, bool(cell.lora_dropout))


def _named(rows: Rows) -> str:
    mixture = rows.data.mixture
    return rows.data.source if mixture is None else f"{rows.data.source}, {mixture}"


def _total(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "work": "all",
        "base": None,
        "bits": None,
        "cells": sum(row["cells"] for row in rows),
        "tokens": sum(row["tokens"] for row in rows),
        "operations": sum(row["operations"] for row in rows),
        "hours": {card.name: sum(row["hours"][card.name] for row in rows) for card in CARDS},
    }
