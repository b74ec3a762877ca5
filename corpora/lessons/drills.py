"""Drills: many calls of a few nested tools or of many, and many corrections, over the same tools.

A lesson of room has a call in some 900 tokens, and one of a correction as many; here a call of a few tools
comes in some 240, one of many tools in some 360, a correction in some 540, and arguments alone in some 350.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from corpora.conversations import Conversation, Message
from corpora.lessons.corrections import KINDS, alone, case_over, dump, forms_of, tell, wanted
from corpora.lessons.handbook import CHARACTERS, opening, system_text
from corpora.lessons.nested import TOOL_TOKENS, invent_tools
from corpora.lessons.results import draw_telling
from corpora.lessons.vocabulary import LESSONS, draw_words
from corpora.world.base import Call
from corpora.world.script import to_message

_LEAST_TEXT = 1000  # of a system text and the requests behind it
_LONG_ROW = 32_768  # at which all crowds have a system text
_REQUEST_TOKENS = 170  # of a request, its call and a short result, about
_DONE = (
    ('{"status": "done"}', "Done."), ('{"ok": true}', "That is done."), ('{"success": true}', "Done."),
    ("done", "Done."), ("OK", "That is done."),
)  # fmt: skip
_QUICK = 0.6  # of the drilled calls come in lessons of many
_SEVERAL = 0.25  # of the requests ask for two or three calls at once
_JOINTS = ("\n", ". ", ". Also ", ", and then ", "; ", ".\n\nAnd ")
#: what takes the tools away ends a conversation
_DRILLED = tuple(kind for kind in KINDS if kind != "unasked_call")
#: what is hardest is drilled most
_HARD = {"block": 5, "loop": 4, "repetition": 2, "truncated": 2, "call_count": 2, "parallel": 2}
_WEIGHTS = [_HARD.get(kind, 1) for kind in _DRILLED]


def drilled_calls(rng: Random, longest: int) -> Conversation:
    """Requests over one to six nested tools: three to eight, or up to twenty that are answered in a word."""
    tools = invent_tools(rng, draw_words(rng), rng.choice((1, 2, 2, 3, 3, 4, 6)))
    messages: list[Message] = []
    if rng.random() < _QUICK:
        for number in range(rng.randint(8, 20)):
            call, said = wanted(rng, rng.choice(tools))
            messages += [{"role": "user", "content": said}, *done(rng, call, number)]
        return Conversation(tuple(one.definition() for one in tools), tuple(messages))
    for number in range(rng.randint(3, 8)):
        count = rng.randint(2, 3) if rng.random() < _SEVERAL else 1
        drawn = [wanted(rng, rng.choice(tools)) for _ in range(count)]
        messages.append({"role": "user", "content": rng.choice(_JOINTS).join(said for _, said in drawn)})
        messages += called(rng, [call for call, _ in drawn], number)
    return Conversation(tuple(one.definition() for one in tools), tuple(messages))


def drilled_crowd(rng: Random, longest: int) -> Conversation:
    """As many requests as fit over six to forty-eight nested tools that share their words, some behind a long
    system text. Every tool is asked for before one comes again.
    """
    count = max(4, min(int(6 * 8 ** rng.random()), int(longest * 0.65 / TOOL_TOKENS)))
    tools = invent_tools(rng, draw_words(rng), count)
    rest = int(longest * rng.uniform(0.5, 1.0)) - count * TOOL_TOKENS
    messages: list[Message] = []
    if rest > _LEAST_TEXT and rng.random() < longest / _LONG_ROW:
        text = int(rest * rng.uniform(0.2, 0.8))
        messages.append({"role": "system", "content": system_text(rng, LESSONS, int(text * CHARACTERS))})
        rest -= text
    order = rng.sample(tools, len(tools)) * 8
    for number, tool in enumerate(order[: max(4, min(40, rest // _REQUEST_TOKENS))]):
        call, said = wanted(rng, tool)
        messages.append({"role": "user", "content": said})
        messages += called(rng, [call], number) if rng.random() < 0.1 else done(rng, call, number)
    return Conversation(tuple(one.definition() for one in tools), tuple(messages))


def done(rng: Random, call: Call, number: int) -> list[Message]:
    """The call, a result that says nothing but that it was done, and as few words."""
    key, words = rng.choice(_DONE)
    result: Message = {"role": "tool", "tool_call_id": f"call_{number}", "content": key}
    return [to_message((call,), [f"call_{number}"]), result, {"role": "assistant", "content": words}]


def drilled_corrections(rng: Random, longest: int) -> Conversation:
    """Up to six refused attempts over the same tools, each behind its request, and what was due."""
    tools = invent_tools(rng, draw_words(rng), rng.randint(2, 4))
    messages: list[Message] = []
    for number in range(rng.randint(3, 6)):
        case, kind = case_over(rng, tools), rng.choices(_DRILLED, _WEIGHTS)[0]
        if (refused := KINDS[kind](rng, case)) is not None:  # not every tool has an enum, say
            messages += tell(case, refused, kind, rng.choice(forms_of(kind))).messages
            messages += called(rng, refused.due, number)
    if not messages:
        return drilled_calls(rng, longest)
    return Conversation(tuple(one.definition() for one in tools), tuple(messages))


def drilled_arguments(rng: Random, longest: int) -> Conversation:
    """Three to six requests over tools that the model is not shown, and behind each one the guard's request
    for the arguments of its call alone.
    """
    tools = invent_tools(rng, draw_words(rng), rng.randint(2, 4))
    messages: list[Message] = opening(rng, rng.choice((0, 0, 0, 600)))
    for _ in range(rng.randint(3, 6)):
        asked = alone(case_over(rng, tools), "", may_answer=rng.random() < 0.5)
        messages += [*asked.messages, {"role": "assistant", "content": dump(asked.due[0].arguments)}]
    return Conversation((), tuple(messages))


def called(rng: Random, calls: Sequence[Call], number: int) -> list[Message]:
    """The calls, what they came to, and words for the last of it."""
    ids = [f"call_{number}_{index}" for index in range(len(calls))]
    tellings = [draw_telling(rng, LESSONS) for _ in calls]
    results: list[Message] = [
        {"role": "tool", "tool_call_id": id, "content": telling.content}
        for id, telling in zip(ids, tellings, strict=True)
    ]
    words = " ".join(telling.reply for telling in tellings)
    return [to_message(tuple(calls), ids), *results, {"role": "assistant", "content": words}]
