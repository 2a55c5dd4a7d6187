"""Asking a language model the items of a subset."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from maple.errors import DataError, ModelError
from maple.prompts.exemplars import blocks, choose
from maple.protocols import Asking, LanguageModel
from maple.records import (
    ChoiceRequest,
    ChoiceResponse,
    EvalCell,
    Example,
    Frame,
    GenerateRequest,
    GenerateResponse,
    Prompted,
)

PART_ITEMS = 64
"""Items answered in one call and persisted together."""

Request = ChoiceRequest | GenerateRequest
Response = ChoiceResponse | GenerateResponse


@dataclass(frozen=True, slots=True)
class Asked:
    """The items of a subset as they are asked: the same for every adapter.

    Attributes:
        examples: n, in their fixed order.
        prompted: each as its prompt renders it.
        framed: the same with what a training template puts between it and its answers.
        requests: each with the exemplars in front.
        exemplar_ids: in prompt order.
        exemplars: their texts, which together are the prefix of every request, behind `head`.
        head: what a training template puts before them.
    """

    examples: tuple[Example, ...]
    prompted: tuple[Prompted, ...]
    framed: tuple[Prompted, ...]
    requests: tuple[Request, ...]
    exemplar_ids: tuple[str, ...]
    exemplars: tuple[str, ...]
    head: str


@dataclass(frozen=True, slots=True)
class Part:
    """Answered items of a cell; `first` is the number of the first of them."""

    first: int
    examples: tuple[Example, ...]
    prompted: tuple[Prompted, ...]
    responses: tuple[Response, ...]


def exemplars_of(
    task: str, subset: str, n_shot: int, seed: int | None, pool: Sequence[Example] | None
) -> list[Example]:
    """A cell's exemplars in prompt order.

    None without a seed, which a cell without shots lacks, and without a pool, which a task lacks
    whose items hold their exemplars.

    Raises:
        DataError: the pool holds too few.
    """
    if seed is None or pool is None:
        return []
    return choose(pool, n_shot, seed, f"{task}/{subset}")


def ask(
    task: Asking,
    cell: EvalCell,
    examples: Sequence[Example],
    pool: Sequence[Example] | None,
    frame: Frame | None = None,
) -> Asked:
    """Render the items of a cell.

    Args:
        task: the cell's task.
        cell: what is evaluated; nothing of it that depends on the model is looked at.
        examples: the items in their fixed order, already limited.
        pool: items that may serve as exemplars, in their fixed order; None as in `exemplars_of`.
        frame: of the cell's training template; None for none.

    Raises:
        DataError: the pool holds too few.
    """
    source = cell.exemplar_subset or cell.subset
    shots = exemplars_of(cell.task, source, cell.n_shot, cell.exemplar_seed, pool)
    return put(task, cell.subset, cell.prompt, examples, shots, source, frame)


def put(
    task: Asking,
    subset: str,
    prompt: str,
    examples: Sequence[Example],
    shots: Sequence[Example],
    source: str,
    frame: Frame | None = None,
) -> Asked:
    """Render items of a subset under a prompt, with exemplars of the subset `source` in front.

    In a training template, exemplars and item together are the instruction, so that the same tokens
    as ever are shared: the template's head and the exemplars.
    """
    texts = blocks([task.render(shot, source, prompt) for shot in shots], shots)
    prompted = tuple(task.render(example, subset, prompt) for example in examples)
    framed, head, stop = prompted, "", task.stop
    if frame is not None:
        framed = tuple(_in_frame(item, frame) for item in prompted)
        head, stop = frame.head, tuple(dict.fromkeys((*stop, *filter(None, [frame.end]))))
    shared = head + "".join(texts)
    return Asked(
        tuple(examples),
        prompted,
        framed,
        tuple(_request(task, shared, item, stop) for item in framed),
        tuple(shot.example_id for shot in shots),
        texts,
        head,
    )


def answer(
    model: LanguageModel,
    adapter: Path | None,
    cell: EvalCell,
    asked: Asked,
    kept: int,
    done: Collection[str],
) -> Iterator[Part]:
    """Responses to the items that have none, part by part.

    Args:
        model: the loaded base.
        adapter: PEFT folder; None for the untuned base.
        cell: what is evaluated.
        asked: from `ask`.
        kept: leading items that were answered for good, under a lower limit.
        done: ids of all items that have responses already.

    Raises:
        ModelError: a request does not fit the context, or the adapter is not of this base.
    """
    for part in parts(asked.examples, kept):
        missing = [number for number in part if asked.examples[number].example_id not in done]
        if not missing:
            continue
        requests = [asked.requests[number] for number in missing]
        respond = alone if cell.deterministic else together
        yield Part(
            min(missing),
            tuple(asked.examples[number] for number in missing),
            tuple(asked.framed[number] for number in missing),
            respond(model, adapter, requests),
        )


def neutral(
    model: LanguageModel,
    adapter: Path | None,
    cell: EvalCell,
    asked: Asked,
    lacking: Collection[str],
    on_part: Callable[[], None],
) -> dict[str, tuple[float, ...]]:
    """Log-probabilities of the choices after the last line of their prompt, without the item.

    Requests of their own, without exemplars, after all others: whether they are asked changes no
    other number. Items with equal lines and choices share one.

    Args:
        model, adapter, cell, asked: as for `answer`.
        lacking: ids of the items to ask.
        on_part: called before each call of the model.

    Returns:
        Nats, one number a choice, by example id.

    Raises:
        DataError: a prompt whose last line is empty or holds a text of the item.
        ModelError: as `answer`.
    """
    wanted = {
        example.example_id: ChoiceRequest(
            asked.head,
            neutral_prompt(example, item) + framed.text.removeprefix(item.text),
            framed.answers,
        )
        for example, item, framed in zip(asked.examples, asked.prompted, asked.framed, strict=True)
        if example.example_id in lacking
    }
    respond = alone if cell.deterministic else together
    distinct = list(dict.fromkeys(wanted.values()))
    found: dict[ChoiceRequest, tuple[float, ...]] = {}
    for at in range(0, len(distinct), PART_ITEMS):
        part = distinct[at : at + PART_ITEMS]
        on_part()
        for request, response in zip(part, respond(model, adapter, part), strict=True):
            if isinstance(response, ChoiceResponse):
                found[request] = response.logprobs
    return {name: found[request] for name, request in wanted.items()}


def neutral_prompt(example: Example, item: Prompted) -> str:
    """What stands right before the answer in a prompt, the same for other items: its last line.

    Raises:
        DataError: that line is empty, or holds a text of the item.
    """
    line = item.text.rpartition("\n")[2]
    # An English word may be both: XCOPA's field says "cause", and so may its label. Other scripts
    # write whole sentences without a space.
    fields = (text.strip() for text in example.fields.values())
    texts = [text for text in fields if text and not (text.isascii() and text.isalpha())]
    if not line.strip() or any(text in line for text in texts):
        raise DataError(
            f"{example.example_id}: the last line of its prompt is no label ({line[:60]!r}), "
            "so there is no neutral prompt to ask its choices after",
            "leave accuracy[pmi] out, or use a prompt that ends in a label such as 'Answer:'",
        )
    return line


def parts(examples: Sequence[Example], kept: int) -> list[list[int]]:
    """The items from number `kept` on in the parts in which they are answered.

    Items of a cluster, the questions of a passage, stand together, since what their prompts share
    is computed once. What is batched with what follows from the items and `kept` alone, not from
    where an earlier run under the same limit was interrupted. Under another limit the new items are
    batched apart from those already there: the same numbers within the noise of batching, not the
    same bits.
    """
    met: dict[str, int] = {}
    for number in range(kept, len(examples)):
        met.setdefault(examples[number].cluster_id, number)
    order = sorted(
        range(kept, len(examples)), key=lambda number: (met[examples[number].cluster_id], number)
    )
    return [order[at : at + PART_ITEMS] for at in range(0, len(order), PART_ITEMS)]


def together(
    model: LanguageModel, adapter: Path | None, requests: Sequence[Request]
) -> tuple[Response, ...]:
    """Responses to requests of one kind, in one call.

    Raises:
        ModelError: as `answer`; or the engine lost or invented responses.
    """
    choices = [request for request in requests if isinstance(request, ChoiceRequest)]
    texts = [request for request in requests if isinstance(request, GenerateRequest)]
    responses: list[Response] = []
    if choices:
        responses += model.choice_logprobs(choices, adapter)
    if texts:
        responses += model.generate(texts, adapter)
    if len(responses) != len(requests):
        raise ModelError(
            f"engine {model.engine}: gave {len(responses)} responses to {len(requests)} requests"
        )
    return tuple(responses)


def alone(
    model: LanguageModel, adapter: Path | None, requests: Sequence[Request]
) -> tuple[Response, ...]:
    """The same, each request in a call of its own: no response depends on another request.

    Floating-point sums differ with the shape of what is computed together, so this is what makes
    results the same to the last bit in any order and company.
    """
    return tuple(
        response for request in requests for response in together(model, adapter, [request])
    )


def _in_frame(item: Prompted, frame: Frame) -> Prompted:
    """An item with what stands between it and its answers, which start as the template starts them.

    What may be cut of its text stays where it is.
    """
    answers = tuple(frame.space + answer.lstrip() for answer in item.answers)
    return Prompted(item.text + frame.tail, answers, item.cut)


def _request(task: Asking, shared: str, item: Prompted, stop: tuple[str, ...]) -> Request:
    if task.max_new_tokens is None:
        return ChoiceRequest(shared, item.text, item.answers)
    return GenerateRequest(shared, item.text, stop, task.max_new_tokens)
