"""The thinking budget of a request, as the tokens with which the engine closes the reasoning block."""

from __future__ import annotations

from dataclasses import replace

from engine.template import ChatTemplate, Rendered
from engine.types import ThinkingLimit
from proxy.conversation.request import ChatRequest
from repair.dialect import dialect
from repair.formats import AUTO, Wire
from repair.reasoning import left_open

_SWITCH = "enable_thinking"


def knows_thinking(source: str) -> bool:
    """Whether a chat template has a place for thinking, or a switch. source: of the template."""
    markers = dialect(AUTO, ()).reasoning
    return _SWITCH in source or any(one in source and closer in source for one, closer in markers.items())


def limit_thinking(
    template: ChatTemplate, format: str | Wire, rendered: Rendered, asked: ChatRequest
) -> tuple[Rendered, ThinkingLimit | None]:
    """The prompt and the thinking limit; no limit where the model would not think.

    Where the template leaves it to the model to open the block, as templates do that can switch thinking on
    and off, the block is opened in the prompt: otherwise thinking could not be told from answering while
    tokens are chosen.
    """
    if asked.thinking_budget is None:
        return rendered, None
    markers = dialect(format, ()).reasoning
    prompt = rendered.generation_prompt
    opened = left_open(prompt, markers.items())
    if opened or any(opener in prompt for opener in markers):
        return rendered, _limit(template, asked.thinking_budget, opened) if opened else None
    switched_off = asked.template_options.get(_SWITCH) is False
    if _SWITCH not in template.source or switched_off:
        return rendered, None
    for opener, closer in markers.items():
        if opener in template.source and closer in template.source:
            begun = f"{opener}\n"
            begins = replace(
                rendered,
                tokens=rendered.tokens + template.encode(begun),
                text=rendered.text + begun,
                generation_prompt=prompt + begun,
            )
            return begins, _limit(template, asked.thinking_budget, closer)
    return rendered, None


def _limit(template: ChatTemplate, budget: int, closer: str) -> ThinkingLimit:
    return ThinkingLimit(budget, template.encode(closer))
