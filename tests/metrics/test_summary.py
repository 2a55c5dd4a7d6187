"""ROUGE and chrF: rouge-score's values in English, 1 against itself in every language of XL-Sum."""

from __future__ import annotations

import gzip
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from maple.errors import DataError
from maple.languages import of_release
from maple.metrics import summary

XLSUM = [language.key for language in of_release("xlsum")]

# The child reads a new book at home, or near it: short texts of our own, one a language of XL-Sum.
TEXTS = {
    "amh_Ethi": "ልጁ በቤት ውስጥ አዲስ መጽሐፍ ያነባል።",
    "arb_Arab": "يقرأ الطفل كتابا جديدا في البيت.",
    "azj_Latn": "Uşaq evdə yeni kitab oxuyur.",
    "ben_Beng": "শিশুটি বাড়িতে একটি নতুন বই পড়ছে।",
    "cym_Latn": "Mae'r plentyn yn darllen llyfr newydd gartref.",
    "eng_Latn": "The child reads a new book at home.",
    "fra_Latn": "L'enfant lit un nouveau livre à la maison.",
    "gaz_Latn": "Mucaan kitaaba haaraa mana keessatti dubbisa.",
    "gla_Latn": "Tha am pàiste a' leughadh leabhar ùr aig an taigh.",
    "guj_Gujr": "બાળક ઘરે નવું પુસ્તક વાંચે છે.",
    "hau_Latn": "Yaron yana karanta sabon littafi a gida.",
    "hin_Deva": "बच्चा घर पर नई किताब पढ़ता है।",
    "ibo_Latn": "Nwata ahụ na-agụ akwụkwọ ọhụrụ n'ụlọ.",
    "ind_Latn": "Anak itu membaca buku baru di rumah.",
    "jpn_Jpan": "子供は家で新しい本を読む。",
    "kir_Cyrl": "Бала үйдө жаңы китеп окуйт.",
    "kor_Hang": "아이가 집에서 새 책을 읽는다.",
    "mar_Deva": "मूल घरी नवीन पुस्तक वाचते.",
    "mya_Mymr": "ကလေးသည် အိမ်တွင် စာအုပ်သစ် ဖတ်သည်။",
    "npi_Deva": "बच्चा घरमा नयाँ किताब पढ्छ।",
    "pan_Guru": "ਬੱਚਾ ਘਰ ਵਿੱਚ ਨਵੀਂ ਕਿਤਾਬ ਪੜ੍ਹਦਾ ਹੈ।",
    "pbt_Arab": "ماشوم په کور کې نوی کتاب لولي.",
    "pcm_Latn": "Di pikin dey read new book for house.",
    "pes_Arab": "کودک در خانه کتاب تازه\u200cای می\u200cخواند.",
    "por_Latn": "A criança lê um livro novo em casa.",
    "run_Latn": "Umwana asoma igitabu gishasha i muhira.",
    "rus_Cyrl": "Ребёнок читает дома новую книгу.",
    "sin_Sinh": "ළමයා ගෙදර අලුත් පොතක් කියවයි.",
    "som_Latn": "Ilmuhu guriga ayuu buug cusub ku akhriyaa.",
    "spa_Latn": "El niño lee un libro nuevo en casa.",
    "srp_Cyrl": "Дете код куће чита нову књигу.",
    "srp_Latn": "Dete kod kuće čita novu knjigu.",
    "swh_Latn": "Mtoto anasoma kitabu kipya nyumbani.",
    "tam_Taml": "குழந்தை வீட்டில் புதிய புத்தகம் படிக்கிறது.",
    "tel_Telu": "పిల్లవాడు ఇంట్లో కొత్త పుస్తకం చదువుతున్నాడు.",
    "tha_Thai": "เด็กอ่านหนังสือใหม่ที่บ้าน",
    "tir_Ethi": "እቲ ቆልዓ ኣብ ገዛ ሓድሽ መጽሓፍ የንብብ።",
    "tur_Latn": "Çocuk evde yeni bir kitap okuyor.",
    "ukr_Cyrl": "Дитина читає вдома нову книгу.",
    "urd_Arab": "بچہ گھر میں نئی کتاب پڑھتا ہے۔",
    "uzn_Cyrl": "Бола уйда янги китоб ўқийди.",
    "vie_Latn": "Đứa trẻ đọc một cuốn sách mới ở nhà.",
    "yor_Latn": "Ọmọ náà ń ka ìwé tuntun ní ilé.",
    "zho_Hans": "孩子在家里读一本新书。",
    "zho_Hant": "孩子在家裡讀一本新書。",
}

english = st.lists(
    st.sampled_from(
        ["The", "cat", "sat,", "on-the", "mat.", "2.5", "don't", "running", "run", "_x"]
    ),
    max_size=12,
).map(" ".join)
ascii_texts = st.one_of(english, st.text(st.characters(max_codepoint=127), max_size=40))


@settings(deadline=None)
@given(ascii_texts, ascii_texts)
def test_on_english_rouge_is_that_of_the_default_tokenizer(prediction: str, gold: str) -> None:
    theirs = RougeScorer(list(summary.ROUGE)).score(gold, prediction)
    for kind in summary.ROUGE:
        ours = summary.rouge(prediction, [gold], "eng_Latn", kind)
        assert math.isclose(ours, theirs[kind].fmeasure, rel_tol=0, abs_tol=1e-9)


def test_where_unicode_must_differ_from_the_default_tokenizer() -> None:
    default = RougeScorer(["rouge1"])
    # The default drops "é" and finds "caf" on both sides; of Hindi it keeps nothing.
    assert default.score("café", "caf")["rouge1"].fmeasure == 1.0
    assert summary.rouge("caf", ["café"], "fra_Latn", "rouge1") == 0.0
    hindi = TEXTS["hin_Deva"]
    assert default.score(hindi, hindi)["rouge1"].fmeasure == 0.0
    assert summary.rouge(hindi, [hindi], "hin_Deva", "rouge1") == 1.0


@pytest.mark.parametrize(
    ("prediction", "gold", "language", "expected"),
    [
        ("the red cat", "the cat sat down", "eng_Latn", (4 / 7, 0.0, 4 / 7)),
        # Two words of three; the pair in order; a subsequence of two.
        ("новую книгу читает", "читает новую книгу", "rus_Cyrl", (1.0, 0.5, 2 / 3)),
        # Characters: 新书 of 一本新书.
        ("新书", "一本新书", "zho_Hans", (2 / 3, 0.5, 2 / 3)),
        ("नई किताब", "नई क़लम", "hin_Deva", (0.5, 0.0, 0.5)),
        ("", "the cat", "eng_Latn", (0.0, 0.0, 0.0)),
        ("…", "the cat", "eng_Latn", (0.0, 0.0, 0.0)),
        ("cat", "cat", "eng_Latn", (1.0, 0.0, 1.0)),
    ],
)
def test_rouge_by_hand(
    prediction: str, gold: str, language: str, expected: tuple[float, float, float]
) -> None:
    found = [summary.rouge(prediction, [gold], language, kind) for kind in summary.ROUGE]
    assert found == pytest.approx(expected, abs=1e-12)


def test_chrf_by_hand() -> None:
    # "abc" against "abd": 2 of 3 characters, 1 of 2 pairs, 0 of 1 triple; no longer n-grams.
    assert summary.chrf("abc", ["abd"], "eng_Latn") == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    # Recall counts four times as much as precision: (1 + 4) p r / (4 p + r).
    assert summary.chrf("a", ["ab"], "eng_Latn") == pytest.approx((5 * 0.5 / 4.5) / 1)
    assert summary.chrf("", ["a"], "eng_Latn") == 0.0
    assert summary.chrf(" \n", ["a"], "eng_Latn") == 0.0
    assert summary.chrf("a", [""], "eng_Latn") == 0.0
    assert summary.chrf("A", ["a"], "eng_Latn") == 0.0
    assert summary.chrf("a b", ["ab"], "eng_Latn") == 1.0


def test_texts_of_all_languages_are_at_hand() -> None:
    assert sorted(TEXTS) == XLSUM
    assert len(XLSUM) == 45


@pytest.mark.parametrize("language", XLSUM)
def test_a_text_scores_one_against_itself(language: str) -> None:
    assert summary.self_test([TEXTS[language]], language) == []


def test_real_sentences_score_one_against_themselves(release_files: Path) -> None:
    read = 0
    for language in XLSUM:
        path = release_files / "flores200_devtest" / f"{language}.devtest.gz"
        if not path.exists():
            continue
        with gzip.open(path, "rt", encoding="utf-8") as file:
            lines = [next(file).strip() for _ in range(3)]
        assert summary.self_test(lines, language) == []
        read += 1
    assert read >= 20


def test_a_blind_tokeniser_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summary, "words", lambda text: text.encode("ascii", "ignore").split())
    found = summary.self_test([TEXTS["hin_Deva"]], "hin_Deva")
    assert len(found) == 6
    assert "hin_Deva: rouge1 (F-measure, unicode words, no stemming) gives 0.0" in found[0]


@given(st.sampled_from(sorted(TEXTS)), st.sampled_from(sorted(TEXTS)))
@settings(deadline=None, max_examples=30)
def test_the_best_gold_counts_and_scores_are_shares(one: str, other: str) -> None:
    prediction, golds = TEXTS[one], [TEXTS[other], TEXTS["eng_Latn"]]
    for metric in summary.METRICS.values():
        scores = [metric(prediction, [gold], other) for gold in golds]
        assert all(0.0 <= score <= 1.0 for score in scores)
        assert metric(prediction, golds, other) == max(scores)


def test_rules_are_named() -> None:
    assert summary.rules("rougeL", "tha_Thai") == "F-measure, unicode characters, no stemming"
    assert summary.rules("rouge1", "swh_Latn") == "F-measure, unicode words, no stemming"
    assert summary.rules("chrf", "tha_Thai") == "chrF2, mean of sentence scores"


def test_refusals() -> None:
    with pytest.raises(DataError) as caught:
        summary.rouge("a", ["a"], "eng_Latn", "rougel")
    assert "did you mean 'rougeL'" in caught.value.hint
    with pytest.raises(DataError):
        summary.rules("bleu", "eng_Latn")
    for metric in summary.METRICS.values():
        with pytest.raises(DataError):
            metric("a", ["a"], "xxx_Xxxx")
        for golds in ([], "a"):
            with pytest.raises(ValueError, match="at least one"):
                metric("a", golds, "eng_Latn")
