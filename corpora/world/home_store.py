"""The home behind its toolbox: its tools, rooms and devices, and what a call does to them."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any

from corpora import lexicon
from corpora.world.base import State, content_id, error, tool

KINDS = ("light", "speaker", "sensor")
COLORS = ("warm", "cold", "red", "green", "blue")
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_PREFIX = {"light": "lgt", "speaker": "spk", "sensor": "sen"}
_MOST_SCENES = 8
_STRING = {"type": "string"}
_BOOLEAN = {"type": "boolean"}
_TIME = {"type": "string", "pattern": r"^\d{2}:\d{2}$"}
TOOLS = (
    tool(
        "list_devices",
        "The devices in a room",
        {"room": _STRING, "kind": {"type": "string", "enum": list(KINDS)}},
        ("room",),
    ),
    tool(
        "set_light",
        "Switch a light on or off",
        {
            "device_id": _STRING,
            "on": _BOOLEAN,
            "brightness": {"type": "integer", "minimum": 1, "maximum": 100},
            "color": {"type": "string", "enum": list(COLORS)},
        },
        ("device_id", "on"),
    ),
    tool(
        "set_temperature",
        "Heat a room",
        {"room": _STRING, "celsius": {"type": "number", "minimum": 5, "maximum": 30}, "until": _TIME},
        ("room", "celsius"),
    ),
    tool(
        "lock_door",
        "Lock or unlock a door",
        {"door": {"type": "string", "pattern": r"^[A-Z]-\d{2}$"}, "locked": _BOOLEAN},
        ("door", "locked"),
    ),
    tool(
        "play_music",
        "Play a title on a speaker",
        {
            "device_id": _STRING,
            "title": _STRING,
            "volume": {"type": "integer", "minimum": 0, "maximum": 100},
            "repeat": _BOOLEAN,
        },
        ("device_id", "title"),
    ),
    tool(
        "read_sensor",
        "Values of a sensor, one line an hour",
        {"device_id": _STRING, "hours": {"type": "integer", "minimum": 1, "maximum": 24}},
        ("device_id",),
    ),
    tool(
        "save_scene",
        "Save a scene under a name",
        {
            "name": _STRING,
            "steps": {
                "type": "array",
                "minItems": 1,
                "items": {
                    "type": "object",
                    "properties": {"device_id": _STRING, "on": _BOOLEAN},
                    "required": ["device_id", "on"],
                },
            },
        },
        ("name", "steps"),
    ),
    tool(
        "set_schedule",
        "Switch a light on certain days",
        {
            "device_id": _STRING,
            "time": _TIME,
            "days": {"type": "array", "items": {"type": "string", "enum": list(DAYS)}, "minItems": 1},
            "on": _BOOLEAN,
        },
        ("device_id", "time", "days", "on"),
    ),
)


def open_home(rng: Random) -> State:
    """Four rooms with one to three lights, perhaps a speaker and a sensor each, and three doors."""
    state: State = {"rooms": {}, "devices": {}, "doors": {}, "scenes": {}, "recent": []}
    while len(state["rooms"]) < 4:
        room = lexicon.invented_word(rng, 2).capitalize()
        state["rooms"][room] = {"celsius": rng.randint(15, 24)}
        kinds = ["light"] * rng.randint(1, 3) + [one for one in KINDS[1:] if rng.random() < 0.75]
        for number, kind in enumerate(kinds):
            device = {"kind": kind, "room": room, "on": kind != "speaker" and rng.random() < 0.5}
            state["devices"][content_id(_PREFIX[kind], room, number, kind)] = device
    while len(state["doors"]) < 3:
        state["doors"][draw_door(rng)] = rng.random() < 0.5
    return state


def draw_door(rng: Random) -> str:
    """The label of a door."""
    return f"{rng.choice('ABCDEFGHJKLMNPQRSTUVWXYZ')}-{rng.randint(0, 99):02d}"


def of_kind(state: State, kind: str, room: str | None = None) -> list[str]:
    """The ids of the devices of a kind, in one room or all."""
    devices = state["devices"].items()
    return [key for key, one in devices if one["kind"] == kind and room in (None, one["room"])]


def run_home(state: State, name: str, arguments: Mapping[str, Any]) -> Any:
    """Do a call; `recent` holds the lights that were set, if setting lights was all that was done before."""
    recent, state["recent"] = state["recent"], []
    match name:
        case "list_devices":
            return _list(state, **arguments)
        case "set_temperature":
            room = arguments["room"]
            if room not in state["rooms"]:
                return error(f"no room {room}")
            state["rooms"][room] |= {key: value for key, value in arguments.items() if key != "room"}
            return dict(arguments)
        case "lock_door":
            if arguments["door"] not in state["doors"]:
                return error(f"no door {arguments['door']}")
            state["doors"][arguments["door"]] = arguments["locked"]
            return dict(arguments)
        case "save_scene":
            return _save_scene(state, **arguments)
        case "set_light":
            result = _device(state, name, arguments, "light")
            if "error" not in result:
                state["recent"] = [*recent, arguments["device_id"]][-3:]
            return result
        case "set_schedule":
            return _device(state, name, arguments, "light")
        case _:
            return _device(state, name, arguments, "speaker" if name == "play_music" else "sensor")


def _list(state: State, room: str, kind: str = "") -> Any:
    if room not in state["rooms"]:
        return error(f"no room {room}")
    return [
        {"id": key, "kind": one["kind"], "on": one["on"]}
        for key, one in state["devices"].items()
        if one["room"] == room and kind in ("", one["kind"])
    ]


def _save_scene(state: State, name: str, steps: list[dict[str, Any]]) -> Any:
    """The oldest scene is dropped when there are too many."""
    missing = [step["device_id"] for step in steps if step["device_id"] not in state["devices"]]
    if missing:
        return error(f"no device {missing[0]}")
    state["scenes"].pop(name, None)
    state["scenes"][name] = steps
    if len(state["scenes"]) > _MOST_SCENES:
        del state["scenes"][next(iter(state["scenes"]))]
    return {"scene": name, "steps": len(steps)}


def _device(state: State, name: str, arguments: Mapping[str, Any], kind: str) -> Any:
    key = arguments["device_id"]
    device = state["devices"].get(key)
    if device is None or device["kind"] != kind:
        return error(f"no {kind} {key}")
    match name:
        case "set_light":
            device |= {part: value for part, value in arguments.items() if part != "device_id"}
            return {"id": key, **{part: value for part, value in arguments.items() if part != "device_id"}}
        case "play_music":
            device |= {"on": True, "title": arguments["title"]}
            return {"id": key, "playing": arguments["title"], "volume": arguments.get("volume", 30)}
        case "set_schedule":
            device["schedule"] = {part: arguments[part] for part in ("time", "days", "on")}
            return {"id": key, "time": arguments["time"], "days": len(arguments["days"])}
        case _:
            return _readings(key, arguments.get("hours", 1))


def _readings(key: str, hours: int) -> Any:
    """Values that are always the same for the same sensor and hour."""
    values = [round(15 + Random(f"{key} {hour}").random() * 10, 1) for hour in range(hours)]
    if hours == 1:
        return {"id": key, "value": values[0]}
    return "\n".join(f"{hour:02d}h ago: {value}" for hour, value in enumerate(values))
