"""Every method of the table, trained for real on tiny models in every precision it has."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from itertools import product as crossed
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from peft import LoraConfig, get_peft_model
from tiny_finetune import CELL, PAIRS, load_plain, make_model, make_tokenizer, padded, silent
from transformers import AutoModelForCausalLM, PreTrainedModel

from maple.finetune import loop
from maple.finetune.adapter import Adapter
from maple.finetune.encoding import encode
from maple.finetune.full import Full
from maple.finetune.loss import AnswerLoss
from maple.finetune.methods import attach
from maple.finetune.packing import pack, packed
from maple.finetune.settings import Settings
from maple.finetune.trainer import train
from maple.models.adapters import AdapterSlot
from maple.models.files import resolve
from maple.models.loading import Loaded, load
from maple.records import BaseModel, TrainCell, TrainOutcome
from maple.study.methods import METHODS, TRAINED, Method

FAMILIES = ("llama", "mistral", "gemma3")
PAIRS_OF_THE_TABLE = [(name, bits) for name in TRAINED for bits in METHODS[name].bits()]
STEPS = 10
# Ten steps on a tiny model with random weights; the table's rates are for real ones.
RATES = {"vera": 0.1, "ia3": 0.1, "lokr": 0.05, "full": 0.003}


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, BaseModel]:
    """Tiny bases on disk, the Gemma with tied embeddings as the real one."""
    found = {}
    for family in FAMILIES:
        folder = tmp_path_factory.mktemp(family)
        model = make_model(family)
        model.generation_config.max_new_tokens = 7
        model.save_pretrained(folder)
        make_tokenizer().save_pretrained(folder)
        found[family] = resolve(str(folder))
    return found


def cell_of(base: BaseModel, method: str, bits: int, **changes: Any) -> TrainCell:
    """Ten steps; what the method does not use is None."""
    row = METHODS[method]
    fields: dict[str, Any] = {
        "base_name": base.name,
        "base": base.identity,
        "tokenizer": base.tokenizer,
        "method": method,
        "train_bits": bits,
        "batch_size": len(PAIRS),
        "epochs": float(STEPS),
        "learning_rate": RATES.get(method, 0.02),
        "lora_dropout": 0.0,
        "warmup_ratio": 0.0,
        "weight_decay": 0.0,
    }
    fields |= {key: None for key in ("r", "lora_alpha", "lora_dropout") if not row.uses(key)}
    if not row.uses("target_modules"):
        fields["target_modules"] = None
    return dataclasses.replace(CELL, **(fields | changes))


def logits(model: torch.nn.Module) -> torch.Tensor:
    batch = padded(encode(make_tokenizer(), PAIRS, 128).rows)
    with torch.no_grad():
        out: torch.Tensor = model(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]
        ).logits
    return out.float()[batch["attention_mask"].bool()]


def state(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: part.detach().clone() for name, part in model.state_dict().items()}


def trained(
    loaded: Loaded, cell: TrainCell, out: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[TrainOutcome, torch.Tensor]:
    """Train; also the logits of the model as training left it."""
    seen: list[torch.Tensor] = []

    for kind in (Adapter, Full):
        written = kind.write_product

        def look(self: Any, cell: TrainCell, texts: Any, out: Path, written: Any = written) -> int:
            self.model.eval()
            with torch.autocast("cpu", torch.bfloat16, enabled=cell.train_bits != 32):
                seen.append(logits(self.model))
            return int(written(self, cell, texts, out))

        monkeypatch.setattr(kind, "write_product", look)
    outcome = train(loaded, PAIRS, cell, out, silent)
    monkeypatch.undo()
    (last,) = seen
    return outcome, last


def answered(base: BaseModel, cell: TrainCell, out: Path) -> torch.Tensor:
    """Logits as evaluation sees them, on a base of its own."""
    if METHODS[cell.method].config is None:
        tuned = dataclasses.replace(base, path=str(out))
        return logits(load(tuned, cell.train_bits or 16).model)
    loaded = load(base, cell.train_bits or 16)
    AdapterSlot(loaded).use(out)
    return logits(loaded.model)


def assert_learns(base: BaseModel, cell: TrainCell, out: Path, patch: pytest.MonkeyPatch) -> None:
    """Loss falls, the base stays, and evaluation answers as the trained model did."""
    bits = cell.train_bits or 16
    loaded = load(base, bits)
    logits(loaded.model)  # bitsandbytes moves some of its state in the first pass
    before, names = state(loaded.model), [name for name, _ in loaded.model.named_modules()]
    bare = logits(loaded.model)
    outcome, last = trained(loaded, cell, out, patch)
    assert outcome.steps == STEPS
    assert outcome.loss_last < outcome.loss_first - 0.2
    assert outcome.trainable_parameters > 0

    after = state(loaded.model)
    assert [name for name, _ in loaded.model.named_modules()] == names
    assert after.keys() == before.keys()
    for name, part in after.items():
        assert torch.equal(part, before[name]), name
        assert part.dtype == before[name].dtype
    assert torch.equal(logits(loaded.model), bare)
    assert not any(parameter.requires_grad for parameter in loaded.model.parameters())
    assert not any(module._forward_hooks for module in loaded.model.modules())

    found = answered(base, cell, out)
    moved = (last - bare).abs().mean()
    assert moved > 0.02
    if bits == 32:
        torch.testing.assert_close(found, last, rtol=1e-4, atol=1e-4)
    else:  # the trained model computes norms and sums in float32, evaluation in bfloat16
        assert (found - last).abs().mean() < 0.15 * moved


def assert_plain_libraries_load_it(base: BaseModel, cell: TrainCell, out: Path) -> None:
    """Without a line of ours."""
    dtype = torch.float32 if cell.train_bits == 32 else torch.bfloat16
    if METHODS[cell.method].config is None:
        model = AutoModelForCausalLM.from_pretrained(out, dtype="auto")
        assert model.dtype == dtype
        tied = model.get_input_embeddings().weight is model.get_output_embeddings().weight
        assert tied is bool(model.config.tie_word_embeddings)
        assert model.generation_config.max_new_tokens == 7
        assert resolve(str(out)).tokenizer == base.tokenizer
    else:
        plain = AutoModelForCausalLM.from_pretrained(base.path, dtype=torch.float32)
        model = load_plain(plain, out)
        if METHODS[cell.method].converted:
            config = json.loads((out / "adapter_config.json").read_text())
            stored = {key: config[key] for key in ("peft_type", "r", "init_lora_weights")}
            assert stored == {"peft_type": "LORA", "r": 8, "init_lora_weights": True}
    if cell.train_bits == 32:
        torch.testing.assert_close(
            logits(model.eval()), answered(base, cell, out), rtol=1e-4, atol=1e-4
        )


def weights_of(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}


class Stopped(Exception):  # noqa: N818  not an error of ours
    """Stands for whatever ends a process."""


def assert_resumes(base: BaseModel, cell: TrainCell, whole: Path, out: Path) -> None:
    """Stopped in the middle and taken up again, it ends with the same bytes."""

    def stop(event: Mapping[str, object]) -> None:
        if event["step"] == 5:
            raise Stopped

    loaded = load(base, cell.train_bits or 16)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
        patch.setattr(loop, "CHECKPOINT_SHARE", 1e9)
        with pytest.raises(Stopped):
            train(loaded, PAIRS, cell, out, stop)
    steps: list[object] = []
    train(loaded, PAIRS, cell, out, lambda event: steps.append(event["step"]))
    assert steps == list(range(5, STEPS + 1))
    assert weights_of(out) == weights_of(whole)


def conforms(
    base: BaseModel, method: str, bits: int, folder: Path, patch: pytest.MonkeyPatch
) -> None:
    cell = cell_of(base, method, bits)
    assert_learns(base, cell, folder, patch)
    assert_plain_libraries_load_it(base, cell, folder)


@pytest.mark.parametrize(("method", "bits"), [("pissa", 4), ("full", 16)])
def test_some_methods(
    method: str,
    bits: int,
    bases: Mapping[str, BaseModel],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    conforms(bases["gemma3"], method, bits, tmp_path, monkeypatch)


@pytest.mark.full
@pytest.mark.parametrize(
    ("family", "method", "bits"),
    [(family, *pair) for family, pair in crossed(FAMILIES, PAIRS_OF_THE_TABLE)],
)
def test_every_method_in_every_precision(
    family: str,
    method: str,
    bits: int,
    bases: Mapping[str, BaseModel],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    conforms(bases[family], method, bits, tmp_path, monkeypatch)


# What is resumed is the method's: one family each, in turn.
@pytest.mark.full
@pytest.mark.parametrize(
    ("family", "method", "bits"),
    [(FAMILIES[n % len(FAMILIES)], *pair) for n, pair in enumerate(PAIRS_OF_THE_TABLE)],
)
def test_every_method_resumes(
    family: str, method: str, bits: int, bases: Mapping[str, BaseModel], tmp_path: Path
) -> None:
    cell = cell_of(bases[family], method, bits)
    train(load(bases[family], bits), PAIRS, cell, tmp_path / "whole", silent)
    assert_resumes(bases[family], cell, tmp_path / "whole", tmp_path / "resumed")


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
@pytest.mark.filterwarnings("ignore:.* changes the base weights:UserWarning")
@pytest.mark.parametrize("method", ["pissa", "olora"])
def test_a_difference_takes_the_steps_that_peft_takes_on_a_changed_base(
    method: str, bases: Mapping[str, BaseModel], tmp_path: Path
) -> None:
    """Against PEFT's own start and PEFT's own conversion, in float32, over ten steps."""
    base = bases["llama"]
    cell = cell_of(base, method, 32, learning_rate=0.01)
    tuned = attach(load(base, 32), Settings.of(cell))
    theirs = load(base, 32).model
    config = LoraConfig(
        r=4,
        lora_alpha=8,
        init_lora_weights=method,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    changed = get_peft_model(theirs, config)
    changed.save_pretrained(tmp_path / "start")
    ours, expected = descended(tuned.model), descended(theirs)
    assert ours == pytest.approx(expected, rel=1e-4)
    assert ours[-1] < ours[0] - 0.5

    (tmp_path / "ours").mkdir()
    tuned.write_product(cell, {}, tmp_path / "ours")
    changed.save_pretrained(
        tmp_path / "theirs", path_initial_model_for_weight_conversion=str(tmp_path / "start")
    )
    found, wanted = (logits(load_plain(make_model(), tmp_path / n)) for n in ("ours", "theirs"))
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3)


def descended(model: PreTrainedModel) -> list[float]:
    """The losses of ten steps of AdamW over all rows."""
    batch = pack(encode(make_tokenizer(), PAIRS, 128).rows)
    loss = AnswerLoss(model)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=0.01, weight_decay=0.0)
    losses = []
    for _ in range(STEPS):
        with packed(model):
            found = loss(batch)
            found.backward()
        optimiser.step()
        optimiser.zero_grad()
        losses.append(found.item())
    return losses


@pytest.mark.parametrize("bits", [4, 8, 16, 32])
@pytest.mark.parametrize("method", ["pissa", "olora"])
def test_a_difference_starts_as_the_base_itself(
    method: str, bits: int, bases: Mapping[str, BaseModel]
) -> None:
    loaded = load(bases["gemma3"], bits)
    bare = logits(loaded.model)
    tuned = attach(loaded, Settings.of(cell_of(bases["gemma3"], method, bits)))
    with torch.autocast("cpu", torch.bfloat16, enabled=bits != 32):
        started = logits(tuned.model)
    plain = load(bases["gemma3"], bits).model
    with torch.autocast("cpu", torch.bfloat16, enabled=bits != 32):
        assert torch.equal(started, logits(plain))
    tuned.detach()
    assert torch.equal(logits(loaded.model), bare)


@pytest.mark.parametrize("row", METHODS.values(), ids=METHODS)
def test_a_row_says_what_peft_says(row: Method) -> None:
    assert METHODS[row.name] is row
    if row.config is None:
        assert not (row.fixed)
        assert not (row.fields)
        assert not (row.options)
        assert not (row.decomposition)
        return
    kind = getattr(peft, row.config)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    named = {*row.fixed, *row.fields.values(), *(option.name for option in row.options)}
    assert named <= fields.keys()
    assert row.fields.keys() <= {"r", "lora_alpha", "lora_dropout", "target_modules"}
    assert "target_modules" in row.fields
    for option in row.options:
        if option.default is not None and option.kind != "str":
            assert fields[option.name].default == option.default, option.name
    # Constructed as a study would have it, with each option at each end of what it may be.
    for option in row.options:
        values = list(option.choices) or [True, False]
        if option.kind in ("int", "float"):
            values = [option.low, option.high - 1e-3 if option.open else option.high]
        for value in values:
            checked = option.checked(int(value) if option.kind == "int" else value)
            kind(task_type="CAUSAL_LM", **{**row.fixed, option.name: checked})
