"""The evaluation engine against lm-evaluation-harness, on identical requests.

    pip install lm-eval
    python benchmarks/eval_speed.py --data DIR [--bar] [--model demo:gemma-3-270m] [--items 100]

Every measurement is a process of its own that loads the model, answers one request to warm up, then
the workload. Sides alternate; the median of three counts. The peer is lm-evaluation-harness's
`HFLM` as its users start it, at the best of several batch sizes, found before. Prints a JSON list:

    workload, ours_s, peer_s, ratio     seconds, medians, and peer over ours
    ours_peak_mb, peer_peak_mb          resident memory above that of the loaded model, 10**6 bytes
    max_abs_diff                        of the log-probabilities, nats; for generation, the share of
                                        completions that differ
    ceiling_share                       operations that must be spent / ours_s / the rate of a large
                                        matrix product here
    batch_size, runs                    of the peer; measurements a side

Bits are 16 and 4. Where a CPU has no bfloat16 products (docs/decisions/0010) the peer would crawl
and the comparison be unfair: --bits 32 measures both in float32, and the rate of float32 products.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from ceiling import matrix_rate
from children import child
from maple.data.release import read_jsonl
from maple.data.rows import Row
from maple.models.files import resolve
from maple.prompts.exemplars import choose, prefix
from maple.records import ChoiceRequest, GenerateRequest
from maple.tasks import TASKS
from maple.tasks.native import NativeTask

WORKLOADS = ("xcopa-it-0", "xcopa-it-4", "xcopa-it-8", "belebele-en", "xquad-es-4")
BATCH_SIZES = (1, 4, 8, 16, 32)
PROBED = 8
"""Items on which the peer's batch sizes are tried, at least as many as the batch takes."""

LONG = 50.0
"""With --bar, a peer that takes longer than this many seconds is measured once."""

Request = ChoiceRequest | GenerateRequest


def requests(workload: str, data: Path, items: int) -> list[Request]:
    """The first items of a workload as requests of our engine."""
    if workload == "belebele-en":
        rows = read_jsonl(data / "belebele" / "eng_Latn.jsonl")
        return [_belebele(row) for row in rows[:items]]
    name, code, shots = workload.split("-")
    subset = {"it": "ita_Latn", "es": "spa_Latn"}[code]
    task = TASKS[name]
    lender = task.lent_by("release", subset, data) if isinstance(task, NativeTask) else subset
    pool = task.exemplar_pool("release", lender, data)
    exemplars = choose(pool, int(shots), 0, f"{name}/{lender}")
    shared = prefix([task.render(shot, lender, "native") for shot in exemplars], exemplars)
    made: list[Request] = []
    for example in task.examples("release", subset, data)[:items]:
        prompted = task.render(example, subset, "native")
        if task.max_new_tokens is None:
            made.append(ChoiceRequest(shared, prompted.text, prompted.answers))
        else:
            stop = task.stop
            made.append(GenerateRequest(shared, prompted.text, stop, task.max_new_tokens))
    return made


def _belebele(row: Row) -> ChoiceRequest:
    options = "".join(
        f"{letter}) {row.text(f'mc_answer{number}')}\n" for number, letter in _LETTERS
    )
    text = f"{row.text('flores_passage')}\nQuestion: {row.text('question')}\n{options}Answer:"
    return ChoiceRequest("", text, tuple(f" {letter}" for _, letter in _LETTERS))


_LETTERS = tuple(enumerate("ABCD", start=1))


# One measurement


def ours(asked: list[Request], model: str, bits: int, adapter: Path | None) -> dict[str, Any]:
    """Seconds, peak bytes, answers and the operations that must be spent."""
    from maple.models.engine import TransformersModel
    from maple.models.loading import load
    from maple.provenance import Meter

    loaded = load(resolve(model), bits)
    engine = TransformersModel(loaded)
    engine.choice_logprobs([ChoiceRequest("", "Warm", (" up",))], adapter)
    meter = Meter()
    answers: list[Any]
    if isinstance(asked[0], ChoiceRequest):
        found = engine.choice_logprobs(asked, adapter)
        measured = meter.read()
        answers = [list(response.logprobs) for response in found]
    else:
        generated = engine.generate(asked, adapter)
        measured = meter.read()
        answers = [response.text.strip() for response in generated]
    return {**measured, "answers": answers, "operations": _operations(loaded, asked, answers)}


def _operations(loaded: Any, asked: list[Request], answers: list[Any]) -> float:
    """2 x body parameters x distinct tokens + 2 x vocabulary x width x predicting positions."""
    tokenizer, model = loaded.tokenizer, loaded.model
    head = model.get_output_embeddings().weight.shape
    body = sum(
        module.in_features * module.out_features
        for name, module in model.get_decoder().named_modules()
        if hasattr(module, "in_features") and "lora" not in name and "base_layer" not in name
    )
    nodes: set[tuple[int, ...]] = set()
    predicting: set[tuple[int, ...]] = set()
    for request, answer in zip(asked, answers, strict=True):
        start = request.prefix + request.prompt
        ends = request.choices if isinstance(request, ChoiceRequest) else (" " + answer,)
        border = len(tokenizer(start).input_ids)
        for end in ends:
            ids = tuple(tokenizer(start + end).input_ids)
            nodes |= {ids[:length] for length in range(1, len(ids))}
            predicting |= {ids[:length] for length in range(border, len(ids))}
    return 2.0 * body * len(nodes) + 2.0 * head[0] * head[1] * len(predicting)


def peer(
    asked: list[Request], model: str, bits: int, adapter: Path | None, batch_size: int
) -> dict[str, Any]:
    """The same from lm-evaluation-harness, without the operations."""
    import torch
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    from maple.provenance import Meter

    path = resolve(model).path
    dtype = torch.float32 if bits == 32 else torch.bfloat16
    options: dict[str, Any] = {"peft": None if adapter is None else str(adapter)}
    pretrained: Any = path
    if bits == 4:
        # HFLM 0.4.13 hands on no quantization_config, so it is given a model that is loaded.
        pretrained = AutoModelForCausalLM.from_pretrained(
            path,
            dtype=dtype,
            quantization_config=BitsAndBytesConfig(
                load_in_4bit=True,
                bnb_4bit_quant_type="nf4",
                bnb_4bit_use_double_quant=True,
                bnb_4bit_compute_dtype=dtype,
            ),
        ).eval()
        if adapter is not None:
            pretrained = PeftModel.from_pretrained(pretrained, str(adapter)).eval()
        options = {"tokenizer": path}
    harness = HFLM(
        pretrained=pretrained,
        dtype=dtype,
        device="cpu",
        batch_size=batch_size,
        **options,
    )

    def instances(kind: str, arguments: list[tuple[Any, ...]]) -> list[Any]:
        return [
            Instance(request_type=kind, doc={}, arguments=values, idx=index)
            for index, values in enumerate(arguments)
        ]

    harness.loglikelihood(instances("loglikelihood", [("Warm", " up")]), disable_tqdm=True)
    meter = Meter()
    answers: list[Any]
    if isinstance(asked[0], ChoiceRequest):
        pairs = [
            (request.prefix + request.prompt, choice)
            for request in asked
            for choice in request.choices
        ]
        found = harness.loglikelihood(instances("loglikelihood", pairs), disable_tqdm=True)
        measured = meter.read()
        values = iter(value for value, _ in found)
        answers = [[next(values) for _ in request.choices] for request in asked]
    else:
        prompts = [
            (
                request.prefix + request.prompt,
                {
                    "until": list(request.stop),
                    "max_gen_toks": request.max_new_tokens,
                    "do_sample": False,
                },
            )
            for request in asked
        ]
        texts = harness.generate_until(instances("generate_until", prompts), disable_tqdm=True)
        measured = meter.read()
        answers = [text.strip() for text in texts]
    return {**measured, "answers": answers}


# The parent


def run_child(job: dict[str, Any]) -> None:
    """What a child does; the last line of its stdout is the result."""
    data, adapter = Path(job["data"]), job["adapter"] and Path(job["adapter"])
    asked = requests(job["workload"], data, job["items"])
    with contextlib.redirect_stdout(sys.stderr):
        if job["side"] == "ours":
            found = ours(asked, job["model"], job["bits"], adapter)
        else:
            found = peer(asked, job["model"], job["bits"], adapter, job["batch_size"])
    print(json.dumps(found))


def compare(job: dict[str, Any], rate: float, *, bar: bool) -> dict[str, Any]:
    """One line of the result."""
    say = f"{job['workload']}, {job['bits']} bits{', adapter' if job['adapter'] else ''}"
    probes: dict[int, float] = {}
    for candidate in BATCH_SIZES:
        probing = {**job, "items": max(PROBED, candidate)}
        found = child(__file__, **probing, side="peer", batch_size=candidate)
        probes[candidate] = found["seconds"] / probing["items"]
        if probes[candidate] > 1.2 * min(probes.values()):
            break  # larger ones pad more
    size = min(probes, key=lambda candidate: probes[candidate])
    sides: dict[str, list[dict[str, Any]]] = {"ours": [], "peer": []}
    for turn in range(3):
        for side, runs in sides.items():
            slow = bar and side == "peer" and runs and runs[0]["seconds"] > LONG
            if not slow:
                runs.append(child(__file__, **job, side=side, batch_size=size))
                seconds = runs[-1]["seconds"]
                print(f"{say}: {side} {turn + 1}: {seconds:.1f} s", file=sys.stderr)
    ours_s, peer_s = (statistics.median(run["seconds"] for run in runs) for runs in sides.values())
    first, other = sides["ours"][0], sides["peer"][0]
    return {
        "workload": say,
        "ours_s": round(ours_s, 2),
        "peer_s": round(peer_s, 2),
        "ratio": round(peer_s / ours_s, 2),
        "ours_peak_mb": round(max(run["peak_bytes"] for run in sides["ours"]) / 1e6),
        "peer_peak_mb": round(max(run["peak_bytes"] for run in sides["peer"]) / 1e6),
        "max_abs_diff": round(_difference(first["answers"], other["answers"]), 4),
        "ceiling_share": round(first["operations"] / ours_s / rate, 3),
        "batch_size": size,
        "runs": [len(runs) for runs in sides.values()],
    }


def _difference(ours_: list[Any], theirs: list[Any]) -> float:
    if isinstance(ours_[0], str):
        return sum(a != b for a, b in zip(ours_, theirs, strict=True)) / len(ours_)
    return max(
        abs(a - b) for x, y in zip(ours_, theirs, strict=True) for a, b in zip(x, y, strict=True)
    )


def trained(model: str, folder: Path) -> Path:
    """A LoRA adapter of rank 8, trained for a few steps on the packaged set."""
    arguments = ["--source", "mini", "--r", "8", "--bits", "16", "--out", str(folder)]
    command = [str(Path(sys.executable).with_name("maple")), "finetune", model, *arguments]
    subprocess.run(command, check=True, stdout=sys.stderr)
    (made,) = folder.glob("train/*/adapter_config.json")
    return made.parent


def main() -> None:
    """Parse the command line and print the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of release files")
    parser.add_argument("--model", default="demo:gemma-3-270m")
    parser.add_argument("--items", type=int, default=100)
    parser.add_argument("--only", choices=WORKLOADS, action="append", help="these workloads alone")
    parser.add_argument("--bits", type=int, choices=(32, 16, 4), help="these bits alone")
    parser.add_argument("--bar", action="store_true", help="16 bits or --bits, no adapter")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        run_child(json.loads(options.child))
        return
    if options.data is None:
        parser.error("--data DIR is needed: the folder of release files")
    asked = (options.bits,) if options.bits else (16,) if options.bar else (16, 4)
    rate = matrix_rate(asked[0])
    print(f"large matrix product: {rate / 1e9:.0f} GFLOP/s", file=sys.stderr)
    with tempfile.TemporaryDirectory() as scratch:
        adapters: list[Path | None] = [None]
        if not options.bar:
            adapters.append(trained(options.model, Path(scratch)))
        lines = []
        for workload in options.only or WORKLOADS:
            for bits in asked:
                for adapter in adapters:
                    job = {
                        "workload": workload,
                        "data": options.data,
                        "items": options.items,
                        "model": options.model,
                        "bits": bits,
                        "adapter": adapter,
                    }
                    lines.append(compare(job, rate, bar=options.bar))
    print(json.dumps(lines, indent=1))


if __name__ == "__main__":
    main()
