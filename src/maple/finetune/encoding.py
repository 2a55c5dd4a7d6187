"""Rendered training rows as token ids and labels."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from maple.errors import DataError, ModelError
from maple.models.head import IGNORED
from maple.records import RenderedRow

_MOST_ENDLESS = 0.01
"""Share of rows that may end without a learned EOS."""

_BATCH = 1000
"""Rows tokenised at a time: enough to keep the tokenizer's threads busy, little to hold."""


@dataclass(frozen=True, slots=True)
class EncodedRow:
    """One row: `input_ids` [T] and `labels` [T], where label t is the token at t or IGNORED."""

    input_ids: tuple[int, ...]
    labels: tuple[int, ...]

    @property
    def labelled_tokens(self) -> int:
        """Tokens that are learned."""
        return sum(label != IGNORED for label in self.labels)

    def unlabelled(self) -> EncodedRow:
        """The row with nothing to learn."""
        return EncodedRow(self.input_ids, (IGNORED,) * len(self.labels))


@dataclass(frozen=True, slots=True)
class Encoded:
    """Training rows ready for batching.

    Attributes:
        rows: rows that fit, in the order they came.
        kept: their places among all that came.
        tokens: their tokens, BOS and EOS included.
        labelled_tokens: those of them that carry a label.
        dropped_rows: rows longer than max_tokens.
    """

    rows: tuple[EncodedRow, ...]
    kept: tuple[int, ...]
    tokens: int
    labelled_tokens: int
    dropped_rows: int

    def content_hash(self) -> str:
        """SHA-256 of all ids and labels, in order."""
        digest = hashlib.sha256()
        for row in self.rows:
            digest.update(repr((row.input_ids, row.labels)).encode("ascii"))
        return digest.hexdigest()


def encode(
    tokenizer: PreTrainedTokenizerBase, rows: Sequence[RenderedRow], max_tokens: int
) -> Encoded:
    """Tokenise rendered rows and keep those that fit; see `encoded`.

    A row longer than `max_tokens` is dropped and counted, never cut: a cut answer teaches either
    to stop in mid-sentence or never to stop.

    Args:
        tokenizer: a fast tokenizer with an EOS token.
        rows: as a template renders them.
        max_tokens: longest row kept, BOS and EOS included.

    Raises:
        ModelError: the tokenizer has no EOS token or no character offsets.
        DataError: no rows, or none that fits.
    """
    if not rows:
        raise DataError("no rows to train on")
    kept: list[EncodedRow] = []
    places: list[int] = []
    shortest: int | None = None
    for place, row in enumerate(encoded(tokenizer, rows)):
        length = len(row.input_ids)
        shortest = length if shortest is None else min(shortest, length)
        if length <= max_tokens:
            kept.append(row)
            places.append(place)
    if not kept:
        raise DataError(
            f"all {len(rows)} rows are longer than max_tokens = {max_tokens}",
            f"the shortest row takes {shortest} tokens; set max_tokens above that",
        )
    _check_learned(tokenizer, kept)
    return Encoded(
        rows=tuple(kept),
        kept=tuple(places),
        tokens=sum(len(row.input_ids) for row in kept),
        labelled_tokens=sum(row.labelled_tokens for row in kept),
        dropped_rows=len(rows) - len(kept),
    )


def _check_learned(tokenizer: PreTrainedTokenizerBase, rows: Sequence[EncodedRow]) -> None:
    """Raises DataError if rows teach nothing, or too many of them never to stop."""
    if not any(row.labelled_tokens for row in rows):
        raise DataError("no token of any row is learned", "see them with `maple sources show`")
    endless = sum(row.labels[-1] != tokenizer.eos_token_id for row in rows)
    if endless > _MOST_ENDLESS * len(rows):
        raise DataError(
            f"{endless} of {len(rows)} rows do not end in a learned EOS token: a model trained on "
            "them would not stop",
            "see them with `maple sources show`",
        )


def encoded(
    tokenizer: PreTrainedTokenizerBase, rows: Sequence[RenderedRow]
) -> Iterator[EncodedRow]:
    """Rendered rows as tokens, each row as one string, whatever its length.

    Tokenising segments apart would put token borders between them that the model never meets in
    evaluation. The tokenizer adds BOS where its family wants one; EOS is added here, exactly one at
    the end, and always labelled, or generation would never learn to stop. A token that holds
    characters of a learned segment is learned.

    Raises:
        ModelError: the tokenizer has no EOS token or no character offsets.
    """
    if not tokenizer.is_fast:
        raise ModelError(
            "the tokenizer is a slow one: training needs the character offsets of a fast one",
            "convert it once with transformers: AutoTokenizer.from_pretrained(..., use_fast=True)",
        )
    if tokenizer.eos_token_id is None:
        raise ModelError("the tokenizer has no EOS token: a tuned model would never stop")
    for start in range(0, len(rows), _BATCH):
        part = rows[start : start + _BATCH]
        batch = tokenizer(
            ["".join(text for text, _ in row.segments) for row in part],
            add_special_tokens=True,
            return_offsets_mapping=True,
            return_attention_mask=False,
            # Rows longer than the model's context are dropped by the caller; no need to warn.
            verbose=False,
        )
        for row, ids, offsets in zip(
            part, batch["input_ids"], batch["offset_mapping"], strict=True
        ):
            yield _encode_row(tokenizer, _learned(row), ids, offsets)


def _learned(row: RenderedRow) -> list[tuple[int, int]]:
    """Start and end of each learned segment, in characters of the whole text."""
    spans = []
    at = 0
    for text, learned in row.segments:
        if learned:
            spans.append((at, at + len(text)))
        at += len(text)
    return spans


def _encode_row(
    tokenizer: PreTrainedTokenizerBase,
    learned: Sequence[tuple[int, int]],
    ids: list[int],
    offsets: list[tuple[int, int]],
) -> EncodedRow:
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    first, last = 0, len(ids)
    # A template may spell out BOS that the tokenizer adds as well, and EOS that is added here.
    while bos is not None and last - first >= 2 and ids[first] == ids[first + 1] == bos:
        first += 1
    while last - first >= 1 and ids[last - 1] == eos:
        last -= 1
    labels = [
        token if any(end > begun and start < ended for begun, ended in learned) else IGNORED
        for token, (start, end) in zip(ids[first:last], offsets[first:last], strict=True)
    ]
    if labels:
        labels[0] = IGNORED  # nothing precedes the first token, so nothing predicts it
    return EncodedRow(
        input_ids=(*ids[first:last], eos),
        labels=(*labels, eos if labels else IGNORED),
    )
