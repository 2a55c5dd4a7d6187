"""Shared beginnings once, and every token sees exactly the tokens before it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maple.models import trie

BEGINNINGS = st.lists(st.integers(0, 2), max_size=3).map(
    lambda parts: [token for part in parts for token in [part] * 9]
)
SEQUENCES = st.lists(
    st.tuples(BEGINNINGS, st.lists(st.integers(0, 2), min_size=1, max_size=6)).map(
        lambda parts: (*parts[0], *parts[1])
    ),
    min_size=1,
    max_size=30,
    unique=True,
)


def seen(row: trie.Row, index: int) -> list[int]:
    """The tokens that a token attends to, by the rule of the masks."""
    return [at for at, end in enumerate(row.ends) if at <= index < end]


@given(SEQUENCES)
def test_each_token_sees_its_own_sequence(sequences: list[tuple[int, ...]]) -> None:
    rows = trie.lay_out(sequences)
    for row in rows:
        trunk = sum(end == len(row.ids) for end in row.ends[: min(map(len, row.paths.values()))])
        assert len(row.paths) == 1 or len(row.ids) - trunk <= 512
    check_rows(rows, sequences)
    packed = trie.pack(rows)
    assert sum(len(row.ids) for row in packed) == sum(len(row.ids) for row in rows)
    assert len(packed) <= len(rows)
    check_rows(packed, sequences)


def check_rows(rows: list[trie.Row], sequences: list[tuple[int, ...]]) -> None:
    """Each sequence once, seen as if it were alone."""
    assert sorted(number for row in rows for number in row.paths) == list(range(len(sequences)))
    for row in rows:
        covered = set()
        for number, path in row.paths.items():
            assert tuple(row.ids[index] for index in path) == sequences[number]
            for depth, index in enumerate(path):
                assert row.depths[index] == depth
                assert seen(row, index) == list(path[: depth + 1])
            covered |= set(path)
        assert covered == set(range(len(row.ids)))


def test_shared_tokens_run_once() -> None:
    passage = tuple(range(20))
    sequences = [(*passage, 50, 61), (*passage, 50, 62), (*passage, 51), (7, 8)]
    branched, alone = trie.lay_out(sequences)
    assert alone == trie.Row((7, 8), (0, 1), (2, 2), {3: (0, 1)})
    assert branched.ids == (*passage, 50, 61, 62, 51)
    assert branched.depths == (*passage, 20, 21, 21, 20)
    assert branched.ends == (*[24] * 20, 23, 22, 23, 24)
    assert branched.paths[1] == (*passage, 20, 22)


def test_labels_and_long_rows_are_not_worth_sharing(monkeypatch: pytest.MonkeyPatch) -> None:
    few = [(1, 2, 3, 4, 5, 6, 7, number) for number in range(3)]
    assert len(trie.lay_out(few)) == 3
    many = [(*range(8), number, number) for number in range(20, 30)]
    assert [len(row.paths) for row in trie.lay_out(many)] == [10]
    monkeypatch.setattr(trie, "_MOST_BRANCHED", 6)
    assert [len(row.paths) for row in trie.lay_out(many)] == [3, 3, 3, 1]


def test_stems_are_long_beginnings_of_many() -> None:
    shots, others = tuple(range(100, 200)), tuple(range(300, 400))
    passages = [tuple(range(1000 * n, 1000 * n + 90)) for n in range(1, 9)]
    asked = [(*shots, *passage, n) for passage in passages for n in range(2)]
    asked += [(*others, n) for n in range(4)]
    asked += [(*range(500, 530), 7), (*range(500, 530), 8), (9,)]
    # The second set of shots fits one row with its four ends; what is left shares little.
    assert trie.stems(asked) == [(100, list(range(16))), (0, [22, 16, 17, 18, 19, 20, 21])]
    # A passage of 300 tokens is worth more than the shots in front of it.
    long = [
        (*shots, *range(1000 * n, 1000 * n + 300), *range(k, k + 300))
        for n in (1, 2)
        for k in (7, 8)
    ]
    assert trie.stems(long) == [(400, [0, 1]), (400, [2, 3])]
    assert trie.stems([]) == []


def test_a_sequence_may_begin_another() -> None:
    short, long = tuple(range(9)), tuple(range(12))
    (row,) = trie.lay_out([long, short])
    assert row.ids == long
    assert row.paths == {1: tuple(range(9)), 0: tuple(range(12))}
    assert row.ends == (12,) * 12


def test_short_rows_fill_up_long_ones() -> None:
    lengths = [70, 40, 30, 100, 26, 24, 20]
    rows = [trie.straight([number] * length) for number, length in enumerate(lengths)]
    rows = [
        trie.Row(row.ids, row.depths, row.ends, {n: row.paths[0]}) for n, row in enumerate(rows)
    ]
    packed = trie.pack(rows)
    # 24 and 20 are less than a quarter of 100: a class of their own, of 64 tokens a row.
    assert [sorted(row.paths) for row in packed] == [[3], [0, 2], [1, 4], [5, 6]]
    assert packed[1].depths == (*range(70), *range(30))
    assert packed[1].ends == (*[70] * 70, *[100] * 30)
    assert packed[1].paths[2] == tuple(range(70, 100))
    assert trie.pack([]) == []
