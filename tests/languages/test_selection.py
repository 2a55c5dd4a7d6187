"""Languages chosen by what is known about them."""

from __future__ import annotations

import pytest

from maple.errors import DataError, StudyError
from maple.languages import LANGUAGES
from maple.languages.selection import Filter, select


def _keys(query: str | None = None, **where: tuple[str, ...]) -> list[str]:
    return [row.key for row in select(query, Filter(**where))]


def test_without_a_wish_all_are_chosen() -> None:
    assert _keys() == list(LANGUAGES)


@pytest.mark.parametrize(
    ("where", "keys"),
    [
        ({"branch": ("oghuz",), "release": ("xcopa",)}, ["tur_Latn"]),
        ({"script": ("Thai", "taml")}, ["tam_Taml", "tha_Thai"]),
        ({"release": ("xcopa", "mlqa")}, ["vie_Latn", "zho_Hans"]),
        ({"resource_class": ("5",), "spaced": ("no",)}, ["jpn_Jpan", "zho_Hans", "zho_Hant"]),
        ({"branch": ("unknown",)}, ["eus_Latn", "kor_Hang"]),
        ({"direction": ("rtl",), "script": ("Hebr",)}, ["heb_Hebr", "ydd_Hebr"]),
        ({"script": ("Thai",), "direction": ("rtl",)}, []),
    ],
)
def test_values_of_one_fact_widen_and_facts_narrow(
    where: dict[str, tuple[str, ...]], keys: list[str]
) -> None:
    assert _keys(**where) == keys


def test_a_missing_fact_is_unknown() -> None:
    unknown = _keys(resource_class=("unknown",))
    assert len(unknown) == 13
    assert all(LANGUAGES[key].resource_class is None for key in unknown)


@pytest.mark.parametrize(
    ("query", "keys"),
    [
        ("Swahil", ["swh_Latn"]),
        ("sw", ["swh_Latn"]),
        ("zh-TW", ["zho_Hant"]),
        ("chinese", ["yue_Hant", "zho_Hans", "zho_Hant"]),
        ("русский", ["rus_Cyrl"]),
        ("pidgin", ["pcm_Latn"]),
    ],
)
def test_a_query_is_a_tag_or_a_part_of_a_name(query: str, keys: list[str]) -> None:
    assert _keys(query) == keys


def test_tasks_must_have_a_language() -> None:
    tasks = {"a": {"ita_Latn", "swh_Latn"}, "b": {"swh_Latn", "deu_Latn"}}
    assert [row.key for row in select(tasks=tasks)] == ["swh_Latn"]


def test_values_that_nobody_has_are_named_at_once() -> None:
    with pytest.raises(StudyError) as caught:
        _keys(family=("Turkik",), release=("xkuad",), resource_class=("6",))
    assert "--family Turkik: no language has it" in caught.value.what
    assert "did you mean 'Turkic'?" in caught.value.what
    assert "did you mean 'xquad'?" in caught.value.what
    assert "known: 0, 1, 2, 3, 4, 5, unknown" in caught.value.what


def test_a_name_that_nobody_has_gets_the_nearest_ones() -> None:
    with pytest.raises(DataError, match="'Swahilli'") as caught:
        _keys("Swahilli")
    assert "swh_Latn (Swahili)" in caught.value.hint
    with pytest.raises(DataError) as caught:
        _keys("@@@@")
    assert "lists them all" in caught.value.hint
