"""Rows of a training source as a base model sees them: tokens, and which of them it learns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, groupby, islice, zip_longest
from pathlib import Path
from typing import Any

from maple.data.sources import SOURCES, Source
from maple.errors import DataError, ModelError, nearest
from maple.languages import language as language_of
from maple.models.files import resolve
from maple.models.templates import Templates
from maple.records import InstructionRow
from maple.study.config import Study
from maple.study.templates import templates_of
from maple.sweep.drawing import sources_by_name

_SAMPLE = 1000
"""Rows that totals are taken over."""


@dataclass(frozen=True, slots=True)
class ShownToken:
    """One token: its text by itself, where bytes that are no whole character show as U+FFFD."""

    id: int
    text: str
    learned: bool


@dataclass(frozen=True, slots=True)
class ShownRow:
    """One row after tokenisation.

    Attributes:
        parts: the text that the tokens stand for, and whether it is learned.
        bos: BOS tokens at its start.
        eos: whether it ends in EOS.
        dropped: too long, so that it is not trained on.
    """

    row_id: str
    language: str
    parts: tuple[tuple[str, bool], ...]
    tokens: tuple[ShownToken, ...]
    n_tokens: int
    n_learned: int
    bos: int
    eos: bool
    dropped: bool


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over a sample of rows; `longest` in tokens."""

    rows: int
    tokens: int
    learned: int
    dropped: int
    longest: int


@dataclass(frozen=True, slots=True)
class Shown:
    """Some rows of a source, and totals over more of them.

    Attributes:
        template_hash: as cells hold it.
        languages: that rows were taken of.
    """

    source: str
    model: str
    template: str
    template_hash: str
    max_tokens: int
    languages: tuple[str, ...]
    rows: tuple[ShownRow, ...]
    sample: Totals


def show(
    source: str,
    model: str,
    n: int,
    template: str,
    study: Study | None,
    language: str | None,
    max_tokens: int,
    folder: Path | None,
) -> Shown:
    """Render and tokenise rows as training does.

    Args:
        source: name of a training source that ships, or of one of the study's.
        model: name of a base model.
        n: rows to show.
        template: name of one that ships, or of one of the study's.
        study: whose own sources and templates may be named.
        language: tag of the rows' language; None for the source's first languages, at most `n`.
        max_tokens: longest row trained on.
        folder: release files; None to read from the hub.

    Raises:
        DataError: no such source or language, or its rows cannot be read or rendered.
        ModelError: no such model or template, or a tokenizer that cannot be used.
    """
    train = None if study is None else study.train
    sources = SOURCES if train is None else sources_by_name(train)
    if source not in sources:
        raise DataError(f"no training source {source!r}", nearest(source, sources))
    base = resolve(model)
    if not base.path:
        raise ModelError(f"{base.name}: makes its answers up and has no tokenizer")
    bound = Templates(() if study is None else templates_of(study)).of(template, base)
    from maple.finetune.encoding import encoded
    from maple.models.encoding import bos_count, load_tokenizer
    from maple.models.head import IGNORED

    tokenizer = load_tokenizer(base)
    languages = (
        [language_of(language).key] if language is not None else list(sources[source].languages[:n])
    )
    rows = list(islice(_by_turns(sources[source], languages, folder), max(n, _SAMPLE)))
    shown: list[ShownRow] = []
    lengths: list[int] = []
    learned = 0
    for row, found in zip(
        rows, encoded(tokenizer, [bound.render(row) for row in rows]), strict=True
    ):
        marks = [label != IGNORED for label in found.labels]
        lengths.append(len(marks))
        learned += sum(marks)
        if len(shown) < n:
            ids = found.input_ids
            tokens = [
                ShownToken(token, _decoded(tokenizer, [token]), mark)
                for token, mark in zip(ids, marks, strict=True)
            ]
            shown.append(
                ShownRow(
                    row.row_id,
                    row.language,
                    tuple(_parts(tokenizer, ids, marks)),
                    tuple(tokens),
                    len(ids),
                    sum(marks),
                    bos_count(tokenizer, ids),
                    ids[-1] == tokenizer.eos_token_id,
                    len(ids) > max_tokens,
                )
            )
    return Shown(
        source,
        base.name,
        template,
        bound.hash,
        max_tokens,
        tuple(languages),
        tuple(shown),
        Totals(
            len(rows),
            sum(lengths),
            learned,
            sum(length > max_tokens for length in lengths),
            max(lengths),
        ),
    )


def _by_turns(
    source: Source, languages: Sequence[str], folder: Path | None
) -> Iterator[InstructionRow]:
    """Rows in the release's order, of each language one."""
    read = [source.load(key, folder).rows for key in languages]
    return (row for row in chain.from_iterable(zip_longest(*read)) if row is not None)


def _parts(tokenizer: Any, ids: Sequence[int], marks: Sequence[bool]) -> Iterator[tuple[str, bool]]:
    """The text of each run of tokens that are all learned, or all not."""
    at = 0
    before = ""
    for mark, run in groupby(marks):
        at += len(list(run))
        # Decoded from the start, because some tokenizers drop the space before a first word.
        text = _decoded(tokenizer, ids[:at])
        yield text[len(before) :], mark
        before = text


def _decoded(tokenizer: Any, ids: Sequence[int]) -> str:
    return str(tokenizer.decode(list(ids), clean_up_tokenization_spaces=False))
