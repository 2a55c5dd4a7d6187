"""Tasks of lm-evaluation-harness as tasks of ours, and what cannot be one."""

from __future__ import annotations

import json
import os
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lm_eval.api.registry import get_metric
from lm_eval.tasks import TaskManager

from maple.errors import DataError
from maple.records import ChoiceResponse, EvalCell, Example, GenerateResponse
from maple.tasks import asking, foreign
from maple.tasks.foreign import OWN, ForeignTask
from maple.tasks.harness import Harness
from tasks import foreign_files
from tasks.foreign_files import ANIMALS, CHOICE, CONTINUE, GENERATE, SHOTS

pytestmark = pytest.mark.usefixtures("datasets_cache")

ENGLISH = "eng_Latn"


def task(
    folder: Path, name: str = "animals", language: str | None = "en", n_shot: int = 0, seed: int = 0
) -> ForeignTask:
    return ForeignTask(Harness([folder]), f"lm_eval:{name}", language, n_shot, seed)


def items(found: ForeignTask) -> list[Example]:
    return found.examples(OWN, found.subsets(OWN)[0], None)


def chosen(*logprobs: float, greedy: Sequence[bool] | None = None) -> ChoiceResponse:
    best = tuple(greedy or (value == max(logprobs) for value in logprobs))
    return ChoiceResponse(logprobs, (1,) * len(logprobs), best, 9, (), ())


def written(text: str) -> GenerateResponse:
    return GenerateResponse(text, "stop", 3, 9, (), ())


def test_choices_are_rendered_and_scored_as_there(tmp_path: Path) -> None:
    found = task(foreign_files.write(tmp_path, CHOICE), n_shot=2)
    asked = items(found)
    assert asked == items(found)
    first = asked[0]
    assert (first.example_id, first.target) == ("animals-0", 0)
    assert first.choices == (" the cow", " the cat")
    assert json.loads(first.fields["doc"]) == ANIMALS[0]
    context = first.fields["context"]
    assert context.endswith("\n\nWhich animal says moo?\nAnswer:")
    assert context.count("Answer: the ") == 2
    assert found.render(first, ENGLISH, OWN).text == context
    assert (found.metrics, found.primary_metric) == (("acc", "acc_norm"), "acc")
    assert found.metric_identity("acc", ENGLISH) == (1, "lm-eval 0.4.13, task version 2.0")
    for item in asked:
        right = chosen(*(-1.0 if index == item.target else -2.0 for index in range(2)))
        wrong = chosen(*(-2.0 if index == item.target else -1.0 for index in range(2)))
        for metric in found.metrics:
            assert found.score(item, right, metric, ENGLISH, OWN) == 1.0
            assert found.score(item, wrong, metric, ENGLISH, OWN) == 0.0


def test_acc_norm_divides_by_the_length_of_the_choice(tmp_path: Path) -> None:
    rows = [{"question": "?", "options": ["ab", "abcdefgh"], "answer": 1}]
    found = task(foreign_files.write(tmp_path, CHOICE, rows))
    answer = chosen(-2.0, -4.0)
    assert found.score(items(found)[0], answer, "acc", ENGLISH, OWN) == 0.0
    assert found.score(items(found)[0], answer, "acc_norm", ENGLISH, OWN) == 1.0


def test_the_seed_chooses_the_exemplars(tmp_path: Path) -> None:
    foreign_files.write(tmp_path, CHOICE)
    contexts = {
        seed: [item.fields["context"] for item in items(task(tmp_path, n_shot=1, seed=seed))]
        for seed in range(3)
    }
    assert contexts[0] != contexts[1] != contexts[2]
    assert contexts[0] == [i.fields["context"] for i in items(task(tmp_path, n_shot=1, seed=0))]


def test_answers_are_filtered_and_scored_as_there(tmp_path: Path) -> None:
    found = task(foreign_files.write(tmp_path, GENERATE), "animals_open")
    assert (found.kind, found.stop, found.max_new_tokens) == ("generate", ("\n",), 8)
    assert found.metrics == ("exact_match[whole]", "exact_match[noun]")
    first = items(found)[0]
    assert first.golds == ("the cow",)
    scores = {
        text: [found.score(first, written(text), metric, ENGLISH, OWN) for metric in found.metrics]
        for text in (" the cow", "Surely the cow!", "a dog")
    }
    assert scores == {" the cow": [1, 1], "Surely the cow!": [0, 1], "a dog": [0, 0]}


def test_a_continuation_scores_one_where_it_is_the_most_probable(tmp_path: Path) -> None:
    found = task(foreign_files.write(tmp_path, CONTINUE), "animals_next")
    first = items(found)[0]
    assert (found.metrics, first.choices, first.target) == (("acc",), (" the cow",), None)
    assert found.score(first, chosen(-3.0, greedy=[True]), "acc", ENGLISH, OWN) == 1.0
    assert found.score(first, chosen(-3.0, greedy=[False]), "acc", ENGLISH, OWN) == 0.0
    (remark,) = [line for line in found.remarks(items(found)) if "perplexity" in line]
    assert "a figure of the whole set (perplexity)" in remark


def test_a_task_may_bring_rules_of_its_own(tmp_path: Path) -> None:
    code = {"process_results": "rules.score", "process_docs": "rules.first_two"}
    foreign_files.write(
        tmp_path,
        GENERATE,
        functions=code,
        filter_list=None,
        metric_list=[
            {"metric": name, "aggregation": "mean", "higher_is_better": True}
            for name in ("shares", "points", "words")
        ],
    )
    (tmp_path / "rules.py").write_text(
        "def first_two(docs):\n    return docs.select(range(2))\n"
        "def score(doc, results):\n"
        "    return {'shares': 0.5, 'points': 50.0, 'words': results[0].split()}\n",
        encoding="utf-8",
    )
    found = task(tmp_path, "animals_open")
    asked = items(found)
    assert len(asked) == 2
    assert found.metrics == ("shares",)
    assert found.score(asked[0], written("x"), "shares", ENGLISH, OWN) == 0.5
    left_out = [line for line in found.remarks(asked) if "left out" in line]
    assert [line.split()[1] for line in left_out] == ["points", "words"]


def test_an_answer_is_scored_once_for_all_metrics_and_prints_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rules = (
        "def score(doc, results):\n    print('said', results)\n    return {'a': 1.0, 'b': 0.0}\n"
    )
    foreign_files.write(
        tmp_path, CHOICE, metric_list=None, functions={"process_results": "rules.score"}
    )
    (tmp_path / "rules.py").write_text(rules, encoding="utf-8")
    found = task(tmp_path)
    calls: list[object] = []
    plain = foreign.scores
    monkeypatch.setattr(foreign, "scores", lambda *given: calls.append(given) or plain(*given))
    for item in items(found)[:2]:
        for metric, value in (("a", 1.0), ("b", 0.0)):
            assert found.score(item, chosen(-1.0, -2.0), metric, ENGLISH, OWN) == value
    assert found.score(items(found)[0], chosen(-2.0, -1.0), "a", ENGLISH, OWN) == 1.0
    assert len(calls) == 3
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "said" in printed.err


def test_a_metric_of_some_items_only_fails_on_the_others(tmp_path: Path) -> None:
    foreign_files.write(
        tmp_path, CHOICE, metric_list=None, functions={"process_results": "rules.score"}
    )
    (tmp_path / "rules.py").write_text(
        "def score(doc, results):\n"
        "    return {'all': 1.0} | ({'some': 1.0} if 'moo' in doc['question'] else {})\n",
        encoding="utf-8",
    )
    found = task(tmp_path)
    assert found.metrics == ("all", "some")
    second = items(found)[1]
    assert found.score(second, chosen(-1.0, -2.0), "all", ENGLISH, OWN) == 1.0
    with pytest.raises(DataError, match="some of animals-1 is None, expected a number from 0 to 1"):
        found.score(second, chosen(-1.0, -2.0), "some", ENGLISH, OWN)


def test_tasks_that_shuffle_render_the_same_items(tmp_path: Path) -> None:
    foreign_files.write(
        tmp_path, CHOICE, functions={"process_docs": "rules.mix"}, fewshot_split=None
    )
    (tmp_path / "rules.py").write_text(
        "import random\nimport numpy as np\n"
        "def number(doc):\n"
        "    return {**doc, 'question': f\"{doc['question']} {random.random()}\"}\n"
        "def mix(docs):\n    return docs.select(np.random.permutation(len(docs))).map(number)\n",
        encoding="utf-8",
    )
    first = items(task(tmp_path, n_shot=1))
    # The harness itself, seeded otherwise, leaves its documents in the cache of `datasets`.
    random.seed(5)
    TaskManager(include_path=str(tmp_path), include_defaults=False).load(["animals"])
    states = random.getstate(), np.random.get_state()[1].tolist()
    assert items(task(tmp_path, n_shot=1)) == first
    assert (random.getstate(), np.random.get_state()[1].tolist()) == states


def test_a_worker_asks_from_the_stored_items_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = task(foreign_files.write(tmp_path, GENERATE), "animals_open", n_shot=1)
    asked = items(found)
    unknown: dict[str, Any] = dict.fromkeys(EvalCell.__dataclass_fields__)
    cell = EvalCell(**unknown | {"task": found.name, "max_new_tokens": found.max_new_tokens})
    monkeypatch.setattr(Harness, "build", None)
    stored = asking(cell, asked)
    assert (stored.stop, stored.max_new_tokens) == (found.stop, found.max_new_tokens)
    assert [stored.render(item, ENGLISH, OWN) for item in asked] == [
        found.render(item, ENGLISH, OWN) for item in asked
    ]


def test_an_edited_file_is_another_prompt_and_its_place_is_not(tmp_path: Path) -> None:
    def hashed(folder: str, code: str = "return {'acc': 1.0}", **changes: Any) -> str:
        where = tmp_path / folder
        functions = {"process_results": "rules.score"}
        foreign_files.write(where, CHOICE, functions=functions, **changes)
        (where / "rules.py").write_text(f"def score(doc, results):\n    {code}\n", "utf-8")
        return task(where).prompt_text(ENGLISH, OWN)

    first = hashed("one")
    assert first == hashed("two")
    assert first == hashed("three", tag="zoo", metadata={"version": 9})
    assert first != hashed("four", target_delimiter="")
    assert first != hashed("five", code="return {'acc': 0.0}")


PARTS = """
import functools
import zoo.far
from animals_base import Points
def base(doc, results, most): return {"acc": zoo.far.least + %s}
score = functools.partial(base, most=%s)
points = Points(%s)
"""
BASE = """
def later(): import animals_later
class Points:
    def __init__(self, most): self.most = most
    def __call__(self, doc, results): return {"acc": %s}
"""


def test_code_is_hashed_however_it_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "zoo").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path / "zoo"))
    seen = set()
    for number, (parts, base, far, later) in enumerate(
        [
            ((0.0, 1, 1), "0.0", "0", "0"),
            ((0.1, 1, 1), "0.0", "0", "0"),
            ((0.0, 2, 1), "0.0", "0", "0"),
            ((0.0, 1, 2), "0.0", "0", "0"),
            ((0.0, 1, 1), "0.1", "0", "0"),
            ((0.0, 1, 1), "0.0", "1", "0"),
            ((0.0, 1, 1), "0.0", "0", "1"),
            ((0.0, 1, 1), "0.0", "0", "0"),
        ]
    ):
        for name, text in (
            ("rules.py", PARTS % parts),
            ("animals_base.py", BASE % base),
            ("far.py", f"least = {far}"),
            ("animals_later.py", f"never = {later}"),
        ):
            path = tmp_path / "zoo" / name
            path.write_text(text, encoding="utf-8")
            os.utime(path, (number, number))
        for name in ("zoo", "zoo.far", "animals_base"):
            monkeypatch.delitem(sys.modules, name, raising=False)
        for score in ("score", "points"):
            functions = {"process_results": f"rules.{score}"}
            foreign_files.write(tmp_path / "zoo", CHOICE, functions=functions)
            found = ForeignTask(Harness([tmp_path / "zoo"]), "lm_eval:animals", "en", 0, 0)
            seen.add(found.prompt_text(ENGLISH, OWN))
    assert len(seen) == 2 * 7


def test_a_name_stands_once_in_the_folders_of_a_study(tmp_path: Path) -> None:
    one = foreign_files.write(tmp_path / "one", CHOICE)
    two = foreign_files.write(tmp_path / "two", CHOICE, doc_to_text="{{question}}")
    foreign_files.write(one / ".ipynb_checkpoints", CHOICE)
    with pytest.raises(DataError, match=r"is defined 2 times: .*one/animals.yaml, .*two/animals"):
        ForeignTask(Harness([one, two]), "lm_eval:animals", "en", 0, 0)
    assert ForeignTask(Harness([one, one]), "lm_eval:animals", "en", 0, 0).metrics


def test_choices_are_scored_without_code_from_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many tasks set `hf_evaluate` for a metric whose function the harness never calls."""
    monkeypatch.setattr("evaluate.load", None)
    metrics = [
        {"metric": name, "aggregation": "mean", "hf_evaluate": True} for name in ("acc", "f1")
    ]
    found = task(foreign_files.write(tmp_path, CHOICE, metric_list=metrics))
    assert found.metrics == ("acc",)
    assert found._task._metric_fn_list["f1"] is get_metric("f1")


def test_metrics_that_fall_with_the_better_model_are_left_out(tmp_path: Path) -> None:
    metrics = [
        {"metric": name, "aggregation": "mean", "higher_is_better": better}
        for name, better in (("acc", False), ("acc_norm", True))
    ]
    found = task(foreign_files.write(tmp_path, CHOICE, metric_list=metrics))
    assert found.metrics == ("acc_norm",)
    assert any("acc is left out: lower is better" in line for line in found.remarks(items(found)))
    foreign_files.write(tmp_path, CHOICE, metric_list=metrics[:1])
    with pytest.raises(DataError, match=r"no metric that scores single items \(acc: lower is"):
        task(tmp_path)


def test_the_language_is_stated_somewhere(tmp_path: Path) -> None:
    foreign_files.write(tmp_path, CHOICE)
    foreign_files.write(tmp_path, GENERATE)
    assert task(tmp_path, "animals", None).subsets(OWN) == (ENGLISH,)
    assert task(tmp_path, "animals", "it").subsets(OWN) == ("ita_Latn",)
    with pytest.raises(DataError, match="its language is not known"):
        task(tmp_path, "animals_open", None)


def test_exemplars_that_are_scored_items_are_told_or_refused(tmp_path: Path) -> None:
    foreign_files.write(tmp_path, CHOICE, fewshot_split="test")
    found = task(tmp_path, n_shot=2)
    asked = items(found)
    assert "exemplars come from the scored items (6 of 6)" in found.remarks(asked)
    for item in asked:
        question = json.loads(item.fields["doc"])["question"]
        assert item.fields["context"].count(question) == 1
    foreign_files.write(tmp_path, CHOICE, shots=ANIMALS)
    found = task(tmp_path, n_shot=2)
    asked = items(found)
    with pytest.raises(DataError, match="draws exemplars from 6 scored items"):
        found.remarks(asked)


def test_unknown_names_show_near_ones_and_what_cannot_be_read(tmp_path: Path) -> None:
    foreign_files.write(tmp_path, CHOICE)
    (tmp_path / "broken.yaml").write_text("task: [", encoding="utf-8")
    harness = Harness([tmp_path])
    # Without the package's own 13,000 files, which take seconds to index.
    harness._managers[True] = harness._manager(defaults=False)
    with pytest.raises(DataError, match="no task of that name") as caught:
        ForeignTask(harness, "lm_eval:animal", "en", 0, 0)
    assert "did you mean 'animals'" in caught.value.hint
    assert "broken.yaml cannot be read: ParserError" in caught.value.hint


def test_a_file_whose_task_has_no_name_is_the_one_that_is_named(tmp_path: Path) -> None:
    foreign_files.write(tmp_path, CHOICE)
    (tmp_path / "number.yaml").write_text("task: 123\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"number\.yaml: task is 123, expected a name"):
        task(tmp_path)


def test_a_language_that_there_is_not_is_told_with_its_task(tmp_path: Path) -> None:
    foreign_files.write(tmp_path, CHOICE, metadata={"version": 1, "language": "klingonese"})
    with pytest.raises(DataError, match="lm_eval:animals: unknown language 'klingonese'"):
        ForeignTask(Harness([tmp_path]), "lm_eval:animals", None, 0, 0)


def test_groups_are_refused_with_their_members(tmp_path: Path) -> None:
    foreign_files.write(tmp_path, CHOICE, tag="zoo")
    (tmp_path / "group.yaml").write_text("group: farm\ntask: [cows, hens]\n", encoding="utf-8")
    with pytest.raises(DataError, match="a group of 2 tasks") as caught:
        task(tmp_path, "farm")
    assert "cows, hens" in caught.value.hint
    with pytest.raises(DataError, match="a group of 1 tasks") as caught:
        task(tmp_path, "zoo")
    assert "animals" in caught.value.hint


@pytest.mark.parametrize(
    ("base", "changes", "match"),
    [
        (CHOICE, {"dataset_kwargs": {"trust_remote_code": True}}, "trust_remote_code"),
        (CHOICE, {"unsafe_code": True}, "unsafe_code"),
        (CHOICE, {"doc_to_image": "question"}, "pictures"),
        (CHOICE, {"metric_list": [{"metric": "acc_mutual_info"}]}, "acc_mutual_info"),
        (CHOICE, {"doc_to_text": "answer"}, "several contexts"),
        (CHOICE, {"metric_list": [{"metric": "f1"}]}, "no metric that scores single items"),
        (
            CHOICE,
            {"doc_to_target": "{{answer + 5 * ('miaow' in question)}}"},
            "animals-1: its target",
        ),
        (CHOICE, {"doc_to_text": "{{nothing}}"}, "UndefinedError: 'nothing' is undefined"),
        (CHOICE, {"dataset_path": "/no/such/dataset"}, "no/such/dataset"),
        (CHOICE, {"num_fewshot": 0}, "its file asks for none"),
        (CHOICE, {"metric_list": [{"metric": "someone/anything"}]}, "no metric 'someone/anything'"),
        (GENERATE, {"metric_list": [{"metric": "bleu", "hf_evaluate": True}]}, "hf_evaluate"),
        (CHOICE, {"metric_list": "acc"}, "animals: TypeError"),
        (CHOICE, {"dataset_kwargs": "foo"}, "dataset_kwargs is 'foo', expected a table"),
        (
            GENERATE,
            {"generation_kwargs": {"max_gen_toks": "many"}},
            "generation_kwargs: ValueError",
        ),
        (GENERATE, {"generation_kwargs": {"max_gen_toks": 0}}, "wants answers of 0 tokens"),
        (CONTINUE, {"output_type": "loglikelihood_rolling"}, "'loglikelihood_rolling'"),
        (GENERATE, {"repeats": 3}, "3 times"),
        (GENERATE, {"generation_kwargs": {"do_sample": True, "temperature": 1}}, "sampled"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_its_reason(
    tmp_path: Path, base: dict[str, Any], changes: dict[str, Any], match: str
) -> None:
    foreign_files.write(tmp_path, base, **changes)
    with pytest.raises(DataError, match=match):
        items(task(tmp_path, str(base["task"]), n_shot=1))


def test_a_function_without_source_is_refused(tmp_path: Path) -> None:
    foreign_files.write(tmp_path, CHOICE, functions={"doc_to_text": "builtins.str"})
    with pytest.raises(DataError, match=r"builtins\.str comes from a module without Python source"):
        task(tmp_path)


def test_too_many_exemplars_are_refused(tmp_path: Path) -> None:
    foreign_files.write(tmp_path, CHOICE)
    with pytest.raises(DataError, match="4 exemplars asked for, its pool has 3"):
        task(tmp_path, n_shot=len(SHOTS) + 1)


def test_without_the_extra_the_error_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DataError, match="not installed") as caught:
        task(tmp_path)
    assert caught.value.hint == "in the clone of MAPLE: pip install -e '.[lm-eval]'"


def test_unknown_names_are_errors(tmp_path: Path) -> None:
    found = task(foreign_files.write(tmp_path, CHOICE))
    first = items(found)[0]
    with pytest.raises(DataError, match="no dataset"):
        found.subsets("release")
    with pytest.raises(DataError, match="no subset"):
        found.examples(OWN, "ita_Latn", None)
    with pytest.raises(DataError, match="no prompt"):
        found.render(first, ENGLISH, "native")
    with pytest.raises(DataError, match="no metric"):
        found.score(first, chosen(-1.0, -2.0), "f1", ENGLISH, OWN)
    with pytest.raises(DataError, match="no metric"):
        found.metric_identity("f1", ENGLISH)
    with pytest.raises(TypeError):
        found.score(first, written("x"), "acc", ENGLISH, OWN)
