"""What clients say about thinking, and the budget after which it is closed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from engine.template import Rendered
from engine.types import ThinkingLimit
from proxy.codecs.fields import Fields
from proxy.codecs.thinking import Thinking, decode_thinking
from proxy.conversation.errors import BadRequest
from proxy.prompts.thinking import knows_thinking, limit_thinking
from proxy.upstreams.scripted import Script
from tests.proxy.codecs.test_accepted_requests import decode
from tests.proxy.conftest import Stage
from tests.proxy.requests import body

ON, OFF = {"enable_thinking": True}, {"enable_thinking": False}
SAID: dict[str, tuple[dict[str, Any], Thinking]] = {
    "nothing": ({}, Thinking({}, None, True)),
    "enable_thinking": ({"enable_thinking": False}, Thinking(OFF, None, True)),
    "template_kwargs": ({"chat_template_kwargs": ON}, Thinking(ON, None, True)),
    "kwargs_first": ({"chat_template_kwargs": ON, "enable_thinking": False}, Thinking(ON, None, True)),
    "effort": ({"reasoning_effort": "low"}, Thinking({"reasoning_effort": "low"}, None, True)),
    "no_effort": ({"reasoning_effort": "none"}, Thinking(OFF, None, True)),
    "qwen_budget": ({"enable_thinking": True, "thinking_budget": 50}, Thinking(ON, 50, True)),
    "vllm_budget": ({"thinking_token_budget": 50}, Thinking({}, 50, True)),
    "no_budget": ({"thinking_budget": -1}, Thinking({}, None, True)),
    "budget_of_nothing": ({"thinking_budget": 0}, Thinking(OFF, 0, True)),
    "reasoning": (
        {"reasoning": {"effort": "high", "max_tokens": 9}},
        Thinking({"reasoning_effort": "high"}, 9, True),
    ),
    "reasoning_off": ({"reasoning": {"enabled": False}}, Thinking(OFF, None, True)),
    "reasoning_hidden": ({"reasoning": {"exclude": True}}, Thinking({}, None, False)),
    "not_included": ({"include_reasoning": False}, Thinking({}, None, False)),
    "thinking": ({"thinking": {"type": "enabled", "budget_tokens": 8}}, Thinking(ON, 8, True)),
    "thinking_off": ({"thinking": {"type": "disabled"}}, Thinking(OFF, None, True)),
    "thinking_adaptive": ({"thinking": {"type": "adaptive"}}, Thinking({}, None, True)),
    "odd_objects": ({"reasoning": "low", "thinking": True}, Thinking({}, None, True)),
}


@pytest.mark.parametrize(("fields", "expected"), SAID.values(), ids=SAID)
def test_what_is_said_about_thinking(fields: dict[str, Any], expected: Thinking) -> None:
    assert decode_thinking(Fields(fields)) == expected
    asked = decode(**fields)
    assert (asked.thinking_budget, asked.include_reasoning) == (expected.budget, expected.shown)
    assert dict(asked.template_options) == dict(expected.options)


@pytest.mark.parametrize("fields", [{"thinking_budget": "x"}, {"thinking_budget": -2}], ids=str)
def test_a_budget_that_is_none(fields: dict[str, Any]) -> None:
    with pytest.raises(BadRequest, match="thinking_budget"):
        decode_thinking(Fields(fields))


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_reasoning_is_left_out_where_it_is_not_wanted(stage: Stage, stream: bool) -> None:
    stage.playbook.scripts["secretly"] = Script(("<think>", "hm hm", "</think>", "Yes."))
    raw = stage.server.post(body("secretly", include_reasoning=False, stream=stream)).text
    assert "Yes." in raw
    assert "hm" not in raw
    assert "hm hm" in stage.server.post(body("secretly", stream=stream)).text


class Letters:
    """A template of which only the source and the tokens matter: one token for each character."""

    def __init__(self, source: str) -> None:
        self.source = source

    def encode(self, text: str) -> tuple[int, ...]:
        return tuple(map(ord, text))


CLOSE = tuple(map(ord, "</think>"))
SWITCH = "{% if enable_thinking is false %}<think>\n\n</think>{% endif %}"
# template, what it put after the conversation, request fields -> what is added to the prompt, limit
LIMITS: dict[str, tuple[str, str, dict[str, Any], str, ThinkingLimit | None]] = {
    "no_budget": (SWITCH, "<think>\n", {}, "", None),
    "opened_by_the_template": ("", "a<think>\n", {"thinking_budget": 5}, "", ThinkingLimit(5, CLOSE)),
    "closed_by_the_template": (SWITCH, "<think>\n\n</think>", {"thinking_budget": 5}, "", None),
    "left_to_the_model": (SWITCH, "a", {"thinking_budget": 5}, "<think>\n", ThinkingLimit(5, CLOSE)),
    "switched_off": (SWITCH, "a", {"thinking_budget": 5, "enable_thinking": False}, "", None),
    "does_not_think": ("{{ x.split('</think>') }}", "a", {"thinking_budget": 5}, "", None),
}


@pytest.mark.parametrize(("source", "prompt", "fields", "added", "limit"), LIMITS.values(), ids=LIMITS)
def test_the_budget_becomes_a_limit(
    source: str, prompt: str, fields: dict[str, Any], added: str, limit: ThinkingLimit | None
) -> None:
    rendered = Rendered((1, 2), "text", prompt)
    template: Any = Letters(source)
    opened, found = limit_thinking(template, "hermes", rendered, decode(**json.loads(json.dumps(fields))))
    assert found == limit
    assert opened.tokens == (1, 2, *map(ord, added))
    assert (opened.text, opened.generation_prompt) == ("text" + added, prompt + added)


@pytest.mark.parametrize(
    ("source", "thinks"),
    [
        ("{{ messages }}", False),
        ("{{ x.split('</think>') }}", False),
        (SWITCH, True),
        ("{% if reasoning %}[THINK]{{ reasoning }}[/THINK]{% endif %}", True),
        ("{% if not enable_thinking %}/no_think{% endif %}", True),
    ],
)
def test_a_template_tells_whether_a_model_thinks(source: str, thinks: bool) -> None:
    assert knows_thinking(source) is thinks
