"""Which items become exemplars, and the text that they make."""

from __future__ import annotations

import pytest

from maple.errors import DataError
from maple.prompts.exemplars import choose, prefix
from maple.records import Example, Prompted

POOL = [Example(f"q{n}", f"p{n // 3}", {"text": str(n)}) for n in range(30)]


def test_the_choice_depends_on_seed_key_and_ids_only() -> None:
    chosen = choose(POOL, 4, 0, "xquad/deu_Latn")
    assert choose(POOL[::-1], 4, 0, "xquad/deu_Latn") == chosen
    assert [example.example_id for example in chosen] == ["q1", "q25", "q29", "q17"]
    assert choose(POOL, 4, 1, "xquad/deu_Latn") != chosen
    assert choose(POOL, 4, 0, "xquad/spa_Latn") != chosen


def test_fewer_shots_are_a_beginning_of_more() -> None:
    eight = choose(POOL, 8, 0, "k")
    assert [choose(POOL, n, 0, "k") for n in range(9)] == [eight[:n] for n in range(9)]


def test_no_two_exemplars_share_a_cluster() -> None:
    for seed in range(20):
        clusters = [example.cluster_id for example in choose(POOL, 10, seed, "k")]
        assert len(set(clusters)) == 10


def test_a_pool_that_is_too_small_says_how_large_it_is() -> None:
    with pytest.raises(DataError, match="k: 11 exemplars asked for, the pool has 30 items in 10"):
        choose(POOL, 11, 0, "k")
    assert choose([], 0, 0, "k") == []


def test_the_prefix_ends_in_a_blank_line() -> None:
    choice = Example("a", "a", {}, ("x", "y"), 1)
    generated = Example("b", "b", {}, golds=("z",))
    rendered = [Prompted("one:", (" x", " y")), Prompted("two:", (" z",))]
    assert prefix(rendered, [choice, generated]) == "one: y\n\ntwo: z\n\n"
    assert prefix([], []) == ""
