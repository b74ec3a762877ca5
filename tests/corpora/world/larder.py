"""A toolbox of two tools, small enough to read, for the tests of the driver and the scores."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any

from corpora.world.base import Call, Plan, State, Toolbox, Wish, error, single, tool

ITEMS = ("rice", "salt", "beans", "tea")


def _open(rng: Random) -> State:
    return {item: rng.randint(5, 50) for item in ITEMS}


def _run(state: State, name: str, arguments: Mapping[str, Any]) -> Any:
    item = arguments["item"]
    if name == "count_item":
        return {"item": item, "amount": state[item]}
    if arguments["amount"] > state[item]:
        return error(f"only {state[item]} left")
    state[item] -= arguments["amount"]
    return {"item": item, "left": state[item]}


def _count(rng: Random, state: State) -> Wish:
    item = rng.choice(ITEMS)
    plan = single(Call("count_item", {"item": item}), lambda found: f"There are {found['amount']}.")
    return Wish(f"How much {item} is there?", plan)


def _count_two(rng: Random, state: State) -> Wish:
    one, two = rng.sample(ITEMS, 2)

    def plan() -> Plan:
        first, second = yield (Call("count_item", {"item": one}), Call("count_item", {"item": two}))
        return f"{first['amount']} and {second['amount']}."

    return Wish(f"How much {one} and {two} is there?", plan())


def _take_all(rng: Random, state: State) -> Wish:
    item = rng.choice(ITEMS)

    def plan() -> Plan:
        (found,) = yield (Call("count_item", {"item": item}),)
        yield (Call("take_item", {"item": item, "amount": found["amount"] or 1}),)
        return "It is yours."

    return Wish(f"Give me all the {item}.", plan())


_ITEM = {"type": "string", "enum": list(ITEMS)}

LARDER = Toolbox(
    name="larder",
    purpose="You keep the larder.",
    tools=(
        tool("count_item", "Count an item", {"item": _ITEM}, ("item",)),
        tool(
            "take_item",
            "Take some of an item",
            {"item": _ITEM, "amount": {"type": "integer", "minimum": 1}},
            ("item", "amount"),
        ),
    ),
    open=_open,
    run=_run,
    wishes={_count: 2, _count_two: 1, _take_all: 2},
)
