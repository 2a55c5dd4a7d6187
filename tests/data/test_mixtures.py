"""Sampling: even, deterministic, nested, honest about what there is."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import pytest

from maple.data.mixtures import Selection, content_hash, last_rows, select
from maple.errors import DataError
from maple.records import InstructionRow, LanguageRows, Mixture, SourceRows


@dataclass
class Numbers:
    """A source whose rows are numbers."""

    name: str = "numbers"
    languages: tuple[str, ...] = ("deu_Latn", "eng_Latn", "spa_Latn")
    sizes: dict[str, int] = field(default_factory=dict)
    without: dict[str, set[int]] = field(default_factory=dict)
    parallel: bool = True
    same_ids: bool = False
    rows_each: int | None = None

    def load(self, language: str, folder: Path | None) -> SourceRows:
        numbers = range(self.sizes.get(language, 40))
        empty = self.without.get(language, set())
        rows = tuple(
            InstructionRow(str(number), language, f"Say {number}.", "", str(number))
            for number in numbers
            if number not in empty
        )
        return SourceRows(rows, len(empty), "made up" if language == "spa_Latn" else "")


def _pick(rows: int, seed: int = 0, languages: tuple[str, ...] = ()) -> list[InstructionRow]:
    source = Numbers()
    return list(select(source, Mixture(rows, seed), languages or source.languages, None).rows)


def _select(mixture: Mixture, source: Numbers | None = None, held_out: int = 0) -> Selection:
    source = source or Numbers()
    return select(source, mixture, source.languages, None, held_out=held_out)


def _counts(found: Selection) -> dict[str, int]:
    assert {line.language: line.rows for line in found.table} == Counter(
        row.language for row in found.rows
    )
    return {line.language: line.rows for line in found.table}


def _ids(rows: tuple[InstructionRow, ...], language: str) -> set[str]:
    return {row.row_id for row in rows if row.language == language}


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
            [replace(first, turns=(("user", "Hello."),))],
        )
    }
    assert len(hashes) == 10


def test_asking_for_more_than_there_is_says_how_many_there_are() -> None:
    with pytest.raises(DataError, match="numbers has 40 rows in deu_Latn, 41 were asked for") as e:
        _pick(121)
    assert "at most 120 rows" in e.value.hint


@pytest.mark.parametrize(
    ("languages", "rows"), [((), 5), (("eng_Latn", "eng_Latn"), 5), (("deu_Latn", "eng_Latn"), 1)]
)
def test_impossible_mixtures_are_errors(languages: tuple[str, ...], rows: int) -> None:
    with pytest.raises(DataError):
        select(Numbers(), Mixture(rows, 0), languages, None)


SIZES = {"deu_Latn": 1000, "eng_Latn": 250, "spa_Latn": 90}


@pytest.mark.parametrize(
    ("mixture", "counts"),
    [
        (Mixture(90, 0), (30, 30, 30)),
        (Mixture(134, 0, weights="proportional"), (100, 25, 9)),
        # The square roots of 1000, 250 and 90 are as 31.6 to 15.8 to 9.5.
        (Mixture(100, 0, weights="temperature", temperature=2), (55, 28, 17)),
        (Mixture(100, 0, weights="temperature", temperature=1), (74, 19, 7)),
        (Mixture(90, 0, english=0.1), (41, 9, 40)),
        (Mixture(90, 0, english=0.0), (45, None, 45)),
        (Mixture(109, 0, weights="proportional", english=0.0), (100, None, 9)),
        # German, English and Spanish are all of class 5.
        (Mixture(90, 0, classes={(5,): 1.0}), (30, 30, 30)),
    ],
)
def test_shares(mixture: Mixture, counts: tuple[int | None, ...]) -> None:
    found = _counts(_select(mixture, Numbers(sizes=SIZES)))
    assert tuple(found.get(key) for key in sorted(SIZES)) == counts


def test_shares_by_resource_class() -> None:
    source = Numbers(languages=("deu_Latn", "eng_Latn", "ind_Latn", "spa_Latn", "swh_Latn"))
    mixture = Mixture(40, 0, english=0.1, classes={(4, 5): 0.5, (3,): 0.25, (0, 1, 2): 0.25})
    assert _counts(_select(mixture, source)) == {
        "eng_Latn": 4,
        "deu_Latn": 9,
        "spa_Latn": 9,
        "ind_Latn": 9,
        "swh_Latn": 9,
    }
    with pytest.raises(DataError, match="swh_Latn has resource class 2, which the mixture gives"):
        _select(replace(mixture, classes={(3, 4, 5): 1.0}), source)
    with pytest.raises(DataError, match="no language to train on has resource class 0 or 1"):
        _select(replace(mixture, classes={(2, 3, 4, 5): 0.5, (0, 1): 0.5}), source)


def test_without_a_number_of_rows_the_scarcest_language_says_how_many() -> None:
    source = Numbers(sizes=SIZES)
    assert _counts(_select(Mixture(None, 0), source)) == SIZES
    assert _counts(_select(Mixture(None, 0, weights="proportional"), source)) == SIZES
    found = _counts(_select(Mixture(None, 0, english=0.5), source))
    assert found == {"deu_Latn": 91, "eng_Latn": 181, "spa_Latn": 90}


@pytest.mark.parametrize(
    "mixture",
    [
        Mixture(None, 0, weights="proportional"),
        Mixture(None, 0, weights="temperature", temperature=3),
        Mixture(None, 0, english=0.3),
        Mixture(None, 0, english=0.3, same_ids=True),
    ],
)
def test_a_larger_sample_of_the_same_shares_contains_the_smaller(mixture: Mixture) -> None:
    source = Numbers(sizes={"deu_Latn": 70, "eng_Latn": 40, "spa_Latn": 33})
    samples = [set(_select(replace(mixture, rows=n), source).rows) for n in range(12, 80)]
    assert [len(sample) for sample in samples] == list(range(12, 80))
    assert all(small < large for small, large in pairwise(samples))


def test_what_cannot_be_filled_says_language_and_the_largest_total() -> None:
    source = Numbers(sizes=SIZES)
    mixture = Mixture(1000, 0, english=0.5)
    with pytest.raises(DataError) as caught:
        _select(mixture, source)
    assert caught.value.what == (
        "training source numbers has 250 rows in eng_Latn, 500 were asked for; "
        "training source numbers has 90 rows in spa_Latn, 250 were asked for"
    )
    assert caught.value.hint == "ask for at most 362 rows over 3 languages"
    assert len(_select(replace(mixture, rows=362), source).rows) == 362
    with pytest.raises(DataError):
        _select(replace(mixture, rows=363), source)
    with pytest.raises(DataError, match="some would get none") as caught:
        _select(Mixture(5, 0, weights="proportional"), source)
    least = int(caught.value.hint.split()[-2])
    assert min(_counts(_select(Mixture(least, 0, weights="proportional"), source)).values()) == 1
    with pytest.raises(DataError):
        _select(Mixture(least - 1, 0, weights="proportional"), source)


def test_the_same_ids_in_every_language() -> None:
    source = Numbers(without={"deu_Latn": {3, 4}, "spa_Latn": {4, 5, 6}}, same_ids=True)
    found = _select(Mixture(None, 0), source)
    assert found.table[0] == LanguageRows("deu_Latn", "numbers", 36, 312, 2, 2, 0)
    assert [(line.empty, line.unpaired) for line in found.table] == [(2, 2), (0, 4), (3, 1)]
    ids = {language: _ids(found.rows, language) for language in source.languages}
    assert ids["deu_Latn"] == ids["eng_Latn"] == ids["spa_Latn"]
    assert ids["deu_Latn"] == {str(n) for n in range(40)} - {"3", "4", "5", "6"}
    # Of another seed other ids; a total that does not divide gives the first languages one more.
    nine, ten = (_select(Mixture(rows, 0), source) for rows in (9, 10))
    assert _ids(nine.rows, "deu_Latn") == _ids(nine.rows, "spa_Latn")
    assert _ids(ten.rows, "eng_Latn") == _ids(nine.rows, "eng_Latn") < _ids(ten.rows, "deu_Latn")
    other = _select(Mixture(9, 1), source)
    assert _ids(other.rows, "deu_Latn") != _ids(nine.rows, "deu_Latn")
    assert nine.remarks == ("numbers: made up",)
    # Translations of one row do not follow each other.
    assert [row.row_id for row in nine.rows[:3]] != [nine.rows[0].row_id] * 3
    # A study may have it otherwise.
    apart = _select(Mixture(9, 0, same_ids=False), source)
    assert _ids(apart.rows, "deu_Latn") != _ids(apart.rows, "spa_Latn")


def test_ids_that_mean_nothing_are_not_the_same_in_every_language() -> None:
    with pytest.raises(DataError, match="its rows have no ids that languages share"):
        _select(Mixture(9, 0, same_ids=True), Numbers(parallel=False))
    nothing = Numbers(without={"deu_Latn": set(range(20)), "eng_Latn": set(range(20, 40))})
    with pytest.raises(DataError, match="no id has an output in all of deu_Latn, eng_Latn"):
        _select(Mixture(9, 0, same_ids=True), nothing)


def test_a_preset_has_a_size_of_its_own() -> None:
    source = Numbers(same_ids=True, rows_each=7)
    assert _counts(_select(Mixture(None, 0), source)) == dict.fromkeys(source.languages, 7)
    two = select(source, Mixture(None, 0), source.languages[:2], None)
    assert len(two.rows) == 14
    assert set(two.rows) < set(_select(Mixture(None, 0), source).rows)
    assert len(_select(Mixture(30, 0), source).rows) == 30


def test_english_comes_from_another_source_where_there_is_none() -> None:
    spanish = Numbers("spanish", ("spa_Latn",))
    mixture = Mixture(20, 0, english=0.25, english_from="numbers")
    found = select(spanish, mixture, ["spa_Latn"], None, Numbers())
    assert _counts(found) == {"eng_Latn": 5, "spa_Latn": 15}
    assert [line.source for line in found.table] == ["numbers", "spanish"]
    assert all(name.startswith("numbers/") for name in _ids(found.rows, "eng_Latn"))
    with pytest.raises(DataError, match="spanish has no eng_Latn, and a share of it is asked"):
        select(spanish, mixture, ["spa_Latn"], None)
    with pytest.raises(DataError, match=r"a share of 0\.25 of English, and no other language"):
        select(Numbers(), mixture, ["eng_Latn"], None)
    # A source with English of its own takes that.
    own = select(Numbers(), mixture, ["deu_Latn"], None, Numbers("other"))
    assert {line.source for line in own.table} == {"numbers"}


@pytest.mark.parametrize("same", [False, True])
def test_held_out_rows_are_never_trained_on(same: bool) -> None:
    mixture = Mixture(60, 0, same_ids=same)
    plain, found = _select(mixture), _select(mixture, held_out=5)
    assert found.rows == plain.rows
    assert Counter(row.language for row in found.validation) == dict.fromkeys(
        Numbers().languages, 5
    )
    assert not set(found.rows) & set(found.validation)
    assert [line.held_out for line in found.table] == [5, 5, 5]
    assert (_ids(found.validation, "deu_Latn") == _ids(found.validation, "spa_Latn")) == same
    # Of a source that is used whole, training gives them up.
    whole = _select(replace(mixture, rows=None), held_out=5)
    assert whole.validation == found.validation
    assert _counts(whole) == dict.fromkeys(Numbers().languages, 35)
    assert not set(whole.rows) & set(whole.validation)
    with pytest.raises(DataError, match="has 35 rows in deu_Latn, beside 5 held out for"):
        _select(replace(mixture, rows=120), held_out=5)
    with pytest.raises(DataError, match="has 40 rows in deu_Latn, and 40 are to be held out"):
        _select(mixture, held_out=40)


def test_the_last_rows_of_a_language_alone() -> None:
    found = _select(Mixture(30, 0), held_out=5)
    last = last_rows(Numbers(), "eng_Latn", 0, None, 5)
    assert set(last) == {row for row in found.validation if row.language == "eng_Latn"}
    assert len(last_rows(Numbers(), "eng_Latn", 0, None, 99)) == 40
