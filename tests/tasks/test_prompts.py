"""Every prompt of every task on our own rows, against the golden texts.

A change of a text changes the ids of eval cells: it is a new prompt. Golden texts are only added
to; `python tests/tasks/test_prompts.py` writes those that are not there yet.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from maple.tasks import TASKS
from tasks.rows import ROWS

GOLDEN = Path(__file__).parents[1] / "golden" / "prompts.json"


def _rendered(task: str) -> dict[str, str]:
    """Text and answers, the first answer right after the text, by prompt and subset."""
    found = {}
    for prompt in TASKS[task].prompts:
        for subset, item in ROWS[task].items():
            one = TASKS[task].render(item, subset, prompt)
            found[f"{prompt} {subset}"] = one.text + "|".join(one.answers)
    return found


@pytest.mark.parametrize("task", ROWS)
def test_prompts_are_the_golden_ones(task: str) -> None:
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    assert _rendered(task) == golden[task]


@pytest.mark.parametrize("task", ROWS)
def test_there_are_two_shapes_each_in_two_wordings(task: str) -> None:
    one, other = TASKS[task].prompts[:2], TASKS[task].prompts[2:]
    assert one == ("native", "english")
    assert [name.partition("-")[0] for name in other] == ["native", "english"]


@pytest.mark.parametrize("task", ROWS)
def test_our_own_rows_pass_the_linter(task: str) -> None:
    assert len(ROWS[task]) == 10
    for prompt in TASKS[task].prompts:
        for subset, item in ROWS[task].items():
            assert TASKS[task].lint([item], subset, prompt) == []


@pytest.mark.parametrize("task", ["mlqa", "xlsum"])
def test_the_metrics_pass_their_self_test(task: str) -> None:
    for subset, item in ROWS[task].items():
        assert TASKS[task].self_test([item], subset) == []


def test_only_the_text_of_a_summary_may_be_cut() -> None:
    for prompt in TASKS["xlsum"].prompts:
        for subset, item in ROWS["xlsum"].items():
            rendered = TASKS["xlsum"].render(item, subset, prompt)
            assert rendered.cut is not None
            start, end = rendered.cut
            assert rendered.text[start:end] == item.fields["text"]
    assert all(
        task.render(item, subset, "english").cut is None
        for name, task in TASKS.items()
        if name != "xlsum"
        for subset, item in ROWS[name].items()
    )


if __name__ == "__main__":
    known = json.loads(GOLDEN.read_text(encoding="utf-8")) if GOLDEN.exists() else {}
    added = {task: _rendered(task) | known.get(task, {}) for task in ROWS}
    GOLDEN.write_text(json.dumps(added, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
