"""Exact match and F1 of short answers, by the rules of the official MLQA evaluation.

Source of the rules: `mlqa_evaluation_v1.py` of facebookresearch/MLQA at commit 5ef5c731 (Lewis et
al. 2020, arXiv:1910.07475), re-implemented. In this order, on prediction and gold alike:

1. lower case, by Unicode's rules for no language in particular;
2. drop every character of a Unicode category P* and every one of `string.punctuation`;
3. replace the articles of the language by a space;
4. cut into tokens at white space; in Chinese, every character is a token besides.

What follows from the rules and stays, because the numbers are compared with published ones:

* Diacritics count, composed and decomposed text differ, and German "ß" is not "ss".
* Lower case is not Turkish: "I" becomes "i", never "ı", and "İ" becomes "i" with a combining dot.
* The Arabic rule takes the two letters of the article out of the middle of a word as well and so
  splits it. Later ports anchor it; theirs is another rule.
* The Chinese rule knows U+4E00 to U+9FA5 only. Rarer characters stay part of a run.
* An answer of articles and punctuation alone normalises to "". Two such answers match exactly, and
  yet their F1 is 0.

Languages beyond MLQA's seven have no article rule. Where their script puts no spaces between
words, each character of it is a token (a code point: Thai tone marks and dependent vowels count
as characters), because F1 over white space would be exact match in disguise there; runs of other
scripts and of digits stay words. `rules` names what a language gets.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence

from maple.metrics.words import UNSPACED

# ISO 639-3 (both the macrolanguage and Modern Standard Arabic) -> MLQA's code of the language.
_OFFICIAL = {
    "ara": "ar",
    "arb": "ar",
    "cmn": "zh",
    "deu": "de",
    "eng": "en",
    "hin": "hi",
    "spa": "es",
    "vie": "vi",
    "zho": "zh",
}

_ARTICLES = {
    # The official pattern is r"\sال^|ال". Its first branch asks for the start of the text after
    # two letters and never matches, so what remains is the second.
    "ar": re.compile("ال"),
    "de": re.compile(r"\b(?:ein|eine|einen|einem|eines|einer|der|die|das|den|dem|des)\b"),
    "en": re.compile(r"\b(?:a|an|the)\b"),
    "es": re.compile(r"\b(?:un|una|unos|unas|el|la|los|las)\b"),
    "vi": re.compile(r"\b(?:của|là|cái|chiếc|những)\b"),
}

_OFFICIAL_CHINESE = re.compile("([\u4e00-\u9fa5])")

# ISO 15924 codes of the scripts that put no space between words. Tibetan has a sign between
# syllables, but it is punctuation and gone by the time the text is cut.
_UNSPACED = frozenset({"Hani", "Hans", "Hant", "Jpan", "Khmr", "Laoo", "Mymr", "Thai", "Tibt"})

_TIBETAN_AND_KHMER_LORE = "\u0f00-\u0f1f\u0f34-\u0fff\u17f0-\u17f9"
_UNSPACED_CHARACTER = re.compile(f"([{UNSPACED}{_TIBETAN_AND_KHMER_LORE}])")

# Two short answers per language that share no character, for `self_test`: the project's own words.
_SAMPLES = {
    "arb_Arab": ("كتاب", "شمس"),
    "deu_Latn": ("Buch", "Lied"),
    "ell_Grek": ("βιβλίο", "χώρα"),
    "eng_Latn": ("milk jug", "toast"),
    "est_Latn": ("kool", "maja"),
    "hat_Latn": ("dlo", "fanm"),
    "hin_Deva": ("किताब", "घर"),
    "ind_Latn": ("buku", "jalan"),
    "ita_Latn": ("fiume", "porta"),
    "quy_Latn": ("wasi", "urqu"),
    "ron_Latn": ("lemn", "oraș"),
    "rus_Cyrl": ("книга", "дом"),
    "spa_Latn": ("libro", "casa"),
    "swh_Latn": ("kitabu", "jengo"),
    "tam_Taml": ("நிலம்", "வீடு"),
    "tha_Thai": ("บ้าน", "รถ"),
    "tur_Latn": ("ışık", "deniz"),
    "vie_Latn": ("sách", "đường"),
    "zho_Hans": ("山水", "火车"),
    "zho_Hant": ("山水", "火車"),
}


def rules(language: str) -> str:
    """Name of the rules that a language's answers are compared by.

    Args:
        language: key such as "deu_Latn"; a private-use part ("eng_Latn-x-rev") changes nothing.

    Returns:
        "mlqa-official:de", "no-articles:whitespace:ell", "no-articles:characters:tha": where the
        article rule is from, how text is cut where it is not the official way, and MLQA's code of
        the language, or else its ISO 639-3 code.

    Raises:
        ValueError: `language` is no language key.
    """
    iso, script = _parts(language)
    if iso in _OFFICIAL:
        return f"mlqa-official:{_OFFICIAL[iso]}"
    return f"no-articles:{'characters' if script in _UNSPACED else 'whitespace'}:{iso}"


def normalise(text: str, language: str) -> str:
    """The tokens that an answer consists of for the metrics below, joined by single spaces.

    Args:
        text: an answer; may be empty.
        language: key of the language that the answer is in, such as "deu_Latn".

    Raises:
        ValueError: `language` is no language key.
    """
    iso, script = _parts(language)
    kept = "".join(character for character in text.lower() if not is_punctuation(character))
    official = _OFFICIAL.get(iso, "")
    if official in _ARTICLES:
        kept = _ARTICLES[official].sub(" ", kept)
    if official == "zh":
        kept = _OFFICIAL_CHINESE.sub(r" \1 ", kept)
    elif not official and script in _UNSPACED:
        kept = _UNSPACED_CHARACTER.sub(r" \1 ", kept)
    return " ".join(kept.split())


def first_line(text: str) -> str:
    """The prediction in a completion: its first line with visible characters; "" for none."""
    return text.strip().partition("\n")[0].strip()


def exact_match(prediction: str, golds: Sequence[str], language: str) -> float:
    """Whether the prediction equals any of the golds after normalisation.

    Args:
        prediction: what the model answered, parsed; "" for no answer.
        golds: every accepted answer, at least one.
        language: key of the language of both, such as "deu_Latn".

    Returns:
        1.0 or 0.0. Two answers that both normalise to "" are equal.

    Raises:
        ValueError: no gold, or `language` is no language key.
    """
    answer = normalise(prediction, language)
    return max(float(answer == gold) for gold in _normalised(golds, language))


def f1(prediction: str, golds: Sequence[str], language: str) -> float:
    """Harmonic mean of precision and recall of the prediction's tokens, maximum over the golds.

    Args:
        prediction: what the model answered, parsed; "" for no answer.
        golds: every accepted answer, at least one.
        language: key of the language of both, such as "deu_Latn".

    Returns:
        0 to 1. 0 where no token is shared, so also where both normalise to "", as officially.

    Raises:
        ValueError: no gold, or `language` is no language key.
    """
    answer = normalise(prediction, language).split()
    return max(overlap(answer, gold.split()) for gold in _normalised(golds, language))


def char_f1(prediction: str, golds: Sequence[str], language: str) -> float:
    """As `f1`, over the code points of the normalised answers without their spaces.

    It gives credit for inflected forms, and needs no notion of a word. Languages with long words
    and small alphabets get higher values by chance: compare within a language only.

    Args:
        prediction: what the model answered, parsed; "" for no answer.
        golds: every accepted answer, at least one.
        language: key of the language of both, such as "deu_Latn".

    Returns:
        0 to 1.

    Raises:
        ValueError: no gold, or `language` is no language key.
    """
    answer = normalise(prediction, language).replace(" ", "")
    return max(overlap(answer, gold.replace(" ", "")) for gold in _normalised(golds, language))


def overlap(prediction: Sequence[str], gold: Sequence[str]) -> float:
    """F1 of two bags of tokens, 0 to 1, in the official order of operations, so to the last bit."""
    shared = sum((Counter(prediction) & Counter(gold)).values())
    if shared == 0:
        return 0.0
    precision = shared / len(prediction)
    recall = shared / len(gold)
    return 2 * precision * recall / (precision + recall)


def is_punctuation(character: str) -> bool:
    """Whether a character is in a Unicode category P* or in `string.punctuation`."""
    # Some of ASCII's (such as "$", "+", "<", "^") are symbols to Unicode, hence the second part.
    return unicodedata.category(character).startswith("P") or character in string.punctuation


def checked(golds: Sequence[str]) -> Sequence[str]:
    """The golds.

    Raises:
        ValueError: none, or a string, whose letters would each pass for a gold.
    """
    if isinstance(golds, str) or not golds:
        raise ValueError(f"golds: got {golds!r}, expected at least one accepted answer in a list")
    return golds


def self_test(language: str) -> list[str]:
    """What the metrics get wrong in a language, tried on two short answers in its own script.

    Identical answers must score 1, answers that share no character 0, a prediction that is one
    of several golds 1, with punctuation around it too.

    Args:
        language: key such as "deu_Latn".

    Returns:
        One line per violation; empty where all is well. A language without sample answers is a
        violation, since nothing has been shown about it.

    Raises:
        ValueError: `language` is no language key.
    """
    samples = _SAMPLES.get("_".join(_parts(language)))
    if samples is None:
        return [f"{language}: no sample answers to test the question-answering metrics with"]
    one, other = samples
    cases = (
        ("identical", one, [one], 1.0),
        ("disjoint", one, [other], 0.0),
        ("gold among others", one, [other, one], 1.0),
        ("gold in punctuation", f"«{one}».", [one], 1.0),
    )
    metrics: tuple[tuple[str, Callable[[str, Sequence[str], str], float]], ...] = (
        ("exact_match", exact_match),
        ("f1", f1),
        ("char_f1", char_f1),
    )
    violations = []
    for name, metric in metrics:
        for case, prediction, golds, expected in cases:
            got = metric(prediction, golds, language)
            if got != expected:
                violations.append(
                    f"{language}: {name} by {rules(language)} gives {got} for {case} "
                    f"({prediction!r} against {golds!r}), expected {expected}"
                )
    return violations


def _parts(language: str) -> tuple[str, str]:
    """ISO 639-3 and ISO 15924 code of a language key."""
    match = re.fullmatch(r"([a-z]{3})_([A-Z][a-z]{3})(?:-x-.+)?", language)
    if match is None:
        raise ValueError(f"language: got {language!r}, expected a key such as 'deu_Latn'")
    return match.group(1), match.group(2)


def _normalised(golds: Sequence[str], language: str) -> list[str]:
    return [normalise(gold, language) for gold in checked(golds)]
