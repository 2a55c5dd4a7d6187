"""XNLI on small release folders of our own, and on the real files where they are at hand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from maple.data.hub import HubDataset
from maple.data.rows import Row
from maple.errors import DataError
from maple.records import ChoiceResponse, Example
from maple.tasks.xnli import XNLI as TASK

LABELS = ("entailment", "neutral", "contradiction")
ROWS = [
    (f"Lea sah {n} Boote.", f"Es waren {n + m} Boote.", LABELS[(n + m) % 3])
    for n in (4, 5, 6)
    for m in range(3)
] + [("Lea schläft.", "Lea ist wach.", "contradiction")]
POOL = [
    ("Ana las.", "Ana las ein Buch.", "neutral"),
    ("Ana sang.", "Ana schwieg.", "contradiction"),
]


def _tsv(path: Path, rows: Sequence[Sequence[str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """XTREME's layout."""
    _tsv(tmp_path / "xnli/test-de.tsv", ROWS)
    _tsv(tmp_path / "xnli/dev-de.tsv", POOL)
    return tmp_path


def _original(folder: Path, code: str = "de") -> Path:
    """The original layout: all languages in one file, with more columns and a header."""
    header = ("language", "gold_label", "sentence1_parse", "sentence1", "sentence2", "pairID")
    for split, rows in (("test", ROWS), ("dev", POOL)):
        lines = [(code, label, "x", premise, claim, "1") for premise, claim, label in rows]
        other = [("fr", "neutral", "x", "Léa dort.", "Il pleut.", "1")]
        _tsv(folder / f"xnli/xnli.{split}.tsv", [header, *other, *lines])
    return folder


def test_subsets_are_language_keys() -> None:
    assert TASK.subsets("release") == (
        *("arb_Arab", "bul_Cyrl", "deu_Latn", "ell_Grek", "eng_Latn", "fra_Latn", "hin_Deva"),
        *("rus_Cyrl", "spa_Latn", "swh_Latn", "tha_Thai", "tur_Latn", "urd_Arab", "vie_Latn"),
        "zho_Hans",
    )


def test_items_are_read_as_released(folder: Path) -> None:
    items = TASK.examples("release", "deu_Latn", folder)
    assert items[1] == Example(
        example_id="xnli-test-1",
        cluster_id="xnli-test-p0",
        fields={"premise": "Lea sah 4 Boote.", "hypothesis": "Es waren 5 Boote."},
        choices=LABELS,
        target=2,
    )
    clusters = Counter(item.cluster_id for item in items)
    assert clusters == {"xnli-test-p0": 3, "xnli-test-p1": 3, "xnli-test-p2": 3, "xnli-test-p3": 1}
    pool = TASK.exemplar_pool("release", "deu_Latn", folder)
    assert [item.example_id for item in pool] == ["xnli-dev-0", "xnli-dev-1"]


def test_three_items_share_a_premise_even_where_two_premises_are_alike(tmp_path: Path) -> None:
    rows = [("Ja.", f"Nein, {n}.", "neutral") for n in range(6)]
    _tsv(tmp_path / "xnli/test-de.tsv", rows)
    items = TASK.examples("release", "deu_Latn", tmp_path)
    assert [item.cluster_id for item in items] == ["xnli-test-p0"] * 3 + ["xnli-test-p1"] * 3


def test_all_layouts_give_the_same_items(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = _original(tmp_path / "original")

    def rows(self: HubDataset, *patterns: str) -> list[Row]:
        assert self.repo == "facebook/xnli"
        held = {"de/test-*.parquet": ROWS, "de/validation-*.parquet": POOL}[patterns[0]]
        return [
            Row(f"hub:{n}", n, {"premise": one, "hypothesis": two, "label": LABELS.index(label)})
            for n, (one, two, label) in enumerate(held, start=1)
        ]

    monkeypatch.setattr(HubDataset, "rows", rows)
    for read in (TASK.examples, TASK.exemplar_pool):
        local = read("release", "deu_Latn", folder)
        assert len(local) in (len(ROWS), len(POOL))
        assert read("release", "deu_Latn", other) == local
        assert read("release", "deu_Latn", None) == local


def test_a_premise_that_is_scored_is_no_exemplar(folder: Path) -> None:
    _tsv(folder / "xnli/dev-de.tsv", [("Lea  schläft.", "Lea träumt.", "neutral"), *POOL])
    pool = TASK.exemplar_pool("release", "deu_Latn", folder)
    assert [item.fields["premise"] for item in pool] == ["Ana las.", "Ana sang."]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("Lea las.", "Lea lag.", "maybe"), "'label' is 'maybe', expected one of entailment"),
        (("Lea las.", "Lea lag.", "-"), "'label' is '-'"),
        ((" ", "Lea lag.", "neutral"), "'premise' is empty"),
        (("Lea las.", "", "neutral"), "'hypothesis' is empty"),
        (("Lea las.", "Lea lag."), "2 columns, expected 3 separated by tabs"),
    ],
)
def test_broken_rows_are_named(folder: Path, row: Sequence[str], message: str) -> None:
    _tsv(folder / "xnli/test-de.tsv", [ROWS[0], row])
    with pytest.raises(DataError) as caught:
        TASK.examples("release", "deu_Latn", folder)
    assert "test-de.tsv:2: " in caught.value.what
    assert message in caught.value.what


def test_all_broken_rows_are_named_at_once(folder: Path) -> None:
    _tsv(folder / "xnli/test-de.tsv", [("a", "", "neutral"), ROWS[0], ("a", "b", "neither")])
    with pytest.raises(DataError, match="2 problems") as caught:
        TASK.examples("release", "deu_Latn", folder)
    assert "test-de.tsv:1" in caught.value.what
    assert "test-de.tsv:3" in caught.value.what


@pytest.mark.parametrize("label", [3, -1, True, None, 1.0])
def test_a_label_of_the_hub_out_of_range_is_named(
    label: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    values: Mapping[str, object] = {"premise": "a", "hypothesis": "b", "label": label}
    monkeypatch.setattr(HubDataset, "rows", lambda *_: [Row("hub:1", 1, values)])
    with pytest.raises(DataError, match=f"hub:1: 'label' is {label!r}, expected"):
        TASK.examples("release", "deu_Latn", None)


def test_a_file_without_the_language_is_named(tmp_path: Path) -> None:
    _original(tmp_path)
    with pytest.raises(DataError, match=r"xnli\.test\.tsv: no row is in the language 'bg'"):
        TASK.examples("release", "bul_Cyrl", tmp_path)


def test_repeated_items_are_remarked(folder: Path) -> None:
    _tsv(folder / "xnli/test-de.tsv", [*ROWS, ROWS[-1]])
    items = TASK.examples("release", "deu_Latn", folder)
    assert TASK.remarks(items) == ["items that repeat the texts of another one: 1"]
    assert TASK.remarks(items[:-1]) == []


def test_lengths_are_those_of_the_answers_as_asked() -> None:
    item = Example("a", "a", {"premise": "Es regnet.", "hypothesis": "Es ist nass."}, LABELS, 2)

    def scores(prompt: str, logprobs: tuple[float, ...]) -> list[float]:
        response = ChoiceResponse(logprobs, (1, 1, 1), (False,) * 3, 5, (), ())
        return [TASK.score(item, response, name, "deu_Latn", prompt) for name in TASK.metrics]

    # richtig, unklar, falsch: 7, 6 and 6 characters; A, B, C: 1 each
    assert scores("native", (-6.5, -7.0, -6.0)) == [1.0, 1.0, 0.0, 0.0]
    assert scores("native-letters", (-6.5, -7.0, -6.0)) == [1.0, 1.0, 1.0, 1.0]


def test_the_real_xnli(real_data: Path) -> None:
    english = TASK.examples("release", "eng_Latn", real_data)
    assert (len(english), len({item.cluster_id for item in english})) == (5010, 1670)
    assert Counter(item.target for item in english) == {0: 1670, 1: 1670, 2: 1670}
    for key in ("swh_Latn", "zho_Hans"):
        items = TASK.examples("release", key, real_data)
        assert [(i.example_id, i.cluster_id, i.target) for i in items] == [
            (i.example_id, i.cluster_id, i.target) for i in english
        ]
    pool = TASK.exemplar_pool("release", "zho_Hans", real_data)
    assert (len(pool), len({item.cluster_id for item in pool})) == (2490, 830)
