"""The server engine against a real HTTP server, and against the built-in engine."""

from __future__ import annotations

import math
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from conformance import language_model as conformance
from maple.errors import ModelError
from maple.models import server_api
from maple.models.engine import TransformersModel
from maple.models.loading import Loaded
from maple.models.server import ServerModel
from maple.records import ChoiceRequest, GenerateRequest, Sampling, Server
from models import tiny
from models.serving import ALIAS, NAME, TinyServer, serving
from models.test_adapters import write_adapter
from models.test_engine import SHOTS, requests

ASKED = [ChoiceRequest("the quick ", "brown fox", (" jumps", " over the"))]
WRITTEN = [GenerateRequest("", "the quick", (), 5)]


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_api, "_PAUSES", (0.0, 0.0))


@pytest.fixture(scope="module")
def gemma(families: dict[str, Loaded]) -> Loaded:
    return families["gemma3"]


@pytest.fixture
def state(gemma: Loaded) -> TinyServer:
    # A model of its own, so that its adapters are not the built-in engine's.
    return TinyServer(tiny.build("gemma3").eval(), Path(gemma.base.path))


@pytest.fixture
def url(state: TinyServer) -> Iterator[str]:
    with serving(state) as address:
        yield address


@pytest.fixture
def model(gemma: Loaded, url: str) -> ServerModel:
    return connect(gemma, url)


def connect(base: Loaded, url: str, name: str | None = None) -> ServerModel:
    return ServerModel(base.base, Server(url, name, "float32"))


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    return write_adapter(tmp_path / "one", 1)


def generations() -> list[GenerateRequest]:
    return [
        GenerateRequest(request.prefix, request.prompt, stop, 3 + 4 * (index % 4))
        for index, request in enumerate(requests(2))
        for stop in ((), ("\n", "e"))
    ]


@pytest.mark.parametrize(
    "family",
    [
        family if family == "llama" else pytest.param(family, marks=pytest.mark.full)
        for family in tiny.FAMILIES
    ],
)
def test_answers_equal_the_built_in_engines(
    families: dict[str, Loaded], engines: dict[str, TransformersModel], family: str
) -> None:
    base = families[family]
    state = TinyServer(tiny.build(family).eval(), Path(base.base.path))
    with serving(state) as url:
        model = connect(base, url)
        got = model.choice_logprobs(requests(), None)
        for mine, wanted in zip(
            got, engines[family].choice_logprobs(requests(), None), strict=True
        ):
            assert mine.logprobs == pytest.approx(wanted.logprobs, rel=1e-5, abs=1e-4)
            for name in ("n_tokens", "greedy", "n_prompt_tokens", "prompt_head", "prompt_tail"):
                assert getattr(mine, name) == getattr(wanted, name)
        wanted_texts = engines[family].generate(generations(), None)
        assert model.generate(generations(), None) == wanted_texts
        assert {response.stop_reason for response in wanted_texts} >= {"stop", "length"}


def test_conformance(model: ServerModel) -> None:
    conformance.check_choices(model, requests())
    conformance.check_order_and_purity(model, requests(), tolerance=1e-4)
    conformance.check_nothing(model)
    conformance.check_too_long(model)
    conformance.check_generation(
        model, [GenerateRequest(SHOTS, "yes", ("\n", "e"), 6), GenerateRequest("", "no", (), 3)]
    )


def test_adapters_answer_by_request(
    gemma: Loaded, model: ServerModel, state: TinyServer, tmp_path: Path, adapter: Path
) -> None:
    other = write_adapter(tmp_path / "two", 2)
    built_in = TransformersModel(gemma)
    for folder in (None, adapter, None, other, adapter):
        wanted = built_in.choice_logprobs(ASKED, folder)[0]
        got = model.choice_logprobs(ASKED, folder)[0]
        assert got.logprobs == pytest.approx(wanted.logprobs, rel=1e-5, abs=1e-4)
        assert model.generate(WRITTEN, folder) == built_in.generate(WRITTEN, folder)
    built_in.adapters.clear()
    assert len(state.loads) == len(set(state.loads)) == 2
    assert all(name.startswith("maple-") for name in state.loads)
    # Another sweep finds the adapter there.
    assert connect(gemma, state_url(model)).choice_logprobs(ASKED, adapter)
    assert len(state.loads) == 2
    # A copy is another one: the server would read the first again from where that was.
    copy = write_adapter(tmp_path / "copy", 1)
    assert connect(gemma, state_url(model)).choice_logprobs(ASKED, copy)
    assert len(state.loads) == 3
    assert state.adapters[state.loads[-1]] == str(copy)
    # So is one that was trained again.
    write_adapter(adapter, 5)
    model.choice_logprobs(ASKED, adapter)
    assert len(state.loads) == 4


def state_url(model: ServerModel) -> str:
    return str(model._api._client.base_url)


@pytest.mark.full
def test_proof_says_what_can_be_seen(
    gemma: Loaded, model: ServerModel, url: str, state: TinyServer, tmp_path: Path, adapter: Path
) -> None:
    bare, tuned = model.proof(None), model.proof(adapter)
    assert bare.probe_max_abs_diff is None
    assert tuned.probe_max_abs_diff is not None
    assert tuned.probe_max_abs_diff > 0.01
    assert (tuned.eval_mode, tuned.linear_class, tuned.linear_bits) == (None, None, None)
    assert (tuned.bos_count, tuned.bos_expected) == (1, 1)
    assert tuned.server == f"{url.removeprefix('http://').removesuffix('/v1')} tiny-1"
    assert tuned.server_model == NAME
    with pytest.raises(ModelError, match="changes nothing"):
        model.proof(write_adapter(tmp_path / "zero", 1, zero=True))
    state.faults = {"ignores-adapter"}
    with pytest.raises(ModelError, match="changes nothing"):
        connect(gemma, url).proof(adapter)


def test_token_ids_are_sent_and_sampling_is_off(model: ServerModel, state: TinyServer) -> None:
    model.choice_logprobs(ASKED, None)
    model.generate(WRITTEN, None)
    assert len(state.asked) == 3
    for body in state.asked:
        assert body["model"] == NAME
        assert body["prompt"][0] == 1
        assert (body["temperature"], body["repetition_penalty"]) == (0.0, 1.0)
        assert (body["top_p"], body["top_k"], body["min_p"]) == (1.0, 0, 0.0)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("adds-bos", r"was sent \d+ tokens beginning with .* and read \d+"),
        ("no-ids", "does not say which tokens it read"),
        ("no-prompt-logprobs", "gives no log-probabilities of the prompt"),
        ("too-few", r"\d+ log-probabilities for \d+ tokens"),
        ("other-token", r"no log-probability of token \d+"),
        ("null", "log-probability of None"),
        ("nan", "log-probability of nan"),
        ("minus-9999", "log-probability of -9999 nats"),
        ("above-zero", "log-probability of 0.5 nats"),
        ("no-choices", "without its one choice"),
        ("fails", "answered /completions with 400: out of memory"),
        ("not-json", "what is not JSON: '<html>'"),
        ("not-an-object", "no JSON object"),
    ],
)
def test_a_server_that_scores_wrongly(
    model: ServerModel, state: TinyServer, fault: str, message: str
) -> None:
    state.faults = {fault}
    with pytest.raises(ModelError, match=message):
        model.choice_logprobs(ASKED, None)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("adds-bos", r"was sent \d+ tokens"),
        ("no-written-ids", "does not say which tokens it wrote"),
        ("writes-nothing", "0 tokens where 1 to 5"),
        ("stops-by-itself", "no end marker, stop string or limit"),
        ("aborts", "finish_reason 'aborted'"),
        ("nan-while-writing", "log-probability of nan"),
    ],
)
def test_a_server_that_writes_wrongly(
    model: ServerModel, state: TinyServer, fault: str, message: str
) -> None:
    state.faults = {fault}
    with pytest.raises(ModelError, match=message):
        model.generate(WRITTEN, None)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("two-bases", "serves 2 models, expected one: tiny, other"),
        ("no-length", "does not say how many tokens"),
        ("no-bases", "list of models has no data"),
        ("not-json", "not JSON"),
    ],
)
def test_a_server_that_lists_wrongly(
    gemma: Loaded, url: str, state: TinyServer, fault: str, message: str
) -> None:
    state.faults = {fault}
    with pytest.raises(ModelError, match=message):
        connect(gemma, url)


def test_the_model_is_chosen_by_name(gemma: Loaded, url: str, state: TinyServer) -> None:
    state.faults = {"two-bases"}
    assert connect(gemma, url, NAME).model_name == NAME
    with pytest.raises(ModelError, match="serves no model 'tinny'") as caught:
        connect(gemma, url, "tinny")
    assert "did you mean 'tiny'" in caught.value.hint


def test_names_of_one_base_share_its_adapters(
    gemma: Loaded, url: str, state: TinyServer, adapter: Path
) -> None:
    state.faults = {"two-names"}
    for _ in range(2):
        assert connect(gemma, url, ALIAS).choice_logprobs(ASKED, adapter)
    assert len(state.loads) == 1
    state.faults = {"two-bases"}
    with pytest.raises(ModelError, match="listed as an adapter of 'tiny'"):
        connect(gemma, url, "other").choice_logprobs(ASKED, adapter)


def test_the_servers_context_counts(gemma: Loaded, url: str, state: TinyServer) -> None:
    state.faults = {"short-context"}
    model = connect(gemma, url)
    assert model.max_context == 39
    with pytest.raises(ModelError, match="exceed the context of 39 tokens"):
        model.generate([GenerateRequest("", "the quick", (), 38)], None)
    assert state.asked == []


def test_nobody_there(gemma: Loaded) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        with pytest.raises(ModelError, match=f"server 127.0.0.1:{port}: cannot be reached"):
            connect(gemma, f"http://127.0.0.1:{port}/v1")


def test_without_its_client(gemma: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(ModelError, match="needs the package openai") as caught:
        connect(gemma, "http://127.0.0.1:9/v1")
    assert caught.value.hint == "in the clone of MAPLE: pip install -e '.[server]'"


def test_a_failing_server_is_asked_again(model: ServerModel, state: TinyServer) -> None:
    wanted = model.choice_logprobs(ASKED, None)
    state.fails = [503, 429]
    assert model.choice_logprobs(ASKED, None) == wanted
    assert state.fails == []
    state.fails = [503] * 6
    with pytest.raises(ModelError, match="answered /completions with 503: try later"):
        model.choice_logprobs(ASKED, None)


@pytest.mark.parametrize(
    ("fault", "attempts", "message"),
    [
        ("silent", 1, r"no answer to /completions in time \(0.1 s, of which 5 s to connect\)"),
        ("drops", 3, "cannot be reached: Server disconnected"),
    ],
)
def test_a_lost_server_is_waited_for_once(
    gemma: Loaded,
    url: str,
    state: TinyServer,
    adapter: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
    attempts: int,
    message: str,
) -> None:
    monkeypatch.setattr(server_api, "_SECONDS", 0.1)
    model = connect(gemma, url)
    state.faults = {fault}
    with pytest.raises(ModelError, match=message):
        model.proof(None)
    assert len(state.asked) == attempts
    state.faults = set()
    for folder in (None, adapter):
        with pytest.raises(ModelError, match=f"{message}.*; it is not asked again"):
            model.choice_logprobs(ASKED, folder)
    assert len(state.asked) == attempts
    assert state.loads == []


def test_sampling_is_the_servers(model: ServerModel, state: TinyServer) -> None:
    how = Sampling(0.7, 0.9, 11)
    model.generate([GenerateRequest("", "the quick", (), 5, how)], None)
    (body,) = state.asked
    assert (body["temperature"], body["top_p"], body["seed"]) == (0.7, 0.9, 11)
    # Left out, these two would come from the model's own generation settings.
    assert (body["top_k"], body["min_p"]) == (0, 0.0)
    with pytest.raises(ModelError, match="nothing can be drawn"):
        model.generate([GenerateRequest("", "no", (), 5, Sampling(0.0, 0.9, 1))], None)


def test_a_key_is_sent_and_shown_to_nobody(
    gemma: Loaded, url: str, state: TinyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    state.key = "hush-hush"
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-somebody-else")
    with pytest.raises(ModelError, match=r"refused access \(401\) with no key") as caught:
        connect(gemma, url)
    assert "sk-of" not in str(caught.value)
    monkeypatch.setenv("MAPLE_SERVER_KEY", "wrong-key")
    with pytest.raises(ModelError, match=r"with the key in MAPLE_SERVER_KEY") as caught:
        connect(gemma, url)
    assert "wrong-key" not in str(caught.value)
    monkeypatch.setenv("MAPLE_SERVER_KEY", "hush-hush")
    model = connect(gemma, url)
    state.faults = {"fails"}
    with pytest.raises(ModelError, match="out of memory") as caught:
        model.choice_logprobs(ASKED, None)
    assert "hush" not in str(caught.value)
    state.faults = {"not-json"}
    with pytest.raises(ModelError, match=r"not JSON: '<html>\.\.\.'"):
        model.choice_logprobs(ASKED, None)


def test_a_key_that_a_file_ended(
    gemma: Loaded, url: str, state: TinyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    state.key = "hush-hush"
    monkeypatch.setenv("MAPLE_SERVER_KEY", "hush-hush\r\n")
    assert connect(gemma, url).choice_logprobs(ASKED, None)
    for broken in ("hush-hüsh", "hush\nhush", "hush\x00"):
        # As os.environ would give it: no environment holds a NUL.
        monkeypatch.setattr(server_api.os, "environ", {"MAPLE_SERVER_KEY": broken})
        with pytest.raises(ModelError, match="MAPLE_SERVER_KEY: holds characters") as caught:
            connect(gemma, url)
        assert "hush" not in str(caught.value)


def test_secrets_for_others_stay_here(
    gemma: Loaded, url: str, state: TinyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    headers = "X-Api-Key: sk-1\nAuthorization: Bearer sk-2\nUser-Agent: sk-3\nHost: sk-4"
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", headers)
    for name in ("API_KEY", "ADMIN_KEY", "ORG_ID", "PROJECT_ID"):
        monkeypatch.setenv(f"OPENAI_{name}", f"sk-{name}")
    connect(gemma, url).choice_logprobs(ASKED, None)
    own = {"host", "accept", "content-type", "user-agent"}
    assert [set(sent) - own for sent in state.headers] == [set(), *[{"content-length"}] * 2]
    monkeypatch.setenv("MAPLE_SERVER_KEY", "ours")
    connect(gemma, url)
    assert state.headers[-1]["authorization"] == "Bearer ours"
    assert "sk-" not in str(state.headers)


def test_a_redirect_is_not_followed(gemma: Loaded, url: str, state: TinyServer) -> None:
    state.faults = {"redirects"}
    with pytest.raises(ModelError, match="answered /models with 307: elsewhere") as caught:
        connect(gemma, url)
    assert "redirects to" in caught.value.hint
    assert len(state.headers) == 1


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("no-lora", "/load_lora_adapter with 404: Not Found"),
        ("low-rank", "LoRA rank 4 is greater than max_lora_rank 1"),
    ],
)
def test_a_server_that_takes_no_adapter(
    model: ServerModel, state: TinyServer, adapter: Path, fault: str, message: str
) -> None:
    state.faults = {fault}
    with pytest.raises(ModelError, match=message) as caught:
        model.choice_logprobs(ASKED, adapter)
    assert str(adapter) in caught.value.what
    assert "able to read that path" in caught.value.hint
    assert "--max-lora-rank" in caught.value.hint


def test_a_server_that_forgot_its_adapter(
    model: ServerModel, state: TinyServer, adapter: Path
) -> None:
    model.choice_logprobs(ASKED, adapter)
    state.adapters.clear()
    with pytest.raises(ModelError, match="does not exist") as caught:
        model.choice_logprobs(ASKED, adapter)
    assert "restart" in caught.value.hint


def test_a_wrong_adapter_never_reaches_the_server(
    model: ServerModel, state: TinyServer, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match="has width 48"):
        model.choice_logprobs(ASKED, write_adapter(tmp_path / "wide", 1, hidden=48))
    assert state.loads == []


def test_log_probabilities_are_natural(model: ServerModel) -> None:
    """All continuations by one token: their probabilities are those of a distribution."""
    letters = tuple("abcdefghijklmnopqrstuvwxyz")
    got = model.choice_logprobs([ChoiceRequest("", "yes no ", letters)], None)[0]
    assert 0.0 < math.fsum(map(math.exp, got.logprobs)) < 1.0
