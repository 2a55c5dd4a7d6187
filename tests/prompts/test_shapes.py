"""The exact text of each prompt, per language."""

from __future__ import annotations

import pytest

from maple.errors import DataError
from maple.prompts.literals import wording
from maple.prompts.shapes import causal, reading

# Our own sentences: language -> (premise, two choices, prompt for a cause, label for an effect).
CAUSAL = {
    "arb_Arab": ("ابتل الطريق.", ("هطل المطر.", "أشرقت الشمس."), "السبب:", "النتيجة:"),
    "deu_Latn": ("Die Straße wurde nass.", ("Es regnete.", "Es war heiß."), "Grund:", "Folge:"),
    "eng_Latn": ("The road got wet.", ("It rained.", "It was hot."), "Reason:", "Result:"),
    "est_Latn": ("Tee sai märjaks.", ("Sadas vihma.", "Oli palav."), "Põhjus:", "Tagajärg:"),
    "hat_Latn": ("Wout la mouye.", ("Lapli tonbe.", "Li te cho."), "Rezon:", "Rezilta:"),
    "hin_Deva": ("सड़क भीग गई।", ("बारिश हुई।", "गर्मी थी।"), "कारण:", "परिणाम:"),
    "ind_Latn": ("Jalan basah.", ("Hujan turun.", "Cuaca panas."), "Sebab:", "Akibat:"),
    "ita_Latn": ("La strada si bagnò.", ("Piovve.", "Faceva caldo."), "Causa:", "Conseguenza:"),
    "qve_Latn": ("Ñan hoq'oyapun.", ("Paran.", "Ruphan."), "Imarayku:", "Chayrayku:"),
    "spa_Latn": ("La calle se mojó.", ("Llovió.", "Hacía calor."), "Causa:", "Consecuencia:"),
    "swh_Latn": ("Barabara ililowa.", ("Mvua ilinyesha.", "Joto."), "Sababu:", "Matokeo:"),
    "tam_Taml": ("சாலை நனைந்தது", ("மழை பெய்தது", "வெயில் அடித்தது"), "காரணம்:", "விளைவு:"),
    "tha_Thai": ("ถนนเปียก", ("ฝนตก", "แดดออก"), "สาเหตุ:", "ผลลัพธ์:"),
    "tur_Latn": ("Yol ıslandı.", ("Yağmur yağdı.", "Hava sıcaktı."), "Neden:", "Sonuç:"),
    "vie_Latn": ("Đường bị ướt.", ("Trời mưa.", "Trời nóng."), "Nguyên nhân:", "Kết quả:"),
    "zho_Hans": ("路湿了。", ("下雨了。", "天很热。"), "原因：", "结果："),
}

# language -> (passage, question, answer, whole prompt, answer as continued).
READING = {
    "arb_Arab": ("تسكن ليلى في الرباط.", "أين تسكن ليلى؟", "الرباط", ("النص", "السؤال", "الجواب")),
    "deu_Latn": ("Lea wohnt in Bonn.", "Wo wohnt Lea?", "Bonn", ("Text", "Frage", "Antwort")),
    "ell_Grek": ("Η Λέα μένει εδώ.", "Πού;", "εδώ", ("Κείμενο", "Ερώτηση", "Απάντηση")),
    "eng_Latn": ("Lea lives in Bonn.", "Where?", "Bonn", ("Passage", "Question", "Answer")),
    "hin_Deva": ("लीला पुणे में रहती है।", "कहाँ?", "पुणे", ("गद्यांश", "प्रश्न", "उत्तर")),
    "ron_Latn": ("Lea stă în Iași.", "Unde?", "Iași", ("Text", "Întrebare", "Răspuns")),
    "rus_Cyrl": ("Лия живёт в Омске.", "Где?", "в Омске", ("Текст", "Вопрос", "Ответ")),
    "spa_Latn": ("Lea vive en Quito.", "¿Dónde?", "Quito", ("Texto", "Pregunta", "Respuesta")),
    "tha_Thai": ("ลีอาอยู่ที่น่าน", "ที่ไหน", "น่าน", ("บทความ", "คำถาม", "คำตอบ")),
    "tur_Latn": ("Lea Bursa'da yaşıyor.", "Nerede?", "Bursa", ("Metin", "Soru", "Cevap")),
    "vie_Latn": ("Lan ở Huế.", "Ở đâu?", "Huế", ("Đoạn văn", "Câu hỏi", "Câu trả lời")),
    "zho_Hans": ("丽娅住在西安。", "哪里？", "西安", ("文章", "问题", "答案")),
}
UNSPACED = {"tha_Thai", "zho_Hans"}


@pytest.mark.parametrize("key", CAUSAL)
def test_the_causal_prompt_in_its_language(key: str) -> None:
    premise, choices, cause, effect = CAUSAL[key]
    space = "" if key in UNSPACED else " "
    words = wording("native", key)
    for asked, label in (("cause", cause), ("effect", effect)):
        rendered = causal(words, premise, asked, choices)
        assert rendered.text == f"{premise}\n{label}"
        assert rendered.answers == tuple(space + choice for choice in choices)


def test_the_causal_prompt_with_english_words() -> None:
    thai = causal(wording("english", "tha_Thai"), "ถนนเปียก", "cause", ["ฝนตก", "แดดออก"])
    assert (thai.text, thai.answers) == ("ถนนเปียก\nReason:", ("ฝนตก", "แดดออก"))
    turkish = causal(
        wording("english", "tur_Latn"), "Yol ıslandı.", "effect", ["Kaydım.", "Uçtum."]
    )
    assert (turkish.text, turkish.answers) == ("Yol ıslandı.\nResult:", (" Kaydım.", " Uçtum."))


def test_space_at_the_ends_of_released_texts_does_not_show() -> None:
    rendered = causal(wording("native", "eng_Latn"), " It rained. ", "effect", [" A.", "B. "])
    assert (rendered.text, rendered.answers) == ("It rained.\nResult:", (" A.", " B."))


def test_asking_for_something_else_is_an_error() -> None:
    with pytest.raises(DataError, match="'reason', expected 'cause' or 'effect'"):
        causal(wording("native", "eng_Latn"), "It rained.", "reason", ["A.", "B."])


@pytest.mark.parametrize("key", READING)
def test_the_reading_prompt_in_its_language(key: str) -> None:
    passage, question, answer, (first, second, third) = READING[key]
    rendered = reading(wording("native", key), passage, question, answer)
    if key == "zho_Hans":
        assert rendered.text == "文章：丽娅住在西安。\n问题：哪里？\n答案："
    elif key == "tha_Thai":
        assert rendered.text == "บทความ:ลีอาอยู่ที่น่าน\nคำถาม:ที่ไหน\nคำตอบ:"
    else:
        assert rendered.text == f"{first}: {passage}\n{second}: {question}\n{third}:"
    assert rendered.answers == ((answer if key in UNSPACED else f" {answer}"),)


def test_the_reading_prompt_with_english_words() -> None:
    rendered = reading(wording("english", "zho_Hans"), "丽娅住在西安。", "哪里？ ", "西安")
    assert rendered.text == "Passage:丽娅住在西安。\nQuestion:哪里？\nAnswer:"
    assert rendered.answers == ("西安",)


def test_a_language_without_words_is_an_error() -> None:
    with pytest.raises(DataError, match="'passage' in fin_Latn"):
        reading(wording("native", "fin_Latn"), "a", "b", "c")
    assert reading(wording("english", "fin_Latn"), "a", "b", "c").text.startswith("Passage: a")
