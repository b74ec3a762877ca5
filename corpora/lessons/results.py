"""What a tool answered, and the one or two sentences that tell it to the user."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from corpora import lexicon
from corpora.invention import Parameter, draw_value
from corpora.lessons.nested import cue_of
from corpora.lessons.vocabulary import Vocabulary

_KINDS = ("name", "id", "path", "date", "time", "integer", "number", "boolean", "enum", "text")


@dataclass(frozen=True, slots=True)
class Telling:
    """A question, the tool's answer, and the words for it.

    kind: fields, asked (one field of many), text, error, empty.
    request: what the user says; `arguments` are those of the call that serves it.
    content: of the tool's message.
    values: of each group one must stand in the words.
    """

    kind: str
    request: str
    noun: str
    arguments: Mapping[str, Any]
    content: str
    values: tuple[tuple[str, ...], ...]
    reply: str


def draw_telling(rng: Random, words: Vocabulary, kind: str = "") -> Telling:
    """A result of one of the kinds."""
    kind = kind or rng.choice(list(TELLINGS))
    noun, key = rng.choice(words.nouns), lexicon.identifier(rng)
    return TELLINGS[kind](rng, words, noun, key)


def lookup_tool(noun: str) -> dict[str, Any]:
    """The tool that the requests of tellings are served by."""
    schema = {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]}
    function = {"name": f"get_{noun}", "description": f"Get the {noun} by its id.", "parameters": schema}
    return {"type": "function", "function": function}


def _request(rng: Random, noun: str, key: str) -> str:
    forms = (
        "Show me the {n} {k}", "get {n} {k}", "What about the {n} {k}?", "look up the {n} {k}, please",
        "What do you know about the {n} {k}?", "check {n} {k}", "Give me the {n} {k}.",
        "What is the {n} of {k}?", "What is the {n} in {k}?", "How is the {n} in {k}?", "{n} of {k}?",
    )  # fmt: skip
    return rng.choice(forms).format(n=noun, k=key)


def _drawn_fields(rng: Random, words: Vocabulary, count: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    while len(found) < count:
        kind = rng.choice(_KINDS)
        name = rng.choice(words.fields[kind])
        if kind == "enum":
            found[name] = rng.choice(words.options)
        elif kind == "text":
            found[name] = plain_words(rng)
        else:
            found[name] = draw_value(rng, Parameter(name, kind, {}, True, name))
    return found


def plain_words(rng: Random) -> str:
    """Some words without a mark that could end a sentence or a quotation."""
    text = lexicon.phrase(rng, 2, 5)
    return " ".join("".join(sign for sign in text if sign.isalnum() or sign.isspace()).split())


def spoken(value: Any) -> str:
    """A value as it stands in a sentence."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def _sentence(rng: Random, fields: Mapping[str, Any]) -> str:
    parts = [f"the {cue_of(name)} is {spoken(value)}" for name, value in fields.items()]
    joined = parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]
    return joined[0].upper() + joined[1:] + "."


def _as_json(rng: Random, value: Any) -> str:
    wrapped = value
    if rng.random() < 0.3:
        wrapped = rng.choice(({"result": value}, {"status": "ok", "data": value}, [value]))
    return json.dumps(wrapped, ensure_ascii=False, indent=rng.choice((None, None, 2)))


def _due(value: Any) -> tuple[str, ...]:
    if isinstance(value, bool):
        return ("yes", "true", "is on") if value else ("no", "false", "not")
    return (str(value),)


def _fields(rng: Random, words: Vocabulary, noun: str, key: str) -> Telling:
    found = _drawn_fields(rng, words, rng.randint(1, 3))
    if rng.random() < 0.4:  # many tools say again what they were asked about
        found = {rng.choice(("id", "key", noun, rng.choice(words.fields["name"]))): key} | found
    reply = rng.choice(("", "", "Done. ")) + _sentence(rng, found)
    due = tuple(map(_due, found.values()))
    return Telling("fields", _request(rng, noun, key), noun, {"id": key}, _as_json(rng, found), due, reply)


def _asked(rng: Random, words: Vocabulary, noun: str, key: str) -> Telling:
    found = _drawn_fields(rng, words, rng.randint(4, 8))
    name = rng.choice(list(found))
    forms = (
        "What is the {c} of the {n} {k}?", "Tell me the {c} of {n} {k}", "{n} {k}: which {c}?",
        "I need the {c} of the {n} {k}.",
    )  # fmt: skip
    request = rng.choice(forms).format(c=cue_of(name), n=noun, k=key)
    reply = _sentence(rng, {name: found[name]})
    return Telling("asked", request, noun, {"id": key}, _as_json(rng, found), (_due(found[name]),), reply)


def _text(rng: Random, words: Vocabulary, noun: str, key: str) -> Telling:
    said = plain_words(rng)
    content = rng.choice(("{}", "{}.", "{}\n", "- {}")).format(said)
    forms = ('The {n} says "{t}".', "It says {t}.", 'The result is "{t}".', 'The answer for {k} is "{t}".')
    reply = rng.choice(forms).format(n=noun, t=said, k=key)
    return Telling("text", _request(rng, noun, key), noun, {"id": key}, content, ((said,),), reply)


def _error(rng: Random, words: Vocabulary, noun: str, key: str) -> Telling:
    message = rng.choice(
        (
            f"{noun} {key} not found", f"no {noun} {key}", f"{key} is locked by {lexicon.invented_name(rng)}",
            f"access to {key} denied", f"timeout after {rng.randint(2, 90)} seconds for {key}",
            f"{key} is not a {noun}",
        )
    )  # fmt: skip
    content = rng.choice(
        (
            json.dumps({"error": message}), f"Error: {message}",
            json.dumps({"ok": False, "message": message}),
            f"error: {message}\nexit code 1", json.dumps({"error": {"code": 404, "message": message}}),
        )
    )  # fmt: skip
    forms = ("That did not work: {m}.", "It failed: {m}.", "There was an error: {m}.")
    reply = rng.choice(forms).format(m=message)
    return Telling("error", _request(rng, noun, key), noun, {"id": key}, content, ((message,),), reply)


_NOTHING = ("nothing", "no ", "none", "empty", "not ", "any")


def _empty(rng: Random, words: Vocabulary, noun: str, key: str) -> Telling:
    content = rng.choice(("", "[]", "{}", "null", '{"results": []}', "No results.", "(no output)", "(empty)"))
    reply = rng.choice(
        (f"There is no {noun} {key}.", "The result is empty.", f"Nothing was found for {key}.")
    )
    return Telling("empty", _request(rng, noun, key), noun, {"id": key}, content, (_NOTHING,), reply)


TELLINGS: Mapping[str, Callable[[Random, Vocabulary, str, str], Telling]] = {
    "fields": _fields, "asked": _asked, "text": _text, "error": _error, "empty": _empty,
}  # fmt: skip
