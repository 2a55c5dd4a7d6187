"""A task of lm-evaluation-harness, asked by our engines and scored by its own rules.

The harness renders an item's context (instructions, exemplars by its sampler, question) and the
continuations or stop strings. All of it is stored with the item, beside the document that scoring
needs: whoever asks the items needs the store alone, neither the harness nor the dataset.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from maple.errors import DataError, nearest
from maple.languages import language as language_of
from maple.records import ChoiceResponse, EvalCell, Example, GenerateResponse, Prompted
from maple.study.config import FOREIGN
from maple.tasks.harness import Harness, generation, version
from maple.tasks.harness_metrics import probed, scores, share
from maple.tasks.harness_running import refusal, running

OWN = "lm_eval"
"""What reports call the dataset and the prompt of such a task: the harness's own."""

_KEPT_ANSWERS = 2**16
"""Answers whose scores under all metrics are kept: metrics are asked for one after the other."""


class Stored:
    """A foreign task as its stored items know it; see `protocols.Asking`."""

    def __init__(self, cell: EvalCell, items: Sequence[Example]) -> None:
        self.max_new_tokens = cell.max_new_tokens
        generates = cell.max_new_tokens is not None
        self.stop: tuple[str, ...] = (
            tuple(json.loads(items[0].fields["until"])) if generates else ()
        )

    def render(self, example: Example, subset: str, prompt: str) -> Prompted:
        """The stored context and continuations."""
        del subset, prompt
        return _rendered(example)


class ForeignTask:
    """See `protocols.Task`. One dataset, one subset: the language that the study states.

    Metrics are those of the harness that give each item a number from 0 to 1, average it, and are
    better the higher; what is left out is in `remarks`, with the reason. Their names are the
    harness's, with the filter in brackets where there is another than its default:
    "exact_match[strict-match]".
    """

    prompts: tuple[str, ...] = (OWN,)
    datasets: tuple[str, ...] = (OWN,)
    poolless: tuple[str, ...] = ()

    def __init__(
        self, harness: Harness, name: str, language: str | None, n_shot: int, seed: int
    ) -> None:
        """
        Args:
            harness: where the task is looked up.
            name: with the prefix, as in a study.
            language: any tag; None to take `metadata: language:` of the task's file.
            n_shot: exemplars in each context.
            seed: of the harness's sampler of exemplars.

        Raises:
            DataError: no such task, one that cannot be asked here, or no language stated.
        """
        self.name = name
        self._short = name.removeprefix(FOREIGN)
        found = harness.build(self._short)
        self._task, self._content = found.task, found.content
        self._n_shot = n_shot
        self._seed = seed
        self.kind = "generate" if self._task.OUTPUT_TYPE == "generate_until" else "choice"
        self.stop: tuple[str, ...] = ()
        self.max_new_tokens: int | None = None
        with running(self._short):
            self._subset = self._language(language)
            self._check_shots()
            if self.kind == "generate":
                wanted = generation(self._short, self._task.config.generation_kwargs)
                if wanted.temperature is not None:
                    raise refusal(self._short, "asks for sampled answers; a study's are greedy")
                self.stop, self.max_new_tokens = wanted.stop, wanted.max_new_tokens
            doc = json.loads(_as_json(self._task.task_docs[0], self.name))
            self.metrics, self._left_out = probed(self._task, doc, self._made_up(doc))
        if not self.metrics:
            reasons = "; ".join(f"{name}: {why}" for name, why in self._left_out.items())
            raise refusal(self._short, f"has no metric that scores single items ({reasons})")
        self.primary_metric = self.metrics[0]
        self._scored: dict[tuple[str, object], Mapping[str, object]] = {}

    def subsets(self, dataset: str) -> tuple[str, ...]:
        """The one language.

        Raises:
            DataError: no such dataset.
        """
        if dataset != OWN:
            raise DataError(f"{self.name} has no dataset {dataset!r}", nearest(dataset, (OWN,)))
        return (self._subset,)

    def language(self, subset: str) -> str:
        """The subset itself: it is named by its language's key."""
        return subset

    def answer_language(self, subset: str) -> str:
        """The subset itself, too."""
        return subset

    def examples(self, dataset: str, subset: str, folder: Path | None) -> list[Example]:
        """All documents of the split that the harness evaluates, in its order.

        Args:
            dataset, subset: the only ones there are.
            folder: without effect; the task's file says where its data are.

        Raises:
            DataError: no such dataset or subset, a document or context that the harness cannot
                make, one that cannot be written as JSON, or whose target is none of its choices.
        """
        del folder
        self._check(dataset, subset)
        with running(self._short):
            # Seeded anew, so that each call draws the same exemplars.
            self._task.set_fewshot_seed(self._seed)
            return [self._example(index, doc) for index, doc in enumerate(self._task.task_docs)]

    def exemplar_pool(self, dataset: str, subset: str, folder: Path | None) -> None:
        """None: the exemplars are in each item's context."""
        del folder
        self._check(dataset, subset)

    def render(self, example: Example, subset: str, prompt: str) -> Prompted:
        """The context that the harness made, exemplars included.

        Raises:
            DataError: no such prompt.
        """
        del subset
        if prompt != OWN:
            raise DataError(f"{self.name} has no prompt {prompt!r}", nearest(prompt, (OWN,)))
        return _rendered(example)

    def prompt_text(self, subset: str, prompt: str) -> str:
        """A hash of the task's file: of what it says, and of the code that it names."""
        del subset, prompt
        return self._content

    def score(
        self,
        example: Example,
        response: ChoiceResponse | GenerateResponse,
        metric: str,
        subset: str,
        prompt: str,
    ) -> float:
        """What the harness's filters and `process_results` make of one answer, 0 to 1.

        Raises:
            DataError: no such metric; the task's own code fails, or gives no number from 0 to 1.
            TypeError: the response is to another kind of request.
        """
        del subset, prompt
        self._check_metric(metric)
        value = self._values(example, response).get(metric)
        number = share(value)
        if number is None:
            raise DataError(
                f"{self.name}: {metric} of {example.example_id} is {value!r}, "
                "expected a number from 0 to 1"
            )
        return number

    def metric_identity(self, metric: str, subset: str) -> tuple[int, str]:
        """1 and the versions of harness and task, as a score cell names them.

        Raises:
            DataError: no such metric.
        """
        del subset
        self._check_metric(metric)
        return 1, f"lm-eval {version()}, task version {self._task.VERSION}"

    def lint(self, examples: Sequence[Example], subset: str, prompt: str) -> list[str]:
        """Nothing: the wording is not ours."""
        del examples, subset, prompt
        return []

    def self_test(self, examples: Sequence[Example], subset: str) -> list[str]:
        """Nothing: the metrics are not ours."""
        del examples, subset
        return []

    def remarks(self, examples: Sequence[Example]) -> list[str]:
        """Whose rules these are, what they leave out, and exemplars that are scored items."""
        lines = ["asked and scored by lm-evaluation-harness; items count as independent"]
        lines += [f"metric {name} is left out: {why}" for name, why in self._left_out.items()]
        shared = self._shared(examples) if self._n_shot else 0
        if shared:
            lines.append(f"exemplars come from the scored items ({shared} of {len(examples)})")
        return lines

    def _check(self, dataset: str, subset: str) -> None:
        if subset not in self.subsets(dataset):
            raise DataError(
                f"{self.name}: no subset {subset!r}", nearest(subset, self.subsets(dataset))
            )

    def _check_metric(self, metric: str) -> None:
        if metric not in self.metrics:
            raise DataError(f"{self.name} has no metric {metric!r}", nearest(metric, self.metrics))

    def _language(self, stated: str | None) -> str:
        tag = stated or self._task.config.metadata.get("language")
        if tag is None:
            raise DataError(
                f"{self.name}: its language is not known",
                'state it beside the name: language = "it"',
            )
        try:
            return language_of(str(tag)).key
        except DataError as error:
            raise DataError(f"{self.name}: {error.what}", error.hint) from error

    def _check_shots(self) -> None:
        fixed = self._task.config.num_fewshot
        if fixed == 0 and self._n_shot:
            raise DataError(
                f"{self.name}: n_shot is {self._n_shot}, its file asks for none (num_fewshot: 0)",
                "set n_shot = 0",
            )
        if not self._n_shot:
            return
        pool = len(self._task.sampler.df)
        if self._n_shot > pool:
            raise DataError(
                f"{self.name}: {self._n_shot} exemplars asked for, its pool has {pool}",
                f"set n_shot to {pool} or less",
            )

    def _shared(self, examples: Sequence[Example]) -> int:
        """How many scored documents may serve as exemplars.

        Raises:
            DataError: an item may be its own exemplar. The harness leaves it out only where the
                exemplars' split is the test split.
        """
        pool = {_comparable(doc) for doc in self._task.sampler.df}
        count = sum(_comparable(json.loads(item.fields["doc"])) in pool for item in examples)
        config = self._task.config
        if count and config.fewshot_config.split != config.test_split:
            raise refusal(
                self._short, f"draws exemplars from {count} scored items, themselves included"
            )
        return count

    def _example(self, index: int, doc: Mapping[str, Any]) -> Example:
        task, where = self._task, f"{self._short}-{index}"
        context = task.fewshot_context(
            doc, num_fewshot=self._n_shot, gen_prefix=task.doc_to_prefix(doc)
        )
        made = task.construct_requests(doc=doc, ctx=context, metadata=(self._short, index, 1))
        requests = made if isinstance(made, list) else [made]
        fields = {"context": context, "doc": _as_json(doc, f"{FOREIGN}{where}")}
        if self.kind == "generate":
            fields["until"] = json.dumps(self.stop, ensure_ascii=False)
            return Example(where, where, fields, golds=self._golds(doc))
        choices = tuple(str(request.args[1]) for request in requests)
        return Example(where, where, fields, choices, self._target(doc, len(choices), where))

    def _target(self, doc: Mapping[str, Any], count: int, where: str) -> int | None:
        """Index of the right choice; None where there is one choice, or several are right."""
        if self._task.OUTPUT_TYPE == "loglikelihood":
            return None
        target = self._task.doc_to_target(doc)
        if isinstance(target, list):
            return None
        if isinstance(target, str):
            choices = self._task.doc_to_choice(doc)
            target = choices.index(target) if target in choices else -1
        if not 0 <= target < count:
            raise DataError(f"{FOREIGN}{where}: its target is none of its {count} choices")
        return int(target)

    def _golds(self, doc: Mapping[str, Any]) -> tuple[str, ...]:
        """Right answers, for a reader of the report; scoring asks the harness."""
        target = self._task.doc_to_target(doc)
        if isinstance(target, int) and self._task.config.doc_to_choice is not None:
            target = self._task.doc_to_choice(doc)[target]
        return tuple(map(str, target)) if isinstance(target, list) else (str(target),)

    def _results(self, response: ChoiceResponse | GenerateResponse) -> list[object]:
        """A response as the harness's models give it, one result a request."""
        if isinstance(response, GenerateResponse) != (self.kind == "generate"):
            raise TypeError(f"{self.name} is scored from {self.kind} responses")
        if isinstance(response, GenerateResponse):
            return [response.text]
        return list(zip(response.logprobs, response.greedy, strict=True))

    def _values(
        self, example: Example, response: ChoiceResponse | GenerateResponse
    ) -> Mapping[str, object]:
        """What one answer gets under each metric that is stored."""
        key = (example.fields["doc"], response)
        if key not in self._scored:
            results = self._results(response)
            with running(self._short):
                found = dict(scores(self._task, json.loads(example.fields["doc"]), results))
            if len(self._scored) == _KEPT_ANSWERS:
                self._scored.clear()
            self._scored[key] = {name: found.get(name) for name in self.metrics}
        return self._scored[key]

    def _made_up(self, doc: Mapping[str, Any]) -> Sequence[Sequence[object]]:
        """Results of a right answer and a wrong one, or of each choice."""
        if self.kind == "generate":
            return [[self._golds(doc)[0]], ["-"]]
        if self._task.OUTPUT_TYPE == "loglikelihood":
            return [[(-1.0, True)], [(-1.0, False)]]
        count = len(self._task.doc_to_choice(doc))
        return [[(-1.0 - (i != best), i == best) for i in range(count)] for best in range(count)]


def _rendered(example: Example) -> Prompted:
    return Prompted(example.fields["context"], example.choices or example.golds[:1])


def _as_json(doc: Mapping[str, Any], where: str) -> str:
    try:
        return json.dumps(doc, ensure_ascii=False)
    except TypeError as error:
        raise DataError(f"{where}: its document cannot be stored as text: {error}") from error


def _comparable(doc: object) -> str:
    return json.dumps(doc, ensure_ascii=False, sort_keys=True, default=str)
