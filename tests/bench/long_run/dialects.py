"""One turn of an agent in each of the three APIs, asked by the official SDKs and read into one shape."""

from __future__ import annotations

import importlib
import importlib.util
import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import anthropic
import openai

from proxy.ab.client import AnswerInPieces, StreamedAnswer

TIMEOUT_S = 600.0  # of a socket; how long an agent waits is the agent's own affair
# The SDKs stand on httpx or on httpx2, by their version, whose errors come through in the middle of a stream.
TRANSPORT_ERRORS: tuple[type[Exception], ...] = tuple(
    importlib.import_module(name).HTTPError for name in ("httpx", "httpx2") if importlib.util.find_spec(name)
)
_STOPS = {"tool_use": "tool_calls", "end_turn": "stop", "stop_sequence": "stop", "max_tokens": "length"}


@dataclass(frozen=True, slots=True)
class TurnRequest:
    """What an agent asks for. messages, tools: in OpenAI's form of chat completions."""

    model: str
    messages: Sequence[Mapping[str, Any]]
    tools: Sequence[Mapping[str, Any]]
    stream: bool
    temperature: float
    max_tokens: int = 256
    headers: Mapping[str, str] = field(default_factory=dict)


class FailedResponse(Exception):
    """A response of the Responses API that says that it failed, and why."""


class Sdks:
    """Both SDKs for one server. They ask again of themselves for nothing."""

    def __init__(self, port: int) -> None:
        where = f"http://127.0.0.1:{port}"
        given: Any = {"api_key": "none", "max_retries": 0, "timeout": TIMEOUT_S}
        self.openai: Any = openai.AsyncOpenAI(base_url=f"{where}/v1", **given)
        self.anthropic: Any = anthropic.AsyncAnthropic(base_url=where, **given)

    async def close(self) -> None:
        await self.openai.close()
        await self.anthropic.close()


async def ask_chat(sdks: Sdks, asked: TurnRequest) -> StreamedAnswer:
    """A chat completion; without a finish reason where the stream ended early. Raises what SDKs raise."""
    given = {
        "model": asked.model,
        "messages": list(asked.messages),
        "tools": list(asked.tools),
        "temperature": asked.temperature,
        "max_tokens": asked.max_tokens,
        "extra_headers": dict(asked.headers),
    }
    answer = AnswerInPieces(time.perf_counter())
    if not asked.stream:
        whole = (await sdks.openai.chat.completions.create(**given)).to_dict()
        for choice in whole["choices"]:
            choice["delta"] = choice["message"]
        answer.take_event(whole)
        return answer.answer()
    async with await sdks.openai.chat.completions.create(**given, stream=True) as stream:
        async for event in stream:
            answer.take_event(event.to_dict())
    return answer.answer()


async def ask_messages(sdks: Sdks, asked: TurnRequest) -> StreamedAnswer:
    """The same of the Messages API."""
    system, messages = to_messages(asked.messages)
    tools = [
        {
            "name": tool["function"]["name"],
            "description": tool["function"].get("description", ""),
            "input_schema": tool["function"]["parameters"],
        }
        for tool in asked.tools
    ]
    given = {
        "model": asked.model,
        "messages": messages,
        "tools": tools,
        "max_tokens": asked.max_tokens,
        "extra_headers": dict(asked.headers),
        "extra_body": {"temperature": asked.temperature},  # this SDK has no name for it any more
        **({"system": system} if system else {}),
    }
    if asked.stream:
        async with sdks.anthropic.messages.stream(**given) as stream:
            async for _ in stream:
                pass
            message = await stream.get_final_message()
    else:
        message = await sdks.anthropic.messages.create(**given)
    text = "".join(block.text for block in message.content if block.type == "text")
    calls = [
        (block.id, block.name, json.dumps(block.input))
        for block in message.content
        if block.type == "tool_use"
    ]
    return _answer(text, calls, _STOPS.get(message.stop_reason or "", message.stop_reason or ""))


async def ask_responses(sdks: Sdks, asked: TurnRequest) -> StreamedAnswer:
    """The same of the Responses API."""
    tools = [{"type": "function", **tool["function"], "strict": False} for tool in asked.tools]
    given = {
        "model": asked.model,
        "input": to_items(asked.messages),
        "tools": tools,
        "temperature": asked.temperature,
        "max_output_tokens": asked.max_tokens,
        "extra_headers": dict(asked.headers),
    }
    if not asked.stream:
        response = await sdks.openai.responses.create(**given)
    else:
        response = None
        async with await sdks.openai.responses.create(**given, stream=True) as stream:
            async for event in stream:
                if event.type in ("response.completed", "response.incomplete", "response.failed"):
                    response = event.response
    return StreamedAnswer() if response is None else _response_answer(response)


def _response_answer(response: Any) -> StreamedAnswer:
    """A response as the other two answers. Raises FailedResponse."""
    if response.status == "failed":
        raise FailedResponse(response.error.message)
    items = response.output
    text = "".join(part.text for item in items if item.type == "message" for part in item.content)
    calls = [(item.call_id, item.name, item.arguments) for item in items if item.type == "function_call"]
    ended = {"completed": "tool_calls" if calls else "stop", "incomplete": "length"}
    return _answer(text, calls, ended.get(response.status, ""))


def _answer(text: str, calls: Sequence[tuple[str, str, str]], finish: str) -> StreamedAnswer:
    written = tuple(
        {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}
        for id, name, arguments in calls
    )
    return StreamedAnswer(text, written, finish)


def to_messages(messages: Sequence[Mapping[str, Any]]) -> tuple[str, list[dict[str, Any]]]:
    """The system prompt and the messages as the Messages API has them: results of calls are the user's."""
    system, made = "", list[dict[str, Any]]()
    for message in messages:
        match message["role"]:
            case "system":
                system += message["content"]
            case "tool":
                result = {
                    "type": "tool_result",
                    "tool_use_id": message["tool_call_id"],
                    "content": message["content"],
                }
                if made and made[-1]["role"] == "user" and isinstance(made[-1]["content"], list):
                    made[-1]["content"].append(result)
                else:
                    made.append({"role": "user", "content": [result]})
            case "assistant":
                blocks = _blocks(message)
                made += [{"role": "assistant", "content": blocks}] if blocks else []
            case _:
                made.append({"role": message["role"], "content": message["content"]})
    return system, made


def _blocks(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What an assistant said. Arguments that are no object cannot be sent back, and are left out."""
    text = message.get("content") or ""
    blocks: list[dict[str, Any]] = [{"type": "text", "text": text}] if text.strip() else []
    for call in message.get("tool_calls") or ():
        try:
            value = json.loads(call["function"]["arguments"])
        except ValueError:
            value = {}
        held = value if isinstance(value, dict) else {}
        blocks.append({"type": "tool_use", "id": call["id"], "name": call["function"]["name"], "input": held})
    return blocks


def to_items(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The messages as items of the Responses API."""
    items: list[dict[str, Any]] = []
    for message in messages:
        if message["role"] == "tool":
            result = {"call_id": message["tool_call_id"], "output": message["content"]}
            items.append({"type": "function_call_output", **result})
            continue
        if message.get("content"):
            items.append({"role": message["role"], "content": message["content"]})
        items += [
            {"type": "function_call", "call_id": call["id"], **call["function"]}
            for call in message.get("tool_calls") or ()
        ]
    return items


DIALECTS: Mapping[str, Callable[[Sdks, TurnRequest], Awaitable[StreamedAnswer]]] = {
    "chat": ask_chat,
    "messages": ask_messages,
    "responses": ask_responses,
}
