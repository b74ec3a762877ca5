"""The travel toolbox: wishes to search flights and hotels, and to make, change and cancel bookings."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any

from corpora.invention import draw_date
from corpora.lexicon import invented_name
from corpora.world.agency import (
    AMENITIES,
    CABINS,
    MOST_BOOKINGS,
    TOOLS,
    draw_letters,
    draw_passenger,
    open_agency,
    run_agency,
    search_flights,
    search_hotels,
)
from corpora.world.base import Call, Plan, State, Toolbox, Wish, single
from corpora.world.saying import asked, closing, listed, picked, trouble


def _route(rng: Random, state: State) -> dict[str, Any]:
    flight = rng.choice(list(state["flights"].values()))
    route = {"origin": flight["from"], "destination": flight["to"]}
    if rng.random() < 0.4:
        route["date"] = flight["date"] if rng.random() < 0.7 else draw_date(rng)
    if rng.random() < 0.3:
        route["max_price"] = rng.choice((rng.randint(100, 900), round(rng.uniform(50, 900), 2)))
    return route


def _route_text(rng: Random, route: Mapping[str, Any]) -> str:
    form = rng.choice(("from {} to {}", "from {} to {}", "leaving {} for {}", "{} to {}"))
    text = form.format(route["origin"], route["destination"])
    if "date" in route:
        text += rng.choice((" on {}", " for {}", ", date {}", ", on {}")).format(route["date"])
    if "max_price" in route:
        cue = rng.choice((" under {}", ", at most {}", " for at most {}", ", max price {}"))
        text += cue.format(route["max_price"])
    return text


def look_for_flights(rng: Random, state: State) -> Wish:
    """search_flights, with a date and a price now and then."""
    route = _route(rng, state)
    forms = (
        "search [for |]flights {r}", "find [me |]flights {r}", "look for a flight {r}", "show me flights {r}",
        "Any flights {r}?", "Which flights are there {r}?", "I want to fly {r}, what is there?",
        "Flights {r}?",
        "check what flies {r}", "We would like to travel {r} by plane, what can we take?",
    )  # fmt: skip
    text = asked(rng, forms, r=_route_text(rng, route))
    return Wish(text, single(Call("search_flights", route), _flights_found))


def _flights_found(flights: Any) -> str:
    names = ", ".join(one["flight"] for one in flights)
    return f"There are {len(flights)}: {names}." if flights else "No such flight."


def compare_routes(rng: Random, state: State) -> Wish:
    """search_flights, two or three at once."""
    routes = [_route(rng, state) for _ in range(rng.choice((2, 2, 3)))]
    if len({(one["origin"], one["destination"]) for one in routes}) < len(routes):
        return look_for_flights(rng, state)
    if rng.random() < 0.6:
        routes = [{key: one[key] for key in ("origin", "destination")} for one in routes]
    plain = all(len(one) == 2 for one in routes)
    joint = rng.choice((" and ", ", ", " and also ") if plain else ("; and ", "; then ", "; ", "\n"))
    said = [_route_text(rng, route) for route in routes]
    forms = (
        "search flights {r}", "find flights: {r}", "look for flights {r}", "Flights, please: {r}",
        "check the flights {r}", "What flies {r}?", "I need flights {r}", "We need these flights: {r}",
        "show me what flies {r}",
    )  # fmt: skip

    def plan() -> Plan:
        found = yield tuple(Call("search_flights", route) for route in routes)
        return f"There are {' and '.join(str(len(one)) for one in found)} flights."

    return Wish(asked(rng, forms, r=joint.join(said)), plan())


def _flight_options(rng: Random, arguments: dict[str, Any]) -> str:
    said = ""
    if rng.random() < 0.4:
        arguments["cabin"] = cabin = rng.choice(CABINS)
        said += rng.choice((" in {}", ", {} class", ", {}", " in {} class")).format(cabin)
    if rng.random() < 0.35:
        arguments["bags"] = bags = rng.choice((0, 1, 2, 3))
        said += rng.choice((" with {} bags", ", bags: {}", ", {} bags")).format(bags)
    return said


def _passenger_text(rng: Random, who: dict[str, Any]) -> str:
    forms = (
        "{name}, passport {passport}", "{name} (passport {passport})", "{name} with passport {passport}",
        "{name}, passport number {passport}", "passenger {name}, passport {passport}",
    )  # fmt: skip
    text = rng.choice(forms).format(**who)
    if rng.random() < 0.35:
        who["age"] = age = rng.randint(1, 90)
        text += rng.choice((", age {}", ", {} years old", ", aged {}")).format(age)
    return text


def book_flight(rng: Random, state: State) -> Wish:
    """book_flight for a new passenger."""
    if len(state["bookings"]) >= MOST_BOOKINGS:
        return cancel(rng, state)
    who = draw_passenger(rng)
    unknown = f"{draw_letters(rng, 2)}{rng.randint(100, 999)}"
    flight = unknown if rng.random() < 0.06 else rng.choice(list(state["flights"]))
    said = _passenger_text(rng, who)
    arguments: dict[str, Any] = {"flight": flight, "passenger": who}
    options = _flight_options(rng, arguments)
    forms = (
        "book [flight |]{f} for {p}{o}", "book a seat on {f} for {p}{o}", "get {p} on flight {f}{o}",
        "Flight {f} for {p}{o}. Book that.", "reserve {f} for {p}{o}", "I'd like {f} for {p}{o}",
        "New booking on {f}: {p}{o}", "For {p}: book {f}{o}", "buy a ticket for {f}: {p}{o}",
    )  # fmt: skip
    words = closing(rng, "Booked as {r[booking]} for {r[price]}.", "It is booking {r[booking]}.")
    return Wish(asked(rng, forms, f=flight, p=said, o=options), single(Call("book_flight", arguments), words))


def look_for_hotels(rng: Random, state: State) -> Wish:
    """search_hotels, with stars and amenities now and then."""
    hotel = rng.choice(list(state["hotels"].values()))
    arguments: dict[str, Any] = {"city": invented_name(rng) if rng.random() < 0.06 else hotel["city"]}
    said = ""
    if rng.random() < 0.4:
        arguments["min_stars"] = stars = rng.randint(1, 5)
        said += rng.choice((" with at least {} stars", ", {} stars or more", ", min {} stars")).format(stars)
    if rng.random() < 0.5:
        wanted = rng.sample(AMENITIES, rng.choice((1, 1, 2)))
        arguments["amenities"] = wanted
        said += rng.choice((", with {}", ", it must have {}", ", amenities: {}")).format(listed(rng, wanted))
    forms = (
        "search hotels in {c}{x}", "find [me |]a hotel in {c}{x}", "look for [hotels|a hotel] in {c}{x}",
        "Any hotels in {c}{x}?", "Where can we sleep in {c}{x}?", "show me the hotels in {c}{x}",
        "Hotels in {c}{x}?", "We stay in {c}, which hotels are there{x}?", "I need a hotel in {c}{x}",
    )  # fmt: skip
    close = closing(rng, "{r} of them.", "I found {r}.", "There are {r}.")
    text = asked(rng, forms, c=arguments["city"], x=said)
    return Wish(text, single(Call("search_hotels", arguments), lambda found: close(len(found))))


def _stay(rng: Random) -> tuple[dict[str, Any], str]:
    stay: dict[str, Any] = {
        "guest": invented_name(rng), "check_in": draw_date(rng), "nights": rng.randint(2, 14),
    }  # fmt: skip
    forms = (
        "for {guest} from {check_in}, {nights} nights", "for {guest}, {nights} nights from {check_in}",
        "for {nights} nights, check in {check_in}, guest {guest}", "{guest}, {check_in}, {nights} nights",
        "on {check_in} for {guest}, staying {nights} nights",
    )  # fmt: skip
    said = rng.choice(forms).format(**stay)
    if rng.random() < 0.4:
        stay["breakfast"] = breakfast = rng.random() < 0.5
        yes, no = (", with breakfast", ", breakfast too"), (", without breakfast", ", no breakfast")
        said += rng.choice(yes if breakfast else no)
    return stay, said


_ROOM_BOOKED = ("Booked as {r[booking]}.", "{r[booking]}, {r[nights]} nights.", "Done, {r[booking]}.")


def book_hotel(rng: Random, state: State) -> Wish:
    """book_hotel by the id of the hotel."""
    if len(state["bookings"]) >= MOST_BOOKINGS:
        return cancel(rng, state)
    hotel = picked(rng, state["hotels"], "htl", 0.06)
    stay, said = _stay(rng)
    forms = (
        "book [a room in |hotel |]{h} {s}", "reserve {h} {s}", "get a room in {h} {s}",
        "Hotel {h}, {s}. Book it.",
        "I want {h} {s}", "New hotel booking at {h}: {s}", "take a room at {h} {s}",
        "We'd like to book {h} {s}",
    )  # fmt: skip
    call = Call("book_hotel", {"hotel_id": hotel, **stay})
    return Wish(asked(rng, forms, h=hotel, s=said), single(call, closing(rng, *_ROOM_BOOKED)))


def book_hotel_found(rng: Random, state: State) -> Wish:
    """search_hotels in a city that has one, then book_hotel."""
    hotels = list(state["hotels"].values())
    city = rng.choice(hotels)["city"]
    stars = max(one["stars"] for one in hotels if one["city"] == city)
    query = {"city": city, "min_stars": stars}
    if len(search_hotels(state, query)) != 1 or len(state["bookings"]) >= MOST_BOOKINGS:
        return look_for_hotels(rng, state)
    stay, said = _stay(rng)
    forms = (
        "find a hotel in {c} with at least {n} stars and book it {s}",
        "search hotels in {c} with {n} stars or more, then book {s}",
        "We need a hotel in {c}, at least {n} stars. Search and book it {s}",
        "look for {n} stars or more in {c} and book a room {s}",
        "In {c}, find a hotel with min {n} stars and reserve it {s}",
        "search {c} for hotels of at least {n} stars; book the one you find {s}",
        "A hotel in {c} with {n} stars or more: find it, then book {s}",
        "find and book a hotel in {c}, min {n} stars, {s}",
    )  # fmt: skip
    words = closing(rng, *_ROOM_BOOKED)

    def plan() -> Plan:
        (found,) = yield (Call("search_hotels", query),)
        (result,) = yield (Call("book_hotel", {"hotel_id": found[0]["hotel_id"], **stay}),)
        return words(result)

    return Wish(asked(rng, forms, c=city, n=stars, s=said), plan())


def book_found(rng: Random, state: State) -> Wish:
    """search_flights on a route and date that has one flight, then book_flight."""
    flight = rng.choice(list(state["flights"].values()))
    route = {"origin": flight["from"], "destination": flight["to"], "date": flight["date"]}
    if len(search_flights(state, route)) != 1 or len(state["bookings"]) >= MOST_BOOKINGS:
        return look_for_flights(rng, state)
    who = draw_passenger(rng)
    options: dict[str, Any] = {}
    said = _passenger_text(rng, who)
    tail = _flight_options(rng, options)
    forms = (
        "find the flight {r} and book it for {p}{o}",
        "search flights {r}, then book the one there is for {p}{o}",
        "{p} wants to fly {r}. Find the flight and book it{o}",
        "look for a flight {r} and reserve it for {p}{o}",
        "Which flight goes {r}? Book it for {p}{o}", "search what flies {r} and get a ticket for {p}{o}",
        "I need to get {p} on a plane {r}: search, then book{o}",
        "find what flies {r} and book that for {p}{o}",
    )  # fmt: skip
    words = closing(rng, "Booked as {r[booking]}.", "It is {r[booking]}, {r[price]}.")

    def plan() -> Plan:
        (found,) = yield (Call("search_flights", route),)
        (result,) = yield (Call("book_flight", {"flight": found[0]["flight"], "passenger": who, **options}),)
        return words(result)

    return Wish(asked(rng, forms, r=_route_text(rng, route), p=said, o=tail), plan())


def bookings_of(rng: Random, state: State) -> Wish:
    """find_bookings."""
    names = [one["name"] for one in state["bookings"].values()]
    name = rng.choice(names) if names and rng.random() < 0.92 else invented_name(rng)
    forms = (
        "find the bookings of {n}", "What is booked for {n}?", "show [me |]the bookings of {n}",
        "Bookings of {n}?",
        "look up what {n} has booked", "list bookings for {n}", "Does {n} have a booking?",
        "{n} is on the phone, what bookings are there?", "check the bookings of {n}",
    )  # fmt: skip
    call = Call("find_bookings", {"name": name})
    return Wish(asked(rng, forms, n=name), single(call, lambda found: f"I found {len(found)} for {name}."))


def seat(rng: Random, state: State) -> Wish:
    """choose_seat by the id of a booking."""
    flights = [key for key, one in state["bookings"].items() if one["of"] in state["flights"]]
    key, place = picked(rng, flights, "bk", 0.08), f"{rng.randint(1, 40)}{rng.choice('ABCDEF')}"
    forms = (
        "choose seat {s} for {b}", "take seat {s} for [booking |]{b}", "reserve {s} for {b}",
        "{b} wants to sit in {s}",
        "set the seat of {b} to {s}", "Seat {s} for {b}, please", "Booking {b}: seat {s}",
        "put {b} on seat {s}",
        "I'd like {s} as the seat for {b}",
    )  # fmt: skip
    words = closing(rng, "Seat {r[seat]} it is.", "{r[booking]} has seat {r[seat]}.")
    call = Call("choose_seat", {"booking_id": key, "seat": place})
    return Wish(asked(rng, forms, s=place, b=key), single(call, words))


def _refund(rng: Random) -> tuple[dict[str, Any], str]:
    if rng.random() < 0.5:
        return {}, ""
    refund = rng.random() < 0.6
    yes, no = (" with a refund", " and refund it", ", refund: yes"), (" without a refund", ", no refund")
    return {"refund": refund}, rng.choice(yes if refund else no)


_CANCELLED = ("{r[booking]} is cancelled.", "Cancelled.", "Booking {r[booking]} is off.")


def cancel(rng: Random, state: State) -> Wish:
    """cancel_booking by its id."""
    key = picked(rng, state["bookings"], "bk", 0.08)
    options, said = _refund(rng)
    forms = (
        "cancel [booking |]{b}{x}", "call off {b}{x}", "Booking {b} has to go, cancel it{x}",
        "drop booking {b}{x}",
        "I can't make it on {b}, cancel{x}", "{b}: cancel that{x}",
        "They don't need {b} any more, cancel it{x}",
        "I want {b} cancelled{x}", "stop {b}, cancel it{x}",
    )  # fmt: skip
    call = Call("cancel_booking", {"booking_id": key, **options})
    return Wish(asked(rng, forms, b=key, x=said), single(call, closing(rng, *_CANCELLED)))


def cancel_several(rng: Random, state: State) -> Wish:
    """cancel_booking, two at once."""
    if len(state["bookings"]) < 4:
        return book_flight(rng, state)
    keys = rng.sample(list(state["bookings"]), 2)
    options, said = _refund(rng)
    forms = (
        "cancel {b}, both{x}", "cancel the bookings {b}{x}", "call off {b}{x}",
        "{b} have to go, cancel both{x}",
        "drop both {b}{x}", "I want {b} cancelled{x}", "We no longer need {b}, cancel them{x}",
        "Bookings {b}: cancel them{x}",
    )  # fmt: skip

    def plan() -> Plan:
        results = yield tuple(Call("cancel_booking", {"booking_id": key, **options}) for key in keys)
        return trouble(*results) or "Both are cancelled."

    return Wish(asked(rng, forms, b=" and ".join(keys), x=said), plan())


def cancel_for(rng: Random, state: State) -> Wish:
    """find_bookings of somebody who has one, then cancel_booking."""
    names = [one["name"] for one in state["bookings"].values()]
    names = [one for one in names if names.count(one) == 1]
    if not names:
        return bookings_of(rng, state)
    name, (options, said) = rng.choice(names), _refund(rng)
    forms = (
        "find the booking of {n} and cancel it{x}", "search the booking of {n} and cancel it{x}",
        "{n} can't travel, find the booking and cancel it{x}",
        "look up what {n} booked and cancel that{x}",
        "I don't have the number, so find {n}'s booking and cancel it{x}",
        "The trip of {n} is off. Look up the booking and cancel it{x}",
        "look for {n}'s booking, then cancel it{x}",
        "{n} wants to cancel, look that booking up and do it{x}",
    )  # fmt: skip
    words = closing(rng, *_CANCELLED)

    def plan() -> Plan:
        (found,) = yield (Call("find_bookings", {"name": name}),)
        (result,) = yield (Call("cancel_booking", {"booking_id": found[0]["booking"], **options}),)
        return words(result)

    return Wish(asked(rng, forms, n=name, x=said), plan())


def change_last(rng: Random, state: State) -> Wish:
    """choose_seat or cancel_booking for what was booked in the message before."""
    last = state["last"]
    if last is None:
        return seat(rng, state)
    if last["kind"] == "flight" and rng.random() < 0.6:
        place = f"{rng.randint(1, 40)}{rng.choice('ABCDEF')}"
        forms = (
            "take seat {s} [there|for that]",
            "choose seat {s} for it",
            "Seat {s}, please",
            "and {s} as the seat",
        )
        call = Call("choose_seat", {"booking_id": last["id"], "seat": place})
        return Wish(asked(rng, forms, s=place), single(call, closing(rng, "Seat {r[seat]} it is.")))
    options, said = _refund(rng)
    forms = (
        "cancel that [booking |]again{x}", "No, cancel it{x}", "Sorry, cancel what you just booked{x}",
        "undo that, cancel the booking{x}",
    )  # fmt: skip
    call = Call("cancel_booking", {"booking_id": last["id"], **options})
    return Wish(asked(rng, forms, x=said), single(call, closing(rng, *_CANCELLED)))


TOOLBOX = Toolbox(
    name="travel",
    purpose="You book trips through tools.",
    tools=TOOLS,
    open=open_agency,
    run=run_agency,
    wishes={
        look_for_flights: 10, compare_routes: 6, book_flight: 14, look_for_hotels: 10, book_hotel: 10,
        book_hotel_found: 6, book_found: 9, bookings_of: 8, seat: 8, cancel: 7, cancel_several: 4,
        cancel_for: 8, change_last: 10,
    },
)  # fmt: skip
