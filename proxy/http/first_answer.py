"""Checks a model before the server reports that it is ready: a prompt with tools, and one generated token."""

from __future__ import annotations

import asyncio
from pathlib import Path

from engine.errors import InvalidRequest
from engine.template import ChatTemplate
from proxy.conversation.errors import ContextTooLong, RequestError, StartError
from proxy.conversation.message import Message, Role
from proxy.conversation.request import ChatRequest, Sampling
from proxy.prompts.boundaries import write_prompt
from proxy.upstreams.base import UpstreamFinish
from proxy.upstreams.engine import EngineUpstream
from repair.types import ToolDefinition

_ASKED = "Hello, how warm is it in Lisbon today?"
_TOOL = ToolDefinition(
    "get_weather",
    "The weather of a city.",
    {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
)
_REQUEST = ChatRequest(
    "", (Message.of(Role.user, _ASKED),), (_TOOL,), sampling=Sampling(max_tokens=1), fork=True
)
ADAPTERS = ("adapters.safetensors", "adapter_model.safetensors", "adapter_config.json")


def template_fault(template: ChatTemplate) -> str:
    """Why no prompt with tools can be written, in one line that says what to look at; "" where one can."""
    tokens = template.encode(_ASKED)
    if not tokens or _letters(template.decode(tokens)) != _letters(_ASKED):
        return (
            "the tokenizer does not give back the text it was given: are all of its files there "
            "(tokenizer.json or tokenizer.model, tokenizer_config.json)?"
        )
    try:
        prompt = write_prompt(template, _REQUEST).plain
    except InvalidRequest as error:
        return f"no prompt with tools can be written, {error.message}"
    if _ASKED not in prompt:
        return "the model's chat template leaves out what the user says"
    return ""


def _letters(text: str) -> str:
    """The text without white space and case, in which tokenizers may differ."""
    return "".join(text.split()).casefold()


def unapplied_adapters(path: Path) -> tuple[str, ...]:
    """Files of an adapter in a model's folder: they do not change the weights that are served."""
    return tuple(name for name in ADAPTERS if (path / name).is_file())


async def answer_once(upstream: EngineUpstream, path: Path) -> None:
    """Writes a prompt with tools and has one token generated. Raises StartError, with the same reason that
    `fortieth doctor` gives.
    """
    fault = await asyncio.to_thread(template_fault, upstream.template)
    if fault:
        raise StartError(f"{path}: {fault}")
    try:
        generation = await upstream.open(_REQUEST)
        try:
            ended = [event async for event in generation if isinstance(event, UpstreamFinish)]
        finally:
            await generation.aclose()
    except ContextTooLong:  # a context this small still has room for shorter prompts
        return
    except RequestError as error:
        raise StartError(f"{path}: the model was loaded and cannot answer: {error.message}") from error
    if not ended:
        raise StartError(f"{path}: the model was loaded and its first answer did not end")
