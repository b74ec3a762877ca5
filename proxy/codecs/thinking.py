"""What a request says about the model's thinking, under the names that the field has for it.

Local servers and their clients send `enable_thinking`, `thinking_budget` (Qwen) or `thinking_token_budget`
(vLLM), plain or in `chat_template_kwargs`; OpenAI's send `reasoning_effort`; routers send an object
`reasoning` (effort, max_tokens, enabled, exclude) and `include_reasoning`; others an object `thinking` (type,
budget_tokens). Of the two objects a value of another type is no reason to end an agent's run: it is ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from proxy.codecs.fields import Fields

_MAX_BUDGET = 2**53
_TYPES = {"enabled": True, "disabled": False}
# The renderer's own arguments: a client that could set them would change what is rendered, not how.
_RESERVED_OPTIONS = frozenset(
    "self conversation messages tools documents chat_template add_generation_prompt continue_final_message "
    "tokenize padding truncation max_length return_tensors return_dict return_assistant_tokens_mask "
    "sanitize_control_tokens tokenizer_kwargs".split()
)


@dataclass(frozen=True, slots=True)
class Thinking:
    """options: for the chat template. budget: tokens, None is no limit. shown: whether the client wants to
    see it.
    """

    options: Mapping[str, Any]
    budget: int | None
    shown: bool


def decode_thinking(body: Fields) -> Thinking:
    """What stands in chat_template_kwargs goes before what stands elsewhere. Raises BadRequest."""
    reasoning, thinking = _object(body, "reasoning"), _object(body, "thinking")
    kwargs = body.object("chat_template_kwargs")
    options = {key: value for key, value in kwargs.values.items() if key not in _RESERVED_OPTIONS}
    effort = body.string("reasoning_effort") or reasoning.string("effort")
    budget = _budget(
        (body, "thinking_budget"),
        (body, "thinking_token_budget"),
        (kwargs, "thinking_budget"),
        (thinking, "budget_tokens"),
        (reasoning, "max_tokens"),
    )
    enabled = _enabled(body, reasoning, thinking)
    if enabled is None and (effort == "none" or budget == 0):
        enabled = False
    if enabled is not None:
        options.setdefault("enable_thinking", enabled)
    if effort and effort != "none":
        options.setdefault("reasoning_effort", effort)
    shown = body.boolean("include_reasoning", True) and not reasoning.boolean("exclude")
    return Thinking(options, budget, shown)


def _object(body: Fields, key: str) -> Fields:
    value = body.values.get(key)
    return Fields(value if isinstance(value, dict) else {}, key)


def _enabled(body: Fields, reasoning: Fields, thinking: Fields) -> bool | None:
    for fields, key in ((body, "enable_thinking"), (reasoning, "enabled")):
        if fields.values.get(key) is not None:
            return fields.boolean(key)
    return _TYPES.get(thinking.string("type"))


def _budget(*places: tuple[Fields, str]) -> int | None:
    """A negative one means "no limit" to those who invented it."""
    for fields, key in places:
        budget = fields.integer(key, -1, _MAX_BUDGET)
        if budget is not None:
            return None if budget < 0 else budget
    return None
