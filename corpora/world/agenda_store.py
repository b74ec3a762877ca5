"""The calendar behind its toolbox: its tools, its events, and what a call does to them."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any

from corpora import lexicon
from corpora.invention import draw_date
from corpora.world.base import State, content_id, error, tool

CHANNELS = ("popup", "email", "sms")
KINDS = ("meeting", "call", "workshop", "dinner")
MOST_EVENTS = 14
_STRING = {"type": "string"}
_DATE = {"type": "string", "pattern": r"^\d{4}-\d{2}-\d{2}$"}
_TIME = {"type": "string", "pattern": r"^\d{2}:\d{2}$"}
_EVENT = {"type": "string"}
_PEOPLE = {"type": "array", "items": _STRING, "minItems": 1}
TOOLS = (
    tool(
        "create_event",
        "Put a new event into the calendar",
        {
            "title": _STRING,
            "date": _DATE,
            "start": _TIME,
            "minutes": {"type": "integer", "minimum": 5, "maximum": 480},
            "kind": {"type": "string", "enum": list(KINDS)},
            "attendees": _PEOPLE,
            "private": {"type": "boolean"},
        },
        ("title", "date", "start"),
    ),
    tool("list_events", "All events of a day", {"date": _DATE}, ("date",)),
    tool("find_events", "Events by a word of their title", {"query": _STRING}, ("query",)),
    tool(
        "move_event",
        "Move an event to another day or time",
        {"event_id": _EVENT, "date": _DATE, "start": _TIME},
        ("event_id",),
    ),
    tool(
        "delete_event", "Delete an event", {"event_id": _EVENT, "notify": {"type": "boolean"}}, ("event_id",)
    ),
    tool(
        "invite", "Invite people to an event", {"event_id": _EVENT, "people": _PEOPLE}, ("event_id", "people")
    ),
    tool(
        "set_reminder",
        "Remind before an event",
        {
            "event_id": _EVENT,
            "minutes_before": {"type": "integer", "minimum": 1, "maximum": 10080},
            "channel": {"type": "string", "enum": list(CHANNELS)},
        },
        ("event_id", "minutes_before"),
    ),
    tool(
        "write_minutes",
        "Keep the minutes of an event",
        {"event_id": _EVENT, "text": _STRING},
        ("event_id", "text"),
    ),
)


def open_agenda(rng: Random) -> State:
    state: State = {"events": {}, "last": ""}
    dates = [draw_date(rng) for _ in range(4)]
    for _ in range(7):
        event = {"title": draw_title(rng), "date": rng.choice(dates), "start": draw_time(rng)}
        _create(state, event)
    return state | {"last": ""}


def draw_title(rng: Random) -> str:
    return f"{lexicon.invented_word(rng, 2).capitalize()} {rng.choice(lexicon.NOUNS)}"


def draw_time(rng: Random) -> str:
    return f"{rng.randint(7, 20):02d}:{rng.choice((0, 15, 30, 45, rng.randint(0, 59))):02d}"


def run_agenda(state: State, name: str, arguments: Mapping[str, Any]) -> Any:
    if name == "create_event":
        return _create(state, arguments)
    state["last"] = ""
    events = state["events"]
    if name == "list_events":
        return [_row(key, one) for key, one in events.items() if one["date"] == arguments["date"]][:6]
    if name == "find_events":
        query = arguments["query"].lower()
        return [_row(key, one) for key, one in events.items() if query in one["title"].lower()][:6]
    key = arguments["event_id"]
    if key not in events:
        return error(f"no event {key}")
    return _change(events, name, arguments)


def _row(key: str, event: Mapping[str, Any]) -> dict[str, Any]:
    return {"id": key, "title": event["title"], "date": event["date"], "start": event["start"]}


def _create(state: State, arguments: Mapping[str, Any]) -> Any:
    key = content_id("evt", arguments["title"], arguments["date"], arguments["start"])
    if key in state["events"]:
        return error(f"that is in the calendar already, {key}")
    state["events"][key] = {"attendees": [], **arguments}
    state["last"] = key
    return {"id": key, "date": arguments["date"], "start": arguments["start"]}


def _change(events: dict[str, Any], name: str, arguments: Mapping[str, Any]) -> Any:
    key = arguments["event_id"]
    event = events[key]
    match name:
        case "move_event":
            event |= {part: arguments[part] for part in ("date", "start") if part in arguments}
            return _row(key, event)
        case "delete_event":
            del events[key]
            return {"id": key, "deleted": True, "notified": arguments.get("notify", False)}
        case "invite":
            known = [*event["attendees"], *arguments["people"]]
            if len(set(known)) > 12:
                return error(f"{key} is full")
            event["attendees"] = list(dict.fromkeys(known))
            return {"id": key, "attendees": len(event["attendees"])}
        case "set_reminder":
            channel = arguments.get("channel", "popup")
            event["reminder"] = {"minutes_before": arguments["minutes_before"], "channel": channel}
            return {"id": key, "reminder": f"{arguments['minutes_before']} minutes before by {channel}"}
        case _:
            event["minutes_text"] = arguments["text"]
            return {"id": key, "lines": len(arguments["text"].splitlines())}
