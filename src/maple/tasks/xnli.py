"""XNLI: whether a sentence follows from another one, contradicts it, or neither.

Conneau et al. 2018. Fifteen languages: the English development (2,490) and test (5,010) items and
their professional translations, in the same order everywhere, so an item is named by its place.
Three items in a row share a premise, one of each label, and so a cluster.

Read in its three layouts: XTREME's (a file a language, without header), the original (a file a
split, with header), and the hub's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from maple.data.hub import HubDataset
from maple.data.packaged import MINI, mini_languages
from maple.data.release import NoFilesError, find
from maple.data.rows import Row, build
from maple.data.tsv import read_tsv
from maple.languages import language as language_of
from maple.languages import of_release
from maple.prompts.literals import Wording
from maple.prompts.shapes import judging, judging_letters, verdicts
from maple.records import Example, Prompted
from maple.tasks.card import Card
from maple.tasks.native import NativeTask, Shape, letters, passage, repeats
from maple.tasks.scoring import Choosing

_LABELS = ("entailment", "neutral", "contradiction")
_FIELDS = ("premise", "hypothesis")
_HUB_SPLIT = {"dev": "validation", "test": "test"}
_ITEMS_PER_PREMISE = 3


def _read(split: str, dataset: str, subset: str, folder: Path | None) -> list[Example]:
    if dataset == "mini":
        rows = read_tsv(MINI / "xnli" / f"{subset}.{split}.tsv", (*_FIELDS, "label"))
    else:
        rows = _released(language_of(subset).codes["xnli"], split, folder)
    return build(_placed(rows), lambda row: _example(row, split))


def _released(code: str, split: str, folder: Path | None) -> list[Row]:
    if folder is None:
        name = f"{code}/{_HUB_SPLIT[split]}"
        return HubDataset("facebook/xnli").rows(f"{name}-*.parquet", f"{name}/*.parquet")
    path = find(folder, f"xnli/{split}-{code}.tsv", f"xnli/xnli.{split}.tsv")
    if path.name == f"{split}-{code}.tsv":
        return read_tsv(path, (*_FIELDS, "label"))
    rows = [_renamed(row) for row in read_tsv(path) if row.text("language") == code]
    if not rows:
        raise NoFilesError(f"{path}: no row is in the language {code!r}", "download it again")
    return rows


def _renamed(row: Row) -> Row:
    """A row of the original layout under the names of the others."""
    names = {"premise": "sentence1", "hypothesis": "sentence2", "label": "gold_label"}
    values = {name: row.text(original) for name, original in names.items()}
    return Row(row.where, row.number, values)


def _placed(rows: Sequence[Row]) -> Iterator[Row]:
    """Each row with its place in the file and that of its premise."""
    before: object = None
    items, cluster = 0, -1
    for place, row in enumerate(rows):
        premise = row.values.get("premise")
        if premise != before or items == _ITEMS_PER_PREMISE:
            before, items, cluster = premise, 0, cluster + 1
        items += 1
        yield Row(row.where, row.number, {**row.values, "place": place, "cluster": cluster})


def _example(row: Row, split: str) -> Example:
    fields = {name: row.filled(name) for name in _FIELDS}
    return Example(
        example_id=f"xnli-{split}-{row.integer('place')}",
        cluster_id=f"xnli-{split}-p{row.integer('cluster')}",
        fields=fields,
        choices=_LABELS,
        target=_label(row),
    )


def _label(row: Row) -> int:
    """Number of the label: a name in files, a number on the hub."""
    label = row.values.get("label")
    if isinstance(label, str) and label in _LABELS:
        return _LABELS.index(label)
    if type(label) is int and label in range(len(_LABELS)):
        return label
    raise row.error(f"'label' is {label!r}, expected one of {', '.join(_LABELS)} (0, 1, 2)")


def _cloze(words: Wording, item: Example) -> Prompted:
    return judging(words, item.fields["premise"], item.fields["hypothesis"])


def _letters(words: Wording, item: Example) -> Prompted:
    return judging_letters(words, item.fields["premise"], item.fields["hypothesis"])


_SAMPLES = (Example("", "", {name: f"{{{name}}}" for name in _FIELDS}, _LABELS),)
_SHAPES: Mapping[str, Shape] = {
    "": Shape(_cloze, _FIELDS, _SAMPLES, verdicts),
    "letters": Shape(_letters, _FIELDS, _SAMPLES, letters),
}

XNLI = NativeTask(
    name="xnli",
    card=Card(
        title="XNLI",
        hub=("facebook/xnli",),
        licence=("CC BY-NC 4.0",),
        citation=(
            (
                "Conneau, Rinott, Lample, Williams, Bowman, Schwenk and Stoyanov 2018. XNLI: "
                "Evaluating Cross-lingual Sentence Representations. EMNLP. "
                "doi:10.18653/v1/D18-1269"
            ),
        ),
        scored="test",
        pool="dev",
        chance=1 / 3,
    ),
    scoring=Choosing(),
    shapes=_SHAPES,
    sets={
        "release": tuple(row.key for row in of_release("xnli")),
        "mini": mini_languages("xnli", ".test.tsv"),
    },
    read_scored=lambda *where: _read("test", *where),
    read_pool=lambda *where: _read("dev", *where),
    alike=passage("premise"),
    remark=repeats,
)
"""Subsets are language keys; exemplars are development items of the same language."""
