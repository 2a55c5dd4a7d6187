"""Who works on which cell, for any number of processes and hosts that share a folder.

A lease is a small JSON file that its holder refreshes. All leases of a store are read and changed
under one file lock, held for a moment only, which the operating system frees when its holder dies;
the leases themselves survive and are taken over when they are stale. A lease is stale when its
process has died (seen at once where process numbers mean the same) or its heartbeat is older than
EXPIRY_SECONDS.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import TracebackType

import psutil

from maple.errors import StoreError
from maple.provenance import machine
from maple.store.files import explained, write_bytes

HEARTBEAT_SECONDS = 10.0
EXPIRY_SECONDS = 90.0
"""Nine missed heartbeats: a host that swaps or a slow network folder is not a dead one."""


class LeaseLostError(StoreError):
    """Another process has taken the cell over, after this one was silent for too long."""


class Lease:
    """The right to work on one cell, kept alive by a thread until it is released.

    A context manager. `check` before writing results: a process that was suspended for longer
    than the expiry has lost its lease, and its results must not overwrite the new holder's.
    """

    def __init__(self, path: Path, lock: Path, token: str) -> None:
        self._path = path
        self._lock = lock
        self._token = token
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raises:
        LeaseLostError: another process has taken the cell over.
        """
        with _locked(self._lock):
            content = _read(self._path)
        if content is None or content["token"] != self._token:
            raise LeaseLostError(
                f"{self._path}: another process took this cell over",
                "this one was suspended for too long; its unfinished work is dropped",
            )

    def release(self) -> None:
        """Give the cell back. Safe to call twice."""
        self._stopped.set()
        self._thread.join()
        with _locked(self._lock):
            content = _read(self._path)
            if content is not None and content["token"] == self._token:
                self._path.unlink()

    def _beat(self) -> None:
        while not self._stopped.wait(HEARTBEAT_SECONDS):
            try:
                with _locked(self._lock):
                    content = _read(self._path)
                    if content is None or content["token"] != self._token:
                        return
                    _write(self._path, self._token)
            except (StoreError, OSError):
                # A disk that is full for a moment must not make a live holder look dead.
                continue

    def __enter__(self) -> Lease:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()


def claim(folder: Path, cell_id: str) -> Lease | None:
    """The lease of a cell, or None where somebody alive holds it.

    Args:
        folder: folder of the store's leases; created where missing.
        cell_id: the cell.

    Raises:
        StoreError: the folder cannot be written.
    """
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    path, lock = folder / f"{cell_id}.json", folder / ".lock"
    token = secrets.token_hex(16)
    with _locked(lock):
        held = _read(path)
        if held is not None and not _stale(held):
            return None
        _write(path, token)
    return Lease(path, lock, token)


def holder(folder: Path, cell_id: str) -> str | None:
    """ "host (process N)" of a live holder, else None."""
    held = _read(folder / f"{cell_id}.json")
    if held is None or _stale(held):
        return None
    return f"{held['host']} (process {held['pid']})"


def _write(path: Path, token: str) -> None:
    process = psutil.Process()
    content = {
        "token": token,
        "host": machine()["host"],
        "processes": _processes(),
        "pid": process.pid,
        # Tells a process from a later one that was given the same number.
        "process_started": process.create_time(),
        "heartbeat": time.time(),
    }
    # A lease means nothing after a crash of the machine, so it need not survive one.
    write_bytes(path, json.dumps(content).encode(), durable=False)


def _read(path: Path) -> dict[str, object] | None:
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError:
        # Written atomically but not durably: debris of a crash of the machine, and so nobody's.
        return None
    return dict(content)


def _stale(held: dict[str, object]) -> bool:
    if held.get("processes") == _processes():
        try:
            process = psutil.Process(int(str(held["pid"])))
            # psutil reckons from the boot time, which moves when the clock is set.
            alive = abs(process.create_time() - float(str(held["process_started"]))) < 60
        except psutil.Error:
            alive = False
        if not alive:
            return True
    return time.time() - float(str(held["heartbeat"])) > EXPIRY_SECONDS


@cache
def _processes() -> str:
    """Names the system in which a process number means something.

    Containers may share a host name and not their processes: on Linux it is the running kernel and
    the namespace of process numbers that count, elsewhere the host.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return str(machine()["host"])


@contextmanager
def _locked(lock: Path) -> Iterator[None]:
    with explained(lock):
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        with explained(lock):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
