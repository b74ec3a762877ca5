"""The parts of the examination: what is asked, and what is wrong with an answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from corpora.conversations import Message
from corpora.examinations.chat import draw_message
from corpora.examinations.rules import quiet_flaw, sentence_flaw
from corpora.lessons.corrections import KINDS, Corrected, Form, draw_correction, forms_of
from corpora.lessons.examined import EXAMINED
from corpora.lessons.handbook import system_text
from corpora.lessons.nested import draw_arguments, invent_tools, say_request
from corpora.lessons.results import TELLINGS, draw_telling, lookup_tool
from corpora.questions import EXAM_SEED, held_out
from corpora.world.base import Call
from corpora.world.driver import Answer
from corpora.world.score import Judge, Kind, refuse_constant, same
from corpora.world.script import to_message

SYSTEM_CHARACTERS = 14_200  # about 8,000 tokens of the bundled model
NESTED_TOOLS = 40
PER_PROMPT = 50  # questions behind one system text, so that a prefix cache can help

Flaw = Callable[[Answer], str]


@dataclass(frozen=True, slots=True)
class Item:
    """One request. kind: its row in the table. flaw: what is wrong with an answer, "" where nothing is."""

    kind: str
    tools: tuple[Mapping[str, Any], ...]
    messages: tuple[Message, ...]
    flaw: Flaw


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the examination. bar: the share of right answers that is aimed at."""

    title: str
    count: int
    bar: float
    max_tokens: int
    draw: Callable[[int, int], list[Item]]


def due_flaw(judge: Judge, due: tuple[Call, ...]) -> Flaw:
    """Wrong is every answer that is not exactly these calls, or no words where none are due."""

    def flaw(answer: Answer) -> str:
        judged = judge.judge(due, answer.message, answer.finish)
        return f"{judged.kind}: {judged.flaw}" if judged.kind not in (Kind.exact, Kind.spoken) else ""

    return flaw


def nested(count: int, seed: int = EXAM_SEED) -> list[Item]:
    """One call of one of 40 unseen nested tools, behind a system text of 8,000 tokens."""
    tools = list(invent_tools(held_out(0, seed + 20), EXAMINED, NESTED_TOOLS))
    judge = Judge([one.definition() for one in tools])
    items: list[Item] = []
    for group in range(-(-count // PER_PROMPT)):
        opening = system_text(held_out(group, seed + 22), EXAMINED, SYSTEM_CHARACTERS)
        ordered = held_out(group, seed + 23).sample(tools, len(tools))
        definitions = tuple(one.definition() for one in ordered)
        for number in range(group * PER_PROMPT, min(count, (group + 1) * PER_PROMPT)):
            rng, wanted = held_out(number, seed + 21), tools[number % len(tools)]
            arguments = draw_arguments(rng, wanted.fields)
            said = say_request(rng, wanted, arguments)
            messages = ({"role": "system", "content": opening}, {"role": "user", "content": said})
            due = (Call(wanted.name, arguments),)
            items.append(Item("a call", definitions, messages, due_flaw(judge, due)))
    return items


def results(count: int, seed: int = EXAM_SEED) -> list[Item]:
    """A result is to be put into words: fields, one field of many, a text, an error, nothing."""
    items = []
    for number in range(count):
        rng, kind = held_out(number, seed + 24), list(TELLINGS)[number % len(TELLINGS)]
        telling = draw_telling(rng, EXAMINED, kind)
        tools = (lookup_tool(telling.noun),)
        messages = (
            {"role": "user", "content": telling.request},
            to_message((Call(f"get_{telling.noun}", telling.arguments),), ["call_0"]),
            {"role": "tool", "tool_call_id": "call_0", "content": telling.content},
        )
        items.append(Item(kind, tools, messages, _words_flaw(telling.values)))
    return items


def _words_flaw(values: Sequence[Sequence[str]]) -> Flaw:
    def flaw(answer: Answer) -> str:
        if answer.message.get("tool_calls"):
            return "a call"
        if answer.finish != "stop":
            return "no end"
        return sentence_flaw(str(answer.message.get("content") or ""), values)

    return flaw


def toolless(count: int, seed: int = EXAM_SEED) -> list[Item]:
    """A message without tools: words, and an end."""
    return [_quiet(held_out(number, seed + 25), "without tools", ()) for number in range(count)]


def unserved(count: int, seed: int = EXAM_SEED) -> list[Item]:
    """A message that none of the tools serves."""
    items = []
    for number in range(count):
        rng = held_out(number, seed + 26)
        tools = tuple(one.definition() for one in invent_tools(rng, EXAMINED, rng.randint(1, 8)))
        items.append(_quiet(rng, "no tool serves it", tools))
    return items


def _quiet(rng: Random, kind: str, tools: tuple[Mapping[str, Any], ...]) -> Item:
    def flaw(answer: Answer) -> str:
        return quiet_flaw(answer.message, answer.finish, answer.completion_tokens)

    opening = ({"role": "system", "content": "You are a helpful assistant."},) if rng.random() < 0.5 else ()
    return Item(kind, tools, (*opening, {"role": "user", "content": draw_message(rng)}), flaw)


def corrections(count: int, seed: int = EXAM_SEED) -> list[Item]:
    """A refused attempt is to be mended: every kind of message, in every form that it can have."""
    ways = [(kind, form) for kind in KINDS for form in forms_of(kind)]
    ways += [("arguments alone", Form.alone)]
    items = []
    for number in range(count):
        kind, form = ways[number % len(ways)]
        drawn = draw_correction(held_out(number, seed + 27), EXAMINED, kind, form)
        items.append(Item(f"{kind} ({drawn.form})", drawn.tools, drawn.messages, _mended(drawn)))
    return items


def _mended(drawn: Corrected) -> Flaw:
    if drawn.form is not Form.alone:
        return due_flaw(Judge(drawn.tools), drawn.due)

    def flaw(answer: Answer) -> str:
        try:
            value = json.loads(str(answer.message.get("content") or ""), parse_constant=refuse_constant)
        except (ValueError, RecursionError):
            return "no JSON"
        return "" if same(value, drawn.due[0].arguments) else "other arguments"

    return flaw


PARTS: Mapping[str, Part] = {
    "nested": Part("one of 40 unseen nested tools behind 8,000 tokens", 200, 0.85, 512, nested),
    "results": Part("results to put into words", 100, 0.95, 256, results),
    "toolless": Part("messages without tools", 100, 1.0, 80, toolless),
    "unserved": Part("messages that no tool serves", 100, 1.0, 80, unserved),
    "corrections": Part("corrections, mended at the first re-ask", 350, 0.9, 512, corrections),
}
