"""What holds while code of lm-evaluation-harness, of a dataset or of a task runs in our process."""

from __future__ import annotations

import contextlib
import logging
import random
import sys
from collections.abc import Iterator

import numpy as np

from maple.errors import DataError, MapleError
from maple.study.config import FOREIGN

_RANDOM_SEED, _NUMPY_SEED = 0, 1234
"""What the harness seeds Python's and numpy's generators with."""


@contextlib.contextmanager
def running(name: str) -> Iterator[None]:
    """The harness, a dataset or a task's own code at work.

    Generators of random numbers are seeded as the harness does and put back afterwards, nothing is
    written to stdout, and transformed documents are not taken from a cache on disk, where an
    earlier run may have left them in another order: what comes out depends on the task alone.

    Raises:
        DataError: in place of any exception that is not ours, with the task's name.
    """
    state, numpy_state = random.getstate(), np.random.get_state()
    random.seed(_RANDOM_SEED)
    np.random.seed(_NUMPY_SEED)
    try:
        with _quiet(), contextlib.redirect_stdout(sys.stderr):
            yield
    except MapleError:
        raise
    except Exception as error:
        raise DataError(f"{FOREIGN}{name}: {told(error)}") from error
    finally:
        random.setstate(state)
        np.random.set_state(numpy_state)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """`datasets` without progress bars and caches, the harness without advice on stderr."""
    import datasets

    logger = logging.getLogger("lm_eval")
    level, shown = logger.level, not datasets.are_progress_bars_disabled()
    caches = datasets.is_caching_enabled()
    logger.setLevel(logging.ERROR)
    datasets.disable_progress_bars()
    datasets.disable_caching()
    try:
        yield
    finally:
        logger.setLevel(level)
        if shown:
            datasets.enable_progress_bars()
        if caches:
            datasets.enable_caching()


def refusal(name: str, why: str) -> DataError:
    """The error for a task that the harness has and that cannot be asked here."""
    return DataError(
        f"{FOREIGN}{name}: {why}", "docs/guides/lm-eval.md says which tasks a study can ask"
    )


def told(error: Exception) -> str:
    """An exception in one line; some list whole configurations."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= 400 else text[:399] + "…"
