"""The packaged models, converted and run for real: `make test-full`."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from gguf import GGUFReader, dequantize
from safetensors import safe_open
from transformers import AutoTokenizer

from maple.errors import ModelError
from maple.models import gguf_files
from maple.models.engine import TransformersModel
from maple.models.files import resolve
from maple.models.loading import Loaded, load
from maple.models.templates import Templates
from maple.records import BaseModel, ChoiceRequest, ChoiceResponse, GenerateRequest, InstructionRow
from maple.tasks import TASKS

pytestmark = pytest.mark.full

TEXTS = [
    "Hello world,  two  spaces\n\n\nQ: 1234 + 56.7?\tx",
    "L'oggetto era avvolto nella plastica, perché era fragile.",
    "包裹被塑料包着。雨が降り始めた。 ქართული, ייִדיש, हिन्दी में",
    "ཀ་ᠮ🤗👩‍👩‍👧 ꙮ \u00a0 ½ ٣٤ don't I'LL",
    "def f(x):\n    return {x: 'y'}  # ok\n",
]


@pytest.fixture(scope="module")
def gemma() -> BaseModel:
    return resolve("demo:gemma-3-270m")


@pytest.fixture(scope="module")
def smollm() -> BaseModel:
    return resolve("demo:smollm2-135m")


def test_chat_templates(gemma: BaseModel, smollm: BaseModel) -> None:
    with pytest.raises(ModelError, match="demo:gemma-3-270m: its tokenizer has no chat template"):
        Templates([]).of("chat", gemma)
    chat = Templates([]).of("chat", smollm)
    # Its template sets a scene where a conversation has none of its own.
    assert chat.frame.head.startswith("<|im_start|>system\nYou are a helpful AI assistant")
    assert chat.frame.head.endswith("<|im_start|>user\n")
    assert chat.frame.tail == "<|im_end|>\n<|im_start|>assistant\n"
    assert (chat.frame.space, chat.frame.end) == ("", "<|im_end|>")
    row = InstructionRow("1", "eng_Latn", "Name a river.", "", "The Volta.")
    ((_, _), last) = chat.render(row).segments
    assert last == ("The Volta.<|im_end|>", True)


@pytest.fixture(scope="module")
def exact(gemma: BaseModel) -> Loaded:
    return load(gemma, 32)


@pytest.fixture(scope="module")
def gemma_gguf(tmp_path_factory: pytest.TempPathFactory) -> GGUFReader:
    return GGUFReader(gguf_files._assembled_gemma(tmp_path_factory.mktemp("gguf")))


def sentencepiece(reader: GGUFReader) -> Callable[[str], list[int]]:
    """SentencePiece's own rule: user-defined symbols first, then merge by best score."""
    tokens, scores, types = (
        reader.get_field(f"tokenizer.ggml.{name}").contents()
        for name in ("tokens", "scores", "token_type")
    )
    # llama.cpp writes the runs of spaces among the symbols as spaces.
    tokens = [token.replace(" ", "▁") for token in tokens]
    ids = {token: number for number, token in enumerate(tokens)}
    symbols = sorted((tokens[at] for at, kind in enumerate(types) if kind == 4), key=len)
    pattern = re.compile("(" + "|".join(re.escape(one) for one in reversed(symbols)) + ")")

    def encode(text: str) -> list[int]:
        numbers: list[int] = []
        for part in pattern.split(text.replace(" ", "▁")):
            numbers += [ids[part]] if part in symbols else merged(part, ids, scores)
        return numbers

    return encode


def merged(text: str, ids: dict[str, int], scores: list[float]) -> list[int]:
    """Merge the neighbours whose union has the best score until none has one; then bytes."""
    pieces = list(text)
    while True:
        known = [
            (scores[ids[left + right]], -at)
            for at, (left, right) in enumerate(itertools.pairwise(pieces))
            if left + right in ids
        ]
        if not known:
            break
        at = -max(known)[1]
        pieces[at : at + 2] = [pieces[at] + pieces[at + 1]]
    numbers: list[int] = []
    for piece in pieces:
        numbers += [ids[piece]] if piece in ids else [ids[f"<0x{b:02X}>"] for b in piece.encode()]
    return numbers


def test_gemma_tokens_are_sentencepieces_own(gemma: BaseModel, gemma_gguf: GGUFReader) -> None:
    tokenizer = AutoTokenizer.from_pretrained(gemma.path)
    encode = sentencepiece(gemma_gguf)
    for text in TEXTS:
        ids = tokenizer(text).input_ids
        assert ids == [2, *encode(text)]
        assert tokenizer.decode(ids, skip_special_tokens=True) == text
    assert tokenizer.eos_token_id == 1


def test_gemma_weights_are_the_files(gemma: BaseModel, gemma_gguf: GGUFReader) -> None:
    """Norms as transformers stores them (minus one), matrices to a bfloat16's precision."""
    found = {tensor.name: tensor for tensor in gemma_gguf.tensors}
    with safe_open(Path(gemma.path) / "model.safetensors", framework="pt") as weights:
        names = set(weights.keys())
        assert "lm_head.weight" not in names  # tied
        norm = weights.get_tensor("model.layers.3.input_layernorm.weight").float()
        query = weights.get_tensor("model.layers.3.self_attn.q_proj.weight").float()
    want = torch.tensor(found["blk.3.attn_norm.weight"].data.copy()) - 1
    torch.testing.assert_close(norm, want, rtol=2**-8, atol=2**-8)
    tensor = found["blk.3.attn_q.weight"]
    want = torch.tensor(dequantize(tensor.data, tensor.tensor_type)).reshape(query.shape)
    torch.testing.assert_close(query, want, rtol=2**-8, atol=1e-6)


def test_smollm_splits_digits(smollm: BaseModel) -> None:
    tokenizer = AutoTokenizer.from_pretrained(smollm.path)
    assert tokenizer.tokenize("x  12") == ["x", "ĠĠ", "1", "2"]
    assert tokenizer("Hello").input_ids == tokenizer.encode("Hello", add_special_tokens=False)
    assert tokenizer.eos_token == "<|im_end|>"  # noqa: S105 - no password
    for text in TEXTS:
        assert tokenizer.decode(tokenizer(text).input_ids) == text


def test_precisions_stay_near_each_other(smollm: BaseModel) -> None:
    asked = [
        ChoiceRequest("", "The capital of Italy is", (" Paris", " Rome", " Berlin")),
        ChoiceRequest("", "1, 2, 3, 4,", (" 5", " 9")),
    ]
    expected = TransformersModel(load(smollm, 32)).choice_logprobs(asked, None)
    for bits in (16, 8, 4):
        _stays_near(TransformersModel(load(smollm, bits)), bits, asked, expected)


def _stays_near(
    model: TransformersModel,
    bits: int,
    asked: list[ChoiceRequest],
    expected: list[ChoiceResponse],
) -> None:
    got = model.choice_logprobs(asked, None)
    for one, other in zip(got, expected, strict=True):
        assert max(one.logprobs) == one.logprobs[other.logprobs.index(max(other.logprobs))]
        assert one.logprobs == pytest.approx(other.logprobs, abs={16: 0.2, 8: 1.0, 4: 4.0}[bits])
    assert got[0].logprobs[1] == max(got[0].logprobs)
    written = model.generate([GenerateRequest("", "1, 2, 3, 4,", (",",), 6)], None)[0]
    assert (written.text, written.stop_reason) == (" 5", "stop")


ITEMS = 4
"""Items of each task and prompt."""


@pytest.mark.parametrize(
    ("task", "subset", "prompt"),
    [("xcopa", "ita_Latn", "native"), ("xnli", "deu_Latn", "native-letters")],
)
def test_real_items_equal_plain_forward_passes(
    exact: Loaded, release_files: Path, task: str, subset: str, prompt: str
) -> None:
    items = TASKS[task].examples("release", subset, release_files)[:ITEMS]
    rendered = [TASKS[task].render(item, subset, prompt) for item in items]
    asked = [ChoiceRequest("", one.text, one.answers) for one in rendered]
    for request, response in zip(
        asked, TransformersModel(exact).choice_logprobs(asked, None), strict=True
    ):
        plain = [_plain_logprob(exact, request.prompt, choice) for choice in request.choices]
        assert response.logprobs == pytest.approx(plain, rel=1e-5, abs=1e-4)


def _plain_logprob(base: Loaded, text: str, answer: str) -> float:
    """One forward pass in float32, and the logarithms in float64.

    In float32 the sum over 262,144 words alone is off by 1e-4 nats a token.
    """
    batch = base.tokenizer(text + answer, return_offsets_mapping=True)
    ids = torch.tensor([batch["input_ids"]])
    start = sum(end <= len(text) for _, end in batch["offset_mapping"])
    with torch.no_grad():
        logits = base.model(input_ids=ids, logits_to_keep=ids.shape[1] - start + 1).logits
    logprobs = logits[0, :-1].double().log_softmax(-1)
    return sum(row[token].item() for row, token in zip(logprobs, ids[0, start:], strict=True))
