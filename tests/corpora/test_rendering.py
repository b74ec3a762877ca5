"""The rendering that the model was trained on is the one its chat template makes."""

from __future__ import annotations

import json
from random import Random

import jinja2
import pytest

from corpora.conversations import draw_conversation
from corpora.rendering import CHAT_TEMPLATE, render_spans


def template() -> jinja2.Template:
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    return environment.from_string(CHAT_TEMPLATE)


@pytest.mark.parametrize("seed", range(60))
def test_python_and_template_render_the_same(seed: int) -> None:
    conversation = draw_conversation(Random(seed))
    spans = "".join(text for text, _ in render_spans(conversation))
    rendered = template().render(
        messages=list(conversation.messages),
        tools=list(conversation.tools) or None,
        add_generation_prompt=False,
    )
    assert rendered == spans


@pytest.mark.parametrize("seed", range(60))
def test_a_prompt_is_a_prefix_of_the_conversation_it_leads_to(seed: int) -> None:
    conversation = draw_conversation(Random(seed))
    prompt = template().render(
        messages=list(conversation.messages[:-1]),
        tools=list(conversation.tools) or None,
        add_generation_prompt=True,
    )
    assert "".join(text for text, _ in render_spans(conversation)).startswith(prompt)


def test_arguments_may_be_an_object_or_text() -> None:
    call = {"function": {"name": "f", "arguments": {"a": 1}}}
    shape = {"role": "assistant", "content": None, "tool_calls": [call]}
    text = {**shape, "tool_calls": [{"function": {"name": "f", "arguments": '{"a": 1}'}}]}
    render = template().render
    assert render(messages=[shape], tools=None, add_generation_prompt=False) == render(
        messages=[text], tools=None, add_generation_prompt=False
    )
