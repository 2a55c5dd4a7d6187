"""Asking a language model the items of a subset."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from maple.errors import ModelError
from maple.prompts.exemplars import choose, prefix
from maple.protocols import LanguageModel, Task
from maple.records import (
    ChoiceRequest,
    ChoiceResponse,
    EvalCell,
    Example,
    GenerateRequest,
    GenerateResponse,
    Prompted,
)

PART_ITEMS = 64
"""Items answered in one call and persisted together.

Parts start at multiples of this number, so that what is batched with what does not depend on where
an earlier run was interrupted. A limit that is no multiple cuts its last part short, and raising it
completes that part apart: the same numbers within the noise of batching, not the same bits.
"""


@dataclass(frozen=True, slots=True)
class Part:
    """Consecutive answered items of a cell, beginning with item `start`."""

    start: int
    examples: tuple[Example, ...]
    prompted: tuple[Prompted, ...]
    responses: tuple[ChoiceResponse | GenerateResponse, ...]


def exemplars_of(
    task: str, subset: str, n_shot: int, seed: int | None, pool: Sequence[Example]
) -> list[Example]:
    """A cell's exemplars in prompt order; none without a seed, which a cell without shots lacks.

    Raises:
        DataError: the pool holds too few.
    """
    return [] if seed is None else choose(pool, n_shot, seed, f"{task}/{subset}")


def answer(
    model: LanguageModel,
    adapter: Path | None,
    task: Task,
    cell: EvalCell,
    examples: Sequence[Example],
    exemplars: Sequence[Example],
    done: int,
) -> Iterator[Part]:
    """Responses to `examples[done:]`, part by part.

    Args:
        model: the loaded base.
        adapter: PEFT folder; None for the untuned base.
        task: the cell's task.
        cell: what is evaluated.
        examples: the items in their fixed order, already limited.
        exemplars: from `exemplars_of`.
        done: leading items that have responses already.

    Raises:
        ModelError: a request does not fit the context, or the adapter is not of this base.
    """
    shared = prefix([task.render(shot, cell.subset, cell.prompt) for shot in exemplars], exemplars)
    while done < len(examples):
        stop = min(len(examples), (done // PART_ITEMS + 1) * PART_ITEMS)
        part = tuple(examples[done:stop])
        prompted = tuple(task.render(example, cell.subset, cell.prompt) for example in part)
        responses = _ask(model, adapter, task, shared, prompted)
        if len(responses) != len(part):
            raise ModelError(
                f"engine {model.engine}: gave {len(responses)} responses to {len(part)} requests"
            )
        yield Part(done, part, prompted, responses)
        done = stop


def _ask(
    model: LanguageModel,
    adapter: Path | None,
    task: Task,
    shared: str,
    prompted: Sequence[Prompted],
) -> tuple[ChoiceResponse | GenerateResponse, ...]:
    if task.max_new_tokens is None:
        choices = [ChoiceRequest(shared, item.text, item.answers) for item in prompted]
        return tuple(model.choice_logprobs(choices, adapter))
    asked = [
        GenerateRequest(shared, item.text, task.stop, task.max_new_tokens) for item in prompted
    ]
    return tuple(model.generate(asked, adapter))
