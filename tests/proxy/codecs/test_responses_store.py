"""What the Responses API keeps is bounded, and a conversation that goes on keeps its beginning."""

from __future__ import annotations

import json
import string
from random import Random
from typing import Any

from proxy.codecs.openai_responses_store import ResponseStore


def noise(size: int) -> str:
    """Letters that hardly get shorter when they are compressed."""
    return "".join(Random(size).choices(string.printable[:64], k=size))


def item(id: str, size: int = 10) -> dict[str, Any]:
    return {"type": "message", "id": id, "role": "user", "content": noise(size)}


def put(store: ResponseStore, id: str, previous: str = "", size: int = 10) -> None:
    store.put(previous, [item(f"in_{id}", size)], {"id": id, "output": [item(f"out_{id}")]})


def ids(items: list[Any] | None) -> list[str] | None:
    return None if items is None else [one["id"] for one in items]


def test_a_conversation_is_the_items_of_its_turns() -> None:
    store = ResponseStore()
    put(store, "a")
    put(store, "b", "a")
    put(store, "c", "b")
    put(store, "branch", "a")
    assert ids(store.conversation("c")) == ["in_a", "out_a", "in_b", "out_b", "in_c", "out_c"]
    assert ids(store.conversation("branch")) == ["in_a", "out_a", "in_branch", "out_branch"]
    assert store.conversation("d") is None


def test_the_oldest_go_and_take_their_items_along() -> None:
    store = ResponseStore(most=2)
    for id in "abc":
        put(store, id)
    assert (len(store), store.get("a"), store.item("out_a")) == (2, None, None)
    assert store.item("out_b") == item("out_b")
    assert store.item("in_b") is None, "what a client sent has ids of its own"


def test_bytes_are_bounded() -> None:
    store = ResponseStore(most_bytes=10_000)
    for number in range(100):
        put(store, str(number), size=1000)
        assert store.size <= 10_000
    assert 7 <= len(store) <= 11
    put(store, "huge", size=20_000)
    assert store.get("huge") is None
    assert (len(store), store.size) == (0, 0)


def test_what_is_dropped_frees_its_bytes() -> None:
    store = ResponseStore()
    put(store, "a")
    assert store.size > 0
    assert store.drop("a")
    assert not store.drop("a")
    assert (store.size, store.item("out_a")) == (0, None)


def test_a_conversation_in_use_keeps_its_beginning() -> None:
    store = ResponseStore(most=6)
    previous = ""
    for turn in range(4):
        put(store, f"turn_{turn}", previous)
        previous = f"turn_{turn}"
        put(store, f"other_{turn}")
        assert store.conversation(previous) is not None
    for number in range(3):
        put(store, f"more_{number}")
        assert ids(store.conversation("turn_2")) is not None
    assert store.get("turn_0") is not None


def test_a_turn_that_is_gone_breaks_the_conversation() -> None:
    store = ResponseStore()
    put(store, "a")
    put(store, "b", "a")
    store.drop("a")
    assert store.conversation("b") is None


def test_the_tools_that_a_response_says_again_take_hardly_any_room() -> None:
    store = ResponseStore()
    tools = [
        {"type": "function", "name": f"tool_{n}", "description": "It does what it says."} for n in range(50)
    ]
    response = {"id": "a", "output": [item("out")], "tools": tools}
    store.put("", [item("in")], response)
    assert store.size < len(json.dumps(response)) / 5
    assert json.loads(store.get("a").response) == response  # type: ignore[union-attr]
