"""The tool world: toolboxes over a simulated state, and the wishes that people bring to them.

A toolbox is a module-level value: its tools in OpenAI form, a function that opens a fresh state, one that
runs a call on it, and the wishes it can serve. Nothing reads a clock, a file or a global random state, so
a seed is a world.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

State = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Call:
    """One call that ought to be made; `arguments` are a JSON object."""

    name: str
    arguments: Mapping[str, Any]


#: yields the calls of one assistant turn, is sent their results in order, returns the closing words
Plan = Generator[tuple[Call, ...], tuple[Any, ...], str]


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody says, and the one right way to serve it."""

    text: str
    plan: Plan


@dataclass(frozen=True, slots=True)
class Toolbox:
    """Tools that belong together.

    open: returns a fresh state of JSON values.
    run: does a schema-valid call on the state, in place, and returns its result, a JSON value. What cannot be
        done (no such id, sold out) is `{"error": "..."}` and changes nothing.
    wishes: each draws one wish that the given state can serve, and never changes that state itself; its
        weight is how often it comes.
    purpose: for a system prompt.
    """

    name: str
    purpose: str
    tools: tuple[Mapping[str, Any], ...]
    open: Callable[[Random], State]
    run: Callable[[State, str, Mapping[str, Any]], Any]
    wishes: Mapping[Callable[[Random, State], Wish], int]

    def serve(self, state: State, name: str, arguments: Mapping[str, Any]) -> Any:
        """Runs a call that was not planned: an argument that the tool does not declare is an error."""
        declared = self.definition(name)["parameters"]["properties"]
        unknown = next((one for one in arguments if one not in declared), None)
        if unknown is not None:
            return error(f"unknown argument {unknown}")
        return self.run(state, name, _as_integers(arguments))

    def definition(self, name: str) -> Mapping[str, Any]:
        """The function object of one tool. Raises KeyError for a name it has not."""
        return _by_name(self.tools)[name]


def _as_integers(value: Any) -> Any:
    """The value with each number that has no fraction as an integer: JSON Schema takes 3.0 for one."""
    match value:
        case Mapping():
            return {key: _as_integers(inner) for key, inner in value.items()}
        case list():
            return [_as_integers(inner) for inner in value]
        case float() if value.is_integer():
            return int(value)
    return value


def _by_name(tools: tuple[Mapping[str, Any], ...]) -> dict[str, Mapping[str, Any]]:
    return {tool["function"]["name"]: tool["function"] for tool in tools}


def tool(
    name: str, description: str, properties: Mapping[str, Any], required: tuple[str, ...] = ()
) -> dict[str, Any]:
    """A tool in OpenAI form."""
    schema: dict[str, Any] = {"type": "object", "properties": dict(properties)}
    if required:
        schema["required"] = list(required)
    function = {"name": name, "description": description, "parameters": schema}
    return {"type": "function", "function": function}


def single(call: Call, reply: Callable[[Any], str] | str) -> Plan:
    """The plan of one call and a closing sentence about its result."""
    (result,) = yield (call,)
    return _closing(result, reply)


def _closing(result: Any, reply: Callable[[Any], str] | str) -> str:
    if isinstance(result, dict) and "error" in result:
        return f"That did not work: {result['error']}."
    return reply if isinstance(reply, str) else reply(result)


def content_id(prefix: str, *parts: Any) -> str:
    """An id such as `ord-7F3KQ`, made from what it names, so that other calls do not shift it."""
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).digest()
    signs = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"
    return f"{prefix}-" + "".join(signs[byte % 32] for byte in digest[:5])


def error(message: str) -> dict[str, str]:
    """The result of a call that could not be done."""
    return {"error": message}
