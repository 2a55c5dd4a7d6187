"""The words of the prompts: complete, in their script, and missing ones named."""

from __future__ import annotations

import pytest

from maple.errors import DataError
from maple.languages import foreign_letters, language, of_release
from maple.prompts.literals import PROMPTS, literal, problems, reviewed, wording

MINI = ("arb_Arab", "deu_Latn", "eng_Latn", "hin_Deva", "spa_Latn", "swh_Latn", "zho_Hans")
CAUSAL = sorted({row.key for row in of_release("xcopa")} | set(MINI))
READING = sorted({row.key for row in of_release("xquad")} | set(MINI))
JUDGING = sorted({row.key for row in of_release("xnli")} | set(MINI))

# Languages of Belebele and XL-Sum that are asked in their own words, besides those of the others.
MORE = (
    *("amh_Ethi", "ben_Beng", "ces_Latn", "fra_Latn", "heb_Hebr", "hun_Latn", "jpn_Jpan"),
    *("kor_Hang", "mar_Deva", "mya_Mymr", "nld_Latn", "pol_Latn", "por_Latn", "tel_Telu"),
    *("yor_Latn", "zho_Hant"),
)
ALL = sorted({*CAUSAL, *READING, *JUDGING, *MORE})
SUMMING = sorted({row.key for row in of_release("xlsum")} & set(ALL) | set(MINI))


@pytest.mark.parametrize("key", CAUSAL)
def test_languages_of_xcopa_have_the_words_of_its_prompts(key: str) -> None:
    assert literal(key, "cause") != literal(key, "effect")


@pytest.mark.parametrize("key", READING)
def test_languages_of_xquad_have_the_words_of_its_prompts(key: str) -> None:
    words = [literal(key, word) for word in ("passage", "question", "answer")]
    assert len(set(words)) == 3


@pytest.mark.parametrize("key", ALL)
def test_every_language_has_the_words_of_a_reading_task(key: str) -> None:
    words = wording("native", key)
    assert all(words.label(word).endswith(words.word("colon")) for word in ("passage", "question"))
    assert len(set(words.letters(4))) == 4


@pytest.mark.parametrize("key", JUDGING)
def test_languages_of_xnli_have_the_words_of_its_prompts(key: str) -> None:
    words = wording("native", key)
    assert words.label("claim") != words.label("verdict")
    assert len({words.word("true"), words.word("unclear"), words.word("false")}) == 3


@pytest.mark.parametrize("key", SUMMING)
def test_languages_of_xlsum_have_the_words_of_its_prompts(key: str) -> None:
    words = wording("native", key)
    assert words.word("summarise") != words.label("summary")


@pytest.mark.parametrize("key", ALL)
def test_words_are_sound_and_say_that_nobody_has_reviewed_them(key: str) -> None:
    assert problems(key) == []
    assert foreign_letters(literal(key, "answer"), language(key).script) == ""
    assert reviewed(key) is False


def test_a_missing_word_names_itself_and_the_language() -> None:
    with pytest.raises(DataError, match="'cause' in fin_Latn"):
        literal("fin_Latn", "cause")
    with pytest.raises(DataError, match="eng_Latn-x-rev"):
        literal("eng_Latn-x-rev", "cause")
    assert reviewed("fin_Latn") is False
    assert problems("fin_Latn") == []


def test_the_space_fits_the_texts_and_the_words_fit_the_prompt() -> None:
    assert wording("native", "tha_Thai").space == ""
    assert wording("english", "tha_Thai").space == ""
    assert wording("native", "vie_Latn").space == " "
    assert wording("native", "zho_Hans").label("answer") == "答案："
    assert wording("english", "zho_Hans").label("answer") == "Answer:"
    assert PROMPTS == ("native", "english")


def test_words_of_the_prompt_follow_its_own_script() -> None:
    english = wording("english", "jpn_Jpan")
    assert (english.space, english.label_space) == ("", " ")
    native = wording("native", "jpn_Jpan")
    assert (native.space, native.label_space) == ("", "")
    assert native.letters(3) == ("ア", "イ", "ウ")
    with pytest.raises(DataError, match="letters for 4 choices, an item has 5"):
        native.letters(5)


def test_french_puts_a_space_before_its_colon() -> None:
    assert wording("native", "fra_Latn").label("answer") == "Réponse :"
    assert problems("fra_Latn") == []


def test_an_unknown_prompt_is_an_error_with_a_hint() -> None:
    with pytest.raises(DataError, match="no prompt 'nativ'") as caught:
        wording("nativ", "eng_Latn")
    assert "'native'" in caught.value.hint


def test_bad_words_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    words = {"reviewed": True, "cause": "grund", "effect": "grund", "answer": " да", "colon": ""}
    monkeypatch.setattr("maple.prompts.literals._table", lambda: {"deu_Latn": words})
    assert problems("deu_Latn") == [
        "deu_Latn: two words of the prompts are alike",
        "deu_Latn: the word for 'answer' is empty or has space at an end",
        "deu_Latn: the word for 'colon' is empty or has space at an end",
    ]
    words |= {"effect": "фolge", "answer": "Antwort", "colon": ":"}
    assert problems("deu_Latn") == ["deu_Latn: 'ф' in the word for 'effect' is of another script"]
    assert reviewed("deu_Latn") is True
