"""The server engine on a real vLLM server: `make test-vllm`."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from conformance import language_model as conformance
from maple.errors import ModelError
from maple.models.adapter_files import CONFIG_FILE, WEIGHTS_FILE
from maple.models.server import ServerModel
from maple.records import BaseModel, ChoiceRequest, GenerateRequest, Server
from maple.sweep.servecheck import TOLERANCES
from vllm_server.conftest import MAX_LEN, MAX_RANK

pytestmark = pytest.mark.vllm

ASKED = [
    ChoiceRequest("", "The capital of Italy is", (" Paris", " Rome", " Berlin")),
    ChoiceRequest("1, 2, 3, ", "4,", (" 5", " 9, 10")),
]


@pytest.fixture(scope="module")
def model(base: BaseModel, url: str) -> ServerModel:
    return ServerModel(base, Server(url, None, "bfloat16"))


def edited(adapter: Path, folder: Path, *, factor: float = 1.0, r: int = 8) -> Path:
    """A copy with its update scaled, or with rows of zeros up to a higher rank."""
    shutil.copytree(adapter, folder)
    config = json.loads((folder / CONFIG_FILE).read_text())
    (folder / CONFIG_FILE).write_text(json.dumps(config | {"r": r, "lora_alpha": 2 * r}))
    weights = load_file(folder / WEIGHTS_FILE)
    for name, values in weights.items():
        axis = 0 if ".lora_A." in name else 1
        room = [(0, 0), (0, 0)]
        room[axis] = (0, r - values.shape[axis])
        scale = factor if ".lora_B." in name else 1.0
        weights[name] = np.ascontiguousarray(np.pad(values, room) * np.float32(scale))
    save_file(weights, folder / WEIGHTS_FILE)
    return folder


def test_conformance(model: ServerModel) -> None:
    conformance.check_choices(model, ASKED)
    # What the server batches together differs by rounding.
    conformance.check_nothing(model)
    conformance.check_too_long(model)
    conformance.check_generation(
        model, [GenerateRequest("1, 2, ", "3,", (",", "\n"), 6), GenerateRequest("", "no", (), 3)]
    )


def test_it_knows_what_the_model_knows(model: ServerModel) -> None:
    capital, count = model.choice_logprobs(ASKED, None)
    assert max(capital.logprobs) == capital.logprobs[1]
    assert count.greedy == (True, False)
    written = model.generate([GenerateRequest("", "1, 2, 3, 4,", (",",), 6)], None)[0]
    assert (written.text, written.stop_reason) == (" 5", "stop")


def test_requests_that_fill_the_context(model: ServerModel) -> None:
    assert model.max_context == MAX_LEN - 1
    words = "a" + " a" * (model.max_context - 3)  # and BOS, and one word as the choice
    (found,) = model.choice_logprobs([ChoiceRequest("", words, (" a",))], None)
    assert (found.n_prompt_tokens, found.n_tokens) == (model.max_context - 1, (1,))
    assert found.greedy == (True,)
    with pytest.raises(ModelError, match="exceed the context"):
        model.choice_logprobs([ChoiceRequest("", words + " a", (" a",))], None)


def test_a_cached_prefix_changes_nothing(model: ServerModel) -> None:
    shots = "one two three four five six seven eight nine ten\n" * 40
    asked = [ChoiceRequest(shots, "one two", (" three", " nine"))]
    first = model.choice_logprobs(asked, None)
    model.generate([GenerateRequest(shots, "one two", ("\n",), 4)], None)
    assert model.choice_logprobs(asked, None)[0].logprobs == pytest.approx(
        first[0].logprobs, abs=2 * TOLERANCES[16]
    )


def test_adapters_are_told_apart(model: ServerModel, adapter: Path, tmp_path: Path) -> None:
    strong = edited(adapter, tmp_path / "strong", factor=4.0)
    answers = [model.choice_logprobs(ASKED, folder) for folder in (None, adapter, strong)]
    assert len({answer[0].logprobs for answer in answers}) == 3
    near = model.choice_logprobs(ASKED, adapter)
    assert near[0].logprobs == pytest.approx(answers[1][0].logprobs, abs=2 * TOLERANCES[16])
    weak, more = model.proof(adapter), model.proof(strong)
    assert weak.probe_max_abs_diff is not None
    assert more.probe_max_abs_diff is not None
    assert 0 < weak.probe_max_abs_diff < more.probe_max_abs_diff
    assert weak.server is not None
    assert "vllm" in weak.server


def test_an_adapter_that_does_nothing_is_refused(
    model: ServerModel, adapter: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match="changes nothing"):
        model.proof(edited(adapter, tmp_path / "zero", factor=0.0))


def test_a_rank_above_the_servers_is_refused(
    model: ServerModel, adapter: Path, tmp_path: Path
) -> None:
    large = edited(adapter, tmp_path / "large", r=2 * MAX_RANK)
    with pytest.raises(ModelError, match="rank") as caught:
        model.choice_logprobs(ASKED, large)
    assert "--max-lora-rank" in caught.value.hint


def test_serve_check_passes(url: str, adapter: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "maple", "serve-check", "demo:gemma-3-270m", "--url", url]
    command += ["--adapter", str(adapter), "--out", str(tmp_path), "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    found = json.loads(done.stdout)
    print(json.dumps(found["agreements"], indent=1))  # noqa: T201 - for docs/log.md
    assert (done.returncode, found["problems"]) == (0, [])
    assert [one["through"] for one in found["agreements"]] == ["untuned", "adapter"]


def test_an_evaluation_on_the_server(url: str, adapter: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "maple", "evaluate", "demo:gemma-3-270m", "--server", url]
    command += ["--adapter", str(adapter), "--task", "xcopa", "--subset", "en", "--subset", "sw"]
    command += ["--dataset", "mini", "--n-shot", "2", "--limit", "4", "--out", str(tmp_path)]
    command += ["--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    rows = json.loads(done.stdout)["rows"]
    assert {row["subsets"] for row in rows} == {2}
    assert all(0 <= row["score"] <= 1 for row in rows)
