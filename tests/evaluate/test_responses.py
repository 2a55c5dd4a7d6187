"""Which items are asked together, and which are asked at all."""

from __future__ import annotations

from dataclasses import replace

from maple.evaluate.responses import PART_ITEMS, answer, ask, neutral, parts
from maple.models.scripted import ScriptedModel
from maple.records import ChoiceRequest, EvalCell, Example, Frame, GenerateRequest
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


def test_in_a_training_template_exemplars_and_item_are_the_instruction() -> None:
    frame = Frame("<user>", "</user><bot>", " ", "</bot>")
    task = TASKS["xcopa"]
    items, pool = (
        task.examples("mini", "eng_Latn", None),
        task.exemplar_pool("mini", "eng_Latn", None),
    )
    cell = replace(CELL, task="xcopa", decoding="choices", max_new_tokens=None)
    cell = replace(cell, n_shot=2, exemplar_pool="x", exemplar_seed=0)
    bare, asked = ask(task, cell, items, pool), ask(task, cell, items, pool, frame)
    assert asked.prompted == bare.prompted  # what sizes and scores are taken of
    for one, other in zip(bare.requests, asked.requests, strict=True):
        assert isinstance(one, ChoiceRequest)
        choices = tuple(" " + choice.strip() for choice in one.choices)
        wanted = ChoiceRequest("<user>" + one.prefix, one.prompt + "</user><bot>", choices)
        assert other == wanted
    close = ask(task, cell, items, pool, replace(frame, space=""))
    assert [item.answers for item in close.framed] == [item.choices for item in items]


def test_the_marker_of_a_template_ends_a_written_answer_too() -> None:
    frame = Frame("<user>", "</user><bot>", "", "</bot>")
    task = TASKS["xquad"]
    items = task.examples("mini", "eng_Latn", None)
    for given, stop in ((frame, ("\n", "</bot>")), (replace(frame, end=""), ("\n",))):
        for request in ask(task, CELL, items, None, given).requests:
            assert isinstance(request, GenerateRequest)
            assert request.stop == stop
            assert request.prefix == "<user>"
            assert request.prompt.endswith("</user><bot>")


def test_a_neutral_prompt_stands_in_the_template() -> None:
    asked_texts: list[str] = []

    def note(text: str) -> str:
        asked_texts.append(text)
        return ""

    task = TASKS["xcopa"]
    items = task.examples("mini", "eng_Latn", None)[:4]
    cell = replace(CELL, task="xcopa", decoding="choices", max_new_tokens=None)
    asked = ask(task, cell, items, None, Frame("<user>", "</user><bot>"))
    names = [item.example_id for item in items]
    found = neutral(ScriptedModel(answer=note), None, cell, asked, names, lambda: None)
    assert sorted(found) == sorted(names)
    labels = {item.text.rpartition("\n")[2] for item in asked.prompted}
    assert set(asked_texts) == {f"<user>{label}</user><bot>" for label in labels}
