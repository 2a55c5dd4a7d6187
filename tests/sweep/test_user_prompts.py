"""Prompts that users write: from the file to the report, and every mistake in them at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from maple.errors import DataError, StudyError
from maple.records import Example, Prompted, UserPrompt
from maple.report import build
from maple.study.load import validate
from maple.study.prompts import prompts_of
from maple.sweep import check
from maple.sweep.catalogue import catalogue
from maple.sweep.pull import pull
from maple.tasks import TASKS, with_prompts
from maple.tasks.native import NativeTask
from sweep.studies import content, planned, swept

FILE = """
[[prompt]]
name = "terse"
task = "xcopa"
languages = ["en", "zh"]
words_in = "en"
text = "{premise}\\nThe {question} was:"
values.question = { cause = "reason", effect = "outcome" }

[[prompt]]
name = "lettered"
task = "xcopa"
languages = "all"
words_in = "en"
text = "{premise} ({question})\\nA: {choice1}\\nB: {choice2}\\nBest:"
answers = ["A", "B"]
"""


def _study(folder: Path, text: str, *prompts: str) -> dict[str, Any]:
    (folder / "mine.toml").write_text(text, encoding="utf-8")
    study = content(subsets=["eng_Latn", "zho_Hans"], train_bits=[16])
    (xcopa, _) = study["evaluate"]["task"]
    study["evaluate"]["task"] = [{**xcopa, "prompt": name} for name in prompts]
    study["evaluate"]["prompts_from"] = str(folder / "mine.toml")
    return study


def test_a_study_is_asked_in_a_users_words(tmp_path: Path) -> None:
    study = _study(tmp_path, FILE, "terse", "lettered", "native")
    outcome, plan, store = swept(study, tmp_path / "out")
    assert not outcome.failed
    assert {cell.prompt for cell in plan.grid.evals.values()} == {"terse", "lettered", "native"}
    page = build(store).read_text(encoding="utf-8")
    assert "Prompt lettered of xcopa is the study&#39;s own, for example:" in page
    assert "The {question} was:" in page
    # Every metric was scored, those too that need the answers as they were asked.
    assert all(store.scored(name, cell)[0] == 16 for name, cell in plan.grid.scores.items())


def test_what_it_says_is_its_identity_and_its_name_is_not(tmp_path: Path) -> None:
    first, _ = planned(_study(tmp_path, FILE, "terse"), tmp_path / "a")
    renamed = FILE.replace('"terse"', '"brief"')
    again, _ = planned(_study(tmp_path, renamed, "brief"), tmp_path / "b")
    other = FILE.replace('"outcome"', '"upshot"')
    changed, _ = planned(_study(tmp_path, other, "terse"), tmp_path / "c")
    assert first.grid.evals.keys() == again.grid.evals.keys()
    assert not first.grid.evals.keys() & changed.grid.evals.keys()


def _prompt(**changes: Any) -> UserPrompt:
    given: dict[str, Any] = {
        "name": "p",
        "task": "xcopa",
        "language": "all",
        "words_in": "eng_Latn",
        "text": "{premise} So the {question}:",
        "answers": (),
        "values": {},
        "where": "f.toml: prompt[0]",
    }
    return UserPrompt(**{**given, **changes})


ITEM = Example(
    "i", "i", {"premise": " {question} {0} {} ", "question": "effect"}, ("{a}", "{premise}"), 0
)


def test_braces_in_items_mean_nothing() -> None:
    task = with_prompts(TASKS["xcopa"], [_prompt()])
    assert task.render(ITEM, "eng_Latn", "p") == Prompted(
        "{question} {0} {} So the effect:", (" {a}", " {premise}")
    )
    assert task.lint([ITEM], "eng_Latn", "p") == []


def test_spaces_follow_the_scripts() -> None:
    thai = Example("t", "t", {"premise": "ฝนตก", "question": "effect"}, ("ถนนเปียก", "ถนนแห้ง"), 0)
    text = "Text: {premise} [{question}] A: {choice1} Or {question}:"
    words = {"question": {"effect": "So"}}
    task = with_prompts(TASKS["xcopa"], [_prompt(text=text, values=words)])
    assert task.render(thai, "tha_Thai", "p").text == "Text:ฝนตก [So] A:ถนนเปียก Or So:"
    task = with_prompts(TASKS["xcopa"], [_prompt(), _prompt(name="l", answers=("A", "B"))])
    assert task.render(ITEM, "tha_Thai", "p").answers == ("{a}", "{premise}")
    assert task.render(ITEM, "tha_Thai", "l").answers == (" A", " B")


def test_the_article_of_a_summary_may_be_cut() -> None:
    mine = UserPrompt("p", "xlsum", "all", "eng_Latn", "News: {text} In short:", (), {}, "p")
    task = with_prompts(TASKS["xlsum"], [mine])
    item = Example("i", "i", {"text": " It rained. "}, golds=("Rain.",))
    shown = task.render(item, "eng_Latn", "p")
    assert shown == Prompted("News: It rained. In short:", (" Rain.",), (6, 16))
    assert task.render(item, "zho_Hans", "p").cut == (5, 15)


def test_a_field_may_be_shown_twice(tmp_path: Path) -> None:
    twice = FILE.replace("{premise}\\nThe", "{premise}\\nAgain: {premise}\\nThe", 1)
    study = validate(_study(tmp_path, twice, "terse"), catalogue(), "s.toml")
    found = {one.subset: one.problems for one in check.lint(study, None)}
    assert found == {"eng_Latn": (), "zho_Hans": ()}


def test_a_language_without_a_text_is_an_error() -> None:
    task = with_prompts(TASKS["xcopa"], [_prompt(language="eng_Latn")])
    with pytest.raises(DataError, match="prompt 'p' of xcopa has no text for tha_Thai"):
        task.render(ITEM, "tha_Thai", "p")
    assert TASKS["xcopa"].prompts == task.prompts[:-1]


def test_a_value_without_a_word_is_an_error() -> None:
    task = with_prompts(TASKS["xcopa"], [_prompt(values={"question": {"cause": "why"}})])
    with pytest.raises(DataError, match=r"f.toml: prompt\[0\].values.question: no word for 'eff"):
        task.render(ITEM, "eng_Latn", "p")


def test_they_are_linted_like_ours(tmp_path: Path) -> None:
    broken = FILE.replace("\\nThe {question} was:", "\\\\nThe {question} was: ", 1)
    study = validate(_study(tmp_path, broken, "terse", "lettered"), catalogue(), "s.toml")
    found = {(one.prompt, one.subset): one.problems for one in check.lint(study, None)}
    text = " ".join(found["terse", "eng_Latn"])
    assert "a line break is spelled out" in text
    assert "the prompt ends in white space" in text
    assert found["lettered", "eng_Latn"] == ()
    unsaid = FILE.replace("{premise}\\nThe {question}", "The {question}", 1)
    study = validate(_study(tmp_path, unsaid, "terse"), catalogue(), "s.toml")
    found = {(one.prompt, one.subset): one.problems for one in check.lint(study, None)}
    assert found["terse", "eng_Latn"] == ()  # every item has choices of its own
    remarks = [one.asked.remarks for one in check.lint(study, None) if one.asked]
    assert remarks == [("prompt terse does not show: premise",)] * 2


def test_words_and_answers_that_cannot_tell_are_violations() -> None:
    alike = {"question": {"cause": "so", "effect": "so "}}
    task = with_prompts(TASKS["xcopa"], [_prompt(values=alike)])
    assert task.lint([ITEM], "eng_Latn", "p")[-1] == (
        "values.question: two words of the prompt are alike"
    )
    task = with_prompts(TASKS["xcopa"], [_prompt(answers=("A", "Ответ"))])
    assert task.lint([ITEM], "eng_Latn", "p")[-1] == ("answers: 'Ответ' is of another script")


def test_what_a_prompt_does_not_show_is_told() -> None:
    other = Example("o", "o", ITEM.fields, ("c", "d"), 0)

    def left_out(**changes: Any) -> list[str]:
        task = with_prompts(TASKS["xcopa"], [_prompt(**changes)])
        assert isinstance(task, NativeTask)
        return task.left_out([ITEM, other], "eng_Latn", "p")

    assert left_out(text="{premise} {question}:") == []
    assert left_out(text="{premise}:") == ["question"]
    assert left_out(text="{premise} {question}:", answers=("A", "B")) == ["choices"]
    lettered = "{premise} {question} {choice1} {choice2}:"
    assert left_out(text=lettered, answers=("A", "B")) == []
    xcopa = TASKS["xcopa"]
    assert isinstance(xcopa, NativeTask)
    assert xcopa.left_out([ITEM, other], "eng_Latn", "native") == []


MISTAKES = [
    ('name = "terse"', 'name = "native"', "prompt[0].name: xcopa ships a prompt 'native'"),
    ('name = "terse"', 'name = "a b"', "prompt[0].name: got 'a b'"),
    ('task = "xcopa"', 'task = "xkopa"', "prompt[0].task: unknown task 'xkopa'"),
    ("{premise}", "{premiss}", "prompt[0].text: the items of xcopa have no 'premiss'"),
    ("{question}", "{ question }", "prompt[0].text: '{ question ' is no field in braces"),
    ("{question}", "{question", "prompt[0].text: '{question was:' is no field in braces"),
    ("{question}", "{choice3}", "prompt[0].text: the items of xcopa have no 'choice3'"),
    ('["en", "zh"]', '["en", "qqq"]', "prompt[0].languages: unknown language 'qqq'"),
    ('["en", "zh"]', '["en", "en"]', "prompt[0].languages: eng_Latn is listed twice"),
    ("values.question", "values.idx", "prompt[0].values.idx: the text has no {idx}"),
    ('["A", "B"]', '["A"]', "prompt[1].answers: 1 answers, the items of xcopa have 2"),
    ('["A", "B"]', '["A", "A"]', "prompt[1].answers: two answers are alike"),
    ("answers =", "anwsers =", "prompt[1].anwsers: unknown key"),
]


@pytest.mark.parametrize(("old", "new", "problem"), MISTAKES, ids=[one[2] for one in MISTAKES])
def test_mistakes_are_told_with_file_and_key(
    tmp_path: Path, old: str, new: str, problem: str
) -> None:
    study = _study(tmp_path, FILE.replace(old, new, 1), "native")
    with pytest.raises(StudyError) as raised:
        validate(study, catalogue(), "s.toml")
    assert problem in raised.value.what
    assert f"{tmp_path}/mine.toml: prompt[" in raised.value.what


def test_two_texts_of_one_name_for_a_language_are_a_mistake(tmp_path: Path) -> None:
    study = _study(tmp_path, FILE.replace('"lettered"', '"terse"') + FILE, "native")
    with pytest.raises(StudyError) as raised:
        validate(study, catalogue(), "s.toml")
    place = f"{tmp_path}/mine.toml: prompt"
    taken = f"'terse' has a text for eng_Latn in {place}[0] already"
    assert f"{place}[2].name: {taken}" in raised.value.what


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    text = (
        FILE.replace("{premise}", "{premiss}")
        + '[[prompt]]\nname = "x"\ntask = "xnli"\nlanguages = "all"\ntext = "no field"\n'
        + '[[prompt]]\nname = "x"\ntask = "xquad"\nlanguages = ["en"]\ntext = "{context}"\n'
        + 'answers = ["A"]\n'
    )
    study = _study(tmp_path, text, "tense")
    with pytest.raises(StudyError) as raised:
        validate(study, catalogue(), "s.toml")
    for problem in (
        "prompt[0].text: the items of xcopa have no 'premiss'",
        "prompt[1].text: the items of xcopa have no 'premiss'",
        "prompt[2].text: shows nothing of an item",
        "prompt[2].answers: is missing",
        "prompt[2].words_in: is missing: languages is 'all'",
        "prompt[3].answers: 1 answers, the items of xquad have none: its answers are written",
        "s.toml: evaluate.task[0].prompt: unknown prompt of xcopa 'tense'",
        "did you mean 'terse'?",
    ):
        assert problem in raised.value.what


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    study = _study(tmp_path, FILE, "native")
    study["evaluate"]["prompts_from"] = "no.toml"
    with pytest.raises(StudyError, match=r"no\.toml: no such file of prompts"):
        validate(study, catalogue(), "s.toml")


def test_prompts_may_stand_in_the_study(tmp_path: Path) -> None:
    study = _study(tmp_path, FILE, "p")
    del study["evaluate"]["prompts_from"]
    study["evaluate"]["prompt"] = [
        {"name": "p", "task": "xcopa", "languages": ["en", "zh"], "text": "{premise} {question}:"}
    ]
    made = validate(study, catalogue(), "s.toml")
    assert [(one.language, one.words_in) for one in prompts_of(made.evaluate)] == [
        ("eng_Latn", "eng_Latn"),
        ("zho_Hans", "zho_Hans"),
    ]
    study["evaluate"]["prompt"][0]["name"] = "english"
    with pytest.raises(StudyError, match=r"s\.toml: evaluate\.prompt\[0\]\.name: xcopa ships"):
        validate(study, catalogue(), "s.toml")


def test_a_pull_knows_them(tmp_path: Path) -> None:
    study = validate(_study(tmp_path, FILE, "terse"), catalogue(), "s.toml")
    study = study.model_copy(update={"train": None})
    found = pull(study, tmp_path / "data", {}, lambda _: None)
    assert {one.subset for one in found.tasks} == {"eng_Latn", "zho_Hans"}
