"""A small hub of our own on this machine, and the files that it serves."""

from __future__ import annotations

import hashlib
import io
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub.constants
import pyarrow as pa
import pytest
from pyarrow import parquet

BEARER = "hf_thisMustNeverBeShown"
MAIN, CONVERTED = "a" * 40, "b" * 40


@dataclass
class Hub:
    """What the hub holds: repository -> revision -> (commit, files); statuses override.

    Attributes:
        lost: names of files whose transfer breaks off halfway, and how often it still will.
    """

    address: str
    repos: dict[str, dict[str, tuple[str, Mapping[str, bytes]]]] = field(default_factory=dict)
    refused: dict[str, tuple[int, str]] = field(default_factory=dict)
    lost: dict[str, int] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    credentials: set[str | None] = field(default_factory=set)

    def put(
        self,
        repo: str,
        files: Mapping[str, bytes],
        revision: str = "main",
        commit: str | None = None,
    ) -> None:
        commit = commit or (CONVERTED if revision.startswith("refs/") else MAIN)
        self.repos.setdefault(repo, {})[revision] = (commit, files)
        self.repos[repo][commit] = (commit, files)

    def fetched(self) -> list[str]:
        """Names of the files that were asked for, in order, and empty it."""
        names = [path.split("/", 6)[-1] for path in self.requests if "/resolve/" in path]
        self.requests.clear()
        return list(dict.fromkeys(names))


@contextmanager
def small_hub(cache: Path) -> Iterator[Hub]:
    """A hub that answers at 127.0.0.1 and is huggingface_hub's address until the block ends."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    served = Hub(f"http://127.0.0.1:{server.server_address[1]}")
    _Handler.hub = served
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_ENDPOINT", served.address)
        patch.setenv("HF_TOKEN", BEARER)
        patch.setenv("NO_PROXY", "127.0.0.1")
        patch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
        yield served
    server.shutdown()
    server.server_close()
    thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # saves 40 ms an answer

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def log_message(self, *args: object) -> None:
        """Keep the tests' output clean."""

    def _answer(self, *, with_body: bool) -> None:
        path = self.path.partition("?")[0].replace("%2F", "/")
        self.hub.requests.append(path)
        self.hub.credentials.add(self.headers["Authorization"])
        status, headers, body = self._find(path)
        start = int((self.headers["Range"] or "bytes=0-").removeprefix("bytes=").split("-")[0])
        self.send_response(206 if start and status == 200 else status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.end_headers()
        if not with_body:
            return
        name = path.rpartition("/")[2]
        if self.hub.lost.get(name, 0) > 0:
            self.hub.lost[name] -= 1
            self.wfile.write(body[start : start + (len(body) - start) // 2])
            self.wfile.flush()
            self.close_connection = True
            return
        self.wfile.write(body[start:])

    def _find(self, path: str) -> tuple[int, Mapping[str, str], bytes]:
        for repo, revisions in self.hub.repos.items():
            if repo in path and repo in self.hub.refused:
                status, code = self.hub.refused[repo]
                return status, {"X-Error-Code": code}, b"{}"
            if path.startswith(f"/api/datasets/{repo}/revision/"):
                revision = path.removeprefix(f"/api/datasets/{repo}/revision/")
                if revision not in revisions:
                    return 404, {"X-Error-Code": "RevisionNotFound"}, b"{}"
                commit, files = revisions[revision]
                siblings = [{"rfilename": name} for name in files]
                body = json.dumps({"id": repo, "sha": commit, "siblings": siblings})
                return 200, {"Content-Type": "application/json"}, body.encode()
            if path.startswith(f"/datasets/{repo}/resolve/"):
                revision, _, name = path.removeprefix(f"/datasets/{repo}/resolve/").partition("/")
                commit, files = revisions[revision]
                body_bytes = files[name]
                tag = hashlib.sha256(body_bytes).hexdigest()
                return 200, {"ETag": f'"{tag}"', "X-Repo-Commit": commit}, body_bytes
        return 404, {"X-Error-Code": "RepoNotFound"}, b"{}"


def parquet_file(*rows: Mapping[str, object]) -> bytes:
    buffer = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(list(rows)), buffer)
    return buffer.getvalue()


def jsonl_file(*rows: Mapping[str, object]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()
