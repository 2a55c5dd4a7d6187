"""The trainer against TRL's SFTTrainer, on the same rows.

    python benchmarks/train_speed.py --data DIR [--bar] [--model demo:gemma-3-270m] [--rows 48]
    python benchmarks/train_speed.py --memory [--model demo:gemma-3-270m]

MultiAlpaca in Spanish, Japanese and Portuguese, our plain template, LoRA of rank 16 on all linear
layers, the same initial weights, AdamW, 8 rows a step. Every measurement is a process of its own
that loads the base, then trains. Sides alternate; medians count. TRL tokenises the rows itself and
must arrive at our ids and labels, or the script stops; its settings are the best that were found
before, one after the other: `SETTINGS`. Prints a JSON list:

    workload
    ours_tokens_s, peer_tokens_s, ratio   tokens of the rows, padding not counted, a second of the
                                          training loop after its first step; ours over the peer's
    cpu_ratio                             the same a CPU second, which other work on the machine
                                          disturbs less
    ours_start_s, peer_start_s            until the end of the first step, rows and base at hand
    ours_peak_mb, peer_peak_mb            resident memory above that of the loaded base, 10**6 bytes
    memory_ratio                          ours over the peer's
    held_out                              loss of other rows after all steps, nats a labelled token:
                                          the untuned base, ours, the peer's, by the same code
    held_out_difference                   between the two adapters, relative
    ours_ceiling_share, peer_...          operations that must be spent / seconds / the rate of a
                                          large matrix product here
    peer_settings, runs, bar, versions    the choice; measurements a side; what was to be reached

With --memory: the peak of ours with rows of 512, 1,024 and 2,048 tokens, the rows of a step fixed,
beside what the logits of a step would take in float32.

Where a CPU has no bfloat16 products (docs/decisions/0010) the peer would crawl below 32 bits and
the comparison be unfair: --bits 32 measures both in float32.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from ceiling import matrix_rate
from children import child
from maple.models import products
from maple.models.files import resolve
from maple.provenance import versions
from train_sides import BATCH_SIZE, held_out, ours, peer

PROBED_STEPS = 3
"""Steps on which a setting of the peer is tried; the first one does not count."""

SETTINGS: dict[str, tuple[Any, ...]] = {
    "bf16": (True, False),
    "padding_free": (False, True),
    "per_device_train_batch_size": (8, 4, 2, 1),
    "train_sampling_strategy": ("sequential", "group_by_length"),
    "optim": ("adamw_torch", "adamw_torch_fused"),
}
"""What is tried for the peer, by TRL's names; the first is where the search starts.

`bf16` is autocast over bfloat16 weights. `padding_free` puts the rows of a batch into one sequence,
which transformers keeps apart by position ids, without flash attention as well. "sequential" is our
order of rows, the same rows in every step; "group_by_length" puts rows of like length together.

Left out: packing, which is padding-free with another number of examples a step; gradient
checkpointing and offloading, which cost time; Liger and other kernels, which need a GPU;
`loss_type`, whose two names for this loss are one code.
"""

BARS = {"demo:gemma-3-270m": 6.0, "demo:smollm2-135m": 3.0}
MEMORY_BAR = 0.6
LOSS_BAR = 0.02

LONG = 60.0
"""With --bar, a peer that takes longer than this many seconds is measured once."""

LONG_ROWS = (512, 1024, 2048)
"""Tokens a row with --memory."""


def run_child(job: dict[str, Any]) -> None:
    """What a child does; the last line of its stdout is the result."""
    with contextlib.redirect_stdout(sys.stderr):
        found = {"ours": ours, "peer": peer, "held_out": held_out}[job["side"]](job)
    print(json.dumps(found))


def best_settings(job: dict[str, Any]) -> dict[str, Any]:
    """The fastest settings of the peer, each found with those before it at their best."""
    best = {name: values[0] for name, values in SETTINGS.items()}
    if job["bits"] == 32:
        best["bf16"] = False  # autocast would be another precision
    job = {**job, "rows": PROBED_STEPS * BATCH_SIZE, "side": "peer"}

    def rate(settings: dict[str, Any]) -> float:
        found = child(__file__, **job, settings=settings)
        tokens_s = found["tokens"] / found["seconds"]
        print(f"{job['model']}: peer {settings}: {tokens_s:.1f} tokens/s", file=sys.stderr)
        return float(tokens_s)

    highest = rate(best)
    for name, values in SETTINGS.items():
        for value in values[1:]:
            if name == "bf16" and job["bits"] == 32:
                continue
            tokens_s = rate({**best, name: value})
            if tokens_s < highest / 1.2:
                break  # of batch sizes, the smaller ones only get slower
            if tokens_s > highest:
                best, highest = {**best, name: value}, tokens_s
    return best


def compare(job: dict[str, Any], rate: float, repeats: int, *, bar: bool) -> dict[str, Any]:
    """One line of the result."""
    settings = best_settings(job)
    sides: dict[str, list[dict[str, Any]]] = {"ours": [], "peer": []}
    for turn in range(repeats):
        for side, runs in sides.items():
            if bar and side == "peer" and runs and runs[0]["seconds"] > LONG:
                continue
            out = f"{job['out']}/{side}-{turn}"
            runs.append(child(__file__, **{**job, "side": side, "settings": settings, "out": out}))
            tokens, seconds = runs[-1]["tokens"], runs[-1]["seconds"]
            say = f"{job['model']}: {side} {turn + 1}: {tokens / seconds:.1f} tokens/s"
            print(say, file=sys.stderr)
    adapters = [f"{job['out']}/{side}-0" for side in sides]
    losses = child(__file__, **job, side="held_out", adapters=adapters)["losses"]

    def middle(side: str, of: str, per: str = "") -> float:
        return statistics.median(run[of] / (run[per] if per else 1) for run in sides[side])

    tokens_s = {side: middle(side, "tokens", "seconds") for side in sides}
    tokens_cpu_s = {side: middle(side, "tokens", "cpu_s") for side in sides}
    peak = {side: max(run["peak_bytes"] for run in runs) / 1e6 for side, runs in sides.items()}
    ratio = tokens_s["ours"] / tokens_s["peer"]
    first = sides["ours"][0]
    share = first["operations"] / first["tokens"] * tokens_s["ours"] / rate
    line = {
        "workload": f"{job['model']}, {job['rows']} rows, {job['bits']} bits",
        "ours_tokens_s": round(tokens_s["ours"], 1),
        "peer_tokens_s": round(tokens_s["peer"], 1),
        "ratio": round(ratio, 2),
        "cpu_ratio": round(tokens_cpu_s["ours"] / tokens_cpu_s["peer"], 2),
        "ours_start_s": round(middle("ours", "start_s"), 2),
        "peer_start_s": round(middle("peer", "start_s"), 2),
        "ours_peak_mb": round(peak["ours"]),
        "peer_peak_mb": round(peak["peer"]),
        "memory_ratio": round(peak["ours"] / peak["peer"], 3),
        "held_out": dict(
            zip(("base", "ours", "peer"), (round(loss, 4) for loss in losses), strict=True)
        ),
        "held_out_difference": round(abs(losses[1] - losses[2]) / losses[2], 4),
        "ours_ceiling_share": round(share, 3),
        "peer_ceiling_share": round(share / ratio, 3),
        "peer_settings": settings,
        "runs": [len(runs) for runs in sides.values()],
    }
    if bar:
        line["bar"] = judged(line, BARS[job["model"]])
    return line | {"versions": {**versions(), "trl": importlib.metadata.version("trl")}}


def judged(line: dict[str, Any], ratio: float) -> dict[str, str]:
    """What was to be reached, and whether it was."""

    def said(wanted: str, *, met: bool) -> str:
        return f"{wanted}: {'met' if met else 'missed'}"

    return {
        "ratio": said(f"at least {ratio}", met=line["ratio"] >= ratio),
        "memory": said(f"at most {MEMORY_BAR}", met=line["memory_ratio"] <= MEMORY_BAR),
        "held_out": said(f"at most {LOSS_BAR}", met=line["held_out_difference"] <= LOSS_BAR),
    }


def memory(job: dict[str, Any]) -> list[dict[str, Any]]:
    """Peaks of ours by tokens a row: two steps each, of `batch_size` rows."""
    lines = []
    words = _vocabulary(job["model"])
    for length in LONG_ROWS:
        rows, out = 2 * job["batch_size"], f"{job['out']}/{length}"
        asked = {**job, "rows": rows, "length": length, "max_tokens": length, "out": out}
        found = child(__file__, **asked, side="ours")
        lines.append(
            {
                "workload": f"{job['model']}, {job['bits']} bits, {job['batch_size']} rows a step",
                "tokens_a_row": length,
                "ours_peak_mb": round(found["peak_bytes"] / 1e6),
                "logits_mb": round(4 * words * length * job["batch_size"] / 1e6),
            }
        )
        print(f"{length}: {lines[-1]['ours_peak_mb']} MB", file=sys.stderr)
    return lines


def _vocabulary(model: str) -> int:
    config = json.loads((Path(resolve(model).path) / "config.json").read_text())
    return int(config.get("text_config", config)["vocab_size"])


def main() -> None:
    """Parse the command line and print the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of release files")
    parser.add_argument("--model", action="append", help="default demo:gemma-3-270m; repeatable")
    parser.add_argument("--rows", type=int, default=48, help="rows trained on")
    parser.add_argument("--bits", type=int, choices=(32, 16, 4), default=16)
    parser.add_argument("--max-tokens", type=int, default=768, help="longest row taken")
    parser.add_argument("--repeats", type=int, default=3, help="measurements a side")
    parser.add_argument("--bar", action="store_true", help="both demo models, and what they owe")
    parser.add_argument("--memory", action="store_true", help="ours alone, by tokens a row")
    parser.add_argument("--json", type=Path, help="write the result there as well")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        run_child(json.loads(options.child))
        return
    if options.data is None and not options.memory:
        parser.error("--data DIR is needed: the folder of release files")
    if options.rows < 2 * BATCH_SIZE:
        parser.error(f"--rows {options.rows}: two steps of {BATCH_SIZE} rows are the least")
    models = list(BARS) if options.bar else options.model or ["demo:gemma-3-270m"]
    job = {
        "data": options.data,
        "bits": options.bits,
        "rows": options.rows,
        "batch_size": BATCH_SIZE,
        "max_tokens": options.max_tokens,
    }
    if options.bits < 32 and products.are_slow():
        print("no bfloat16 products on this CPU: fair at --bits 32 only", file=sys.stderr)
    lines = []
    rate = 0.0
    if not options.memory:
        rate = matrix_rate(options.bits)
        print(f"large matrix product: {rate / 1e9:.0f} GFLOP/s", file=sys.stderr)
    for model in models:
        with tempfile.TemporaryDirectory() as scratch:
            asked = {**job, "model": model, "out": scratch}
            if options.memory:
                lines += memory(asked)
            else:
                lines.append(compare(asked, rate, options.repeats, bar=options.bar))
    text = json.dumps(lines, indent=1)
    print(text)
    if options.json:
        options.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
