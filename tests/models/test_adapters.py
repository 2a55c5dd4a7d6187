"""Adapters put on, changed and taken off; the bare base stays what it was, bit for bit."""

from __future__ import annotations

import copy
import json
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from peft import PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import load_file, save_file

from maple.errors import ModelError
from maple.models.adapter_files import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    check_adapter,
    write_base,
)
from maple.models.engine import TransformersModel
from maple.models.files import resolve
from maple.models.loading import Loaded, load
from maple.records import ChoiceRequest, GenerateRequest
from models import tiny
from models.tiny import write_adapter

ASKED = [ChoiceRequest("the quick ", "brown fox", (" jumps", " over")) for _ in range(3)]


@pytest.fixture
def base(families: dict[str, Loaded]) -> Loaded:
    return families["gemma3"]


@pytest.fixture
def model(base: Loaded) -> Iterator[TransformersModel]:
    engine = TransformersModel(base)
    yield engine
    engine.adapters.clear()


def test_adapters_come_and_go(base: Loaded, model: TransformersModel, tmp_path: Path) -> None:
    one, two = write_adapter(tmp_path / "one", 1), write_adapter(tmp_path / "two", 2)
    names = [name for name, _ in base.model.named_modules()]
    bare = model.choice_logprobs(ASKED, None)
    first = model.choice_logprobs(ASKED, one)
    second = model.choice_logprobs(ASKED, two)
    assert len({bare[0].logprobs, first[0].logprobs, second[0].logprobs}) == 3
    assert model.choice_logprobs(ASKED, one) == first
    assert model.choice_logprobs(ASKED, None) == bare
    assert TransformersModel(base).choice_logprobs(ASKED, None) == bare
    assert [name for name, _ in base.model.named_modules()] == names
    assert not any(parameter.requires_grad for parameter in base.model.parameters())
    written = model.generate([GenerateRequest("", "the quick", (), 5)], one)
    assert written != model.generate([GenerateRequest("", "the quick", (), 5)], None)


def test_an_adapter_written_again_is_read_again(model: TransformersModel, tmp_path: Path) -> None:
    first = model.choice_logprobs(ASKED, write_adapter(tmp_path / "one", 1))
    assert model.choice_logprobs(ASKED, write_adapter(tmp_path / "one", 5)) != first


def test_an_adapter_after_another_answers_as_alone(
    model: TransformersModel, tmp_path: Path
) -> None:
    """Weights go into the modules of the adapter before where all else is equal, and only there."""
    folders = [write_adapter(tmp_path / f"seed-{seed}", seed) for seed in (1, 2)]
    folders.append(write_adapter(tmp_path / "alpha", 2))
    config = json.loads((folders[-1] / CONFIG_FILE).read_text())
    config["lora_alpha"] *= 2
    (folders[-1] / CONFIG_FILE).write_text(json.dumps(config))
    folders.append(write_adapter(tmp_path / "r", 3, r=2))

    def modules() -> list[LoraLayer]:
        return [module for module in model._model.modules() if isinstance(module, LoraLayer)]

    alone, made = [], []
    for folder in folders:
        model.adapters.clear()
        alone.append(model.choice_logprobs(ASKED, folder))
    model.adapters.clear()
    for folder, want in zip(folders, alone, strict=True):
        assert model.choice_logprobs(ASKED, folder) == want
        made.append(modules())
    assert len({answers[0].logprobs for answers in alone}) == 4
    assert made[0] == made[1]
    assert made[1] != made[2] != made[3]


def test_adapter_equals_the_merged_model(
    base: Loaded, model: TransformersModel, tmp_path: Path
) -> None:
    folder = write_adapter(tmp_path / "one", 1)
    got = model.choice_logprobs(ASKED[:1], folder)[0].logprobs[0]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        merged = PeftModel.from_pretrained(tiny.build("gemma3"), folder).merge_and_unload().eval()
    text = base.tokenizer("the quick brown fox jumps", return_tensors="pt").input_ids
    start = len(base.tokenizer("the quick brown fox").input_ids)
    logprobs = merged(input_ids=text).logits.log_softmax(-1)[0]
    want = sum(logprobs[at - 1, text[0, at]].item() for at in range(start, text.shape[1]))
    assert got == pytest.approx(want, rel=1e-4)


def test_proof_of_an_adapter(model: TransformersModel, tmp_path: Path) -> None:
    proof = model.proof(write_adapter(tmp_path / "one", 1))
    assert proof.probe_max_abs_diff is not None
    assert proof.probe_max_abs_diff > 0.01
    assert (proof.linear_class, proof.linear_bits, proof.eval_mode) == ("Linear", 32, True)
    assert model.proof(None).probe_max_abs_diff is None
    with pytest.raises(ModelError, match="changes nothing"):
        model.proof(write_adapter(tmp_path / "zero", 1, zero=True))


def test_wrong_adapters_are_refused(base: Loaded, model: TransformersModel, tmp_path: Path) -> None:
    good = write_adapter(tmp_path / "good", 1)
    check_adapter(good, base.base)

    def broken(name: str) -> Path:
        return shutil.copytree(good, tmp_path / name)

    (broken("no-weights") / WEIGHTS_FILE).unlink()
    (broken("bad-weights") / WEIGHTS_FILE).write_bytes(b"not a tensor file")
    (broken("bad-config") / CONFIG_FILE).write_text("{")
    for name in ("no-weights", "bad-weights", "bad-config", "nothing"):
        with pytest.raises(ModelError):
            check_adapter(tmp_path / name, base.base)
    with pytest.raises(ModelError, match="has width 48"):
        check_adapter(write_adapter(tmp_path / "wide", 1, hidden=48), base.base)
    other = broken("other")
    write_base(other, base="sha256:other", tokenizer=base.base.tokenizer, base_name="org/other")
    with pytest.raises(ModelError, match="org/other"):
        model.choice_logprobs(ASKED, other)
    prompt = broken("prompt")
    config = {"peft_type": "PROMPT_TUNING", "task_type": "CAUSAL_LM", "num_virtual_tokens": 4}
    (prompt / CONFIG_FILE).write_text(json.dumps(config))
    with pytest.raises(ModelError, match="adds tokens to the prompt"):
        model.choice_logprobs(ASKED, prompt)


@pytest.mark.parametrize("bits", [32, 16])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"bias": "lora_only"},
        {"modules_to_save": ["lm_head"]},
        {"target_modules": ["q_proj", "lm_head"]},
        {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"], "use_dora": True},
    ],
    ids=["lora", "bias", "saved-head", "adapted-head", "saved-embeddings"],
)
def test_nothing_of_an_adapter_stays_on_the_base(
    settings: dict[str, Any], bits: int, tmp_path: Path
) -> None:
    base = tiny.loaded(tmp_path / "base", "gemma3", bits, attention_bias="bias" in settings)
    model = TransformersModel(base)
    bare = model.choice_logprobs(ASKED, None)
    state = {name: values.clone() for name, values in base.model.state_dict().items()}
    one, two = (write_adapter(tmp_path / f"{seed}", seed, **settings) for seed in (1, 2))
    plain = write_adapter(tmp_path / "plain", 1)
    first = model.choice_logprobs(ASKED, one)
    alone = model.choice_logprobs(ASKED, plain)
    assert model.choice_logprobs(ASKED, two) != first
    assert model.choice_logprobs(ASKED, one) == first
    assert model.choice_logprobs(ASKED, plain) == alone
    assert model.choice_logprobs(ASKED, None) == bare
    assert first != bare
    assert (first == alone) is (settings == {})
    for name, values in base.model.state_dict().items():
        assert torch.equal(values, state.pop(name)), name
    assert state == {}


def test_an_adapter_that_fails_leaves_nothing(
    base: Loaded, model: TransformersModel, tmp_path: Path
) -> None:
    bare = model.choice_logprobs(ASKED, None)
    good = write_adapter(tmp_path / "good", 1)
    first = model.choice_logprobs(ASKED, good)
    larger = write_adapter(tmp_path / "larger", 2, modules_to_save=["lm_head"])
    tensors = load_file(larger / WEIGHTS_FILE)
    head = next(name for name in tensors if "lm_head" in name)
    tensors[head] = torch.cat([tensors[head], tensors[head][:1]])
    save_file(tensors, larger / WEIGHTS_FILE)
    with pytest.raises(ModelError, match="cannot be loaded"):
        model.choice_logprobs(ASKED, larger)
    assert not any(isinstance(module, LoraLayer) for module in base.model.modules())
    assert model.choice_logprobs(ASKED, None) == bare
    assert model.choice_logprobs(ASKED, good) == first


def test_an_adapter_that_changes_the_base_is_refused(
    model: TransformersModel, tmp_path: Path
) -> None:
    folder = write_adapter(tmp_path / "pissa", 1, init_lora_weights="pissa")
    with pytest.raises(ModelError, match="init_lora_weights = 'pissa' changes the base"):
        model.choice_logprobs(ASKED, folder)


def test_an_adapter_on_a_tied_head(tmp_path: Path) -> None:
    model = TransformersModel(tiny.loaded(tmp_path / "tied", "gemma3", tied=True))
    bare = model.choice_logprobs(ASKED, None)
    folder = write_adapter(tmp_path / "head", 1, target_modules=["lm_head"])
    assert model.choice_logprobs(ASKED, folder) != bare
    assert model.choice_logprobs(ASKED, None) == bare


def test_missing_tensors_are_refused(model: TransformersModel, tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "one", 1)
    config = json.loads((folder / CONFIG_FILE).read_text())
    config["target_modules"] = ["q_proj", "down_proj", "o_proj"]
    (folder / CONFIG_FILE).write_text(json.dumps(config))
    with pytest.raises(ModelError, match="missing adapter keys"):
        model.choice_logprobs(ASKED, folder)
    assert model.choice_logprobs(ASKED, None)[0].logprobs[0] < 0.0


def test_tensors_that_nothing_names_are_refused(model: TransformersModel, tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "one", 1)
    config = json.loads((folder / CONFIG_FILE).read_text())
    config["target_modules"] = ["q_proj"]
    (folder / CONFIG_FILE).write_text(json.dumps(config))
    bare = model.choice_logprobs(ASKED, None)
    with pytest.raises(ModelError, match=r"does not name the modules of \d+ tensors"):
        model.choice_logprobs(ASKED, folder)
    assert model.choice_logprobs(ASKED, None) == bare


def test_weights_that_are_no_fractions_are_refused(
    model: TransformersModel, tmp_path: Path
) -> None:
    one, other = write_adapter(tmp_path / "one", 1), write_adapter(tmp_path / "other", 2)
    first = model.choice_logprobs(ASKED, one)
    weights = load_file(other / WEIGHTS_FILE)
    save_file({name: part.to(torch.int8) for name, part in weights.items()}, other / WEIGHTS_FILE)
    with pytest.raises(ModelError, match="holds numbers of type I8"):
        model.choice_logprobs(ASKED, other)
    assert model.choice_logprobs(ASKED, one) == first


def test_an_adapter_of_no_numbers_proves_nothing(model: TransformersModel, tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "one", 1)
    weights = load_file(folder / WEIGHTS_FILE)
    name = next(iter(weights))
    weights[name][0, 0] = torch.nan
    save_file(weights, folder / WEIGHTS_FILE)
    with pytest.raises(ModelError, match="are no numbers"):
        model.proof(folder)


KINDS: dict[str, Any] = {
    "loha": peft.LoHaConfig(r=4, alpha=8, target_modules=["q_proj", "down_proj"]),
    "lokr": peft.LoKrConfig(r=2, alpha=4, target_modules=["q_proj", "down_proj"]),
    "lokr-both": peft.LoKrConfig(r=1, decompose_both=True, target_modules=["up_proj"]),
    "vera": peft.VeraConfig(r=8, target_modules=["q_proj", "down_proj"]),
    "ia3": peft.IA3Config(
        target_modules=["q_proj", "down_proj"], feedforward_modules=["down_proj"]
    ),
}


def write_foreign(folder: Path, kind: str, seed: int) -> Path:
    """An adapter as PEFT alone writes it, with random weights, on the tiny Gemma."""
    model = tiny.build("gemma3")
    torch.manual_seed(seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        tuned = get_peft_model(model, copy.deepcopy(KINDS[kind]))
        for parameter in tuned.parameters():
            if parameter.requires_grad:
                torch.nn.init.normal_(parameter, std=0.3)
        tuned.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_other_methods_answer_as_in_plain_peft_and_change_places(
    kind: str, base: Loaded, model: TransformersModel, tmp_path: Path
) -> None:
    bare = model.choice_logprobs(ASKED, None)
    one, two = (write_foreign(tmp_path / f"{seed}", kind, seed) for seed in (1, 2))
    first = model.choice_logprobs(ASKED, one)
    text = base.tokenizer("the quick brown fox jumps", return_tensors="pt").input_ids
    got = base.model(input_ids=text).logits
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        plain = PeftModel.from_pretrained(tiny.build("gemma3"), one).eval()
    torch.testing.assert_close(got, plain(input_ids=text).logits, rtol=1e-4, atol=1e-4)
    proof = model.proof(one)
    assert proof.probe_max_abs_diff is not None
    assert proof.probe_max_abs_diff > 0.01

    layers = [module for module in base.model.modules() if isinstance(module, BaseTunerLayer)]
    second = model.choice_logprobs(ASKED, two)
    refilled = [module for module in base.model.modules() if isinstance(module, BaseTunerLayer)]
    assert layers == refilled
    model.adapters.clear()
    assert model.choice_logprobs(ASKED, two) == second != first
    assert model.choice_logprobs(ASKED, one) == first
    assert model.choice_logprobs(ASKED, None) == bare


@pytest.mark.parametrize(
    ("kind", "bits"), [("vera", 16), ("ia3", 4), ("ia3", 8), ("loha", 8), ("vera", 4)]
)
def test_other_methods_run_in_the_compute_dtype_and_leave_no_trace(
    kind: str, bits: int, tmp_path: Path
) -> None:
    base = tiny.loaded(tmp_path / "base", "gemma3", bits)
    model = TransformersModel(base)
    bare = model.choice_logprobs(ASKED, None)
    folder = write_foreign(tmp_path / "adapter", kind, 1)
    random = torch.get_rng_state()
    assert model.choice_logprobs(ASKED, folder) != bare
    assert torch.equal(torch.get_rng_state(), random)
    added = [
        tensor
        for layer in base.model.modules()
        if isinstance(layer, BaseTunerLayer)
        for name, tensor in (*layer.named_parameters(), *layer.named_buffers())
        if not name.startswith("base_layer")
    ]
    assert {tensor.dtype for tensor in added} == {torch.bfloat16}
    assert model.choice_logprobs(ASKED, None) == bare


@pytest.mark.parametrize("kind", KINDS)
def test_other_methods_must_fit_the_base(kind: str, base: Loaded, tmp_path: Path) -> None:
    folder = write_foreign(tmp_path / "good", kind, 1)
    check_adapter(folder, base.base)
    weights = load_file(folder / WEIGHTS_FILE)
    name = next(name for name in weights if name.endswith(("w1_a", "w1", "ia3_l", "lambda_b")))
    other = {**weights, name: torch.cat([weights[name], weights[name]])}
    save_file(other, folder / WEIGHTS_FILE)
    with pytest.raises(ModelError, match=r"has width \d+, but 'model.layers.0"):
        check_adapter(folder, base.base)
    if kind in ("loha", "vera", "lokr-both"):
        save_file(weights, folder / WEIGHTS_FILE)
        config = json.loads((folder / CONFIG_FILE).read_text())
        (folder / CONFIG_FILE).write_text(json.dumps(config | {"r": 3}))
        with pytest.raises(ModelError, match="says r = 3, but"):
            check_adapter(folder, base.base)


def test_a_method_that_peft_cannot_do_in_four_bits_is_refused(tmp_path: Path) -> None:
    base = tiny.loaded(tmp_path / "base", "gemma3", 4)
    folder = write_foreign(tmp_path / "adapter", "lokr", 1)
    with pytest.raises(ModelError, match="LoKr does not work on a base in 4 bits"):
        TransformersModel(base).choice_logprobs(ASKED, folder)


def test_a_model_finetuned_in_full_proves_that_it_differs(
    base: Loaded, model: TransformersModel
) -> None:
    untuned = model.probe()
    with pytest.raises(ModelError, match="changes nothing"):
        TransformersModel(base, untuned).proof(None)
    proof = TransformersModel(base, untuned + 0.25).proof(None)
    assert proof.probe_max_abs_diff == pytest.approx(0.25, abs=1e-3)


def test_dora_in_eight_bits_is_refused_and_leaves_the_base(tmp_path: Path) -> None:
    base = load(resolve(str(tiny.saved(tmp_path / "tiny", "gemma3"))), 8)
    engine = TransformersModel(base)
    bare = engine.choice_logprobs(ASKED, None)
    with pytest.raises(ModelError, match="DoRA does not work on a base in 8 bits"):
        engine.choice_logprobs(ASKED, write_adapter(tmp_path / "dora", 5, use_dora=True))
    assert engine.choice_logprobs(ASKED, None) == bare
