"""Bases in memory at each precision."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from maple.errors import ModelError
from maple.models.engine import TransformersModel
from maple.models.files import resolve
from maple.models.loading import load
from maple.records import ChoiceRequest
from models import tiny

ASKED = [
    ChoiceRequest("the quick ", f"brown {word}", (" jumps", " over the")) for word in ("fox", "dog")
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wide enough for bitsandbytes' blocks of 64 weights."""
    changes = {"hidden_size": 64, "intermediate_size": 128}
    return tiny.saved(tmp_path_factory.mktemp("base"), "gemma3", **changes)


@pytest.mark.parametrize(
    ("bits", "name", "dtype"),
    [
        (32, "Linear", torch.float32),
        (16, "Linear", torch.bfloat16),
        (8, "Linear8bitLt", torch.bfloat16),
        (4, "Linear4bit", torch.bfloat16),
    ],
)
def test_each_precision(folder: Path, bits: int, name: str, dtype: torch.dtype) -> None:
    base = load(resolve(str(folder)), bits)
    assert base.compute_dtype == dtype
    assert type(base.model.get_output_embeddings()).__name__ == "Linear"
    assert base.model.get_output_embeddings().weight.dtype == dtype
    assert not base.model.training
    assert not any(parameter.requires_grad for parameter in base.model.parameters())
    model = TransformersModel(base)
    proof = model.proof(None)
    assert (proof.linear_class, proof.linear_bits) == (name, bits)
    assert model.compute_dtype == str(dtype).removeprefix("torch.")
    once = model.choice_logprobs(ASKED, None)
    assert model.choice_logprobs(ASKED, None) == once
    exact = TransformersModel(load(resolve(str(folder)), 32)).choice_logprobs(ASKED, None)
    for one, other in zip(once, exact, strict=True):
        assert one.logprobs == pytest.approx(other.logprobs, rel=0.3, abs=1.0)


def test_four_bits_still_train_after_evaluation(folder: Path) -> None:
    """bitsandbytes' packed CPU kernel has no backward pass; see `_prepare_quantised`."""
    base = load(resolve(str(folder)), 4)
    TransformersModel(base).choice_logprobs(ASKED, None)
    embedded = torch.randn(1, 5, 64, dtype=torch.bfloat16, requires_grad=True)
    base.model(inputs_embeds=embedded).logits.float().square().mean().backward()
    assert embedded.grad is not None
    assert embedded.grad.abs().sum() > 0


def test_other_bits_are_refused(folder: Path) -> None:
    with pytest.raises(ModelError, match="4, 8, 16 or 32"):
        load(resolve(str(folder)), 3)


def test_missing_weights_are_refused(tmp_path: Path) -> None:
    tiny.saved(tmp_path, "llama")
    weights = load_file(tmp_path / "model.safetensors")
    weights.pop("model.layers.0.mlp.up_proj.weight")
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="missing keys"):
        load(resolve(str(tmp_path)), 32)
    (tmp_path / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(ModelError, match="cannot be loaded"):
        load(resolve(str(tmp_path)), 32)


def test_published_quantised_weights_are_refused(tmp_path: Path) -> None:
    tiny.saved(tmp_path, "llama")
    config = tmp_path / "config.json"
    config.write_text(
        config.read_text().replace("{", '{"quantization_config": {"load_in_4bit": true},', 1)
    )
    base = resolve(str(tmp_path))
    assert base.source_precision == 4
    with pytest.raises(ModelError, match="published quantised"):
        load(base, 16)
