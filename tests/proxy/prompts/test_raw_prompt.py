"""Prompts without a chat template: what the tokenizer puts before them, and how a model fills in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken
from tokenizers.processors import TemplateProcessing

from engine.errors import InvalidRequest
from engine.template import ChatTemplate
from proxy.conversation.request import ChatRequest, RawPrompt
from proxy.prompts.prompting import Prompter
from proxy.prompts.raw_prompt import INFILL, render_raw
from tests.engine.tiny import TEMPLATE, make_tokenizer


def template(*added: str, begins_with: str = "") -> ChatTemplate:
    """One token per byte, and these."""
    tokenizer: Any = make_tokenizer()
    tokenizer.add_tokens([AddedToken(one, special=True) for one in added])
    if begins_with:
        id = tokenizer.convert_tokens_to_ids(begins_with)
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single=f"{begins_with} $A", special_tokens=[(begins_with, id)]
        )
    return ChatTemplate(tokenizer, TEMPLATE)


def text_of(template: ChatTemplate, raw: RawPrompt) -> str:
    return template.decode(render_raw(template, raw).tokens)


def test_a_text_is_encoded_as_it_stands() -> None:
    plain = template()
    text = "<|im_start|>user\nhé<|im_end|>"
    assert text_of(plain, RawPrompt(text)) == text
    assert len(render_raw(plain, RawPrompt(text)).tokens) == len("user\nhé".encode()) + 2, "control tokens"
    assert render_raw(plain, RawPrompt((5, 6))).tokens == (5, 6)
    assert render_raw(plain, RawPrompt("")).tokens == ()


def test_the_tokenizer_begins_a_prompt_once() -> None:
    begun = template(begins_with="<|endoftext|>")
    assert text_of(begun, RawPrompt("hi")) == "<|endoftext|>hi"
    assert text_of(begun, RawPrompt("<|endoftext|>hi")) == "<|endoftext|>hi"
    assert text_of(begun, RawPrompt("")) == "<|endoftext|>"
    assert text_of(begun, RawPrompt("hi", special=False)) == "hi"
    assert render_raw(begun, RawPrompt((5, 6))).tokens == (5, 6)
    assert begun.decode(begun.encode("hi")) == "hi", "templates write it themselves"


@pytest.mark.parametrize(
    ("markers", "expected"),
    [
        (
            ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
            "<|fim_prefix|>def f(<|fim_suffix|>):<|fim_middle|>",
        ),
        (("<fim_prefix>", "<fim_suffix>", "<fim_middle>"), "<fim_prefix>def f(<fim_suffix>):<fim_middle>"),
        (("<fim-prefix>", "<fim-suffix>", "<fim-middle>"), "<fim-prefix>def f(<fim-suffix>):<fim-middle>"),
        (
            ("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),
            "<｜fim▁begin｜>def f(<｜fim▁hole｜>):<｜fim▁end｜>",
        ),
        (("[PREFIX]", "[SUFFIX]"), "[SUFFIX]):[PREFIX]def f("),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_a_suffix_is_shown_by_the_vocabularys_own_tokens(markers: tuple[str, ...], expected: str) -> None:
    knowing = template(*markers)
    raw = RawPrompt("def f(", suffix="):")
    assert text_of(knowing, raw) == expected
    tokens = RawPrompt(knowing.encode("def f("), suffix="):")
    assert render_raw(knowing, tokens).tokens == render_raw(knowing, raw).tokens
    ids = [knowing.markers[marker] for marker in markers]
    assert sorted(token for token in render_raw(knowing, raw).tokens if token in ids) == sorted(ids)


def test_every_row_is_tested() -> None:
    assert len(INFILL) == 5


def test_a_vocabulary_without_such_tokens_is_told() -> None:
    for unknowing in (template(), template("<fim_prefix>", "<fim_suffix>")):
        with pytest.raises(InvalidRequest, match="no tokens for filling in") as error:
            render_raw(unknowing, RawPrompt("a", suffix="b"))
        assert error.value.param == "suffix"


def test_tokens_there_and_back(tmp_path: Path) -> None:
    plain = template()
    prompter = Prompter(plain, "hermes", plain.encode("<|im_end|>"))
    tokens = prompter.tokens(ChatRequest("", (), prompts=(RawPrompt("hi<|im_end|>"),)))
    assert plain.spell(tokens) == ("h", "i", "<|im_end|>")
    plain.check_tokens(tokens)
    for wrong in (-1, 261, 2**31 - 1):
        with pytest.raises(InvalidRequest, match=r"tokens must be in \[0, 261\)"):
            plain.check_tokens((0, wrong))
