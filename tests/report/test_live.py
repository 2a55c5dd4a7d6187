"""A report that follows a sweep: built when something changed, still when all is over."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from command import maple
from maple.records import Failure
from maple.report import live
from maple.report.live import follow
from maple.store import Lease, Store
from maple.sweep import progress
from report.fake_store import Fake, filled, plain, planned, put_eval, put_training
from report.fake_store import _record as record_of

REFRESH = '<meta http-equiv="refresh" content="15">'


@dataclass(frozen=True)
class State:
    kind: str
    id: str
    status: str


def states(store: Store) -> list[State]:
    """As `sweep.progress`, which wants weights that the made-up store lacks."""
    plan = store.plan()
    assert plan is not None
    found = []
    for name, cell in plan.train.items():
        if cell.method != "none":
            record = store.train_record(name)
            found.append(State("train", name, _status(store, name, record)))
    for name, asked in plan.evals.items():
        found.append(State("eval", name, _status(store, name, store.eval_record(name, asked))))
    return found


def _status(store: Store, name: str, record: object) -> str:
    if store.holder(name) is not None:
        return "running"
    return "pending" if record is None else str(getattr(record, "status", ""))


def held(store: Store, name: str) -> Lease:
    lease = store.claim(name)
    assert lease is not None
    return lease


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each build was live; the pages are one line, since figures take a second."""
    built: list[bool] = []

    def build(store: Store, *, live: bool, items: bool) -> Path:
        built.append(live)
        return store.root / "report" / "index.html"

    monkeypatch.setattr(live, "build", build)
    return built


def test_it_follows_a_store_that_grows_in_another_thread(tmp_path: Path, quick: list[bool]) -> None:
    store, plan = Store(tmp_path), planned()
    fake = filled(tmp_path / "other")
    store.put_plan(plan, b"")
    (tmp_path / "items").symlink_to(tmp_path / "other" / "items")
    lines: list[str] = []
    built = threading.Event()

    def say(line: str) -> None:
        lines.append(line)
        built.set()

    def until(line: str) -> None:
        while line not in lines:
            assert built.wait(10)
            built.clear()

    def sweep() -> None:
        until("train: 4 pending; eval: 36 pending")
        for name, cell in plan.train.items():
            if cell.method != "none":
                put_training(store, name, cell)
        until("train: 4 done; eval: 36 pending")
        *most, last = plan.evals
        for name in most:
            if name not in {fake.failed, last}:
                put_eval(store, plan, name, plain)
        failure = Failure("no", "", 1)
        store.put_record(record_of(fake.failed, plan.evals[fake.failed], "failed", failure=failure))
        with held(store, last):
            put_eval(store, plan, last, plain)
            until("train: 4 done; eval: 34 done, 1 failed, 1 running")

    thread = threading.Thread(target=sweep)
    thread.start()
    page = follow(store, states, say, poll=0.01)
    thread.join()
    assert page == tmp_path / "report" / "index.html"
    assert lines[0] == "train: 4 pending; eval: 36 pending"
    assert lines[-1] == "train: 4 done; eval: 35 done, 1 failed"
    assert quick == [True] * (len(lines) - 1) + [False]


def test_nothing_is_built_without_a_change(
    tmp_path: Path, quick: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = filled(tmp_path)
    looks = 0

    def sleep(_seconds: float) -> None:
        nonlocal looks
        looks += 1
        parts = fake.store.eval_path(fake.pending, fake.plan.evals[fake.pending])
        if looks == 3:  # parts of an unfinished cell, and heartbeats, are no news
            parts.with_suffix(".parts").mkdir(parents=True)
            (parts.with_suffix(".parts") / "1.parquet").touch()
            (tmp_path / "leases").mkdir()
            (tmp_path / "leases" / "x.json").write_text("{}", encoding="ascii")
        if looks == 6:
            put_eval(fake.store, fake.plan, fake.pending, plain)

    monkeypatch.setattr(time, "sleep", sleep)
    lines: list[str] = []
    follow(fake.store, states, lines.append)
    assert (len(lines), looks, quick) == (2, 6, [True, False])


def test_building_takes_at_most_half_of_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = filled(tmp_path)
    clock, slept = 0.0, []

    def build(store: Store, *, live: bool, items: bool) -> Path:
        nonlocal clock
        clock += 60.0
        return store.root

    def sleep(seconds: float) -> None:
        nonlocal clock
        slept.append(seconds)
        clock += seconds
        if len(slept) == 3:
            put_eval(fake.store, fake.plan, fake.pending, plain)

    changed = live._changed

    def look(root: Path) -> tuple[int, int]:
        nonlocal clock
        clock += 1.0
        return changed(root)

    monkeypatch.setattr(live, "build", build)
    monkeypatch.setattr(live, "_changed", look)
    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr(time, "monotonic", lambda: clock)
    follow(fake.store, states, lambda _: None)
    # Looking alone takes a tenth at most.
    assert slept == pytest.approx([61.0, 9.0, 9.0])


def over(store: Store) -> bool:
    found = states(store)
    return not live._unscored(store, found) and live._is_over(store, found)


@pytest.fixture
def whole(tmp_path: Path) -> Fake:
    fake = filled(tmp_path)
    put_eval(fake.store, fake.plan, fake.pending, plain)
    return fake


def test_cells_that_wait_in_vain_are_not_waited_for(whole: Fake) -> None:
    store, plan = whole.store, whole.plan
    assert over(store)
    lost = next(name for name, cell in plan.train.items() if cell.method != "none")
    for name, cell in plan.evals.items():
        if cell.train_id == lost and name != whole.failed:
            store.eval_path(name, cell).with_suffix(".json").unlink()
    assert not over(store)
    failure = Failure("diverged", "", None)
    store.put_record(record_of(lost, plan.train[lost], "failed", failure=failure))
    assert over(store)


def test_an_adapter_that_is_done_is_not_waited_for_without_its_weights(whole: Fake) -> None:
    name = next(name for name, cell in whole.plan.train.items() if cell.method != "none")
    gone = [
        State(cell.kind, cell.id, "pending") if cell.id == name else cell
        for cell in states(whole.store)
    ]
    assert live._is_over(whole.store, gone)
    (whole.store.train_folder(name) / "record.json").unlink()
    assert not live._is_over(whole.store, gone)


def test_scores_and_leases_are_waited_for(whole: Fake) -> None:
    store, plan = whole.store, whole.plan
    with held(store, next(iter(plan.train))):
        assert over(store)  # the untuned base is no cell that anybody works on
    with held(store, whole.pending):
        assert not over(store)
    name, score = next(iter(plan.scores.items()))
    store.score_path(name, score).unlink()
    assert not over(store)
    failure = Failure("no rules", "", None)
    store.put_record(record_of(name, score, "failed", failure=failure))
    assert over(store)


def test_the_page_loads_itself_again_only_while_live(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, plan = Store(tmp_path), planned(evaluate=False)
    store.put_plan(plan, b"")
    for name, cell in plan.train.items():
        put_training(store, name, cell)
    pages: list[str] = []
    build: Callable[..., Path] = live.build

    def kept(store: Store, *, live: bool, items: bool) -> Path:
        path = build(store, tmp_path / "page", live=live)
        pages.append(path.read_text(encoding="utf-8"))
        return path

    def sleep(_: float) -> None:
        lease.release()

    lease = held(store, next(iter(plan.train)))
    monkeypatch.setattr(live, "build", kept)
    monkeypatch.setattr(time, "sleep", sleep)
    follow(store, states, lambda _: None)
    assert [page.count(REFRESH) for page in pages] == [1, 0]
    assert pages[0].index(REFRESH) < pages[0].index("</head>")
    assert 'http-equiv="refresh"' not in pages[1]


def test_an_interruption_is_no_traceback(
    whole: Fake, tmp_path: Path, quick: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", interrupted)
    monkeypatch.setattr(progress, "progress", states)
    whole.store.eval_path(whole.pending, whole.plan.evals[whole.pending]).with_suffix(
        ".json"
    ).unlink()
    done = maple("report", whole.store.root, "--live", folder=tmp_path)
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == (
        "train: 4 done; eval: 34 done, 1 failed, 1 pending\n"
        "stopped; `maple report` writes the page so that it stands still\n"
    )
