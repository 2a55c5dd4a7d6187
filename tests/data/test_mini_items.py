"""The small original test items that ship inside the package: the layouts of the releases.

MLQA's are made of XQuAD's, see `tasks.mlqa`."""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from importlib.resources import files
from typing import Any

import pytest

# Language key -> prefix of the Unicode names of its letters.
SCRIPTS: dict[str, str] = {
    "eng_Latn": "LATIN",
    "spa_Latn": "LATIN",
    "deu_Latn": "LATIN",
    "swh_Latn": "LATIN",
    "hin_Deva": "DEVANAGARI",
    "arb_Arab": "ARABIC",
    "zho_Hans": "CJK",
}
# Language key -> (end of a statement, end of a question).
MARKS: dict[str, tuple[str, str]] = {
    "eng_Latn": (".", "?"),
    "spa_Latn": (".", "?"),
    "deu_Latn": (".", "?"),
    "swh_Latn": (".", "?"),
    "hin_Deva": ("।", "?"),
    "arb_Arab": (".", "؟"),
    "zho_Hans": ("。", "？"),
}
# Language key -> punctuation that would be a foreign form there.
FOREIGN_MARKS: dict[str, str] = {"hin_Deva": ".", "arb_Arab": ",;?", "zho_Hans": ",.;:?!"}
LANGUAGES = sorted(SCRIPTS)
SPLITS = ("test", "val")
XCOPA_FIELDS = ("premise", "choice1", "choice2", "question", "label", "idx", "changed")
XCOPA_IDX: dict[str, list[int]] = {"test": list(range(16)), "val": list(range(100, 104))}
XQUAD_IDS: dict[str, list[str]] = {
    "test": [f"mini-q{index:02d}" for index in range(16)],
    "val": [f"mini-q{index}" for index in range(100, 104)],
}
XQUAD_QUESTIONS_PER_PARAGRAPH: dict[str, int] = {"test": 2, "val": 1}

FILES: dict[str, tuple[str, ...]] = {
    "xcopa": ("test.jsonl", "val.jsonl"),
    "xquad": ("test.json", "val.json"),
    "xnli": ("test.tsv", "dev.tsv"),
    "belebele": ("jsonl",),
    "xlsum": ("test.jsonl", "val.jsonl"),
}

both_splits = pytest.mark.parametrize("split", SPLITS)
every_language = pytest.mark.parametrize("language", LANGUAGES)


def read_text(task: str, name: str) -> str:
    return (files("maple.data") / "mini" / task / name).read_text(encoding="utf-8")


def xcopa_rows(language: str, split: str) -> list[dict[str, Any]]:
    # Split on "\n" only: str.splitlines would also cut at characters such as U+2028.
    lines = read_text("xcopa", f"{language}.{split}.jsonl").split("\n")
    return [json.loads(line) for line in lines if line]


def xquad_articles(language: str, split: str) -> list[dict[str, Any]]:
    release = json.loads(read_text("xquad", f"{language}.{split}.json"))
    assert set(release) == {"version", "data"}
    assert release["version"] == "1.1"
    articles: list[dict[str, Any]] = release["data"]
    return articles


def xquad_contexts(language: str, split: str) -> list[str]:
    return [
        paragraph["context"]
        for article in xquad_articles(language, split)
        for paragraph in article["paragraphs"]
    ]


def xquad_items(language: str, split: str) -> list[tuple[str, dict[str, Any]]]:
    """Pairs of context and question entry, in file order."""
    return [
        (paragraph["context"], entry)
        for article in xquad_articles(language, split)
        for paragraph in article["paragraphs"]
        for entry in paragraph["qas"]
    ]


def xnli_rows(language: str, split: str) -> list[list[str]]:
    """Premise, hypothesis and label of each row."""
    lines = read_text("xnli", f"{language}.{split}.tsv").split("\n")
    return [line.split("\t") for line in lines if line]


def belebele_rows(language: str) -> list[dict[str, Any]]:
    lines = read_text("belebele", f"{language}.jsonl").split("\n")
    return [json.loads(line) for line in lines if line]


def xlsum_rows(language: str, split: str) -> list[dict[str, Any]]:
    lines = read_text("xlsum", f"{language}.{split}.jsonl").split("\n")
    return [json.loads(line) for line in lines if line]


def belebele_answers(row: dict[str, Any]) -> list[str]:
    return [row[f"mc_answer{number}"] for number in range(1, 5)]


def texts_of(language: str) -> list[str]:
    """Every text of a language, all tasks and both splits; XQuAD's in other tasks not again."""
    texts = [text for row in belebele_rows(language) for text in belebele_answers(row)]
    for split in ("test", "dev"):
        texts += [text for row in xnli_rows(language, split) for text in row[:2]]
    for split in SPLITS:
        texts += [row["summary"] for row in xlsum_rows(language, split)]
    for split in SPLITS:
        for row in xcopa_rows(language, split):
            texts += [row["premise"], row["choice1"], row["choice2"]]
        texts += xquad_contexts(language, split)
        for _, entry in xquad_items(language, split):
            texts += [entry["question"], entry["answers"][0]["text"]]
    return texts


def script_share(text: str, prefix: str) -> float:
    letters = [char for char in text if char.isalpha()]
    if not letters:
        return 1.0
    hits = sum(unicodedata.name(char, "").startswith(prefix) for char in letters)
    return hits / len(letters)


@pytest.mark.parametrize(("task", "endings"), FILES.items())
def test_no_other_file(task: str, endings: tuple[str, ...]) -> None:
    names = sorted(entry.name for entry in (files("maple.data") / "mini" / task).iterdir())
    assert names == sorted(f"{language}.{ending}" for language in LANGUAGES for ending in endings)


@both_splits
@every_language
def test_xcopa_rows_and_fields(language: str, split: str) -> None:
    rows = xcopa_rows(language, split)
    assert [row["idx"] for row in rows] == XCOPA_IDX[split]
    for row in rows:
        assert tuple(row) == XCOPA_FIELDS
        assert type(row["label"]) is int
        assert row["label"] in (0, 1)
        assert row["question"] in ("cause", "effect")
        assert row["changed"] is False


@both_splits
@every_language
def test_xcopa_labels_and_questions_match_english(language: str, split: str) -> None:
    keys = [(row["idx"], row["question"], row["label"]) for row in xcopa_rows(language, split)]
    english = [(row["idx"], row["question"], row["label"]) for row in xcopa_rows("eng_Latn", split)]
    assert keys == english


@both_splits
@every_language
def test_xcopa_is_balanced(language: str, split: str) -> None:
    rows = xcopa_rows(language, split)
    cells = Counter((row["question"], row["label"]) for row in rows)
    share = len(rows) // 4
    assert cells == {(q, label): share for q in ("cause", "effect") for label in (0, 1)}


@every_language
def test_xcopa_right_choice_is_not_given_away_by_length(language: str) -> None:
    longer = 0
    for row in xcopa_rows(language, "test"):
        choices = [row["choice1"], row["choice2"]]
        right, wrong = len(choices[row["label"]]), len(choices[1 - row["label"]])
        assert max(right, wrong) <= 1.6 * min(right, wrong), row["idx"]
        longer += right > wrong
    assert 5 <= longer <= 11


@every_language
def test_xcopa_has_no_duplicates(language: str) -> None:
    rows = [row for split in SPLITS for row in xcopa_rows(language, split)]
    sentences = [row[field] for row in rows for field in ("premise", "choice1", "choice2")]
    assert len(set(sentences)) == len(sentences) == 60


@both_splits
@every_language
def test_xcopa_sentences_end_with_the_languages_full_stop(language: str, split: str) -> None:
    stop = MARKS[language][0]
    for row in xcopa_rows(language, split):
        for field in ("premise", "choice1", "choice2"):
            assert row[field].endswith(stop), (row["idx"], field)
            assert row[field].count(stop) == 1, (row["idx"], field)


@both_splits
@every_language
def test_xquad_ids_and_structure(language: str, split: str) -> None:
    for article in xquad_articles(language, split):
        assert set(article) == {"title", "paragraphs"}
        assert len(article["paragraphs"]) == 1
        for paragraph in article["paragraphs"]:
            assert set(paragraph) == {"context", "qas"}
            assert len(paragraph["qas"]) == XQUAD_QUESTIONS_PER_PARAGRAPH[split]
            for entry in paragraph["qas"]:
                assert set(entry) == {"id", "question", "answers"}
                assert len(entry["answers"]) == 1
                assert set(entry["answers"][0]) == {"text", "answer_start"}
    assert [entry["id"] for _, entry in xquad_items(language, split)] == XQUAD_IDS[split]


@both_splits
@every_language
def test_xquad_titles_match_english(language: str, split: str) -> None:
    titles = [article["title"] for article in xquad_articles(language, split)]
    assert titles == [article["title"] for article in xquad_articles("eng_Latn", split)]
    assert len(set(titles)) == len(titles)


@both_splits
@every_language
def test_xquad_spans(language: str, split: str) -> None:
    for context, entry in xquad_items(language, split):
        answer = entry["answers"][0]
        text, start = answer["text"], answer["answer_start"]
        assert type(start) is int
        assert context[start : start + len(text)] == text, entry["id"]
        assert context.count(text) == 1, entry["id"]
        assert 1 <= len(text.split()) <= 8, entry["id"]


@both_splits
@pytest.mark.parametrize("language", [key for key in LANGUAGES if key != "zho_Hans"])
def test_xquad_spans_are_whole_words(language: str, split: str) -> None:
    for context, entry in xquad_items(language, split):
        answer = entry["answers"][0]
        start, end = answer["answer_start"], answer["answer_start"] + len(answer["text"])
        # Letters, marks (Devanagari vowel signs) and digits would be parts of the same word.
        around = context[start - 1 : start] + context[end : end + 1]
        assert all(unicodedata.category(char)[0] not in "LMN" for char in around), entry["id"]


@every_language
def test_xquad_digit_answers_match_english(language: str) -> None:
    def digits(key: str, split: str) -> list[str]:
        texts = [entry["answers"][0]["text"] for _, entry in xquad_items(key, split)]
        return ["".join(char for char in text if char.isdigit()) for text in texts]

    for split in SPLITS:
        if language != "zho_Hans":
            assert digits(language, split) == digits("eng_Latn", split)
        with_digits = sum(bool(value) for value in digits(language, split))
        assert 0.25 <= with_digits / len(XQUAD_IDS[split]) <= 0.75


@every_language
def test_xquad_has_no_duplicates(language: str) -> None:
    contexts = [context for split in SPLITS for context in xquad_contexts(language, split)]
    entries = [entry for split in SPLITS for _, entry in xquad_items(language, split)]
    assert len(set(contexts)) == len(contexts) == 12
    assert len({entry["question"] for entry in entries}) == 20
    assert len({entry["answers"][0]["text"] for entry in entries}) == 20


@both_splits
def test_xquad_english_paragraphs_have_60_to_110_words(split: str) -> None:
    for context in xquad_contexts("eng_Latn", split):
        assert 60 <= len(context.split()) <= 110, context


@both_splits
@every_language
def test_xquad_texts_end_with_the_languages_marks(language: str, split: str) -> None:
    stop, question_mark = MARKS[language]
    for context, entry in xquad_items(language, split):
        assert context.endswith(stop), entry["id"]
        assert entry["question"].endswith(question_mark), entry["id"]
        assert entry["question"].startswith("¿") == (language == "spa_Latn"), entry["id"]


@every_language
def test_xnli_labels_match_english_and_are_balanced(language: str) -> None:
    for split, size in (("test", 15), ("dev", 4)):
        rows = xnli_rows(language, split)
        assert len(rows) == size
        assert [row[2] for row in rows] == [row[2] for row in xnli_rows("eng_Latn", split)]
        assert len({tuple(row[:2]) for row in rows}) == size
    labels = Counter(row[2] for row in xnli_rows(language, "test"))
    assert labels == {"entailment": 5, "neutral": 5, "contradiction": 5}
    premises = [row[0] for row in xnli_rows(language, "test")]
    assert premises[::3] == premises[1::3] == premises[2::3]


@every_language
def test_belebele_asks_xquads_questions_with_three_wrong_answers(language: str) -> None:
    asked = {entry["question"]: (text, entry) for text, entry in xquad_items(language, "test")}
    rows = belebele_rows(language)
    assert Counter(row["correct_answer_num"] for row in rows) == dict.fromkeys("1234", 3)
    for row, english in zip(rows, belebele_rows("eng_Latn"), strict=True):
        for name in ("link", "question_number", "correct_answer_num"):
            assert row[name] == english[name]
        assert row["dialect"] == language
        passage, entry = asked[row["question"]]
        assert row["flores_passage"] == passage
        answers = belebele_answers(row)
        right = entry["answers"][0]["text"]
        assert answers[int(row["correct_answer_num"]) - 1] == right
        assert len(set(answers)) == 4
        assert all(len(answer) <= 4 * len(right) for answer in answers)


@both_splits
@every_language
def test_xlsum_sums_up_xquads_passages(language: str, split: str) -> None:
    rows = xlsum_rows(language, split)
    assert [row["text"] for row in rows] == xquad_contexts(language, split)
    assert [row["id"] for row in rows] == [row["id"] for row in xlsum_rows("eng_Latn", split)]
    for row in rows:
        assert row["summary"].endswith(MARKS[language][0])
        assert row["summary"].count(MARKS[language][0]) == 1
        assert 0.05 <= len(row["summary"]) / len(row["text"]) <= 0.4


@every_language
def test_no_empty_or_padded_text(language: str) -> None:
    for text in texts_of(language):
        assert text, "an empty text"
        assert text == " ".join(text.split()), text


@every_language
def test_expected_script(language: str) -> None:
    for text in texts_of(language):
        assert script_share(text, SCRIPTS[language]) > 0.8, text


@every_language
def test_no_foreign_punctuation(language: str) -> None:
    for text in texts_of(language):
        body = text[:-1]  # the last mark has its own test, and a Hindi question ends with "?"
        found = set(body) & set(FOREIGN_MARKS.get(language, ""))
        if language == "arb_Arab":
            assert "." not in text.replace(". ", " ").removesuffix("."), text
        assert not found, (text, found)


def test_nothing_is_left_untranslated() -> None:
    for split in SPLITS:
        premises = {row["premise"] for key in LANGUAGES for row in xcopa_rows(key, split)}
        assert len(premises) == len(LANGUAGES) * len(XCOPA_IDX[split])
        questions = {entry["question"] for key in LANGUAGES for _, entry in xquad_items(key, split)}
        assert len(questions) == len(LANGUAGES) * len(XQUAD_IDS[split])


@both_splits
@every_language
def test_stored_as_readable_normalised_text(language: str, split: str) -> None:
    for task, endings in FILES.items():
        ending = endings[0 if split == "test" else -1]
        text = read_text(task, f"{language}.{ending}")
        assert "\\u" not in text
        assert text == unicodedata.normalize("NFC", text)
        assert text.endswith("\n")


def test_arabic_has_no_vowel_marks() -> None:
    marks = [char for char in "".join(texts_of("arb_Arab")) if unicodedata.category(char) == "Mn"]
    assert marks == []
