"""A study's mistakes are all found, each with its place and a hint."""

from __future__ import annotations

from pathlib import Path

import pytest

from maple.errors import StudyError
from maple.records import Mixture
from maple.study.load import Catalogue, KnownTask, load
from maple.study.sources import sources_of

CATALOGUE = Catalogue(
    tasks={
        "xcopa": KnownTask(
            {"release": ["ita_Latn", "swh_Latn", "zho_Hans"], "mini": ["eng_Latn"]},
            ["native", "english"],
            poolless=["mini"],
        ),
        "belebele": KnownTask(
            {"release": ["fin_Latn", "ita_Latn"]},
            ["native", "english"],
            asks=lambda subset, prompt: prompt == "english" or subset != "fin_Latn",
        ),
        "mlqa": KnownTask({"release": ["deu_Latn.eng_Latn", "deu_Latn.deu_Latn"]}, ["native"]),
    },
    sources={
        "multialpaca": ["jpn_Jpan", "por_Latn", "spa_Latn"],
        "mini": ["eng_Latn", "spa_Latn"],
    },
    templates=("plain", "chat"),
)
GOOD = """
name = "s"
seeds = [0, 1]
[base]
models = ["demo:gemma-3-270m"]
[train]
sources = ["multialpaca"]
languages = ["ja", "es"]
r = [8, 16]
lora_alpha = "2r"
train_bits = [4, 16]
[evaluate]
[[evaluate.task]]
name = "xcopa"
subsets = ["it", "zh"]
n_shot = 4
"""


def read(folder: Path, text: str) -> object:
    path = folder / "s.toml"
    path.write_text(text, encoding="utf-8")
    return load(path, CATALOGUE)


def message(folder: Path, text: str) -> str:
    with pytest.raises(StudyError) as caught:
        read(folder, text)
    return str(caught.value).replace(str(folder), "")


def test_languages_and_all_are_spelled_out(tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    path.write_text(GOOD, encoding="utf-8")
    study = load(path, CATALOGUE)
    assert study.train is not None
    assert study.evaluate is not None
    assert study.train.languages == ["jpn_Jpan", "spa_Latn"]
    assert study.evaluate.task[0].subsets == ["ita_Latn", "zho_Hans"]
    assert study.train.alpha(8) == 16.0
    path.write_text(GOOD.replace('["it", "zh"]', '"all"'), encoding="utf-8")
    study = load(path, CATALOGUE)
    assert study.evaluate is not None
    assert study.evaluate.task[0].subsets == ["ita_Latn", "swh_Latn", "zho_Hans"]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("r = [8, 16]", "r = [0]", "s.toml: train.r[0]: got 0, input should be greater"),
        ("r = [8, 16]", "r = [8, 8]", "lists 8 more than once"),
        ("r = [8, 16]", "r = [2000]", "less than or equal to 1024"),
        ("r = [8, 16]", 'r = ["8"]', "train.r[0]: got '8', input should be a valid integer"),
        ("train_bits = [4, 16]", "train_bits = [5]", "train.train_bits[0]: got 5"),
        ('lora_alpha = "2r"', "", "train.lora_alpha: is missing"),
        ('lora_alpha = "2r"', 'lora_alpha = "0r"', "above 0"),
        ('lora_alpha = "2r"', "lora_alpha = inf", "train.lora_alpha: got inf"),
        ("r = [8, 16]", "r = [8]\nlearning_rate = nan", "train.learning_rate: got nan"),
        ("r = [8, 16]", "r = [8]\nlearning_rate = 1e300", "train.learning_rate: got 1e+300"),
        ("r = [8, 16]", "r = [8]\nepochs = 1e308", "train.epochs: got 1e+308"),
        ('lora_alpha = "2r"', f'lora_alpha = "{"9" * 308}r"', "at most 1e+06"),
        ('lora_alpha = "2r"', 'lora_alpha = "٣r"', 'expected a rule such as "2r"'),
        ('lora_alpha = "2r"', 'lora_alpha = "rr"', 'expected a rule such as "2r"'),
        ("seeds = [0, 1]", "seed = 1", "seed: unknown key"),
        ("n_shot = 4", "n_shots = 4", "did you mean 'n_shot'?"),
        ("n_shot = 4", "n_shot = -1", "evaluate.task[0].n_shot: got -1"),
        ('name = "xcopa"', 'name = "xcopas"', "unknown task 'xcopas'"),
        ('"it", "zh"', '"it", "xx-nope"', "evaluate.task[0].subsets[1]"),
        ('"it", "zh"', '"it", "de"', "xcopa (release) has no deu_Latn ('de')"),
        ('"it", "zh"', '"it", "ita"', "ita_Latn is listed twice"),
        ('"ja", "es"', '"ja", "it"', "multialpaca has no ita_Latn"),
        ('"multialpaca"', '"multialpacca"', "did you mean 'multialpaca'?"),
        ("[evaluate]", '[evaluate]\neval_bits = "trained"', "evaluate.eval_bits"),
        ('name = "s"', 'name = "a/b"', "name: got 'a/b'"),
        ("n_shot = 4", 'n_shot = 4\nprompt = "formal"', "unknown prompt of xcopa 'formal'"),
        ("n_shot = 4", 'n_shot = 4\ndataset = "dev"', "unknown dataset of xcopa 'dev'"),
        ("n_shot = 4", "n_shot = ", "is not valid TOML"),
    ],
)
def test_each_mistake_names_its_place(tmp_path: Path, old: str, new: str, expected: str) -> None:
    assert old in GOOD
    assert expected in message(tmp_path, GOOD.replace(old, new))


def test_all_mistakes_are_reported_at_once(tmp_path: Path) -> None:
    text = GOOD.replace('"it", "zh"', '"de", "qq"').replace('"ja"', '"fr"')
    found = message(tmp_path, text)
    assert found.startswith("3 problems:")
    text = GOOD.replace("r = [8, 16]", "r = [0, -1]\nbatch_sizes = 3").replace("n_shot = 4", "")
    found = message(tmp_path, text)
    assert found.startswith("4 problems:")
    assert "did you mean" in found


def test_exemplars_and_words_that_there_are_not_are_named_once(tmp_path: Path) -> None:
    text = GOOD.replace("n_shot = 4", 'n_shot = 4\ndataset = "mini"').replace('"it", "zh"', '"en"')
    assert message(tmp_path, text) == (
        "/s.toml: evaluate.task[0].n_shot: xcopa (mini) has no exemplars: all its items are "
        "scored; got n_shot = 4\n\nhint: set n_shot = 0"
    )
    text = GOOD.replace('"xcopa"', '"belebele"').replace('"it", "zh"', '"it", "fi"')
    assert message(tmp_path, text) == (
        "/s.toml: evaluate.task[0].prompt: 'native' of belebele has no words for 1 of 2 subsets: "
        'fin_Latn\n\nhint: ask them with prompt = "english"'
    )


def test_a_pair_of_languages_is_canonicalised(tmp_path: Path) -> None:
    text = GOOD.replace('"xcopa"', '"mlqa"').replace('"it", "zh"', '"de.en", "de.deu_Latn"')
    path = tmp_path / "s.toml"
    path.write_text(text)
    evaluate = load(path, CATALOGUE).evaluate
    assert evaluate is not None
    assert evaluate.task[0].subsets == ["deu_Latn.eng_Latn", "deu_Latn.deu_Latn"]
    bad = GOOD.replace('"xcopa"', '"mlqa"').replace('"it", "zh"', '"de", "de.qq"')
    found = message(tmp_path, bad)
    assert "evaluate.task[0].subsets[0]: mlqa (release) has no deu_Latn ('de')" in found
    assert "evaluate.task[0].subsets[1]: unknown language 'qq'" in found


def test_a_key_of_several_kinds_is_one_problem(tmp_path: Path) -> None:
    found = message(tmp_path, GOOD.replace("[evaluate]", "[evaluate]\neval_bits = [4, 5]"))
    assert found == "/s.toml: evaluate.eval_bits[1]: got 5, input should be 4, 8, 16 or 32"
    found = message(tmp_path, GOOD.replace("[evaluate]", "[evaluate]\neval_bits = 4"))
    assert found == (
        "/s.toml: evaluate.eval_bits: got 4, "
        "input should be 'as trained' or input should be a valid list"
    )


def test_a_study_must_say_something(tmp_path: Path) -> None:
    assert "neither [train] nor [evaluate]" in message(
        tmp_path, 'name = "s"\n[base]\nmodels = ["m"]\n'
    )
    only_evaluate = GOOD[: GOOD.index("[train]")] + GOOD[GOOD.index("[evaluate]") :]
    assert '"as trained", but there is no [train]' in message(tmp_path, only_evaluate)


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="no such study file"):
        load(tmp_path / "none.toml", CATALOGUE)
    with pytest.raises(StudyError, match="cannot be read"):
        load(tmp_path, CATALOGUE)
    (tmp_path / "latin.toml").write_bytes('name = "é"'.encode("latin-1"))
    with pytest.raises(StudyError, match="cannot be read"):
        load(tmp_path / "latin.toml", CATALOGUE)


OWN = """
[[train.source]]
name = "mine"
path = "data/{language}.jsonl"
languages = { es = "spanish", ja = "japanese" }
fields = { instruction = "q", output = "a" }
"""
MIXED = """
[[train.mixture]]
name = "classes"
weights = "temperature"
temperature = 2
english = 0.2
english_from = "mini"
classes = { "5" = 0.5, "0-3" = 0.25, "4" = 0.25 }
"""


def with_train(text: str, old: str = "", new: str = "") -> str:
    assert old in text
    return GOOD.replace("[evaluate]\n", text.replace(old, new) + "[evaluate]\n", 1)


def test_a_source_of_the_studys_own(tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    path.write_text(with_train(OWN).replace('["multialpaca"]', '["multialpaca", "mine"]'))
    train = load(path, CATALOGUE).train
    assert train is not None
    assert train.languages == ["jpn_Jpan", "spa_Latn"]
    (found,) = sources_of(train)
    assert found.path == str(tmp_path / "data" / "{language}.jsonl")
    assert found.languages == {"spa_Latn": "spanish", "jpn_Jpan": "japanese"}
    assert found.fields == {"instruction": "q", "output": "a"}
    text = with_train(OWN, 'languages = { es = "spanish", ja = "japanese" }', 'languages = ["es"]')
    text = text.replace('["multialpaca"]', '["mine"]')
    assert message(tmp_path, text) == (
        "/s.toml: train.languages[0]: mine has no jpn_Jpan ('ja')\n\nhint: it has: spa_Latn"
    )


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('"mine"', '"mini"', "train.source[0].name: there is a source 'mini'"),
        ('name = "mine"', 'name = "mine2"', "nothing trains on 'mine2'"),
        ('name = "mine"', 'name = "a/b"', "train.source[0].name: got 'a/b'"),
        ('es = "spanish"', 'qq = "spanish"', "train.source[0].languages: unknown language 'qq'"),
        ('ja = "japanese"', 'spa = "s"', "train.source[0].languages: spa_Latn is listed twice"),
        ('"data/{language}.jsonl"', '"a.jsonl"', "has 2 languages; expected {language} in path"),
        ("fields =", 'column = "l"\nfields =', "has both {language} in path and a column"),
        (', output = "a"', "", "fields: expected instruction and output, or messages"),
        (', output = "a"', ', answer = "a"', "train.source[0].fields.answer"),
        (', output = "a"', ', messages = "m"', "fields of a chat set are messages (a list)"),
        ("fields =", 'roles = { human = "user" }\nfields =', "roles belong to a chat set"),
        ("fields =", 'hub = "owner"\nfields =', "train.source[0].hub: got 'owner'"),
        ("fields =", 'feilds = "x"\nfields =', "train.source[0].feilds: unknown key"),
    ],
)
def test_what_can_be_wrong_with_a_source(tmp_path: Path, old: str, new: str, expected: str) -> None:
    text = with_train(OWN, old, new)
    assert expected in message(tmp_path, text.replace('["multialpaca"]', '["mine"]'))


def test_mixtures(tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    path.write_text(GOOD)
    train = load(path, CATALOGUE).train
    assert train is not None
    assert train.mixtures() == [Mixture(None, 0)]
    text = with_train(MIXED + '[[train.mixture]]\nname = "even"\nsampling_seed = 3\n')
    path.write_text(text.replace("r = [8, 16]", "r = [8]\nrows = 90"))
    train = load(path, CATALOGUE).train
    assert train is not None
    assert train.mixtures() == [
        Mixture(
            rows=90,
            seed=0,
            name="classes",
            weights="temperature",
            temperature=2,
            english=0.2,
            english_from="mini",
            classes={(5,): 0.5, (0, 1, 2, 3): 0.25, (4,): 0.25},
        ),
        Mixture(rows=90, seed=3, name="even"),
    ]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("temperature = 2", "", 'temperature belongs to weights = "temperature"'),
        ('"temperature"\n', '"uniform"\n', "temperature belongs to weights"),
        ("english = 0.2", "english = 1.0", "train.mixture[0].english: got 1.0"),
        ("english = 0.2", "english = 0.0", "english_from belongs to a share of English"),
        ('from = "mini"', 'from = "minni"', "english_from: unknown training source 'minni'"),
        ('from = "mini"', 'from = "multialpaca"', "english_from: multialpaca has no eng_Latn"),
        ('"4" = 0.25', '"4" = 0.3', "classes add up to 1.05, expected 1"),
        ('"4" = 0.25', '"3-3" = 0.25', "classes: expected each class once"),
        ('"0-3"', '"3-0"', "classes: expected each class once"),
        ('"0-3"', '"low"', "train.mixture[0].classes"),
        ("english = 0.2", "english = 0.2\nrows = 9", "train.mixture[0].rows: unknown key"),
        (
            "[[train.mixture]]",
            '[[train.mixture]]\nname = "classes"\n[[train.mixture]]',
            "mixture: classes is described more than once",
        ),
    ],
)
def test_what_can_be_wrong_with_a_mixture(
    tmp_path: Path, old: str, new: str, expected: str
) -> None:
    assert expected in message(tmp_path, with_train(MIXED, old, new))


def test_what_can_be_wrong_with_held_out_rows(tmp_path: Path) -> None:
    section = '[train.validation]\nrows = 5\nenglish_from = "multialpaca"\n'
    found = message(tmp_path, with_train(section))
    assert "train.validation.english_from: multialpaca has no eng_Latn" in found
    assert "with English: mini" in found
    found = message(tmp_path, with_train(section, "rows = 5", "rows = 0"))
    assert "train.validation.rows: got 0" in found
