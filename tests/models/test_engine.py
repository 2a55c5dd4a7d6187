"""The engine against plain, one-by-one transformers."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from conformance import language_model as conformance
from maple.errors import ModelError
from maple.evaluate.invariance import WRITTEN, measure
from maple.evaluate.responses import alone
from maple.models import batching, engine, runner
from maple.models.attention import NOBODY, KeysValues
from maple.models.encoding import Encoded, Encodings, encode
from maple.models.engine import TransformersModel
from maple.models.files import resolve
from maple.models.loading import Loaded, load
from maple.models.trie import lay_out, straight
from maple.records import ChoiceRequest, GenerateRequest, Sampling
from models import tiny

SHOTS = "question: the quick fox?\nanswer: yes\n\nquestion: perché no?\nanswer: no\n\n"


def requests(seed: int = 0, count: int = 7) -> list[ChoiceRequest]:
    """Some with the shared prefix, some with another, some without; passages that several ask
    about; lengths beyond the window."""
    draw = random.Random(seed)  # noqa: S311 - texts, no secrets
    words = tiny.TEXT.split()
    passages = ["", *(" ".join(draw.choices(words, k=size)) + "\n" for size in (6, 15, 25))]
    made = []
    for _ in range(count):
        prompt = draw.choice(passages) + "question: "
        prompt += " ".join(draw.choices(words, k=draw.randint(1, 30)))
        choices = tuple(" " + " ".join(draw.choices(words, k=draw.randint(1, 4))) for _ in range(3))
        prefix = draw.choice([SHOTS, SHOTS, SHOTS * 2, ""])
        made.append(ChoiceRequest(prefix, prompt + "\nanswer:", choices))
    return [*made, ChoiceRequest(SHOTS, "question: yes?\nanswer:", ("a", "b", "o"))]


def plain_logprob(base: Loaded, text: str, answer: str) -> tuple[float, int]:
    """One forward pass of the whole model on the whole text, no mask, no cache, no batch."""
    batch = base.tokenizer(text + answer, return_offsets_mapping=True)
    ids = torch.tensor([batch["input_ids"]])
    start = sum(end <= len(text) for _, end in batch["offset_mapping"])
    with torch.no_grad():
        logprobs = base.model(input_ids=ids).logits.float().log_softmax(-1)[0]
    picked = [logprobs[at - 1, ids[0, at]].item() for at in range(start, ids.shape[1])]
    return sum(picked), len(picked)


@pytest.mark.parametrize("family", tiny.FAMILIES)
@pytest.mark.parametrize(
    ("seed", "count"), [(0, 7), (1, 7), pytest.param(5, 100, marks=pytest.mark.full)]
)
def test_choices_equal_plain_forward_passes(
    families: dict[str, Loaded],
    engines: dict[str, TransformersModel],
    family: str,
    seed: int,
    count: int,
) -> None:
    asked = requests(seed, count)
    for request, response in zip(asked, engines[family].choice_logprobs(asked, None), strict=True):
        for choice, value, count in zip(
            request.choices, response.logprobs, response.n_tokens, strict=True
        ):
            expected, tokens = plain_logprob(
                families[family], request.prefix + request.prompt, choice
            )
            assert value == pytest.approx(expected, rel=1e-5, abs=1e-4)
            assert count == tokens


def plain_answer(base: Loaded, request: GenerateRequest) -> tuple[list[int], str, float]:
    """Tokens and text of transformers' own greedy generation until the first stop string, and the
    smallest gap on the way between the best logit and the second."""
    ids = base.tokenizer(request.prefix + request.prompt, return_tensors="pt").input_ids
    with torch.no_grad():
        written = base.model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=request.max_new_tokens,
            do_sample=False,
            pad_token_id=0,
            return_dict_in_generate=True,
            output_logits=True,
        )
    tokens = written.sequences[0, ids.shape[1] :].tolist()
    best = torch.cat(written.logits).topk(2).values
    gap = float((best[:, 0] - best[:, 1]).min())
    for count in range(1, len(tokens) + 1):
        text = base.tokenizer.decode(tokens[:count], skip_special_tokens=True)
        found = [at for stop in request.stop if (at := text.find(stop)) >= 0]
        if found:
            return tokens[:count], text[: min(found)], gap
    return tokens, text.rstrip("\ufffd"), gap


@pytest.mark.parametrize("family", tiny.FAMILIES)
@pytest.mark.parametrize(("seed", "count"), [(2, 7), pytest.param(6, 100, marks=pytest.mark.full)])
def test_generation_equals_plain_generate(
    families: dict[str, Loaded],
    engines: dict[str, TransformersModel],
    family: str,
    seed: int,
    count: int,
) -> None:
    base = families[family]
    stops = [(), ("e",), (), ("\n", "no "), ("\u0441",)]
    asked = [
        GenerateRequest(request.prefix, request.prompt, stops[index % 5], 5 + 4 * (index % 4))
        for index, request in enumerate(requests(seed, count))
    ]
    reasons, close = set(), 0
    for request, response in zip(asked, engines[family].generate(asked, None), strict=True):
        tokens, text, gap = plain_answer(base, request)
        if gap <= 1e-4 and response.text != text:
            close += 1
            continue
        assert (response.n_tokens, response.text) == (len(tokens), text)
        if response.stop_reason != "stop":
            assert response.stop_reason == ("eos" if tokens[-1] == 2 else "length")
        reasons.add(response.stop_reason)
    assert close <= len(asked) // 50
    assert count < 100 or {"stop", "length"} <= reasons


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_conformance(engines: dict[str, TransformersModel], family: str) -> None:
    model = engines[family]
    conformance.check_choices(model, requests())
    conformance.check_order_and_purity(model, requests(), tolerance=1e-4)
    conformance.check_nothing(model)
    conformance.check_too_long(model)
    conformance.check_generation(
        model, [GenerateRequest(SHOTS, "yes", ("\n", "e"), 6), GenerateRequest("", "no", (), 3)]
    )


@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_batches_and_waves_change_no_answer(
    families: dict[str, Loaded], family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = [
        GenerateRequest(SHOTS * (1 + index % 2), request.prompt, ("\n",), 3 + 5 * (index % 4))
        for index, request in enumerate(requests(3, count=11))
    ]
    asked += asked[:2]  # XQuAD asks some questions twice
    whole = TransformersModel(families[family]).generate(asked, None)
    assert whole[-2:] == whole[:2]
    assert len({response.n_tokens for response in whole}) > 3
    monkeypatch.setattr(batching, "_MAX_TOKENS", 60)
    monkeypatch.setattr(batching, "_MAX_STORE_BYTES", 256 * 2**10)
    steps: list[int] = []
    plain_step = runner.Runner.step

    def step(self: runner.Runner, store: KeysValues, ids: Tensor, places: Tensor) -> Tensor:
        steps.append(len(ids))
        return plain_step(self, store, ids, places)

    monkeypatch.setattr(runner.Runner, "step", step)
    assert TransformersModel(families[family]).generate(asked, None) == whole
    # Rows of several batches take their steps together, finished ones not for long.
    assert 2 < max(steps) < len(asked)
    assert sum(steps) < 1.5 * sum(response.n_tokens - 1 for response in whole)


def test_waves_fill_the_store() -> None:
    lengths = [40, 36, 32, 12, 8]  # run as 48, 48, 32, 16, 16

    def limit(store: int) -> batching.Budget:
        return batching.Budget(96, store, ((None, 1),))

    assert batching.batches(lengths, 4, 1, limit(110)) == [[0, 1], [2, 3], [4]]
    assert batching.batches(lengths, 4, 1, limit(105)) == [[0], [1], [2, 3], [4]]
    # A row takes 4 + 40 + 1 slots.
    assert batching.waves(lengths, 4, 1, limit(2 * 45)) == [slice(0, 2), slice(2, 4), slice(4, 5)]
    assert batching.waves(lengths, 4, 1, limit(5 * 45)) == [slice(0, 5)]
    assert batching.waves(lengths, 4, 1, limit(1)) == [slice(n, n + 1) for n in range(5)]


def test_branches_of_one_row_hold_the_budget(
    engines: dict[str, TransformersModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six questions of a passage are one row of new tokens, but six rows of keys and values."""
    model = engines["gemma3"]
    asked = [
        GenerateRequest("", SHOTS + word, (), 4)
        for word in ("the", "dog", "no", "yes", "fox", "sopra")
    ]
    whole = model.generate(asked, None)
    held: list[int] = []
    plain = KeysValues.gathered

    def gathered(branches: Any, room: int) -> KeysValues:
        store = plain(branches, room)
        layers = store.slot_layers
        held.append(sum(layer.keys.nbytes + layer.values.nbytes for layer in layers))  # type: ignore[union-attr]
        return store

    monkeypatch.setattr(KeysValues, "gathered", gathered)
    for rows, waves in ((6, 1), (2, 3), (1, 6)):
        held.clear()
        longest = max(response.n_prompt_tokens for response in whole)
        need = sum(size * (longest + 3) for _, size in model.budget.windows)
        monkeypatch.setattr(model, "budget", replace(model.budget, store_bytes=rows * need))
        assert model.generate(asked, None) == whole
        assert len(held) == waves
        assert max(held) <= rows * need


@pytest.mark.parametrize("family", ["llama", "mistral", "gemma3"])
def test_long_rows_run_in_several_passes(
    engines: dict[str, TransformersModel], family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = [ChoiceRequest("", item.prefix + item.prompt, item.choices) for item in requests(5)]
    whole = engines[family].choice_logprobs(asked, None)
    passes: list[int] = []
    plain = runner.Runner._forward

    def forward(self: runner.Runner, store: KeysValues, ids: Tensor, *rest: Tensor) -> Tensor:
        passes.append(ids.shape[1])
        return plain(self, store, ids, *rest)

    monkeypatch.setattr(runner.Runner, "_forward", forward)
    monkeypatch.setattr(runner, "_BLOCK", 16)
    found = engines[family].choice_logprobs(asked, None)
    assert len(passes) > 3
    assert set(passes) == {16}
    for one, other in zip(whole, found, strict=True):
        assert other.logprobs == pytest.approx(one.logprobs, rel=1e-5, abs=1e-4)


def test_positions_that_change_with_the_company_are_not_used(tmp_path: Path) -> None:
    model = TransformersModel(tiny.loaded(tmp_path, "phi3"))
    assert model.max_context == 64
    with pytest.raises(ModelError, match="exceed the context of 64 tokens"):
        model.choice_logprobs([ChoiceRequest("", "no " * 70, ("yes",))], None)


def test_a_family_that_ignores_positions_is_refused(
    families: dict[str, Loaded], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = runner.Runner._forward

    def forward(
        self: runner.Runner, store: KeysValues, ids: Tensor, positions: Tensor, ends: Tensor
    ) -> Tensor:
        counted = torch.arange(store.used, store.used + ids.shape[1])[None]
        return plain(self, store, ids, counted, ends)

    monkeypatch.setattr(runner.Runner, "_forward", forward)
    with pytest.raises(ModelError, match="use positions or masks in a way that is not known"):
        TransformersModel(families["llama"])


def test_the_budget_counts_what_windows_show(families: dict[str, Loaded]) -> None:
    model = families["gemma3"].model
    found = batching.budget(model, runner.Runner(model).kinds)
    token = 2 * 2 * 8 * 4  # keys and values, heads, width, float32: of one layer of each kind
    assert dict(found.windows) == {None: token, tiny.WINDOW: token}
    with torch.inference_mode():
        run = runner.Runner(model)
        store, _ = run.rows(run.prefix(list(range(3, 43))), [straight([5, 6, 7])] * 2)
    held = sum(layer.keys.nbytes + layer.values.nbytes for layer in store.slot_layers)  # type: ignore[union-attr]
    limit = batching.Budget(found.new_tokens, held, found.windows)
    assert batching.padded(3) == 16
    assert limit.rows(40, 16) == 2
    assert batching.Budget(found.new_tokens, held - 1, found.windows).rows(40, 16) == 1


def test_sequences_are_gathered_from_their_rows(families: dict[str, Loaded]) -> None:
    run = runner.Runner(families["gemma3"].model)
    trunk = list(range(20, 30))
    (row,) = lay_out([[*trunk, 31, 32], [*trunk, 33]])
    with torch.inference_mode():
        prefix = run.prefix(list(range(3, 43)))
        one, _ = run.rows(prefix, [row])
        other, _ = run.rows(prefix, [straight([9, 10])])
        kept = [layer.keys for layer in one.slot_layers]
        branches = [(one, 0, [40 + index for index in row.paths[number]]) for number in (1, 0)]
        store = KeysValues.gathered([*branches, (other, 0, [40, 41])], room=4)
    sliding, full = store.slot_layers
    assert full.keys is not None
    assert sliding.keys is not None
    assert full.keys.shape[:3] == (3, 2, 40 + 12 + 4)
    # Sliding layers hold what a window shows of the prefix.
    assert sliding.keys.shape[:3] == (3, 2, tiny.WINDOW - 1 + 12 + 4)
    for layer, keys in zip((sliding, full), kept, strict=True):
        assert keys is not None
        assert layer.keys is not None
        at = 50 - layer.first
        torch.testing.assert_close(layer.keys[0, :, at], keys[0, :, at + 2], rtol=0, atol=0)
        torch.testing.assert_close(layer.keys[1, :, : at + 2], keys[0, :, : at + 2], rtol=0, atol=0)
    assert [layer.keys for layer in (*one.slot_layers, *other.slot_layers)] == [None] * 4
    assert store.positions[0, 38:51].tolist() == list(range(38, 51))
    hidden = (store.ends == NOBODY)[:, 41:53].tolist()
    assert [line.index(True) for line in hidden] == [10, 11, 1]


def test_kept_prefix_changes_no_bit(families: dict[str, Loaded]) -> None:
    asked = requests(4)
    model = TransformersModel(families["gemma3"])
    first = model.choice_logprobs(asked, None)
    assert model._kept is not None
    assert model.choice_logprobs(asked, None) == first
    model._kept = None
    assert model.choice_logprobs(asked, None) == first


def test_long_prefixes_run_in_blocks(
    families: dict[str, Loaded], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = requests(5)
    whole = TransformersModel(families["gemma3"]).choice_logprobs(asked, None)
    monkeypatch.setattr(runner, "_BLOCK", 7)
    blocks = TransformersModel(families["gemma3"]).choice_logprobs(asked, None)
    for one, other in zip(whole, blocks, strict=True):
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)


def test_generation_batches_do_not_matter(engines: dict[str, TransformersModel]) -> None:
    asked = [GenerateRequest(SHOTS, f"question {n}: {'fox ' * n}", ("z",), 12) for n in range(9)]
    model = engines["gemma3"]
    assert model.generate(asked, None) == [model.generate([one], None)[0] for one in asked]


def test_samples_depend_on_their_seed_alone(engines: dict[str, TransformersModel]) -> None:
    def asked(seed: int, temperature: float = 1.0) -> GenerateRequest:
        return GenerateRequest(SHOTS, "fox", (), 8, Sampling(temperature, 0.9, seed))

    model = engines["gemma3"]
    greedy = GenerateRequest(SHOTS, "fox", (), 8)
    together = model.generate([asked(1), greedy, asked(2), asked(1), asked(3, 1e-4)], None)
    assert together[0] == together[3] == model.generate([asked(1)], None)[0]
    assert len({response.text for response in together[:3]}) == 3
    assert together[4].text == together[1].text == model.generate([greedy], None)[0].text
    for temperature, top_p in ((0.0, 1.0), (1.0, 0.0), (float("nan"), 1.0), (1.0, 1.5)):
        request = GenerateRequest("", "fox", (), 8, Sampling(temperature, top_p, 0))
        with pytest.raises(ModelError, match="nothing can be drawn"):
            model.generate([request], None)


def test_requests_are_tokenised_once(
    families: dict[str, Loaded], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = TransformersModel(families["gemma3"])
    calls: list[int] = []

    def counted(*arguments: Any) -> list[Encoded]:
        calls.append(len(arguments[1]))
        return encode(*arguments)

    monkeypatch.setattr(engine, "encode", counted)
    choices, texts = requests(), [GenerateRequest(SHOTS, "yes", (), 3)]
    first = model.choice_logprobs(choices, None), model.generate(texts, None)
    assert (model.choice_logprobs(requests(), None), model.generate(texts, None)) == first
    assert calls == [3 * len(choices), 1]
    monkeypatch.setattr(model, "_encoded", Encodings(most_tokens=40))
    for _ in range(2):
        assert model.generate(texts, None) == first[1]
        assert model.choice_logprobs(choices, None) == first[0]
    # The choices are too many to be kept; the one prompt was not kept beside them either.
    assert calls[2:] == [1, 3 * len(choices)] * 2


def test_asked_alone_nothing_depends_on_company(families: dict[str, Loaded]) -> None:
    asked = requests(6, count=9)
    texts = [GenerateRequest(one.prefix, one.prompt, (), 6) for one in asked]
    model = TransformersModel(families["gemma3"])
    for wanted in (asked, texts):
        first = alone(model, None, wanted)
        assert alone(model, None, wanted[::-1])[::-1] == first
        assert [alone(model, None, [one])[0] for one in wanted[3:]] == list(first[3:])
        noise = measure(model, None, wanted, bits=32)
        assert noise.items == (10 if wanted is asked else WRITTEN)
        assert noise.changed == 0
        assert noise.max_abs_diff is not None
        assert noise.max_abs_diff < 1e-4


def test_stop_strings_cut_the_text(engines: dict[str, TransformersModel]) -> None:
    model = engines["llama"]
    free = model.generate([GenerateRequest("", "the quick", (), 12)], None)[0].text
    stop = free[4:6]
    cut = model.generate([GenerateRequest("", "the quick", (stop,), 12)], None)[0]
    assert cut.text == free[: free.index(stop)]
    assert cut.stop_reason == "stop"


def test_choices_that_share_their_context_run_once(engines: dict[str, TransformersModel]) -> None:
    model = engines["llama"]
    letters = ("a", "b", "c")
    together = model.choice_logprobs([ChoiceRequest("", "yes no ", letters)], None)[0]
    apart = [
        model.choice_logprobs([ChoiceRequest("", "yes no ", (letter,))], None)[0].logprobs[0]
        for letter in letters
    ]
    assert together.logprobs == pytest.approx(apart, abs=1e-5)


def test_tokens_are_scored_as_they_come(
    families: dict[str, Loaded], engines: dict[str, TransformersModel]
) -> None:
    base, model = families["gemma3"], engines["gemma3"]
    draw = random.Random(8)  # noqa: S311 - tokens, no secrets
    shots = [draw.randrange(3, 400) for _ in range(90)]
    pairs = [
        (
            [
                1,
                *shots[: draw.choice([0, 90])],
                *draw.choices(range(3, 400), k=draw.randint(1, 60)),
            ],
            draw.choices(range(3, 400), k=draw.randint(1, 3)),
        )
        for _ in range(40)
    ]
    for index, (context, continuation) in enumerate(pairs):
        with torch.no_grad():
            ids = torch.tensor([[*context, *continuation]])
            logprobs = base.model(input_ids=ids).logits.log_softmax(-1)[0, len(context) - 1 : -1]
        if index % 4 == 0:  # one that the model would write itself
            continuation[:] = [int(logprobs[0].argmax())]
            logprobs = logprobs[:1]
        found = model.token_logprobs([(context, continuation)], None)[0]
        values = [logprobs[at, token].item() for at, token in enumerate(continuation)]
        assert found.logprob == pytest.approx(sum(values), rel=1e-5, abs=1e-4)
        assert found.greedy == (logprobs.argmax(-1).tolist() == continuation)
        pairs[index] = (context, continuation)
    together = model.token_logprobs(pairs, None)
    alone = [model.token_logprobs([pair], None)[0] for pair in pairs]
    assert [one.greedy for one in together] == [one.greedy for one in alone]
    assert sum(one.greedy for one in together) >= 10
    for one, other in zip(together, alone, strict=True):
        assert one.logprob == pytest.approx(other.logprob, abs=1e-4)
    for broken in (([], [5]), ([5], [])):
        with pytest.raises(ModelError, match="at least one token"):
            model.token_logprobs([broken], None)
    model.token_logprobs([([5] * 250, [6] * 7)], None)  # the last token is predicted, never read
    with pytest.raises(ModelError, match="exceed the context"):
        model.token_logprobs([([5] * 250, [6] * 8)], None)


def test_bos_is_counted(engines: dict[str, TransformersModel]) -> None:
    gemma, llama = engines["gemma3"].proof(None), engines["llama"].proof(None)
    assert (gemma.bos_count, gemma.bos_expected) == (1, 1)
    assert (llama.bos_count, llama.bos_expected) == (0, 0)
    with pytest.raises(ModelError, match="starts with 2 BOS"):
        engines["gemma3"].choice_logprobs([ChoiceRequest("", "<s>yes", (" no",))], None)
    # A chat template may begin with it where the tokenizer adds none.
    (found,) = engines["llama"].choice_logprobs([ChoiceRequest("", "<s>yes", (" no",))], None)
    assert found.prompt_head[0] == 1
    with pytest.raises(ModelError, match="starts with 2 BOS"):
        engines["llama"].choice_logprobs([ChoiceRequest("", "<s><s>yes", (" no",))], None)


def test_answers_need_a_token_and_prompts_too(engines: dict[str, TransformersModel]) -> None:
    with pytest.raises(ModelError, match="no token of its own to continue from: it is empty"):
        engines["llama"].choice_logprobs([ChoiceRequest("", "", (" no",))], None)
    with pytest.raises(ModelError, match=r"'br' has no token of its own .* one with the answer's"):
        engines["llama"].choice_logprobs([ChoiceRequest("", "br", ("own fox",))], None)
    with pytest.raises(ModelError, match="no token to score"):
        engines["llama"].choice_logprobs([ChoiceRequest("", "yes", ("",))], None)


def test_gemma_without_bos_is_refused(tmp_path: Path) -> None:
    tiny.saved(tmp_path, "gemma3")
    tiny.tokenizer(tmp_path, bos=False)
    with pytest.raises(ModelError, match="need one BOS token"):
        TransformersModel(load(resolve(str(tmp_path)), 32))


def test_training_mode_is_refused(families: dict[str, Loaded]) -> None:
    model = TransformersModel(families["llama"])
    model.proof(None)
    families["llama"].model.train()
    try:
        with pytest.raises(ModelError, match="training mode"):
            model.proof(None)
    finally:
        families["llama"].model.eval()
