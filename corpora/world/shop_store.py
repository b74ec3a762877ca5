"""The shop behind its toolbox: its tools, its products and orders, and what a call does to them."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any

from corpora import lexicon
from corpora.world.base import State, content_id, error, tool

REASONS = ("mistake", "delay", "duplicate", "damaged")
MOST_ORDERS = 14
_SKU = {"type": "string", "pattern": r"^[A-Z]{2}-\d{4}$"}
_ORDER = {"type": "string"}


def _text(*, of: str = "") -> dict[str, Any]:
    return {"type": "string", "description": of} if of else {"type": "string"}


_ITEMS = {
    "type": "array",
    "minItems": 1,
    "items": {
        "type": "object",
        "properties": {"sku": _SKU, "quantity": {"type": "integer", "minimum": 1, "maximum": 20}},
        "required": ["sku", "quantity"],
    },
}
_ADDRESS = {
    "type": "object",
    "properties": {
        "street": _text(),
        "number": {"type": "integer", "minimum": 1},
        "city": _text(),
    },
    "required": ["street", "number", "city"],
}
TOOLS = (
    tool(
        "search_products",
        "Search products by a word of their name",
        {"query": _text(), "max_price": {"type": "number"}, "in_stock": {"type": "boolean"}},
        ("query",),
    ),
    tool("get_product", "Price and stock of a product", {"sku": _SKU}, ("sku",)),
    tool(
        "place_order",
        "Order products for a customer",
        {
            "customer": _text(),
            "items": _ITEMS,
            "note": _text(of="A message for the parcel"),
            "express": {"type": "boolean"},
        },
        ("customer", "items"),
    ),
    tool("find_orders", "The orders of a customer", {"customer": _text()}, ("customer",)),
    tool(
        "cancel_order",
        "Cancel an order",
        {"order_id": _ORDER, "reason": {"enum": list(REASONS)}, "notify": {"type": "boolean"}},
        ("order_id",),
    ),
    tool(
        "change_address",
        "Send an order to another address",
        {"order_id": _ORDER, "address": _ADDRESS},
        ("order_id", "address"),
    ),
    tool(
        "set_price",
        "Change the price of a product",
        {"sku": _SKU, "price": {"type": "number", "minimum": 0}},
        ("sku", "price"),
    ),
    tool(
        "restock",
        "Add to the stock of a product",
        {"sku": _SKU, "amount": {"type": "integer", "minimum": 1, "maximum": 500}},
        ("sku", "amount"),
    ),
)


def open_shop(rng: Random) -> State:
    products: dict[str, Any] = {}
    while len(products) < 9:
        brand = lexicon.invented_word(rng, 2).capitalize()
        name = f"{brand} {rng.choice(lexicon.NOUNS)}"
        products[new_sku(rng)] = {"name": name, "price": _price(rng), "stock": rng.randint(0, 60)}
    state: State = {"products": products, "orders": {}, "last": ""}
    for _ in range(5):
        customer, sku = lexicon.invented_name(rng), rng.choice(list(products))
        _place(state, {"customer": customer, "items": [{"sku": sku, "quantity": 1}]})
    return state | {"last": ""}


def new_sku(rng: Random) -> str:
    letters = "".join(rng.choice("ABCDEFGHJKLMNPQRSTUVWXYZ") for _ in range(2))
    return f"{letters}-{rng.randint(0, 9999):04d}"


def _price(rng: Random) -> float | int:
    price = round(rng.uniform(1, 300), 2)
    return rng.randint(1, 200) if price == int(price) or rng.random() < 0.3 else price


def run_shop(state: State, name: str, arguments: Mapping[str, Any]) -> Any:
    if name == "place_order":
        return _place(state, arguments)
    state["last"] = ""
    match name:
        case "search_products":
            return search(state, **arguments)
        case "find_orders":
            return [
                {"id": key, "status": "open", "total": one["total"]}
                for key, one in state["orders"].items()
                if one["customer"] == arguments["customer"]
            ]
        case "cancel_order" | "change_address":
            return _change_order(state, name, arguments)
        case _:
            return _change_product(state, name, arguments)


def search(state: State, query: str, max_price: float | None = None, in_stock: bool = False) -> Any:
    return [
        {"sku": sku, "name": one["name"], "price": one["price"]}
        for sku, one in state["products"].items()
        if query.lower() in one["name"].lower()
        and (max_price is None or one["price"] <= max_price)
        and (one["stock"] > 0 or not in_stock)
    ][:6]


def _place(state: State, arguments: Mapping[str, Any]) -> Any:
    for item in arguments["items"]:
        if item["sku"] not in state["products"]:
            return error(f"no product {item['sku']}")
    key = content_id("ord", arguments["customer"], arguments["items"])
    if key in state["orders"]:
        return error(f"the same order exists already, {key}")
    total = sum(state["products"][item["sku"]]["price"] * item["quantity"] for item in arguments["items"])
    state["orders"][key] = dict(arguments) | {"total": round(total, 2)}
    state["last"] = key
    return {"id": key, "total": round(total, 2)}


def _change_order(state: State, name: str, arguments: Mapping[str, Any]) -> Any:
    key = arguments["order_id"]
    if key not in state["orders"]:
        return error(f"no order {key}")
    if name == "cancel_order":
        del state["orders"][key]
        return {"id": key, "status": "cancelled", "notified": arguments.get("notify", False)}
    state["orders"][key]["address"] = arguments["address"]
    return {"id": key, "city": arguments["address"]["city"]}


def _change_product(state: State, name: str, arguments: Mapping[str, Any]) -> Any:
    sku = arguments["sku"]
    if sku not in state["products"]:
        return error(f"no product {sku}")
    product = state["products"][sku]
    if name == "set_price":
        product["price"] = arguments["price"]
    elif name == "restock":
        if product["stock"] + arguments["amount"] > 2000:
            return error(f"no room for more of {sku}")
        product["stock"] += arguments["amount"]
    return {"sku": sku, **product}
