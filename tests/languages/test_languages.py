"""Languages: the table, what users may call a language, and the script check."""

from __future__ import annotations

import subprocess
import sys

import pytest

from maple.errors import DataError
from maple.languages import LANGUAGES, foreign_letters, hub_code, language, of_release


def test_a_row_carries_its_facts() -> None:
    thai = language("tha_Thai")
    assert (thai.iso639_3, thai.script, thai.bcp47) == ("tha", "Thai", "th")
    assert (thai.name, thai.autonym) == ("Thai", "ไทย")
    assert (thai.family, thai.branch, thai.resource_class) == ("Tai-Kadai", "Daic", 3)
    assert (thai.direction, thai.spaced) == ("ltr", False)
    assert thai.codes["xcopa"] == "th"
    assert "mlqa" not in thai.codes


def test_unknown_facts_stay_unknown() -> None:
    assert language("luo_Latn").resource_class is None
    assert language("qve_Latn").autonym is None
    assert language("kor_Hang").branch is None


def test_the_table_is_whole_and_sorted() -> None:
    assert len(LANGUAGES) == 213
    assert list(LANGUAGES) == sorted(LANGUAGES)
    assert sum(not row.spaced for row in LANGUAGES.values()) == 11
    assert sum(row.direction == "rtl" for row in LANGUAGES.values()) == 24


@pytest.mark.parametrize(
    ("tag", "key"),
    [
        ("ita_Latn", "ita_Latn"),
        ("it", "ita_Latn"),
        ("ita", "ita_Latn"),
        ("EN", "eng_Latn"),
        ("en-US", "eng_Latn"),
        ("sw", "swh_Latn"),
        ("swa", "swh_Latn"),
        ("zh", "zho_Hans"),
        ("zh-Hans", "zho_Hans"),
        ("zh-TW", "zho_Hant"),
        ("cmn", "zho_Hans"),
        ("pt-BR", "por_Latn"),
        ("es-419", "spa_Latn"),
        ("ar", "arb_Arab"),
        ("fa", "pes_Arab"),
        ("prs", "prs_Arab"),
        ("qu", "qve_Latn"),
        ("no", "nob_Latn"),
        ("nn", "nno_Latn"),
        ("tl", "tgl_Latn"),
        ("ms", "zsm_Latn"),
        ("sr", "srp_Cyrl"),
        ("sr-Latn", "srp_Latn"),
        ("uz-Cyrl", "uzn_Cyrl"),
        ("hi-Latn", "hin_Latn"),
        ("iw", "heb_Hebr"),
        ("ak", "aka_Latn"),
        ("tw", "twi_Latn"),
    ],
)
def test_tags_and_codes_become_keys(tag: str, key: str) -> None:
    assert language(tag).key == key


def test_every_standard_tag_finds_its_own_row() -> None:
    assert {language(row.bcp47).key for row in LANGUAGES.values()} == set(LANGUAGES)


def test_a_derived_language_keeps_the_facts_of_its_base() -> None:
    derived, base = language("eng_Latn-x-rev"), language("eng_Latn")
    assert derived.key == "eng_Latn-x-rev"
    assert derived.bcp47 == "en-x-rev"
    assert (derived.name, derived.codes) == (base.name, base.codes)
    assert language("en-x-rev") == derived
    assert "eng_Latn-x-rev" not in LANGUAGES


@pytest.mark.parametrize("tag", ["xx", "", "qqq", "a_b_c", "ita_Latin", "zh-Latn", "../etc"])
def test_an_unknown_language_is_an_error(tag: str) -> None:
    with pytest.raises(DataError, match="unknown language"):
        language(tag)


@pytest.mark.parametrize(
    ("tag", "suggested"), [("Italian", "ita_Latn (Italian)"), ("ita_Latm", "ita_Latn (Italian)")]
)
def test_the_hint_names_the_nearest_languages(tag: str, suggested: str) -> None:
    with pytest.raises(DataError) as caught:
        language(tag)
    assert suggested in caught.value.hint


@pytest.mark.parametrize("tag", ["eng_Latn-x-", "eng_Latn-x-Rev", "eng_Latn-x-muchtoolong"])
def test_a_broken_private_use_part_is_an_error(tag: str) -> None:
    with pytest.raises(DataError, match="private-use"):
        language(tag)


def test_codes_of_releases() -> None:
    named = {row.codes["xlsum"]: row.key for row in of_release("xlsum")}
    assert named["chinese_simplified"] == "zho_Hans"
    assert {row.codes["xcopa"]: row.key for row in of_release("xcopa")}["qu"] == "qve_Latn"
    with pytest.raises(DataError, match="'xkuad'") as caught:
        of_release("xkuad")
    assert "'xquad'" in caught.value.hint


@pytest.mark.parametrize(
    ("release", "count"),
    [
        ("belebele", 122),
        ("flores200", 204),
        ("xlsum", 45),
        ("bactrian_x", 52),
        ("xnli", 15),
        ("xcopa", 11),
        ("mlqa", 7),
        ("xquad", 12),
        ("multialpaca", 11),
    ],
)
def test_releases_have_their_languages_in_order(release: str, count: int) -> None:
    keys = [row.key for row in of_release(release)]
    assert len(keys) == count
    assert keys == sorted(keys)


@pytest.mark.parametrize(
    ("text", "script", "foreign"),
    [
        ("Câu trả lời: 12!", "Latn", ""),
        ("คำตอบ", "Thai", ""),
        ("பதில்", "Taml", ""),
        ("答案：", "Hans", ""),
        ("こたえ カタカナ 答", "Jpan", ""),
        ("ответ and", "Cyrl", "and"),
        ("αβ̓γ Βx", "Grek", "x"),
    ],
)
def test_letters_of_other_scripts_are_found(text: str, script: str, foreign: str) -> None:
    assert foreign_letters(text, script) == foreign


def test_every_language_has_an_autonym_in_its_own_script_or_none() -> None:
    wrong = [
        row.key
        for row in LANGUAGES.values()
        if row.autonym and foreign_letters(row.autonym, row.script)
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("key", "code"),
    [
        *(("arb_Arab", "ar"), ("swh_Latn", "sw"), ("kor_Hang", "ko"), ("tgl_Latn", "fil")),
        *(("zho_Hans", "zh"), ("quy_Latn", "quy"), ("deu_Latn", "de"), ("eng_Latn-x-rev", "en")),
    ],
)
def test_hubs_list_languages_by_their_shortest_code(key: str, code: str) -> None:
    assert hub_code(key) == code


def test_a_language_is_hashable() -> None:
    assert len({language("it"), language("ita_Latn")}) == 1


def test_keys_are_looked_up_without_loading_langcodes() -> None:
    code = (
        "import sys; from maple.languages import language; language('ita_Latn'); "
        "sys.exit('langcodes' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
