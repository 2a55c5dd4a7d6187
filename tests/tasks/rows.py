"""Ten rows of our own for each task, in ten languages: what the golden prompts are made of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from maple.records import Example

Rows = Mapping[str, Example]
"""An item by its subset."""

_LABELS = ("entailment", "neutral", "contradiction")

# language -> (premise, hypothesis, number of the label)
_CLAIMS = {
    "arb_Arab": ("تسكن ليلى في الرباط.", "ليلى في المغرب.", 0),
    "bul_Cyrl": ("Лея живее във Варна.", "Лея обича морето.", 1),
    "deu_Latn": ("Lea wohnt in Bonn.", "Lea wohnt in Köln.", 2),
    "ell_Grek": ("Η Λέα μένει στη Βέροια.", "Η Λέα μένει στην Ελλάδα.", 0),
    "fra_Latn": ("Léa habite à Lyon.", "Léa aime Lyon.", 1),
    "rus_Cyrl": ("Лия живёт в Омске.", "Лия живёт в Туле.", 2),
    "tha_Thai": ("ลีอาอยู่ที่น่าน", "ลีอาชอบน่าน", 1),
    "tur_Latn": ("Lea Bursa'da yaşıyor.", "Lea Türkiye'de yaşıyor.", 0),
    "urd_Arab": ("لیلیٰ ملتان میں رہتی ہے۔", "لیلیٰ لاہور میں رہتی ہے۔", 2),
    "vie_Latn": ("Lan sống ở Huế.", "Lan thích Huế.", 1),
}

# language -> (premise, what is asked, two choices, number of the right one)
_CAUSES = {
    "est_Latn": ("Tee sai märjaks.", "cause", ("Sadas vihma.", "Oli palav."), 0),
    "hat_Latn": ("Wout la mouye.", "cause", ("Li te cho.", "Lapli tonbe."), 1),
    "ind_Latn": ("Hujan turun.", "effect", ("Jalan basah.", "Jalan kering."), 0),
    "ita_Latn": ("Piovve.", "effect", ("La strada si asciugò.", "La strada si bagnò."), 1),
    "qve_Latn": ("Ñan hoq'oyapun.", "cause", ("Paran.", "Ruphan."), 0),
    "swh_Latn": ("Mvua ilinyesha.", "effect", ("Barabara ililowa.", "Barabara ilikauka."), 0),
    "tam_Taml": ("சாலை நனைந்தது", "cause", ("வெயில் அடித்தது", "மழை பெய்தது"), 1),
    "tha_Thai": ("ฝนตก", "effect", ("ถนนเปียก", "ถนนแห้ง"), 0),
    "tur_Latn": ("Yol ıslandı.", "cause", ("Yağmur yağdı.", "Hava sıcaktı."), 0),
    "zho_Hans": ("下雨了。", "effect", ("路干了。", "路湿了。"), 1),
}

# language -> (passage, question, four choices); the first is right
_CHOICES = {
    "amh_Ethi": ("ልያ በጎንደር ትኖራለች።", "ልያ የት ትኖራለች?", ("ጎንደር", "ሐረር", "ጅማ", "አክሱም")),
    "ben_Beng": ("লিয়া ঢাকায় থাকে।", "লিয়া কোথায় থাকে?", ("ঢাকা", "খুলনা", "সিলেট", "যশোর")),
    "fra_Latn": ("Léa habite à Lyon.", "Où habite Léa ?", ("Lyon", "Lille", "Metz", "Brest")),
    "heb_Hebr": ("לאה גרה בחיפה.", "איפה גרה לאה?", ("חיפה", "יפו", "צפת", "אילת")),
    "jpn_Jpan": ("リアは京都に住んでいます。", "どこですか？", ("京都", "大阪", "奈良", "神戸")),
    "kor_Hang": ("리아는 부산에 산다.", "어디에 사는가?", ("부산", "서울", "대구", "광주")),
    "mar_Deva": ("लिया पुण्यात राहते.", "लिया कुठे राहते?", ("पुणे", "नाशिक", "सातारा", "सांगली")),
    "mya_Mymr": ("လီယာ ပုဂံမှာ နေသည်။", "ဘယ်မှာ နေသလဲ။", ("ပုဂံ", "ရန်ကုန်", "မန္တလေး", "ပုသိမ်")),
    "tel_Telu": ("లియా కడపలో ఉంటుంది.", "ఎక్కడ ఉంటుంది?", ("కడప", "నెల్లూరు", "గుంటూరు", "ఒంగోలు")),
    "yor_Latn": ("Léà ń gbé ní Ìbàdàn.", "Níbo ni?", ("Ìbàdàn", "Ọ̀yọ́", "Adó", "Òndó")),
}

# language -> (passage, question, answer)
_READING = {
    "arb_Arab": ("تسكن ليلى في الرباط.", "أين تسكن ليلى؟", "الرباط"),
    "deu_Latn": ("Lea wohnt in Bonn.", "Wo wohnt Lea?", "Bonn"),
    "ell_Grek": ("Η Λέα μένει στη Βέροια.", "Πού μένει η Λέα;", "στη Βέροια"),
    "eng_Latn": ("Lea lives in Bonn.", "Where does Lea live?", "Bonn"),
    "hin_Deva": ("लीला पुणे में रहती है।", "लीला कहाँ रहती है?", "पुणे"),
    "ron_Latn": ("Lea stă în Iași.", "Unde stă Lea?", "Iași"),
    "rus_Cyrl": ("Лия живёт в Омске.", "Где живёт Лия?", "в Омске"),
    "spa_Latn": ("Lea vive en Quito.", "¿Dónde vive Lea?", "Quito"),
    "vie_Latn": ("Lan sống ở Huế.", "Lan sống ở đâu?", "Huế"),
    "zho_Hans": ("丽娅住在西安。", "丽娅住在哪里？", "西安"),
}

# Passage in the first language, question in the second.
_PAIRS = (
    *("arb_Arab.arb_Arab", "arb_Arab.zho_Hans", "deu_Latn.deu_Latn", "deu_Latn.eng_Latn"),
    *("eng_Latn.hin_Deva", "hin_Deva.hin_Deva", "spa_Latn.arb_Arab", "vie_Latn.vie_Latn"),
    *("zho_Hans.deu_Latn", "zho_Hans.zho_Hans"),
)

# language -> (text, summary)
_TEXTS = {
    "amh_Ethi": ("ልያ ወደ ጎንደር ሄደች። በባቡር ሄደች።", "ልያ በባቡር ወደ ጎንደር ሄደች።"),
    "ben_Beng": ("লিয়া ঢাকায় গেছে। সে ট্রেনে গেছে।", "লিয়া ট্রেনে ঢাকায় গেছে।"),
    "ind_Latn": ("Lia pergi ke Solo. Ia naik kereta.", "Lia naik kereta ke Solo."),
    "jpn_Jpan": ("リアは京都に行きました。電車です。", "リアは電車で京都に行きました。"),
    "kor_Hang": ("리아는 부산에 갔다. 기차로 갔다.", "리아는 기차로 부산에 갔다."),
    "mar_Deva": ("लिया पुण्याला गेली. ती रेल्वेने गेली.", "लिया रेल्वेने पुण्याला गेली."),
    "mya_Mymr": ("လီယာ ပုဂံသို့ သွားသည်။ ရထားဖြင့် သွားသည်။", "လီယာ ရထားဖြင့် ပုဂံသို့ သွားသည်။"),
    "por_Latn": ("A Lia foi ao Porto. Foi de trem.", "A Lia foi de trem ao Porto."),
    "yor_Latn": ("Léà lọ sí Ìbàdàn. Ọkọ̀ ojú irin ló wọ̀.", "Léà wọ ọkọ̀ ojú irin lọ sí Ìbàdàn."),
    "zho_Hant": ("莉婭去了台南。她坐火車去的。", "莉婭坐火車去了台南。"),
}


def _claims() -> Iterator[tuple[str, Example]]:
    for key, (premise, hypothesis, label) in _CLAIMS.items():
        fields = {"premise": premise, "hypothesis": hypothesis}
        yield key, Example(key, key, fields, _LABELS, label)


def _causes() -> Iterator[tuple[str, Example]]:
    for key, (premise, asked, choices, right) in _CAUSES.items():
        fields = {"premise": premise, "question": asked}
        fields |= {f"choice{number}": text for number, text in enumerate(choices, start=1)}
        yield key, Example(key, key, fields, choices, right)


def _choices() -> Iterator[tuple[str, Example]]:
    for key, (passage, question, choices) in _CHOICES.items():
        fields = {"flores_passage": passage, "question": question}
        fields |= {f"mc_answer{number}": text for number, text in enumerate(choices, start=1)}
        yield key, Example(key, key, fields, choices, 0)


def _reading(pairs: Mapping[str, tuple[str, str]]) -> Iterator[tuple[str, Example]]:
    for subset, (first, second) in pairs.items():
        passage, _, answer = _READING[first]
        fields = {"context": passage, "question": _READING[second][1]}
        yield subset, Example(subset, subset, fields, golds=(answer,))


def _texts() -> Iterator[tuple[str, Example]]:
    for key, (text, summary) in _TEXTS.items():
        yield key, Example(key, key, {"text": text}, golds=(summary,))


ROWS: Mapping[str, Rows] = {
    "xnli": dict(_claims()),
    "xcopa": dict(_causes()),
    "belebele": dict(_choices()),
    "mlqa": dict(_reading({pair: (pair[:8], pair[9:]) for pair in _PAIRS})),
    "xquad": dict(_reading({key: (key, key) for key in _READING})),
    "xlsum": dict(_texts()),
}
"""Ten items by task."""
