"""The thinking budget of a request, as the tokens by which the engine closes the block."""

from __future__ import annotations

from dataclasses import replace

from engine.template import ChatTemplate, Rendered
from engine.types import ThinkingLimit
from proxy.chat import ChatRequest
from repair.dialect import dialect

_SWITCH = "enable_thinking"


def limit_thinking(
    template: ChatTemplate, format: str, rendered: Rendered, asked: ChatRequest
) -> tuple[Rendered, ThinkingLimit | None]:
    """The prompt and the limit; no limit where the model would not think.

    Where the template leaves the block to the model, as those do that can switch thinking on and off, the
    block is opened in the prompt: else nobody could tell thinking from answering while tokens are chosen.
    """
    if asked.thinking_budget is None:
        return rendered, None
    markers = dialect(format, ()).reasoning
    prompt = rendered.generation_prompt
    for opener, closer in markers.items():
        at = prompt.rfind(opener)
        if at >= 0:
            return rendered, None if closer in prompt[at:] else _limit(
                template, asked.thinking_budget, closer
            )
    switched_off = asked.template_options.get(_SWITCH) is False
    if _SWITCH not in template.source or switched_off:
        return rendered, None
    for opener, closer in markers.items():
        if closer in template.source:
            begun = f"{opener}\n"
            opened = replace(
                rendered,
                tokens=rendered.tokens + template.encode(begun),
                text=rendered.text + begun,
                generation_prompt=prompt + begun,
            )
            return opened, _limit(template, asked.thinking_budget, closer)
    return rendered, None


def _limit(template: ChatTemplate, budget: int, closer: str) -> ThinkingLimit:
    return ThinkingLimit(budget, template.encode(closer))
