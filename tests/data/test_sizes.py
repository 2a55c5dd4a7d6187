"""Sizes of releases: known by the names that tasks and sources use."""

from __future__ import annotations

import tomllib
from importlib import resources

from maple.data.sizes import Size, known
from maple.data.sources import SOURCES
from maple.tasks import TASKS


def test_sizes_are_known_by_subset_or_for_all() -> None:
    assert known("xcopa", "release", "tha_Thai") == Size(500, 100)
    assert known("xlsum", "release", "eng_Latn") == Size(11535, None)
    assert known("mlqa", "release", "deu_Latn.spa_Latn") == Size(1776, 196)
    assert known("mlqa", "release-dev", "eng_Latn.eng_Latn") == Size(1148, None)
    assert known("bactrian-x", "release", "xho_Latn") == Size(67017, None)
    assert known("xcopa", "mini", "tha_Thai") == Size(None, None)


def test_every_subset_of_a_benchmark_has_its_size() -> None:
    for name in ("xnli", "xcopa", "belebele", "mlqa", "xquad", "xlsum"):
        for subset in TASKS[name].subsets("release"):
            assert known(name, "release", subset).items is not None, (name, subset)


def test_the_table_names_nothing_else() -> None:
    text = resources.files("maple.data").joinpath("sizes.toml").read_text("utf-8")
    for dataset, by_name in tomllib.loads(text).items():
        for name, sizes in by_name.items():
            subsets = SOURCES[name].languages if name in SOURCES else TASKS[name].subsets(dataset)
            for counts in sizes.values():
                if isinstance(counts, dict):
                    assert set(counts) <= set(subsets), name
