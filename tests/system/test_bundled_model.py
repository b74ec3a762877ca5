"""The main job, end to end: the bundled model behind the real command, driven by the real openai SDK."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import subprocess
from typing import Any

import httpx
import jsonschema_rs
import openai
import pytest
from openai.types.chat import ChatCompletionMessageFunctionToolCall

from corpora.exam import examine
from corpora.examinations.parts import PARTS
from corpora.examinations.run import answer_all
from corpora.questions import EXAM_SEED, questions, unseen
from corpora.world.driver import Asking
from tests.system.conftest import Served

CLIENTS = 20
REQUESTS = questions(CLIENTS, seed=77)


def schema_of(tools: tuple[dict[str, Any], ...], name: str) -> dict[str, Any]:
    """The parameters' schema of a declared tool; KeyError for another."""
    schemas: dict[str, dict[str, Any]] = {t["function"]["name"]: t["function"]["parameters"] for t in tools}
    return schemas[name]


async def streamed_call(client: openai.AsyncOpenAI, body: dict[str, Any]) -> tuple[str, str]:
    """Name and arguments of the one call of a streamed answer."""
    name = arguments = ""
    finish = None
    stream = await client.chat.completions.create(**body, stream=True)
    async for chunk in stream:
        for choice in chunk.choices:
            finish = choice.finish_reason or finish
            for delta in choice.delta.tool_calls or []:
                assert delta.index == 0
                assert delta.function is not None
                name += delta.function.name or ""
                arguments += delta.function.arguments or ""
    assert finish == "tool_calls"
    return name, arguments


async def loop_once(client: openai.AsyncOpenAI, number: int) -> bool:
    """Request, call (streaming or not), result, final text. Whether the model made a call at all."""
    conversation, _ = REQUESTS[number]
    messages = list(conversation.messages[:-1])
    body: dict[str, Any] = {
        "model": "fortieth-tiny",
        "messages": messages,
        "tools": list(conversation.tools),
        "temperature": 0,
    }
    answer = await client.chat.completions.create(**body)
    choice = answer.choices[0]
    if choice.finish_reason != "tool_calls":
        assert choice.message.content
        assert not choice.message.tool_calls
        return False
    assert choice.message.tool_calls
    call = choice.message.tool_calls[0]
    assert isinstance(call, ChatCompletionMessageFunctionToolCall)
    jsonschema_rs.validate(
        schema_of(conversation.tools, call.function.name), json.loads(call.function.arguments)
    )
    if len(choice.message.tool_calls) == 1:
        assert await streamed_call(client, body) == (call.function.name, call.function.arguments)
    results = [
        {"role": "tool", "tool_call_id": made.id, "content": '{"status": "ok", "code": 417}'}
        for made in choice.message.tool_calls
    ]
    messages = [*messages, choice.message.model_dump(exclude_none=True), *results]
    last = await client.chat.completions.create(**{**body, "messages": messages})
    assert last.choices[0].finish_reason == "stop"
    assert "417" in (last.choices[0].message.content or "")
    return True


async def test_twenty_clients_call_unseen_tools_and_get_a_final_text(server: Served) -> None:
    async with openai.AsyncOpenAI(base_url=server.base_url, api_key="none", max_retries=0) as client:
        made = await asyncio.gather(*(loop_once(client, n) for n in range(CLIENTS)))
    assert sum(made) >= 0.8 * CLIENTS


def test_the_curl_line_of_the_banner_works(server: Served) -> None:
    command = server.banner.split("try it:")[1].replace("\\\n", " ")
    ran = subprocess.run([*shlex.split(command), "-sS"], capture_output=True, text=True, check=True)
    message = json.loads(ran.stdout)["choices"][0]["message"]
    call = message["tool_calls"][0]["function"]
    assert (call["name"], json.loads(call["arguments"])) == ("get_weather", {"city": "Lisbon"})


async def test_a_slice_of_the_examination(server: Served) -> None:
    """docs/model.md has the whole one; this slice notices a broken template, tokenizer or weights."""
    marks = await examine(server.base_url, unseen(40))
    assert sum(m.valid for m in marks) >= 0.9 * len(marks)
    assert sum(m.exact for m in marks) >= 0.85 * len(marks)


@pytest.mark.parametrize(
    ("part", "due"), [("results", 0.8), ("toolless", 0.9), ("unserved", 0.9), ("corrections", 0.5)]
)
async def test_a_slice_of_its_manners(server: Served, part: str, due: float) -> None:
    items = PARTS[part].draw(20, EXAM_SEED)
    given = await answer_all(server.base_url, items, Asking(max_tokens=PARTS[part].max_tokens), 4)
    flaws = [one.flaw for one in given if one.flaw]
    assert len(flaws) <= (1 - due) * len(given), flaws


async def test_a_custom_tool_is_held_to_its_grammar_from_the_first_token_on(server: Served) -> None:
    """The model has never seen such a text, and has to put line breaks and quotes into its JSON."""
    step = 'step: ("left" | "right") " " /[1-9][0-9]?/ LF'
    lark = f'start: step step? step? step? "say \\"done\\"" LF\n{step}\n%import common.LF\n'
    grammar = {"type": "grammar", "syntax": "lark", "definition": lark}
    tool = {"type": "custom", "name": "steer", "description": "Steers the robot.", "format": grammar}
    body = {
        "model": "fortieth-tiny",
        "tools": [tool],
        "tool_choice": {"type": "custom", "name": "steer"},
    }
    async with httpx.AsyncClient(base_url=server.base_url, timeout=120) as client:
        for number in range(3):
            answer = await client.post("/responses", json=body | {"input": f"Go left {number + 1} steps."})
            (item,) = [one for one in answer.json()["output"] if one["type"] == "custom_tool_call"]
            assert re.fullmatch(r'((left|right) [1-9][0-9]?\n)+say "done"\n', item["input"]), item
            assert answer.headers["x-fortieth-attempts"] == "1"
