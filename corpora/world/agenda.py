"""The calendar toolbox: wishes about events, guests, reminders and minutes."""

from __future__ import annotations

from random import Random
from typing import Any

from corpora import lexicon
from corpora.invention import draw_date
from corpora.world.agenda_store import (
    CHANNELS,
    KINDS,
    MOST_EVENTS,
    TOOLS,
    draw_time,
    draw_title,
    open_agenda,
    run_agenda,
)
from corpora.world.base import Call, Plan, State, Toolbox, Wish, single
from corpora.world.saying import asked, closing, listed, picked, quoted, trouble


def _event(rng: Random, state: State) -> str:
    return picked(rng, state["events"], "evt", 0.07)


def create_event(rng: Random, state: State) -> Wish:
    """create_event with its options."""
    if len(state["events"]) >= MOST_EVENTS:
        return delete_event(rng, state)
    arguments: dict[str, Any] = {"title": draw_title(rng), "date": draw_date(rng), "start": draw_time(rng)}
    extra = _event_options(rng, arguments)
    templates = (
        "[put|write|enter] {t} into [the|my] calendar on {d} at {s}{x}",
        "create an event {t} on {d} at {s}{x}",
        "schedule {t} for {d} at {s}{x}", "I have {t} on {d} at {s}{x}, put it in the calendar",
        "New event: {t}, {d}, {s}{x}", "On {d} at {s} there is {t}{x}. Add that.", "add {t} at {s} on {d}{x}",
        "book {s} on {d} for {t}{x}", "{d}, {s}: {t}{x}. Make an event of it.", "plan {t} at {s}, {d}{x}",
    )  # fmt: skip
    text = asked(
        rng, templates, t=quoted(rng, arguments["title"]), d=arguments["date"], s=arguments["start"], x=extra
    )
    words = closing(
        rng, "It is event {r[id]}.", "{r[id]} is in the calendar on {r[date]}.", "Noted as {r[id]}."
    )
    return Wish(text, single(Call("create_event", arguments), words))


def _event_options(rng: Random, arguments: dict[str, Any]) -> str:
    """Draw the optional arguments of an event into `arguments`; how people say them."""
    said = ""
    if rng.random() < 0.35:
        arguments["minutes"] = minutes = rng.randint(5, 480)
        said += rng.choice((", {} minutes", " for {} minutes", ", it takes {} minutes")).format(minutes)
    if rng.random() < 0.3:
        arguments["kind"] = kind = rng.choice(KINDS)
        said += rng.choice((", it is a {}", ", kind {}", ", as a {}")).format(kind)
    if rng.random() < 0.35:
        arguments["attendees"] = people = [lexicon.invented_name(rng) for _ in range(rng.randint(1, 3))]
        said += rng.choice((" with {}", ", attendees {}", " together with {}")).format(listed(rng, people))
    if rng.random() < 0.2:
        arguments["private"] = private = rng.random() < 0.6
        said += rng.choice(
            (", private", ", make it private") if private else (", not private", ", it is not private")
        )
    return said


def day(rng: Random, state: State) -> Wish:
    """list_events of one day, or of two or three at once."""
    known = sorted({one["date"] for one in state["events"].values()})
    count = rng.choice((1, 1, 2, 2, 3))
    days = list(
        dict.fromkeys(
            rng.choice(known) if known and rng.random() < 0.8 else draw_date(rng) for _ in range(count)
        )
    )
    templates = (
        "What is on {d}?", "What do I have on {d}?", "list [the|all] events of {d}", "show me {d}",
        "my calendar for {d}[ please|]", "Am I busy on {d}?", "what's in the calendar on {d}?",
        "read me the events of {d}",
        "{d}, what is planned?",
    )  # fmt: skip

    def plan() -> Plan:
        found = yield tuple(Call("list_events", {"date": one}) for one in days)
        total = sum(len(one) for one in found)
        return f"There {'is 1 event' if total == 1 else f'are {total} events'}."

    return Wish(asked(rng, templates, d=listed(rng, days)), plan())


def find(rng: Random, state: State) -> Wish:
    """find_events."""
    events = list(state["events"].values())
    query = (
        rng.choice(events)["title"].split()[0]
        if events and rng.random() < 0.9
        else lexicon.invented_word(rng).capitalize()
    )
    templates = (
        "When is the {q} thing?", "find the {q} event", "search the calendar for {q}", "look for {q}",
        "When is {q}?",
        "find events with {q} in the title", "Is there something called {q} in the calendar?", "look up {q}",
        "Which day is {q}?",
    )  # fmt: skip
    single_one = rng.choice(("It is on {date} at {start}.", "{title} is on {date}.", "On {date} at {start}."))
    call = Call("find_events", {"query": query})

    def words(found: Any) -> str:
        return str(single_one.format(**found[0])) if len(found) == 1 else f"I found {len(found)}."

    return Wish(asked(rng, templates, q=query), single(call, words))


def _moved(rng: Random) -> tuple[dict[str, Any], str]:
    date, start = draw_date(rng), draw_time(rng)
    return rng.choice(
        (
            ({"date": date, "start": start}, f"{date} at {start}"),
            ({"date": date, "start": start}, f"{start} on {date}"),
            ({"date": date}, date),
            ({"start": start}, start),
        )
    )


def move_event(rng: Random, state: State) -> Wish:
    """move_event by its id."""
    key = _event(rng, state)
    when, said = _moved(rng)
    templates = (
        "move {e} to {w}", "[shift|put off|postpone] {e} to {w}", "{e} is now {w}, move it",
        "reschedule {e} to {w}",
        "move [the |]event {e} to {w}", "Can we have {e} moved to {w}?",
        "{e} does not work any more, move it to {w}",
        "I need {e} moved to {w}.", "the new time for {e} is {w}, move it",
    )  # fmt: skip
    words = closing(rng, "{r[title]} is on {r[date]} at {r[start]} now.", "Moved to {r[date]}, {r[start]}.")
    return Wish(
        asked(rng, templates, e=key, w=said), single(Call("move_event", {"event_id": key, **when}), words)
    )


def move_found(rng: Random, state: State) -> Wish:
    """find_events, then move_event for the only one there is."""
    word, key = _unique(rng, state)
    if not key:
        return find(rng, state)
    when, said = _moved(rng)
    templates = (
        "find {q} and move it to {w}", "search for the {q} event and move it to {w}",
        "look up {q}, then move it to {w}",
        "search for the event with {q} in its title and move it to {w}",
        "The {q} event has to move to {w}, look it up.",
        "find the {q} thing, move it to {w}",
        "look for {q} in the calendar and reschedule it to {w}",
        "I forgot the id of {q}, find it and move it to {w}.",
    )  # fmt: skip

    def plan() -> Plan:
        (found,) = yield (Call("find_events", {"query": word}),)
        (result,) = yield (Call("move_event", {"event_id": found[0]["id"], **when}),)
        return trouble(result) or f"{result['title']} is on {result['date']} at {result['start']}."

    return Wish(asked(rng, templates, q=word, w=said), plan())


def _unique(rng: Random, state: State) -> tuple[str, str]:
    """A word that is in the title of one event only, and the id of that event; "" where there is none."""
    events = state["events"]
    words = {key: one["title"].split()[0] for key, one in events.items()}
    lower = [one["title"].lower() for one in events.values()]
    fit = [(word, key) for key, word in words.items() if sum(word.lower() in one for one in lower) == 1]
    return rng.choice(fit) if fit else ("", "")


def _notify(rng: Random) -> tuple[dict[str, Any], str]:
    if rng.random() < 0.5:
        return {}, ""
    notify = rng.random() < 0.5
    yes = (" and notify everybody", " and notify them", ", with a notification")
    no = (" without a notification", ", do not notify anybody", ", but don't notify them")
    return {"notify": notify}, rng.choice(yes if notify else no)


def delete_event(rng: Random, state: State) -> Wish:
    """delete_event by its id, or the one that was created in the message before."""
    last = state["last"] in state["events"] and rng.random() < 0.5
    key = state["last"] if last else _event(rng, state)
    options, said = _notify(rng)
    named = (
        "delete {e}{x}", "delete [the |]event {e}{x}", "[remove|cancel] {e}{x}", "{e} is off, delete it{x}",
        "take {e} out of the calendar{x}", "We don't need {e} any more, delete it{x}",
        "{e} won't happen, remove it{x}",
        "I want {e} deleted{x}", "drop event {e}{x}",
    )  # fmt: skip
    again = (
        "delete that [event |]again{x}", "No, delete that event{x}", "remove it again{x}",
        "Sorry, cancel the new event{x}",
        "undo that, delete the event{x}", "that was wrong, delete the event you just made{x}",
        "take it out again{x}",
        "delete the event we just added{x}",
    )  # fmt: skip
    words = closing(rng, "{r[id]} is deleted.", "Event {r[id]} is gone.", "Deleted.")
    call = Call("delete_event", {"event_id": key, **options})
    return Wish(asked(rng, again if last else named, e=key, x=said), single(call, words))


def delete_found(rng: Random, state: State) -> Wish:
    """find_events, then delete_event for the only one there is."""
    word, key = _unique(rng, state)
    if not key:
        return find(rng, state)
    options, said = _notify(rng)
    templates = (
        "find {q} and delete it{x}", "find the {q} event, then delete it{x}", "look for {q} and remove it{x}",
        "The {q} thing is off, look it up and delete it{x}",
        "search the calendar for {q} and delete it{x}", "look up {q}, then delete it{x}",
        "search for the {q} event and cancel it{x}",
        "{q} won't happen, find it and delete it{x}",
    )  # fmt: skip

    def plan() -> Plan:
        (found,) = yield (Call("find_events", {"query": word}),)
        (result,) = yield (Call("delete_event", {"event_id": found[0]["id"], **options}),)
        return trouble(result) or f"{found[0]['title']} is deleted."

    return Wish(asked(rng, templates, q=word, x=said), plan())


def invite(rng: Random, state: State) -> Wish:
    """invite, to one event or the same people to two at once."""
    people = [lexicon.invented_name(rng) for _ in range(rng.randint(1, 3))]
    keys = [_event(rng, state)]
    if len(state["events"]) > 1 and rng.random() < 0.3:
        keys = rng.sample(list(state["events"]), 2)
    templates = (
        "invite {p} to {e}", "ask {p} to come to {e}", "add {p} to {e}",
        "{p} should be at {e}, send an invitation",
        "{p} will join {e}, invite them", "send {p} an invitation to {e}", "I want {p} at {e}, invite them",
        "have {p} invited to {e}", "For {e}, invite {p}",
    )  # fmt: skip

    def plan() -> Plan:
        found = yield tuple(Call("invite", {"event_id": key, "people": people}) for key in keys)
        return trouble(*found) or f"Invited to {' and '.join(one['id'] for one in found)}."

    return Wish(asked(rng, templates, p=listed(rng, people), e=" and ".join(keys)), plan())


def remind(rng: Random, state: State) -> Wish:
    """set_reminder, for one event or for two at once."""
    count = 2 if len(state["events"]) > 1 and rng.random() < 0.35 else 1
    keys = [_event(rng, state)] if count == 1 else rng.sample(list(state["events"]), 2)
    calls, said = list[Call](), list[str]()
    channel = rng.choice(CHANNELS) if rng.random() < 0.5 else ""
    for key in keys:
        minutes = rng.randint(1, 240)
        arguments = {"event_id": key, "minutes_before": minutes} | ({"channel": channel} if channel else {})
        words = rng.choice(("{} minutes before {}", "{} minutes ahead of {}")).format(minutes, key)
        if channel:
            words += rng.choice((" by {}", " with a {}", " via {}")).format(channel)
        calls.append(Call("set_reminder", arguments))
        said.append(words)
    templates = (
        "remind me {w}", "set a reminder {w}", "I need a reminder {w}.", "send me a reminder {w}",
        "ping me {w}",
        "don't let me forget, remind me {w}", "Reminder {w}[, thanks|.|]", "I want to be reminded {w}",
        "give me a reminder {w}",
    )  # fmt: skip

    def plan() -> Plan:
        found = yield tuple(calls)
        return trouble(*found) or f"I will remind you {' and '.join(one['reminder'] for one in found)}."

    return Wish(asked(rng, templates, w=" and ".join(said)), plan())


def write_minutes(rng: Random, state: State) -> Wish:
    """write_minutes, often of several lines."""
    key = _event(rng, state)
    marks = rng.choice(("", "- ", "* ", ""))
    text = "\n".join(marks + lexicon.phrase(rng, 2, 6) for _ in range(rng.randint(1, 3)))
    templates = (
        "[write|keep|save] the minutes of {e}: {t}", "Minutes for {e}: {t}",
        "The minutes of {e} are {t}. Save them.",
        "note for {e} as minutes {t}", "save {t} as the minutes of {e}",
        "Please keep these minutes for {e}:\n{t}",
        "In {e} we noted {t}. Keep that as minutes.", "put {t} into the minutes of {e}", "{e}, minutes: {t}",
    )  # fmt: skip
    words = closing(
        rng, "The minutes of {r[id]} are kept.", "Saved, {r[lines]} lines.", "The minutes are saved."
    )
    call = Call("write_minutes", {"event_id": key, "text": text})
    return Wish(asked(rng, templates, e=key, t=quoted(rng, text)), single(call, words))


TOOLBOX = Toolbox(
    name="agenda",
    purpose="You keep a calendar.",
    tools=TOOLS,
    open=open_agenda,
    run=run_agenda,
    wishes={
        create_event: 8, day: 4, find: 2, move_event: 3, move_found: 4, delete_event: 3, delete_found: 3,
        invite: 4, remind: 4, write_minutes: 3,
    },
)  # fmt: skip
