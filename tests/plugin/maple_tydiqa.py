"""TyDi QA, gold passages: a seventh benchmark, as another package would add it.

Clark et al. 2020. Questions that people asked in nine languages and English, each with the passage
that answers it. One file holds all languages; an item's id begins with the name of its own.
"""

from __future__ import annotations

from pathlib import Path

from maple.data.release import find
from maple.data.squad import read_squad
from maple.errors import DataError
from maple.records import Example
from maple.tasks.card import Card
from maple.tasks.native import NativeTask, passage
from maple.tasks.questions import READING, examples_of, repeated
from maple.tasks.scoring import ANSWERS, Writing

_CODES = {
    "arb_Arab": "arabic",
    "ben_Beng": "bengali",
    "eng_Latn": "english",
    "fin_Latn": "finnish",
    "ind_Latn": "indonesian",
    "kor_Hang": "korean",
    "rus_Cyrl": "russian",
    "swh_Latn": "swahili",
    "tel_Telu": "telugu",
}
_ROWS = Path(__file__).with_name("maple_tydiqa_rows.json")


def _read(split: str, dataset: str, subset: str, folder: Path | None) -> list[Example]:
    if dataset == "mini":
        path, language = _ROWS, f"{split}-{_CODES[subset]}"
    elif folder is None:
        raise DataError("tydiqa is not read from the hub", "name its folder: --data DIR")
    else:
        path, language = find(folder, f"tydiqa/tydiqa-goldp-v1.1-{split}.json"), _CODES[subset]
    questions = [one for one in read_squad(path) if one.item_id.startswith(f"{language}-")]
    return examples_of(questions, f"tydiqa-{split}")


TYDIQA = NativeTask(
    name="tydiqa",
    card=Card(
        title="TyDi QA-GoldP",
        hub=("google-research-datasets/tydiqa",),
        licence=("Apache-2.0",),
        citation=(
            "Clark et al. 2020. TyDi QA. Transactions of the ACL 8. doi:10.1162/tacl_a_00317",
        ),
        scored="dev",
        pool="train",
        chance=None,
    ),
    scoring=Writing(ANSWERS, max_new_tokens=48),
    shapes=READING,
    sets={"release": tuple(sorted(_CODES)), "mini": ("eng_Latn",)},
    read_scored=lambda *where: _read("dev", *where),
    read_pool=lambda *where: _read("train", *where),
    alike=passage("context"),
    remark=repeated,
)
"""Subsets are language keys; exemplars are training items of the same language."""
