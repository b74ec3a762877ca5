"""Draws one lesson of a last stage, as a conversation: which kinds there are, and how often each comes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from random import Random

from corpora.conversations import Conversation, Message
from corpora.lessons.chatter import draw_chatter, draw_unserved
from corpora.lessons.closings import closings
from corpora.lessons.corrections import KINDS, Form, draw_correction, forms_of
from corpora.lessons.drills import drilled_arguments, drilled_calls, drilled_corrections, drilled_crowd
from corpora.lessons.errands import errands
from corpora.lessons.examined import HELD_OUT
from corpora.lessons.handbook import CHARACTERS, opening, system_text, with_reminder
from corpora.lessons.nested import TOOL_TOKENS, draw_arguments, invent_tools, say_request
from corpora.lessons.results import TELLINGS, draw_telling, lookup_tool, plain_words
from corpora.lessons.titles import titled
from corpora.lessons.vocabulary import LESSONS, draw_words
from corpora.talk import draw_talk
from corpora.workshop import WORKSHOPS
from corpora.world.base import Call
from corpora.world.script import to_conversation, to_message, write_script

_MOST_TOOLS = 60
_TURN_TOKENS = 330  # of a tool turn of the workshop, about
_TOLD = {"fields": 4, "asked": 2}  # how often these kinds of results come, where others come once
_DRESSED = 0.6  # of the lessons that have an agent's system text


def draw_lesson(rng: Random, longest: int, mix: str = "agents") -> Conversation:
    """A conversation of about `longest` tokens at most, without a word of the examination. Shares are of
    lessons, not of tokens: those of the workshop and of room are the long ones.

    mix: one of MIXES.
    """
    shares = MIXES[mix]
    kinds = list(shares)
    while True:
        lesson = rng.choices(kinds, [shares[one] for one in kinds])[0](rng, longest)
        if HELD_OUT.isdisjoint(re.findall(r"[a-z]+", str(lesson).lower())):  # syllables make one by chance
            return lesson


def room(rng: Random, longest: int) -> Conversation:
    """A few requests over many nested tools, behind a long system text."""
    tokens = _length(rng, longest)
    count = max(1, min(_MOST_TOOLS, int(tokens * rng.uniform(0.1, 0.6) / TOOL_TOKENS)))
    tools = invent_tools(rng, draw_words(rng), count)
    rest = max(100, tokens - count * TOOL_TOKENS)
    messages = opening(rng, int(rest * rng.uniform(0.3, 0.9) * CHARACTERS))
    for number in range(rng.randint(1, 6)):
        if rng.random() < 0.2:
            text, reply = draw_chatter(rng)
            messages += [{"role": "user", "content": text}, {"role": "assistant", "content": reply}]
        tool = rng.choice(tools)
        arguments = draw_arguments(rng, tool.fields)
        said = say_request(rng, tool, arguments)
        messages.append({"role": "user", "content": with_reminder(rng, said)})
        messages.append(to_message((Call(tool.name, arguments),), [f"call_{number}"]))
        telling = draw_telling(rng, LESSONS)
        answer = {"role": "tool", "tool_call_id": f"call_{number}", "content": telling.content}
        messages += [answer, {"role": "assistant", "content": telling.reply}]
    return Conversation(tuple(one.definition() for one in tools), tuple(messages))


def workshop(rng: Random, longest: int) -> Conversation:
    """A loop of an agent over a project."""
    tokens = _length(rng, longest)
    turns = max(1, int(tokens * 0.8 / _TURN_TOKENS))
    script = write_script(rng, rng.choice(WORKSHOPS), turns, system="")
    played = to_conversation(script)
    messages = [{"role": "system", "content": script.toolbox.purpose}]
    if rng.random() < _DRESSED:
        messages = opening(rng, int(tokens * 0.2 * CHARACTERS), script.toolbox.purpose)
    for one in played.messages:
        said = one["role"] == "user"
        messages.append(one | {"content": with_reminder(rng, one["content"])} if said else one)
    return Conversation(played.tools, tuple(messages))


def words(rng: Random, longest: int) -> Conversation:
    """Results are put into words."""
    messages, tools = opening(rng, rng.choice((0, 0, 300))), dict[str, Mapping[str, object]]()
    kinds = rng.choices(list(TELLINGS), [_TOLD.get(kind, 1) for kind in TELLINGS], k=rng.randint(1, 5))
    for number, kind in enumerate(kinds):
        telling = draw_telling(rng, LESSONS, kind)
        tools[telling.noun] = lookup_tool(telling.noun)
        messages += [
            {"role": "user", "content": telling.request},
            to_message((Call(f"get_{telling.noun}", telling.arguments),), [f"call_{number}"]),
            {"role": "tool", "tool_call_id": f"call_{number}", "content": telling.content},
            {"role": "assistant", "content": telling.reply},
        ]
    return Conversation(tuple(map(dict, tools.values())), tuple(messages))


def quiet(rng: Random, longest: int) -> Conversation:
    """Nothing is to be called: there are no tools, or none serves."""
    tools = invent_tools(rng, draw_words(rng), rng.randint(1, 8)) if rng.random() < 0.5 else ()
    messages = opening(rng, rng.choice((0, 0, 300, 3000, min(12_000, longest))))
    for _ in range(rng.randint(1, 3)):
        drawn = rng.choices((draw_chatter, draw_talk, draw_unserved), (6, 2, 3))[0]
        text, reply = drawn(rng)
        messages += [{"role": "user", "content": text}, {"role": "assistant", "content": reply}]
    return Conversation(tuple(one.definition() for one in tools), tuple(messages))


def corrected(rng: Random, longest: int) -> Conversation:
    """A refused attempt, the guard's message, and what is due; only that is learned."""
    kind = rng.choice(list(KINDS))
    form = Form.alone if rng.random() < 0.1 else rng.choice(forms_of(kind))
    drawn = draw_correction(rng, draw_words(rng), kind, form)
    messages = [*opening(rng, rng.choice((0, 0, 0, 600))), *drawn.messages]
    if drawn.form is Form.alone:
        arguments = json.dumps(drawn.due[0].arguments, ensure_ascii=False)
        due: Message = {"role": "assistant", "content": arguments}
    elif drawn.due:
        due = to_message(drawn.due, [f"due_{i}" for i in range(len(drawn.due))])
    else:
        due = {"role": "assistant", "content": rng.choice(("I can call nothing now.", "That is all I know."))}
    return Conversation(tuple(map(dict, drawn.tools)), (*messages, due))


def _length(rng: Random, longest: int) -> int:
    """Tokens of a lesson: all lengths up to the longest, short ones more often."""
    return int(longest * rng.uniform(0.05, 1.0) ** 1.5)


def pasted(rng: Random, longest: int) -> Conversation:
    """A long text of the user, and a question whose answer stands in it."""
    text = system_text(rng, LESSONS, int(_length(rng, longest) * CHARACTERS))
    key, value = plain_words(rng), plain_words(rng)
    lines = text.split("\n")
    lines.insert(rng.randrange(len(lines)), f"The password of {key} is {value}.")
    asked = "\n".join(lines) + f"\n\nWhat is the password of {key}?"
    answer = f"The password of {key} is {value}."
    return Conversation((), ({"role": "user", "content": asked}, {"role": "assistant", "content": answer}))


#: shares of the lessons, by the course in which they are taught
MIXES: Mapping[str, Mapping[Callable[[Random, int], Conversation], int]] = {
    "agents": {room: 20, workshop: 14, words: 18, quiet: 26, corrected: 19, pasted: 3},
    "drills": {
        drilled_calls: 34, drilled_corrections: 22, corrected: 8, room: 10, workshop: 6, words: 8, quiet: 11,
        pasted: 1,
    },
    "crowds": {
        drilled_crowd: 26, drilled_calls: 12, drilled_corrections: 26, corrected: 14, room: 3, workshop: 5,
        words: 6, quiet: 8,
    },
    "errands": {
        errands: 28, drilled_arguments: 8, drilled_crowd: 18, drilled_calls: 4, drilled_corrections: 22,
        corrected: 8, workshop: 4, words: 3, quiet: 5,
    },
    "closings": {
        closings: 58, errands: 14, drilled_crowd: 1, drilled_corrections: 7, corrected: 2, workshop: 1,
        words: 6, quiet: 11,
    },
    "polish": {
        words: 14, quiet: 20, errands: 28, closings: 14, drilled_corrections: 14, corrected: 4,
        drilled_crowd: 6, workshop: 2,
    },
    "mending": {
        drilled_corrections: 42, corrected: 8, drilled_arguments: 4, closings: 16, errands: 10, words: 8,
        quiet: 9, drilled_crowd: 3,
    },
    "rounds": {
        drilled_calls: 24, drilled_crowd: 8, drilled_corrections: 20, corrected: 4, drilled_arguments: 4,
        errands: 13, closings: 8, words: 12, quiet: 7, titled: 2, workshop: 3,
    },
    "lengths": {
        workshop: 32, errands: 26, drilled_crowd: 18, closings: 7, room: 5, quiet: 5, titled: 3, words: 4,
    },
    "returns": {
        drilled_corrections: 34, corrected: 6, drilled_calls: 12, drilled_arguments: 4, errands: 12,
        closings: 8, words: 12, quiet: 8, titled: 2, workshop: 2,
    },
    "manners": {
        words: 20, quiet: 30, errands: 15, drilled_corrections: 15, drilled_arguments: 5, drilled_crowd: 10,
        workshop: 5,
    },
}  # fmt: skip
