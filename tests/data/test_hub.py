"""Hub datasets, read from a small hub of our own on this machine."""

from __future__ import annotations

import hashlib
import io
import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub.constants
import pyarrow as pa
import pytest
from pyarrow import parquet

from maple.data.hub import HubDataset
from maple.errors import DataError

BEARER = "hf_thisMustNeverBeShown"
MAIN, CONVERTED = "a" * 40, "b" * 40


@dataclass
class Hub:
    """What the hub holds: repository -> revision -> (commit, files); statuses override."""

    address: str
    repos: dict[str, dict[str, tuple[str, Mapping[str, bytes]]]] = field(default_factory=dict)
    refused: dict[str, tuple[int, str]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    credentials: set[str | None] = field(default_factory=set)

    def put(self, repo: str, files: Mapping[str, bytes], revision: str = "main") -> None:
        commit = CONVERTED if revision.startswith("refs/") else MAIN
        self.repos.setdefault(repo, {})[revision] = (commit, files)
        self.repos[repo][commit] = (commit, files)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    served = Hub(f"http://127.0.0.1:{server.server_address[1]}")
    _Handler.hub = served
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", served.address)
    monkeypatch.setenv("HF_TOKEN", BEARER)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    yield served
    server.shutdown()
    server.server_close()
    thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

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
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body)

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


def _parquet(*rows: Mapping[str, object]) -> bytes:
    buffer = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(list(rows)), buffer)
    return buffer.getvalue()


def _jsonl(*rows: Mapping[str, object]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def test_parquet_rows_come_in_the_order_of_their_files(hub: Hub) -> None:
    hub.put(
        "own/set",
        {
            "it/test-00001-of-00002.parquet": _parquet({"n": 3, "s": None}),
            "it/test-00000-of-00002.parquet": _parquet({"n": 1, "s": "x"}, {"n": 2, "s": "y"}),
            "it/validation-00000-of-00001.parquet": _parquet({"n": 9}),
            "README.md": b"",
        },
    )
    rows = HubDataset("own/set").rows("it/test-*.parquet")
    assert [row.values["n"] for row in rows] == [1, 2, 3]
    assert rows[0].text("s") == "x"
    assert rows[1].where == f"own/set@{MAIN[:12]}/it/test-00000-of-00002.parquet:2"


def test_the_first_pattern_that_matches_wins(hub: Hub) -> None:
    hub.put("own/set", {"a.jsonl": _jsonl({"n": 1}, {"n": 2}), "b.jsonl": _jsonl({"n": 3})})
    rows = HubDataset("own/set").rows("a-*.parquet", "a.jsonl", "b.jsonl")
    assert [(row.values["n"], row.number) for row in rows] == [(1, 1), (2, 2)]


def test_a_revision_becomes_a_commit(hub: Hub) -> None:
    hub.put("own/set", {})
    assert HubDataset("own/set").commit() == MAIN


def test_files_are_fetched_from_the_commit_and_once(hub: Hub) -> None:
    hub.put("own/set", {"a.jsonl": _jsonl({"n": 1})})
    HubDataset("own/set").rows("a.jsonl")
    assert any(f"/resolve/{MAIN}/a.jsonl" in path for path in hub.requests)
    assert not any("/resolve/main/" in path for path in hub.requests)
    hub.requests.clear()
    HubDataset("own/set").rows("a.jsonl")
    assert not any("/resolve/" in path for path in hub.requests)


def test_the_converted_branch_stands_in_for_a_loading_script(hub: Hub) -> None:
    hub.put("own/set", {"set.py": b"raise SystemExit", "README.md": b""})
    hub.put("own/set", {"it/test/0000.parquet": _parquet({"n": 1})}, "refs/convert/parquet")
    rows = HubDataset("own/set").rows("it/test-*.parquet", "it/test/*.parquet")
    assert [row.values for row in rows] == [{"n": 1}]
    assert CONVERTED[:12] in rows[0].where


def test_data_on_main_is_preferred_to_the_converted_branch(hub: Hub) -> None:
    hub.put("own/set", {"set.py": b"", "it.jsonl": _jsonl({"n": 1})})
    hub.put("own/set", {"it.jsonl": _jsonl({"n": 2})}, "refs/convert/parquet")
    assert HubDataset("own/set").rows("it.jsonl")[0].values == {"n": 1}


def _message(dataset: HubDataset, *patterns: str) -> str:
    with pytest.raises(DataError) as caught:
        dataset.rows(*patterns)
    assert "--data DIR" in caught.value.hint
    shown = str(caught.value) + repr(caught.value.__cause__)
    assert BEARER not in shown
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return caught.value.what


def test_a_missing_dataset_revision_or_file_is_named(hub: Hub) -> None:
    hub.put("own/set", {"a.jsonl": b""})
    assert "own/other at main: no such dataset" in _message(HubDataset("own/other"), "a")
    assert "own/set at v9: no such revision" in _message(HubDataset("own/set", "v9"), "a")
    assert "no file matches b-*.parquet or b.jsonl" in _message(
        HubDataset("own/set"), "b-*.parquet", "b.jsonl"
    )


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (403, "GatedRepo", "its owner must grant access"),
        (401, "RepoNotFound", "no such dataset, or it is private"),
        (400, "", "the hub answered with an error"),
    ],
)
def test_refusals_are_named(hub: Hub, status: int, code: str, message: str) -> None:
    hub.put("own/set", {})
    hub.refused["own/set"] = (status, code)
    assert message in _message(HubDataset("own/set"), "a")
    assert hub.credentials == {f"Bearer {BEARER}"}  # it was in play, and did not show


def test_no_connection_is_named(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert "no connection" in _message(HubDataset("own/set"), "a")


def test_a_name_that_is_none_is_named(hub: Hub) -> None:
    assert "own//set" in _message(HubDataset("own//set"), "a")


def test_broken_files_are_named(hub: Hub) -> None:
    files = {"a.parquet": b"PAR1 no", "b.jsonl": b'{"n":', "c.parquet": _parquet({"n": 1})[:0]}
    hub.put("own/set", {**files, "d.parquet": _empty()})
    with pytest.raises(DataError, match=r"a\.parquet: not a readable Parquet file"):
        HubDataset("own/set").rows("a.parquet")
    with pytest.raises(DataError, match=r"own/set@aaaaaaaaaaaa/b\.jsonl:1: not JSON"):
        HubDataset("own/set").rows("b.jsonl")
    with pytest.raises(DataError, match=r"c\.parquet: not a readable Parquet file"):
        HubDataset("own/set").rows("c.parquet")
    with pytest.raises(DataError, match=r"d\.parquet has no rows"):
        HubDataset("own/set").rows("d.parquet")


def _empty() -> bytes:
    buffer = io.BytesIO()
    parquet.write_table(pa.table({"n": pa.array([], pa.int64())}), buffer)
    return buffer.getvalue()
