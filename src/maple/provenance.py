"""Where, when and with what a result was made; seeds; what the work cost the machine."""

from __future__ import annotations

import ctypes
import hashlib
import importlib.metadata
import os
import platform
import re
import subprocess
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import psutil

_PACKAGES = (
    "accelerate",
    "bitsandbytes",
    "maple",
    "peft",
    "polars",
    "pyarrow",
    "tokenizers",
    "torch",
    "transformers",
)
_RAPL = Path("/sys/class/powercap")


def utc_now() -> str:
    """The time in UTC, ISO 8601 to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def derive_seed(seed: int, purpose: str, key: str = "") -> int:
    """A seed in [0, 2**31) for one purpose, independent of every other purpose's.

    Args:
        seed: the study's seed.
        purpose: what the random numbers are for ("order", "init", "bootstrap").
        key: further distinction within the purpose, for example a language.
    """
    digest = hashlib.sha256(f"{seed}\x1f{purpose}\x1f{key}".encode()).digest()
    return int.from_bytes(digest[:4]) >> 1


@cache
def versions() -> Mapping[str, str]:
    """Versions of Python and of the packages that can change a number."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


@cache
def commit() -> Mapping[str, str | bool | None]:
    """Git commit of the running source tree and whether it has changes; None where unknown."""
    here = Path(__file__).resolve().parent
    if not (here.parents[1] / ".git").exists():
        return {"commit": None, "dirty": None}

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(here), *arguments],  # noqa: S607  git is where PATH has it
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
        return done.stdout.strip()

    try:
        return {"commit": git("rev-parse", "HEAD"), "dirty": git("status", "--porcelain") != ""}
    except (OSError, subprocess.SubprocessError):
        return {"commit": None, "dirty": None}


@cache
def machine() -> Mapping[str, str | int]:
    """Host name, processor, number of cores this process may use, memory in bytes."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        match = re.search(r"model name\s*:\s*(.+)", cpuinfo.read_text(encoding="utf-8"))
        model = match.group(1) if match else model
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "host": platform.node(),
        "processor": model,
        "cores": cores or 1,
        "memory_bytes": psutil.virtual_memory().total,
    }


def provenance() -> dict[str, object]:
    """Everything above as one JSON-ready mapping. Holds no environment variable, no argument."""
    return {
        "versions": dict(versions()),
        "source": dict(commit()),
        "machine": dict(machine()),
    }


class Meter:
    """Wall time, peak memory and energy between its creation and `read`.

    Peak memory is per meter, not per process: on Linux the kernel's high-water mark is reset when
    the meter starts. Elsewhere it is unknown rather than wrong.
    """

    def __init__(self) -> None:
        self._start_bytes = _reset_peak()
        self._start_energy = _energy_microjoules()
        self._start = time.monotonic()

    def read(self) -> dict[str, float | int | str | None]:
        """Fields of `records.Cost`: seconds, peak_bytes, energy_joules, energy_note."""
        seconds = time.monotonic() - self._start
        peak = _peak_bytes()
        above = (
            None if peak is None or self._start_bytes is None else max(0, peak - self._start_bytes)
        )
        energy = _energy_microjoules()
        joules: float | None = None
        note = "this machine exposes no energy counter (powercap/RAPL)"
        if self._start_energy is not None and energy is not None:
            if energy >= self._start_energy:
                joules, note = (energy - self._start_energy) / 1e6, ""
            else:
                note = "the energy counter wrapped around"
        return {
            "seconds": seconds,
            "peak_bytes": above,
            "energy_joules": joules,
            "energy_note": note,
        }

    def lap(self) -> dict[str, float | int | str | None]:
        """`read`, and time and energy begin anew; memory goes on counting from the start."""
        found = self.read()
        self._start_energy = _energy_microjoules()
        self._start = time.monotonic()
        return found


def _reset_peak() -> int | None:
    """Reset the kernel's peak of resident memory; the resident bytes now, None if impossible."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        # glibc keeps what earlier work freed; handed out again it would not show as a rise.
        libc.malloc_trim(0)
    try:
        # "5" resets VmHWM: proc(5), /proc/pid/clear_refs.
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return None
    return int(psutil.Process().memory_info().rss)


def _peak_bytes() -> int | None:
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
    except OSError:
        return None
    match = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(match.group(1)) * 1024 if match else None


def _energy_microjoules() -> int | None:
    """Sum of the package counters of RAPL in microjoules; None where they cannot be read."""
    try:
        counters = [
            int((zone / "energy_uj").read_text(encoding="ascii"))
            for zone in _RAPL.glob("intel-rapl:[0-9]*")
            if zone.name.count(":") == 1
        ]
    except (OSError, ValueError):
        return None
    return sum(counters) if counters else None
