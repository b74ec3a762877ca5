"""How people ask for things: sentences that hold every value of a call's arguments once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from corpora import lexicon
from corpora.invention import Parameter, Tool

_CUED = (
    "with {cue} {v}", "{cue} {v}", "{cue}: {v}", "{cue} = {v}", "set {cue} to {v}", "the {cue} is {v}",
    "use {v} as the {cue}", "{v} as {cue}", "{v} for the {cue}", "the {cue} should be {v}", "and {cue} {v}",
    "with the {cue} {v}", "{cue} is {v}", "make the {cue} {v}",
)  # fmt: skip
_ON = (
    "{cue} on", "enable {cue}", "with {cue}", "{cue}: true", "{cue}: yes", "turn {cue} on", "it is {cue}",
    "{cue} enabled", "set {cue} to true", "{cue} = true", "make it {cue}",
)  # fmt: skip
_OFF = (
    "{cue} off", "disable {cue}", "without {cue}", "{cue}: false", "{cue}: no", "turn {cue} off", "not {cue}",
    "{cue} disabled", "set {cue} to false", "{cue} = false", "no {cue}",
)  # fmt: skip
_UNCUED = ("for {v}", "in {v}", "{v}", "called {v}", "of {v}", "on {v}", "at {v}", "to {v}", "from {v}")
_OPENERS = (
    "", "", "", "", "please ", "can you ", "could you ", "I need you to ", "I want to ", "I'd like to ",
    "help me ", "let's ", "now ", "hey, ", "we have to ",
)  # fmt: skip
_JOINTS = (" Also ", " Also, ", "\n", " And ", " Then also: ", " Besides, ", " And also ")
_SMALL_FIRST = {*lexicon.VERBS, *"please can could help let's now we what how is run".split()}
_STOPS = ("?", "!", ".", ",", ";", ":")  # at a value's end they could be the sentence's
_AGAIN = ("the same, ", "once more, ", "again: ", "another one, ", "one more: ", "do it again, ")
_CLOSERS = ("", "", "", ".", ".", "!", " please.", ", thanks.", " now.")


def request_text(rng: Random, tool: Tool, arguments: Mapping[str, Any]) -> str:
    """A request in words for `tool` with exactly these arguments, each value in it verbatim."""
    opener = rng.choice(_OPENERS)
    intent = tool.intent
    segments = _segments(rng, tool, arguments)
    if rng.random() < 0.1 and segments:
        return f"{', '.join(segments)}. {opener}{intent}{rng.choice(_CLOSERS)}"  # keep a value's case
    joiner = rng.choice((", ", ", ", " and ", ", and ", "; ", " "))
    lead = rng.choice((" ", " ", " ", ": ", ", ", ". ")) if segments else ""
    return _finish(rng, f"{opener}{intent}{lead}{joiner.join(segments)}")


def join_requests(rng: Random, texts: Sequence[str], joints: Sequence[str | None] = ()) -> str:
    """Several requests as one message, in their order. joints: of each with what stands before it, where it
    must be a certain one; one in the middle of a sentence takes the place of its end.
    """
    joined = texts[0]
    for i, text in enumerate(texts[1:], 1):
        joint = joints[i] if joints else None
        if joint is None:
            joined += rng.choice(_JOINTS) + text
        elif joint.strip()[:1].isupper():
            joined += joint + text
        else:
            joined = joined.rstrip("?.!") + joint + text
    return joined


def flowing(text: str) -> str:
    """A request as it goes on in mid-sentence: its first letter small, where that is no value's."""
    first = text.split(" ", 1)[0]
    return text[0].lower() + text[1:] if first.lower() in _SMALL_FIRST else text


def again_text(rng: Random, tool: Tool, arguments: Mapping[str, Any]) -> str:
    """The same tool asked for once more, in words that hold only the arguments, each with its cue."""
    given = [p for p in tool.parameters if p.name in arguments]
    rng.shuffle(given)
    segments = [_segment(rng, p, arguments[p.name], False) for p in given]
    lead = rng.choice(_AGAIN)
    return f"{lead}{rng.choice((', ', '; ', ' and ')).join(segments)}{rng.choice(_CLOSERS)}"


def _segments(rng: Random, tool: Tool, arguments: Mapping[str, Any]) -> list[str]:
    given = [p for p in tool.parameters if p.name in arguments]
    rng.shuffle(given)
    strings = [p for p in given if isinstance(arguments[p.name], str) and p.kind != "enum"]
    numbers = [p for p in given if p.kind in ("integer", "number")]
    segments = []
    for parameter in given:
        alone = (parameter in strings and len(strings) == 1) or (parameter in numbers and len(numbers) == 1)
        bare_form = alone and rng.random() < 0.35
        segments.append(_segment(rng, parameter, arguments[parameter.name], bare_form))
    return segments


def _segment(rng: Random, parameter: Parameter, value: Any, uncued: bool) -> str:
    if isinstance(value, bool):
        return rng.choice(_ON if value else _OFF).format(cue=parameter.cue)
    words = surface(rng, parameter.kind, value)
    if uncued:
        return ("{v}" if isinstance(value, int | float) else rng.choice(_UNCUED)).format(v=words)
    return rng.choice(_CUED).format(cue=parameter.cue, v=words)


def surface(rng: Random, kind: str, value: Any) -> str:
    """The value as it stands in a sentence: quoted or bare, lists joined by commas."""
    if isinstance(value, list):
        items = [surface(rng, "word", v) for v in value]
        if len(items) > 1 and rng.random() < 0.5:
            return ", ".join(items[:-1]) + " and " + items[-1]
        return ", ".join(items)
    if not isinstance(value, str):
        return str(value)
    quoted = 0.85 if kind == "text" or (" " in value and kind != "name") else 0.25
    unclear = '"' in value or "'" in value or "\n" in value or value[-1:] in _STOPS
    if rng.random() < quoted or unclear:
        forms = [form for form in ('"{}"', '"{}"', "'{}'") if form[0] not in value]
        return rng.choice(forms or ["<{}>"]).format(value)
    return value


def _finish(rng: Random, text: str) -> str:
    text = text + rng.choice(_CLOSERS)
    roll = rng.random()
    return text[0].upper() + text[1:] if roll < 0.7 else text


#: small talk that no tool serves, with answers
SMALL_TALK: tuple[tuple[str, str], ...] = (
    ("Hello!", "Hello! How can I help you?"),
    ("Hi there", "Hello! How can I help you?"),
    ("Good morning", "Good morning! What can I do for you?"),
    ("How are you?", "I am fine, thank you. What can I do for you?"),
    ("Thanks a lot!", "You are welcome."),
    ("Thank you", "You are welcome."),
    ("Who are you?", "I am a small assistant that calls tools."),
    ("What can you do?", "I can call the tools that you give me."),
    ("That is all for today.", "Good. Call me when you need me."),
    ("Goodbye", "Goodbye!"),
    ("Tell me a joke", "I only know how to call tools, and that is no joke."),
    ("Are you there?", "Yes, I am here."),
    ("Nice work.", "Thank you."),
    ("Do nothing for now.", "I will wait."),
    ("Never mind.", "All right."),
    ("What is your name?", "I am fortieth."),
)

_RESULT_LINES = ("The {key} is {value}.", "{key}: {value}.", "It says {key} {value}.", "Got {key} {value}.")


def answer_text(rng: Random, result: Mapping[str, Any]) -> str:
    """A final answer that repeats what a tool returned, field by field."""
    lines = [rng.choice(("Done.", "Done.", "All set.", "Here it is.", ""))]
    form = rng.choice(_RESULT_LINES)
    lines += [form.format(key=key.replace("_", " "), value=_spoken(value)) for key, value in result.items()]
    return " ".join(line for line in lines if line)


_PLAIN = (
    "{n} degrees, {word}", "{n} degrees and {word}", "It is {n} degrees in {name}.", "{name}: {phrase}",
    "{phrase}", "Done. The {word} is {id}.", "Success: {id}", "OK", "OK, {n} {word}", "{n}", "{id}", "{name}",
    "No {word} found.", "{word} not found", "Error: {word} is {phrase}", "Created {id} for {name}.",
    "{id} {name}\n{id2} {name2}", "{n} results:\n- {phrase}\n- {name}", "Sent to {name}.",
    "The {word} of {name} is {n}.", "Updated {n} rows",
)  # fmt: skip
_RETOLD = ("It says: {}", "The answer is: {}", "Result: {}", "{}", "Here it is. {}", "Got it: {}")


def plain_result(rng: Random) -> str:
    """What a tool returns that does not speak JSON: a few words, sometimes lines."""
    return rng.choice(_PLAIN).format(
        n=rng.randint(-20, 500),
        word=rng.choice((lexicon.invented_word(rng), rng.choice(lexicon.NOUNS), "sunny", "rain", "clouds")),
        name=lexicon.invented_name(rng),
        name2=lexicon.invented_name(rng),
        phrase=lexicon.phrase(rng),
        id=lexicon.identifier(rng),
        id2=lexicon.identifier(rng),
    )


def retold(rng: Random, result: str) -> str:
    """A final answer that repeats a plain result word for word."""
    return rng.choice(_RETOLD).format(result)


def _spoken(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
