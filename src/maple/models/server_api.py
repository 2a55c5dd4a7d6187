"""What a server says, and how it is asked: the HTTP side of the server engine.

The completions API of OpenAI, with the fields that vLLM adds to it: token ids in and out,
log-probabilities of prompt tokens, and adapters that are loaded at run time.
"""

from __future__ import annotations

import json
import math
import os
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from maple.errors import ModelError
from maple.records import GenerateRequest
from maple.study.config import host

KEY = "MAPLE_SERVER_KEY"
"""Environment variable that holds the server's key. OPENAI_API_KEY is not read: it must not go
to whatever server a study names."""

SPARE = 1
"""Tokens of its window that a server does not take: it generates one behind a text that is only
scored."""

_SECONDS = 600.0
"""How long an answer may take; a busy server lets requests wait."""

_CONNECT_SECONDS = 5.0
"""How long a server may take to accept a connection."""

_PAUSES = (0.5, 1.0)
"""Seconds before each further attempt after a lost connection or one of `_BUSY`. There is none
after a request that got no answer in time: it has waited long enough, and may still be worked on.
"""

_BUSY = frozenset({408, 429, 502, 503, 504})
"""Statuses of a server, or a proxy before it, that may answer in a moment."""

_LOWEST = -9999.0
"""What vLLM writes for minus infinity, which JSON lacks."""

_ABOVE_ZERO = 1e-4
"""How far rounding may lift a log-probability above 0, in nats."""

START = (
    "start vLLM as docs/guides/server.md says: VLLM_ALLOW_RUNTIME_LORA_UPDATING=1 vllm serve MODEL "
    "--enable-lora --max-lora-rank R"
)


@dataclass(frozen=True, slots=True)
class Served:
    """A model that a server lists.

    Attributes:
        parent: name of the base where this is an adapter; None for a base.
        root: where its weights come from; names of one base share it. None where not said.
        max_tokens: context length; None where the server does not say.
    """

    name: str
    parent: str | None
    root: str | None
    max_tokens: int | None


@dataclass(frozen=True, slots=True)
class TokenScore:
    """One prompt token under the model.

    Attributes:
        logprob: natural logarithm, in nats, <= 0.
        greedy: no other token was more probable.
    """

    logprob: float
    greedy: bool


@dataclass(frozen=True, slots=True)
class Written:
    """What a server generated.

    Attributes:
        ids: its tokens, the end marker included.
        finish: "stop" (a stop string or an end marker) or "length".
    """

    ids: tuple[int, ...]
    finish: str


class Api:
    """One server. Safe to use from several threads.

    A server that is lost, or does not answer in time, is not asked again: every later request fails
    at once. Otherwise each cell of a sweep would wait for it anew.
    """

    def __init__(self, url: str) -> None:
        """
        Args:
            url: "http://host:port/v1", without credentials.

        Raises:
            ModelError: the package `openai` is not installed, or no header can carry the key.
        """
        try:
            import openai
        except ImportError as error:
            raise ModelError(
                "the server engine needs the package openai",
                "in the clone of MAPLE: pip install -e '.[server]'",
            ) from error
        self.where = f"server {host(url)}"
        self.fingerprint = ""
        self._key = _key()
        self._met = False
        self._lost = ""
        self._errors = openai
        # Not followed: the key goes to the address that the study names, and to no other.
        http = openai.DefaultHttpxClient(
            follow_redirects=False, event_hooks={"request": [_headers(self._key)]}
        )
        weakref.finalize(self, http.close)
        self._client = openai.OpenAI(
            base_url=url,
            api_key="none",  # the client insists on one; `_headers` replaces it
            timeout=openai.Timeout(_SECONDS, connect=_CONNECT_SECONDS),
            max_retries=0,
            http_client=http,
        )

    def error(self, what: str, hint: str = "") -> ModelError:
        """What went wrong with this server, without its key, whoever repeated that."""
        return ModelError(f"{self.where}: {self._hushed(what)}", self._hushed(hint))

    def models(self) -> list[Served]:
        """Bases and adapters that can be asked.

        Raises:
            ModelError: no connection, no access, or not a list of models.
        """
        listed = self._call("GET", "/models", None).get("data")
        if not isinstance(listed, list):
            raise self._broken("its list of models has no data")
        return [self._served(card) for card in listed]

    def score(self, model: str, ids: Sequence[int], start: int) -> list[TokenScore]:
        """Every token of `ids` from `start` on, given all tokens before it.

        Args:
            model: name of a base or an adapter.
            ids: the whole text; the server must have room for one more token.
            start: at least 1: nothing predicts the first token.

        Raises:
            ModelError: the server fails, changes the tokens, or leaves a log-probability out.
        """
        # One token is generated because vLLM generates at least one. The most probable token is
        # asked for besides the prompt's own: vLLM's ranks count equal ones against it.
        body = {"prompt_logprobs": 1, "max_tokens": 1}
        choice = self._complete(model, ids, body)
        scores = choice.get("prompt_logprobs")
        if not isinstance(scores, list):
            raise self.error(
                "gives no log-probabilities of the prompt (prompt_logprobs)",
                "choices can be scored on a vLLM server only",
            )
        if len(scores) != len(ids):
            raise self._broken(f"{len(scores)} log-probabilities for {len(ids)} tokens")
        return [self._token(ids[at], scores[at]) for at in range(start, len(ids))]

    def write(self, model: str, ids: Sequence[int], request: GenerateRequest) -> Written:
        """The continuation of `ids`, greedy or drawn by the server as the request says.

        Raises:
            ModelError: the server fails, changes the prompt, or does not say which tokens it wrote.
        """
        most = request.max_new_tokens
        body: dict[str, object] = {"stop": list(request.stop), "max_tokens": most, "logprobs": 0}
        if (how := request.sampling) is not None:
            body |= {"temperature": how.temperature, "top_p": how.top_p, "seed": how.seed}
        choice = self._complete(model, ids, body)
        written = self._ids(choice.get("token_ids"), "wrote")
        if not 1 <= len(written) <= most:
            raise self._broken(f"{len(written)} tokens where 1 to {most} were asked for")
        finish = choice.get("finish_reason")
        if finish not in ("stop", "length"):
            raise self._broken(f"finish_reason {finish!r}, expected 'stop' or 'length'")
        logprobs = choice.get("logprobs")
        values = logprobs.get("token_logprobs") if isinstance(logprobs, dict) else None
        if not isinstance(values, list) or len(values) != len(written):
            raise self._broken("a completion without one log-probability a token")
        for value in values:
            self._finite(value)
        return Written(written, str(finish))

    def load_adapter(self, name: str, path: str, base: str) -> None:
        """Make an adapter known to the server under `name`, unless it is.

        Args:
            path: absolute folder, which the server reads itself.
            base: name of the served base that it belongs to.

        Raises:
            ModelError: the server takes no adapters, cannot read this one, or its rank is too high.
        """
        if self._lists(name, base):
            return
        body = {"lora_name": name, "lora_path": path}
        try:
            self._request("POST", "/load_lora_adapter", body)
        except ModelError as error:
            # Another sweep may have loaded it meanwhile.
            if self._lists(name, base):
                return
            raise ModelError(
                f"{error.what} when it was asked to load adapter {path}",
                f"the server must be able to read that path; {START}, with R not below the "
                "adapter's rank",
            ) from error

    def _lists(self, name: str, base: str) -> bool:
        listed = {served.name: served for served in self.models()}
        found = listed.get(name)
        if found is None:
            return False
        # A base may have several names, of which vLLM calls the first one every adapter's parent.
        wanted, parent = listed.get(base), listed.get(found.parent or "")
        same = wanted and parent and parent.root is not None and parent.root == wanted.root
        if found.parent != base and not same:
            raise self._broken(f"{name!r} listed as an adapter of {found.parent!r}")
        return True

    def _complete(
        self, model: str, ids: Sequence[int], body: Mapping[str, object]
    ) -> dict[str, Any]:
        answer = self._call(
            "POST",
            "/completions",
            {
                "model": model,
                "prompt": list(ids),
                # Greedy. The rest, all of it without effect, is stated because a server takes its
                # defaults from the model's own generation settings.
                "temperature": 0.0,
                "top_p": 1.0,
                "top_k": 0,
                "min_p": 0.0,
                "frequency_penalty": 0.0,
                "presence_penalty": 0.0,
                "repetition_penalty": 1.0,
                "return_token_ids": True,
                **body,
            },
        )
        self.fingerprint = self._hushed(str(answer.get("system_fingerprint") or ""))
        choices = answer.get("choices")
        if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], dict):
            raise self._broken("an answer without its one choice")
        choice: dict[str, Any] = choices[0]
        read = self._ids(choice.get("prompt_token_ids"), "read")
        if read != tuple(ids):
            raise self.error(
                f"was sent {len(ids)} tokens beginning with {list(ids[:4])} and read "
                f"{len(read)} beginning with {list(read[:4])}",
                "the server must take token ids as they are, without a BOS or a template of its "
                "own",
            )
        return choice

    def _ids(self, value: object, did: str) -> tuple[int, ...]:
        if not isinstance(value, list) or not all(isinstance(token, int) for token in value):
            raise self.error(
                f"does not say which tokens it {did} (return_token_ids)",
                "expected a vLLM server, 0.10.2 or later",
            )
        return tuple(value)

    def _token(self, token: int, entry: object) -> TokenScore:
        found = entry.get(str(token)) if isinstance(entry, dict) else None
        if not isinstance(entry, dict) or not isinstance(found, dict):
            raise self._broken(f"no log-probability of token {token}, which it was sent")
        value = self._finite(found.get("logprob"))
        others = [other.get("logprob") for other in entry.values() if isinstance(other, dict)]
        return TokenScore(min(0.0, value), value >= max(map(self._finite, others)))

    def _finite(self, value: object) -> float:
        if not isinstance(value, int | float) or not math.isfinite(value):
            raise self._broken(f"a log-probability of {value!r}")
        if not _LOWEST < value <= _ABOVE_ZERO:
            raise self._broken(f"a log-probability of {value:g} nats")
        return float(value)

    def _served(self, card: object) -> Served:
        if not isinstance(card, dict) or not isinstance(card.get("id"), str):
            raise self._broken("a model without an id")
        parent, root, length = card.get("parent"), card.get("root"), card.get("max_model_len")
        return Served(
            name=card["id"],
            parent=parent if isinstance(parent, str) else None,
            root=root if isinstance(root, str) else None,
            max_tokens=length if isinstance(length, int) else None,
        )

    def _call(self, method: str, path: str, body: Mapping[str, object] | None) -> dict[str, Any]:
        """A request whose answer is a JSON object."""
        text = self._request(method, path, body)
        try:
            answer = json.loads(text)
        except ValueError as error:
            shown = self._hushed(text)[:60]
            raise self._broken(f"{path} answered what is not JSON: {shown!r}") from error
        if not isinstance(answer, dict):
            raise self._broken(f"{path} answered no JSON object")
        return answer

    def _request(self, method: str, path: str, body: Mapping[str, object] | None) -> str:
        """The text of an answer, asked for again where that may help."""
        if self._lost:
            raise self.error(f"{self._lost}; it is not asked again", "the same command tries again")
        # A server that has never answered is not asked twice: a wrong address says so at once.
        pauses = iter(_PAUSES if self._met else ())
        while True:
            try:
                answer = self._sent(method, path, body)
            except self._errors.APITimeoutError as error:
                self._lost = (
                    f"no answer to {path} in time ({_SECONDS:g} s, of which {_CONNECT_SECONDS:g} s "
                    "to connect)"
                )
                raise self.error(self._lost, "is it overloaded, or does it hang?") from error
            except self._errors.APIConnectionError as error:
                pause = next(pauses, None)
                if pause is None:
                    self._lost = f"cannot be reached: {error.__cause__ or error}"
                    raise self.error(self._lost, "is it running, at this address?") from error
            except self._errors.APIStatusError as error:
                pause = next(pauses, None) if error.status_code in _BUSY else None
                if pause is None:
                    raise self._refused(path, error) from error
            else:
                self._met = True
                return answer
            time.sleep(pause)

    def _sent(self, method: str, path: str, body: Mapping[str, object] | None) -> str:
        if method == "GET":
            return self._client.get(path, cast_to=str)
        return self._client.post(path, cast_to=str, body=body)

    def _refused(self, path: str, error: Any) -> ModelError:
        """What an error status means; `error` is openai's APIStatusError."""
        status = error.status_code
        if status in (401, 403):
            given = "the key in" if self._key else "no key, expected one in"
            return self.error(f"refused access ({status}) with {given} {KEY}")
        hint = "did the server restart, or is the URL's path wrong?" if status == 404 else ""
        if 300 <= status < 400:
            hint = "expected the address that this one redirects to"
        said = self._said(error.body, error.response.text)
        return self.error(f"answered {path} with {status}: {said}", hint)

    def _said(self, body: object, text: str) -> str:
        """The server's own words, short and without the key."""
        message = body.get("message", body.get("detail")) if isinstance(body, dict) else None
        said = message if isinstance(message, str) else text
        # Before it is cut: half a key is too much as well.
        return " ".join(self._hushed(said).split())[:300]

    def _hushed(self, text: str) -> str:
        return text.replace(self._key, "...") if self._key else text

    def _broken(self, what: str) -> ModelError:
        return self.error(what, "expected the completions API of a vLLM server")


def _key() -> str:
    """The server's key; "" where there is none.

    Raises:
        ModelError: it cannot be sent; the message does not show it.
    """
    key = os.environ.get(KEY, "").strip()
    if not (key.isascii() and key.isprintable()):
        raise ModelError(
            f"environment variable {KEY}: holds characters that cannot be sent, expected printable "
            "ASCII",
            "was it read from a file with more than the key in it?",
        )
    return key


def _headers(key: str) -> Callable[[Any], None]:
    """A hook that leaves requests the headers set here.

    The client adds OPENAI_ORG_ID, OPENAI_PROJECT_ID and whatever stands in OPENAI_CUSTOM_HEADERS:
    those are for OpenAI, not for the server of a study.
    """
    ours = {"accept": "application/json", "content-type": "application/json", "user-agent": "maple"}
    if key:
        ours["authorization"] = f"Bearer {key}"

    def only_ours(request: Any) -> None:
        for name in set(request.headers) - {"content-length"}:
            del request.headers[name]
        request.headers.update({"host": request.url.netloc.decode("ascii"), **ours})

    return only_ours
