"""Streams as servers really write them: kinds of answers, and the ways in which their bytes come."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

from tests.proxy.upstreams.call_shapes import CALLS, FIND, LOOK, Events, called, ev, piece, said, whole
from tests.proxy.upstreams.dialects import FAILED, Turn

THINKING = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
TEXTS: dict[str, tuple[Events, Turn]] = {
    "text": (said({"content": "It "}, {"content": "rains."}), Turn("It rains.")),
    "reasoning_content": (said({"reasoning_content": "hm"}, {"content": "Yes."}), Turn("Yes.", "hm")),
    "reasoning": (said({"reasoning": "hm"}, {"content": "Yes."}), Turn("Yes.", "hm")),
    "both names": (
        said({"reasoning": "hm", "reasoning_content": "hm"}, {"content": "Yes."}),
        Turn("Yes.", "hm"),
    ),
    "parts": (
        said({"content": [{"type": "text", "text": "It "}, {"type": "text", "text": "rains."}]}),
        Turn("It rains."),
    ),
    "thoughts in parts": (
        said({"content": [THINKING]}, {"content": [{"type": "text", "text": "Yes."}]}),
        Turn("Yes.", "hm"),
    ),
    "thoughts, then text": (said({"content": [THINKING]}, {"content": "Yes."}), Turn("Yes.", "hm")),
    "one part": (said({"content": {"type": "text", "text": "Yes."}}), Turn("Yes.")),
    "strings for parts": (said({"content": ["It ", "rains."]}), Turn("It rains.")),
    "a part of another kind": (
        said({"content": [{"type": "image_url", "image_url": {"url": "x"}}]}),
        Turn("[image_url omitted]"),
    ),
    "a refusal": (said({"refusal": "I can"}, {"refusal": "not."}), Turn(refusal="I cannot.")),
    "a refusal as a part": (
        said({"content": [{"type": "refusal", "refusal": "I cannot."}]}),
        Turn(refusal="I cannot."),
    ),
    "message for delta": (
        [
            ev(None, message={"content": "It "}),
            ev(None, message={"content": "rains."}),
            ev(None, "stop", message={}),
        ],
        Turn("It rains."),
    ),
    "message without delta": (
        [{"choices": [{"index": 0, "message": {"content": "It rains."}, "finish_reason": "stop"}]}],
        Turn("It rains."),
    ),
    "the whole message at the end": (
        [ev({"content": "It "}), ev({"content": "rains."}), ev({}, "stop", message={"content": "It rains."})],
        Turn("It rains."),
    ),
    "calls in message": (
        [
            {
                "choices": [
                    {
                        "message": {"content": None, "tool_calls": [whole("look", id="a")]},
                        "finish_reason": "tool_calls",
                    }
                ]
            }
        ],
        called(LOOK),
    ),
    "the reason 0": (said({"content": "Yes."}, finish=0), Turn("Yes.")),
    "the reason 1": (said({"content": "Yes."}, finish=1), Turn("Yes.")),
    "the reason eos": (said({"content": "Yes."}, finish="eos"), Turn("Yes.")),
    "the reason null in words": (
        [ev({"content": "It "}, "null"), ev({"content": "rains."}, "null"), ev({}, "stop")],
        Turn("It rains."),
    ),
    "the reason MAX_TOKENS": (said({"content": "It"}, finish="MAX_TOKENS"), Turn("It", reason="length")),
    "the reason model_length": (said({"content": "It"}, finish="model_length"), Turn("It", reason="length")),
    "the reason SAFETY": (said({"content": "It"}, finish="SAFETY"), Turn("It", reason="content_filter")),
    "the reason sensitive": (
        said({"content": "It"}, finish="sensitive"),
        Turn("It", reason="content_filter"),
    ),
    "half a pair": (said({"content": "x\ud83d"}, {"content": "\ude00y"}), Turn("x\U0001f600y")),
    "a pair in two events with another between": (
        [ev({"content": "x\ud83d"}), ev({}), ev({"content": "\ude00y"}), ev({}, "stop")],
        Turn("x\U0001f600y"),
    ),
    "half a pair alone": (said({"content": "x\ud83d"}, {"content": "y"}), Turn("x\ufffdy")),
    "half a pair at the end": (said({"content": "x\ud83d"}), Turn("x\ufffd")),
    "half a pair in thoughts": (
        said({"reasoning_content": "x\ud83d"}, {"reasoning_content": "\ude00"}, {"content": "y"}),
        Turn("y", "x\U0001f600"),
    ),
    "nulls": (
        [
            {"choices": None, "usage": None},
            ev({"content": None, "tool_calls": None, "refusal": None}),
            *said({"content": "Yes."}),
        ],
        Turn("Yes."),
    ),
    "no choices on the way": (
        [{"choices": []}, *said({"content": "Yes."}), {"choices": [], "usage": {"prompt_tokens": 3}}],
        Turn("Yes."),
    ),
    "usage in the choice": (
        [*said({"content": "Yes."})[:-1], ev({}, "stop", usage={"prompt_tokens": 3, "completion_tokens": 2})],
        Turn("Yes."),
    ),
}
INFINITE = {
    "token": "Yes",
    "logprob": float("-inf"),
    "bytes": None,
    "top_logprobs": [{"token": "No", "logprob": None}],
}
LOGPROBS: dict[str, tuple[Events, Turn]] = {
    f"logprobs: {name}": ([ev({"content": "Yes"}, logprobs=logprobs), ev({}, "stop")], Turn("Yes"))
    for name, logprobs in {
        "-Infinity": {"content": [INFINITE]},
        "NaN": {"content": [{"token": "Yes", "logprob": float("nan"), "top_logprobs": None}]},
        "null": {"content": [{"token": "Yes", "logprob": None}]},
        "no content": {"content": None},
        "null in the list": {"content": [None]},
        "bytes that are none": {"content": [{"token": "Yes", "logprob": -0.1, "bytes": [300, "x"]}]},
        "the older form": {
            "tokens": ["Yes"],
            "token_logprobs": [float("-inf")],
            "top_logprobs": [{"No": None}],
        },
        "a list": [0.5],
    }.items()
}
_BROKEN: dict[str, Events] = {
    "an error object": [{"error": {"message": "boom", "code": 500}}],
    "an error in words": [{"error": "boom"}],
    "an error of vLLM": [{"object": "error", "message": "boom", "type": "X", "code": 400}],
    "an error of FastAPI": [{"detail": "boom"}],
    "an error of DashScope": [{"code": "InternalError", "message": "boom", "request_id": "x"}],
    "an error in the choice": [ev({}, "error", error={"code": 502, "message": "boom"})],
    "the reason network_error": [ev({}, "network_error")],
    "the reason insufficient_system_resource": [ev({}, "insufficient_system_resource")],
    "no finish": [],
    "no chunk": [[1]],
    "a number for content": [ev({"content": 5})],
}
ERRORS: dict[str, tuple[Events, Turn]] = {
    name: ([ev({"content": "It "}), *broken], FAILED) for name, broken in _BROKEN.items()
}
KINDS = {**CALLS, **TEXTS, **LOGPROBS, **ERRORS}


def lines(event: Any, end: str = "\n", space: str = " ") -> str:
    return f"data:{space}{json.dumps(event)}{end}{end}"


def _pretty(event: Any) -> str:
    return "".join(f"data: {line}\n" for line in json.dumps(event, indent=1).split("\n")) + "\n"


DONE = "data: [DONE]"
FRAMES: dict[str, Callable[[Events], str]] = {
    "plain": lambda told: "".join(map(lines, told)) + f"{DONE}\n\n",
    "crlf": lambda told: "".join(lines(one, "\r\n") for one in told) + f"{DONE}\r\n\r\n",
    "cr": lambda told: "".join(lines(one, "\r") for one in told) + f"{DONE}\r\r",
    "bom": lambda told: "\ufeff" + "".join(map(lines, told)) + f"{DONE}\n\n",
    "bom and cr": lambda told: "\ufeff" + "".join(lines(one, "\r", "") for one in told) + f"{DONE}\r\r",
    "no space": lambda told: "".join(lines(one, space="") for one in told) + "data:[DONE]\n\n",
    "multi-line": lambda told: "".join(map(_pretty, told)) + f"{DONE}\n\n",
    "multi-line crlf": lambda told: ("".join(map(_pretty, told)) + f"{DONE}\n\n").replace("\n", "\r\n"),
    "multi-line cr": lambda told: ("".join(map(_pretty, told)) + f"{DONE}\n\n").replace("\n", "\r"),
    "no empty lines": lambda told: "".join(map(lines, told)).replace("\n\n", "\n") + DONE,
    "no done": lambda told: "".join(map(lines, told)),
    "no last line break": lambda told: "".join(map(lines, told)).rstrip(),
    "names and comments": lambda told: (
        "retry: 5\n\n: hello\n\n"
        + "".join(f"id: 1\nevent: message\n{lines(one)}: ping\n\n" for one in told)
        + f"{DONE}\n\n"
    ),
    "a quoted end": lambda told: "\n\n" + "".join(map(lines, told)) + 'data: "[DONE]"\n\n',
    "a line each": lambda told: "".join(f"{json.dumps(one)}\n" for one in told),
    "a line each, crlf": lambda told: "\r\n".join(json.dumps(one) for one in told),
}
SPLITS = (0, 1, 3, 7, 13, 61)


def in_pieces(data: bytes, size: int, draw: Random) -> Iterator[bytes]:
    """size: of each piece; 0 for all at once."""
    at = 0
    while at < len(data):
        step = draw.randint(1, 2 * size) if size > 3 else size or len(data)
        yield data[at : at + step]
        at += step


def whole_answers() -> Iterator[tuple[str, Any, Turn]]:
    """Bodies of JSON, as from a server that does not stream."""
    usage = {"prompt_tokens": 3, "completion_tokens": 2}
    for name, message, finish, turn in (
        ("text", {"content": "It rains."}, "stop", Turn("It rains.")),
        ("parts", {"content": [THINKING, {"type": "text", "text": "Yes."}]}, "stop", Turn("Yes.", "hm")),
        ("reasoning", {"content": "Yes.", "reasoning_content": "hm"}, "stop", Turn("Yes.", "hm")),
        ("a refusal", {"content": None, "refusal": "no"}, "stop", Turn(refusal="no")),
        (
            "calls",
            {"content": None, "tool_calls": [whole("look", id="a"), whole("find", id="b")]},
            "tool_calls",
            called(LOOK, FIND),
        ),
        (
            "one tool twice",
            {"tool_calls": [whole("look", id="a"), whole("look", id="b")]},
            "tool_calls",
            called(LOOK, LOOK),
        ),
        (
            "calls without ids",
            {"content": "", "tool_calls": [whole("look"), whole("look")]},
            "tool_calls",
            called(LOOK, LOOK),
        ),
        ("calls as objects", {"tool_calls": [piece("look", {"a": "x y"})]}, "tool_calls", called(LOOK)),
        (
            "function_call",
            {"content": None, "function_call": {"name": "look", "arguments": '{"a": "x y"}'}},
            "function_call",
            called(LOOK),
        ),
        ("half a pair", {"content": "x\ud83d"}, "stop", Turn("x\ufffd")),
        ("the reason 1", {"content": "Yes."}, 1, Turn("Yes.")),
        ("cut", {"content": "It"}, "length", Turn("It", reason="length")),
    ):
        told = {"role": "assistant", **message}
        choice = {"index": 0, "message": told, "finish_reason": finish, "logprobs": None}
        yield name, {"id": "c", "object": "chat.completion", "choices": [choice], "usage": usage}, turn
    yield "an error", {"error": {"message": "boom"}}, FAILED
    yield "nothing", {}, FAILED


def shapes() -> dict[str, tuple[bytes, int, str, Turn]]:
    """By name: the bytes, the size of their pieces, the content type, and what they come to."""
    found: dict[str, tuple[bytes, int, str, Turn]] = {}
    names = list(FRAMES)
    for number, (kind, (told, turn)) in enumerate(KINDS.items()):
        for turned in range(3):
            frame = names[(number * 3 + turned * 5) % len(names)]
            size = SPLITS[(number + turned) % len(SPLITS)]
            data = FRAMES[frame](told).encode()
            found[f"{kind}, {frame}, {size}"] = (data, size, "text/event-stream", turn)
    for number, (name, answer, turn) in enumerate(whole_answers()):
        for indent, kind in ((None, "application/json"), (2, "text/event-stream")):
            size = SPLITS[(number + (indent or 0)) % len(SPLITS)]
            data = json.dumps(answer, indent=indent).encode()
            found[f"whole: {name}, {kind}, {size}"] = (data, size, kind, turn)
    return found
