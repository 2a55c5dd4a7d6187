"""The words of a text in any language: the one tokeniser that ROUGE and fertility count by.

In this order:

1. compose (NFC) and lower-case by Unicode's rules for no language in particular;
2. drop what is not seen (joiners, soft hyphens, marks of direction: category Cf), the zero-width
   space excepted, which separates words;
3. a character of a script that puts no space between words (Chinese, Japanese, Thai, Lao, Khmer,
   Burmese) is a word by itself, with the marks that follow it;
4. of everything else, a word is a run of letters, marks and numbers.

So Tibetan falls into syllables, which its own sign separates, and Vietnamese into the syllables
that it writes apart. Step 3 holds in every language: a Chinese name in an English text is cut too.

On ASCII these are the words of rouge-score's default tokenizer without its stemmer. That one keeps
nothing but a-z and 0-9, so that "café" becomes "caf" and a Hindi text nothing at all.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache

from maple.languages import language as language_of

UNSPACED = (
    "\u0e01-\u0e4f\u0e5a-\u0e5b"  # Thai
    "\u0e80-\u0ecf\u0edc-\u0edf"  # Lao
    "\u1000-\u103f\u104a-\u108f\u109a-\u109f\ua9e0-\ua9ef\ua9fa-\ua9fe\uaa60-\uaa7f"  # Burmese
    "\u1780-\u17df"  # Khmer
    "\u3005-\u3007\u3021-\u3029\u303b"  # signs that stand for Han characters
    "\u3041-\u30ff\u31f0-\u31ff\uff66-\uff9f"  # Hiragana, Katakana
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Han
)
"""Letters and marks of the scripts without spaces, as the inside of a character class. Their own
digits are left out, so that numbers stay whole in every script."""

_MARKS_END = 0x1E000
_VARIATION_SELECTORS = range(0xE0100, 0xE01F0)

_INVISIBLE = re.compile("[\u00ad\u061c\u200c-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff]")


def words(text: str) -> list[str]:
    """The words of a text, lower-cased, in order; none of a text without letters and numbers."""
    separators, alone = _patterns()
    visible = _INVISIBLE.sub("", unicodedata.normalize("NFC", text).lower())
    return alone.sub(r" \g<0> ", separators.sub(" ", visible)).split()


def tokeniser(language: str) -> str:
    """What a word is in a language: the name by which reports and score cells call the rule.

    Args:
        language: key such as "tha_Thai"; a private-use part ("eng_Latn-x-rev") changes nothing.

    Returns:
        "unicode words", "unicode characters" or, for Tibetan script, "unicode syllables".

    Raises:
        DataError: no such language.
    """
    known = language_of(language)
    if known.spaced:
        return "unicode words"
    return "unicode syllables" if known.script == "Tibt" else "unicode characters"


@cache
def _patterns() -> tuple[re.Pattern[str], re.Pattern[str]]:
    """What stands between words, and what is a word by itself."""
    # `re` knows letters and numbers (\w without "_"), but no marks. Looking at the categories of
    # all assigned planes takes some 20 ms, once.
    marks = "".join(
        chr(code)
        for code in (*range(_MARKS_END), *_VARIATION_SELECTORS)
        if unicodedata.category(chr(code)).startswith("M")
    )
    return re.compile(f"[^\\w{marks}]|_"), re.compile(f"[{UNSPACED}][{marks}]*")
