"""The language of an answer: what is told, what is not, and how often it is right."""

from __future__ import annotations

import gzip
from collections import Counter
from pathlib import Path

import pytest

from maple.errors import DataError
from maple.languages import LANGUAGES
from maple.metrics import identify

# Sentences of our own.
SENTENCES = {
    "arb_Arab": "قرأ الأطفال كتابا جديدا عن البحر ثم ذهبوا إلى المدرسة مع أصدقائهم.",
    "deu_Latn": "Die Kinder lasen ein neues Buch über das Meer und gingen dann zur Schule.",
    "eng_Latn": "The children read a new book about the sea and then walked to school.",
    "hin_Deva": "बच्चों ने समुद्र के बारे में एक नई किताब पढ़ी और फिर स्कूल गए।",
    "spa_Latn": "Los niños leyeron un libro nuevo sobre el mar y luego fueron a la escuela.",
    "swh_Latn": "Watoto walisoma kitabu kipya kuhusu bahari kisha wakaenda shuleni pamoja.",
    "tha_Thai": "เด็กๆ อ่านหนังสือเล่มใหม่เกี่ยวกับทะเล แล้วเดินไปโรงเรียนด้วยกัน",
    "zho_Hans": "孩子们读了一本关于大海的新书，然后一起走路去学校。",
}


@pytest.mark.parametrize("language", sorted(SENTENCES))
def test_a_sentence_is_in_its_language_and_in_no_other(language: str) -> None:
    for other in SENTENCES:
        found = identify.probability(SENTENCES[language], other)
        assert found is not None
        assert (found > 0.9) == (language == other)
        assert (found < 0.1) == (language != other)


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("", "eng_Latn"),
        ("Angela Merkel, 2005", "deu_Latn"),
        ("… — !" * 20, "eng_Latn"),
        ("孩子们一起读了一本书。", "zho_Hans"),
        # Not known to the identifier, or not in this script.
        (SENTENCES["eng_Latn"], "bho_Deva"),
        (SENTENCES["eng_Latn"], "uzn_Cyrl"),
        (SENTENCES["eng_Latn"], "hin_Latn"),
    ],
)
def test_what_cannot_be_told(text: str, language: str) -> None:
    assert identify.probability(text, language) is None


def test_an_answer_in_english_is_not_in_the_language_asked() -> None:
    english = SENTENCES["eng_Latn"]
    for language in ("srp_Latn", "srp_Cyrl", "nob_Latn", "pes_Arab", "zho_Hant", "yor_Latn"):
        found = identify.probability(english, language)
        assert found is not None
        assert found < 0.01


def test_a_label_stands_for_one_language_and_one_script() -> None:
    labels = Counter(label for key in LANGUAGES if (label := identify.label_of(key)) is not None)
    # Both scripts of Serbian and of Chinese are known under one label; Dari is Persian.
    assert {label for label, rows in labels.items() if rows > 1} == {"fa", "sr", "zh"}
    assert len(labels) >= 100
    assert identify.label_of("eng_Latn-x-rev") == "en"
    assert identify.label_of("nob_Latn") == "no"
    assert identify.label_of("shn_Mymr") is None
    with pytest.raises(DataError, match="unknown language"):
        identify.label_of("xxx_Xxxx")


def test_the_rule_is_named() -> None:
    assert identify.rules() == "py3langid 0.4.0, from 30 letters, 15 where unspaced"


@pytest.mark.full
def test_accuracy_on_real_sentences(
    release_files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every fourth sentence, whole and its first 40 characters: short answers are harder."""
    found: dict[str, tuple[float, float]] = {}
    unknown = []
    for path in sorted((release_files / "flores200_devtest").glob("*.gz")):
        language = path.name.partition(".")[0]
        if identify.label_of(language) is None:
            unknown.append(language)
            continue
        with gzip.open(path, "rt", encoding="utf-8") as file:
            lines = [line.strip() for line in file][::4]
        found[language] = (_accuracy(lines, language), _accuracy([x[:40] for x in lines], language))
    with capsys.disabled():
        for language, (whole, short) in found.items():
            print(f"\n{language} {100 * whole:.1f} {100 * short:.1f}", end="")  # noqa: T201
        print(f"\nunknown: {', '.join(unknown)}")  # noqa: T201
    assert len(found) >= 34
    assert min(whole for whole, _ in found.values()) > 0.99
    assert min(short for _, short in found.values()) > 0.95


def _accuracy(lines: list[str], language: str) -> float:
    """Share of the lines that are told and told rightly."""
    told = [value for line in lines if (value := identify.probability(line, language)) is not None]
    return sum(value >= identify.ANOTHER for value in told) / len(told)
