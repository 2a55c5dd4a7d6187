"""Token sequences that share their beginnings, laid out so that each shared token runs once.

A trie of sequences is written into one row in depth-first order. A token is seen by the tokens of
its own subtree, which are the ones that follow it directly: one number a token, the end of its
subtree, says who may attend to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

_LEAST_SHARED = 8
"""Shared tokens that are worth a place in one row; labels such as "Question:" are fewer."""

_MOST_TOKENS = 512
"""Tokens of a row with branches. Attention over a row grows with its square, branches included
that see nothing of each other."""


@dataclass(frozen=True, slots=True)
class Row:
    """A trie in depth-first order, n tokens.

    Attributes:
        ids: the tokens.
        depths: of each token, the number of tokens before it in its own sequences.
        ends: of each token, the index in the row behind its subtree; None behind the last token of
            the row, for tokens that all sequences share.
        paths: by the number of a sequence, the indices of its tokens.
    """

    ids: tuple[int, ...]
    depths: tuple[int, ...]
    ends: tuple[int | None, ...]
    paths: dict[int, tuple[int, ...]]


def straight(ids: Sequence[int]) -> Row:
    """A row of one sequence, whose number is 0."""
    indices = tuple(range(len(ids)))
    return Row(tuple(ids), indices, (None,) * len(ids), {0: indices})


def lay_out(sequences: Sequence[Sequence[int]]) -> list[Row]:
    """Every sequence in exactly one row; a pure function of the sequences.

    Args:
        sequences: at least one token each, all different.
    """
    order = sorted(range(len(sequences)), key=lambda number: tuple(sequences[number]))
    rows: list[Row] = []
    group: list[int] = []
    size = 0
    for number in order:
        sequence = sequences[number]
        shared = _shared(sequences[group[-1]], sequence) if group else 0
        added = len(sequence) - shared
        if group and shared >= _LEAST_SHARED and size + added <= _MOST_TOKENS:
            group.append(number)
            size += added
            continue
        if group:
            rows.append(_row(sequences, group))
        group, size = [number], len(sequence)
    if group:
        rows.append(_row(sequences, group))
    return rows


def _row(sequences: Sequence[Sequence[int]], group: Sequence[int]) -> Row:
    """The trie of sequences in sorted order: each branches off the one before it."""
    ids: list[int] = []
    depths: list[int] = []
    ends: list[int | None] = []
    paths: dict[int, tuple[int, ...]] = {}
    path: list[int] = []
    for number in group:
        sequence = sequences[number]
        shared = _shared([ids[index] for index in path], sequence)
        for index in path[shared:]:
            ends[index] = len(ids)
        path = path[:shared]
        for depth in range(shared, len(sequence)):
            path.append(len(ids))
            ids.append(sequence[depth])
            depths.append(depth)
            ends.append(None)
        paths[number] = tuple(path)
    # What the last sequence does not share with the first ends with the row.
    common = _shared(paths[group[0]], path)
    for index in path[common:]:
        ends[index] = len(ids)
    return Row(tuple(ids), tuple(depths), tuple(ends), paths)


def _shared(one: Sequence[int], other: Sequence[int]) -> int:
    pairs = zip(one, other, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
