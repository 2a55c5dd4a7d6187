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

_MOST_BRANCHED = 512
"""Tokens of a row's branches, all together: each is compared with all others, and sees nothing of
most."""

_LEAST_CAPACITY = 64
"""Tokens up to which any rows are put side by side."""

_LEAST_PART = 0.25
"""Shortest row that is put beside a longer one, as a share of the longest: attention compares each
token of a row with all others."""

_LEAST_STEM = 64
"""Shared tokens that are worth a forward pass of their own."""


@dataclass(frozen=True, slots=True)
class Row:
    """Tries in depth-first order, one after the other, n tokens.

    Attributes:
        ids: the tokens.
        depths: of each token, the number of tokens before it in its own sequences.
        ends: of each token, the index in the row behind its subtree.
        paths: by the number of a sequence, the indices of its tokens.
    """

    ids: tuple[int, ...]
    depths: tuple[int, ...]
    ends: tuple[int, ...]
    paths: dict[int, tuple[int, ...]]


def straight(ids: Sequence[int]) -> Row:
    """A row of one sequence, whose number is 0."""
    indices = tuple(range(len(ids)))
    return Row(tuple(ids), indices, (len(ids),) * len(ids), {0: indices})


def lay_out(sequences: Sequence[Sequence[int]]) -> list[Row]:
    """Every sequence in exactly one row; a pure function of the sequences.

    Args:
        sequences: at least one token each, all different.
    """
    order = sorted(range(len(sequences)), key=lambda number: tuple(sequences[number]))
    rows: list[Row] = []
    group: list[int] = []
    size = trunk = 0
    for number in order:
        sequence = sequences[number]
        shared = _shared(sequences[group[-1]], sequence) if group else 0
        grown = size + len(sequence) - shared
        if group and shared >= _LEAST_SHARED and grown - min(trunk, shared) <= _MOST_BRANCHED:
            group.append(number)
            size, trunk = grown, min(trunk, shared)
            continue
        if group:
            rows.append(_row(sequences, group))
        group, size = [number], len(sequence)
        trunk = size
    if group:
        rows.append(_row(sequences, group))
    return rows


def stems(sequences: Sequence[Sequence[int]]) -> list[tuple[int, list[int]]]:
    """Sequences with a long common beginning together; a pure function of the sequences.

    For requests that do not say what they share: examples in front of a question, the questions of
    a long text. A shorter beginning is no reason to leave a group, unless it halves the stem.

    Args:
        sequences: any, in any order.

    Returns:
        (tokens shared, members) of each group, every sequence in exactly one. Where a stem does not
        pay, 0 tokens: those sequences are one group.
    """
    order = sorted(range(len(sequences)), key=lambda number: tuple(sequences[number]))
    groups: list[tuple[int, list[int]]] = []
    for number in order:
        if groups:
            stem, members = groups[-1]
            shared = min(stem, _shared(sequences[members[-1]], sequences[number]))
            least = stem // 2 if len(members) > 1 else 0
            if shared >= max(_LEAST_STEM, least):
                members.append(number)
                groups[-1] = (shared, members)
                continue
        groups.append((len(sequences[number]), [number]))
    # What fits one row shares its beginning there, in a batch with others.
    worthy = [len(lay_out([sequences[n] for n in members])) > 1 for _, members in groups]
    found = [group for group, worth in zip(groups, worthy, strict=True) if worth]
    rest = [
        number
        for (_, members), worth in zip(groups, worthy, strict=True)
        if not worth
        for number in members
    ]
    return [*found, *([(0, rest)] if rest else [])]


def pack(rows: Sequence[Row]) -> list[Row]:
    """Rows side by side in fewer, fuller rows, so that little padding runs; see `lay_out`.

    Best fit, the longest first. Tokens of different rows do not see each other.

    Args:
        rows: of different sequences.
    """
    order = sorted(range(len(rows)), key=lambda number: (-len(rows[number].ids), number))
    packed: list[list[int]] = []
    capacity = 0
    room: dict[int, list[int]] = {}  # free tokens: numbers of packed rows that have them
    for number in order:
        length = len(rows[number].ids)
        if not packed or (capacity > _LEAST_CAPACITY and length < _LEAST_PART * capacity):
            capacity, room = max(length, _LEAST_CAPACITY), {}
        fits = min((free for free, having in room.items() if free >= length and having), default=0)
        if fits:
            place = room[fits].pop(0)
            packed[place].append(number)
        else:
            place, fits = len(packed), capacity
            packed.append([number])
        room.setdefault(fits - length, []).append(place)
    return [_side_by_side([rows[number] for number in group]) for group in packed]


def _side_by_side(rows: Sequence[Row]) -> Row:
    ids: list[int] = []
    depths: list[int] = []
    ends: list[int] = []
    paths: dict[int, tuple[int, ...]] = {}
    for row in rows:
        start = len(ids)
        ids += row.ids
        depths += row.depths
        ends += [start + end for end in row.ends]
        for number, path in row.paths.items():
            paths[number] = tuple(start + index for index in path)
    return Row(tuple(ids), tuple(depths), tuple(ends), paths)


def _row(sequences: Sequence[Sequence[int]], group: Sequence[int]) -> Row:
    """The trie of sequences in sorted order: each branches off the one before it."""
    ids: list[int] = []
    depths: list[int] = []
    ends: list[int] = []
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
            ends.append(0)  # known when the last sequence that shares it is written
        paths[number] = tuple(path)
    for index in path:
        ends[index] = len(ids)
    return Row(tuple(ids), tuple(depths), tuple(ends), paths)


def _shared(one: Sequence[int], other: Sequence[int]) -> int:
    pairs = zip(one, other, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
