"""Question-answering metrics: the official scores, their properties, and each language's rule."""

from __future__ import annotations

import json
import os
import string
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maple.metrics import qa

KEYS = {"ar": "arb_Arab", "de": "deu_Latn", "en": "eng_Latn", "zh": "zho_Hans"}
LANGUAGES = (
    "arb_Arab",
    "deu_Latn",
    "ell_Grek",
    "eng_Latn",
    "hin_Deva",
    "jpn_Jpan",
    "spa_Latn",
    "tha_Thai",
    "tur_Latn",
    "vie_Latn",
    "zho_Hans",
)
# Languages of XCOPA and XQuAD: what a study can ask for today must be shown to be scored rightly.
ASKED = [
    "arb_Arab",
    "deu_Latn",
    "ell_Grek",
    "eng_Latn",
    "est_Latn",
    "hat_Latn",
    "hin_Deva",
    "ind_Latn",
    "ita_Latn",
    "quy_Latn",
    "ron_Latn",
    "rus_Cyrl",
    "spa_Latn",
    "swh_Latn",
    "tam_Taml",
    "tha_Thai",
    "tur_Latn",
    "vie_Latn",
    "zho_Hans",
]

Metric = Callable[[str, Sequence[str], str], float]
METRICS: tuple[Metric, ...] = (qa.exact_match, qa.f1, qa.char_f1)

# Mixed on purpose: scripts with and without spaces, marks, articles, punctuation, white space.
texts = st.text(
    st.one_of(
        st.sampled_from("aeinrstAÉİıßΣςбЖนก่าわカー山水एका كتابال"),
        st.sampled_from(" \t\n.,;:!?-'\"“”。،؟$+<^`|~0123٤๓"),
        st.characters(exclude_categories=["Cs"]),
    ),
    max_size=40,
)
languages = st.sampled_from(LANGUAGES)


@pytest.mark.skipif("MAPLE_TEST_DATA" not in os.environ, reason="MAPLE_TEST_DATA is not set")
def test_official_scores_are_hit_to_the_last_bit() -> None:
    path = Path(os.environ["MAPLE_TEST_DATA"]) / "golden" / "mlqa_official.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 1000
    missed = [
        row
        for row in rows
        if qa.exact_match(row["prediction"], row["golds"], KEYS[row["language"]])
        != row["exact_match"]
        or qa.f1(row["prediction"], row["golds"], KEYS[row["language"]]) != row["f1"]
    ]
    assert missed == []


@given(texts, languages)
def test_identical_text_scores_one(text: str, language: str) -> None:
    assert qa.exact_match(text, [text], language) == 1.0
    expected = 1.0 if qa.normalise(text, language) else 0.0
    assert qa.f1(text, [text], language) == expected
    assert qa.char_f1(text, [text], language) == expected


@given(texts, texts, languages)
def test_scores_are_symmetric_and_between_zero_and_one(one: str, other: str, language: str) -> None:
    for metric in METRICS:
        score = metric(one, [other], language)
        assert 0.0 <= score <= 1.0
        assert score == metric(other, [one], language)


@given(texts, texts, languages)
def test_disjoint_text_scores_zero(one: str, other: str, language: str) -> None:
    mine, others = qa.normalise(one, language), qa.normalise(other, language)
    if not set(mine.split()) & set(others.split()):
        assert qa.f1(one, [other], language) == 0.0
    if not set(mine) & set(others) - {" "}:
        assert qa.char_f1(one, [other], language) == 0.0


@given(texts, st.lists(texts, min_size=1, max_size=4), languages)
def test_the_best_gold_counts(prediction: str, golds: list[str], language: str) -> None:
    for metric in METRICS:
        assert metric(prediction, golds, language) == max(
            metric(prediction, [gold], language) for gold in golds
        )
        assert metric(prediction, golds, language) == metric(prediction, golds[::-1], language)


@given(texts, languages)
def test_normalised_text_has_single_spaces_and_no_punctuation(text: str, language: str) -> None:
    result = qa.normalise(text, language)
    assert result == " ".join(result.split())
    assert not any(unicodedata.category(character).startswith("P") for character in result)
    assert not set(string.punctuation) & set(result)


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        # Case goes, for every script that has it; no language's own rules apply.
        ("eng_Latn", "The SEA, an Otter & a Theatre", "sea otter theatre"),
        ("ell_Grek", "ΟΔΟΣ", "οδος"),
        ("rus_Cyrl", "Дом Ёлка", "дом ёлка"),
        ("tur_Latn", "IŞIK", "işik"),
        ("tur_Latn", "İzmir", "i\u0307zmir"),
        # Diacritics stay, composed or not; "ß" is not "ss".
        ("spa_Latn", "El Ñandú", "ñandú"),
        ("deu_Latn", "Die Größe des Raums", "größe raums"),
        ("ron_Latn", "Orașul Țara", "orașul țara"),
        ("est_Latn", "Öö", "öö"),
        ("est_Latn", "O\u0308o\u0308", "o\u0308o\u0308"),
        # Articles: each official language's own, as whole words.
        ("eng_Latn", "another the-a", "another thea"),
        ("spa_Latn", "la lana y unos elfos", "lana y elfos"),
        ("deu_Latn", "einem Einer eines Tages dessen", "tages dessen"),
        ("vie_Latn", "Những cái áo của cha", "áo cha"),
        ("hin_Deva", "एक किताब।", "एक किताब"),
        ("arb_Arab", "الكتاب", "كتاب"),
        # Inside a word too: the official rule is not anchored.
        ("arb_Arab", "والكتاب", "و كتاب"),
        ("arb_Arab", "قال", "ق"),
        # No rule beyond the seven: neither English articles nor Greek ones.
        ("ell_Grek", "το a βιβλίο", "το a βιβλίο"),
        ("ita_Latn", "la porta", "la porta"),
        # Punctuation of any script, and ASCII's symbols; other symbols stay.
        ("zho_Hans", "《山水》,“火”", "山 水 火"),
        ("arb_Arab", "كتاب، شمس؟", "كتاب شمس"),
        ("eng_Latn", "$5 + <b>^2</b>`~|=", "5 b2b"),
        ("eng_Latn", "£5 ± 2°", "£5 ± 2°"),
        # Chinese: a token a character, other runs are words; rare characters stay in a run.
        ("zho_Hans", "2008年 Beijing奥运 Games", "2008 年 beijing 奥 运 games"),
        ("zho_Hant", "火車站", "火 車 站"),
        ("zho_Hans", "㐀㐁", "㐀㐁"),
        # Scripts without spaces beyond Chinese: code points; digits and other scripts are words.
        ("tha_Thai", "ที่ 12 กม.", "ท ี ่ 12 ก ม"),
        ("tha_Thai", "พ.ศ. ๒๕๖๐", "พ ศ ๒๕๖๐"),
        ("jpn_Jpan", "カー・レース2020年", "カ ー レ ー ス 2020 年"),
        ("khm_Khmr", "ខ្មែរ", "ខ ្ ម ែ រ"),
        ("lao_Laoo", "ລາວ", "ລ າ ວ"),
        ("mya_Mymr", "မြန်မာ", "မ ြ န ် မ ာ"),
        ("bod_Tibt", "བོད་", "བ ོ ད"),
        ("yue_Hant", "㐀粵語", "㐀 粵 語"),
        # A script with spaces is not cut, whatever it quotes.
        ("ell_Grek", "το 山水", "το 山水"),
    ],
)
def test_normalisation(language: str, text: str, expected: str) -> None:
    assert qa.normalise(text, language) == expected


@pytest.mark.parametrize(
    ("language", "expected"),
    [
        ("eng_Latn", "mlqa-official:en"),
        ("eng_Latn-x-rev", "mlqa-official:en"),
        ("spa_Latn", "mlqa-official:es"),
        ("hin_Deva", "mlqa-official:hi"),
        ("vie_Latn", "mlqa-official:vi"),
        ("deu_Latn", "mlqa-official:de"),
        ("arb_Arab", "mlqa-official:ar"),
        ("zho_Hans", "mlqa-official:zh"),
        ("zho_Hant", "mlqa-official:zh"),
        ("ell_Grek", "no-articles:whitespace:ell"),
        ("ron_Latn", "no-articles:whitespace:ron"),
        ("rus_Cyrl", "no-articles:whitespace:rus"),
        ("tur_Latn", "no-articles:whitespace:tur"),
        ("arz_Arab", "no-articles:whitespace:arz"),
        ("tha_Thai", "no-articles:characters:tha"),
        ("jpn_Jpan", "no-articles:characters:jpn"),
        ("khm_Khmr", "no-articles:characters:khm"),
        ("lao_Laoo", "no-articles:characters:lao"),
        ("mya_Mymr", "no-articles:characters:mya"),
    ],
)
def test_rules_are_named(language: str, expected: str) -> None:
    assert qa.rules(language) == expected


@pytest.mark.parametrize("language", ["", "de", "deu", "deu-Latn", "DEU_latn", "deu_Latn_x"])
def test_other_codes_are_refused(language: str) -> None:
    for call in (qa.rules, qa.self_test):
        with pytest.raises(ValueError, match="deu_Latn"):
            call(language)
    with pytest.raises(ValueError, match="deu_Latn"):
        qa.f1("a", ["a"], language)


@pytest.mark.parametrize(
    ("prediction", "gold", "exact"),
    [("", "", 1.0), ("the.", "A!", 1.0), ("", "sea", 0.0), ("the", "sea", 0.0)],
)
def test_empty_answers_score_as_officially(prediction: str, gold: str, exact: float) -> None:
    assert qa.exact_match(prediction, [gold], "eng_Latn") == exact
    assert qa.f1(prediction, [gold], "eng_Latn") == 0.0
    assert qa.char_f1(prediction, [gold], "eng_Latn") == 0.0


def test_f1_by_hand() -> None:
    # Shared: "red" and one of two "fish". Precision 2/3, recall 2/4.
    assert qa.f1("red fish fish", ["one red fish swims"], "eng_Latn") == pytest.approx(4 / 7)
    # Shared: กรุง, 4 of 7 and 4 of 4 code points.
    assert qa.f1("กรุงเทพ", ["กรุง"], "tha_Thai") == pytest.approx(8 / 11)
    # Shared letters: h, o, u, s, e of 5 and 6.
    assert qa.char_f1("house", ["houses"], "eng_Latn") == pytest.approx(10 / 11)
    assert qa.char_f1("kadın lar", ["kadınlar"], "tur_Latn") == 1.0


@pytest.mark.parametrize("golds", [[], "sea"])
def test_golds_must_be_a_list_of_answers(golds: Sequence[str]) -> None:
    for metric in METRICS:
        with pytest.raises(ValueError, match="golds"):
            metric("sea", golds, "eng_Latn")


@pytest.mark.parametrize("language", [*ASKED, "zho_Hant"])
def test_self_test_passes(language: str) -> None:
    assert qa.self_test(language) == []


def test_self_test_names_a_language_it_cannot_try() -> None:
    assert qa.self_test("fao_Latn") == [
        "fao_Latn: no sample answers to test the question-answering metrics with"
    ]


def test_self_test_finds_a_broken_metric(monkeypatch: pytest.MonkeyPatch) -> None:
    # What an ASCII tokeniser does to every other script: nothing is left to compare.
    monkeypatch.setattr(
        qa, "normalise", lambda text, language: text.encode("ascii", "ignore").decode()
    )
    violations = qa.self_test("hin_Deva")
    assert any("f1" in line and "identical" in line for line in violations)
    assert any("exact_match" in line and "disjoint" in line for line in violations)
