"""XQuAD: a question about a passage, answered with words of the passage.

Artetxe et al. 2020. 1,190 questions on 240 passages of SQuAD's development set, with one accepted
answer each, in English and professionally translated into eleven languages. Ids are the same in
all of them.

It has one split, which is scored, so exemplars come from elsewhere: from MLQA's development set
(Lewis et al. 2020), in the item's language where MLQA has it, else in English.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from maple.data.hub import HubDataset
from maple.data.packaged import MINI, mini_languages
from maple.data.release import exists, find
from maple.data.squad import Question, from_hub, read_squad
from maple.errors import DataError, nearest
from maple.languages import language as language_of
from maple.languages import of_release
from maple.metrics import qa
from maple.prompts.lint import lint
from maple.prompts.literals import PROMPTS, wording
from maple.prompts.shapes import reading
from maple.records import ChoiceResponse, Example, GenerateResponse, Prompted
from maple.tasks.card import Card

_ENGLISH = "eng_Latn"
_SHOWN = ("context", "question")
_METRICS = {"f1": qa.f1, "exact_match": qa.exact_match, "char_f1": qa.char_f1}


class Xquad:
    """See `protocols.Task`; subsets are language keys."""

    name = "xquad"
    kind = "generate"
    primary_metric = "f1"
    metrics: tuple[str, ...] = ("f1", "exact_match", "char_f1")
    prompts: tuple[str, ...] = PROMPTS
    stop: tuple[str, ...] = ("\n",)
    # Enough for every gold of en, de, es, ar and zh in Gemma 3's tokens (longest: 54), and for
    # 97.5% of the Arabic ones in those of a tokenizer made for English (SmolLM2).
    max_new_tokens: int | None = 64
    card = Card(
        title="XQuAD",
        hub=("google/xquad", "facebook/mlqa"),
        licence=("CC BY-SA 4.0", "CC BY-SA 3.0"),
        citation=(
            (
                "Artetxe, Ruder and Yogatama 2020. On the Cross-lingual Transferability of "
                "Monolingual Representations. ACL. doi:10.18653/v1/2020.acl-main.421"
            ),
            (
                "Lewis, Oguz, Rinott, Riedel and Schwenk 2020. MLQA: Evaluating Cross-lingual "
                "Extractive Question Answering. ACL. doi:10.18653/v1/2020.acl-main.653"
            ),
        ),
        scored="validation",
        pool="MLQA dev",
        chance=None,
    )

    def subsets(self, dataset: str) -> tuple[str, ...]:
        """Keys of the languages of "release" (twelve) or "mini".

        Raises:
            DataError: no such dataset.
        """
        if dataset == "mini":
            return mini_languages("xquad", ".test.json")
        if dataset == "release":
            return tuple(row.key for row in of_release("xquad"))
        raise DataError(f"xquad has no dataset {dataset!r}", nearest(dataset, ("mini", "release")))

    def language(self, subset: str) -> str:
        """The subset itself: it is named by its language's key."""
        return subset

    def examples(self, dataset: str, subset: str, folder: Path | None) -> list[Example]:
        """All questions, in the release's order; those of a passage share a cluster.

        Raises:
            DataError: no such dataset or subset; missing, broken or contradictory rows.
        """
        self._check(dataset, subset)
        if dataset == "mini":
            questions = read_squad(MINI / "xquad" / f"{subset}.test.json")
        else:
            code = language_of(subset).codes["xquad"]
            name = f"xquad.{code}"
            if folder is None:
                questions = _from_hub("google/xquad", name)
            else:
                questions = read_squad(find(folder, f"xquad/{name}.json"))
        return _examples(questions, "xquad")

    def exemplar_pool(self, dataset: str, subset: str, folder: Path | None) -> list[Example]:
        """Questions of MLQA's development set, in English where it lacks the item's language.

        So do they come where `folder` has no MLQA file in that language. An eval cell is named
        by the pool's content, which differs then.

        Raises:
            DataError: as `examples`; one of its passages is scored.
        """
        self._check(dataset, subset)
        key = self._pool_language(dataset, subset, folder)
        if dataset == "mini":
            questions = read_squad(MINI / "xquad" / f"{key}.val.json")
        elif folder is None:
            code = language_of(key).codes["mlqa"]
            questions = _from_hub("facebook/mlqa", f"mlqa.{code}.{code}")
        else:
            questions = read_squad(find(folder, _mlqa_file(key)))
        scored = {_passage(example) for example in self.examples(dataset, subset, folder)}
        pool = _examples(questions, f"{'mini-val' if dataset == 'mini' else 'mlqa-dev'}-{key}")
        for example in pool:
            if _passage(example) in scored:
                raise DataError(
                    f"xquad, {subset}: exemplar {example.example_id} is on a scored passage"
                )
        return pool

    def render(self, example: Example, subset: str, prompt: str) -> Prompted:
        """Passage, question and the label of the answer, a line each.

        Raises:
            DataError: no such prompt, or the language lacks a word.
        """
        fields = example.fields
        words = wording(prompt, self.language(subset))
        return reading(words, fields["context"], fields["question"], example.golds[0])

    def prompt_text(self, subset: str, prompt: str) -> str:
        """The prompt and the answer with placeholders."""
        fields = {"context": "{context}", "question": "{question}"}
        rendered = self.render(Example("", "", fields, golds=("{answer}",)), subset, prompt)
        return rendered.text + rendered.answers[0]

    def score(
        self,
        example: Example,
        response: ChoiceResponse | GenerateResponse,
        metric: str,
        subset: str,
        prompt: str,
    ) -> float:
        """The metric of the first line of the completion against all golds, 0 to 1.

        Args:
            example: with its golds.
            response: to its request.
            metric: a name from `metrics`.
            subset: its language chooses the rules of normalisation, see `metrics.qa`.
            prompt: without effect here.

        Raises:
            DataError: no such metric.
            TypeError: the response is to a choice request.
        """
        del prompt
        if not isinstance(response, GenerateResponse):
            raise TypeError("xquad is scored from generate responses")
        self._check_metric(metric)
        prediction = response.text.strip().partition("\n")[0].strip()
        return _METRICS[metric](prediction, example.golds, self.language(subset))

    def metric_identity(self, metric: str, subset: str) -> tuple[int, str]:
        """Version and rules of a metric, as a score cell names them: (1, "mlqa-official:de").

        Raises:
            DataError: no such metric.
        """
        self._check_metric(metric)
        return 1, qa.rules(self.language(subset))

    def lint(self, examples: Sequence[Example], subset: str, prompt: str) -> list[str]:
        """Problems of the prompts of these items; see `prompts.lint`."""
        prompted = [self.render(example, subset, prompt) for example in examples]
        return lint(examples, prompted, _SHOWN, wording(prompt, self.language(subset)))

    def remarks(self, examples: Sequence[Example]) -> list[str]:
        """What a report must say about the data of a subset."""
        asked = Counter((_passage(item), item.fields["question"].strip()) for item in examples)
        repeated = sum(count - 1 for count in asked.values())
        return [f"{repeated} items repeat a question on the same passage"] if repeated else []

    def _check(self, dataset: str, subset: str) -> None:
        if subset not in self.subsets(dataset):
            raise DataError(
                f"xquad, {dataset}: no subset {subset!r}", nearest(subset, self.subsets(dataset))
            )

    def _check_metric(self, metric: str) -> None:
        if metric not in self.metrics:
            raise DataError(f"xquad has no metric {metric!r}", nearest(metric, self.metrics))

    def _pool_language(self, dataset: str, subset: str, folder: Path | None) -> str:
        if dataset == "mini":
            return subset
        if "mlqa" not in language_of(subset).codes:
            return _ENGLISH
        if folder is not None and not exists(folder, _mlqa_file(subset)):
            return _ENGLISH
        return subset


def _mlqa_file(key: str) -> str:
    code = language_of(key).codes["mlqa"]
    return f"mlqa/dev/dev-context-{code}-question-{code}.json"


def _from_hub(repo: str, name: str) -> list[Question]:
    patterns = (f"{name}/validation-*.parquet", f"{name}/validation/*.parquet")
    return from_hub(HubDataset(repo).rows(*patterns))


def _examples(questions: Sequence[Question], cluster: str) -> list[Example]:
    return [
        Example(
            example_id=question.item_id,
            cluster_id=f"{cluster}-p{question.passage:03d}",
            fields=_fields(question),
            golds=question.answers,
        )
        for question in questions
    ]


def _fields(question: Question) -> Mapping[str, str]:
    return {"context": question.context, "question": question.question}


def _passage(example: Example) -> str:
    """The passage with white space evened out, so that copies are found."""
    return " ".join(example.fields["context"].split())
