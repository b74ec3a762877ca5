"""The shop toolbox: wishes about products, prices, stock and orders."""

from __future__ import annotations

from random import Random
from typing import Any

from corpora import lexicon
from corpora.world.base import Call, Plan, State, Toolbox, Wish, single
from corpora.world.saying import asked, closing, listed, picked, quoted, trouble
from corpora.world.shop_store import MOST_ORDERS, REASONS, TOOLS, new_sku, open_shop, run_shop, search


def _sku(rng: Random, state: State) -> str:
    return new_sku(rng) if rng.random() < 0.06 else rng.choice(list(state["products"]))


def _brand(rng: Random, state: State) -> str:
    return str(rng.choice(list(state["products"].values()))["name"].split()[0])


def look_for(rng: Random, state: State) -> Wish:
    """search_products, with its options now and then."""
    query = lexicon.invented_word(rng).capitalize() if rng.random() < 0.1 else _brand(rng, state)
    arguments: dict[str, Any] = {"query": query}
    extra = ""
    if rng.random() < 0.4:
        arguments["max_price"] = limit = rng.randint(5, 300)
        extra += rng.choice((f", at most {limit}", f" for {limit} or less", f" with a max price of {limit}"))
    if rng.random() < 0.3:
        arguments["in_stock"] = True
        extra += rng.choice((", only what is in stock", " that is in stock", ", in stock only"))
    templates = (
        "search the [shop|products|catalogue] for {q}{x}", "look for {q}{x}", "find products with {q}{x}",
        "Do we [have|sell] anything [called|named] {q}{x}?", "Anything by {q}{x}?", "search {q}{x}",
        "Is there something from {q}{x}?", "show me [all|the] {q} products{x}", "What do we have of {q}{x}?",
    )  # fmt: skip
    close = rng.choice(("I found {n}.", "{n} found.", "There are {n}."))
    plan = single(Call("search_products", arguments), lambda found: close.format(n=len(found)))
    return Wish(asked(rng, templates, q=query, x=extra), plan)


_ABOUT = (
    "What does {s} cost?", "How much is {s}?", "what's the price of {s}?", "get [product|article] {s}",
    "show me {s}", "[look up|check] the price of {s}", "Price of {s}?", "I need the price of {s}.",
    "tell me [about|the price of] {s}", "{s}, what does it cost?",
)  # fmt: skip


def price_of(rng: Random, state: State) -> Wish:
    """get_product."""
    sku = _sku(rng, state)
    words = closing(rng, "It costs {r[price]}.", "{r[name]} costs {r[price]}.", "The price is {r[price]}.")
    return Wish(asked(rng, _ABOUT, s=sku), single(Call("get_product", {"sku": sku}), words))


def compare(rng: Random, state: State) -> Wish:
    """get_product, two or three at once."""
    skus = rng.sample(list(state["products"]), rng.choice((2, 2, 3)))
    templates = (
        "compare {s}", "What do {s} cost?", "[show|get] me {s}", "Prices of {s}?", "check the prices of {s}",
        "I need the prices of {s}.", "look up {s}", "How much are {s}?", "{s}: what do they cost?",
    )  # fmt: skip

    def plan() -> Plan:
        found = yield tuple(Call("get_product", {"sku": sku}) for sku in skus)
        return trouble(*found) or f"They cost {', '.join(str(one['price']) for one in found)}."

    return Wish(asked(rng, templates, s=listed(rng, skus)), plan())


def place_order(rng: Random, state: State) -> Wish:
    """place_order with one to three items, and perhaps a note and express."""
    if len(state["orders"]) >= MOST_ORDERS:
        return cancel_order(rng, state)
    skus = (
        [new_sku(rng)]
        if rng.random() < 0.05
        else rng.sample(list(state["products"]), rng.choice((1, 1, 2, 3)))
    )
    items = [{"sku": sku, "quantity": rng.randint(1, 20)} for sku in skus]
    customer = lexicon.invented_name(rng)
    arguments: dict[str, Any] = {"customer": customer, "items": items}
    form = rng.choice(
        ("{quantity} of {sku}", "{quantity} {sku}", "{quantity} x {sku}", "{quantity} pieces of {sku}")
    )
    said = listed(rng, [form.format(**item) for item in items])
    extra = _order_options(rng, arguments)
    templates = (
        "[order|buy] {i} for {c}{x}", "{c} wants {i}{x}", "place an order for {c}: {i}{x}",
        "put through an order of {i} for {c}{x}", "New order for {c}: {i}{x}",
        "{c} is on the phone and orders {i}{x}",
        "Customer {c}, {i}{x}. Place that order.", "We need {i} for [customer |]{c}{x}",
        "send {i} to [customer |]{c} as a new order{x}", "I have an order from {c}: {i}{x}",
    )  # fmt: skip
    words = closing(
        rng, "Order {r[id]} is placed.", "Done, {r[id]}, {r[total]} in total.", "It is order {r[id]}."
    )
    return Wish(
        asked(rng, templates, i=said, c=customer, x=extra), single(Call("place_order", arguments), words)
    )


def _order_options(rng: Random, arguments: dict[str, Any]) -> str:
    """Draw the optional arguments of an order into `arguments`; how people say them."""
    said = ""
    if rng.random() < 0.35:
        arguments["note"] = note = lexicon.phrase(rng)
        cue = rng.choice(
            (", with the note {}", ", note: {}", ", add the note {}", " and write {} on the note")
        )
        said += cue.replace("{}", quoted(rng, note))
    if rng.random() < 0.35:
        arguments["express"] = express = rng.random() < 0.6
        yes, no = (
            (", express", ", as express", " by express"),
            (", not express", ", without express", ", no express"),
        )
        said += rng.choice(yes if express else no)
    return said


def orders_of(rng: Random, state: State) -> Wish:
    """find_orders."""
    customer = _customer(rng, state)
    templates = (
        "What has {c} ordered?", "show [me |]the orders of {c}", "find [all |]orders of {c}",
        "Does {c} have [any |]orders?", "list what {c} ordered", "look up the orders for {c}",
        "Any [open |]orders of {c}?", "{c} asks about [an order|orders], what is there?",
    )  # fmt: skip
    close = rng.choice(("{c} has {n}.", "There are {n} for {c}.", "{n} found for {c}."))
    call = Call("find_orders", {"customer": customer})
    return Wish(
        asked(rng, templates, c=customer), single(call, lambda found: close.format(n=len(found), c=customer))
    )


def _customer(rng: Random, state: State) -> str:
    if not state["orders"] or rng.random() < 0.08:
        return lexicon.invented_name(rng)
    return str(rng.choice(list(state["orders"].values()))["customer"])


def _cancel_options(rng: Random) -> tuple[dict[str, Any], str]:
    arguments: dict[str, Any] = {}
    said = ""
    if rng.random() < 0.45:
        arguments["reason"] = reason = rng.choice(REASONS)
        said += rng.choice(
            (", reason {}", ", the reason is {}", ", reason: {}", " with the reason {}")
        ).format(reason)
    if rng.random() < 0.45:
        arguments["notify"] = notify = rng.random() < 0.5
        yes = (" and notify them", " and notify the customer", ", with a notification")
        no = (", do not notify them", " without a notification", " and don't notify the customer")
        said += rng.choice(yes if notify else no)
    return arguments, said


_CANCEL = (
    "cancel {o}{x}", "cancel [the |]order {o}{x}", "call off order {o}{x}", "drop {o}{x}",
    "Order {o} is off, cancel it{x}",
    "{o} has to be cancelled{x}", "They no longer want {o}, so cancel it{x}", "I want order {o} cancelled{x}",
    "stop order {o}, cancel it{x}", "[get rid of|kill] order {o}{x}",
)  # fmt: skip


def cancel_order(rng: Random, state: State) -> Wish:
    """cancel_order by its id."""
    return _cancel(rng, picked(rng, state["orders"], "ord", 0.08))


def _cancel(rng: Random, key: str) -> Wish:
    options, said = _cancel_options(rng)
    words = closing(rng, "Order {r[id]} is cancelled.", "{r[id]} is cancelled.", "Cancelled.")
    return Wish(
        asked(rng, _CANCEL, o=key, x=said), single(Call("cancel_order", {"order_id": key, **options}), words)
    )


def cancel_last(rng: Random, state: State) -> Wish:
    """cancel_order for the order that was placed in the message before."""
    key = state["last"]
    if key not in state["orders"]:
        return cancel_order(rng, state)
    options, said = _cancel_options(rng)
    templates = (
        "cancel that [order |]again{x}", "No, cancel that order{x}",
        "Sorry, wrong, cancel the order you just placed{x}",
        "undo that, cancel the order{x}", "they changed their mind, cancel this order{x}",
        "cancel it again{x}",
        "cancel the [last|new] order{x}", "Oh no. Cancel the order we just made{x}",
        "call off the order you just placed{x}",
    )  # fmt: skip
    words = closing(rng, "Order {r[id]} is cancelled, as if it never was.", "{r[id]} is cancelled.")
    return Wish(
        asked(rng, templates, x=said), single(Call("cancel_order", {"order_id": key, **options}), words)
    )


def cancel_for(rng: Random, state: State) -> Wish:
    """find_orders, then cancel_order for the only one there is."""
    customers = [one["customer"] for one in state["orders"].values()]
    single_ones = [one for one in customers if customers.count(one) == 1]
    if not single_ones:
        return orders_of(rng, state)
    customer = rng.choice(single_ones)
    options, said = _cancel_options(rng)
    templates = (
        "find the order of {c} and cancel it{x}", "look for the order of {c} and cancel it{x}",
        "{c} wants to cancel, look up the order and do it{x}",
        "look up what {c} ordered and cancel it{x}",
        "{c} does not want the order any more, look it up and cancel it{x}",
        "I lost the number, find the order of {c} and cancel it{x}", "find {c}'s order and cancel it{x}",
        "look up the order of {c}, then call it off{x}",
    )  # fmt: skip

    def plan() -> Plan:
        (orders,) = yield (Call("find_orders", {"customer": customer}),)
        (result,) = yield (Call("cancel_order", {"order_id": orders[0]["id"], **options}),)
        return trouble(result) or f"The order of {customer}, {orders[0]['id']}, is cancelled."

    return Wish(asked(rng, templates, c=customer, x=said), plan())


def buy_found(rng: Random, state: State) -> Wish:
    """search_products, then place_order for what it found."""
    brand = _brand(rng, state)
    if len(search(state, brand)) != 1 or len(state["orders"]) >= MOST_ORDERS:
        return look_for(rng, state)
    customer, count = lexicon.invented_name(rng), rng.randint(1, 20)
    templates = (
        "search for {q} and order {n} of it for {c}", "find {q} and order {n} for {c}",
        "look for {q}, then order {n} of that for {c}",
        "{c} wants {n} of the thing from {q}, search it and place the order",
        "We need {n} of what {q} makes, search and order it for {c}",
        "order {n} of the {q} product for {c}, search for it first",
        "search {q} in the shop and buy {n} for {c}",
        "I don't know the number: search for {q} and order {n} for {c}",
    )  # fmt: skip

    def plan() -> Plan:
        (found,) = yield (Call("search_products", {"query": brand}),)
        items = [{"sku": found[0]["sku"], "quantity": count}]
        (result,) = yield (Call("place_order", {"customer": customer, "items": items}),)
        return trouble(result) or f"Order {result['id']} is placed."

    return Wish(asked(rng, templates, q=brand, n=count, c=customer), plan())


def change_address(rng: Random, state: State) -> Wish:
    """change_address."""
    key = picked(rng, state["orders"], "ord", 0.08)
    street, city = lexicon.invented_word(rng, 3).capitalize(), lexicon.invented_word(rng, 2).capitalize()
    address = {"street": street, "number": rng.randint(1, 250), "city": city}
    templates = (
        "send [order |]{o} to {a}", "{o} goes to {a}[ instead|], change that",
        "change the address of {o} to {a}", "The new address for [order |]{o} is {a}.",
        "{o} should go to {a}", "deliver {o} to {a}", "The address of {o} is wrong, make it {a}",
        "redirect [order |]{o} to {a}", "They moved, so {o} must go to {a}.",
    )  # fmt: skip
    place = rng.choice(("{street} {number} in {city}", "{street} {number}, {city}")).format(**address)
    words = closing(rng, "{r[id]} goes to {r[city]}.", "The address of {r[id]} is changed.")
    call = Call("change_address", {"order_id": key, "address": address})
    return Wish(asked(rng, templates, o=key, a=place), single(call, words))


def set_price(rng: Random, state: State) -> Wish:
    """set_price."""
    sku = _sku(rng, state)
    price = rng.randint(1, 300) if rng.random() < 0.4 else rng.randint(1, 300) + rng.randint(1, 99) / 100
    templates = (
        "set the price of {s} to {p}", "{s} [now costs|should cost] {p}, change it", "make {s} {p}",
        "change {s} to {p}", "The new price of {s} is {p}.", "sell {s} for {p} from now on",
        "{p} is the right price for {s}, set it", "put the price of {s} to {p}",
        "From today {s} is {p}, put that in.",
    )  # fmt: skip
    words = closing(rng, "{r[name]} now costs {r[price]}.", "The price is {r[price]} now.")
    call = Call("set_price", {"sku": sku, "price": price})
    return Wish(asked(rng, templates, s=sku, p=price), single(call, words))


def restock(rng: Random, state: State) -> Wish:
    """restock of one product, or of two or three at once."""
    count = rng.choice((1, 1, 1, 2, 2, 3))
    skus = [_sku(rng, state)] if count == 1 else rng.sample(list(state["products"]), count)
    calls = tuple(Call("restock", {"sku": sku, "amount": rng.randint(1, 500)}) for sku in skus)
    form = rng.choice(("{amount} of {sku}", "{amount} {sku}", "{amount} pieces of {sku}"))
    said = listed(rng, [form.format(**call.arguments) for call in calls])
    templates = (
        "{i} came in, add [it|them] to the stock", "restock {i}", "add {i} to the stock",
        "put {i} into stock",
        "We got {i} [today|from the supplier], restock.", "Delivery: {i}. Put that in stock.",
        "stock up {i}", "book in {i}", "There is a delivery of {i}, restock [it|that].",
    )  # fmt: skip

    def plan() -> Plan:
        found = yield calls
        return trouble(*found) or f"There are {' and '.join(str(one['stock']) for one in found)} now."

    return Wish(asked(rng, templates, i=said), plan())


TOOLBOX = Toolbox(
    name="shop",
    purpose="You run a small shop: products, stock and orders.",
    tools=TOOLS,
    open=open_shop,
    run=run_shop,
    wishes={
        look_for: 3, price_of: 3, compare: 3, place_order: 6, orders_of: 2, cancel_order: 2, cancel_last: 5,
        cancel_for: 3, buy_found: 4, change_address: 3, set_price: 3, restock: 4,
    },
)  # fmt: skip
