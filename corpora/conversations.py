"""Conversations about tools, in OpenAI message form: the bundled model is trained and examined on them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from corpora import lexicon
from corpora.everyday import EVERYDAY
from corpora.familiar import FAMILIAR, Familiar, ask_again, ask_for, draw_familiar
from corpora.invention import Tool, draw_date, draw_value, invent_tool
from corpora.talk import draw_talk
from corpora.wording import (
    again_text,
    answer_text,
    flowing,
    join_requests,
    plain_result,
    request_text,
    retold,
)

Message = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation.

    tools: in OpenAI form.
    messages: end with the assistant. Only assistant messages are learned, except those that say `"learned":
        False`.
    """

    tools: tuple[dict[str, Any], ...]
    messages: tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class Difficulty:
    """Limits of one stage of the curriculum. Shares are probabilities."""

    most_tools: int = 5
    most_parameters: int = 4
    most_requests: int = 4
    answer_share: float = 0.5
    parallel_share: float = 0.15
    talk_share: float = 0.08
    familiar_share: float = 0.18
    plain_share: float = 0.0  # of tool results that are a sentence rather than JSON
    echo_share: float = 0.0  # of further requests that name only what is new: "and in Porto?"
    casual_share: float = 0.0  # of the talk, in small letters and without its last mark
    familiar: tuple[Familiar, ...] = FAMILIAR


WHOLE = Difficulty(
    most_requests=3,
    parallel_share=0.55,
    familiar_share=0.3,
    plain_share=0.25,
    echo_share=0.2,
    casual_share=0.25,
    familiar=EVERYDAY,
)
LONG = Difficulty(8, 4, 14, 0.5, 0.15, 0.05, 0.15)
FIRST_STEPS = Difficulty(2, 2, 5, 0.2, 0.0, 0.03, 0.15)


@dataclass(frozen=True, slots=True)
class Request:
    """One wish: the tool that serves it, its arguments in schema order, and the words.

    joint: how the words continue those of the wish before, where they depend on it.
    """

    tool: Tool
    arguments: dict[str, Any]
    text: str
    joint: str | None = None


def draw_conversation(rng: Random, level: Difficulty = Difficulty()) -> Conversation:
    """Requests among distractor tools, each answered by a call, its result, and often a text."""
    requests = [_draw_request(rng, level)]
    tools = _toolbox(rng, requests[0].tool, level)
    definitions = tuple(tool.definition() for tool in tools)
    messages: list[Message] = _opening(rng)
    if rng.random() < level.talk_share:
        question, answer = draw_talk(rng)
        if rng.random() < level.casual_share:
            question = question.lower().rstrip(".!?")
        messages += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        if rng.random() < 0.5:
            return Conversation(definitions if rng.random() < 0.8 else (), tuple(messages))
    for remaining in range(rng.randint(1, level.most_requests), 0, -1):
        if rng.random() < level.parallel_share:
            for _ in range(1 if rng.random() < 0.6 else 2):
                requests.append(_beside(rng, tools, level, requests[-1]))
        messages += _asked(rng, requests)
        if remaining > 1 or rng.random() < 0.4:
            spoken = remaining == 1 or rng.random() < level.answer_share
            messages += _results(rng, len(requests), spoken=spoken, plain_share=level.plain_share)
        requests = [_follow_up(rng, tools, level, requests[-1])]
    return Conversation(definitions, tuple(messages))


def single_turn(rng: Random, level: Difficulty = Difficulty()) -> tuple[Conversation, Request]:
    """An examination question: one request whose one right call is known. Invented tools only."""
    tool = invent_tool(rng, level.most_parameters)
    request = _request_for(rng, tool)
    tools = _toolbox(rng, tool, level)
    messages = [*_opening(rng), *_asked(rng, [request])]
    return Conversation(tuple(t.definition() for t in tools), tuple(messages)), request


def parallel_turn(rng: Random, level: Difficulty = Difficulty()) -> tuple[Conversation, list[Request]]:
    """An examination question that needs two or three calls in one turn, over invented tools."""
    tool = invent_tool(rng, level.most_parameters)
    tools = _toolbox(rng, tool, level)
    requests = [_request_for(rng, tool), *(_sibling(rng, tools) for _ in range(rng.randint(1, 2)))]
    messages = [*_opening(rng), *_asked(rng, requests)]
    return Conversation(tuple(t.definition() for t in tools), tuple(messages)), requests


def idle_turn(rng: Random, level: Difficulty = Difficulty()) -> Conversation:
    """An examination question that no tool serves: the right answer is text."""
    tools = _toolbox(rng, invent_tool(rng, level.most_parameters), level)
    question, answer = draw_talk(rng)
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return Conversation(tuple(t.definition() for t in tools), (*_opening(rng), *messages))


def _draw_request(rng: Random, level: Difficulty) -> Request:
    if rng.random() < level.familiar_share:
        return Request(*draw_familiar(rng, level.familiar))
    return _request_for(rng, invent_tool(rng, level.most_parameters))


def _request_for(rng: Random, tool: Tool) -> Request:
    given = _draw_arguments(rng, tool)
    return Request(tool, given, request_text(rng, tool, given))


def _draw_arguments(rng: Random, tool: Tool) -> dict[str, Any]:
    return {p.name: draw_value(rng, p) for p in tool.parameters if p.required or rng.random() < 0.4}


def _sibling(rng: Random, tools: Sequence[Tool]) -> Request:
    return _request_for(rng, rng.choice([t for t in tools if t.intent != t.description]))


def _beside(rng: Random, tools: Sequence[Tool], level: Difficulty, last: Request) -> Request:
    """A further request of one message."""
    leaning = _leaning(rng, level, last)
    if leaning:
        return leaning
    request = _another(rng, tools, level)
    if rng.random() >= level.echo_share:
        return request
    joint = rng.choice((" and then ", ", then ", ", and ", "; "))
    return replace(request, text=flowing(request.text), joint=joint)


def _follow_up(rng: Random, tools: Sequence[Tool], level: Difficulty, last: Request) -> Request:
    """The first request of a further message."""
    leaning = _leaning(rng, level, last)
    if leaning is None:
        return _another(rng, tools, level)
    lead = rng.choice(("And ", "And ", "and ", "", "Now ", "What about "))
    return replace(leaning, text=lead + leaning.text, joint=None)


def _leaning(rng: Random, level: Difficulty, last: Request) -> Request | None:
    """The tool of the last request once more, in words that depend on the last; mostly None."""
    if rng.random() >= level.echo_share:
        return None
    if last.tool.intent == last.tool.description:
        again = ask_again(rng, last.tool, last.arguments, last.text)
        return again and Request(last.tool, again[0], again[2], again[1])
    given = _draw_arguments(rng, last.tool)
    if not given:
        return None
    joint = rng.choice((" And ", " Then ", " Now "))
    return Request(last.tool, given, again_text(rng, last.tool, given), joint)


def _another(rng: Random, tools: Sequence[Tool], level: Difficulty) -> Request:
    """A request for one of the tools; for an everyday one only in stages whose words lean on each other."""
    known = [one for one in level.familiar if one.tool in tools]
    if not level.echo_share or not known or rng.random() < 0.5:
        return _sibling(rng, tools)
    return Request(*ask_for(rng, rng.choice(known)))


def _toolbox(rng: Random, wanted: Tool, level: Difficulty) -> list[Tool]:
    tools = {wanted.name: wanted}
    if wanted.intent == wanted.description:  # an everyday tool gets one invented neighbour
        neighbour = invent_tool(rng, level.most_parameters)
        tools.setdefault(neighbour.name, neighbour)
    for _ in range(rng.randint(0, level.most_tools - 1)):
        if rng.random() < level.familiar_share / 2:
            other = draw_familiar(rng, level.familiar)[0]
        else:
            other = invent_tool(rng, level.most_parameters)
        if other.name not in tools and other.intent.split()[0] != wanted.intent.split()[0]:
            tools[other.name] = other
    ordered = list(tools.values())
    rng.shuffle(ordered)
    return ordered


def _opening(rng: Random) -> list[Message]:
    if rng.random() < 0.6:
        return []
    name = lexicon.invented_name(rng)
    lines = (
        "You are a helpful assistant.",
        "You are a helpful assistant with tools.",
        f"You are {name}, an assistant.",
        f"You work for {name}. Use the tools.",
        f"Answer in short sentences. Today is {draw_date(rng)}.",
    )
    return [{"role": "system", "content": rng.choice(lines)}]


def _asked(rng: Random, requests: Sequence[Request]) -> list[Message]:
    text = join_requests(rng, [r.text for r in requests], [r.joint for r in requests])
    calls = [
        {
            "id": f"call_{i}",
            "type": "function",
            "function": {"name": r.tool.name, "arguments": json.dumps(r.arguments, ensure_ascii=False)},
        }
        for i, r in enumerate(requests)
    ]
    ordered = [c | {"function": _in_schema_order(r, c)} for r, c in zip(requests, calls, strict=True)]
    return [{"role": "user", "content": text}, {"role": "assistant", "content": "", "tool_calls": ordered}]


def _in_schema_order(request: Request, call: dict[str, Any]) -> dict[str, Any]:
    order = [p.name for p in request.tool.parameters if p.name in request.arguments]
    arguments = {name: request.arguments[name] for name in order}
    return {"name": call["function"]["name"], "arguments": json.dumps(arguments, ensure_ascii=False)}


def _results(rng: Random, count: int, *, spoken: bool, plain_share: float) -> list[Message]:
    pairs = [_plain_result(rng) if rng.random() < plain_share else _json_result(rng) for _ in range(count)]
    messages: list[Message] = [
        {"role": "tool", "tool_call_id": f"call_{i}", "content": content}
        for i, (content, _) in enumerate(pairs)
    ]
    if spoken:
        messages.append({"role": "assistant", "content": " ".join(answer for _, answer in pairs)})
    return messages


def _json_result(rng: Random) -> tuple[str, str]:
    result = _result(rng)
    return json.dumps(result, ensure_ascii=False), answer_text(rng, result)


def _plain_result(rng: Random) -> tuple[str, str]:
    result = plain_result(rng)
    return result, retold(rng, result)


def _result(rng: Random) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "status": rng.choice(("ok", "done", "created", "queued", "sent", lexicon.invented_word(rng))),
        "id": lexicon.identifier(rng),
        "count": rng.randint(0, 500),
        "name": lexicon.invented_name(rng),
        "temperature": rng.randint(-20, 40),
        "text": lexicon.phrase(rng),
        lexicon.invented_word(rng, 2): lexicon.invented_word(rng),
        "conditions": rng.choice(("sunny", "rain", "clouds", "snow", lexicon.invented_word(rng))),
    }
    return {key: fields[key] for key in rng.sample(list(fields), rng.randint(1, 3))}
