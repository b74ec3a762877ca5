"""Errands: one thing to look up with an agent's tool, said as people say it, and a short answer.

The requests of the other lessons name each value ("row: 7; kind: map"); here the values stand in a sentence
("the map in row 7 of `the old wing`"), and what a tool answers is a line of text as often as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

from corpora import lexicon
from corpora.conversations import Conversation, Message
from corpora.invention import Parameter, draw_value
from corpora.lessons.handbook import CHARACTERS, opening, with_reminder
from corpora.lessons.nested import TOOL_TOKENS, cue_of, invent_tools
from corpora.lessons.results import plain_words
from corpora.lessons.vocabulary import Vocabulary, draw_words
from corpora.workshop.kits import KITS
from corpora.world.base import Call
from corpora.world.script import to_message

_SHORT = 0.4  # of the lessons
_MOST_TEXT = 0.6  # of a lesson is its system text
_MOST_OTHERS = 24  # tools that are not asked for
_WRONG = 0.2  # of the answers are failures

#: how a value is said in a sentence, by its kind: c is the name of it, v the value
_SAID: Mapping[str, Sequence[str]] = {
    "name": ("of the {c} {v}", "in the {c} {v}", "at {c} {v}", "for the {c} {v}", "from {v}", "under {v}"),
    "id": ("of {v}", "with the {c} {v}", "for {c} {v}", "of the {c} {v}"),
    "integer": ("in {c} {v}", "at {c} {v}", "on {c} {v}", "with {c} {v}", "of {c} {v}"),
    "enum": ("of the {v}", "for the {v}", "of a {v}", "as a {v}", "for {c} {v}"),
    "date": ("on {v}", "of {v}", "for the {c} {v}"),
    "path": ("in {v}", "from {v}", "of the {c} {v}"),
}
#: how often each kind is drawn
_OFTEN = {"name": 4, "id": 3, "integer": 5, "enum": 4, "date": 1, "path": 1}
_DIGITS = 0.3  # of the ids are digits alone: only the schema tells that they are texts
_ASKED = (
    "look up",
    "find",
    "get",
    "fetch",
    "check",
    "search for",
    "show me",
    "tell me",
    "I need",
    "read out",
)
_TELL = (
    " and tell me {it}", ", then tell me {it}", " and say what it is", ". Tell me {it}", ", please",
    " and give me {it}", "", ". What is it?", " and answer with {it}",
)  # fmt: skip
_RUN = (
    "Run {v} and tell me {it}", "Run {v} and tell me {it} that it prints", "run {v}",
    "please execute {v}, then tell me {it}", "Execute {v} in the shell. What does it print?",
    "what does {v} say?", "Try {v} and say {it}", "I need {it}: run {v}",
    "Call {v} in a terminal and give me {it}",
)  # fmt: skip
_REPLIES = ("The {n} is {t}.", "The {n} is {t}.", "It is {t}.", "{t} is the {n}.")
_FAILURES = (
    "There is no such {x}.", "No such {x}.", "Unknown {x}.", "This {x} is not known.", "The {x} is locked.",
    "Nothing is kept for this {x}.", "{X} not found.", "There is nothing here.", "Access was refused.",
)  # fmt: skip
_FAILED = ("That did not work: {m}", "It failed: {m}", "The answer was: {m}")


def errands(rng: Random, longest: int) -> Conversation:
    """One to five errands, by one tool among others or by the shell of an agent."""
    words, length = draw_words(rng), longest * rng.uniform(0.05, 0.2 if rng.random() < _SHORT else 0.9)
    text = int(length * rng.uniform(0, _MOST_TEXT)) if rng.random() < 0.6 else 0
    messages = opening(rng, int(text * CHARACTERS))
    others = int(rng.random() * min(_MOST_OTHERS, (length - text) / TOOL_TOKENS))
    wanted, errand = (_place if rng.random() < 0.5 else _shell)(rng, words)
    names = {one["function"]["name"] for one in wanted}
    tools = wanted + [one.definition() for one in invent_tools(rng, words, others) if one.name not in names]
    rng.shuffle(tools)
    for number in range(rng.randint(1, 5)):
        messages += _done(rng, words, errand(), number)
    return Conversation(tuple(map(dict, tools)), tuple(messages))


#: what is said, the call, what the answer holds, and what a failure is about
_Errand = tuple[str, Call, str, str]


def _done(rng: Random, words: Vocabulary, errand: _Errand, number: int) -> list[Message]:
    said, call, noun, about = errand
    if rng.random() < _WRONG:
        failure = rng.choice(_FAILURES).format(x=about, X=about.capitalize())
        content, reply = failure, rng.choice(_FAILED).format(m=failure)
    else:
        token = _token(rng)
        content, reply = _content(rng, noun, token), rng.choice(_REPLIES).format(n=noun, t=token)
    return [
        {"role": "user", "content": with_reminder(rng, said)},
        to_message((call,), [f"call_{number}"]),
        {"role": "tool", "tool_call_id": f"call_{number}", "content": content},
        {"role": "assistant", "content": reply},
    ]


def _token(rng: Random) -> str:
    kinds: Sequence[Callable[[Random], str]] = (
        lexicon.identifier, lexicon.invented_word, plain_words, lambda r: str(r.randint(0, 99_999)),
        lambda r: f"{r.getrandbits(32):08x}"[: r.randint(4, 8)], lexicon.invented_name,
    )  # fmt: skip
    return rng.choice(kinds)(rng)


def _content(rng: Random, noun: str, token: str) -> str:
    forms = (
        f"{noun.upper()} {token}", f"{noun}: {token}", token, f"The {noun} is {token}.", f"{noun}={token}",
        f"{token}\n", f"{noun.capitalize()} {token}", json.dumps({noun: token}, ensure_ascii=False),
        f"exit code 0\n{noun} {token}", f"<stdout>\n{noun.upper()} {token}\n</stdout>",
        json.dumps({"output": f"{noun.upper()} {token}", "exit_code": 0}, ensure_ascii=False),
    )  # fmt: skip
    return rng.choice(forms)


def _quoted(rng: Random, value: str, plain: float = 0.3) -> str:
    """A value as it stands in a sentence: plain now and then, else marked."""
    mark = "" if rng.random() < plain else rng.choice(("`", "`", '"', "'"))
    return value if mark and mark in value else f"{mark}{value}{mark}"


def _place(rng: Random, words: Vocabulary) -> tuple[list[Mapping[str, Any]], Callable[[], _Errand]]:
    """A tool that finds one thing by a few plain values, and its errands."""
    verb, (noun, about) = rng.choice(words.verbs), rng.sample(words.nouns, 2)
    fields = _fields(rng, words)
    properties = {one.name: dict(one.schema) for one in fields}
    schema: dict[str, Any] = {
        "type": "object",
        "properties": properties,
        "required": [one.name for one in fields],
    }
    told = rng.choice(("{V} the {n} of a {a}.", "{V}s the {n}.", "The {n} of a {a}.", "{V} a {n}"))
    name = f"{verb}_{noun}" if rng.random() < 0.7 else verb + noun.capitalize()
    description = told.format(V=verb.capitalize(), n=noun, a=about)
    function = {"name": name, "description": description, "parameters": schema}

    def errand() -> _Errand:
        given = {one.name: _value(rng, one) for one in fields}
        parts = [_phrase(rng, one, given[one.name]) for one in rng.sample(fields, len(fields))]
        it = rng.choice(("it", f"the {noun}", f"its {noun}"))
        said = f"{rng.choice(_ASKED)} the {noun} {' '.join(parts)}{rng.choice(_TELL).format(it=it)}"
        ended = said if said[-1] == "?" else said + rng.choice((".", ".", ""))
        return (ended[0].upper() + ended[1:] if rng.random() < 0.7 else ended), Call(name, given), noun, about

    return [{"type": "function", "function": function}], errand


def _fields(rng: Random, words: Vocabulary) -> list[Parameter]:
    """One to four values of different names."""
    fields: dict[str, Parameter] = {}
    count = rng.randint(1, 4)
    while len(fields) < count:
        kind = rng.choices(list(_OFTEN), list(_OFTEN.values()))[0]
        name = rng.choice(words.fields[kind])
        schema: dict[str, Any] = {"type": "integer" if kind == "integer" else "string"}
        if kind == "enum":
            schema["enum"] = rng.sample(words.options, rng.randint(2, 4))
        if rng.random() < 0.5:
            form = rng.choice(("The {}.", "Which {}.", "Which {} it is.", "{} to look for"))
            schema["description"] = form.format(cue_of(name))
        fields.setdefault(name, Parameter(name, kind, schema, True, cue_of(name)))
    return list(fields.values())


def _value(rng: Random, field: Parameter) -> Any:
    if field.kind == "id" and rng.random() < _DIGITS:
        return str(rng.randint(1, 99_999))
    return plain_words(rng) if field.kind == "name" and rng.random() < 0.5 else draw_value(rng, field)


def _phrase(rng: Random, field: Parameter, value: Any) -> str:
    said = str(value) if field.kind in ("integer", "enum") else _quoted(rng, str(value))
    return rng.choice(_SAID[field.kind]).format(c=field.cue, v=said)


def _shell(rng: Random, words: Vocabulary) -> tuple[list[Mapping[str, Any]], Callable[[], _Errand]]:
    """The tools of an agent, and errands for its shell; now and then a call has to say what it is for."""
    kit = rng.choice([one for one in KITS if any(verb.act == "shell" for verb in one.verbs)])
    tools: list[Mapping[str, Any]] = list(kit.tools)
    name = next(verb.tool for verb in kit.verbs if verb.act == "shell")
    explained = rng.random() < 0.3
    if explained:
        tools = [_explained(one) if one["function"]["name"] == name else one for one in tools]

    def errand() -> _Errand:
        noun, command = rng.choice(words.nouns), _command(rng, words)
        it = rng.choice((f"the {noun}", f"its {noun}", f"the {noun}", "what it prints"))
        said = rng.choice(_RUN).format(v=_quoted(rng, command, 0.1), it=it)
        call = kit.call("shell", command=command)
        more = {"description": f"Run {command}"} if explained else {}
        return (
            said,
            Call(call.name, {**call.arguments, **more}),
            noun,
            rng.choice(("file", "place", "command")),
        )

    return tools, errand


def _explained(tool: Mapping[str, Any]) -> dict[str, Any]:
    """The tool with a text that every call of it needs."""
    function = tool["function"]
    schema = function["parameters"]
    properties = {**schema["properties"], "description": {"type": "string"}}
    parameters = {
        **schema,
        "properties": properties,
        "required": [*schema.get("required", ()), "description"],
    }
    return {**tool, "function": {**function, "parameters": parameters}}


def _command(rng: Random, words: Vocabulary) -> str:
    word, other, last = (rng.choice((*words.nouns, *words.options)) for _ in range(3))
    forms = (
        f"sh {word}.sh {other}", f"./{word} {other}", f"bash {word}.sh {other} {rng.randint(0, 99)}",
        f"python {word}.py {other}", f"make {word}", f"{word} {other} {last}", f"{word} --{other} {last}",
        f"cat {lexicon.file_path(rng)}", f"sh {word}.sh {other} {last}",
    )  # fmt: skip
    return rng.choice(forms)
