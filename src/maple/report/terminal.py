"""A study's results in a few columns, for the terminal."""

from __future__ import annotations

from dataclasses import dataclass

from maple.analysis.estimates import Estimate
from maple.report import labels
from maple.report.gathered import Gathered


@dataclass(frozen=True, slots=True)
class Summary:
    """The mean over languages of every cell under its task's primary metric.

    Attributes:
        notes: what the reader should know first.
        columns: headings of `cells`.
        cells: the rows as text, scores in points of 100.
        rows: the rows as JSON-ready values, scores from 0 to 1; None where there is none.
    """

    notes: tuple[str, ...]
    columns: tuple[str, ...]
    cells: tuple[tuple[str, ...], ...]
    rows: tuple[dict[str, object], ...]


def summary(gathered: Gathered) -> Summary:
    """What a store holds, one row per task and cell, in the report's order."""
    cells, rows = [], []
    for table in gathered.tables:
        if not table.primary:
            continue
        for line in table.lines:
            macro = gathered.macro(table, line)
            score = macro.score if macro is not None else None
            delta = macro.delta if macro is not None else None
            done = len(macro.subsets) if macro is not None else 0
            cells.append(
                (
                    table.title,
                    table.setting.metric,
                    line.base_name,
                    line.label,
                    _shown(score),
                    _shown(delta, sign=True),
                    f"{done} of {len(line.evals)}",
                )
            )
            rows.append(
                {
                    "task": table.setting.task,
                    "dataset": table.setting.dataset,
                    "prompt": table.setting.prompt,
                    "template": table.setting.template,
                    "n_shot": table.setting.n_shot,
                    "exemplar_seed": table.setting.exemplar_seed,
                    "setup": table.setting.setup,
                    "decoding": table.setting.decoding,
                    "max_new_tokens": table.setting.max_new_tokens,
                    "metric": table.setting.metric,
                    "base": line.base_name,
                    "cell": line.label,
                    "train_id": line.train_id,
                    "eval_bits": line.eval_bits,
                    **_values("score", score),
                    **_values("delta", delta),
                    "subsets": done,
                    "subsets_planned": len(line.evals),
                }
            )
    columns = ("task", "metric", "base", "cell", "mean", "to untuned", "languages")
    return Summary(gathered.notes, columns, tuple(cells), tuple(rows))


def _shown(estimate: Estimate | None, *, sign: bool = False) -> str:
    if estimate is None:
        return "–"
    value = labels.signed(estimate.value) if sign else labels.points(estimate.value)
    mark = labels.direction(estimate) if sign else ""
    return " ".join(part for part in (value, labels.interval(estimate, sign=sign), mark) if part)


def _values(name: str, estimate: Estimate | None) -> dict[str, object]:
    return {
        name: estimate.value if estimate else None,
        f"{name}_low": estimate.low if estimate else None,
        f"{name}_high": estimate.high if estimate else None,
    }
