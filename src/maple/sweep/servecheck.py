"""Does a server answer as the built-in engine does? A sample of real requests says."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice, takewhile, zip_longest
from pathlib import Path

from maple import provenance
from maple.data.pulled import opened
from maple.errors import ModelError, StudyError
from maple.evaluate.responses import exemplars_of
from maple.models import files
from maple.models.encoding import bos_count, load_tokenizer
from maple.prompts.exemplars import prefix
from maple.protocols import LanguageModel, Task
from maple.records import (
    BaseModel,
    ChoiceRequest,
    ChoiceResponse,
    GenerateRequest,
    GenerateResponse,
    Prompted,
    Server,
)
from maple.store.servecheck import Agreement, ServeCheck
from maple.study.config import Study, TaskSection
from maple.sweep.asked import asked_of, bound
from maple.sweep.check import check_server, engine_of
from maple.tasks.harness import Harness

CHOICES = 16
"""Choice requests of a sample."""

COMPLETIONS = 8
"""Generate requests of a sample."""

TOLERANCES = {32: 1e-3, 16: 0.05, 8: 0.1, 4: 0.1}
"""Mean absolute difference allowed by bits, in nats per answer token. vLLM on a CPU at 16 bits
measured 0.024, as far as bfloat16 is from float32 (docs/log.md); 8 and 4 bits are not measured."""

_LARGEST = 10.0
"""One choice may be this many tolerances off: more would be no rounding."""

_MOST_DIFFERING = 0.5
"""Share of completions that may differ. A near tie falls either way, and what follows with it."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Requests of real tasks in several languages."""

    choices: tuple[ChoiceRequest, ...]
    completions: tuple[GenerateRequest, ...]


def sample(tasks: Sequence[tuple[Task, TaskSection]], folder: Path | None) -> Sample:
    """The first items of tasks in their fixed order, one of each subset in turn.

    Args:
        tasks: as `sweep.asked.bound` gives them.
        folder: release files; None for the hub, or where the dataset is "mini".

    Raises:
        StudyError: no task of choices, so that nothing would be measured.
        DataError: the data cannot be read.
    """
    scored = [(task, section) for task, section in tasks if task.max_new_tokens is None]
    written = [(task, section) for task, section in tasks if task.max_new_tokens is not None]
    if not scored:
        raise StudyError(
            "a server is compared on log-probabilities: expected a task of choices among "
            + ", ".join(task.name for task, _ in tasks),
            "add --task xcopa",
        )
    choices = [
        ChoiceRequest(shared, item.text, item.answers)
        for _, shared, item in _drawn(scored, folder, CHOICES)
    ]
    completions = [
        GenerateRequest(shared, item.text, task.stop, task.max_new_tokens or 0)
        for task, shared, item in _drawn(written, folder, COMPLETIONS)
    ]
    return Sample(tuple(choices), tuple(completions))


def check(
    study: Study, adapter: Path | None, folder: Path | None, tolerance: float | None
) -> ServeCheck:
    """Ask a server and the built-in engine the same, bare and through the adapter.

    Args:
        study: one base at one precision, with a server, canonicalised by `study.load`.
        adapter: PEFT folder; None to compare the untuned base only.
        folder: as in `sample`.
        tolerance: of the mean difference in nats per answer token, finite and above 0; None for
            `TOLERANCES`.

    Raises:
        ModelError: the server fails, the base cannot be loaded, or gives no finite numbers.
        StudyError: no such tolerance; or as `sample`.
        DataError: as `sample`.
    """
    if tolerance is not None and not 0 < tolerance < math.inf:
        raise StudyError(f"--tolerance {tolerance:g}: expected a finite number above 0")
    evaluate = study.evaluate
    if evaluate is None or evaluate.server is None or evaluate.eval_bits == "as trained":
        raise RuntimeError("expected a study with a server and stated bits")
    (bits,), (name,) = evaluate.eval_bits, study.base.models
    base = files.resolve(name)
    check_server(base, study)
    dtype = engine_of(base, bits, evaluate.server).compute_dtype
    server = Server(evaluate.server.url, evaluate.server.model, dtype)
    harness = Harness([Path(included) for included in evaluate.lm_eval_include])
    with opened(folder, {}) as (source, _):
        asked = sample([bound(section, 0, harness) for section in evaluate.task], source)
    return _compared(base, bits, server, adapter, asked, tolerance)


def _compared(
    base: BaseModel,
    bits: int,
    server: Server,
    adapter: Path | None,
    asked: Sample,
    tolerance: float | None,
) -> ServeCheck:
    from maple.models.engine import TransformersModel
    from maple.models.loading import load
    from maple.models.server import ServerModel

    # The server first: what is wrong with it shows before the base is loaded.
    remote = ServerModel(base, server)
    through: list[Path | None] = [None] if adapter is None else [None, adapter]
    proofs = [remote.proof(folder) for folder in through]
    theirs = [_answers(remote, asked, folder) for folder in through]
    again = [remote.choice_logprobs(asked.choices, folder) for folder in through]
    here = TransformersModel(load(base, bits))
    ours = [_answers(here, asked, folder) for folder in through]
    agreements = tuple(
        agreement(base, "untuned" if folder is None else "adapter", one, repeated, other)
        for folder, one, repeated, other in zip(through, theirs, again, ours, strict=True)
    )
    allowed = TOLERANCES[bits] if tolerance is None else tolerance
    return ServeCheck(
        base=base.identity,
        base_name=base.name,
        bits=bits,
        server=str(proofs[0].server),
        model=remote.model_name,
        created=provenance.utc_now(),
        maple=provenance.versions()["maple"],
        tolerance=allowed,
        agreements=agreements,
        problems=tuple(problem for found in agreements for problem in _problems(found, allowed)),
    )


_Answers = tuple[list[ChoiceResponse], list[GenerateResponse]]


def agreement(
    base: BaseModel,
    through: str,
    server: _Answers,
    repeated: Sequence[ChoiceResponse],
    here: _Answers,
) -> Agreement:
    """How near two engines' answers to the same requests are.

    Args:
        base: its tokenizer counts the tokens of completions.
        through: "untuned" or "adapter".
        server, here: the responses of the two.
        repeated: the server's responses to the choice requests, asked again.

    Raises:
        ModelError: a log-probability of the built-in engine is not finite. The server's own are
            checked as they arrive.
    """
    for response in here[0]:
        if not all(map(math.isfinite, response.logprobs)):
            raise ModelError(
                f"{base.name}: the built-in engine gives log-probabilities of "
                f"{', '.join(f'{value:g}' for value in response.logprobs)} ({through}), so that "
                "nothing can be compared",
                "is the model, or the adapter, damaged?",
            )
    apart = _apart(server[0], here[0])
    tokenizer = load_tokenizer(base)
    differing = []
    for theirs, ours in zip(server[1], here[1], strict=True):
        if theirs.text != ours.text or theirs.stop_reason != ours.stop_reason:
            one, other = (tokenizer(text).input_ids for text in (theirs.text, ours.text))
            same = takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))
            bos = bos_count(tokenizer, one)
            differing.append(sum(1 for _ in same) - bos)
    return Agreement(
        through=through,
        requests=len(here[0]),
        other_picks=sum(
            _pick(theirs) != _pick(ours) for theirs, ours in zip(server[0], here[0], strict=True)
        ),
        mean=sum(apart) / len(apart) if apart else 0.0,
        largest=max(apart, default=0.0),
        repeat=max(_apart(server[0], repeated), default=0.0),
        completions=len(here[1]),
        first_differences=tuple(differing),
    )


def _drawn(
    tasks: Sequence[tuple[Task, TaskSection]], folder: Path | None, wanted: int
) -> list[tuple[Task, str, Prompted]]:
    """(task, exemplars, item) of up to `wanted` items, one of each task and subset in turn."""
    asked = [(*both, subset) for both in tasks for subset in both[1].subsets][:wanted]
    rows: list[list[tuple[Task, str, Prompted]]] = []
    for task, section, subset in asked:
        made = asked_of(task, section, subset, folder)
        pool = None if made.subset.pool is None else made.pool
        source = made.subset.exemplar_subset or subset
        shots = exemplars_of(task.name, source, section.n_shot, 0, pool)
        shared = prefix([task.render(shot, source, section.prompt) for shot in shots], shots)
        items = made.items[: -(-wanted // len(asked))]
        own = made.subset.subset  # of translated items another than the one that was named
        rows.append([(task, shared, task.render(item, own, section.prompt)) for item in items])
    turns = (item for turn in zip_longest(*rows) for item in turn if item is not None)
    return list(islice(turns, wanted))


def _answers(model: LanguageModel, asked: Sample, adapter: Path | None) -> _Answers:
    return (
        model.choice_logprobs(asked.choices, adapter),
        model.generate(asked.completions, adapter),
    )


def _apart(one: Sequence[ChoiceResponse], other: Sequence[ChoiceResponse]) -> list[float]:
    """Absolute difference of each choice's log-probability, in nats per answer token."""
    return [
        abs(mine - theirs) / count
        for ours, their in zip(one, other, strict=True)
        for mine, theirs, count in zip(ours.logprobs, their.logprobs, ours.n_tokens, strict=True)
    ]


def _pick(response: ChoiceResponse) -> int:
    return response.logprobs.index(max(response.logprobs))


def _problems(found: Agreement, tolerance: float) -> list[str]:
    problems = []
    if not found.mean <= tolerance:
        problems.append(
            f"{found.through}: log-probabilities are {found.mean:.2g} nats a token apart in the "
            f"mean, above the tolerance of {tolerance:g}"
        )
    elif not found.largest <= _LARGEST * tolerance:
        problems.append(
            f"{found.through}: one log-probability is {found.largest:.2g} nats a token off, more "
            f"than {_LARGEST:g} times the tolerance of {tolerance:g}"
        )
    differing = len(found.first_differences)
    if differing > _MOST_DIFFERING * found.completions:
        problems.append(
            f"{found.through}: {differing} of {found.completions} completions differ, more than "
            "half"
        )
    return problems
