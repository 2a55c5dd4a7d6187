"""Tidy tables by a declared list of columns: what each holds, its type and its unit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

Columns = tuple["Column", ...]


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table: its name, its type and what it holds, units included."""

    name: str
    dtype: pl.DataType
    doc: str


def frame(columns: Columns, rows: Sequence[Mapping[str, object]]) -> pl.DataFrame:
    """Rows as a table of exactly `columns`, in that order; no row gives an empty table.

    Raises:
        ValueError: a row has another set of keys than the columns.
    """
    names = {column.name for column in columns}
    for row in rows:
        if set(row) != names:
            raise ValueError(f"columns: got {sorted(row)}, expected {sorted(names)}")
    schema = {column.name: column.dtype for column in columns}
    return pl.DataFrame(rows, schema=schema, orient="row")


_TEXT, _INT, _FLOAT, _BOOL = pl.String(), pl.Int64(), pl.Float64(), pl.Boolean()

ADAPTER: Columns = (
    Column("base_name", _TEXT, "base model, as the study names it"),
    Column("method", _TEXT, '"none" for the untuned base, else the method'),
    Column("source", _TEXT, "training source; null for the untuned base"),
    Column("mixture", _TEXT, "of its languages, by name; null where the study describes none"),
    Column("train_languages", pl.List(pl.String), "keys of the languages trained on"),
    Column("r", _INT, "rank"),
    Column("lora_alpha", _FLOAT, "scaling numerator of LoRA and its kin"),
    Column("learning_rate", _FLOAT, "peak learning rate"),
    Column("train_bits", _INT, "precision of the base while training, bits"),
    Column("seed", _INT, "training seed"),
    Column("train_template", _TEXT, "training template of the rows; null where not trained here"),
)
"""What makes an adapter."""

_COST: Columns = (
    Column("seconds", _FLOAT, "wall time of the work itself, seconds"),
    Column("load_seconds", _FLOAT, "wall time of loading the base, where this cell needed it"),
    Column("peak_bytes", _INT, "peak resident memory above the start, bytes; null if unknown"),
    Column("energy_joules", _FLOAT, "joules; null where the machine cannot tell"),
    Column("energy_note", _TEXT, "why energy is unknown"),
)

_STATE: Columns = (
    Column("status", _TEXT, '"done", "failed" or "pending"'),
    Column("failure", _TEXT, "why it failed, or what it waits for in vain; else null"),
    Column("exit_status", _INT, "of the process that failed; null if unknown"),
)

CELLS: Columns = (
    Column("eval_id", _TEXT, "eval cell"),
    Column("train_id", _TEXT, "train cell whose adapter answers, or the untuned base's"),
    Column("score_id", _TEXT, "score cell"),
    *ADAPTER,
    Column("eval_bits", _INT, "precision of the base while answering, bits"),
    Column("engine", _TEXT, "what ran the model"),
    Column("compute_dtype", _TEXT, "data type of activations"),
    Column("task", _TEXT, "benchmark"),
    Column("dataset", _TEXT, '"release", or the small set "mini"'),
    Column("subset", _TEXT, "one evaluation set of the benchmark"),
    Column("language", _TEXT, "key of the language asked in"),
    Column("prompt", _TEXT, "name of the prompt"),
    Column("template", _TEXT, "training template that the request stands in; null for none"),
    Column("n_shot", _INT, "exemplars in the prompt"),
    Column("exemplar_seed", _INT, "null without exemplars"),
    Column("decoding", _TEXT, '"choices" or "greedy"'),
    Column("max_new_tokens", _INT, "longest answer, tokens; null for choices"),
    Column("metric", _TEXT, "how answers are scored"),
    Column("metric_version", _INT, "version of the metric"),
    Column("metric_rules", _TEXT, "language rules that the metric applies"),
    Column("is_primary", _BOOL, "the task's primary metric"),
    *_STATE,
    Column("n", _INT, "items answered; null before the cell was done once"),
    *_COST,
)


def _rate(name: str, doc: str) -> Columns:
    """A share of answers and its interval."""
    return (
        Column(name, _FLOAT, f"{doc}, 0 to 1"),
        Column(
            f"{name}_low",
            _FLOAT,
            "lower end of its 95 % interval; null below two clusters",
        ),
        Column(f"{name}_high", _FLOAT, "upper end"),
    )


ANSWERS: Columns = (
    Column("eval_id", _TEXT, "eval cell with generated answers"),
    Column("task", _TEXT, "benchmark"),
    Column("subset", _TEXT, "one evaluation set of the benchmark"),
    Column("n", _INT, "answers"),
    *_rate("empty", "share of answers without a visible character"),
    *_rate("unparsed", "share with visible characters but no letter or digit: nothing to score"),
    Column("eos", _FLOAT, "share ended by the model's end marker, 0 to 1"),
    Column("stop", _FLOAT, "share ended by a stop string, 0 to 1"),
    *_rate("length", "share cut at max_new_tokens"),
    Column("mean_tokens", _FLOAT, "generated tokens an answer, end marker included"),
    Column("identified", _INT, "answers whose language could be told; null before it was tried"),
    *_rate("wrong_language", "share of the identified ones that are in another language"),
)

CHOICES: Columns = (
    Column("eval_id", _TEXT, "eval cell of a choice task"),
    Column("task", _TEXT, "benchmark"),
    Column("subset", _TEXT, "one evaluation set of the benchmark"),
    Column("n", _INT, "answers"),
    Column("choice", _INT, "number of the choice preferred most often, from 1"),
    *_rate("preferred", "share of answers that prefer it"),
    Column("right", _FLOAT, "share of items whose right answer it is, 0 to 1"),
)

PROMPTS: Columns = (
    Column("task", _TEXT, "benchmark"),
    Column("subset", _TEXT, "one evaluation set of the benchmark"),
    Column("language", _TEXT, "key of the language asked in"),
    Column("prompt", _TEXT, "name of the prompt"),
    Column("base_name", _TEXT, "base model whose tokenizer it is, as the study names it"),
    Column("tokenizer", _TEXT, "hash of the tokenizer's files"),
    Column("items", _INT, "items, without exemplars"),
    Column("tokens", _INT, "tokens of their prompts, special ones not counted"),
    Column("words", _INT, "words by the tokeniser that ROUGE uses"),
    Column("word", _TEXT, "what a word is in that language"),
    Column("tokens_per_word", _FLOAT, "tokens / words"),
    Column("tokens_per_character", _FLOAT, "tokens / code points"),
    Column("tokens_per_byte", _FLOAT, "tokens / UTF-8 bytes"),
)

TRAINING: Columns = (
    Column("train_id", _TEXT, "train cell"),
    *ADAPTER,
    *_STATE,
    Column("steps", _INT, "optimiser steps"),
    Column("best_step", _INT, "steps after which the weights were kept; null if not stopped by"),
    Column("rows", _INT, "rows trained on in each epoch"),
    Column("dropped_rows", _INT, "rows too long for max_tokens"),
    Column("tokens", _INT, "tokens seen over all epochs"),
    Column("labelled_tokens", _INT, "those of them with a label"),
    Column("loss_first", _FLOAT, "mean training loss of the first tenth of the steps, nats"),
    Column("loss_last", _FLOAT, "mean training loss of the last tenth of the steps, nats"),
    Column("loop_seconds", _FLOAT, "wall time of the training loop, validation too, seconds"),
    Column("tokens_per_second", _FLOAT, "tokens / loop_seconds; padding is no token"),
    Column("operations", _INT, "of all steps, counted from shapes; null if not counted"),
    Column("ceiling", _FLOAT, "operations a second of a large matrix product there"),
    Column("ceiling_share", _FLOAT, "operations / loop_seconds / ceiling, 0 to 1"),
    Column("trainable_parameters", _INT, "count"),
    Column("adapter_bytes", _INT, "size of the adapter's weights, bytes"),
    *_COST,
)

TRAINING_DATA: Columns = (
    Column("source", _TEXT, "training source, as the study names it"),
    Column("mixture", _TEXT, "as the study names it; null where it describes none"),
    Column("language", _TEXT, "key of the language"),
    Column("resource_class", _INT, "Joshi et al., 0 to 5; null if unknown"),
    Column("from_source", _TEXT, "where its rows are from"),
    Column("rows", _INT, "rows to train on"),
    Column("share", _FLOAT, "of all rows, 0 to 1"),
    Column("characters", _INT, "of their texts"),
    Column("empty", _INT, "rows of the source left out for lack of an output"),
    Column("unpaired", _INT, "rows left out because another language lacks their id"),
    Column("held_out", _INT, "rows kept for validation"),
    Column("base_name", _TEXT, "base model whose tokenizer it is, as the study names it"),
    Column("rows_trained", _INT, "rows that fitted into max_tokens; null before training"),
    Column("tokens", _INT, "tokens seen over all epochs; null before training"),
    Column("labelled_tokens", _INT, "those of them with a label; null before training"),
)

HELD_OUT: Columns = (
    Column("train_id", _TEXT, "train cell"),
    *ADAPTER,
    Column("language", _TEXT, "key of the language of the held-out rows"),
    Column("trained_on", _BOOL, "whether it is among the languages trained on"),
    Column("forgetting", _BOOL, "English that was not trained on: what the model loses of it"),
    Column("before", _FLOAT, "mean loss before training, nats a labelled token"),
    Column("after", _FLOAT, "mean loss of the weights that were kept, nats a labelled token"),
    Column("difference", _FLOAT, "after - before"),
)

CURVES: Columns = (
    Column("train_id", _TEXT, "train cell"),
    Column("step", _INT, "optimiser step, from 1"),
    Column("epoch", _FLOAT, "epochs seen"),
    Column("loss", _FLOAT, "training loss of the step, nats a token"),
    Column("learning_rate", _FLOAT, "after the scheduler"),
)

VALIDATION: Columns = (
    Column("train_id", _TEXT, "train cell"),
    Column("step", _INT, "optimiser steps before it; 0 before training"),
    Column("language", _TEXT, "key of the language of the held-out rows"),
    Column("loss", _FLOAT, "mean loss of the held-out rows, nats a labelled token"),
)

ESTIMATES: Columns = (
    Column("score", _FLOAT, "mean over items, 0 to 1; null where nothing was scored"),
    Column("score_low", _FLOAT, "lower end of its 95 % interval; null below two clusters"),
    Column("score_high", _FLOAT, "upper end"),
    Column("items", _INT, "items scored"),
    Column("clusters", _INT, "clusters of items"),
    Column("chance", _FLOAT, "mean of 1 / number of choices; null for generation"),
    Column("delta", _FLOAT, "minus the untuned base at the same precision, same items"),
    Column("delta_low", _FLOAT, "lower end of its 95 % interval; null below two clusters"),
    Column("delta_high", _FLOAT, "upper end"),
    Column("delta_items", _INT, "items that both answered"),
    Column("p", _FLOAT, "two-sided p-value of the delta by sign flips; null below two clusters"),
    Column("adjusted", _FLOAT, "p by Benjamini-Hochberg over the deltas of its setting"),
)

TRANSFER: Columns = (
    Column("base_name", _TEXT, "base model, as the study names it"),
    Column("source", _TEXT, "training source"),
    Column("mixture", _TEXT, "of its languages, by name; null where the study describes none"),
    Column("language", _TEXT, "key of the language asked in"),
    Column("trained_on", _BOOL, "it is among the languages trained on"),
    Column("same_family", _BOOL, "of a family trained on; null where its own is unknown"),
    Column("same_script", _BOOL, "in a script trained on"),
    Column("word_fertility", _FLOAT, "tokens a word by those of English, mean over tasks"),
    Column("byte_fertility", _FLOAT, "tokens a byte by those of English, mean over tasks"),
    Column("gain", _FLOAT, "over the untuned base, mean over adapters, points of 100"),
    Column("low", _FLOAT, "lower end of its 95 % interval over items; null below two clusters"),
    Column("high", _FLOAT, "upper end"),
    Column("adapters", _INT, "adapters in the mean, each precision while answering counted"),
    Column("cells", _INT, "cell means in it"),
)

GAINS: Columns = (
    Column("train_id", _TEXT, "train cell"),
    *ADAPTER,
    Column("eval_bits", _INT, "precision of the base while answering, bits"),
    Column("gain", _FLOAT, "over the untuned base, mean over settings, points of 100"),
    Column("low", _FLOAT, "lower end of its 95 % interval over items; null below two clusters"),
    Column("high", _FLOAT, "upper end"),
    Column("cells", _INT, "cell means in it"),
    Column("train_seconds", _FLOAT, "wall time of the training, seconds; null if unknown"),
    Column("train_peak_bytes", _INT, "peak memory of the training, bytes; null if unknown"),
    Column("train_joules", _FLOAT, "energy of the training; null if unknown"),
    Column("adapter_bytes", _INT, "size of the adapter's weights, bytes; null if unknown"),
    Column("eval_seconds", _FLOAT, "wall time of answering 1,000 items, seconds"),
    Column("eval_peak_bytes", _INT, "highest peak memory of answering, bytes"),
    Column("eval_joules", _FLOAT, "energy of answering 1,000 items; null if unknown"),
    Column("seconds_per_point", _FLOAT, "train_seconds / gain; null unless low is above 0"),
    Column("peak_bytes_per_point", _FLOAT, "train_peak_bytes / gain, likewise"),
    Column("adapter_bytes_per_point", _FLOAT, "adapter_bytes / gain, likewise"),
    Column("joules_per_point", _FLOAT, "train_joules / gain, likewise"),
    Column("front_seconds", _BOOL, "no adapter of the base gains as much in less training time"),
    Column("front_memory", _BOOL, "likewise for the peak memory of training"),
    Column("front_size", _BOOL, "likewise for the size of the adapter"),
)

VARIANCE: Columns = (
    Column("task", _TEXT, "benchmark"),
    Column("dataset", _TEXT, '"release", or the small set "mini"'),
    Column("metric", _TEXT, "the task's primary metric"),
    Column("factor", _TEXT, '"training seed", "exemplar seed" or "prompt"'),
    Column("groups", _INT, "groups of macro means that are alike in all else"),
    Column("levels", _INT, "distinct levels of the factor in them"),
    Column("observed", _FLOAT, "standard deviation between levels, pooled, points of 100"),
    Column("items", _FLOAT, "what items explain of it, points of 100"),
    Column("component", _FLOAT, "the rest: standard deviation apart from items, points of 100"),
    Column("low", _FLOAT, "lower end of its approximate 95 % interval; null without an upper one"),
    Column("high", _FLOAT, "upper end"),
    Column("freedom", _INT, "degrees of freedom that the interval assumes"),
    Column("item_error", _FLOAT, "standard error of one mean from items alone, points of 100"),
)
