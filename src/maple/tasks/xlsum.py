"""XL-Sum: a news article, summed up in a sentence.

Hasan et al. 2021. Articles of the BBC in 45 languages (Serbian and Chinese in two scripts each,
the same articles), with the summaries that their authors wrote. Where an article does not fit the
model's context, its end is cut, see `records.Prompted.cut`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from maple.data.hub import HubDataset
from maple.data.packaged import MINI, mini_languages
from maple.data.release import find, read_jsonl, read_member
from maple.data.rows import Row, build
from maple.languages import language as language_of
from maple.languages import of_release
from maple.prompts.literals import Wording
from maple.prompts.shapes import summing_up, summing_up_as_told
from maple.records import Example, Prompted
from maple.tasks.card import Card
from maple.tasks.native import NativeTask, Shape, passage
from maple.tasks.scoring import SUMMARIES, Writing

_HUB_SPLIT = {"val": "validation", "test": "test"}

# A sample of a few rows for exemplars, which some copies of the release have, is called fewshot.
_NAMES = {"val": ("val", "fewshot"), "test": ("test",)}


def _read(split: str, dataset: str, subset: str, folder: Path | None) -> list[Example]:
    if dataset == "mini":
        rows = read_jsonl(MINI / "xlsum" / f"{subset}.{split}.jsonl")
    else:
        rows = _released(language_of(subset).codes["xlsum"], split, folder)
    return build(rows, _example, lambda item: item.example_id)


def _released(code: str, split: str, folder: Path | None) -> list[Row]:
    archive, member = f"{code}_XLSum_v2.0.tar.bz2", f"{code}_{split}.jsonl"
    if folder is not None:
        files = [f"xlsum/{code}_{name}.jsonl" for name in _NAMES[split]]
        path = find(folder, *files, f"xlsum/{archive}")
        return read_member(path, member) if path.name == archive else read_jsonl(path)
    name, hub = f"{code}/{_HUB_SPLIT[split]}", HubDataset("csebuetnlp/xlsum")
    patterns = (f"{name}-*.parquet", f"{name}/*.parquet")
    return hub.rows(*patterns) if hub.has(*patterns) else hub.member(f"data/{archive}", member)


def _example(row: Row) -> Example:
    identity, text, summary = (row.filled(name) for name in ("id", "text", "summary"))
    # One line: what a model writes is read up to the line's end.
    return Example(identity, identity, {"text": text}, golds=(" ".join(summary.split()),))


def _plain(words: Wording, item: Example) -> Prompted:
    return summing_up(words, item.fields["text"], item.golds[0])


def _told(words: Wording, item: Example) -> Prompted:
    return summing_up_as_told(words, item.fields["text"], item.golds[0])


_SAMPLES = (Example("", "", {"text": "{text}"}, golds=("{summary}",)),)
_SHAPES: Mapping[str, Shape] = {
    "": Shape(_plain, ("text",), _SAMPLES),
    "instruction": Shape(_told, ("text",), _SAMPLES),
}

XLSUM = NativeTask(
    name="xlsum",
    card=Card(
        title="XL-Sum",
        hub=("csebuetnlp/xlsum",),
        licence=("CC BY-NC-SA 4.0",),
        citation=(
            (
                "Hasan, Bhattacharjee, Islam, Mubasshir, Li, Kang, Rahman and Shahriyar 2021. "
                "XL-Sum: Large-Scale Multilingual Abstractive Summarization for 44 Languages. "
                "Findings of ACL. doi:10.18653/v1/2021.findings-acl.413"
            ),
        ),
        scored="test",
        pool="val",
        chance=None,
    ),
    # Twice the longest gold of the Indonesian and Tamil samples in Gemma 3's tokens (94). Scripts
    # that a tokenizer knows little of need more: such answers end by length, which is counted.
    scoring=Writing(SUMMARIES, max_new_tokens=192),
    shapes=_SHAPES,
    sets={
        "release": tuple(row.key for row in of_release("xlsum")),
        "mini": mini_languages("xlsum", ".test.jsonl"),
    },
    read_scored=lambda *where: _read("test", *where),
    read_pool=lambda *where: _read("val", *where),
    alike=passage("text"),
    cuttable="text",
)
"""Subsets are language keys; exemplars are validation items of the same language."""
