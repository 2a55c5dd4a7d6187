"""Which items are asked together, and which are asked at all."""

from __future__ import annotations

from dataclasses import replace

from maple.evaluate.responses import PART_ITEMS, answer, ask, parts
from maple.models.scripted import ScriptedModel
from maple.records import EvalCell, Example
from maple.tasks import TASKS

CELL = EvalCell(
    train_id="0",
    eval_bits=16,
    engine="scripted",
    compute_dtype="none",
    task="xquad",
    dataset="mini",
    subset="eng_Latn",
    items="",
    prompt="native",
    prompt_hash="",
    n_shot=0,
    exemplar_pool=None,
    exemplar_seed=None,
    decoding="greedy",
    max_new_tokens=48,
    truncation="refuse",
)


def items(count: int) -> list[Example]:
    """Five questions a passage, which lie far apart."""
    passages = count // 5
    return [Example(f"q{n}", f"p{n % passages}", {}, golds=("x",)) for n in range(count)]


def test_questions_of_a_passage_are_asked_together() -> None:
    examples = items(300)
    planned = parts(examples, 0)
    assert sorted(number for part in planned for number in part) == list(range(300))
    assert [len(part) for part in planned] == [PART_ITEMS] * 4 + [300 - 4 * PART_ITEMS]
    assert planned[0][:7] == [0, 60, 120, 180, 240, 1, 61]
    split = sum(
        len({number for number, part in enumerate(planned) for n in part if n % 60 == passage}) > 1
        for passage in range(60)
    )
    assert split == 4  # at the borders only
    # A raised limit asks for the new items alone, and cuts no part at the old border.
    assert [number for part in parts(examples, 290) for number in part] == list(range(290, 300))
    assert parts(examples, 300) == []


def test_what_is_answered_is_not_asked_again() -> None:
    task = TASKS["xquad"]
    examples = task.examples("mini", "eng_Latn", None)
    asked = ask(task, CELL, examples, [])
    model = ScriptedModel()
    (whole,) = answer(model, None, CELL, asked, 0, set())
    done = {examples[3].example_id, examples[7].example_id}
    (rest,) = answer(model, None, CELL, asked, 0, done)
    assert len(rest.examples) == len(examples) - 2
    assert not done & {example.example_id for example in rest.examples}
    (behind,) = answer(model, None, CELL, asked, 10, set())
    assert behind.first == 10
    assert {example.example_id for example in behind.examples} == {
        example.example_id for example in examples[10:]
    }
    (alone,) = answer(model, None, replace(CELL, deterministic=True), asked, 0, set())
    assert alone == whole
    every = {example.example_id for example in examples}
    assert list(answer(model, None, CELL, asked, 0, every)) == []
