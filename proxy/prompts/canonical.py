"""Canonical rules: what clients change from turn to turn without meaning to is kept as first seen.

Each rule can be switched off. What is kept is what the model was first told, never a form of our own: a
server that sees a single request changes nothing in it but a header line.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, replace
from enum import StrEnum
from threading import RLock
from typing import Generic, TypeVar

from proxy.conversation.message import Message, Role
from proxy.conversation.request import ChatRequest
from proxy.conversation.volatile import Skeleton, without_clocks, without_header_lines, without_ids
from repair.types import ToolDefinition

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

# Characters. A longer system message is a document, and to search it line by line would take too long.
LONGEST_HELD = 262_144
# How old a time of day in the system message may become.
LONGEST_HOLD_S = 3600
_REMEMBERED = 2048


class Rule(StrEnum):
    """A canonical rule.

    tool_keys: a tool whose JSON has its keys in another order is shown as it was first seen.
    tool_order: a list of the same tools in another order is shown as it was first seen.
    header_line: header lines at the head of the system message are left out.
    system_ids: an id in the system message stays as it first was.
    system_clock: a time of day in the system message stays as it was, for an hour.
    system_in_place: later system messages keep their place where the template refuses them as such.
    reasoning: reasoning that the client left out of one of our answers is put back.
    own_turns: our own answers are shown with the tokens that were generated.
    """

    tool_keys = "tool-keys"
    tool_order = "tool-order"
    header_line = "header-line"
    system_ids = "system-ids"
    system_clock = "system-clock"
    system_in_place = "system-in-place"
    reasoning = "reasoning"
    own_turns = "own-turns"


ALL_RULES = frozenset(Rule)


class Recent(Generic[K, V]):
    """A table of the entries used last, at most `capacity` of them. Several threads may use it."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._entries: OrderedDict[K, V] = OrderedDict()
        self._lock = RLock()

    def get(self, key: K) -> V | None:
        with self._lock:
            value = self._entries.get(key)
            if value is not None:
                self._entries.move_to_end(key)
            return value

    def put(self, key: K, value: V) -> None:
        with self._lock:
            self._entries[key] = value
            self._entries.move_to_end(key)
            if len(self._entries) > self._capacity:
                self._entries.popitem(last=False)

    def first(self, key: K, value: V) -> V:
        """The value that was first stored for the key; stores this one if there is none."""
        with self._lock:
            found = self.get(key)
            if found is None:
                self.put(key, found := value)
            return found


@dataclass(frozen=True, slots=True)
class _Held:
    text: str
    clocks: tuple[int, ...]


class Canon:
    """Makes requests canonical by the rules that are on, and remembers what it needs for that."""

    def __init__(self, rules: frozenset[Rule] = ALL_RULES) -> None:
        self.rules = rules
        self._tools: Recent[tuple[str, str, str], ToolDefinition] = Recent(_REMEMBERED)
        self._lists: Recent[frozenset[tuple[str, str, str]], tuple[ToolDefinition, ...]] = Recent(_REMEMBERED)
        self._systems: Recent[tuple[str, bytes], _Held] = Recent(_REMEMBERED)

    def apply(self, request: ChatRequest) -> ChatRequest:
        """A request with the same meaning; the same object where nothing had to be changed."""
        tools = self._held_tools(request.tools)
        messages = self._held_system(request)
        if tools is request.tools and messages is request.messages:
            return request
        return replace(request, tools=tools, messages=messages)

    def _held_tools(self, tools: tuple[ToolDefinition, ...]) -> tuple[ToolDefinition, ...]:
        if not tools or not self.rules & {Rule.tool_keys, Rule.tool_order}:
            return tools
        meanings = [tool_meaning(tool) for tool in tools]
        held = tools
        if Rule.tool_keys in self.rules:
            held = tuple(self._tools.first(*pair) for pair in zip(meanings, tools, strict=True))
        if Rule.tool_order in self.rules and len(set(meanings)) == len(meanings):
            known = dict(zip(meanings, held, strict=True))
            first = self._lists.first(frozenset(meanings), held)
            held = tuple(known[tool_meaning(tool)] for tool in first)
        # compared by identity, because equality ignores the order of keys
        return tools if all(ours is theirs for ours, theirs in zip(held, tools, strict=True)) else held

    def _held_system(self, request: ChatRequest) -> tuple[Message, ...]:
        first, *rest = request.messages
        if first.role is not Role.system or len(first.text) > LONGEST_HELD:
            return request.messages
        text = without_header_lines(first.text) if Rule.header_line in self.rules else first.text
        text = self._held_text(request.session.id, text)
        return request.messages if text == first.text else (first.with_text(text), *rest)

    def _held_text(self, session: str, text: str) -> str:
        """The text as this session was told it before, where only ids and the time of day have changed."""
        skeleton = Skeleton(without_ids(text) if Rule.system_ids in self.rules else text)
        if Rule.system_clock in self.rules:
            skeleton = without_clocks(skeleton.text)
        if skeleton.text == text:
            return text
        key = session, digest_of(skeleton.text)
        held = self._systems.first(key, _Held(text, skeleton.clocks))
        ages = [abs(now - then) for now, then in zip(skeleton.clocks, held.clocks, strict=True)]
        if max(ages, default=0) <= LONGEST_HOLD_S:
            return held.text
        self._systems.put(key, _Held(text, skeleton.clocks))
        return text


def digest_of(text: str) -> bytes:
    """Sixteen bytes that stand for a text."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def tool_meaning(tool: ToolDefinition) -> tuple[str, str, str]:
    """Equal for tools that differ at most in the order of their JSON keys."""
    return tool.name, tool.description, json.dumps(dict(tool.parameters), sort_keys=True)
