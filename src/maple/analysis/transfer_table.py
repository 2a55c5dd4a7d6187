"""What each training set does to each language: inside it, akin to it, or far from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from maple.analysis.columns import TRANSFER, frame
from maple.analysis.estimates import Replicates
from maple.analysis.observed import Observation, Observed, Span, complete, ends, shares
from maple.languages import ENGLISH, language


@dataclass(frozen=True, slots=True)
class TransferRow:
    """One training set and one language, on one base.

    Gains are differences to the untuned base under the tasks' primary metrics, in points of 100;
    each setting weighs the same in an adapter, each adapter the same in the row.

    Attributes:
        source, mixture: the training set; no mixture where the study describes none.
        language: key of the language asked in.
        trained_on: whether it is among the languages trained on.
        same_family: whether it shares its family with a language trained on, which it may be
            itself; None where its own is unknown.
        same_script: likewise of the script.
        word_fertility: tokens a word of its prompts, divided by those of English under the same
            task; mean over tasks; None where either was not counted. What a word is depends on
            the language.
        byte_fertility: likewise tokens a byte.
        gain: mean over adapters.
        low, high: its 95 % interval were other items drawn, the adapters being these very ones;
            None where there are no clusters enough.
        adapters: how many, each precision while answering counted; those that lack units that
            most others have are left out.
        cells: cell means behind the gain.
        groups: effective number of clusters of items.
        replicates: of the gain, [b]; rows may be subtracted resample by resample.
    """

    base_name: str
    source: str
    mixture: str | None
    language: str
    trained_on: bool
    same_family: bool | None
    same_script: bool
    word_fertility: float | None
    byte_fertility: float | None
    gain: float
    low: float | None
    high: float | None
    adapters: int
    cells: int
    groups: float
    replicates: Replicates = field(hash=False, compare=False, repr=False)


_Key = tuple[str, str, str | None, str]
"""Base, source, mixture, language."""

_Fertility = Mapping[tuple[str, str], tuple[float | None, float | None]]
"""Tokens a word and a byte, in units of English, by tokenizer and language."""


def rows(observed: Observed, prompts: pl.DataFrame) -> list[TransferRow]:
    """The transfer table, in the order in which the plan has bases, sources and languages.

    Adapters made elsewhere are left out: they do not say what they were trained on.

    Args:
        prompts: from `rates.prompts`.
    """
    groups: dict[_Key, list[Observation]] = {}
    for one in observed.compared():
        cell = one.cell
        if cell.languages is not None and cell.source is not None:
            key = cell.base_name, cell.source, cell.mixture, one.language.key
            groups.setdefault(key, []).append(one)
    if not groups:
        return []
    fertility = _fertility(prompts)
    gains, replicates, effective, counts = [], [], [], []
    for found in groups.values():
        kept, _ = complete(found)
        weights = np.concatenate([shares(own) for own in kept.values()]) / len(kept)
        used = [one for own in kept.values() for one in own]
        gained, drawn = observed.weighted_gain(used, weights)
        gains.append(gained)
        replicates.append(drawn)
        effective.append(observed.groups(used))
        counts.append((len(kept), len(used)))
    spans = ends(np.array(gains), np.stack(replicates), np.array(effective))
    return [
        _row(key, found, fertility, gain, span, count, group, drawn)
        for (key, found), gain, span, count, group, drawn in zip(
            groups.items(), gains, spans, counts, effective, replicates, strict=True
        )
    ]


def table(found: Sequence[TransferRow]) -> pl.DataFrame:
    """Rows as a table of columns TRANSFER."""
    names = [column.name for column in TRANSFER]
    return frame(TRANSFER, [{name: getattr(one, name) for name in names} for one in found])


def _row(
    key: _Key,
    found: Sequence[Observation],
    fertility: _Fertility,
    gain: float,
    span: Span,
    counts: tuple[int, int],
    groups: float,
    replicates: Replicates,
) -> TransferRow:
    base_name, source, mixture, name = key
    spoken = language(name)
    # Adapters of one set may differ in the languages where a source came in several versions.
    trained = {other: language(other) for one in found for other in one.cell.languages or ()}
    families = {other.family for other in trained.values()} - {None}
    words, size = fertility.get((found[0].cell.tokenizer, name), (None, None))
    return TransferRow(
        base_name=base_name,
        source=source,
        mixture=mixture,
        language=name,
        trained_on=name in trained,
        same_family=None if spoken.family is None else spoken.family in families,
        same_script=spoken.script in {other.script for other in trained.values()},
        word_fertility=words,
        byte_fertility=size,
        gain=gain,
        low=span[0],
        high=span[1],
        adapters=counts[0],
        cells=counts[1],
        groups=groups,
        replicates=replicates,
    )


def _fertility(prompts: pl.DataFrame) -> dict[tuple[str, str], tuple[float | None, float | None]]:
    """As in `TransferRow`, by tokenizer and language."""
    if prompts.is_empty():
        return {}
    # Of pairs of languages (the passage's, the question's) only those of one are in it.
    parts = pl.col("subset").str.split(".")
    alone = prompts.filter((parts.list.len() != 2) | (parts.list.first() == parts.list.last()))
    sizes = alone.with_columns(
        (pl.col("tokens") / pl.col("tokens_per_byte")).alias("bytes"),
    )
    summed = sizes.group_by("tokenizer", "task", "language").agg(
        pl.col("tokens", "words", "bytes").sum()
    )
    spoken = summed.with_columns(
        (pl.col("tokens") / pl.col("words")).alias("word"),
        (pl.col("tokens") / pl.col("bytes")).alias("byte"),
    )
    english = spoken.filter(pl.col("language") == ENGLISH).select(
        "tokenizer",
        "task",
        pl.col("word").alias("word_english"),
        pl.col("byte").alias("byte_english"),
    )
    relative = (
        spoken.join(english, on=["tokenizer", "task"])
        .with_columns(
            pl.col("word") / pl.col("word_english"), pl.col("byte") / pl.col("byte_english")
        )
        .with_columns(
            pl.when(pl.col(name).is_finite()).then(pl.col(name)).alias(name)
            for name in ("word", "byte")
        )
        .group_by("tokenizer", "language")
        .agg(pl.col("word", "byte").sort().mean())
    )
    return {(tokenizer, name): (word, size) for tokenizer, name, word, size in relative.iter_rows()}
