"""What a client is given to do, and the ways in which its model gets the call wrong."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any


class Fault(StrEnum):
    """One kind of wrong call. None of them has a single right reading, so no repair may mend it.

    broken: the arguments are no JSON. cut: they end in the middle of a string, and the finish does not say
    so. length: the same, and the finish is `length`. array: they are a list. missing: a required argument is
    not there. unknown: a tool that was not declared. type: a value of a type that the schema does not allow.
    value: one that its enum does not hold, or, where the tool has no enum, an object in place of a text.
    fence: the call stands in the text, in a fence, and lacks an argument. markup: the same, in `<tool_call>`.
    """

    broken = "broken"
    cut = "cut"
    length = "length"
    array = "array"
    missing = "missing"
    unknown = "unknown"
    type = "type"
    value = "value"
    fence = "fence"
    markup = "markup"


@dataclass(frozen=True, slots=True)
class Task:
    """The call that a client's tool wants, and wrong ones of it.

    broken, cut: texts of arguments. missing, type, value: arguments that break the schema. unknown: the name
    of a tool that is not there. recorded: what the tool writes down when it is executed with `good`.
    last: the call by which the client wants to be told the answer; None where words do. Its arguments may
    hold {answer}. form: of these words.
    """

    tool: str
    good: Mapping[str, Any]
    broken: str
    cut: str
    missing: Mapping[str, Any]
    type: Mapping[str, Any]
    value: Mapping[str, Any]
    recorded: Any
    unknown: str = "search_everything"
    last: tuple[str, Mapping[str, Any]] | None = None
    form: str = "{answer}"

    def ending_with(self, name: str, **arguments: Any) -> Task:
        return replace(self, last=(name, arguments))

    def at(self, step: int) -> Task:
        """The same with the place of an earlier step of a session, at which there is no code yet."""
        names = ("good", "broken", "cut", "missing", "type", "value", "recorded")
        return replace(self, **{name: _moved(getattr(self, name), step) for name in names})

    def wrong(self, fault: Fault) -> tuple[str, str]:
        """Name and arguments of the faulty call."""
        match fault:
            case Fault.broken:
                return self.tool, self.broken
            case Fault.cut | Fault.length:
                return self.tool, self.cut
            case Fault.unknown:
                return self.unknown, json.dumps(self.good)
            case Fault.array:
                return self.tool, json.dumps(list(self.good.values()))
            case Fault.missing | Fault.fence | Fault.markup:
                return self.tool, json.dumps(self.missing)
            case Fault.type:
                return self.tool, json.dumps(self.type)
            case Fault.value:
                return self.tool, json.dumps(self.value)


def _moved(value: Any, step: int) -> Any:
    return json.loads(json.dumps(value).replace("north", f"step {step}"))


_PLACE = {"shelf": "north wing", "row": 7, "kind": "book"}

# For clients that are given a tool by us: lookup_code(shelf: str, row: int, kind: "book" | "map").
LOOKUP = Task(
    tool="lookup_code",
    good=_PLACE,
    broken='{"shelf": "north wing", "row": 7, "kind": book or map}',
    cut='{"row": 7, "kind": "book", "shelf": "north w',
    missing={"shelf": "north wing", "row": 7},
    type={**_PLACE, "row": "the seventh"},
    value={**_PLACE, "kind": "painting"},
    recorded=_PLACE,
)


# For a client that calls no tools: it is only to tell what the model says.
WORDS = Task("", {}, "", "", {}, {}, {}, recorded=None)


def shell(tool: str, *, parameter: str = "command", timeout: str = "timeout", **always: Any) -> Task:
    """For clients with a shell of their own: `sh lookup.sh WORD` records WORD, and knows only `north`.

    parameter: the tool's argument for the command. timeout: one of its arguments that is a number, "" for a
    tool without one. always: its other required arguments.
    """

    def run(word: str, **more: Any) -> dict[str, Any]:
        return {parameter: f"sh lookup.sh {word}", **always, **more}

    good, spare = run("north"), {timeout: 5} if timeout else {}
    return Task(
        tool=tool,
        good=good,
        broken=json.dumps(run("broken"))[:-1] + ', "timeout": 5 or 6}',
        cut=json.dumps({**always, parameter: "sh lookup.sh cut and more"})[:-2],
        missing={name: value for name, value in run("missing", **spare).items() if name != parameter},
        type=run("type", **{timeout: "soon"}) if timeout else {**good, parameter: ["sh", "lookup.sh type"]},
        value={**good, parameter: {"run": "sh lookup.sh value"}},
        recorded="north",
    )


# For Cline, whose shell takes a list of commands.
COMMANDS = Task(
    tool="run_commands",
    good={"commands": ["sh lookup.sh north"]},
    broken='{"commands": ["sh lookup.sh broken" or "sh lookup.sh north"]}',
    cut='{"commands": ["sh lookup.sh cut and more',
    missing={},
    type={"commands": {"first": "sh lookup.sh type"}},
    value={"commands": [{"run": "sh lookup.sh value"}]},
    recorded="north",
)
