"""The hub path against a small hub on this machine, in a fresh process as a user runs it."""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

from models import tiny

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "hf_secret_of_this_test"  # noqa: S105 - made up


def handler(folder: Path, asked: list[str]) -> type[http.server.BaseHTTPRequestHandler]:
    """A hub with the model org/tiny, the gated org/gated, and nothing else."""
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    files["pytorch_model.bin"] = b"a pickle"

    class Hub(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def answer(self, status: int, content: bytes, **headers: str) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def do_GET(self) -> None:
            path = unquote(self.path.partition("?")[0])
            asked.append(path)
            if "/org/gated" in path:
                self.answer(403, b"{}", X_Error_Code="GatedRepo")
            elif path.startswith("/api/models/org/tiny/tree/"):
                tree = [
                    {"type": "file", "path": name, "oid": "0" * 40, "size": len(content)}
                    for name, content in files.items()
                ]
                self.answer(200, json.dumps(tree).encode(), Content_Type="application/json")
            elif path in (
                "/api/models/org/tiny",
                "/api/models/org/tiny/revision/main",
                "/api/models/org/tiny/revision/v1",
                f"/api/models/org/tiny/revision/{COMMIT}",
            ):
                names = [{"rfilename": name} for name in files]
                info = {"id": "org/tiny", "sha": COMMIT, "siblings": names}
                self.answer(200, json.dumps(info).encode(), Content_Type="application/json")
            elif path.startswith("/api/models/org/tiny/revision/"):
                self.answer(404, b"{}", X_Error_Code="RevisionNotFound")
            elif path.startswith(f"/org/tiny/resolve/{COMMIT}/"):
                content = files[path.rpartition("/")[2]]
                etag = f'"{hash(content)}"'
                self.answer(200, content, ETag=etag, X_Repo_Commit=COMMIT)
            else:
                self.answer(404, b"{}", X_Error_Code="RepoNotFound")

        do_HEAD = do_GET  # noqa: N815

    return Hub


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, list[str]]]:
    folder = tiny.saved(tmp_path_factory.mktemp("hub") / "tiny")
    asked: list[str] = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler(folder, asked))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    thread.join()
    server.server_close()


CODE = """
import os
import sys
from maple.errors import ModelError
from maple.models.files import resolve
for name in sys.argv[1:]:
    try:
        print(resolve(name, weights="MAPLE_TEST_NO_WEIGHTS" not in os.environ))
    except ModelError as error:
        print(type(error).__name__, repr(str(error)))
"""


def answers(endpoint: str, home: Path, *names: str, offline: bool = False) -> list[str]:
    """What `resolve` says to each name in a fresh process: environment is read at import."""
    env = os.environ | {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(home),
        "HF_TOKEN": TOKEN,
        "HF_HUB_OFFLINE": "1" if offline else "0",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }
    child = subprocess.run(
        [sys.executable, "-c", CODE, *names], env=env, capture_output=True, text=True, check=False
    )
    assert child.returncode == 0, child.stderr
    assert TOKEN not in child.stdout + child.stderr
    return child.stdout.splitlines()


def test_a_model_is_taken_at_its_commit(hub: tuple[str, list[str]], tmp_path: Path) -> None:
    endpoint, asked = hub
    names = (
        "org/tiny",
        "org/tiny@v1",
        f"org/tiny@{COMMIT}",
        "org/tiny@v9",
        "org/none",
        "org/gated",
    )
    whole, tagged, pinned, no_revision, unknown, gated = answers(endpoint, tmp_path, *names)
    assert f"identity='hub:org/tiny@{COMMIT}'" in whole
    assert "source_precision=None" in whole
    assert f"hub:org/tiny@{COMMIT}" in tagged
    assert f"hub:org/tiny@{COMMIT}" in pinned
    assert not any("pytorch_model.bin" in path for path in asked)
    assert no_revision.startswith("ModelError ")
    assert "no revision" in no_revision
    assert unknown.startswith("ModelError ")
    assert "no such model" in unknown
    assert gated.startswith("ModelOutOfReachError ")
    assert "restricted by its owner" in gated
    (cached,) = answers("http://127.0.0.1:9", tmp_path, "org/tiny", offline=True)
    assert cached == whole


def test_a_plan_fetches_no_weights(
    hub: tuple[str, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint, asked = hub
    del asked[:]
    (whole,) = answers(endpoint, tmp_path / "a", "org/tiny")
    assert any(path.endswith(".safetensors") for path in asked)
    del asked[:]
    monkeypatch.setenv("MAPLE_TEST_NO_WEIGHTS", "1")
    (without,) = answers(endpoint, tmp_path / "b", "org/tiny")
    assert without == whole.replace(str(tmp_path / "a"), str(tmp_path / "b"))
    assert any(path.endswith("tokenizer.json") for path in asked)
    assert not any(path.endswith(".safetensors") for path in asked)


def test_no_network(tmp_path: Path) -> None:
    (unreachable,) = answers("http://127.0.0.1:9", tmp_path, "org/tiny")
    assert unreachable.startswith("ModelOutOfReachError ")
    assert "cannot be reached" in unreachable
    (offline,) = answers("http://127.0.0.1:9", tmp_path, "org/tiny", offline=True)
    assert "not in the local cache" in offline
