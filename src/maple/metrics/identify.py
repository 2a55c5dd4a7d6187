"""Whether an answer is in the language it should be in, by py3langid, which needs no network.

py3langid (Barbaresi; after langid.py, Lui & Baldwin 2012) is a naive Bayes classifier over bytes
with 139 languages. Here it chooses among those that are in MAPLE's table of languages. The others
would only take probability away: most are dead, tiny, or near copies of a larger one.

A language that it does not know, or knows in another script, is "unknown", and so is a short
answer: names and numbers are at home in many languages. Accuracy on real sentences of each
language is in docs/log.md; why this identifier, in docs/decisions/0011.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from functools import cache
from importlib import metadata
from types import MappingProxyType
from typing import TYPE_CHECKING

from maple.languages import LANGUAGES, Language
from maple.languages import language as language_of
from maple.metrics.words import words

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

LANGUAGE = "language"
"""Name of the score cells that hold `probability` of each answer."""

ANOTHER = 0.3
"""Below this probability of its language an answer counts as in another one.

On the first 40 characters of FLORES-200 sentences that is so of 0.6 % in the right language (3 % at
worst), and of 99 % in a neighbouring one; at 0.5 it would be 2 % (17 % at worst) and 100 %.
"""

SHORTEST = 30
"""Letters and digits below which an answer is not judged. A word counts as two at least, so that
fifteen characters are enough where each is a word."""

# py3langid's label by ISO 639-3 code, where it is not the language's BCP 47 subtag.
_LABELS: Mapping[str, str] = MappingProxyType(
    {
        "als": "sq",
        "arb": "ar",
        "azj": "az",
        "gaz": "om",
        "grn": "gug",
        "khk": "mn",
        "kik": "kik",
        "kmr": "ku",
        "lvs": "lv",
        "nob": "no",
        "npi": "ne",
        "ory": "or",
        "pbt": "ps",
        "pes": "fa",
        "plt": "mg",
        "quy": "qu",
        "swh": "sw",
        "tgl": "tl",
        "uzn": "uz",
        "zsm": "ms",
    }
)

# Rows of the table in a script that the label of their language was not trained on.
_OTHER_SCRIPT = frozenset(
    {
        *("ace_Arab", "arb_Latn", "ben_Latn", "hin_Latn", "npi_Latn", "sin_Latn", "urd_Latn"),
        *("uzn_Cyrl", "taq_Tfng"),
    }
)


# Labels of languages that differ too little for a sentence to tell them apart. An answer in one
# counts as an answer in the other.
_ALIKE = (
    frozenset({"ar", "ary", "arz"}),
    frozenset({"bs", "hr", "sr"}),
    frozenset({"id", "ms"}),
    frozenset({"nn", "no"}),
    frozenset({"yue", "zh"}),
)


def probability(text: str, language: str) -> float | None:
    """How probable it is that a text is in a language, or in one that is hardly another.

    Args:
        text: an answer.
        language: key of the language it should be in, such as "swh_Latn".

    Returns:
        0 to 1; below `ANOTHER` it counts as another language. None where that cannot be told: the
        text is too short, or the language is not known.

    Raises:
        DataError: no such language.
    """
    known = language_of(language)
    if sum(max(2, len(word)) for word in words(text)) < SHORTEST:
        return None
    label = _label(known, _model()[1])
    if label is None:
        return None
    alike = next((labels for labels in _ALIKE if label in labels), {label})
    shares = (share for name, share in _model()[0].rank(text) if name in alike)
    return min(1.0, math.fsum(shares))  # they are float32, and may sum to more by rounding


def label_of(language: str) -> str | None:
    """What py3langid calls a language; None where it does not know it, or not in that script.

    Raises:
        DataError: no such language.
    """
    return _label(language_of(language), _model()[1])


def rules() -> str:
    """Name of the identifier, its version and its limits, as a score cell has it."""
    version = metadata.version("py3langid")
    return f"py3langid {version}, from {SHORTEST} letters, {SHORTEST // 2} where unspaced"


def _label(row: Language, labels: Collection[str]) -> str | None:
    if f"{row.iso639_3}_{row.script}" in _OTHER_SCRIPT:
        return None
    label = _LABELS.get(row.iso639_3, row.bcp47.partition("-")[0])
    return label if label in labels else None


@cache
def _model() -> tuple[LanguageIdentifier, frozenset[str]]:
    """The identifier, restricted to the languages of the table, and all labels that it has."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier  # half a second with its model

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    labels = frozenset(identifier.labels)
    chosen = {_label(row, labels) for row in LANGUAGES.values()}
    identifier.set_languages(sorted(label for label in chosen if label is not None))
    return identifier, labels
