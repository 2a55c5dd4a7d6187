"""What every test may use."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from maple.store import files

if TYPE_CHECKING:
    from data.small_hub import Hub


@pytest.fixture(autouse=True, scope="session")
def unsynced() -> Iterator[None]:
    """Files need not survive a crash of the machine; waiting for the disk is a third of a sweep.

    Worker processes sync as ever.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "_sync", lambda _path: None)
        yield


@pytest.fixture(scope="session")
def release_files() -> Path:
    """The folder of real release files, MAPLE_TEST_DATA; tests that need it skip without it."""
    folder = os.environ.get("MAPLE_TEST_DATA")
    if not folder:
        pytest.skip("MAPLE_TEST_DATA is not set: no real release files here")
    return Path(folder)


@pytest.fixture(scope="session")
def datasets_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where `datasets` keeps what lm-evaluation-harness reads, instead of the user's cache."""
    import datasets  # here: the tests that do without it must not wait for it

    folder = tmp_path_factory.mktemp("datasets")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", folder)
        yield folder


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """A small hub on this machine, in place of the real one."""
    from data.small_hub import small_hub  # here: most tests need neither pyarrow nor a hub

    with small_hub(tmp_path / "hub-cache") as served:
        yield served


@pytest.fixture
def no_privileges() -> Iterator[None]:
    """File permissions bind this thread even where root runs the tests, as in a container."""
    if os.geteuid() != 0:
        yield
    elif sys.platform != "linux":
        pytest.skip("root's rights can be laid down on Linux only")
    else:
        with _without_capabilities(_DAC_OVERRIDE | _DAC_READ_SEARCH):
            yield


# capabilities(7), linux/capability.h
_DAC_OVERRIDE, _DAC_READ_SEARCH = 1 << 1, 1 << 2
_VERSION_3 = 0x20080522


@contextmanager
def _without_capabilities(dropped: int) -> Iterator[None]:
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(_VERSION_3, 0)
    # Effective, permitted, inheritable: the low 32 bits of each, then the high ones.
    held = (ctypes.c_uint32 * 6)()
    assert libc.capget(header, held) == 0, os.strerror(ctypes.get_errno())
    lowered = (ctypes.c_uint32 * 6)(*held)
    lowered[0] &= ~dropped
    assert libc.capset(header, lowered) == 0, os.strerror(ctypes.get_errno())
    try:
        yield
    finally:
        assert libc.capset(header, held) == 0, os.strerror(ctypes.get_errno())
