"""Making requests fit a context: exemplars go first, then text of the item that may be cut."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from maple.evaluate.responses import Asked, Request
from maple.records import ChoiceRequest, GenerateRequest, Prompted, Shortened

_MARKS = 8
"""Tokens that a tokenizer may add to a text: BOS and the like."""

_JOINS = 4
"""Tokens by which an exemplar's size may differ from what it adds to a prompt."""


Measure = Callable[[Sequence[Request]], list[int]]
"""Tokens that requests take, see `protocols.LanguageModel.lengths`."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """Requests that fit, as far as they can.

    Attributes:
        asked: with the shortened requests in place of the long ones.
        shortened: what was left out, by example id; only where something was.
        too_long: tokens of what does not fit even so, by example id.
    """

    asked: Asked
    shortened: Mapping[str, Shortened]
    too_long: Mapping[str, int]


def fit(measure: Measure, context: int, asked: Asked) -> Fitted:
    """Leave out as little as is needed for every request to fit a context of so many tokens.

    Exemplars go from the far end, the first in the prompt first, so that what is left still stands
    right before the item. Then the end of `Prompted.cut` goes, never the instruction, the question
    or the label of the answer. An item is shortened by its own length alone, whatever else is
    asked.

    Raises:
        ModelError: an answer without a token of its own, or a wrong BOS.
    """
    requests = list(asked.requests)
    shortened: dict[str, Shortened] = {}
    too_long: dict[str, int] = {}
    suspects = [at for at, request in enumerate(requests) if most(request) > context]
    lengths = measure([requests[at] for at in suspects]) if suspects else []
    sizes: list[int] = []
    if any(length > context for length in lengths):
        sizes = measure([GenerateRequest("", text, (), 0) for text in asked.exemplars])
    for at, length in zip(suspects, lengths, strict=True):
        if length <= context:
            continue
        name = asked.examples[at].example_id
        request, dropped, left = _without_exemplars(
            measure, context, requests[at], length, asked, sizes
        )
        item = asked.framed[at]
        cut = item.cut
        taken = 0
        if left > context and cut is not None:
            request, now = _cut(measure, context, request, item, cut)
            taken, left = left - now, now
        if left > context:
            too_long[name] = left
            continue
        requests[at] = request
        shortened[name] = Shortened(dropped, taken)
    return Fitted(replace(asked, requests=tuple(requests)), shortened, too_long)


def most(request: Request) -> int:
    """More tokens than a request can have, without a tokenizer: each has at least one byte."""
    answer = (
        max(len(choice.encode()) for choice in request.choices)
        if isinstance(request, ChoiceRequest)
        else request.max_new_tokens
    )
    return len(request.prefix.encode()) + len(request.prompt.encode()) + answer + _MARKS


def _without_exemplars(
    measure: Measure,
    context: int,
    request: Request,
    length: int,
    asked: Asked,
    sizes: Sequence[int],
) -> tuple[Request, int, int]:
    """The request with as many exemplars as fit, how many are gone, and its length in tokens.

    Long texts take long to tokenise: the sizes of the exemplars say where to look, and only what
    is near is measured.

    Args:
        length: tokens of the whole request.
        sizes: tokens of each exemplar by itself, give or take what joins it with others.
    """
    expected = [length - sum(sizes[:dropped]) for dropped in range(len(sizes) + 1)]
    shorter = request
    exemplars = asked.exemplars
    for dropped in range(1, len(exemplars) + 1):
        if expected[dropped] > context + _JOINS * dropped:
            continue
        shorter = replace(request, prefix=asked.head + "".join(exemplars[dropped:]))
        (length,) = measure([shorter])
        if length <= context:
            return shorter, dropped, length
    if exemplars and shorter.prefix != asked.head:
        shorter = replace(request, prefix=asked.head)
        (length,) = measure([shorter])
    return shorter, len(exemplars), length


def _cut(
    measure: Measure, context: int, request: Request, item: Prompted, cut: tuple[int, int]
) -> tuple[Request, int]:
    """The request with the longest beginning of the part that may be cut, and its length."""
    start, end = cut
    low, high = 0, end - start  # characters kept: `low` is the most known to fit
    best, length = _keeping(measure, request, item, cut, 0)
    while high - low > 1:
        middle = (low + high) // 2
        tried, tokens = _keeping(measure, request, item, cut, middle)
        if tokens <= context:
            low, best, length = middle, tried, tokens
        else:
            high = middle
    return best, length


def _keeping(
    measure: Measure, request: Request, item: Prompted, cut: tuple[int, int], kept: int
) -> tuple[Request, int]:
    start, end = cut
    text = item.text[: start + kept].rstrip() + item.text[end:]
    shorter = replace(request, prompt=text)
    return shorter, measure([shorter])[0]
