"""Hub datasets, read from a small hub of our own on this machine."""

from __future__ import annotations

import io
import tarfile

import huggingface_hub.constants
import huggingface_hub.file_download
import pyarrow as pa
import pytest
from pyarrow import parquet

from data.small_hub import BEARER, CONVERTED, MAIN, Hub
from data.small_hub import jsonl_file as _jsonl
from data.small_hub import parquet_file as _parquet
from maple.data.hub import HubDataset
from maple.data.reading import reading
from maple.errors import DataError, DataOutOfReachError


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


def test_a_script_without_conversion_leaves_its_raw_files(hub: Hub) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:bz2") as archive:
        for name, rows in (("x/it_train.jsonl", [{"n": 1}]), ("x/it_test.jsonl", [{"n": 2}])):
            entry = tarfile.TarInfo(name)
            content = _jsonl(*rows)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    whole = buffer.getvalue()
    hub.put("own/set", {"set.py": b"", "data/it.tar.bz2": whole, "data/cut.tar.bz2": whole[:99]})
    dataset = HubDataset("own/set")
    assert not dataset.has("it/test-*.parquet", "it/test/*.parquet")
    (row,) = dataset.member("data/it.tar.bz2", "it_test.jsonl")
    assert row.values == {"n": 2}
    assert row.where == f"own/set@{MAIN[:12]}/data/it.tar.bz2/it_test.jsonl:1"
    assert "no file matches it/test-" in _message(dataset, "it/test-*.parquet")
    with pytest.raises(DataError, match=r"it\.tar\.bz2: there is no file it_dev\.jsonl in"):
        dataset.member("data/it.tar.bz2", "it_dev.jsonl")
    with pytest.raises(DataError, match=r"cut\.tar\.bz2: the archive is broken or cut off"):
        dataset.member("data/cut.tar.bz2", "it_test.jsonl")


def test_one_command_resolves_a_revision_once(hub: Hub) -> None:
    hub.put("own/set", {"a.jsonl": _jsonl({"n": 1}), "b.jsonl": _jsonl({"n": 1})})
    with reading() as found:
        HubDataset("own/set").rows("a.jsonl")
        hub.put("own/set", {"b.jsonl": _jsonl({"n": 2})}, commit="c" * 40)  # main moves on
        assert HubDataset("own/set").rows("b.jsonl")[0].values == {"n": 1}
        assert HubDataset("own/set").commit() == MAIN
    assert sum(path.startswith("/api/") for path in hub.requests) == 1
    assert {key: known.commit for key, known in found.snapshots.items()} == {
        ("own/set", "main"): MAIN
    }
    assert HubDataset("own/set").rows("b.jsonl")[0].values == {"n": 2}


def test_a_revision_fixed_by_a_plan_stays(hub: Hub) -> None:
    hub.put("own/set", {"set.py": b""})
    hub.put("own/set", {"a/0.parquet": _parquet({"n": 1})}, "refs/convert/parquet")
    hub.put("own/set", {"a/0.parquet": _parquet({"n": 2})}, "refs/convert/parquet", "c" * 40)
    pins = {("own/set", "refs/convert/parquet"): CONVERTED}
    with reading(pins=pins):
        assert HubDataset("own/set").rows("a/*.parquet")[0].values == {"n": 1}
    assert HubDataset("own/set").rows("a/*.parquet")[0].values == {"n": 2}
    del hub.repos["own/set"][CONVERTED]  # what happens to converted branches
    with reading(pins=pins), pytest.raises(DataError) as caught:
        HubDataset("own/set").rows("a/*.parquet")
    assert "was fixed to commit bbbbbbbbbbbb, which the hub has no more" in caught.value.what
    assert "choose another --out" in caught.value.hint


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
        (400, "", "the hub answered with an error (status 400)"),
        (403, "", "the hub answered with an error (status 403)"),
    ],
)
def test_refusals_are_named(hub: Hub, status: int, code: str, message: str) -> None:
    hub.put("own/set", {})
    hub.refused["own/set"] = (status, code)
    assert message in _message(HubDataset("own/set"), "a")
    assert hub.credentials == {f"Bearer {BEARER}"}  # it was in play, and did not show


def test_no_connection_is_named(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert "the connection to the hub failed" in _message(HubDataset("own/set"), "a")


def test_a_lost_hub_is_not_asked_again_by_the_same_command(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.put("own/other", {"a.jsonl": b"{}"})
    with reading():
        with monkeypatch.context() as away:
            away.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
            assert "the connection to the hub failed" in _message(HubDataset("own/set"), "a")
        assert "own/other at main: the connection" in _message(HubDataset("own/other"), "a.jsonl")
    assert hub.requests == []


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (403, "GatedRepo", DataOutOfReachError),
        (503, "", DataOutOfReachError),
        (401, "RepoNotFound", DataError),
        (404, "RevisionNotFound", DataError),
    ],
)
def test_what_is_out_of_reach_is_told_from_a_mistake(
    hub: Hub, status: int, code: str, kind: type[DataError]
) -> None:
    hub.put("own/set", {})
    hub.refused["own/set"] = (status, code)
    with pytest.raises(DataError) as caught:
        HubDataset("own/set").commit()
    assert type(caught.value) is kind


def test_a_hub_that_may_not_be_asked_is_named(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.put("own/set", {"a.jsonl": b"{}"})
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE is set" in _message(HubDataset("own/set"), "a.jsonl")
    assert hub.requests == []


def test_a_connection_lost_midway_is_taken_up_again(hub: Hub, quick: None) -> None:
    hub.put("own/set", {"a.jsonl": _jsonl(*({"n": n} for n in range(999)))})
    hub.lost["a.jsonl"] = 2
    assert len(HubDataset("own/set").rows("a.jsonl")) == 999


def test_a_connection_lost_for_good_is_named(hub: Hub, quick: None) -> None:
    hub.put("own/set", {"a.jsonl": b"x"})  # half of it is nothing: no progress, few attempts
    hub.lost["a.jsonl"] = 99
    found = _message(HubDataset("own/set"), "a.jsonl")
    assert f"own/set at {MAIN}, a.jsonl: the connection to the hub failed or was lost" in found


def test_a_cache_that_cannot_be_written_is_named(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **kwargs: object) -> str:
        raise OSError(28, "No space left on device")

    hub.put("own/set", {"a.jsonl": b"{}"})
    monkeypatch.setattr(huggingface_hub.HfApi, "hf_hub_download", full)
    found = _message(HubDataset("own/set"), "a.jsonl")
    assert "it cannot be kept in the hub's cache: No space left on device" in found


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """huggingface_hub waits a second before it tries again."""
    monkeypatch.setattr(huggingface_hub.file_download.time, "sleep", lambda _seconds: None)


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
