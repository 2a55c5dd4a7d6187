"""lm-evaluation-harness: finding a task there, and what of it cannot be asked here.

The harness is imported inside functions: it is an extra, and it loads `datasets`. Its tasks are
YAML files that may name Python functions (`!function`); these run when such a task is built, which
is why only folders that a study names are looked into, beside the package's own.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maple.errors import DataError, nearest
from maple.study.config import FOREIGN
from maple.tasks.harness_code import content, references
from maple.tasks.harness_running import refusal, running, told

_OUTPUT_TYPES = ("multiple_choice", "generate_until", "loglikelihood")

_SETTINGS = {"until", "max_gen_toks", "do_sample", "temperature", "top_p"}
"""The generation settings that are honoured."""

_DEFAULT_MAX_TOKENS = 256
"""What the harness's own models take where a task states none."""

_NO_TASKS = {"__pycache__", ".ipynb_checkpoints"}
"""Folders that the harness does not look into."""


@dataclass(frozen=True, slots=True)
class Found:
    """A task with its dataset read.

    Attributes:
        task: an `lm_eval.api.task.ConfigurableTask`.
        content: hash of what its file says beyond the data it reads, and of the code it names.
    """

    task: Any
    content: str


class Harness:
    """The harness's tasks and those of a study's own folders, indexed when first needed.

    Args:
        include: folders with task files, before the package's own where names are the same.
    """

    def __init__(self, include: Sequence[Path]) -> None:
        self._include = list(include)
        self._managers: dict[bool, Any] = {}

    def build(self, name: str) -> Found:
        """Look a task up and read its dataset.

        Args:
            name: as the harness has it, without our prefix.

        Raises:
            DataError: the extra is missing, no task of that name or two, a file or dataset that
                cannot be read, or a kind of task that is not supported, each saying which.
        """
        require()
        self._check_names()
        with running(name):
            manager = self._manager_of(name)
            entry = manager.task_index[name]
            config = _checked(name, entry.cfg, entry.yaml_path)
            (task,) = manager.load([_with_own_metrics(name, config)])["tasks"].values()
            _check_task(name, task)
            named = dict(references(entry.cfg, config))
            return Found(task, content(task.config, named, self._include))

    def _manager_of(self, name: str) -> Any:
        # The package has thousands of files, which take seconds: only where nothing else helps.
        for defaults in (False, True):
            manager = self._manager(defaults=defaults)
            entry = manager.task_index.get(name)
            if entry is None:
                continue
            if entry.kind.name in {"GROUP", "TAG"}:
                raise _several(name, entry)
            if entry.kind.name == "PY_TASK":
                raise refusal(name, "is a Python class instead of a YAML file")
            if not defaults:
                self._check_single(name)
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

    def _check_names(self) -> None:
        """Raises DataError if a file of the study's folders names its task by no text.

        The harness sorts all names of a folder, and would blame another task.
        """
        for path, said in self._files():
            named = said.get("task") if isinstance(said, dict) else None
            if named is not None and not isinstance(named, str | list):
                raise DataError(f"{path}: task is {named!r}, expected a name", "put it into quotes")

    def _check_single(self, name: str) -> None:
        """Raises DataError if two files of the study's folders define a name.

        The harness would take one of them without a word.
        """
        files = [
            path
            for path, said in self._files()
            if isinstance(said, dict) and said.get("task") == name
        ]
        if len(files) > 1:
            raise DataError(
                f"{FOREIGN}{name}: is defined {len(files)} times: {', '.join(map(str, files))}",
                "give each task a name of its own",
            )

    def _unreadable(self) -> Iterator[str]:
        """The task files of the study's own folders that the harness skips without a word."""
        for path, said in self._files():
            if isinstance(said, Exception):
                yield f"{path} cannot be read: {told(said)}"

    def _files(self) -> Iterator[tuple[Path, dict[str, Any] | Exception]]:
        """Each task file of the study's own folders: what it says, or why it cannot be read."""
        from lm_eval.tasks._yaml_loader import load_yaml

        paths = {path.resolve() for folder in self._include for path in folder.rglob("*.yaml")}
        for path in sorted(path for path in paths if not _NO_TASKS.intersection(path.parts)):
            try:
                yield path, load_yaml(path, resolve_func=False)
            except Exception as error:  # noqa: BLE001  whatever it is, it is the file's cause
                yield path, error


def require() -> None:
    """See that the harness is installed.

    Raises:
        DataError: it is not; how to install it.
    """
    if importlib.util.find_spec("lm_eval") is None:
        raise DataError(
            "lm-evaluation-harness is not installed",
            "in the clone of MAPLE: pip install -e '.[lm-eval]'",
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
        DataError: it sets what has no meaning here, a value of a wrong kind, or an empty stop
            string.
    """
    from lm_eval.models.utils import normalize_gen_kwargs

    wanted: dict[str, Any]
    try:
        wanted = dict(normalize_gen_kwargs(dict(settings), _DEFAULT_MAX_TOKENS))
    except (TypeError, ValueError) as error:
        raise DataError(f"{FOREIGN}{name}: generation_kwargs: {told(error)}") from error
    samples = bool(wanted["do_sample"])
    # Without sampling the number of tokens to draw from says nothing.
    unknown = sorted(wanted.keys() - _SETTINGS - (set() if samples else {"top_k"}))
    if unknown:
        raise refusal(name, f"sets generation_kwargs that have no meaning here: {unknown}")
    if "" in wanted["until"]:
        raise refusal(name, "has an empty stop string, which the harness's models read differently")
    if int(wanted["max_gen_toks"]) < 1:
        raise refusal(name, f"wants answers of {wanted['max_gen_toks']} tokens (max_gen_toks)")
    temperature = float(wanted.get("temperature", 1.0)) if samples else None
    if temperature == 0.0:
        raise refusal(name, "samples (do_sample) at temperature 0")
    return Generation(
        stop=tuple(wanted["until"]),
        max_new_tokens=int(wanted["max_gen_toks"]),
        temperature=temperature,
        top_p=float(wanted.get("top_p", 1.0)),
    )


def _checked(name: str, plain: Mapping[str, Any], path: Path) -> Mapping[str, Any]:
    """A task file's content with its functions, unless it must not even be built.

    Args:
        plain: the content without its functions: nothing has been run yet.
        path: the file.

    Raises:
        DataError: it asks for code from its dataset's repository, or runs what a model writes.
    """
    from lm_eval.tasks._yaml_loader import load_yaml

    if "/" in name:
        raise refusal(name, "has a '/' in its name, which cannot name a folder of results")
    settings = plain.get("dataset_kwargs") or {}
    if not isinstance(settings, Mapping):
        raise DataError(f"{FOREIGN}{name}: dataset_kwargs is {settings!r}, expected a table")
    if settings.get("trust_remote_code"):
        raise refusal(name, "asks to run code from its dataset's repository (trust_remote_code)")
    if plain.get("unsafe_code"):
        raise refusal(name, "runs the code that a model writes (unsafe_code)")
    if plain.get("doc_to_image") or plain.get("doc_to_audio"):
        raise refusal(name, "shows pictures or plays sound")
    found: Mapping[str, Any] = load_yaml(path)
    return found


def _with_own_metrics(name: str, config: Mapping[str, Any]) -> Mapping[str, Any]:
    """A task file's content for which the harness looks for no metric on the hub."""
    if config.get("process_results") is not None or not config.get("metric_list"):
        return config
    called = config.get("output_type", "generate_until") == "generate_until"
    metrics = [_own_metric(name, said, called=called) for said in config["metric_list"]]
    return {**config, "metric_list": metrics}


def _own_metric(name: str, said: Mapping[str, Any], *, called: bool) -> Mapping[str, Any]:
    """An entry of `metric_list` for which the harness does not look on the hub.

    It would run what it finds there, or a script at a path.

    Args:
        said: the entry.
        called: whether the metric's function is called: choices are scored by its name alone, so
            that `hf_evaluate` makes no difference there.
    """
    import lm_eval.api.metrics  # noqa: F401  fills the registry
    from lm_eval.api.registry import metric_registry

    metric = said["metric"]
    if callable(metric):
        return said
    if called and said.get("hf_evaluate"):
        raise refusal(name, f"asks for code from the hub: metric {metric!r} has hf_evaluate")
    if metric not in metric_registry:
        raise DataError(
            f"{FOREIGN}{name}: the harness has no metric {metric!r} of its own, "
            "and code from the hub is not run",
            nearest(str(metric), metric_registry.keys()),
        )
    return {key: value for key, value in said.items() if key != "hf_evaluate"}


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
