"""What a word is, in every kind of script."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maple.errors import DataError
from maple.languages import LANGUAGES
from maple.metrics.words import tokeniser, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Don't stop_now: 3.5 km!", ["don", "t", "stop", "now", "3", "5", "km"]),
        ("Café cafe\u0301 ÜBER", ["café", "café", "über"]),
        ("हिन्दी भाषा में।", ["हिन्दी", "भाषा", "में"]),
        ("كِتابٌ، شمس؟ ١٢", ["كِتابٌ", "شمس", "١٢"]),
        ("አማርኛ፡ቋንቋ።", ["አማርኛ", "ቋንቋ"]),
        ("می\u200cخواهم \u202bکتاب\u202c", ["میخواهم", "کتاب"]),
        ("one\u200btwo soft\u00adware", ["one", "two", "software"]),
        ("한국어 문장", ["한국어", "문장"]),
        # A character with its marks is a word where no space stands between words.
        ("ที่ 12 กม. ๒๕๖๐", ["ที่", "12", "ก", "ม", "๒๕๖๐"]),
        ("カー・レース2020年。", ["カ", "ー", "レ", "ー", "ス", "2020", "年"]),
        ("2008年 Beijing奥运", ["2008", "年", "beijing", "奥", "运"]),
        ("か\u3099き", ["が", "き"]),
        ("ខ្មែរ។", ["ខ្", "មែ", "រ"]),
        ("ລາວ ໑໒", ["ລ", "າ", "ວ", "໑໒"]),
        ("မြန်မာ၊ ၁၂", ["မြ", "န်", "မာ", "၁၂"]),
        ("\U00020000〇", ["\U00020000", "〇"]),
        # Tibetan writes a sign between syllables.
        ("བོད་སྐད།", ["བོད", "སྐད"]),
        ("👍🏽 … — $", []),
        ("", []),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    assert words(text) == expected


@settings(max_examples=40)
@given(st.text(max_size=40))
def test_words_are_whole_lower_and_the_same_again(text: str) -> None:
    found = words(text)
    assert words(" ".join(found)) == found
    assert not any(character.isspace() for word in found for character in word)
    assert all(
        any(c.isalnum() for c in word) for word in words(text.encode("ascii", "ignore").decode())
    )


def test_every_language_has_a_rule() -> None:
    rules = {key: tokeniser(key) for key in LANGUAGES}
    characters = {key for key, rule in rules.items() if rule == "unicode characters"}
    assert characters == {
        *("jpn_Jpan", "khm_Khmr", "lao_Laoo", "mya_Mymr", "shn_Mymr", "tha_Thai"),
        *("yue_Hant", "zho_Hans", "zho_Hant"),
    }
    syllables = {key for key, rule in rules.items() if rule == "unicode syllables"}
    assert syllables == {"bod_Tibt", "dzo_Tibt"}
    assert tokeniser("tha_Thai-x-rev") == "unicode characters"
    with pytest.raises(DataError, match="unknown language"):
        tokeniser("xxx_Xxxx")
