"""A small real HTTP server that speaks vLLM's part of the completions API, on a tiny model.

Plain transformers and PEFT behind the standard library's server: one request at a time, no
batches, no code of the engine under test. `faults` makes it misbehave, one way a name; `fails` are
the statuses that its next completions are refused with, the last first.
"""

from __future__ import annotations

import json
import math
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoTokenizer, PreTrainedModel

NAME = "tiny"
ALIAS = "tiny-too"
MAX_RANK = 8


class RefusedError(Exception):
    """An answer with an error status."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(message)


class TinyServer:
    """The state behind the handler.

    Args:
        model: answers; put into eval mode by whoever made it.
        folder: holds its tokenizer.
    """

    def __init__(self, model: PreTrainedModel, folder: Path) -> None:
        self.model: Any = model
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.faults: set[str] = set()
        self.fails: list[int] = []
        self.key = ""
        self.adapters: dict[str, str] = {}
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.loads: list[str] = []
        self._lock = threading.Lock()

    def answer(self, method: str, path: str, key: str, body: dict[str, Any]) -> Any:
        """The content that a request is answered with."""
        if "redirects" in self.faults:
            raise RefusedError(307, "elsewhere")
        if self.key and key != f"Bearer {self.key}":
            raise RefusedError(401, f"Unauthorized: {key}")
        with self._lock:
            if (method, path) == ("GET", "/v1/models"):
                return self._models()
            if (method, path) == ("POST", "/v1/completions"):
                self.asked.append(body)
                if self.fails:
                    raise RefusedError(self.fails.pop(), "try later")
                return self._completion(body)
            if (method, path) == ("POST", "/v1/load_lora_adapter") and "no-lora" not in self.faults:
                return self._load(body["lora_name"], body["lora_path"])
        raise RefusedError(404, "Not Found")

    def _models(self) -> dict[str, Any]:
        length = self.model.config.max_position_embeddings
        if "short-context" in self.faults:
            length = 40
        card: dict[str, Any] = {"id": NAME, "parent": None, "root": "/m", "max_model_len": length}
        if "no-length" in self.faults:
            del card["max_model_len"]
        adapters = self.adapters.items()
        cards = [card, *({"id": name, "parent": NAME, "root": path} for name, path in adapters)]
        if "two-bases" in self.faults:
            cards.append({**card, "id": "other", "root": "/other"})
        if "two-names" in self.faults:
            cards.append({**card, "id": ALIAS})
        if "no-bases" in self.faults:
            return {"object": "list"}
        return {"object": "list", "data": cards}

    def _load(self, name: str, path: str) -> str:
        config_file = Path(path) / "adapter_config.json"
        if not config_file.is_file():
            raise RefusedError(404, f"Loading lora {name} failed: No adapter found for {path}")
        rank = json.loads(config_file.read_text())["r"]
        if rank > (1 if "low-rank" in self.faults else MAX_RANK):
            raise RefusedError(500, f"LoRA rank {rank} is greater than max_lora_rank 1.")
        if name in self.adapters:
            raise RefusedError(400, f"The lora adapter '{name}' has already been loaded.")
        with warnings.catch_warnings():
            # PEFT 0.21 reads a property that transformers 5 renamed.
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
            if isinstance(self.model, PeftModel):
                self.model.load_adapter(path, adapter_name=name)
            else:
                self.model = PeftModel.from_pretrained(self.model, path, adapter_name=name)
        self.model.eval()
        self.adapters[name] = path
        self.loads.append(name)
        return f"Success: LoRA adapter '{name}' added successfully."

    def _completion(self, body: dict[str, Any]) -> dict[str, Any]:
        ids = list(body["prompt"])
        if body["model"] not in {NAME, ALIAS, *self.adapters}:
            raise RefusedError(404, f"The model `{body['model']}` does not exist.")
        if len(ids) + body["max_tokens"] > self.model.config.max_position_embeddings:
            raise RefusedError(400, "This model's maximum context length is exceeded.")
        if "fails" in self.faults:
            raise RefusedError(400, f"out of memory {self.key}")
        if "adds-bos" in self.faults:
            ids = [1, *ids]
        scores, cache = self._run(body["model"], ids)
        choice: dict[str, Any] = {"index": 0, "text": "", "logprobs": None}
        if body.get("prompt_logprobs") is not None and "no-prompt-logprobs" not in self.faults:
            choice["prompt_logprobs"] = self._prompt_logprobs(ids, scores)
        written, finish = self._greedy(body, scores, cache)
        choice |= {"token_ids": written, "finish_reason": finish, "prompt_token_ids": ids}
        if body.get("logprobs") is not None:
            values = [-0.5 for _ in written]
            if "nan-while-writing" in self.faults:
                values[0] = math.nan
            choice["logprobs"] = {"token_logprobs": values}
        if "no-ids" in self.faults:
            del choice["prompt_token_ids"]
        if "no-written-ids" in self.faults:
            del choice["token_ids"]
        if "no-choices" in self.faults:
            return {"choices": []}
        return {"system_fingerprint": "tiny-1", "choices": [choice]}

    @torch.no_grad()
    def _run(self, name: str, ids: list[int], cache: Any = None) -> tuple[torch.Tensor, Any]:
        """Log-probabilities after each of `ids`, and the cache of all tokens so far."""
        bare = name in {NAME, ALIAS} or "ignores-adapter" in self.faults
        tuned = isinstance(self.model, PeftModel)
        if tuned and not bare:
            self.model.set_adapter(name)
        with self.model.disable_adapter() if tuned and bare else nullcontext():
            found = self.model(input_ids=torch.tensor([ids]), past_key_values=cache, use_cache=True)
        return found.logits.float().log_softmax(-1)[0], found.past_key_values

    def _prompt_logprobs(self, ids: list[int], scores: torch.Tensor) -> list[Any]:
        entries: list[Any] = [None]
        for at in range(1, len(ids)):
            best = int(scores[at - 1].argmax())
            entries.append(
                {
                    str(token): {"logprob": scores[at - 1, token].item(), "rank": 1}
                    for token in (ids[at], best)
                }
            )
        own = entries[-1][str(ids[-1])]
        if "too-few" in self.faults:
            entries.pop()
        if "other-token" in self.faults:
            entries[-1] = {"399": {"logprob": -1.0}}
        wrong = {"null": None, "nan": math.nan, "minus-9999": -9999.0, "above-zero": 0.5}
        for fault in self.faults & wrong.keys():
            own["logprob"] = wrong[fault]
        return entries

    def _greedy(
        self, body: dict[str, Any], scores: torch.Tensor, cache: Any
    ) -> tuple[list[int], str]:
        if "stops-by-itself" in self.faults:
            return [int(scores[-1].argmax())], "stop"
        if "writes-nothing" in self.faults:
            return [], "stop"
        written: list[int] = []
        while True:
            written.append(int(scores[-1].argmax()))
            text = self.tokenizer.decode(written, skip_special_tokens=True)
            if written[-1] == 2 or any(stop in text for stop in body.get("stop", [])):
                return written, "stop"
            if len(written) == body["max_tokens"]:
                return written, "aborted" if "aborts" in self.faults else "length"
            scores, cache = self._run(body["model"], written[-1:], cache)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: TinyServer

    def do_GET(self) -> None:
        self._answer({})

    def do_POST(self) -> None:
        size = int(self.headers["Content-Length"])
        self._answer(json.loads(self.rfile.read(size)))

    def _answer(self, body: dict[str, Any]) -> None:
        status = 200
        self.state.headers.append({name.lower(): value for name, value in self.headers.items()})
        if self.command == "POST" and self.state.faults & {"silent", "drops"}:
            self.state.asked.append(body)
            if "silent" in self.state.faults:
                self.rfile.read(1)  # returns when the client has had enough
            self.close_connection = True
            return
        try:
            found = self.state.answer(
                self.command, self.path, self.headers.get("Authorization", ""), body
            )
        except RefusedError as error:
            status, found = error.status, {"error": {"message": str(error)}}
        content = (
            f"<html>{self.state.key}".encode()
            if "not-json" in self.state.faults
            else json.dumps(found).encode()
        )
        if "not-an-object" in self.state.faults:
            content = b"[]"
        self.send_response(status)
        if status == 307:
            self.send_header("Location", self.path)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Nothing: a test's output is its own."""


@contextmanager
def serving(state: TinyServer) -> Iterator[str]:
    """A server on a free port of 127.0.0.1; its address."""
    handler = type("Handler", (_Handler,), {"state": state})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1"
        finally:
            server.shutdown()
            thread.join()
