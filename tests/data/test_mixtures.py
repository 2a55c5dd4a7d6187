"""Sampling: even, deterministic, nested, honest about what there is."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import pytest

from maple.data.mixtures import content_hash, select
from maple.errors import DataError
from maple.records import InstructionRow


@dataclass
class Numbers:
    """A source whose rows are numbers."""

    name: str = "numbers"
    languages: tuple[str, ...] = ("deu_Latn", "eng_Latn", "spa_Latn")
    size: int = 40

    def rows(self, language: str, folder: Path | None) -> list[InstructionRow]:
        return [
            InstructionRow(str(number), language, f"Say {number}.", "", str(number))
            for number in range(self.size)
        ]


def _pick(rows: int, seed: int = 0, languages: tuple[str, ...] = ()) -> list[InstructionRow]:
    source = Numbers()
    return select(source, languages or source.languages, rows, seed, None)


@pytest.mark.parametrize(("rows", "counts"), [(3, (1, 1, 1)), (10, (4, 3, 3)), (11, (4, 4, 3))])
def test_languages_share_evenly_and_the_first_get_the_rest(
    rows: int, counts: tuple[int, ...]
) -> None:
    found = Counter(
        row.language for row in _pick(rows, languages=("spa_Latn", "eng_Latn", "deu_Latn"))
    )
    assert tuple(found[key] for key in Numbers().languages) == counts


def test_a_larger_sample_contains_the_smaller() -> None:
    samples = [set(_pick(rows)) for rows in range(3, 121)]
    assert all(small < large for small, large in pairwise(samples))


def test_no_row_comes_twice() -> None:
    rows = _pick(120)
    assert len(set(rows)) == len(rows) == 120


def test_the_sample_depends_on_the_seed_and_on_nothing_else() -> None:
    assert _pick(30) == _pick(30)
    assert _pick(30, languages=("spa_Latn", "deu_Latn", "eng_Latn")) == _pick(30)
    assert set(_pick(30)) != set(_pick(30, seed=1))


def test_the_sample_of_a_language_does_not_depend_on_the_others() -> None:
    alone = set(_pick(10, languages=("eng_Latn",)))
    among = {row for row in _pick(30) if row.language == "eng_Latn"}
    assert alone == among


def test_languages_are_mixed() -> None:
    languages = [row.language for row in _pick(60)]
    changes = sum(a != b for a, b in pairwise(languages))
    assert changes > 25


def test_the_sample_is_the_same_for_ever() -> None:
    rows = [(row.language, row.row_id) for row in _pick(4)]
    assert rows == [("eng_Latn", "26"), ("deu_Latn", "19"), ("deu_Latn", "6"), ("spa_Latn", "12")]
    assert (
        content_hash(_pick(4))
        == "sha256:e1f8a7d817da2d602ab237592797dcab8a3a57a442f892df7fcb31639211d475"
    )


def test_the_hash_sees_every_field_and_the_order() -> None:
    first, second = _pick(3)[:2]
    hashes = {
        content_hash(rows)
        for rows in (
            [first, second],
            [second, first],
            [first],
            [],
            *([replace(first, **{name: "x"})] for name in ("row_id", "language", "instruction")),
            *([replace(first, **{name: "x"})] for name in ("input", "output")),
        )
    }
    assert len(hashes) == 9


def test_asking_for_more_than_there_is_says_how_many_there_are() -> None:
    with pytest.raises(DataError, match="numbers has 40 rows in deu_Latn, 41 were asked for") as e:
        _pick(121)
    assert "at most 120 rows" in e.value.hint


@pytest.mark.parametrize(
    ("languages", "rows"), [((), 5), (("eng_Latn", "eng_Latn"), 5), (("deu_Latn", "eng_Latn"), 1)]
)
def test_impossible_mixtures_are_errors(languages: tuple[str, ...], rows: int) -> None:
    with pytest.raises(DataError):
        select(Numbers(), languages, rows, 0, None)
