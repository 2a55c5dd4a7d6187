"""Benchmarks of other packages: a real one, installed, and what can be wrong with one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from maple.data.packaged import MINI
from maple.errors import StudyError
from maple.study.load import validate
from maple.sweep import datacheck
from maple.sweep.catalogue import catalogue
from maple.tasks import OWN_TASKS, TASKS, plugins
from maple.tasks.plugins import WithPlugins
from sweep.studies import content

ROOT = Path(__file__).parents[2]
PLUGIN = ROOT / "tests" / "plugin"
FILES = ("maple_tydiqa.py", "maple_tydiqa_rows.json", "pyproject.toml")


@pytest.fixture
def installed(tmp_path: Path) -> dict[str, str]:
    """An environment in which the package is installed: what pip makes of its three files."""
    assert sorted(path.name for path in PLUGIN.iterdir() if path.is_file()) == sorted(FILES)
    for name in FILES[:2]:
        shutil.copy(PLUGIN / name, tmp_path)
    project = tomllib.loads((PLUGIN / FILES[2]).read_text(encoding="utf-8"))["project"]
    info = tmp_path / "maple_tydiqa-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    ((group, points),) = project["entry-points"].items()
    lines = [f"{name} = {value}\n" for name, value in points.items()]
    (info / "entry_points.txt").write_text(f"[{group}]\n{''.join(lines)}")
    paths = [str(tmp_path), str(ROOT / "src"), str(ROOT / "tests")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1"}


@pytest.mark.full
def test_the_conformance_suite_covers_it_unedited(installed: dict[str, str]) -> None:
    suite = "tests/conformance/test_task.py"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", suite]
    done = subprocess.run(
        [*command, "-k", "tydiqa", "-m", "not full"],
        env=installed,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "12 passed" in done.stdout


@pytest.mark.full
def test_a_study_names_it_and_workers_know_it(installed: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(
        'name = "s"\n[base]\nmodels = ["scripted:hash"]\n[evaluate]\neval_bits = [16]\n'
        '[[evaluate.task]]\nname = "tydiqa"\ndataset = "mini"\nn_shot = 1\n'
    )
    done = subprocess.run(
        [sys.executable, "-m", "maple", "run", "s.toml", "--json"],
        env=installed,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)["rows"]
    assert (row["task"], row["metric"]) == ("tydiqa", "f1")
    assert "1 cells computed" in done.stderr


def _offer(monkeypatch: pytest.MonkeyPatch, *points: tuple[str, str]) -> WithPlugins:
    found = [EntryPoint(name, value, plugins.GROUP) for name, value in points]
    monkeypatch.setattr(plugins, "entry_points", lambda group: found)
    return WithPlugins(OWN_TASKS)


def test_without_packages_there_are_only_ours() -> None:
    assert dict(TASKS) == dict(OWN_TASKS)
    assert len(TASKS) == len(OWN_TASKS)
    with pytest.raises(KeyError):
        TASKS["tydiqa"]


def test_nothing_is_loaded_before_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = _offer(monkeypatch, ("story", "no_such_module:TASK"))
    assert [*tasks] == [*OWN_TASKS, "story"]
    assert tasks["xcopa"] is OWN_TASKS["xcopa"]
    with pytest.raises(StudyError, match=r"'story' .* cannot be loaded: ModuleNotFoundError"):
        tasks["story"]


def test_a_broken_package_stops_nobody_who_did_not_ask_for_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tasks = _offer(monkeypatch, ("story", "no_such_module:TASK"))
    found, (problem,) = tasks.loadable()
    assert found == OWN_TASKS
    assert "'story' of the package" in problem.what
    monkeypatch.setattr("maple.sweep.datacheck.TASKS", tasks)
    xcopa = tmp_path / "xcopa" / "data" / "sw"
    xcopa.mkdir(parents=True)
    (xcopa / "test.sw.jsonl").write_bytes((MINI / "xcopa" / "swh_Latn.test.jsonl").read_bytes())
    checked = datacheck.check(tmp_path, lambda _: None)
    assert [one.name for one in checked.held] == ["xcopa"]
    assert [one.what for one in checked.problems] == [problem.what]


def test_a_name_that_is_taken_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = _offer(monkeypatch, ("xcopa", "a:A"), ("story", "a:A"), ("story", "b:B"))
    with pytest.raises(StudyError, match=r"'xcopa' is offered by maple itself and by "):
        tasks["xcopa"]
    with pytest.raises(StudyError, match=r"'story' is offered by .* and by "):
        tasks["story"]
    assert tasks["xquad"] is OWN_TASKS["xquad"]


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("story", "json:dumps", "has no answer_language, datasets, examples"),
        ("story", "maple.tasks.native:NativeTask", "is a class"),
        ("story", "maple.tasks.xcopa:XCOPA", "calls itself 'xcopa'"),
    ],
)
def test_what_is_no_task_of_that_name_is_an_error(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, problem: str
) -> None:
    with pytest.raises(StudyError, match=problem):
        _offer(monkeypatch, (name, value))[name]


def test_a_study_tells_what_is_wrong_with_a_package_among_its_other_mistakes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broken = _offer(monkeypatch, ("story", "no_such_module:TASK"))
    monkeypatch.setattr("maple.sweep.catalogue.TASKS", broken)
    study = content()
    study["evaluate"]["task"][0]["name"] = "story"
    study["evaluate"]["task"][1]["name"] = "storie"
    with pytest.raises(StudyError) as raised:
        validate(study, catalogue(), "s.toml")
    assert "s.toml: evaluate.task[0].name: task 'story' of the package" in raised.value.what
    assert "s.toml: evaluate.task[1].name: unknown task 'storie'" in raised.value.what
    assert "did you mean 'story'?" in raised.value.what
