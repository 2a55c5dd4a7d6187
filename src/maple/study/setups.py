"""Set-ups: which language exemplars and items are in (MEGA's words, Ahuja et al. 2023).

* monolingual: both in the subset's own.
* cross-lingual (zero-shot): exemplars in English.
* translate-test: items translated to English by somebody, exemplars in English.

A translated subset is named by where it comes from and by who translated it:
"tha_Thai.eng_Latn-x-nllb", for a pair "deu_Latn.spa_Latn.eng_Latn-x-nllb".
"""

from __future__ import annotations

import re
from typing import Literal

from maple.languages import ENGLISH
from maple.records import EvalCell

Setup = Literal["monolingual", "cross-lingual", "translate-test"]

SOURCE = r"[a-z0-9]{1,8}"
"""What the source of a translation may be called: a private-use part of a language tag."""

_TRANSLATED = re.compile(rf"(.+)\.{ENGLISH}-x-({SOURCE})")


def translated(subset: str, source: str) -> str:
    """Name of a subset in English, translated by `source`."""
    return f"{subset}.{ENGLISH}-x-{source}"


def translation(subset: str) -> tuple[str, str] | None:
    """The subset that a translated one comes from, and its source; None for what is released."""
    found = _TRANSLATED.fullmatch(subset)
    return (found[1], found[2]) if found else None


def setup_of(cell: EvalCell) -> Setup:
    """The set-up of an eval cell."""
    if translation(cell.subset) is not None:
        return "translate-test"
    return "monolingual" if cell.exemplar_subset is None else "cross-lingual"
