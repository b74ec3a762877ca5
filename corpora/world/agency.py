"""The state behind the travel toolbox: flights, hotels and bookings, and the tools that change them."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any

from corpora.invention import draw_date
from corpora.lexicon import invented_name
from corpora.world.base import State, content_id, error, tool

MOST_BOOKINGS = 12
CABINS = ("economy", "business", "first")
AMENITIES = ("pool", "wifi", "parking", "gym", "sauna")
_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ"
_AIRPORT = {"type": "string", "pattern": "^[A-Z]{3}$"}
_DATE = {"type": "string", "pattern": r"^\d{4}-\d{2}-\d{2}$"}
_BOOKING = {"type": "string", "pattern": "^bk-"}
_PASSENGER = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "passport": {"type": "string", "pattern": "^[A-Z0-9]{8}$"},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
    },
    "required": ["name", "passport"],
}
TOOLS = (
    tool(
        "search_flights",
        "Flights from one airport to another.",
        {"origin": _AIRPORT, "destination": _AIRPORT, "date": _DATE, "max_price": {"type": "number"}},
        ("origin", "destination"),
    ),
    tool(
        "book_flight",
        "Book a flight for one passenger.",
        {
            "flight": {"type": "string", "pattern": r"^[A-Z]{2}\d{3}$"},
            "passenger": _PASSENGER,
            "cabin": {"enum": list(CABINS)},
            "bags": {"type": "integer", "minimum": 0, "maximum": 5},
        },
        ("flight", "passenger"),
    ),
    tool(
        "search_hotels",
        "Hotels in a city.",
        {
            "city": {"type": "string"},
            "min_stars": {"type": "integer", "minimum": 1, "maximum": 5},
            "amenities": {"type": "array", "items": {"enum": list(AMENITIES)}},
        },
        ("city",),
    ),
    tool(
        "book_hotel",
        "Book a room.",
        {
            "hotel_id": {"type": "string"},
            "guest": {"type": "string"},
            "check_in": _DATE,
            "nights": {"type": "integer", "minimum": 1, "maximum": 30},
            "breakfast": {"type": "boolean"},
        },
        ("hotel_id", "guest", "check_in", "nights"),
    ),
    tool(
        "find_bookings",
        "Bookings in somebody's name.",
        {"name": {"type": "string"}},
        ("name",),
    ),
    tool(
        "choose_seat",
        "Reserve a seat for a flight booking.",
        {"booking_id": _BOOKING, "seat": {"type": "string", "pattern": r"^\d{1,2}[A-F]$"}},
        ("booking_id", "seat"),
    ),
    tool(
        "cancel_booking",
        "Cancel a booking.",
        {"booking_id": _BOOKING, "refund": {"type": "boolean"}},
        ("booking_id",),
    ),
)


def open_agency(rng: Random) -> State:
    """A fresh state: flights between a few airports, hotels, some bookings."""
    airports = [draw_letters(rng, 3) for _ in range(4)]
    cities = [invented_name(rng) for _ in range(3)]
    state: State = {"flights": {}, "hotels": {}, "bookings": {}, "last": None}
    for _ in range(9):
        origin, destination = rng.sample(airports, 2)
        flight = f"{draw_letters(rng, 2)}{rng.randint(100, 999)}"
        state["flights"][flight] = {
            "from": origin,
            "to": destination,
            "date": draw_date(rng),
            "price": round(rng.uniform(40, 900), 2),
        }
    for _ in range(7):
        hotel = {"name": invented_name(rng), "city": rng.choice(cities), "stars": rng.randint(1, 5)}
        amenities = rng.sample(AMENITIES, rng.randint(1, 4))
        state["hotels"][content_id("htl", hotel)] = hotel | {"amenities": amenities}
    for flight in rng.sample(list(state["flights"]), 4):
        _book_flight(state, {"flight": flight, "passenger": draw_passenger(rng)})
    return state | {"last": None}


def draw_letters(rng: Random, count: int) -> str:
    """Capital letters, as in the names of airports."""
    return "".join(rng.choice(_LETTERS) for _ in range(count))


def draw_passenger(rng: Random) -> dict[str, Any]:
    """Somebody with a passport."""
    passport = "".join(rng.choice(_LETTERS + "0123456789") for _ in range(8))
    return {"name": invented_name(rng), "passport": passport}


def run_agency(state: State, name: str, arguments: Mapping[str, Any]) -> Any:
    """Do a schema-valid call of the travel tools on the state."""
    result = _do(state, name, arguments)
    made = name in ("book_flight", "book_hotel") and "error" not in result
    state["last"] = {"id": result["booking"], "kind": name.removeprefix("book_")} if made else None
    return result


def _do(state: State, name: str, arguments: Mapping[str, Any]) -> Any:
    match name:
        case "search_flights":
            return search_flights(state, arguments)
        case "search_hotels":
            return search_hotels(state, arguments)
        case "find_bookings":
            return _bookings_of(state, arguments["name"])
        case "book_flight":
            return _book_flight(state, arguments)
        case "book_hotel":
            return _book_hotel(state, arguments)
        case _:
            return _change(state, name, arguments)


def search_flights(state: State, arguments: Mapping[str, Any]) -> Any:
    """The flights of a route, on a date and up to a price if they are given."""
    return [
        {"flight": key, "date": one["date"], "price": one["price"]}
        for key, one in state["flights"].items()
        if (one["from"], one["to"]) == (arguments["origin"], arguments["destination"])
        and one["date"] == arguments.get("date", one["date"])
        and one["price"] <= arguments.get("max_price", one["price"])
    ]


def search_hotels(state: State, arguments: Mapping[str, Any]) -> Any:
    """The hotels of a city, with so many stars and these amenities if they are given."""
    return [
        {"hotel_id": key, "name": one["name"], "stars": one["stars"]}
        for key, one in state["hotels"].items()
        if one["city"] == arguments["city"]
        and one["stars"] >= arguments.get("min_stars", 1)
        and set(arguments.get("amenities", ())) <= set(one["amenities"])
    ]


def _bookings_of(state: State, name: str) -> Any:
    return [
        {"booking": key, "of": one["of"], **({"seat": one["seat"]} if "seat" in one else {})}
        for key, one in state["bookings"].items()
        if one["name"] == name
    ]


def _book_flight(state: State, arguments: Mapping[str, Any]) -> Any:
    if arguments["flight"] not in state["flights"]:
        return error(f"no flight {arguments['flight']}")
    price = state["flights"][arguments["flight"]]["price"] + 30 * arguments.get("bags", 0)
    price *= 1 + 2 * CABINS.index(arguments.get("cabin", "economy"))
    who = arguments["passenger"]["name"]
    return _add(state, arguments, {"of": arguments["flight"], "name": who}, {"price": round(price, 2)})


def _book_hotel(state: State, arguments: Mapping[str, Any]) -> Any:
    if arguments["hotel_id"] not in state["hotels"]:
        return error(f"no hotel {arguments['hotel_id']}")
    booking = {"of": arguments["hotel_id"], "name": arguments["guest"]}
    return _add(state, arguments, booking, {"nights": arguments["nights"]})


def _add(state: State, arguments: Mapping[str, Any], booking: dict[str, Any], told: dict[str, Any]) -> Any:
    key = content_id("bk", arguments)
    if key in state["bookings"]:
        return error(f"booked already as {key}")
    if len(state["bookings"]) >= 2 * MOST_BOOKINGS:
        return error("no more bookings can be taken")
    state["bookings"][key] = booking
    return {"booking": key, **told}


def _change(state: State, name: str, arguments: Mapping[str, Any]) -> Any:
    key = arguments["booking_id"]
    if key not in state["bookings"]:
        return error(f"no booking {key}")
    if name == "cancel_booking":
        del state["bookings"][key]
        return {"booking": key, "cancelled": True, "refunded": arguments.get("refund", False)}
    if state["bookings"][key]["of"] not in state["flights"]:
        return error(f"booking {key} is not a flight")
    state["bookings"][key]["seat"] = arguments["seat"]
    return {"booking": key, "seat": arguments["seat"]}
