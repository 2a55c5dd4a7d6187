"""A resolved base model in memory, at 32, 16, 8 or 4 bits, with its tokenizer."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from transformers import (
    AutoModelForCausalLM,
    BitsAndBytesConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from maple.errors import ModelError
from maple.models import products
from maple.models.allocation import keep_freed_memory, make_resident
from maple.models.encoding import load_tokenizer
from maple.models.files import read_json
from maple.records import BaseModel


@dataclass(frozen=True, slots=True)
class Loaded:
    """A base model in memory.

    Attributes:
        base: what was loaded.
        model: in eval mode, no parameter requires a gradient; adapters are put into it and
            taken out of it in place.
        tokenizer: a fast one, as published; nothing was added to it.
        bits: 4, 8, 16 or 32.
        compute_dtype: of activations; float32 for 32 bits, else bfloat16.
    """

    base: BaseModel
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    bits: int
    compute_dtype: torch.dtype


def load(base: BaseModel, bits: int) -> Loaded:
    """Load a base onto this process's GPU, or onto the CPU where there is none.

    Embeddings and the vocabulary head keep 16 bits at every `bits` below 32.

    Args:
        base: as `maple.models.files.resolve` returned it.
        bits: 32 float32; 16 bfloat16; 8 LLM.int8 (Dettmers et al. 2022); 4 NF4 with double
            quantisation and bfloat16 compute (Dettmers et al. 2023).

    Raises:
        ModelError: an architecture that transformers does not have, broken or missing weights,
            weights published quantised, no fast tokenizer, or not enough memory.
    """
    path = Path(base.path)
    settings = read_json(path / "config.json", base.name)
    if settings.get("quantization_config"):
        raise ModelError(
            f"base model {base.name!r}: its weights were published quantised and cannot be "
            f"loaded at {bits} bits",
            "choose the unquantised release of the model",
        )
    # The fused kernel cannot squash attention scores, as Gemma 2 does.
    squashed = settings.get("attn_logit_softcapping") is not None
    compute_dtype = torch.float32 if bits == 32 else torch.bfloat16
    if _device().type == "cpu":
        keep_freed_memory()
        if bits < 32 and products.are_slow():
            products.install()
    try:
        with quiet():
            tokenizer = load_tokenizer(base)
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                path,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                dtype=compute_dtype,
                quantization_config=_quantisation(bits),
                attn_implementation="eager" if squashed else "sdpa",
                device_map={"": _device()},
                output_loading_info=True,
            )
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
        raise ModelError(f"base model {base.name!r}: cannot be loaded: {error}") from error
    model: PreTrainedModel = loaded[0]
    _check_report(base, loaded[1])
    _prepare_quantised(model)
    model.requires_grad_(requires_grad=False)
    make_resident(model.parameters())
    model.eval()  # type: ignore[no-untyped-call]
    return Loaded(base, model, tokenizer, bits, compute_dtype)


def _device() -> torch.device:
    if not torch.cuda.is_available():
        return torch.device("cpu")
    # One process a GPU, as `accelerate launch` numbers them.
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


def _quantisation(bits: int) -> BitsAndBytesConfig | None:
    # transformers leaves the output embeddings and what is tied to them unquantised.
    if bits == 8:
        return BitsAndBytesConfig(load_in_8bit=True)  # type: ignore[no-untyped-call]
    if bits == 4:
        return BitsAndBytesConfig(  # type: ignore[no-untyped-call]
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
        )
    if bits not in (16, 32):
        raise ModelError(f"bits must be 4, 8, 16 or 32, got {bits}")
    return None


def _check_report(base: BaseModel, report: dict[str, Any]) -> None:
    """transformers fills weights that a file lacks with random numbers; that must not pass."""
    for problem in ("missing_keys", "mismatched_keys", "error_msgs"):
        found = report.get(problem)
        if found:
            raise ModelError(
                f"base model {base.name!r}: {problem.replace('_', ' ')} in its weight files: "
                + ", ".join(sorted(str(key) for key in found)[:5])
            )


def _prepare_quantised(model: PreTrainedModel) -> None:
    """Keep bitsandbytes from repacking 4-bit weights on CPUs with AVX512-BF16.

    Its first forward pass without gradients would reorder the weights and round their scales to
    bfloat16, for a kernel without a backward pass: training after it would silently learn
    nothing, and training and evaluation would see different weights. The plain path is faster
    on batches as well (717 against 595 tokens/s, Gemma 3 270M, two cores).
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            setattr(module, "support_avx512bf16_for_cpu", False)  # noqa: B010 - no declared attribute


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No progress bars and no advice on stderr: the worker's log is read by people."""
    # bitsandbytes advises another kernel package at import, and reports each cast of an
    # activation to float16, which is how LLM.int8 is defined, thousands of times.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    verbosity = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        transformers.logging.set_verbosity(verbosity)
        transformers.logging.enable_progress_bar()  # type: ignore[no-untyped-call]
