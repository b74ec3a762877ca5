"""Hostile [[format]] tables: each is refused with one line, or it serves.

Shared by `make fuzz`, which runs many of them with texts that grow (`python -m tests.fuzz.declared SECONDS`),
and by the slice of it in the tests.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from random import Random
from typing import Any

from pydantic import ValidationError

from proxy.upstreams.declared import DeclaredFormat
from repair.formats import Wire
from repair.tools import ToolSet
from repair.turn import Turn
from repair.types import ReasoningDelta, TextDelta, ToolCall, ToolDefinition, Verdict

SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "integer"}}}
TOOLS = ToolSet.compile(
    [ToolDefinition("f", "", SCHEMA), ToolDefinition("get_weather", "", {"type": "object"})]
)
CALL = ToolCall("f", '{"a": "x", "b": 1}')
KEYS = ("section", "section_end", "call", "call_end", "joint", "parameter", "parameter_end", "start")
SOUND: dict[str, dict[str, Any]] = {
    "objects": {"call": "<q>", "call_end": "</q>"},
    "named": {"call": "<use {name}>", "call_end": "</use>"},
    "tags": {
        **{"call": '<q n="{name}">', "call_end": "</q>"},
        **{"parameter": '<p k="{key}">', "parameter_end": "</p>"},
    },
    "pairs": {
        **{"call": "<q>{name}", "call_end": "</q>"},
        **{"parameter": "<k>{key}</k><v>", "parameter_end": "</v>"},
    },
    "python": {"section": "<q>", "section_end": "</q>", "listed": True},
}
ATOMS = (
    *(
        "",
        " ",
        "\n",
        "\t",
        "\r\n",
        "\n\n",
        "a",
        "the",
        "f",
        "get_weather",
        "null",
        "name",
        "arguments",
        "\u00e9",
    ),
    *(
        ".",
        ",",
        ":",
        "=",
        "{",
        "}",
        "[",
        "]",
        "(",
        ")",
        "<",
        ">",
        '"',
        "'",
        "`",
        "```",
        "```json\n",
        "|",
        "\\",
    ),
    *(
        "*",
        "+",
        "?",
        "^",
        "$",
        "\\d+",
        ".*",
        "(?P<x>",
        "[^",
        "((((",
        "(a+)+$",
        "%s",
        "{0}",
        "{ {",
        '": "',
        '", "',
    ),
    *(
        "\x00",
        "\x1b",
        "\u200b",
        "\ufffd",
        "\ud800",
        "{name}",
        "{key}",
        "{id}",
        "{index}",
        "{string}",
        "{type}",
    ),
    *(
        "<tool_call>",
        "</tool_call>",
        "<think>",
        "</think>",
        "[TOOL_CALLS]",
        "<q>",
        "</q>",
        "<k>",
        "</k>",
        "<v>",
    ),
    *("<" * 50, "a" * 390, "x" * 100_000),
)
PROSE = (
    "I will call f with a and b. The result (see [1], {x}) is <b>bold</b> | fine.\n\nThen f(a) = b; `f`.",
    'Use {"a": "x", "b": 1} as arguments, e.g. [1, 2] (a, b) -> c: d.\n```python\nf(1)\n```\n',
    "name: f\narguments: none\n* a\n* b\n| x | y |\n|---|---|\n> quote",
)
SIZES = (8_000, 16_000, 32_000, 64_000, 128_000)


def draw(rng: Random) -> dict[str, Any]:
    """A table that differs from a sound one in a few keys."""
    shape = rng.choice(sorted(SOUND))
    table: dict[str, Any] = {"name": "own", "shape": shape, **SOUND[shape]}
    for key in rng.sample(KEYS, rng.randint(1, 4)):
        old = table.get(key, "")
        at = rng.randint(0, len(old))
        table[key] = rng.choice(
            (
                "".join(rng.choices(ATOMS, k=rng.randint(0, 3))),
                old[:at] + rng.choice(ATOMS) + old[at:],
                table.get(rng.choice(KEYS), ""),
                old[:at],
            )
        )
    for key in ("dropped", "also"):
        if rng.random() < 0.1:
            table[key] = rng.choices(ATOMS, k=rng.randint(1, 2))
    if rng.random() < 0.1:
        table["reasoning"] = [rng.choices(ATOMS, k=2)]
    if rng.random() < 0.1:
        table[rng.choice(("name_key", "arguments_key"))] = rng.choice(ATOMS)
    return table


def accept(table: dict[str, Any]) -> Wire | None:
    """The format of a table that is taken; None where it is refused, with a reason in one line."""
    try:
        return DeclaredFormat(**table).wire()
    except ValidationError as error:
        reasons = [one["msg"] for one in error.errors()]
    assert all(one and "\n" not in one for one in reasons)
    return None


def play(wire: Wire, pieces: Sequence[str]) -> tuple[Verdict, tuple[ToolCall, ...], str, str]:
    """A turn from its pieces: its verdict, its calls, all its text and all its reasoning."""
    turn = Turn(TOOLS, wire)
    deltas = [delta for piece in pieces for delta in turn.feed(piece)]
    outcome = turn.close("stop")
    deltas += outcome.events
    text = "".join(one.text for one in deltas if isinstance(one, TextDelta))
    thought = "".join(one.text for one in deltas if isinstance(one, ReasoningDelta))
    return outcome.verdict, outcome.calls, text, thought


def units(table: dict[str, Any]) -> list[str]:
    """What a text of this format may consist of: its literals, whole and as beginnings of calls."""
    keys = ("section", "call", "parameter", "parameter_end", "call_end", "section_end", "joint")
    section, call, parameter, *ends = (
        str(table.get(key, "")).replace("{name}", "f").replace("{key}", "a") for key in keys
    )
    parts = (
        section,
        call,
        parameter,
        *ends,
        section + call,
        call + parameter,
        call + parameter + "x" + ends[0],
    )
    more = (call + '{"a":', call + '{"a": "' + call, call + "[", section + call + parameter + "<", "f(")
    return [one for one in dict.fromkeys((*parts, *more)) if one.strip()]


def check(rng: Random, table: dict[str, Any], wire: Wire) -> None:
    """Raises AssertionError where a promise is broken, and whatever the repair itself raises."""
    for prose in PROSE:
        assert not play(wire, [prose])[1], "a call out of prose"
    written = wire.formats[0].render((CALL,))
    soup = "".join(rng.choices([*units(table), *PROSE, written], k=rng.randint(1, 6)))
    at = rng.randint(0, len(soup))
    whole = play(wire, [soup])
    assert play(wire, list(soup)) == whole, "by character it is something else"
    assert play(wire, [soup[:at], soup[at:]]) == whole, "in halves it is something else"
    for end in rng.sample(range(len(written) + 1), 4):
        found = [(one.name, json.loads(one.arguments)) for one in play(wire, [written[:end]])[1]]
        assert found in ([], [("f", json.loads(CALL.arguments))]), "a part of a call was executed"


def slow(rng: Random, table: dict[str, Any], wire: Wire) -> Iterator[str]:
    """Texts whose time grows faster than 2.5 times for twice the length, twice in a row."""
    unit = rng.choice(units(table))
    times = []
    for size in SIZES:
        text = unit * (size // len(unit) + 1)
        spent = []
        for _ in range(2):
            began = time.process_time()
            play(wire, [text])
            spent.append(time.process_time() - began)
        times.append(max(min(spent), 0.002))
    ratios = [later / earlier for earlier, later in pairwise(times)]
    if any(one > 2.5 and two > 2.5 for one, two in pairwise(ratios)) or times[-1] > 20:
        yield f"{unit!r}: {', '.join(f'{one:.3f}' for one in times)} s at {SIZES} characters"


def main() -> None:
    """Prints how many tables were tried, and ends with 1 where one breaks a promise or is slow."""
    rng, tried, taken, bad = Random(), 0, 0, 0
    until = time.monotonic() + float(sys.argv[1])
    while time.monotonic() < until:
        table = draw(rng)
        wire = accept(table)
        tried += 1
        if wire is None:
            continue
        taken += 1
        try:
            check(rng, table, wire)
            found = [*slow(rng, table, wire)] if taken % 8 == 0 else []
        except Exception as error:  # whatever it is, it is what this looks for
            found = [f"{type(error).__name__}: {error}"]
        bad += len(found)
        for one in found:
            print(one, table, flush=True)
    print(f"{tried} declared formats, {taken} taken, {bad} that broke a promise")
    raise SystemExit(bool(bad))


if __name__ == "__main__":
    main()
