"""Errands that end in another way than by words: by a call, by a command, in a form, or at once.

Some agents have a tool that ends the task, some are told a command that does, some write the calls of earlier
turns as text, some want the answer between marks, and some tell the model what a tool said before it asks.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

from corpora import lexicon
from corpora.conversations import Conversation, Message
from corpora.lessons.errands import draw_length, errand_kind, looked_up, prefaced, surrounded
from corpora.lessons.handbook import system_text
from corpora.lessons.outcomes import Errand
from corpora.lessons.vocabulary import LESSONS
from corpora.world.base import Call
from corpora.world.script import to_message

_ENDERS = (
    "final_answer", "finish", "submit", "attempt_completion", "task_complete", "complete_task", "respond",
    "end_task", "report_result", "submit_answer", "answer", "done", "return_result", "conclude",
)  # fmt: skip
_ENDERS_TOLD = (
    "Gives the answer and ends the task.", "Provides the final answer.", "Ends the task with its result.",
    "Call this when the task is done.", "The last call: what the user is to be told.",
)  # fmt: skip
_ANSWERS = ("answer", "result", "message", "summary", "text", "response", "final_answer", "output", "value")
_ENDED = ("", "done", "Submitted.", '{"status": "ok"}', "The task has ended.", "OK")
_ENDS_SO = (
    "To give the answer, call `{t}`. Nothing else ends the task.", "Always end with a call of {t}.",
    "When you know the answer, use the tool {t}.", "Each message of yours holds a call; the last one is {t}.",
)  # fmt: skip
_ACTIONS = (
    "Action:\n{c}", "Action:\n{c}", "```json\n{c}\n```", "Tool call: {c}", "assistant: {c}",
    "<action>{c}</action>",
)  # fmt: skip
_COMMAND_ENDS = (
    "When you are done, run `{c}`.", "End the task with this command: `{c}`", "Submit with `{c}` and stop.",
    "The last command is `{c}`, with no other command beside it.", "Finish your work by running: `{c}`.",
)  # fmt: skip
_SEEN = ("Observation:\n{c}", "Observation: {c}", "Result: {c}", "[Tool result]\n{c}", "Output:\n{c}")
_SAID_BEFORE = (
    "{a}: {c}", "{a}: {c}", "{a} gives {c}", "I ran it: {c}", "{n} returned {c}", "Known so far: {c}",
    "The tool answered:\n{c}",
    "Result of {n}: {c}", "<result>\n{c}\n</result>", "{n}({a}) -> {c}", *_SEEN,
)  # fmt: skip
_MARKS = ("[[ ## {} ## ]]", "[[ ## {} ## ]]", "### {}", "<<{}>>", "== {} ==", "[{}]", "## {}:")
_ASKED, _KNOWN, _GIVEN = (
    ("question", "request", "task", "query", "goal"),
    ("known", "context", "facts", "notes", "observations", "history", "results"),
    ("answer", "reply", "response", "output"),
)
_FORM = (
    "You are given {a} and {k}, and you write {g}. All of it looks like this:\n\n{form}\n\nLook up what is "
    "missing with your tools.",
    "The fields are {a}, {k} and {g}, in this form:\n\n{form}\n\nCall a tool where {k} does not tell it.",
    "{form}\n\nThis is the form of every message. {k} holds what is known already; {g} is yours to write.",
)
_WRITE = (
    "\n\nAnswer with the field `{g}`, then `{e}`.", "", "\n\nWrite {g} now, and end with {e}.",
    "\n\nRespond with {g} and then with the marker {e}.",
)  # fmt: skip


def ended_by_call(rng: Random, longest: int) -> Conversation:
    """A tool ends each errand, behind results of tools or behind a history in text."""
    kind = errand_kind(rng)
    taken = {one["function"]["name"] for one in kind.tools}
    name, key = rng.choice([one for one in _ENDERS if one not in taken]), rng.choice(_ANSWERS)
    properties: dict[str, Any] = {key: {"type": "string"}}
    if rng.random() < 0.5:
        properties[key]["description"] = rng.choice(("The answer.", "What the user is told", "The result."))
    schema = {"type": "object", "properties": properties, "required": [key]}
    function = {"name": name, "description": rng.choice(_ENDERS_TOLD), "parameters": schema}
    length = _short_length(rng, longest)
    messages, tools = surrounded(rng, [*kind.tools, {"type": "function", "function": function}], length)
    if rng.random() < 0.5:
        messages = _told(rng, messages, rng.choice(_ENDS_SO).format(t=name))
    if rng.random() < 0.6:
        messages = _told(rng, messages, _played(rng, name, key))
    if rng.random() < 0.3:
        messages = _told(rng, messages, _listed(tools))
    only_value = rng.random() < 0.5
    for number in range(rng.randint(2, 5 + length // 2000)):
        errand = kind.draw(rng)
        messages += [{"role": "user", "content": prefaced(rng, errand.said)}, *_shown(rng, errand, number)]
        said = errand.told if only_value and errand.told else errand.reply
        messages += _closed(rng, Call(name, {key: said}), number)
    return Conversation(tuple(map(dict, tools)), tuple(messages[:-1]))


def ended_by_command(rng: Random, longest: int) -> Conversation:
    """A command that stands in the text ends each errand of a shell."""
    kind = errand_kind(rng, shells=1)
    assert kind.run is not None
    word = "_".join(lexicon.invented_word(rng) for _ in range(rng.randint(2, 4)))
    ending = rng.choice(
        (f"echo {word.upper()}", f"echo {word.upper()}", f"exit {word}", f"touch {word}", f"./{word}")
    )
    length = _short_length(rng, longest)
    messages, tools = surrounded(rng, kind.tools, length)
    rules = [rng.choice(_COMMAND_ENDS).format(c=ending) for _ in range(rng.randint(1, 2))]
    pasted = rng.random() < 0.7  # into what the user says first
    if not pasted:
        for rule in rules:
            messages = _told(rng, messages, rule)
    for number in range(rng.randint(2, 5 + length // 2000)):
        errand = kind.draw(rng)
        said = prefaced(rng, errand.said)
        if pasted and number == 0:
            text = system_text(rng, LESSONS, int(rng.uniform(50, 6000)), code=True)
            for rule in rules:
                text = _inserted(rng, text, rule)
            said = f"{said}\n\n{text}"
        messages += [{"role": "user", "content": said}, *looked_up(errand, number)]
        messages += _closed(rng, kind.run(ending), number, ending.split()[-1])
    return Conversation(tuple(map(dict, tools)), tuple(messages[:-1]))


def known_already(rng: Random, longest: int) -> Conversation:
    """What the tool said stands in the user's own messages, for some of the errands."""
    kind = errand_kind(rng)
    messages, tools = surrounded(rng, kind.tools, min(draw_length(rng, longest), 2000))
    form = rng.choice(_SAID_BEFORE)
    for number in range(rng.randint(2, 5)):
        errand = kind.draw(rng)
        asked: Message = {"role": "user", "content": prefaced(rng, errand.said)}
        reply: Message = {"role": "assistant", "content": errand.reply}
        if rng.random() < 0.4:
            messages += [asked, *looked_up(errand, number), reply]
            continue
        given = json.dumps(
            errand.call.arguments, ensure_ascii=False, separators=rng.choice((None, (",", ":")))
        )
        known = form.format(a=given, n=errand.call.name, c=errand.content)
        if rng.random() < 0.6:
            messages += [asked, {"role": "user", "content": known}, reply]
        else:
            messages += [asked | {"content": f"{asked['content']}\n\n{known}"}, reply]
    return Conversation(tuple(map(dict, tools)), tuple(messages))


def laid_out(rng: Random, longest: int) -> Conversation:
    """Fields between marks: a call where nothing is known, else the answer between the same marks."""
    kind = errand_kind(rng)
    _, tools = surrounded(rng, kind.tools, min(draw_length(rng, longest), 1500))  # the form is all its text
    mark, (asked, known, given) = rng.choice(_MARKS), (rng.choice(one) for one in (_ASKED, _KNOWN, _GIVEN))
    end = mark.format(rng.choice(("completed", "completed", "end")))
    form = "\n\n".join(f"{mark.format(one)}\n{{{one}}}" for one in (asked, known, given)) + f"\n\n{end}"
    text = rng.choice(_FORM).format(a=asked, k=known, g=given, form=form)
    messages: list[Message] = [{"role": "system", "content": text}]
    tail = rng.choice(_WRITE).format(g=mark.format(given), e=end)
    for number in range(rng.randint(3, 6)):
        errand = kind.draw(rng)
        held = [errand.content] if rng.random() < 0.5 else []
        written = json.dumps(held, ensure_ascii=False)
        fields = (
            f"{mark.format(asked)}\n{prefaced(rng, errand.said)}\n\n{mark.format(known)}\n{written}{tail}"
        )
        messages.append({"role": "user", "content": fields})
        if not held:
            messages += looked_up(errand, number)
        messages.append({"role": "assistant", "content": f"{mark.format(given)}\n{errand.reply}\n\n{end}"})
    return Conversation(tuple(map(dict, tools)), tuple(messages))


CLOSINGS: Mapping[Callable[[Random, int], Conversation], int] = {
    ended_by_call: 38, ended_by_command: 28, known_already: 24, laid_out: 10,
}  # fmt: skip


def closings(rng: Random, longest: int) -> Conversation:
    """One of these kinds."""
    return rng.choices(list(CLOSINGS), list(CLOSINGS.values()))[0](rng, longest)


def _short_length(rng: Random, longest: int) -> int:
    """Of a lesson about its end: few of them are long."""
    return draw_length(rng, longest if rng.random() < 0.2 else min(longest, 1600))


def _played(rng: Random, name: str, key: str) -> str:
    """Examples of tasks over tools that are not there, each to its end, as some agents show them."""
    form, seen, examples = rng.choice(_ACTIONS), rng.choice(_SEEN), []
    for _ in range(rng.randint(1, 3)):
        kind = errand_kind(rng, shells=0.2)
        errands = [kind.draw(rng) for _ in range(rng.randint(1, 2))]
        steps = [f"Task: {errands[0].said}"]
        for errand in errands:
            action = {"name": errand.call.name, "arguments": dict(errand.call.arguments)}
            steps += [form.format(c=json.dumps(action, ensure_ascii=False)), seen.format(c=errand.content)]
        said = errands[-1].told or errands[-1].reply
        action = {"name": name, "arguments": {key: said}}
        steps.append(form.format(c=json.dumps(action, ensure_ascii=False, indent=rng.choice((None, 2)))))
        examples.append("\n\n".join(steps))
    return "Examples:\n---\n" + "\n---\n".join(examples) + "\n---"


def _listed(tools: Sequence[Mapping[str, Any]]) -> str:
    """The tools once more in words, as some agents have them in their text."""
    functions = [one["function"] for one in tools[:12]]
    lines = [
        f"- {one['name']}: {one['description'][:200]}\n    Takes: {one['parameters']['properties']}"
        for one in functions
    ]
    return "These tools are yours:\n" + "\n".join(lines)


def _told(rng: Random, messages: list[Message], rule: str) -> list[Message]:
    """The messages with a rule somewhere in the system text, or as all of it."""
    if not messages:
        return [{"role": "system", "content": rule}]
    first = messages[0]
    return [{**first, "content": _inserted(rng, first["content"], rule)}, *messages[1:]]


def _inserted(rng: Random, text: str, rule: str) -> str:
    parts = text.split("\n\n")
    parts.insert(rng.randint(0, len(parts)), rule)
    return "\n\n".join(parts)


def _shown(rng: Random, errand: Errand, number: int) -> Sequence[Message]:
    """The call and its result; now and then as text that an agent makes of them, which is not learned."""
    if rng.random() < 0.6:
        return looked_up(errand, number)
    arguments = dict(errand.call.arguments)
    function = {"name": errand.call.name, "arguments": arguments}
    item = {"id": f"call_{number}", "type": "function", "function": function}
    shown = rng.choice(
        (
            f"Calling tools:\n{[item]}", f"Action:\n{json.dumps(function)}",
            f"Tool call: {errand.call.name} {json.dumps(arguments)}", f"Calling tools:\n{json.dumps([item])}",
        )
    )  # fmt: skip
    return (
        {"role": "assistant", "content": shown, "learned": False},
        {"role": "user", "content": rng.choice(_SEEN).format(c=errand.content)},
    )


def _closed(rng: Random, last: Call, number: int, said: str = "") -> list[Message]:
    """The call that ends an errand, and its result."""
    result = said if said and rng.random() < 0.7 else rng.choice(_ENDED)
    id = f"call_{number}_end"
    return [to_message((last,), [id]), {"role": "tool", "tool_call_id": id, "content": result}]
