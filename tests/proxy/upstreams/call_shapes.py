"""Structured calls in pieces, as servers really mark which of several calls a piece belongs to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tests.proxy.upstreams.dialects import Turn

Events = list[Any]
TOOLS = [
    {
        "type": "function",
        "function": {"name": name, "parameters": {"type": "object", "properties": properties}},
    }
    for name, properties in (
        ("look", {"a": {"type": "string"}}),
        ("find", {"b": {"type": "integer"}, "c": {"type": "string"}}),
        ("get_time", {}),
    )
]
LOOK, FIND = ("look", {"a": "x y"}), ("find", {"b": 12, "c": "z"})
NOW: tuple[str, dict[str, Any]] = ("get_time", {})
ARGUMENTS = {"look": '{"a": "x y"}', "find": '{"b": 12, "c": "z"}', "get_time": "{}"}


def ev(delta: Any = None, finish: Any = None, **choice: Any) -> dict[str, Any]:
    told = {"index": 0, "delta": {} if delta is None else delta, "finish_reason": finish, **choice}
    return {"id": "c", "object": "chat.completion.chunk", "model": "wire", "choices": [told]}


def said(*deltas: dict[str, Any], finish: Any = "stop") -> Events:
    return [ev({"role": "assistant", "content": ""}), *map(ev, deltas), ev({}, finish)]


def calls(*deltas: Sequence[Any], finish: Any = "tool_calls") -> Events:
    return said(*({"tool_calls": list(pieces)} for pieces in deltas), finish=finish)


def piece(name: str | None = None, arguments: Any = None, **beside: Any) -> dict[str, Any]:
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    return {"type": "function", "function": function, **beside}


def cut(name: str, size: int = 5) -> list[str]:
    text = ARGUMENTS[name]
    return [text[at : at + size] for at in range(0, len(text), size)]


def pieces(name: str, head: dict[str, Any], rest: dict[str, Any]) -> list[list[Any]]:
    """A call in pieces: its head, then its arguments. head, rest: fields beside."""
    return [[piece(name, "", **head)], *([piece(None, one, **rest)] for one in cut(name))]


def whole(name: str, **beside: Any) -> dict[str, Any]:
    return piece(name, ARGUMENTS[name], **beside)


def each(name: str, number: Callable[[int], dict[str, Any]], named: bool = False) -> list[list[Any]]:
    """A call in pieces of which each has other fields beside. named: each has the name, too."""
    told = ["", *cut(name)]
    return [[piece(name if named or not i else None, one, **number(i))] for i, one in enumerate(told)]


def in_turn(*rows: list[list[Any]]) -> list[list[Any]]:
    """The pieces of several calls, one of each in turn."""
    longest = max(map(len, rows))
    return [row[at] for at in range(longest) for row in rows if at < len(row)]


def called(*expected: tuple[str, dict[str, Any]], text: str = "") -> Turn:
    return Turn(text, calls=expected, reason="tool_calls")


CALLS: dict[str, tuple[Events, Turn]] = {
    "counted": (
        calls(
            *pieces("look", {"index": 0, "id": "a"}, {"index": 0}),
            *pieces("find", {"index": 1, "id": "b"}, {"index": 1}),
        ),
        called(LOOK, FIND),
    ),
    "counted from one": (calls(*pieces("look", {"index": 1, "id": "a"}, {"index": 1})), called(LOOK)),
    "counted in strings": (
        calls(
            *pieces("look", {"index": "0", "id": "a"}, {"index": "0"}),
            *pieces("find", {"index": "1"}, {"index": "1"}),
        ),
        called(LOOK, FIND),
    ),
    "counted in fractions": (
        calls([whole("look", index=0.0)], [whole("find", index=1.0)]),
        called(LOOK, FIND),
    ),
    "counted once": (calls(*pieces("look", {"index": 0, "id": "a"}, {})), called(LOOK)),
    "counted wrong behind the name": (
        calls(*pieces("look", {"index": 0, "id": "a"}, {"index": 1}), [whole("find", index=1, id="b")]),
        called(LOOK, FIND),
    ),
    "counted wrong, ids everywhere, in turn": (
        calls(
            *in_turn(
                pieces("look", {"index": 0, "id": "a"}, {"index": 7, "id": "a"}),
                pieces("find", {"index": 1, "id": "b"}, {"index": 8, "id": "b"}),
            )
        ),
        called(LOOK, FIND),
    ),
    "in turn": (
        calls(
            *in_turn(
                pieces("look", {"index": 0, "id": "a"}, {"index": 0}),
                pieces("find", {"index": 1, "id": "b"}, {"index": 1}),
            )
        ),
        called(LOOK, FIND),
    ),
    "no index, ids": (
        calls(*pieces("look", {"id": "a"}, {}), *pieces("find", {"id": "b"}, {})),
        called(LOOK, FIND),
    ),
    "no index, ids everywhere": (
        calls(*pieces("look", {"id": "a"}, {"id": "a"}), *pieces("find", {"id": "b"}, {"id": "b"})),
        called(LOOK, FIND),
    ),
    "no index, ids in turn": (
        calls(*in_turn(pieces("look", {"id": "a"}, {"id": "a"}), pieces("find", {"id": "b"}, {"id": "b"}))),
        called(LOOK, FIND),
    ),
    "neither, whole": (calls([whole("look")], [whole("find")]), called(LOOK, FIND)),
    "neither, in pieces": (calls(*pieces("look", {}, {}), *pieces("find", {}, {})), called(LOOK, FIND)),
    "nulls for both": (
        calls(
            *pieces("look", {"index": None, "id": None}, {"index": None}),
            [whole("find", index=None, id=None)],
        ),
        called(LOOK, FIND),
    ),
    "index 0 for all, ids": (
        calls([whole("look", index=0, id="a")], [whole("find", index=0, id="b")]),
        called(LOOK, FIND),
    ),
    "index 0 for all, ids, in pieces": (
        calls(
            *pieces("look", {"index": 0, "id": "a"}, {"index": 0}),
            *pieces("find", {"index": 0, "id": "b"}, {"index": 0}),
        ),
        called(LOOK, FIND),
    ),
    "index 0 for all, no ids": (
        calls([whole("look", index=0)], [whole("find", index=0)]),
        called(LOOK, FIND),
    ),
    "index 0 for all, no ids, in pieces": (
        calls(*pieces("look", {"index": 0}, {"index": 0}), *pieces("find", {"index": 0}, {"index": 0})),
        called(LOOK, FIND),
    ),
    "one tool twice, neither": (calls([whole("look")], [whole("look")]), called(LOOK, LOOK)),
    "one tool twice, ids": (
        calls([whole("look", index=0, id="a")], [whole("look", index=0, id="b")]),
        called(LOOK, LOOK),
    ),
    "one tool twice, in pieces, neither": (
        calls(*pieces("look", {}, {}), *pieces("look", {}, {})),
        called(LOOK, LOOK),
    ),
    "two in one delta, counted": (
        calls([whole("look", index=0, id="a"), whole("find", index=1, id="b")]),
        called(LOOK, FIND),
    ),
    "two in one delta, ids": (calls([whole("look", id="a"), whole("find", id="b")]), called(LOOK, FIND)),
    "two in one delta, neither": (calls([whole("look"), whole("find")]), called(LOOK, FIND)),
    "two in one delta, index 0": (
        calls([whole("look", index=0, id="a"), whole("find", index=0, id="b")]),
        called(LOOK, FIND),
    ),
    "one tool twice in one delta": (calls([whole("look"), whole("look")]), called(LOOK, LOOK)),
    "no arguments twice in one delta": (
        calls([piece("get_time", ""), piece("get_time", "")]),
        called(NOW, NOW),
    ),
    "no arguments twice, ids": (
        calls([piece("get_time", "", index=0, id="a")], [piece("get_time", "", index=0, id="b")]),
        called(NOW, NOW),
    ),
    "another id with each piece": (
        calls(*each("look", lambda i: {"index": 0, "id": f"id{i}"})),
        called(LOOK),
    ),
    "another id with each piece, no index": (calls(*each("look", lambda i: {"id": f"id{i}"})), called(LOOK)),
    "another id with each piece, named": (
        calls(*each("look", lambda i: {"index": 0, "id": f"id{i}"}, named=True)),
        called(LOOK),
    ),
    "another id with each piece, two calls": (
        calls(
            *each("look", lambda i: {"index": 0, "id": f"a{i}"}),
            *each("find", lambda i: {"index": 1, "id": f"b{i}"}),
        ),
        called(LOOK, FIND),
    ),
    "the name with each piece": (
        calls(*each("look", lambda i: {"index": 0, "id": "a"}, named=True)),
        called(LOOK),
    ),
    "the name with each piece, neither": (calls(*each("look", lambda i: {}, named=True)), called(LOOK)),
    "the name in pieces": (
        calls(
            [piece("get_", "", index=0, id="a")], [piece("time", "", index=0)], [piece(None, "{}", index=0)]
        ),
        called(NOW),
    ),
    "ids as numbers": (
        calls([whole("look", index=0, id=7)], [whole("find", index=1, id=8)]),
        called(LOOK, FIND),
    ),
    "arguments as objects": (
        calls([piece("look", {"a": "x y"}, index=0)], [piece("find", {"b": 12, "c": "z"}, index=1)]),
        called(LOOK, FIND),
    ),
    "arguments null": (calls([piece("get_time", None, index=0, id="a")]), called(NOW)),
    "flat pieces": (
        calls(
            [{"index": 0, "id": "a", "name": "look", "arguments": ARGUMENTS["look"]}],
            [{"index": 0, "id": "a"}],
        ),
        called(LOOK),
    ),
    "null in the list": (calls([None, whole("look", index=0)]), called(LOOK)),
    "an object for the list": (
        said({"tool_calls": whole("look", index=0, id="a")}, finish="tool_calls"),
        called(LOOK),
    ),
    "text before": (
        said(
            {"content": "See."},
            {"tool_calls": [whole("look")]},
            {"tool_calls": [whole("find")]},
            finish="tool_calls",
        ),
        called(LOOK, FIND, text="See."),
    ),
    "the reason stop": (calls([whole("look", index=0)], finish="stop"), called(LOOK)),
    "the reason of Anthropic": (calls([whole("look", index=0)], finish="tool_use"), called(LOOK)),
    "function_call": (
        said(
            {"function_call": {"name": "look", "arguments": ""}},
            *({"function_call": {"arguments": one}} for one in cut("look")),
            finish="function_call",
        ),
        called(LOOK),
    ),
    "function_call whole": (
        said({"function_call": {"name": "look", "arguments": ARGUMENTS["look"]}}, finish="function_call"),
        called(LOOK),
    ),
    "half a pair in arguments": (
        calls([piece("look", '{"a": "x\ud83d', index=0)], [piece(None, '\ude00"}', index=0)]),
        called(("look", {"a": "x\U0001f600"})),
    ),
}
