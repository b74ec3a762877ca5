"""Values in backticks, as people who write to agents mark them; the requests of the corpora have quotes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from random import Random

from corpora.conversations import Conversation

_MARKED = 0.6  # of the values of a conversation that has marks


def mark(rng: Random, conversation: Conversation) -> Conversation:
    """The conversation with backticks around some values of its calls that its user says once, in place of
    quotes where they have some.
    """
    said = [one["content"] for one in conversation.messages if one["role"] == "user"]
    for value in dict.fromkeys(_texts(conversation)):
        if len(value) > 1 and "`" not in value and rng.random() < _MARKED:
            found = re.compile(rf"(?<![\w`/.@-])([\"']?){re.escape(value)}\1(?![\w`/@-])")
            if sum(len(found.findall(text)) for text in said) == 1 == sum(text.count(value) for text in said):
                said = [found.sub(lambda _, v=value: f"`{v}`", text) for text in said]  # type: ignore[misc]
    left = iter(said)
    messages = [
        one | {"content": next(left)} if one["role"] == "user" else one for one in conversation.messages
    ]
    return Conversation(conversation.tools, tuple(messages))


def _texts(conversation: Conversation) -> Iterator[str]:
    """The texts in the arguments of its calls."""
    for message in conversation.messages:
        for call in message.get("tool_calls", ()):
            try:
                yield from _leaves(json.loads(call["function"]["arguments"]))
            except ValueError:  # a broken attempt
                continue


def _leaves(value: object) -> Iterator[str]:
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _leaves(inner)
    elif isinstance(value, str):
        yield value
