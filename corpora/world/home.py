"""The home toolbox: wishes about lights, heating, doors, music, sensors and scenes."""

from __future__ import annotations

from random import Random
from typing import Any

from corpora import lexicon
from corpora.world.base import Call, Plan, State, Toolbox, Wish, single
from corpora.world.home_store import COLORS, DAYS, KINDS, TOOLS, draw_door, of_kind, open_home, run_home
from corpora.world.saying import asked, closing, listed, picked, quoted, trouble


def _time(rng: Random) -> str:
    return f"{rng.randint(0, 23):02d}:{rng.choice((0, 15, 30, 45, rng.randint(0, 59))):02d}"


def _light(rng: Random, state: State) -> str:
    return picked(rng, of_kind(state, "light"), "lgt", 0.06)


def _room(rng: Random, state: State) -> str:
    return lexicon.invented_name(rng) if rng.random() < 0.06 else str(rng.choice(list(state["rooms"])))


def list_devices(rng: Random, state: State) -> Wish:
    """list_devices, with a kind now and then, of one room or two at once."""
    rooms = [_room(rng, state)] if rng.random() < 0.75 else rng.sample(list(state["rooms"]), 2)
    kind = rng.choice(KINDS) if rng.random() < 0.4 else ""
    things = f"{kind}[s| devices]" if kind else "devices"
    templates = (
        f"list the {things} in {{r}}", f"which {things} are in {{r}}?", f"What {things} does {{r}} have?",
        f"show me all {things} of {{r}}", f"Are there {things} in {{r}}?", f"look up the {things} in {{r}}",
        f"I want to know the {things} in {{r}}", f"In {{r}}, which {things} are there?",
        f"find the {things} of {{r}}",
    )  # fmt: skip
    form = rng.choice(("I found {n}.", "{n} in all.", "There: {n}."))
    extra = {"kind": kind} if kind else {}

    def plan() -> Plan:
        found = yield tuple(Call("list_devices", {"room": room, **extra}) for room in rooms)
        return trouble(*found) or form.format(n=" and ".join(str(len(one)) for one in found))

    return Wish(asked(rng, templates, r=" and ".join(rooms)), plan())


def _look(rng: Random) -> tuple[dict[str, Any], str]:
    """How a light should be when it is on."""
    look: dict[str, Any] = {}
    said = ""
    if rng.random() < 0.4:
        look["brightness"] = level = rng.randint(1, 100)
        said += rng.choice((", brightness {}", " at brightness {}", " at {} percent", ", {} percent")).format(
            level
        )
    if rng.random() < 0.35:
        look["color"] = color = rng.choice(COLORS)
        said += rng.choice((", color {}", " in {}", ", {}", ", make it {}")).format(color)
    return look, said


_SWITCH = (
    "turn {o} {l}{x}", "switch {o} {l}{x}", "turn {l} {o}{x}", "switch {l} {o}{x}", "{l} {o}{x}, please",
    "I want {l} {o}{x}", "make sure {l} is {o}{x}", "set {l} to {o}{x}", "put {l} {o}{x}", "Light {l} {o}{x}",
    "Could {l} be {o}{x}?",
)  # fmt: skip


def set_light(rng: Random, state: State) -> Wish:
    """set_light, of one light or of two or three at once."""
    lights = of_kind(state, "light")
    count = min(rng.choice((1, 1, 1, 2, 3)), len(lights))
    keys = [_light(rng, state)] if count < 2 else rng.sample(lights, count)
    on = rng.random() < 0.6
    look, said = _look(rng) if on else ({}, "")
    calls = tuple(Call("set_light", {"device_id": key, "on": on, **look}) for key in keys)
    form = rng.choice(("{} is {} now.", "{}: {}.", "Done, {} is {}."))

    def plan() -> Plan:
        found = yield calls
        return trouble(*found) or form.format(" and ".join(one["id"] for one in found), "on" if on else "off")

    return Wish(asked(rng, _SWITCH, l=listed(rng, keys), o="on" if on else "off", x=said), plan())


def dim_several(rng: Random, state: State) -> Wish:
    """set_light of two or three lights, each with a brightness of its own."""
    lights = of_kind(state, "light")
    keys = rng.sample(lights, min(len(lights), rng.choice((2, 2, 3))))
    levels = [rng.randint(1, 100) for _ in keys]
    form = rng.choice(("{} on at brightness {}", "{} on with brightness {}", "{} on, brightness {}"))
    pairs = listed(rng, [form.format(key, level) for key, level in zip(keys, levels, strict=True)])
    templates = (
        "turn {p}", "switch {p}", "I want {p}", "set {p}", "Please, {p}", "put {p}", "Lights: {p}",
        "make it {p}",
        "For the evening {p}.", "Can I have {p}?",
    )  # fmt: skip

    def plan() -> Plan:
        found = yield tuple(
            Call("set_light", {"device_id": key, "on": True, "brightness": level})
            for key, level in zip(keys, levels, strict=True)
        )
        return trouble(*found) or f"{len(found)} lights are set."

    return Wish(asked(rng, templates, p=pairs), plan())


def light_again(rng: Random, state: State) -> Wish:
    """set_light of the one that was set in the message before, the other way."""
    recent = state["recent"]
    if len(recent) != 1:
        return set_light(rng, state)
    key = recent[0]
    on = not state["devices"][key]["on"]
    templates = (
        "turn it {o} again", "switch that light {o} again", "No, turn it {o}",
        "Sorry, I want that light {o}", "and now {o} again",
        "switch it back {o}", "I changed my mind, turn that light {o}", "make it {o} again",
        "turn the same light {o}",
    )  # fmt: skip
    word = "on" if on else "off"
    words = closing(rng, f"{{r[id]}} is {word} again.", f"{{r[id]}} is {word}.")
    return Wish(asked(rng, templates, o=word), single(Call("set_light", {"device_id": key, "on": on}), words))


def lights_of_room(rng: Random, state: State) -> Wish:
    """list_devices, then set_light for every light it showed."""
    room = rng.choice(list(state["rooms"]))
    on = rng.random() < 0.5
    templates = (
        "look up every light in {r} and turn it {o}", "list every light in {r}, then turn [them|each] {o}",
        "find each light in {r} and switch it {o}",
        "look up and switch {o} every light in {r}", "I want every light in {r} {o}, look them up",
        "Every light in {r} should be {o}, find them first.",
        "list the light devices in {r} and turn them all {o}",
        "see which light devices are in {r} and turn them all {o}",
        "check {r} for each light there is and put it {o}",
    )  # fmt: skip

    def plan() -> Plan:
        (rows,) = yield (Call("list_devices", {"room": room, "kind": "light"}),)
        found = yield tuple(Call("set_light", {"device_id": row["id"], "on": on}) for row in rows)
        return trouble(*found) or f"{len(found)} in {room} now {'on' if on else 'off'}."

    return Wish(asked(rng, templates, r=room, o="on" if on else "off"), plan())


def music_in_room(rng: Random, state: State) -> Wish:
    """list_devices, then play_music on the speaker it showed."""
    rooms = [room for room in state["rooms"] if of_kind(state, "speaker", room)]
    if not rooms:
        return set_temperature(rng, state)
    room, title = rng.choice(rooms), lexicon.phrase(rng, 1, 4)
    extra, said = _music_options(rng)
    templates = (
        "find the speaker in {r} and play {t} on it{x}", "look up the speaker in {r}, then play {t}{x}",
        "look up the speaker of {r} and play {t}{x}",
        "Find the speaker in {r}, it should play {t}{x}", "which speaker is in {r}? Play {t} on it{x}",
        "see which speaker is in {r} and let it play {t}{x}",
        "look for a speaker in {r}, then play {t}{x}", "list the speaker in {r} and have it play {t}{x}",
    )  # fmt: skip

    def plan() -> Plan:
        (rows,) = yield (Call("list_devices", {"room": room, "kind": "speaker"}),)
        (result,) = yield (Call("play_music", {"device_id": rows[0]["id"], "title": title, **extra}),)
        return trouble(result) or f"{result['id']} is playing."

    return Wish(asked(rng, templates, r=room, t=quoted(rng, title), x=said), plan())


def _music_options(rng: Random) -> tuple[dict[str, Any], str]:
    extra: dict[str, Any] = {}
    said = ""
    if rng.random() < 0.4:
        extra["volume"] = volume = rng.randint(0, 100)
        said += rng.choice((", volume {}", " at volume {}", " with the volume {}")).format(volume)
    if rng.random() < 0.3:
        extra["repeat"] = repeat = rng.random() < 0.6
        said += rng.choice(
            (", on repeat", ", and repeat it") if repeat else (", do not repeat it", " without repeat")
        )
    return extra, said


def play_music(rng: Random, state: State) -> Wish:
    """play_music by the id of a speaker."""
    key, title = picked(rng, of_kind(state, "speaker"), "spk", 0.06), lexicon.phrase(rng, 1, 4)
    extra, said = _music_options(rng)
    templates = (
        "play {t} on {s}{x}", "put {t} on {s}{x}", "I want to hear {t} on {s}{x}", "{s} should play {t}{x}",
        "start {t} on {s}{x}", "let {s} play {t}{x}", "Music on {s}: {t}{x}", "On {s}, play {t}{x}",
        "have {s} play {t}{x}",
    )  # fmt: skip
    words = closing(rng, "{r[id]} is playing.", "It plays at volume {r[volume]}.", "Playing.")
    call = Call("play_music", {"device_id": key, "title": title, **extra})
    return Wish(asked(rng, templates, s=key, t=quoted(rng, title), x=said), single(call, words))


def set_temperature(rng: Random, state: State) -> Wish:
    """set_temperature, of one room or of two at once."""
    rooms = [_room(rng, state)] if rng.random() < 0.65 else rng.sample(list(state["rooms"]), 2)
    calls, said = list[Call](), list[str]()
    for room in rooms:
        celsius = rng.randint(5, 30) if rng.random() < 0.5 else rng.randint(5, 29) + 0.5
        arguments: dict[str, Any] = {"room": room, "celsius": celsius}
        words = f"{room} to {celsius}"
        if len(rooms) == 1 and rng.random() < 0.35:
            arguments["until"] = until = _time(rng)
            words += f" until {until}"
        calls.append(Call("set_temperature", arguments))
        said.append(words)
    templates = (
        "heat {w}", "set {w} degrees", "set the temperature of {w}", "warm {w}", "bring {w}", "set {w}",
        "I'd like {w} degrees", "change the heating of {w}", "Heating: {w}.", "put the heating in {w}",
    )  # fmt: skip

    def plan() -> Plan:
        found = yield tuple(calls)
        degrees = " and ".join(f"{one['room']} is set to {one['celsius']}" for one in found if "room" in one)
        return trouble(*found) or f"{degrees}."

    pool = (
        templates
        if "until" not in calls[0].arguments
        else tuple(one for one in templates if "degrees" not in one)
    )
    return Wish(asked(rng, pool, w=" and ".join(said)), plan())


def lock_doors(rng: Random, state: State) -> Wish:
    """lock_door, of one door or of two or three at once."""
    count = rng.choice((1, 1, 2, 3))
    doors = [draw_door(rng)] if rng.random() < 0.06 else rng.sample(list(state["doors"]), count)
    locked = rng.random() < 0.6
    templates = (
        "{k} {d}", "{k} [the door|door] {d}", "I want you to {k} {d}",
        "I leave now, {k} {d}",
        "{d}, {k} [it|that]", "Be so kind and {k} {d}.", "It is late, {k} {d}.",
        "somebody is at the door, {k} {d}",
        "{d} has to be {k}ed",
    )  # fmt: skip

    def plan() -> Plan:
        found = yield tuple(Call("lock_door", {"door": door, "locked": locked}) for door in doors)
        said = "locked" if locked else "unlocked"
        return trouble(*found) or f"{' and '.join(one['door'] for one in found)} {said}."

    return Wish(asked(rng, templates, k="lock" if locked else "unlock", d=listed(rng, doors)), plan())


def read_sensor(rng: Random, state: State) -> Wish:
    """read_sensor, with hours now and then."""
    key = picked(rng, of_kind(state, "sensor"), "sen", 0.06)
    arguments: dict[str, Any] = {"device_id": key}
    said = ""
    if rng.random() < 0.4:
        arguments["hours"] = hours = rng.randint(2, 24)
        said = rng.choice((" for {} hours", ", the last {} hours", " over {} hours")).format(hours)
    templates = (
        "What does {s} say{x}?", "read {s}{x}", "check [the sensor |]{s}{x}", "show me {s}{x}",
        "What is the value of {s}{x}?",
        "give me the values of {s}{x}", "I need the reading of {s}{x}", "get [sensor |]{s}{x}",
        "sensor {s}{x}",
    )  # fmt: skip

    def words(result: Any) -> str:
        return "Those are the values." if isinstance(result, str) else f"It says {result['value']}."

    return Wish(asked(rng, templates, s=key, x=said), single(Call("read_sensor", arguments), words))


def save_scene(rng: Random, state: State) -> Wish:
    """save_scene of two or three lights."""
    lights = of_kind(state, "light")
    keys = rng.sample(lights, min(len(lights), rng.choice((2, 2, 3))))
    steps = [{"device_id": key, "on": rng.random() < 0.5} for key in keys]
    name = lexicon.invented_word(rng) if rng.random() < 0.5 else lexicon.phrase(rng, 2, 3)
    said = listed(rng, [f"{step['device_id']} {'on' if step['on'] else 'off'}" for step in steps])
    templates = (
        "save a scene {n}: {s}", "make a scene [called |]{n} with {s}", "scene {n} is {s}, save it",
        "save {s} as the scene {n}",
        "I want a scene {n} with {s}", "new scene {n}: {s}", "create the scene {n}, that is {s}",
        "With {s}, make a scene {n}",
        "the scene {n} should be {s}",
    )  # fmt: skip
    words = closing(rng, "The scene is saved.", "{r[scene]} is saved.", "Saved, {r[steps]} steps.")
    call = Call("save_scene", {"name": name, "steps": steps})
    return Wish(asked(rng, templates, n=quoted(rng, name), s=said), single(call, words))


def set_schedule(rng: Random, state: State) -> Wish:
    """set_schedule on one to four days."""
    key, time, on = _light(rng, state), _time(rng), rng.random() < 0.5
    days = [day for day in DAYS if rng.random() < 0.35] or [rng.choice(DAYS)]
    templates = (
        "turn {k} {o} at {t} on {d}", "schedule {k} {o} at {t}, {d}", "on {d} at {t} switch {k} {o}",
        "at {t} {k} goes {o}, days {d}",
        "I want {k} {o} at {t} on {d}", "make a schedule for {k}: {o} at {t} on {d}",
        "Every {d} at {t}, {k} {o}",
        "switch {k} {o} every {d} at {t}", "{k} should go {o} at {t} on {d}",
    )  # fmt: skip
    words = closing(
        rng, "{r[id]} is scheduled for {r[time]}.", "Scheduled on {r[days]} days.", "It is in the schedule."
    )
    call = Call("set_schedule", {"device_id": key, "time": time, "days": days, "on": on})
    text = asked(rng, templates, k=key, o="on" if on else "off", t=time, d=listed(rng, days))
    return Wish(text, single(call, words))


TOOLBOX = Toolbox(
    name="home",
    purpose="You run a home: lights, heating, doors and music.",
    tools=TOOLS,
    open=open_home,
    run=run_home,
    wishes={
        list_devices: 3, set_light: 4, dim_several: 3, light_again: 3, lights_of_room: 3, music_in_room: 4,
        play_music: 3, set_temperature: 4, lock_doors: 4, read_sensor: 3, save_scene: 4, set_schedule: 4,
    },
)  # fmt: skip
