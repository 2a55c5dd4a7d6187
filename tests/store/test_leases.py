"""One holder a cell, whoever dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from maple.store import leases


def test_a_held_cell_is_not_claimed_twice_and_comes_free(tmp_path: Path) -> None:
    lease = leases.claim(tmp_path, "cell")
    assert lease is not None
    assert leases.claim(tmp_path, "cell") is None
    assert leases.holder(tmp_path, "cell") == f"{os.uname().nodename} (process {os.getpid()})"
    other = leases.claim(tmp_path, "other")
    assert other is not None
    other.release()
    lease.check()
    lease.release()
    lease.release()
    assert leases.holder(tmp_path, "cell") is None
    again = leases.claim(tmp_path, "cell")
    assert again is not None
    again.release()


def test_a_killed_holder_is_followed_at_once(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from maple.store import leases\n"
        "assert leases.claim(Path(sys.argv[1]), 'cell'); print('held', flush=True)\n"
        "time.sleep(60)"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"held\n"
    assert leases.claim(tmp_path, "cell") is None
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    # A container of the same host name cannot see the process, so only silence tells it.
    path = tmp_path / "cell.json"
    held = path.read_bytes()
    path.write_text(json.dumps({**json.loads(held), "processes": "another container's"}))
    assert leases.claim(tmp_path, "cell") is None
    path.write_bytes(held)
    lease = leases.claim(tmp_path, "cell")
    assert lease is not None
    lease.release()


def test_a_silent_host_is_followed_after_the_expiry(tmp_path: Path) -> None:
    lease = leases.claim(tmp_path, "cell")
    assert lease is not None
    path = tmp_path / "cell.json"
    content = json.loads(path.read_bytes())
    content["processes"] = "elsewhere"
    path.write_text(json.dumps(content))
    assert leases.claim(tmp_path, "cell") is None
    content["heartbeat"] -= leases.EXPIRY_SECONDS + 1
    path.write_text(json.dumps(content))
    follower = leases.claim(tmp_path, "cell")
    assert follower is not None
    with pytest.raises(leases.LeaseLostError, match="took this cell over"):
        lease.check()
    lease.release()
    follower.check()
    follower.release()


def test_the_heartbeat_is_renewed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "HEARTBEAT_SECONDS", 0.02)
    with leases.claim(tmp_path, "cell") as lease:  # type: ignore[union-attr]
        path = tmp_path / "cell.json"
        first = json.loads(path.read_bytes())["heartbeat"]
        assert not lease._stopped.wait(0.3)
        assert json.loads(path.read_bytes())["heartbeat"] > first


CLAIM_ALL = """
import sys
from pathlib import Path
from maple.store import leases
held = {name: leases.claim(Path(sys.argv[1]), name) for name in sys.argv[2:]}
print(*(name for name, lease in held.items() if lease), flush=True)
sys.stdin.read()
"""


def test_many_processes_share_the_cells_without_a_double(tmp_path: Path) -> None:
    names = [f"cell{index}" for index in range(30)]
    children = [
        subprocess.Popen(
            [sys.executable, "-c", CLAIM_ALL, str(tmp_path), *names],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    won: list[str] = []
    for child in children:
        assert child.stdout is not None
        won += child.stdout.readline().split()
    assert sorted(won) == sorted(names)
    for child in children:
        child.communicate()
        assert child.returncode == 0


def test_debris_of_a_crash_is_nobodys_lease(tmp_path: Path) -> None:
    (tmp_path / "cell.json").write_text("{")
    assert leases.holder(tmp_path, "cell") is None
    lease = leases.claim(tmp_path, "cell")
    assert lease is not None
    lease.check()
    lease.release()


def test_the_heartbeat_outlives_a_disk_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "HEARTBEAT_SECONDS", 0.02)
    lease = leases.claim(tmp_path, "cell")
    assert lease is not None
    writes = leases._write
    monkeypatch.setattr(leases, "_write", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
    assert not lease._stopped.wait(0.1)
    monkeypatch.setattr(leases, "_write", writes)
    before = json.loads((tmp_path / "cell.json").read_bytes())["heartbeat"]
    assert not lease._stopped.wait(0.3)
    assert json.loads((tmp_path / "cell.json").read_bytes())["heartbeat"] > before
    lease.release()
