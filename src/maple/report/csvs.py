"""The report's tables as CSV files, for a spreadsheet or another program."""

from __future__ import annotations

import polars as pl

from maple.analysis.columns import Column, Columns, frame
from maple.analysis.results import table
from maple.languages import ENGLISH
from maple.report.gathered import Gathered

# A spreadsheet runs a cell that begins with one of these as a formula.
_FORMULA = r"^[=+\-@\t\r]"

_MACROS: Columns = (
    Column("train_id", pl.String(), "train cell"),
    Column("base_name", pl.String(), "base model"),
    Column("label", pl.String(), "the row's name in the report"),
    Column("eval_bits", pl.Int64(), "precision while answering, bits"),
    Column("task", pl.String(), "benchmark"),
    Column("dataset", pl.String(), "release or mini"),
    Column("prompt", pl.String(), "name of the prompt"),
    Column("template", pl.String(), "training template that the request stands in; null for none"),
    Column("n_shot", pl.Int64(), "exemplars"),
    Column("exemplar_seed", pl.Int64(), "what chose them"),
    Column("setup", pl.String(), "in which languages exemplars and items are"),
    Column("decoding", pl.String(), '"choices", or how text is generated'),
    Column("max_new_tokens", pl.Int64(), "most tokens generated; null for choices"),
    Column("metric", pl.String(), "how answers are scored"),
    Column("metric_version", pl.Int64(), "version of the metric"),
    Column("subsets", pl.String(), "subsets averaged, each weighing the same"),
    Column("subsets_planned", pl.Int64(), "subsets of the plan"),
    Column("score", pl.Float64(), "mean over subsets, 0 to 1"),
    Column("score_low", pl.Float64(), "lower end of its 95 % interval"),
    Column("score_high", pl.Float64(), "upper end"),
    Column("delta", pl.Float64(), "minus the untuned base at the same precision"),
    Column("delta_low", pl.Float64(), "lower end of its 95 % interval"),
    Column("delta_high", pl.Float64(), "upper end"),
    Column("p", pl.Float64(), "two-sided p-value of the delta by sign flips"),
    Column("adjusted", pl.Float64(), "p by Holm over the macro deltas of its setting"),
)
_IDENTITY = [
    *("eval_id", "base_name", "method", "source", "mixture", "r", "lora_alpha", "learning_rate"),
    *("train_bits", "eval_bits"),
    *("seed", "task", "dataset", "subset", "language", "prompt", "n_shot"),
    *("metric", "metric_version"),
]
_COST = ["seconds", "load_seconds", "peak_bytes", "energy_joules", "energy_note"]
_DELTAS = ["delta", "delta_low", "delta_high", "delta_items", "p", "adjusted"]


LEFT_OUT = "left out: messages may quote texts, and this report has none"
"""What stands for the message of a failure in a report without texts."""


def tables(gathered: Gathered, *, items: bool = True) -> dict[str, bytes]:
    """Every table by file name: UTF-8 with a header.

    Scores are from 0 to 1; transfer, gains and variance are in points, as their columns say.

    Args:
        items: whether messages of failures, which may quote texts of items, may be in them.
    """
    found = frames(gathered)
    if not items:
        found = {name: _without_messages(rows) for name, rows in found.items()}
    return {f"{name}.csv": to_csv(rows) for name, rows in found.items()}


def frames(gathered: Gathered) -> dict[str, pl.DataFrame]:
    """Every table by name, typed; text is as it was written, formulas too."""
    estimates = table(gathered.cells, gathered.results)
    cells = estimates.unique("eval_id", keep="first", maintain_order=True)
    of_cells = cells.select("eval_id", "train_id", "task", "subset", *_COST)
    of_training = gathered.training.select("train_id", *_COST)
    failed = [
        gathered.training.select("train_id", "base_name", "status", "failure", "exit_status"),
        # A cell that failed did so under each metric; one that was not scored, under its own.
        estimates.unique(["eval_id", "failure"], keep="first", maintain_order=True).select(
            "train_id", "base_name", "status", "failure", "exit_status", "eval_id", "task", "subset"
        ),
    ]
    return {
        "scores": estimates.drop(_DELTAS),
        "deltas": estimates.filter(pl.col("delta").is_not_null()).select(*_IDENTITY, *_DELTAS),
        "english": _english(estimates),
        "macros": _macros(gathered),
        "training": gathered.training,
        "training_data": gathered.training_data,
        "held_out": gathered.held_out,
        "curves": gathered.curves,
        "validation": gathered.validation,
        "answers": gathered.answers,
        "choices": gathered.choices,
        "prompts": gathered.prompts,
        "transfer": gathered.transfer,
        "gains": gathered.gains,
        "variance": gathered.variance,
        "cost": pl.concat([of_training, of_cells], how="diagonal"),
        "failures": pl.concat(failed, how="diagonal").filter(pl.col("status") == "failed"),
    }


def _english(estimates: pl.DataFrame) -> pl.DataFrame:
    """The English ledger: differences to the own base under primary metrics, the worst first."""
    english = (pl.col("language") == ENGLISH) & pl.col("is_primary")
    # In English several prompts may be one.
    kept = estimates.filter(english & pl.col("delta").is_not_null()).unique(
        ["eval_id", "metric"], keep="first", maintain_order=True
    )
    return kept.select("train_id", *_IDENTITY, *_DELTAS).sort("delta", maintain_order=True)


def _without_messages(rows: pl.DataFrame) -> pl.DataFrame:
    if "failure" not in rows.columns:
        return rows
    message = pl.col("failure")
    return rows.with_columns(
        pl.when(message.is_null()).then(message).otherwise(pl.lit(LEFT_OUT)).alias("failure")
    )


def to_csv(rows: pl.DataFrame) -> bytes:
    """A table as CSV in which no text is a formula.

    Lists become words separated by spaces. Text that a spreadsheet would run gets an apostrophe
    in front; numbers stay numbers.
    """
    lists = [name for name, dtype in rows.schema.items() if isinstance(dtype, pl.List)]
    flat = rows.with_columns(pl.col(lists).list.join(" ")) if lists else rows
    texts = pl.col(pl.String)
    guarded = flat.with_columns(
        pl.when(texts.str.contains(_FORMULA)).then(pl.lit("'") + texts).otherwise(texts).name.keep()
    )
    return guarded.write_csv().encode()


def _macros(gathered: Gathered) -> pl.DataFrame:
    rows = []
    for shown, line, macro in gathered.means():
        delta = macro.delta
        rows.append(
            {
                "train_id": line.train_id,
                "base_name": line.base_name,
                "label": line.label,
                "eval_bits": line.eval_bits,
                "task": shown.setting.task,
                "dataset": shown.setting.dataset,
                "prompt": shown.setting.prompt,
                "template": shown.setting.template,
                "n_shot": shown.setting.n_shot,
                "exemplar_seed": shown.setting.exemplar_seed,
                "setup": shown.setting.setup,
                "decoding": shown.setting.decoding,
                "max_new_tokens": shown.setting.max_new_tokens,
                "metric": shown.setting.metric,
                "metric_version": shown.setting.version,
                "subsets": " ".join(macro.subsets),
                "subsets_planned": macro.planned,
                "score": macro.score.value,
                "score_low": macro.score.low,
                "score_high": macro.score.high,
                "delta": delta.value if delta else None,
                "delta_low": delta.low if delta else None,
                "delta_high": delta.high if delta else None,
                "p": macro.p,
                "adjusted": macro.adjusted,
            }
        )
    return frame(_MACROS, rows)
