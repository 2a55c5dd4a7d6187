"""Our engine inside lm-evaluation-harness, against the harness's own model."""

from __future__ import annotations

import functools
import itertools
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import lm_eval
import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.api.registry import get_model
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from transformers import AutoTokenizer

from maple.data.release import read_jsonl
from maple.data.squad import read_squad
from maple.errors import DataError, ModelError
from maple.lm_eval import MapleLM, main
from maple.models import loading
from maple.models.files import resolve
from maple.records import GenerateResponse
from maple.store import Store
from maple.sweep.plan import Plan
from models import tiny
from sweep.studies import swept
from tasks import foreign_files

pytestmark = pytest.mark.usefixtures("datasets_cache")

TASKS = ["animals", "animals_open", "animals_next", "animals_rolling"]


@pytest.fixture(autouse=True)
def one_thread(request: pytest.FixtureRequest) -> Iterator[None]:
    """Tiny matrices are slower on several threads, far slower on a busy machine."""
    threads = torch.get_num_threads()
    if "full" not in request.keywords:
        torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def include(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("include")
    for task in (foreign_files.CHOICE, foreign_files.GENERATE, foreign_files.CONTINUE):
        foreign_files.write(folder, task)
    # Longer than the window of the tiny models, which is 256 tokens.
    long = [{"text": tiny.TEXT[:2000]}, {"text": "the quick brown fox"}]
    return foreign_files.write(
        folder,
        foreign_files.CONTINUE,
        rows=long,
        shots=long,
        task="animals_rolling",
        output_type="loglikelihood_rolling",
        doc_to_text="",
        doc_to_target="{{text}}",
        metric_list=[{"metric": "word_perplexity"}, {"metric": "byte_perplexity"}],
    )


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    # The harness cuts a vocabulary that is larger than its tokenizer's, under an adapter only.
    tiny.tokenizer(folder, bos=True)
    words = len(AutoTokenizer.from_pretrained(folder))
    return tiny.saved(folder, "gemma3", vocab_size=words)


@pytest.fixture(scope="module")
def ours(base: Path) -> MapleLM:
    return MapleLM(str(base), bits=32)


@pytest.fixture(scope="module")
def theirs(base: Path) -> HFLM:
    return HFLM(str(base), dtype="float32", batch_size=4, device="cpu")


def evaluated(model: object, folder: Path, tasks: list[str], n_shot: int) -> dict[str, Any]:
    found = lm_eval.simple_evaluate(
        model=model,
        tasks=tasks,
        num_fewshot=n_shot,
        fewshot_random_seed=0,
        task_manager=TaskManager(include_path=str(folder), include_defaults=False),
        bootstrap_iters=0,
    )
    assert found is not None
    return found


def values(found: Mapping[str, Any]) -> dict[str, float]:
    return {
        f"{task} {metric}": value
        for task, row in found["results"].items()
        for metric, value in row.items()
        if isinstance(value, float) and "stderr" not in metric
    }


@pytest.mark.parametrize("n_shot", [0, pytest.param(2, marks=pytest.mark.full)])
def test_all_output_types_agree_with_the_harness_own_model(
    ours: MapleLM, theirs: HFLM, include: Path, n_shot: int
) -> None:
    one = evaluated(ours, include, TASKS, n_shot)
    other = evaluated(theirs, include, TASKS, n_shot)
    assert values(one) == pytest.approx(values(other), rel=1e-4)
    assert len(values(one)) == 8
    for task in TASKS:
        for mine, reference in zip(one["samples"][task], other["samples"][task], strict=True):
            assert mine["arguments"] == reference["arguments"]
            for answer, expected in zip(
                itertools.chain(*mine["resps"]), itertools.chain(*reference["resps"]), strict=True
            ):
                if isinstance(answer, tuple):
                    assert answer[0] == pytest.approx(expected[0], abs=1e-3)
                    assert answer[1] == expected[1]
                elif isinstance(answer, float):
                    assert answer == pytest.approx(expected, abs=1e-2)
                else:
                    # Bytes at the end that make no whole character are left out by our engine.
                    assert answer == expected.rstrip("\ufffd")


def test_long_requests_are_cut_from_the_left_as_there(ours: MapleLM, theirs: HFLM) -> None:
    context, choice = [1, *range(3, 300)], [7, 8]
    request = [(("context", "choice"), context, choice)]
    (mine,) = ours._loglikelihood_tokens(request)
    (reference,) = theirs._loglikelihood_tokens(request, disable_tqdm=True)
    assert mine[0] == pytest.approx(reference[0], abs=1e-3)


def test_an_empty_context_is_the_beginning_of_a_text(ours: MapleLM, theirs: HFLM) -> None:
    request = [Instance("loglikelihood", {}, ("", "the quick fox"), 0)]
    mine, reference = ours.loglikelihood(request), theirs.loglikelihood(request)
    assert mine[0][0] == pytest.approx(reference[0][0], abs=1e-3)


def test_a_chat_template_writes_the_only_bos(
    ours: MapleLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        ours.tokenizer, "chat_template", "<s>{% for m in messages %}{{ m.content }}{% endfor %}"
    )
    text = ours.apply_chat_template([{"role": "user", "content": "the fox"}])
    assert text == "<s>the fox"
    assert ours.tok_encode(text) == ours.tok_encode("the fox")
    kwargs = {"until": ["."], "max_gen_toks": 4}
    asked = [Instance("generate_until", {}, (prompt, kwargs), 0) for prompt in (text, "the fox")]
    assert len(set(ours.generate_until(asked))) == 1


def test_a_template_may_open_with_a_token_that_the_tokenizer_adds_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As ChatML, where that token is called BOS, too."""
    folder = tiny.saved(tmp_path, "llama")
    mine, theirs = MapleLM(str(folder), bits=32), HFLM(str(folder), dtype="float32", device="cpu")
    template = "{% for m in messages %}<s>{{ m.role }}\n{{ m.content }}</s>\n{% endfor %}<s>yes"
    for lm in (mine, theirs):
        lm.tokenizer.chat_template = template
    history = [{"role": "user", "content": "the fox"}]
    text = mine.apply_chat_template(history)
    assert text == theirs.apply_chat_template(history) == "<s>user\nthe fox</s>\n<s>yes"
    kwargs = {"until": ["."], "max_gen_toks": 8}
    asked = [Instance("generate_until", {}, (text, kwargs), 0)]
    given = []
    plain = mine._engine.generate_from

    def seen(prompts: list[list[int]], *rest: Any) -> list[GenerateResponse]:
        given.extend(prompts)
        return plain(prompts, *rest)

    monkeypatch.setattr(mine._engine, "generate_from", seen)
    answers = mine.generate_until(asked)
    assert given == [theirs.tok_encode(text)]
    assert given[0].count(1) == 2
    assert answers == theirs.generate_until(asked, disable_tqdm=True)
    with pytest.raises(ModelError, match="an empty prompt"):
        mine.generate_until([Instance("generate_until", {}, ("", kwargs), 0)])


def test_a_template_without_a_system_role_gets_none(
    ours: MapleLM, theirs: HFLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    template = (
        "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}"
        "{% endif %}{{ m.content }}{% endfor %}"
    )
    history = [{"role": role, "content": role} for role in ("system", "user")]
    monkeypatch.setattr(ours.tokenizer, "chat_template", template)
    monkeypatch.setattr(theirs.tokenizer, "chat_template", template)
    assert ours.apply_chat_template(history) == theirs.apply_chat_template(history) == "user"
    monkeypatch.setattr(ours.tokenizer, "chat_template", "{{ raise_exception('never') }}")
    with pytest.raises(ModelError, match="the chat template cannot be applied: never"):
        ours.apply_chat_template(history)
    monkeypatch.setattr(ours.tokenizer, "chat_template", None)
    with pytest.raises(ModelError, match="the chat template cannot be applied"):
        ours.apply_chat_template(history)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"model": "demo:nothing", "dtype": "float32"}, "has no argument 'dtype'"),
        ({"model": "demo:nothing", "trust_remote_code": True}, "argument 'trust_remote_code'"),
        ({"bits": 16}, "needs to know which"),
    ],
)
def test_arguments_of_other_models_are_refused(arguments: dict[str, Any], match: str) -> None:
    with pytest.raises(ModelError, match=match):
        get_model("maple").create_from_arg_obj(arguments, {"batch_size": 1, "device": None})


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"num_beams": 4}, "num_beams"),
        ({"max_gen_toks": "many"}, "mine: generation_kwargs: ValueError"),
        ({"until": [""]}, "empty stop string"),
        ({"do_sample": True, "temperature": 0.7, "top_k": 5}, "top_k"),
        ({"do_sample": True, "temperature": 0.0}, "at temperature 0"),
    ],
)
def test_settings_without_a_meaning_here_are_refused(
    ours: MapleLM, settings: dict[str, Any], match: str
) -> None:
    request = Instance("generate_until", {}, ("the fox", settings), 0, ("mine", 0, 1))
    with pytest.raises(DataError, match=match):
        ours.generate_until([request])


def test_sampled_answers_differ_by_request_and_not_by_run(ours: MapleLM) -> None:
    settings = {"do_sample": True, "temperature": 1.0, "top_p": 0.9, "max_gen_toks": 12}
    requests = [Instance("generate_until", {}, ("the fox", settings), 0)] * 3
    first = ours.generate_until(requests)
    assert ours.generate_until(requests) == first
    assert len(set(first)) > 1


def test_a_device_or_a_foreign_adapter_is_refused(base: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cuda:1"):
        MapleLM(str(base), device="cuda:1")
    with pytest.raises(ModelError, match="adapter"):
        MapleLM(str(base), adapter=tmp_path)


@pytest.mark.full
def test_an_adapter_answers_as_there(
    base: Path, ours: MapleLM, include: Path, tmp_path: Path
) -> None:
    folder = tiny.write_adapter(tmp_path / "adapter", 5)
    tuned = MapleLM(str(base), bits=32, adapter=folder)
    with warnings.catch_warnings():
        # PEFT 0.21 reads a property that transformers 5 renamed.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        theirs = HFLM(str(base), peft=str(folder), dtype="float32", device="cpu")
    one, other, bare = (
        evaluated(model, include, ["animals_rolling"], 0) for model in (tuned, theirs, ours)
    )
    assert values(one) == pytest.approx(values(other), rel=1e-4)
    assert values(one) != pytest.approx(values(bare), rel=1e-2)
    assert one["config"]["adapter"] == str(folder)
    assert one["config"]["bits"] == "32"


def test_the_harness_knows_the_model_by_name(base: Path) -> None:
    made = get_model("maple").create_from_arg_obj(
        {"model": str(base), "bits": 32}, {"batch_size": 1, "device": "cuda:0"}
    )
    assert isinstance(made, MapleLM)


def test_a_mistake_ends_the_command_line_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def mistaken() -> None:
        MapleLM("demo:nothing")

    monkeypatch.setattr("maple.lm_eval.cli_evaluate", mistaken)
    with pytest.raises(SystemExit, match=r"error: .*demo:nothing"):
        main()


@pytest.mark.full
def test_the_module_runs(base: Path, include: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "maple.lm_eval", "--model", "maple", "--limit", "2"]
    command += ["--model_args", f"model={base},bits=32"]
    command += ["--tasks", "animals", "--include_path", str(include)]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HF_DATASETS_CACHE": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    assert "acc_norm" in done.stdout


XCOPA: Mapping[str, Any] = {
    "task": "xcopa_it",
    "output_type": "multiple_choice",
    "doc_to_text": (
        "{{premise.strip().rstrip('.')}} {{'perché' if question == 'cause' else 'quindi'}}"
    ),
    "doc_to_choice": "{{[choice1[0]|lower + choice1[1:], choice2[0]|lower + choice2[1:]]}}",
    "doc_to_target": "label",
    "metric_list": foreign_files.CHOICE["metric_list"],
    "metadata": {"version": 1.0},
}
XQUAD: Mapping[str, Any] = {
    "task": "xquad_es",
    "output_type": "generate_until",
    "doc_to_text": "{{context}}\nPregunta: {{question}}\nRespuesta:",
    "doc_to_target": "{{answer}}",
    "generation_kwargs": {"until": ["\n"], "max_gen_toks": 10},
    "metric_list": [{"metric": "contains", "aggregation": "mean", "higher_is_better": True}],
    "metadata": {"version": 1.0},
}
RULES = """
def process_results(doc, results):
    said, wanted = results[0].casefold(), doc["answer"].casefold()
    return {"contains": float(wanted in said)}
"""


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory, release_files: Path) -> Path:
    """Tasks on released files. Few items: `hf` computes the logits of all tokens, 262,144 each."""
    rows, shots = (
        [row.values for row in read_jsonl(release_files / f"xcopa/data/it/{split}.it.jsonl")]
        for split in ("test", "val")
    )
    questions = [
        {"context": item.context, "question": item.question, "answer": item.answers[0]}
        for item in read_squad(release_files / "xquad/xquad.es.json")
        if len(item.context) < 300
    ]
    folder = tmp_path_factory.mktemp("released")
    (folder / "rules.py").write_text(RULES, encoding="utf-8")
    code = {"process_results": "rules.process_results"}
    foreign_files.write(folder, XCOPA, rows[:4], shots)
    foreign_files.write(folder, XCOPA, rows[:2], shots, task="xcopa_it_shots")
    foreign_files.write(folder, XQUAD, questions[:2], questions[-2:], code)
    return folder


@pytest.mark.full
@pytest.mark.parametrize(
    ("name", "bits", "dtype", "asked"),
    [
        ("gemma-3-270m", 32, "float32", [("xcopa_it", 0), ("xquad_es", 0)]),
        ("smollm2-135m", 16, "bfloat16", [("xcopa_it", 0), ("xcopa_it_shots", 2)]),
    ],
)
def test_a_real_model_has_one_accuracy_by_three_ways(
    released: Path,
    tmp_path: Path,
    name: str,
    bits: int,
    dtype: str,
    asked: list[tuple[str, int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Through `hf` there, through our engine there, and as tasks of a study."""
    # The study and our engine there load the base alike: once is enough.
    once = functools.cache(loading.load)
    monkeypatch.setattr(loading, "load", once)
    monkeypatch.setattr("maple.lm_eval.load", once)
    tasks = [
        {"name": f"lm_eval:{task}", "n_shot": n_shot, "language": task.split("_")[1]}
        for task, n_shot in asked
    ]
    evaluate = {"eval_bits": [bits], "lm_eval_include": [str(released)], "task": tasks}
    study = {
        "name": "foreign",
        "base": {"models": [f"demo:{name}"]},
        "evaluate": evaluate,
    }
    _, plan, store = swept(study, tmp_path / "out")
    ours = MapleLM(f"demo:{name}", bits=bits)
    theirs = HFLM(resolve(f"demo:{name}").path, dtype=dtype, batch_size=4, device="cpu")
    for task, n_shot in asked:
        one, other = (
            correct(evaluated(model, released, [task], n_shot)["samples"][task])
            for model in (ours, theirs)
        )
        assert one == stored(plan, store, task, n_shot)
        # In bfloat16 two choices that are close may change places.
        ties = sum(a != b for a, b in zip(one, other, strict=True))
        assert ties <= (0 if bits == 32 else 1)


def correct(samples: list[dict[str, Any]]) -> list[float]:
    """Each item's first metric, in the order of the data."""
    ordered = sorted(samples, key=lambda sample: sample["doc_id"])
    return [float(sample[sample["metrics"][0]]) for sample in ordered]


def stored(plan: Plan, store: Store, task: str, n_shot: int) -> list[float]:
    """The same from a study's scores."""
    (score_id,) = (
        name
        for name, score in plan.grid.scores.items()
        if (cell := plan.grid.evals[score.eval_id]).task == f"lm_eval:{task}"
        and cell.n_shot == n_shot
        and score.metric == plan.task(cell.task).primary_metric
    )
    table = store.scores(score_id, plan.grid.scores[score_id])
    assert table is not None
    rows = {row["example_id"]: row["score"] for row in table.to_pylist()}
    return [rows[f"{task}-{index}"] for index in range(len(rows))]
