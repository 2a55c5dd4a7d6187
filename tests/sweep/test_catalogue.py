"""The names that a study may use, as the tables of tasks and sources give them."""

from __future__ import annotations

from maple.sweep.catalogue import catalogue


def test_what_tasks_have_and_lack() -> None:
    tasks = catalogue().tasks
    assert sorted(tasks) == ["belebele", "mlqa", "xcopa", "xlsum", "xnli", "xquad"]
    assert set(tasks["mlqa"].datasets) == {"release", "release-dev", "mini"}
    assert set(tasks["mlqa"].poolless) == {"release-dev"}
    assert set(tasks["belebele"].poolless) == {"release", "mini"}
    assert not tasks["xlsum"].poolless


def test_which_languages_have_words_of_their_own() -> None:
    tasks = catalogue().tasks

    def lacking(name: str, prompt: str) -> int:
        subsets = tasks[name].datasets["release"]
        return sum(not tasks[name].asks(subset, prompt) for subset in subsets)

    for name in ("xnli", "xcopa", "mlqa", "xquad"):
        assert [lacking(name, prompt) for prompt in tasks[name].prompts] == [0] * 4
    assert [lacking("belebele", prompt) for prompt in tasks["belebele"].prompts] == [86, 0, 86, 0]
    assert [lacking("xlsum", prompt) for prompt in tasks["xlsum"].prompts] == [21, 0, 21, 0]
