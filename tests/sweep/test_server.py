"""A study whose answers come from a server, and the check of that server."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from maple.errors import ModelError, StudyError
from maple.models import server_api
from maple.records import ChoiceResponse, GenerateResponse
from maple.report import build, gather, summary
from maple.store import Store, servecheck
from maple.store.servecheck import Agreement
from maple.study.load import validate
from maple.sweep.asked import bound
from maple.sweep.catalogue import catalogue
from maple.sweep.plan import Todo, describe, make
from maple.sweep.servecheck import agreement, check, sample
from maple.tasks.harness import Harness
from models import tiny
from models.serving import TinyServer, serving
from sweep.studies import planned, swept

ROOM = {"max_position_embeddings": 2048}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Gemma with room for prompts."""
    return tiny.saved(tmp_path_factory.mktemp("tiny"), "gemma3", **ROOM)


@pytest.fixture
def state(folder: Path) -> TinyServer:
    return TinyServer(tiny.build("gemma3", **ROOM).eval(), folder)


@pytest.fixture
def url(state: TinyServer) -> Iterator[str]:
    with serving(state) as address:
        yield address


def study(folder: Path, url: str | None, **changes: Any) -> dict[str, Any]:
    server = {} if url is None else {"server": {"url": url, **changes.get("server", {})}}
    train = {
        "sources": ["mini"],
        "languages": ["en"],
        "rows": 4,
        "r": [4],
        "lora_alpha": "2r",
        "learning_rate": 1e-2,
        "train_bits": changes.get("train_bits", [32]),
    }
    return {
        "name": "served",
        "base": {"models": changes.get("models", [str(folder)])},
        **({"train": train} if changes.get("train", True) else {}),
        "evaluate": {
            "eval_bits": "as trained" if changes.get("train", True) else [32],
            "limit": 2,
            **server,
            "task": [
                {"name": name, "dataset": "mini", "subsets": ["en", "zh"], "n_shot": 1}
                for name in ("xcopa", "xquad")
            ],
        },
    }


def at(url: str) -> str:
    return url.removeprefix("http://").removesuffix("/v1")


@pytest.mark.full
def test_a_study_on_a_server_gives_the_built_in_engines_answers(
    folder: Path, url: str, state: TinyServer, tmp_path: Path
) -> None:
    outcome, plan, store = swept(study(folder, url), tmp_path / "served")
    assert outcome.failed == {}
    _, here, local = swept(study(folder, None), tmp_path / "here")
    assert {cell.engine for cell in plan.grid.evals.values()} == {"server"}
    assert not plan.grid.evals.keys() & here.grid.evals.keys()
    assert plan.grid.train.keys() == here.grid.train.keys()
    assert len(state.loads) == 1
    pairs = zip(plan.grid.evals.items(), here.grid.evals.items(), strict=True)
    for (name, cell), (other, same) in pairs:
        mine = store.responses(name, cell).to_pylist()
        theirs = local.responses(other, same).to_pylist()
        for one, wanted in zip(mine, theirs, strict=True):
            for field, value in wanted.items():
                if field == "logprobs":
                    assert one[field] == pytest.approx(value, abs=1e-3)
                else:
                    assert one[field] == value
        record = store.eval_record(name, cell)
        assert record is not None
        assert record.proof is not None
        assert record.proof.server == f"{at(url)} tiny-1"
        assert record.proof.server_model == "tiny"
        assert record.proof.linear_bits is None
    # Another address is the same study: nothing is asked again.
    again, _, _ = swept(study(folder, "http://127.0.0.1:9/v1"), tmp_path / "served")
    assert (again.done, again.failed) == ([], {})


@pytest.mark.full
def test_cells_wait_for_their_server(
    folder: Path, url: str, state: TinyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome, plan, _ = swept(study(folder, "http://127.0.0.1:9/v1", train=False), tmp_path)
    assert set(outcome.failed) == set(plan.grid.evals)
    assert all(
        message.startswith("server 127.0.0.1:9: cannot be reached")
        for message in outcome.failed.values()
    )
    # One that hangs is waited for once, not once a cell.
    with monkeypatch.context() as patched:
        patched.setattr(server_api, "_SECONDS", 0.1)
        state.faults = {"silent"}
        hung, _, _ = swept(study(folder, url, train=False), tmp_path)
    assert set(hung.failed) == set(plan.grid.evals)
    assert len(state.asked) == 1
    state.faults = set()
    resumed, _, _ = swept(study(folder, url, train=False), tmp_path)
    assert sorted(resumed.done) == sorted(plan.grid.evals)


@pytest.mark.full
def test_what_is_left_out_does_not_depend_on_how_a_server_was_started(tmp_path: Path) -> None:
    room = {"max_position_embeddings": 760}
    folder = tiny.saved(tmp_path / "tiny", "gemma3", **room)
    state = TinyServer(tiny.build("gemma3", **room).eval(), folder)
    with serving(state) as url:
        asked = study(folder, url, train=False)
        state.faults = {"short-context"}
        refused, plan, _ = swept(asked, tmp_path / "out")
        shorten = {name for name, one in plan.grid.evals.items() if one.truncation == "shorten"}
        assert 0 < len(shorten) < len(plan.grid.evals)
        for name in shorten:
            assert f"the 760 tokens that {folder} reads, and " in refused.failed[name]
            assert "takes only 40" in refused.failed[name]
            assert "--max-model-len 760" in refused.failed[name]
        state.faults = set()
        resumed, _, store = swept(asked, tmp_path / "out")
    assert not resumed.failed
    for name in shorten:
        record = store.eval_record(name, plan.grid.evals[name])
        assert record is not None
        assert record.shortened


def test_the_worker_is_told_where_the_server_is(folder: Path, url: str, tmp_path: Path) -> None:
    changes = {"model": "tiny", "compute_dtype": "float16"}
    plan, store = planned(study(folder, url, server=changes), tmp_path)
    (unit,) = Todo(plan, store).units(set())
    assert unit.server is not None
    assert (unit.server.url, unit.server.model, unit.server.compute_dtype) == (
        url,
        "tiny",
        "float16",
    )
    assert {cell.compute_dtype for cell in plan.grid.evals.values()} == {"float16"}
    assert {cell.server_model for cell in plan.grid.evals.values()} == {"tiny"}
    plain = planned(study(folder, url), tmp_path)[0].grid.evals
    assert {(cell.compute_dtype, cell.server_model) for cell in plain.values()} == {
        ("float32", None)
    }
    # Another of the server's models gives other answers.
    other = planned(study(folder, url, server={**changes, "model": "tiny-awq"}), tmp_path)[0]
    assert not plan.grid.evals.keys() & other.grid.evals.keys()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("127.0.0.1:8000", "expected an address such as"),
        ("ftp://127.0.0.1/v1", "expected an address such as"),
        ("http://", "expected an address such as"),
        ("http://127.0.0.1:x/v1", "expected an address such as"),
        ("http://me:secret/@127.0.0.1/v1", "expected an address such as"),
        ("me:secret@127.0.0.1", "expected an address such as"),
        (["http://me:secret@127.0.0.1/v1"], "should be a valid string"),
        ("http://me:secret@127.0.0.1/v1", "without user, password or query"),
        ("http://127.0.0.1/v1?key=secret", "without user, password or query"),
    ],
)
def test_addresses_are_checked(folder: Path, url: Any, message: str) -> None:
    with pytest.raises(StudyError, match=message) as caught:
        validate(study(folder, url), catalogue(), "s")
    assert str(caught.value).startswith("s: evaluate.server.url: ")
    assert "secret" not in str(caught.value)
    misplaced = study(folder, None)
    misplaced["evaluate"]["server"] = url
    with pytest.raises(StudyError, match=r"s: evaluate\.server: input should be") as caught:
        validate(misplaced, catalogue(), "s")
    assert "secret" not in str(caught.value)


def test_a_server_is_one_base_at_one_precision(folder: Path, url: str) -> None:
    for changes in ({"train_bits": [4, 16]}, {"models": [str(folder), "demo:smollm2-135m"]}):
        with pytest.raises(StudyError, match="one base model at one precision"):
            validate(study(folder, url, **changes), catalogue(), "s")
    scripted = validate(study(folder, url, models=["scripted:hash"]), catalogue(), "s")
    with pytest.raises(StudyError, match="asked on no server"):
        make(scripted, None, None, Store(folder / "nowhere"))


def checked(folder: Path, url: str, tolerance: float | None = None) -> servecheck.ServeCheck:
    return check(validate(study(folder, url, train=False), catalogue(), "s"), None, None, tolerance)


@pytest.mark.full
def test_the_same_model_passes_and_another_does_not(
    folder: Path, url: str, state: TinyServer
) -> None:
    found = checked(folder, url)
    assert found.problems == ()
    (one,) = found.agreements
    assert (one.requests, one.completions, one.other_picks) == (16, 8, 0)
    assert 0 < one.mean < 1e-4
    assert (one.repeat, one.first_differences) == (0.0, ())
    assert "agrees with the built-in engine" in found.sentence()
    with torch.no_grad():
        state.model.model.layers[1].mlp.down_proj.weight.neg_()
    other = checked(folder, url)
    assert "above the tolerance of 0.001" in other.problems[0]
    assert other.sentence().startswith("is refused: untuned: log-probabilities are ")


def test_a_sample_takes_subsets_in_turn(folder: Path, url: str) -> None:
    evaluate = validate(study(folder, url), catalogue(), "s").evaluate
    assert evaluate is not None
    tasks = [bound(section, 0, Harness([])) for section in evaluate.task]
    asked = sample(tasks, None)
    assert (len(asked.choices), len(asked.completions)) == (16, 8)
    assert len({request.prefix for request in asked.choices}) == 2
    assert asked.choices[0].prefix == asked.choices[2].prefix != asked.choices[1].prefix
    assert len(set(asked.choices)) == 16
    with pytest.raises(StudyError, match="expected a task of choices among xquad"):
        sample(tasks[1:], None)


@pytest.mark.parametrize("tolerance", [0.0, -1.0, math.nan, math.inf])
def test_a_tolerance_that_passes_everything_or_nothing(folder: Path, tolerance: float) -> None:
    with pytest.raises(StudyError, match="expected a finite number above 0"):
        checked(folder, "http://127.0.0.1:9/v1", tolerance)


def responses(*logprobs: float, text: str = "") -> tuple[list[Any], list[Any]]:
    choice = ChoiceResponse(logprobs, (2,) * len(logprobs), (False,) * len(logprobs), 3, (), ())
    return [choice], [GenerateResponse(text, "length", 3, 3, (), ())]


def test_agreement_counts_by_hand(folder: Path) -> None:
    from maple.models.files import resolve

    base = resolve(str(folder))
    here, there = responses(-4.0, -5.0, text="abc"), responses(-5.0, -4.5, text="abd")
    again = responses(-5.0, -4.0)[0]
    found = agreement(base, "adapter", there, again, here)
    assert found == Agreement(
        through="adapter",
        requests=1,
        other_picks=1,
        mean=0.375,
        largest=0.5,
        repeat=0.25,
        completions=1,
        first_differences=(2,),
    )
    # A broken base agrees with nothing.
    with pytest.raises(ModelError, match=r"gives log-probabilities of -1, nan \(adapter\)"):
        agreement(base, "adapter", there, again, responses(-1.0, math.nan))


def test_the_verdict_follows_the_results(folder: Path, url: str, tmp_path: Path) -> None:
    plan, store = planned(study(folder, url, train=False), tmp_path)
    (cell, *_) = plan.grid.train.values()
    unchecked = describe(plan, store)["notes"][0]
    assert unchecked.startswith("Answers come from a server that was not compared")
    assert f"maple serve-check {folder} --url {url} --eval-bits 32 --out {tmp_path}" in unchecked
    assert summary(gather(store)).notes[0] == unchecked
    assert "that was not compared" in build(store).read_text(encoding="utf-8")
    found = servecheck.ServeCheck(
        base=cell.base,
        base_name=cell.base_name,
        bits=32,
        server=f"{at(url)} vllm-0",
        model="tiny",
        created="2026-11-25T12:00:00Z",
        maple="0.1.0",
        tolerance=0.001,
        agreements=(Agreement("untuned", 16, 0, 2e-6, 3e-5, 0.0, 8, (4,)),),
        problems=(),
    )
    path = servecheck.write(tmp_path, found)
    assert servecheck.read(tmp_path) == found
    (note, *_) = summary(gather(store)).notes
    assert note == (
        f"Answers come from a server. It was checked on 2026-11-25 ({at(url)} vllm-0) and "
        "agrees with the built-in engine: 2e-06 nats a token apart in the mean (tolerance 0.001), "
        "3e-05 at most; 1 of 8 completions differ."
    )
    assert describe(plan, store)["notes"][0] == note
    # A verdict on another host, and on the untuned base where adapters answer.
    elsewhere, _ = planned(study(folder, "http://[::1]:7/v1", train=False), tmp_path)
    assert describe(elsewhere, store)["notes"][0] == (
        f"{note} The study now names the server at [::1]:7, which was not compared."
    )
    tuned, _ = planned(study(folder, url, server={"model": "tiny"}), tmp_path)
    (adapter,) = (key for key, cell in tuned.grid.train.items() if cell.method == "lora")
    assert describe(tuned, store)["notes"][0] == (
        f"{note} No adapter was compared; do it once: maple serve-check {folder} --url {url} "
        f"--eval-bits 32 --server-model tiny --adapter {tmp_path}/train/{adapter} --out {tmp_path}"
    )
    both = (*found.agreements, dataclasses.replace(found.agreements[0], through="adapter"))
    servecheck.write(tmp_path, dataclasses.replace(found, agreements=both))
    assert "No adapter" not in describe(tuned, store)["notes"][0]
    # What is run as it stands must be quoted.
    odd, _ = planned(study(folder, url, train=False, server={"model": "ti ny"}), tmp_path)
    assert "--server-model 'ti ny' --out" in describe(odd, store)["notes"][0]
    planned(study(folder, url, train=False), tmp_path)
    # A verdict on other bits says nothing about these.
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"bits": 16}))
    assert summary(gather(store)).notes[0] == unchecked
    path.write_text("{}")
    with pytest.raises(Exception, match="not a verdict of this version"):
        summary(gather(store))
