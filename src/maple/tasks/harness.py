"""lm-evaluation-harness: finding a task there, and what of it cannot be asked here.

The harness is imported inside functions: it is an extra, and it loads `datasets`. Its tasks are
YAML files that may name Python functions (`!function`); these run when such a task is built, which
is why only folders that a study names are looked into, beside the package's own.
"""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maple.errors import DataError, nearest
from maple.study.config import FOREIGN
from maple.study.identity import content_hash

_OUTPUT_TYPES = ("multiple_choice", "generate_until", "loglikelihood")

_SETTINGS = {"until", "max_gen_toks", "do_sample", "temperature", "top_p"}
"""The generation settings that are honoured."""

_DEFAULT_MAX_TOKENS = 256
"""What the harness's own models take where a task states none."""

# What a cell's name knows through its items, its own fields or its score cells.
_HASHED_ELSEWHERE = frozenset(
    (
        "custom_dataset",
        "dataset_kwargs",
        "dataset_name",
        "dataset_path",
        "fewshot_split",
        "metadata",
        "num_fewshot",
        "tag",
        "task",
        "task_alias",
        "test_split",
        "training_split",
        "validation_split",
    )
)


class Harness:
    """The harness's tasks and those of a study's own folders, indexed when first needed.

    Args:
        include: folders with task files, before the package's own where names are the same.
    """

    def __init__(self, include: Sequence[Path]) -> None:
        self._include = list(include)
        self._managers: dict[bool, Any] = {}

    def build(self, name: str) -> Any:
        """A task with its dataset read: an `lm_eval.api.task.ConfigurableTask`.

        Args:
            name: as the harness has it, without our prefix.

        Raises:
            DataError: the extra is missing, no task of that name, a file or dataset that cannot
                be read, or a kind of task that is not supported, each saying which.
        """
        require()
        with quiet():
            manager = self._manager_of(name)
            _check_config(name, manager.task_index[name].cfg)
            with blamed(name):
                (task,) = manager.load([name])["tasks"].values()
            _check_task(name, task)
        return task

    def _manager_of(self, name: str) -> Any:
        from lm_eval.tasks._index import Kind

        # The package has thousands of files, which take seconds: only where nothing else helps.
        for defaults in (False, True):
            manager = self._manager(defaults=defaults)
            entry = manager.task_index.get(name)
            if entry is None:
                continue
            if entry.kind in (Kind.GROUP, Kind.TAG):
                raise _several(name, entry)
            if entry.kind is Kind.PY_TASK:
                raise refusal(name, "is a Python class instead of a YAML file")
            return manager
        hint = nearest(name, manager.all_subtasks)
        raise DataError(
            f"{FOREIGN}{name}: lm-evaluation-harness has no task of that name",
            "; ".join([*self._unreadable(), hint]),
        )

    def _manager(self, *, defaults: bool) -> Any:
        from lm_eval.tasks import TaskManager

        if defaults not in self._managers:
            self._managers[defaults] = TaskManager(
                include_path=[*self._include], include_defaults=defaults
            )
        return self._managers[defaults]

    def _unreadable(self) -> Iterator[str]:
        """The task files of the study's own folders that the harness skips without a word."""
        from lm_eval.tasks._yaml_loader import load_yaml

        for folder in self._include:
            for path in sorted(folder.rglob("*.yaml")):
                try:
                    load_yaml(path, resolve_func=False)
                except Exception as error:  # noqa: BLE001  whatever it is, it is the file's cause
                    yield f"{path} cannot be read: {_told(error)}"


def require() -> None:
    """See that the harness is installed.

    Raises:
        DataError: it is not; how to install it.
    """
    if importlib.util.find_spec("lm_eval") is None:
        raise DataError(
            "lm-evaluation-harness is not installed",
            'pip install "maple[lm-eval]"',
        )


def version() -> str:
    """Of the installed harness."""
    import lm_eval

    return str(lm_eval.__version__)


@dataclass(frozen=True, slots=True)
class Generation:
    """How a task wants its answers written.

    Attributes:
        stop: strings that end an answer.
        max_new_tokens: its longest, in tokens.
        temperature: above 0 to sample; None for greedy answers.
        top_p: as in `records.Sampling`.
    """

    stop: tuple[str, ...]
    max_new_tokens: int
    temperature: float | None
    top_p: float


def generation(name: str, settings: Mapping[str, Any]) -> Generation:
    """A task's `generation_kwargs`, read as the harness's own models do.

    Raises:
        DataError: it sets what has no meaning here, or has an empty stop string.
    """
    from lm_eval.models.utils import normalize_gen_kwargs

    wanted: dict[str, Any] = dict(normalize_gen_kwargs(dict(settings), _DEFAULT_MAX_TOKENS))
    samples = bool(wanted["do_sample"])
    # Without sampling the number of tokens to draw from says nothing.
    unknown = sorted(wanted.keys() - _SETTINGS - (set() if samples else {"top_k"}))
    if unknown:
        raise refusal(name, f"sets generation_kwargs that have no meaning here: {unknown}")
    if "" in wanted["until"]:
        raise refusal(name, "has an empty stop string, which the harness's models read differently")
    temperature = float(wanted.get("temperature", 1.0)) if samples else None
    if temperature == 0.0:
        raise refusal(name, "samples (do_sample) at temperature 0")
    return Generation(
        stop=tuple(wanted["until"]),
        max_new_tokens=int(wanted["max_gen_toks"]),
        temperature=temperature,
        top_p=float(wanted.get("top_p", 1.0)),
    )


def config_hash(task: Any) -> str:
    """Hash of what a task's file says beyond the data it reads, code of functions included."""
    config = task.config.to_dict(keep_callable=True)
    return content_hash(
        {key: _plain(value) for key, value in config.items() if key not in _HASHED_ELSEWHERE}
    )


def refusal(name: str, why: str) -> DataError:
    """The error for a task that the harness has and that cannot be asked here."""
    return DataError(
        f"{FOREIGN}{name}: {why}", "docs/guides/lm-eval.md says which tasks a study can ask"
    )


@contextlib.contextmanager
def blamed(name: str) -> Iterator[None]:
    """Whatever the harness, a dataset or a task's own code raises, as one error with its name.

    Raises:
        DataError: in place of any exception.
    """
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"{FOREIGN}{name}: {_told(error)}") from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No progress bars of `datasets` and no advice of the harness on stderr."""
    import datasets

    logger = logging.getLogger("lm_eval")
    level, shown = logger.level, not datasets.are_progress_bars_disabled()
    logger.setLevel(logging.ERROR)
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        logger.setLevel(level)
        if shown:
            datasets.enable_progress_bars()


def _check_config(name: str, config: Mapping[str, Any]) -> None:
    """Refuse what must not even be built.

    Raises:
        DataError: it asks for code from a dataset's repository, or runs what a model writes.
    """
    if "/" in name:
        raise refusal(name, "has a '/' in its name, which cannot name a folder of results")
    if (config.get("dataset_kwargs") or {}).get("trust_remote_code"):
        raise refusal(name, "asks to run code from its dataset's repository (trust_remote_code)")
    if config.get("unsafe_code"):
        raise refusal(name, "runs the code that a model writes (unsafe_code)")
    if config.get("doc_to_image") or config.get("doc_to_audio"):
        raise refusal(name, "shows pictures or plays sound")


def _check_task(name: str, task: Any) -> None:
    if task.OUTPUT_TYPE not in _OUTPUT_TYPES:
        raise refusal(
            name, f"has output type {task.OUTPUT_TYPE!r}; supported: {', '.join(_OUTPUT_TYPES)}"
        )
    if task.multiple_input:
        raise refusal(name, "asks for one continuation of several contexts (multiple inputs)")
    if task.config.repeats != 1:
        raise refusal(name, f"asks each item {task.config.repeats} times (repeats)")
    if "acc_mutual_info" in task.aggregation():
        raise refusal(name, "asks for each choice without its context, too (acc_mutual_info)")


def _several(name: str, entry: Any) -> DataError:
    """The error for a group or tag: each of its tasks has a language of its own."""
    members = entry.tags if entry.kind.name == "TAG" else (entry.cfg.get("task") or ())
    names = sorted(
        member if isinstance(member, str) else str(member.get("task") or member.get("group"))
        for member in ([members] if isinstance(members, str) else members)
    )
    return DataError(
        f"{FOREIGN}{name}: is a group of {len(names)} tasks, expected one task",
        f"give each an [[evaluate.task]] of its own: {', '.join(names)}",
    )


def _plain(value: object) -> object:
    """A value of a task's configuration as JSON, without memory addresses."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if callable(value):
        return _code(value)
    if value is None or isinstance(value, (str, int, float)):
        return value
    return str(value)


def _code(function: Callable[..., object]) -> list[str]:
    """What a function does: its name and the whole file it is from, helpers included."""
    name = getattr(function, "__qualname__", type(function).__qualname__)
    try:
        source = inspect.getsourcefile(function)
    except TypeError:  # built in
        source = None
    return [name, Path(source).read_text(encoding="utf-8") if source else ""]


def _told(error: Exception) -> str:
    """An exception in one line; some list whole configurations."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= 400 else text[:399] + "…"
