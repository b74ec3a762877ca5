"""Errands: one thing to look up with an agent's tool, said as people say it, and a short answer.

The requests of the other lessons name each value ("row: 7; kind: map"); here the values stand in a sentence
("the map in row 7 of `the old wing`"), and what a tool answers is a line of text as often as JSON.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from corpora import lexicon
from corpora.conversations import Conversation, Message
from corpora.invention import Parameter, draw_value
from corpora.lessons.handbook import CHARACTERS, behind, lengthened, opening, with_reminder
from corpora.lessons.nested import TOOL_TOKENS, cue_of, invent_tools
from corpora.lessons.outcomes import Errand, Wanted, answered
from corpora.lessons.results import plain_words
from corpora.lessons.vocabulary import Vocabulary, draw_words
from corpora.workshop.kits import KITS
from corpora.world.base import Call
from corpora.world.script import to_message

_SHORT = 0.4  # of the lessons
_MOST_TEXT = 0.6  # of a lesson is its system text
_MOST_OTHERS = 24  # tools that are not asked for
_TRAILING = 0.15  # of the lessons have system text behind the first request
_ALIKE = 0.3  # of the lessons have other tools whose names share a beginning
_LURES = (
    "run", "run_task", "execute", "commands", "command", "terminal", "status", "task", "list_runs", "shell",
    "search", "get", "lookup", "read", "exec", "send_message", "output",
)  # fmt: skip

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
_PREFACES = (
    "This is task {i}. {s}", "Task: {s}", "New task:\n{s}", "Please solve this: {s}", "<task>\n{s}\n</task>",
    "This is request {i}. {s}", "[{w}] {s}", "# {w}\n{s}", "<user_input>{s}</user_input>", "{w}: {s}",
    "New task:\nThis is task {i}. {s}", "<message from=\"{w}\">\n{s}\n</message>", "Hi. {s}", "{s} ({i})",
    "The user says:\n{s}", "This is number {i}: {s}",
)  # fmt: skip
_ABOUT = ("file", "place", "command")
#: names of shells, for agents that are not known
SHELL_NAMES = (
    "run_command", "execute_command", "run_commands", "terminal", "shell", "bash", "exec", "execute_bash",
    "run_shell_command", "console", "run_in_terminal", "sh", "cmd", "local_shell", "run_terminal",
)  # fmt: skip
_SHELL_TEXTS = (
    "Runs a command in a shell.", "Execute commands in the terminal and get what they print.",
    "Run one or more commands.", "A shell in the working directory.", "Executes what it is given in bash.",
)  # fmt: skip
_COMMANDS = ("command", "command", "command", "cmd", "script", "input")
#: what shells can be given beside the command, and are not here
_EXTRAS: Mapping[str, Mapping[str, Any]] = {
    "timeout": {"type": "integer"}, "background": {"type": "boolean"}, "workdir": {"type": "string"},
    "timeout_ms": {"type": "number"}, "env": {"type": "object"}, "is_input": {"enum": ["true", "false"]},
    "session": {"anyOf": [{"type": "string"}, {"type": "null"}]}, "explanation": {"type": "string"},
}  # fmt: skip


_Tools = list[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class ErrandKind:
    """Errands by one tool. tools: it and those of its agent. run: of a shell, makes the call of a command."""

    tools: _Tools
    wanted: Callable[[], Wanted]
    run: Callable[[str], Call] | None = None

    def draw(self, rng: Random) -> Errand:
        """An errand, and how it went."""
        return answered(rng, self.wanted())


def errands(rng: Random, longest: int) -> Conversation:
    """Some errands by one tool among others or by the shell of an agent, more of them in a long row."""
    length, kind = draw_length(rng, longest), errand_kind(rng)
    messages, tools = surrounded(rng, kind.tools, length)
    trailing = behind(rng, int(min(length, 6000) * rng.uniform(0.1, 0.6) * CHARACTERS))
    trailing = trailing if rng.random() < _TRAILING else []
    for number in range(rng.randint(1, 5 + length // 2000)):
        errand = kind.draw(rng)
        messages += [
            {"role": "user", "content": with_reminder(rng, prefaced(rng, errand.said))},
            *(trailing if number == 0 else []),
            *looked_up(errand, number),
            {"role": "assistant", "content": errand.reply},
        ]
    return Conversation(tuple(map(dict, tools)), tuple(messages))


def draw_length(rng: Random, longest: int) -> int:
    """Tokens of a lesson: a part of them short, the others of any length."""
    return int(longest * rng.uniform(0.05, 0.2 if rng.random() < _SHORT else 0.9))


def errand_kind(rng: Random, shells: float = 0.5) -> ErrandKind:
    """By a tool of plain values, or by a shell: such a share of them."""
    if rng.random() >= shells:
        return _place(rng, draw_words(rng))
    return (_shell if rng.random() < 0.55 else _own_shell)(rng, draw_words(rng))


def prefaced(rng: Random, said: str) -> str:
    """What is said, now and then as programs pass it on."""
    if rng.random() < 0.6:
        return said
    number = lexicon.identifier(rng)
    return rng.choice(_PREFACES).format(s=said, i=number, w=lexicon.invented_word(rng))


def surrounded(rng: Random, wanted: _Tools, length: int) -> tuple[list[Message], _Tools]:
    """System messages and tools of so many tokens at most, those that are wanted among the tools. Half of the
    lessons have tools that explain themselves at length, as those of agents do.
    """
    text = int(length * rng.uniform(0, _MOST_TEXT)) if rng.random() < 0.6 else 0
    told = (length - text) * rng.uniform(0, 0.8) if rng.random() < 0.5 else 0
    count = int(rng.random() * min(_MOST_OTHERS, (length - text - told) / TOOL_TOKENS))
    names = {one["function"]["name"] for one in wanted}
    others: _Tools = [
        one.definition() for one in invent_tools(rng, draw_words(rng), count) if one.name not in names
    ]
    if rng.random() < _ALIKE:
        others = _alike(rng, others)
    tools = [*wanted, *others]
    shares = [rng.expovariate(1) for _ in tools]
    scale = told * CHARACTERS / sum(shares)
    tools = [lengthened(rng, one, int(share * scale)) for one, share in zip(tools, shares, strict=True)]
    rng.shuffle(tools)
    return opening(rng, int(text * CHARACTERS)), tools


def _alike(rng: Random, tools: _Tools) -> _Tools:
    """The tools under names that share a beginning; some end as the name of a shell or a finder would."""
    beginning, renamed = lexicon.invented_word(rng, rng.randint(1, 2)), dict[str, Mapping[str, Any]]()
    for tool in tools:
        end = rng.choice(_LURES) if rng.random() < 0.4 else tool["function"]["name"]
        name = f"{beginning}_{end}"
        renamed[name] = {**tool, "function": {**tool["function"], "name": name}}
    return list(renamed.values())


def looked_up(errand: Errand, number: int) -> list[Message]:
    """The call and its result."""
    return [
        to_message((errand.call,), [f"call_{number}"]),
        {"role": "tool", "tool_call_id": f"call_{number}", "content": errand.content},
    ]


def _quoted(rng: Random, value: str, plain: float = 0.3) -> str:
    """A value as it stands in a sentence: plain now and then, else marked."""
    mark = "" if rng.random() < plain else rng.choice(("`", "`", '"', "'"))
    return value if mark and mark in value else f"{mark}{value}{mark}"


def _place(rng: Random, words: Vocabulary) -> ErrandKind:
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

    def wanted() -> Wanted:
        given = {one.name: _value(rng, one) for one in fields}
        parts = [_phrase(rng, one, given[one.name]) for one in rng.sample(fields, len(fields))]
        it = rng.choice(("it", f"the {noun}", f"its {noun}"))
        said = f"{rng.choice(_ASKED)} the {noun} {' '.join(parts)}{rng.choice(_TELL).format(it=it)}"
        ended = said if said[-1] == "?" else said + rng.choice((".", ".", ""))
        return (ended[0].upper() + ended[1:] if rng.random() < 0.7 else ended), Call(name, given), noun, about

    return ErrandKind([{"type": "function", "function": function}], wanted)


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


def _shell(rng: Random, words: Vocabulary) -> ErrandKind:
    """The tools of an agent, and errands for its shell; now and then a call has to say what it is for."""
    kit = rng.choice([one for one in KITS if any(verb.act == "shell" for verb in one.verbs)])
    tools: _Tools = list(kit.tools)
    name = next(verb.tool for verb in kit.verbs if verb.act == "shell")
    explained = rng.random() < 0.3
    if explained:
        tools = [_explained(one) if one["function"]["name"] == name else one for one in tools]

    def run(command: str) -> Call:
        call = kit.call("shell", command=command)
        more = {"description": f"Run {command}"} if explained else {}
        return Call(call.name, {**call.arguments, **more})

    return ErrandKind(tools, lambda: _to_run(rng, words, run), run)


def _own_shell(rng: Random, words: Vocabulary) -> ErrandKind:
    """A shell of no known agent, which wants a command, a list of commands, or objects that hold one."""
    name, about = rng.choice(SHELL_NAMES), rng.choice(_SHELL_TEXTS)
    key, listed, inner = rng.choice(_COMMANDS), rng.random() < 0.5, rng.choice(("command", "cmd", "run"))
    form = rng.random() < 0.25
    one: dict[str, Any] = {"type": "string"}
    if form:
        one = {"type": "object", "properties": {inner: one}, "required": [inner]}
    if listed:
        key, one = f"{key}s", {"type": "array", "items": one} | ({"minItems": 1} if form else {})
    extras = rng.sample(list(_EXTRAS), rng.randint(0, 3))
    properties = [(key, one), *((each, dict(_EXTRAS[each])) for each in extras)]
    rng.shuffle(properties)
    schema = {"type": "object", "properties": dict(properties), "required": [key]}
    function = {"name": name, "description": about, "parameters": schema}

    def run(command: str) -> Call:
        value: Any = {inner: command} if form else command
        return Call(name, {key: [value] if listed else value})

    tool = {"type": "function", "function": function}
    return ErrandKind([tool], lambda: _to_run(rng, words, run), run)


def _to_run(rng: Random, words: Vocabulary, run: Callable[[str], Call]) -> Wanted:
    """A command that is to be run."""
    noun, command = rng.choice(words.nouns), _command(rng, words)
    it = rng.choice((f"the {noun}", f"its {noun}", f"the {noun}", "what it prints"))
    said = rng.choice(_RUN).format(v=_quoted(rng, command, 0.1), it=it)
    return said, run(command), noun, rng.choice(_ABOUT)


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
