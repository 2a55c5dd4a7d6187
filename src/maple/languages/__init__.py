"""Languages as values: what is known about each, and what users and releases may call it.

The table `languages.csv` beside this module holds 213 language-script pairs; `sources.toml` says
for every column where its facts come from, and under which licence.

An empty cell of the table is an unknown fact and stays one here: None, shown as "unknown".
"""

from __future__ import annotations

import csv
import difflib
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Literal, cast

from maple.errors import DataError, nearest

Direction = Literal["ltr", "rtl"]

ENGLISH = "eng_Latn"
"""The language that many releases are translated from, and that forgetting is measured in."""

RELEASES = (
    "belebele",
    "flores200",
    "xlsum",
    "bactrian_x",
    "xnli",
    "xcopa",
    "mlqa",
    "xquad",
    "multialpaca",
)
"""Releases whose codes are in the table."""

# Releases that name languages by two letters; XL-Sum's, FLORES-200's and Belebele's are names or
# keys. Their codes say which row a bare "sw" or "ar" means, macrolanguages included.
_SHORT_CODES = ("bactrian_x", "xnli", "xcopa", "mlqa", "xquad", "multialpaca")

# First word of a letter's Unicode name, per ISO 15924 code of the table.
_LETTER_NAMES: Mapping[str, tuple[str, ...]] = {
    "Arab": ("ARABIC",),
    "Armn": ("ARMENIAN",),
    "Beng": ("BENGALI",),
    "Cyrl": ("CYRILLIC",),
    "Deva": ("DEVANAGARI",),
    "Ethi": ("ETHIOPIC",),
    "Geor": ("GEORGIAN",),
    "Grek": ("GREEK",),
    "Gujr": ("GUJARATI",),
    "Guru": ("GURMUKHI",),
    "Hang": ("HANGUL",),
    "Hans": ("CJK",),
    "Hant": ("CJK",),
    "Hebr": ("HEBREW",),
    "Jpan": ("CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA"),
    "Khmr": ("KHMER",),
    "Knda": ("KANNADA",),
    "Laoo": ("LAO",),
    "Latn": ("LATIN",),
    "Mlym": ("MALAYALAM",),
    "Mymr": ("MYANMAR",),
    "Olck": ("OL",),
    "Orya": ("ORIYA",),
    "Sinh": ("SINHALA",),
    "Taml": ("TAMIL",),
    "Telu": ("TELUGU",),
    "Tfng": ("TIFINAGH",),
    "Thai": ("THAI",),
    "Tibt": ("TIBETAN",),
}


@dataclass(frozen=True, slots=True)
class Language:
    """One language in one script.

    Attributes:
        key: `iso639_3` + "_" + `script`, with a private-use part where the language is derived
            ("eng_Latn-x-rev").
        iso639_3: ISO 639-3 code; for seven rows that of a macrolanguage, as in FLORES-200.
        script: ISO 15924 code.
        bcp47: standard tag, the script left out where the registry suppresses it.
        name: English name, unique in the table.
        autonym: the language's own name in this script; None if CLDR has none.
        glottocode: Glottolog's id.
        family: first node of Glottolog's classification; None if unknown.
        branch: a node further down, chosen to be of use in a table; None if unknown.
        macroarea: where it is spoken, as Glottolog divides the world.
        resource_class: 0 (no data) to 5 (most data), of the language whatever the script; None
            if Joshi et al. do not list it.
        direction: of writing, "ltr" or "rtl".
        spaced: words are separated by spaces. Vietnamese counts as spaced.
        codes: release -> the release's own code; only the releases that have the language.
    """

    key: str
    iso639_3: str
    script: str
    bcp47: str
    name: str
    autonym: str | None
    glottocode: str
    family: str | None
    branch: str | None
    macroarea: str
    resource_class: int | None
    direction: Direction
    spaced: bool
    codes: Mapping[str, str] = field(hash=False)


def hub_code(key: str) -> str:
    """What hubs list a language under: its shortest ISO 639 code, of the macrolanguage if any.

    "ar" for arb_Arab, "ko" for kor_Hang, "fil" for fil_Latn; the script is not told.
    """
    import langcodes  # 50 ms; `maple --help` does without

    found = langcodes.Language.get(language(key).bcp47).prefer_macrolanguage()
    return str(found.language)


def language(tag: str) -> Language:
    """The language that a key, a BCP 47 tag or a bare code stands for.

    Args:
        tag: "swh_Latn", "sw", "swh", "zh-Hans", "pt-BR" (the region is ignored), or a key or tag
            with a private-use part: "eng_Latn-x-rev" keeps English's facts under its own key.

    Raises:
        DataError: no such language, with the nearest known ones.
    """
    if tag in LANGUAGES:
        return LANGUAGES[tag]
    base, mark, private = tag.partition("-x-")
    if mark:
        if not re.fullmatch(r"[a-z0-9]{1,8}(-[a-z0-9]{1,8})*", private):
            raise DataError(
                f"language {tag!r}: {private!r} is no private-use part",
                "write one to eight small letters or digits after '-x-', as in eng_Latn-x-rev",
            )
        origin = language(base)
        return replace(origin, key=f"{origin.key}-x-{private}", bcp47=f"{origin.bcp47}-x-{private}")
    found = _by_tag(tag)
    if found is None:
        raise DataError(f"unknown language {tag!r}", _suggestion(tag))
    return found


def of_release(release: str) -> tuple[Language, ...]:
    """The languages that a release has, sorted by key.

    Raises:
        DataError: no such release.
    """
    if release not in RELEASES:
        raise DataError(f"no language codes for release {release!r}", nearest(release, RELEASES))
    return tuple(row for row in LANGUAGES.values() if release in row.codes)


def foreign_letters(text: str, script: str) -> str:
    """The letters of `text` that do not belong to `script`, in order, each once.

    Args:
        text: anything; digits, punctuation, spaces and combining marks never count.
        script: ISO 15924 code of a language of the table.
    """
    names = _LETTER_NAMES[script]
    letters = dict.fromkeys(c for c in text if unicodedata.category(c).startswith("L"))
    # A name is "LATIN SMALL LETTER A", but "CJK UNIFIED IDEOGRAPH-4E00".
    return "".join(c for c in letters if unicodedata.name(c, "?").split()[0] not in names)


def _from_row(row: Mapping[str, str]) -> Language:
    return Language(
        key=row["key"],
        iso639_3=row["iso639_3"],
        script=row["script"],
        bcp47=row["bcp47"],
        name=row["name"],
        autonym=row["autonym"] or None,
        glottocode=row["glottocode"],
        family=row["family"] or None,
        branch=row["branch"] or None,
        macroarea=row["macroarea"],
        resource_class=int(row["joshi_class"]) if row["joshi_class"] else None,
        direction=cast("Direction", row["direction"]),
        spaced=row["spaced"] == "yes",
        codes=MappingProxyType({name: row[name] for name in RELEASES if row[name]}),
    )


@cache
def _codes() -> Mapping[str, Language]:
    """Bare codes to languages: ISO 639-3, CLDR's of the macrolanguage, releases', BCP 47."""
    import langcodes

    iso: dict[str, Language] = {}
    macro: dict[str, Language] = {"no": LANGUAGES["nob_Latn"]}  # CLDR leaves "nb" as it is
    for row in LANGUAGES.values():
        tag = langcodes.Language.get(row.bcp47)
        general = tag.prefer_macrolanguage().language or ""
        for code, found in ((row.iso639_3, iso), (tag.language or "", iso), (general, macro)):
            # Of a language in several scripts, the bare code means the one it is mostly written in.
            likely = langcodes.Language.get(code).maximize().script
            if code not in found or found[code].script != likely == row.script:
                found[code] = row
    rows = LANGUAGES.values()
    short = {row.codes[name]: row for name in _SHORT_CODES for row in rows if name in row.codes}
    return macro | iso | short | {row.bcp47: row for row in rows}


def _by_tag(tag: str) -> Language | None:
    import langcodes  # 50 ms; `maple --help` does without
    from langcodes.tag_parser import LanguageTagError

    parts = re.fullmatch(r"([A-Za-z]{2,3})(?:[-_]([A-Za-z]{4}))?(?:[-_]([A-Za-z]{2}|\d{3}))?", tag)
    if parts is None:
        return None
    codes = _codes()
    if tag in codes:
        return codes[tag]
    code, script = parts[1].lower(), parts[2]
    try:
        row = codes.get(code) or codes.get(langcodes.standardize_tag(code, macro=True))
        if script is None and parts[3]:
            script = langcodes.Language.get(f"{code}-{parts[3]}").maximize().script
    except LanguageTagError:
        return None
    if row is None or script is None or script.title() == row.script:
        return row
    return LANGUAGES.get(f"{row.iso639_3}_{script.title()}")


def _suggestion(tag: str) -> str:
    """A hint with the keys of the languages whose key, tag or name is close to `tag`."""
    names: dict[str, str] = {}
    for row in LANGUAGES.values():
        for name in (row.name, row.autonym, row.bcp47, row.key):
            if name:
                names.setdefault(name.lower(), row.key)
    close = difflib.get_close_matches(tag.lower(), names, n=3, cutoff=0.7)
    if not close:
        return "languages are named like eng_Latn (ISO 639-3 and ISO 15924), or by a tag such as en"
    keys = dict.fromkeys(names[match] for match in close)
    return "did you mean " + " or ".join(f"{key} ({LANGUAGES[key].name})" for key in keys) + "?"


def _read() -> Mapping[str, Language]:
    text = resources.files("maple.languages").joinpath("languages.csv").read_text(encoding="utf-8")
    rows = (_from_row(row) for row in csv.DictReader(text.splitlines()))
    return MappingProxyType({row.key: row for row in rows})


LANGUAGES: Mapping[str, Language] = _read()  # 213 rows, 5 ms
"""All languages of the table by key, sorted. Derived languages are not in it."""
