"""The text, reasoning and refusal in what a server adds to its answer, as strings or lists of parts."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_log = logging.getLogger(__name__)

_TEXTS = frozenset({"text", "output_text", "input_text", ""})
_THOUGHTS = frozenset({"thinking", "reasoning", "reasoning_text", "summary_text"})
_NESTED = ("text", "thinking", "reasoning", "content", "summary")
_DEEP = 5


@dataclass(frozen=True, slots=True)
class Said:
    text: str = ""
    reasoning: str = ""
    refusal: str = ""


def read_said(delta: Any, raw: str | None) -> Said:
    """What a delta says. raw: the text of a prompt that was gone on from, in its place."""
    content = getattr(delta, "content", None)
    refusal = getattr(delta, "refusal", None)
    thought = getattr(delta, "reasoning_content", None) or getattr(delta, "reasoning", None)
    if isinstance(content, str) or not content:
        reasoning = thought if isinstance(thought, str) else _joined(thought)
        return Said(content or raw or "", reasoning or "", refusal if isinstance(refusal, str) else "")
    texts: dict[str, list[str]] = {"text": [], "reasoning": [], "refusal": []}
    for kind, text in _parts(content):
        texts[kind].append(text)
    told = {kind: "".join(some) for kind, some in texts.items()}
    reasoning = thought if isinstance(thought, str) else _joined(thought)
    return Said(told["text"], reasoning or told["reasoning"], (refusal or "") + told["refusal"])


def _parts(content: Any) -> Iterator[tuple[str, str]]:
    """The parts as texts, each with its kind. What is no text is named in its place, for there is no other
    way to tell of it.
    """
    for part in content if isinstance(content, list) else (content,):
        if isinstance(part, str):
            yield "text", part
        if not isinstance(part, dict):
            continue
        kind = part.get("type")
        kind = kind if isinstance(kind, str) else ""
        if kind in _THOUGHTS:
            yield "reasoning", _joined(part)
        elif kind == "refusal":
            yield "refusal", str(part.get("refusal") or "")
        elif kind in _TEXTS or isinstance(part.get("text"), str):
            yield "text", _joined(part)
        else:
            _log.warning("a part of the type %r in an answer is not served, and named in its place", kind)
            yield "text", f"[{kind} omitted]"


def _joined(value: Any, depth: int = _DEEP) -> str:
    """The text in a part, which may be a list of further parts."""
    match value:
        case str():
            return value
        case list() if depth:
            return "".join(_joined(one, depth - 1) for one in value)
        case dict() if depth:
            return next((_joined(value[key], depth - 1) for key in _NESTED if value.get(key)), "")
        case _:
            return ""
