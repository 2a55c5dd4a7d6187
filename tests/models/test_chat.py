"""Chat templates: what is learned of a conversation, and what stands around a request."""

from __future__ import annotations

from pathlib import Path

import pytest

from maple.errors import DataError, ModelError
from maple.models.chat import ChatTemplate
from maple.models.files import resolve
from maple.models.templates import Templates
from maple.records import Frame, InstructionRow, TextTemplate
from models import tiny
from models.chats import tokenizer

USER, BOT, SCENE = ("user", "Which river? "), ("assistant", "The Volta."), ("system", "Be brief.")


def _row(*turns: tuple[str, str], given: str = "") -> InstructionRow:
    return InstructionRow("r7", "eng_Latn", " And a lake?", given, "Bosumtwi.\n", turns)


def _chat(family: str) -> ChatTemplate:
    return ChatTemplate(tokenizer(family), "tiny")


def test_chatml() -> None:
    assert _chat("chatml").render(_row(SCENE, USER, BOT, given="Of Ghana.")).segments == (
        (
            (
                "<|im_start|>system\nBe brief.<|im_end|>\n"
                "<|im_start|>user\nWhich river?<|im_end|>\n<|im_start|>assistant\n"
            ),
            False,
        ),
        ("The Volta.<|im_end|>", True),
        ("\n<|im_start|>user\nAnd a lake?\n\nOf Ghana.<|im_end|>\n<|im_start|>assistant\n", False),
        ("Bosumtwi.<|im_end|>", True),
    )


def test_gemma_style() -> None:
    assert _chat("gemma").render(_row(USER, BOT)).segments == (
        ("<start_of_turn>user\nWhich river?<end_of_turn>\n<start_of_turn>model\n", False),
        ("The Volta.<end_of_turn>", True),
        ("\n<start_of_turn>user\nAnd a lake?<end_of_turn>\n<start_of_turn>model\n", False),
        ("Bosumtwi.<end_of_turn>", True),
    )


def test_llama_style_which_has_no_generation_prompt_and_a_bos_a_turn() -> None:
    assert _chat("llama").render(_row(USER, BOT)).segments == (
        ("[INST] Which river? [/INST]", False),
        (" The Volta. </s>", True),
        ("<s>[INST] And a lake? [/INST]", False),
        (" Bosumtwi. </s>", True),
    )


def test_mistral_style() -> None:
    assert _chat("mistral").render(_row()).segments == (
        ("[INST] And a lake?[/INST]", False),
        (" Bosumtwi.</s>", True),
    )


@pytest.mark.parametrize(
    ("family", "frame"),
    [
        (
            "chatml",
            Frame("<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n", "", "<|im_end|>"),
        ),
        (
            "gemma",
            Frame(
                "<start_of_turn>user\n",
                "<end_of_turn>\n<start_of_turn>model\n",
                "",
                "<end_of_turn>",
            ),
        ),
        ("llama", Frame("[INST] ", " [/INST]", " ", "</s>")),
        ("mistral", Frame("[INST] ", "[/INST]", " ", "</s>")),
    ],
)
def test_what_stands_around_a_request(family: str, frame: Frame) -> None:
    assert _chat(family).frame() == frame


def test_an_opening_that_the_generation_prompt_lacks_goes_before_the_answer() -> None:
    made = tokenizer("chatml")
    made.chat_template = made.chat_template.replace(
        "message.content +",
        "('<think>\\n\\n</think>\\n ' if message.role == 'assistant' else '') + message.content +",
    )
    chat = ChatTemplate(made, "tiny")
    assert chat.frame() == Frame(
        "<|im_start|>user\n",
        "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n",
        " ",
        "<|im_end|>",
    )
    assert chat.render(_row()).segments[-1] == ("<think>\n\n</think>\n Bosumtwi.<|im_end|>", True)


def test_refusals_name_the_row() -> None:
    for family, turns, why in (
        ("gemma", (SCENE, USER, BOT), "system, user: no scene, please"),
        ("gemma", (USER, USER, BOT), "user, user: roles must take turns"),
        ("mistral", (SCENE, USER, BOT), "system, user: Only user and assistant roles"),
    ):
        with pytest.raises(DataError) as raised:
            _chat(family).render(_row(*turns))
        assert raised.value.what.startswith(
            f"row r7 (eng_Latn): the chat template of tiny refuses turns of {why}"
        )
        assert "one of your own" in raised.value.hint


def test_a_template_that_rewrites_earlier_turns_is_no_guess() -> None:
    chat = _chat("forgetful")
    assert chat.render(_row()).segments == (
        ("user: And a lake?\nassistant: ", False),
        ("Bosumtwi.", True),
    )
    with pytest.raises(DataError, match=r"row r7 .* beginning in another way once it goes on"):
        chat.render(_row(USER, BOT))


def test_templates_that_cannot_be_used() -> None:
    made = tokenizer("chatml")
    made.chat_template = "{{ strftime_now('%d') }}" + made.chat_template
    with pytest.raises(ModelError, match="tiny: its chat template writes today's date"):
        ChatTemplate(made, "tiny")
    made.chat_template = (
        "{{ date_string or strftime_now('%d') }}" + tokenizer("llama").chat_template
    )
    assert ChatTemplate(made, "tiny").render(_row()).segments[0][0].startswith("26 Jul 2024")
    made.chat_template = "{{ messages[0].content | upper }}"
    with pytest.raises(ModelError, match="does not write a question and its answer one after"):
        ChatTemplate(made, "tiny").frame()
    made.chat_template = None
    with pytest.raises(ModelError, match="tiny: its tokenizer has no chat template"):
        ChatTemplate(made, "tiny")


def test_templates_by_name(tmp_path: Path) -> None:
    tiny.saved(tmp_path)
    bare = resolve(str(tmp_path))
    mine = TextTemplate("mine", "{instruction}\n{output}")
    templates = Templates([mine])
    assert templates.of("mine", bare).texts == {"text": "{instruction}\n{output}"}
    assert templates.of("mine", bare).hash != templates.of("plain", bare).hash
    for base in (bare, resolve("scripted:hash")):
        with pytest.raises(ModelError, match="no chat template"):
            templates.of("chat", base)
    with pytest.raises(ModelError, match="no training template 'mien'") as raised:
        templates.of("mien", bare)
    assert raised.value.hint == "did you mean 'mine'?"
    made = tokenizer("chatml")
    made.save_pretrained(tmp_path)
    other = resolve(str(tmp_path))
    chat = Templates([]).of("chat", other)
    assert chat.texts["text"] == made.chat_template
    assert chat.render(_row()).segments[1] == ("Bosumtwi.<|im_end|>", True)
    made.chat_template = "{{ 'Talk:' }}" + made.chat_template
    made.save_pretrained(tmp_path)
    assert Templates([]).of("chat", resolve(str(tmp_path))).hash != chat.hash
