"""Broken JSON text of the arguments."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from random import Random
from typing import Any

from corpora.malformations.specimen import (
    ARGUMENTS,
    Label,
    Malformation,
    Specimen,
    Stage,
    Written,
    pieces_of,
)

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]:,]|[^\s{}\[\]:,"]+')
_ESCAPABLE = '"\\/bfnrtu'
#: what Python or a lazy writer could mean by a backslash before it
_DOUBTFUL = "'xNUav01234567\n"


@dataclass(frozen=True, slots=True)
class Token:
    """text: a string with its quotes, a bracket, a colon, a comma, or a scalar. is_key: of a member."""

    text: str
    start: int
    end: int
    is_key: bool

    @property
    def is_string(self) -> bool:
        return self.text.startswith('"') and not self.is_key


def tokens(text: str) -> list[Token]:
    """The tokens of strict JSON."""
    found = list(_TOKEN.finditer(text))
    texts = [*(one.group() for one in found), ""]
    return [
        Token(one.group(), one.start(), one.end(), texts[index + 1] == ":") for index, one in enumerate(found)
    ]


def _choose(specimen: Specimen, rng: Random) -> tuple[int, Written]:
    call = rng.randrange(len(specimen.written))
    return call, specimen.written[call]


def _with_text(specimen: Specimen, call: int, text: str) -> Specimen:
    return specimen.rewritten(call, replace(specimen.written[call], text=text))


def _edit(
    specimen: Specimen, rng: Random, fits: Callable[[Token], bool], change: Callable[[str, Token], str]
) -> Specimen | None:
    """One fitting token of one call, changed; `change` gets the text and the token."""
    call, written = _choose(specimen, rng)
    found = [one for one in tokens(written.text) if fits(one)]
    if not found:
        return None
    return _with_text(specimen, call, change(written.text, rng.choice(found)))


def _replaced(text: str, token: Token, new: str) -> str:
    return text[: token.start] + new + text[token.end :]


def trailing_comma(specimen: Specimen, rng: Random) -> Specimen | None:
    call, written = _choose(specimen, rng)
    found = tokens(written.text)
    ends = [
        one for before, one in pairwise(found) if one.text in ("}", "]") and before.text not in ("{", "[")
    ]
    if not ends:
        return None
    at = rng.choice(ends).start
    comma = rng.choice((",", ", ", " ,"))
    return _with_text(specimen, call, written.text[:at].rstrip() + comma + written.text[at:])


def extra_closer(specimen: Specimen, rng: Random) -> Specimen | None:
    """Behind the arguments, where a bracket of the envelope may stand right after them."""
    call, written = _choose(specimen, rng)
    return _with_text(specimen, call, written.text + rng.choice(("}", "}}", "\n}")))


def raw_control(specimen: Specimen, rng: Random) -> Specimen | None:
    """Line breaks and tabs of one string written as they are."""

    def change(text: str, token: Token) -> str:
        parts = re.split(r"(\\.)", token.text, flags=re.DOTALL)
        raw = {"\\n": "\n", "\\t": "\t", "\\r": "\r"}
        return _replaced(text, token, "".join(raw.get(part, part) for part in parts))

    return _edit(specimen, rng, lambda one: one.is_string and bool(re.search(r"\\[nt]", one.text)), change)


def stray_control(specimen: Specimen, rng: Random) -> Specimen | None:
    """A byte-order mark or a control character between two tokens."""
    mark = rng.choice(("\ufeff", "\x00", "\x0c", "\x1b", "\x0b"))
    return _edit(
        specimen, rng, lambda one: True, lambda text, one: text[: one.start] + mark + text[one.start :]
    )


def escaped_line_breaks(specimen: Specimen, rng: Random) -> Specimen | None:
    """`\\n` in two characters between the tokens."""
    return _edit(
        specimen,
        rng,
        lambda one: one.is_key,
        lambda text, one: text[: one.start] + "\\n  " + text[one.start :],
    )


def single_backslashes(specimen: Specimen, rng: Random) -> Specimen | None:
    """One string's own backslashes not doubled.

    With one reading only if none of them looks like an escape and nothing in the string is escaped.
    """
    call, written = _choose(specimen, rng)
    found = [one for one in tokens(written.text) if one.is_string and "\\\\" in one.text]
    if not found:
        return None
    token = rng.choice(found)
    after = re.sub(r"\\\\", lambda match: "\\", token.text)
    value = json.loads(token.text)
    followers = [value[at + 1 : at + 2] for at, char in enumerate(value) if char == "\\"]
    if any(one and one in "bfnrtu" for one in followers) or value.endswith("\\") or "\\\\" in value:
        return None  # reads as another escape, or as the end of the string: valid, and not to be told apart
    if any(one in ('"', "/") for one in followers):
        return None
    damaged = _with_text(specimen, call, _replaced(written.text, token, after))
    mixed = len(re.findall(r"\\", after)) != len(followers)
    doubtful = any(one in _DOUBTFUL for one in followers)
    return damaged.labelled(Label.undecided if mixed or doubtful else Label.recoverable)


def broken_unicode(specimen: Specimen, rng: Random) -> Specimen | None:
    broken = rng.choice(("\\u12", "\\u00zz", "\\uD83D", "\\u", "\\uDE00 x", "\\u{41}", "\\u004g"))

    def change(text: str, token: Token) -> str:
        at = token.start + 1
        return text[:at] + broken + ("" if broken.endswith("D") else " ") + text[at:]

    damaged = _edit(specimen, rng, lambda one: one.is_string, change)
    return damaged.labelled(Label.destroying) if damaged else None


def single_quotes(specimen: Specimen, rng: Random) -> Specimen | None:
    """Every string in single quotes; no string that would need an escape."""
    call, written = _choose(specimen, rng)
    found = tokens(written.text)
    if any(one.text[:1] == '"' and re.search(r"['\\]", one.text) for one in found):
        return None
    if not any(one.text[:1] == '"' for one in found):
        return None
    return _with_text(specimen, call, "".join(_requote(written.text, found)))


def _requote(text: str, found: list[Token]) -> list[str]:
    parts, at = [], 0
    for one in found:
        new = f"'{one.text[1:-1]}'" if one.text[:1] == '"' else one.text
        parts += [text[at : one.start], new]
        at = one.end
    return [*parts, text[at:]]


def python_literals(specimen: Specimen, rng: Random) -> Specimen | None:
    spelled = {"true": "True", "false": "False", "null": "None"}
    return _edit(
        specimen,
        rng,
        lambda one: one.text in spelled,
        lambda text, one: _replaced(text, one, spelled[one.text]),
    )


def python_repr(specimen: Specimen, rng: Random) -> Specimen | None:
    """The arguments as Python prints a dict; only without Python's escapes, which JSON reads otherwise."""
    call, written = _choose(specimen, rng)
    text = repr(written.value)
    return None if "\\" in text or text == "{}" else _with_text(specimen, call, text)


def not_finite(specimen: Specimen, rng: Random) -> Specimen | None:
    damaged = _edit(
        specimen,
        rng,
        lambda one: one.text[:1].isdigit() or one.text[:1] == "-",
        lambda text, one: _replaced(
            text, one, rng.choice(("NaN", "Infinity", "-Infinity", "undefined", "1e999"))
        ),
    )
    return damaged.labelled(Label.destroying) if damaged else None


def unquoted_key(specimen: Specimen, rng: Random) -> Specimen | None:
    return _edit(
        specimen,
        rng,
        lambda one: one.is_key and one.text[1:-1].isidentifier() and one.text.isascii(),
        lambda text, one: _replaced(text, one, one.text[1:-1]),
    )


def missing_comma(specimen: Specimen, rng: Random) -> Specimen | None:
    """Between two members of an object. After a string, a quote may also be one of its own."""
    call, written = _choose(specimen, rng)
    found = tokens(written.text)
    commas = [at for at, one in enumerate(found[:-1]) if one.text == "," and found[at + 1].is_key]
    if not commas:
        return None
    at = rng.choice(commas)
    damaged = _with_text(specimen, call, _replaced(written.text, found[at], " "))
    return damaged.labelled(Label.undecided if found[at - 1].is_string else Label.recoverable)


def unescaped_quotes(specimen: Specimen, rng: Random) -> Specimen | None:
    """The inner quotes of one free-text parameter. One reading if words stand around every quote and
    nothing else in the arguments has any; else the end of the string is a guess.
    """
    call, written = _choose(specimen, rng)
    properties = specimen.tool(call).parameters["properties"]
    keys = [
        key
        for key, item in written.value.items()
        if isinstance(item, str) and '"' in item and properties.get(key, {}).get("type") == "string"
    ]
    if not keys:
        return None
    key = rng.choice(keys)
    value = written.value[key]
    encoded = next(
        (one.text for one in tokens(written.text) if one.is_string and json.loads(one.text) == value), None
    )
    if encoded is None or written.text.count(encoded) != 1:
        return None
    inner = encoded[1:-1].replace('\\"', '"')
    damaged = _with_text(specimen, call, written.text.replace(encoded, f'"{inner}"'))
    plain = re.fullmatch(r'\w[\w ]*(?:"[\w ]*\w"? ?[\w ]*)+\w', value) is not None and "\\" not in inner
    inside = re.findall(r'(.?.?)"(.?.?)', value)
    plain = plain and all(re.search(r"\w", before + after) for before, after in inside)
    return damaged.labelled(Label.recoverable if plain else Label.undecided)


def double_encoded(specimen: Specimen, rng: Random) -> Specimen | None:
    call, written = _choose(specimen, rng)
    return _with_text(specimen, call, json.dumps(written.text, ensure_ascii=False))


def encoded_three_times(specimen: Specimen, rng: Random) -> Specimen | None:
    call, written = _choose(specimen, rng)
    text = json.dumps(json.dumps(written.text))
    return _with_text(specimen, call, text).labelled(Label.destroying)


def not_an_object(specimen: Specimen, rng: Random) -> Specimen | None:
    call, written = _choose(specimen, rng)
    values: tuple[Any, ...] = ([written.value], list(written.value.values()), "Oslo", 5, True)
    return _with_text(specimen, call, json.dumps(rng.choice(values))).labelled(Label.destroying)


def duplicate_key(specimen: Specimen, rng: Random) -> Specimen | None:
    """One member twice: harmless if both say the same, else a choice between two."""
    call, written = _choose(specimen, rng)
    if not written.value:
        return None
    key, value = rng.choice(list(written.value.items()))
    same = rng.random() < 0.5
    again = value if same else rng.choice(["other", 17, [1], None])
    if not same and json.dumps(again) == json.dumps(value):
        return None
    member = f", {json.dumps(key)}: {json.dumps(again)}"
    end = written.text.rstrip()[:-1].rstrip()
    damaged = _with_text(specimen, call, f"{end}{member}}}")
    return damaged if same else damaged.labelled(Label.destroying)


def arguments_twice(specimen: Specimen, rng: Random) -> Specimen | None:
    """The same object once more behind the first, where the format gives the arguments alone."""
    call, written = _choose(specimen, rng)
    head = pieces_of(specimen)[call]
    if '"' in head.rpartition("\n")[2] or specimen.format == "functionary" or not written.value:
        return None
    damaged = _with_text(specimen, call, written.text + rng.choice(("", "\n")) + written.text)
    return damaged if specimen.format == ARGUMENTS else damaged.labelled(Label.undecided)


def cut_and_closed(specimen: Specimen, rng: Random) -> Specimen | None:
    """Cut inside a string, and yet followed by whatever comes after the arguments."""
    call, written = _choose(specimen, rng)
    found = [one for one in tokens(written.text) if one.text[:1] == '"' and one.end - one.start > 2]
    if not found:
        return None
    token = rng.choice(found)
    text = written.text[: rng.randrange(token.start + 1, token.end)]
    return _with_text(specimen, call, text).labelled(Label.destroying)


_TABLE: dict[str, tuple[Callable[[Specimen, Random], Specimen | None], bool]] = {
    "trailing comma": (trailing_comma, False),
    "extra closing bracket": (extra_closer, False),
    "raw line break or tab": (raw_control, False),
    "stray control or byte-order mark": (stray_control, False),
    "escaped line break between tokens": (escaped_line_breaks, True),
    "backslashes not doubled": (single_backslashes, True),
    "broken unicode escape": (broken_unicode, True),
    "single quotes": (single_quotes, False),
    "Python literal": (python_literals, False),
    "Python dict": (python_repr, False),
    "NaN or infinity": (not_finite, True),
    "unquoted key": (unquoted_key, False),
    "missing comma": (missing_comma, True),
    "unescaped quotes": (unescaped_quotes, True),
    "encoded twice": (double_encoded, True),
    "encoded three times": (encoded_three_times, True),
    "not an object": (not_an_object, True),
    "duplicate key": (duplicate_key, True),
    "arguments twice": (arguments_twice, True),
    "cut in a string, then closed": (cut_and_closed, True),
}
SYNTAX = tuple(Malformation(name, Stage.arguments, one, alone) for name, (one, alone) in _TABLE.items())
