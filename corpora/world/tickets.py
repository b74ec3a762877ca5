"""The tickets toolbox: wishes to open, find, assign, label, comment and close tickets."""

from __future__ import annotations

from random import Random
from typing import Any

from corpora.invention import draw_date
from corpora.lexicon import invented_name, invented_word
from corpora.world.base import Call, Plan, State, Toolbox, Wish, single
from corpora.world.paragraphs import paragraph
from corpora.world.saying import asked, closing, listed, quoted, trouble
from corpora.world.tracker import (
    MOST_OPEN,
    PRIORITIES,
    RESOLUTIONS,
    TOOLS,
    draw_title,
    open_ids,
    open_tracker,
    run_tracker,
    search_tickets,
)


def _ticket(rng: Random, state: State) -> str:
    keys = open_ids(state)
    if not keys or rng.random() < 0.06:
        return f"{rng.choice(state['projects'])}-{rng.randint(100, 999)}"
    return rng.choice(keys)


def _person(rng: Random, state: State) -> str:
    return str(rng.choice(state["people"])) if rng.random() < 0.6 else invented_name(rng)


def _labels(rng: Random, state: State) -> list[str]:
    pool = [*state["labels"], *(invented_word(rng, 2) for _ in range(3))]
    return list(dict.fromkeys(rng.sample(pool, rng.choice((1, 1, 2, 3)))))


def create(rng: Random, state: State) -> Wish:
    """create_ticket, with a priority, labels and a description of some lines now and then."""
    if len(open_ids(state)) >= MOST_OPEN:
        return close(rng, state)
    project, title = rng.choice(state["projects"]), draw_title(rng)
    arguments: dict[str, Any] = {"project": project, "title": title}
    said = ""
    if rng.random() < 0.5:
        arguments["priority"] = priority = rng.choice(PRIORITIES)
        said += rng.choice((", priority {}", ", {} priority", " with priority {}", ", it is {}")).format(
            priority
        )
    if rng.random() < 0.4:
        arguments["labels"] = labels = _labels(rng, state)
        cue = rng.choice((", labels {}", ", labelled {}", ", with the labels {}", ", label it {}"))
        said += cue.format(listed(rng, labels))
    if rng.random() < 0.5:
        arguments["description"] = description = paragraph(rng, 3)
        cue = rng.choice(
            (", description {}", ". Description:\n{}", ", described as {}", ". The description is {}")
        )
        said += cue.replace("{}", _block(rng, description))
    forms = (
        "create a ticket in {p}: {t}{x}", "open a [new |]ticket in {p} with the title {t}{x}",
        "file {t} in {p}{x}", "New ticket for {p}, title {t}{x}", "add a ticket to {p} called {t}{x}",
        "In {p}, open {t} as a ticket{x}", "We need a ticket in {p}: {t}{x}", "Ticket for {p}: {t}{x}",
        "make a {p} ticket titled {t}{x}", "I'd like to report {t} in {p}{x}",
    )  # fmt: skip
    words = closing(rng, "It is {r[ticket_id]}.", "Ticket {r[ticket_id]} is open.", "Opened {r[ticket_id]}.")
    text = asked(rng, forms, p=project, t=_surely_quoted(rng, title), x=said)
    return Wish(text, single(Call("create_ticket", arguments), words))


def _surely_quoted(rng: Random, text: str) -> str:
    """Between quotes in any case, as more words may follow."""
    words = quoted(rng, text)
    return words if words != text else f'"{text}"'


def _block(rng: Random, text: str) -> str:
    return f"\n```\n{text}\n```" if "\n" in text and rng.random() < 0.4 else _surely_quoted(rng, text)


def create_two(rng: Random, state: State) -> Wish:
    """create_ticket, two at once."""
    if len(open_ids(state)) >= MOST_OPEN:
        return close(rng, state)
    project, titles = rng.choice(state["projects"]), [draw_title(rng), draw_title(rng)]
    first, second = (_surely_quoted(rng, title) for title in titles)
    forms = (
        "open two tickets in {p}: {a} and {b}", "file {a} and {b} in {p} as two tickets",
        "Two tickets for {p}:\n- {a}\n- {b}",
        "create tickets in {p} titled {a} and {b}", "In {p} I need {a} and also {b}, one ticket each",
        "add {a} to {p} as a ticket, and {b} too", "New tickets for {p}: {a}; {b}",
        "In {p}, open {a}, then {b}",
    )  # fmt: skip

    def plan() -> Plan:
        results = yield tuple(Call("create_ticket", {"project": project, "title": title}) for title in titles)
        return trouble(*results) or f"They are {' and '.join(one['ticket_id'] for one in results)}."

    return Wish(asked(rng, forms, p=project, a=first, b=second), plan())


def show(rng: Random, state: State) -> Wish:
    """get_ticket."""
    key = _ticket(rng, state)
    forms = (
        "show me [ticket |]{k}", "What is {k} about?", "get {k}", "open {k} for me to read",
        "What's the state of {k}?",
        "tell me about {k}", "look up [ticket |]{k}", "{k}, what is that?", "Details of {k}?",
        "I need to see {k}",
    )  # fmt: skip
    words = closing(
        rng,
        "It is {r[status]}, {r[priority]}.",
        "{r[ticket_id]} is {r[status]}.",
        "Its priority is {r[priority]}.",
    )
    return Wish(asked(rng, forms, k=key), single(Call("get_ticket", {"ticket_id": key}), words))


def show_several(rng: Random, state: State) -> Wish:
    """get_ticket, two or three at once."""
    keys = open_ids(state)
    if len(keys) < 3:
        return create(rng, state)
    keys = rng.sample(keys, rng.choice((2, 2, 3)))
    forms = (
        "show me {k}", "compare {k}", "What are {k} about?", "get the tickets {k}", "look up {k}",
        "I need to see {k}",
        "Details of {k}, please", "tell me about {k}", "{k}: what are these?",
    )  # fmt: skip

    def plan() -> Plan:
        results = yield tuple(Call("get_ticket", {"ticket_id": key}) for key in keys)
        return trouble(*results) or f"Their priorities are {', '.join(one['priority'] for one in results)}."

    return Wish(asked(rng, forms, k=listed(rng, keys)), plan())


def search(rng: Random, state: State) -> Wish:
    """search_tickets by one to three things."""
    parts: dict[str, tuple[Any, str]] = {
        "text": (invented_word(rng), rng.choice(("about {}", "with the text {}", "that mention {}",
        "containing {}"))),
        "status": (rng.choice(("open", "closed")), rng.choice(("with status {}", "that are {}",
        "which are {}"))),
        "assignee": (_person(rng, state), rng.choice(("assigned to {}", "of {}", "on the desk of {}"))),
        "label": (rng.choice(state["labels"]), rng.choice(("with the label {}", "labelled {}",
        "with label {}"))),
    }  # fmt: skip
    titles = [word for one in state["tickets"].values() for word in one["title"].split() if word.isalpha()]
    if titles and rng.random() < 0.8:
        parts["text"] = (rng.choice(titles), parts["text"][1])
    keys = rng.sample(list(parts), rng.choice((1, 1, 2, 2, 3)))
    arguments = {key: parts[key][0] for key in keys}
    said = " ".join(
        parts[key][1].replace("{}", _surely_quoted(rng, value) if key == "text" else value)
        for key, value in arguments.items()
    )
    if rng.random() < 0.3:
        arguments["limit"] = limit = rng.randint(1, 20)
        said += rng.choice((", at most {}", ", max {}", ", limit {}")).format(limit)
    forms = (
        "search [the |]tickets {x}", "find [all |]tickets {x}", "show me the tickets {x}",
        "Which tickets do we have {x}?",
        "list tickets {x}", "Are there tickets {x}?", "Tickets {x}?", "look for tickets {x}",
        "I need the tickets {x}",
        "How many tickets are there {x}?",
    )  # fmt: skip
    words = closing(rng, "I found {r}.", "{r} of them.", "There are {r}.")
    return Wish(
        asked(rng, forms, x=said), single(Call("search_tickets", arguments), lambda found: words(len(found)))
    )


def assign(rng: Random, state: State) -> Wish:
    """assign_ticket by its id, with a date now and then."""
    key, who = _ticket(rng, state), _person(rng, state)
    arguments = {"ticket_id": key, "assignee": who}
    said = ""
    if rng.random() < 0.35:
        arguments["due"] = due = draw_date(rng)
        said = rng.choice((", due {}", " until {}", ", due on {}", ", it's due {}")).format(due)
    forms = (
        "assign {k} to {w}{x}", "give [ticket |]{k} to {w}{x}", "{w} takes {k}{x}", "hand {k} over to {w}{x}",
        "{k} is for {w}{x}", "Let {w} work on {k}{x}", "put {w} on {k}{x}", "make {w} the assignee of {k}{x}",
        "{k} should go to {w}{x}",
    )  # fmt: skip
    words = closing(rng, "{r[assignee]} has {r[ticket_id]} now.", "Assigned to {r[assignee]}.", "Done.")
    return Wish(asked(rng, forms, k=key, w=who, x=said), single(Call("assign_ticket", arguments), words))


_COMMENT: tuple[str, ...] = (
    "comment on {k}: {t}", "add a comment to {k}: {t}", "Comment for {k}: {t}", "write on {k}: {t}",
    "leave this comment on {k}: {t}", "On {k}, comment {t}", "note on {k}: {t}", "Tell them on {k}: {t}",
    "post {t} as a comment on {k}", "{t} - add that to {k} as a comment",
)  # fmt: skip
_INTERNAL = (
    "add an internal comment to {k}: {t}", "comment on {k}, internal: {t}", "Internal comment for {k}: {t}",
    "On {k}, only internal, comment {t}", "make an internal note on {k}: {t}", "{k}, internal comment: {t}",
    "write on {k} as an internal comment: {t}", "Put {t} on {k} as an internal comment",
)  # fmt: skip
_NOT_INTERNAL = (
    "add a comment to {k}, not internal: {t}", "comment on {k} (not internal): {t}",
    "Not internal, on {k}: {t}",
    "Comment for {k}, internal off: {t}", "write on {k}, not as an internal comment: {t}",
    "On {k}, a comment that is not internal: {t}", "post {t} as a comment on {k}, not internal",
    "leave a comment on {k}, it is not internal: {t}",
)  # fmt: skip


def comment(rng: Random, state: State) -> Wish:
    """comment_ticket with one line or some, internal or not."""
    arguments: dict[str, Any] = {"ticket_id": _ticket(rng, state), "text": paragraph(rng, 4)}
    forms = _COMMENT
    if rng.random() < 0.4:
        arguments["internal"] = rng.random() < 0.7
        forms = _INTERNAL if arguments["internal"] else _NOT_INTERNAL
    text = asked(rng, forms, k=arguments["ticket_id"], t=_block(rng, arguments["text"]))
    words = closing(rng, "The comment is on {r[ticket_id]}.", "Commented.", "Added to {r[ticket_id]}.")
    return Wish(text, single(Call("comment_ticket", arguments), words))


def label(rng: Random, state: State) -> Wish:
    """label_ticket: labels to add, to remove, or both."""
    key = _ticket(rng, state)
    arguments: dict[str, Any] = {"ticket_id": key}
    held = state["tickets"].get(key, {}).get("labels", [])
    parts = []
    if not held or rng.random() < 0.7:
        arguments["add"] = _labels(rng, state)
        parts.append(rng.choice(("add {}", "add the labels {}")).format(listed(rng, arguments["add"])))
    gone = [one for one in held if one not in arguments.get("add", ())]
    if gone and (not parts or rng.random() < 0.4):
        arguments["remove"] = gone = rng.sample(gone, 1)
        parts.append(rng.choice(("remove {}", "remove the label {}")).format(gone[0]))
    if "add" not in arguments and "remove" not in arguments:
        return assign(rng, state)
    forms = (
        "change the labels of {k}: {x}", "on the labels of {k}, {x}", "Labels of {k}: {x}",
        "update the labels on {k}, {x}",
        "For {k}, {x} [as labels|in the labels]", "The labels of {k} are wrong, {x}",
        "edit labels of {k}: {x}",
        "label {k}: {x}",
    )  # fmt: skip
    words = closing(rng, "Labels of {r[ticket_id]} are set.", "Done.")
    text = asked(rng, forms, k=key, x=rng.choice((" and ", ", ")).join(parts))
    return Wish(text, single(Call("label_ticket", arguments), words))


def prioritise(rng: Random, state: State) -> Wish:
    """set_priority, of one ticket or two at once."""
    keys = [_ticket(rng, state)]
    if len(open_ids(state)) > 3 and rng.random() < 0.4:
        keys = rng.sample(open_ids(state), 2)
    priority = rng.choice(PRIORITIES)
    forms = (
        "set [the priority of |]{k} to {p}", "make {k} {p} priority", "{k} should be {p} now",
        "Priority {p} for {k}",
        "change the priority of {k} to {p}", "treat {k} as {p}, set the priority", "put {k} on {p} priority",
        "give {k} the priority {p}",
    )  # fmt: skip

    def plan() -> Plan:
        results = yield tuple(Call("set_priority", {"ticket_id": key, "priority": priority}) for key in keys)
        return trouble(*results) or f"{' and '.join(keys)}: {priority}."

    return Wish(asked(rng, forms, k=" and ".join(keys), p=priority), plan())


def _resolution(rng: Random) -> tuple[dict[str, Any], str]:
    options: dict[str, Any] = {"resolution": rng.choice(RESOLUTIONS)}
    said = rng.choice((" as {}", ", resolution {}", ", it is {}", " with the resolution {}")).format(
        *options.values()
    )
    if rng.random() < 0.35:
        options["notify"] = notify = rng.random() < 0.5
        yes, no = (
            (" and notify people", ", notify everybody"),
            (" without notifying anybody", ", don't notify anyone"),
        )
        said += rng.choice(yes if notify else no)
    return options, said


_CLOSED = (
    "{r[ticket_id]} is closed.",
    "Closed as {r[resolution]}.",
    "Ticket {r[ticket_id]} is {r[resolution]}.",
)


def close(rng: Random, state: State) -> Wish:
    """close_ticket by its id."""
    key, (options, said) = _ticket(rng, state), _resolution(rng)
    forms = (
        "close [ticket |]{k}{x}", "{k} can be closed{x}", "We are done with {k}, close it{x}",
        "mark {k} closed{x}",
        "shut {k}{x}", "Close {k} for me{x}", "Ticket {k}: close{x}", "finish {k}, close it{x}",
    )  # fmt: skip
    call = Call("close_ticket", {"ticket_id": key, **options})
    return Wish(asked(rng, forms, k=key, x=said), single(call, closing(rng, *_CLOSED)))


def find_then(rng: Random, state: State) -> Wish:
    """search_tickets for a word that one open ticket has, then one call about that ticket."""
    words = {word for one in state["tickets"].values() for word in one["title"].split() if word.isalpha()}
    words = {word for word in words if len(word) > 3 and len(search_tickets(state, {"text": word})) == 1}
    words -= {word for word in words if search_tickets(state, {"text": word})[0]["status"] != "open"}
    if not words:
        return search(rng, state)
    word, who = rng.choice(sorted(words)), _person(rng, state)
    options, said = _resolution(rng)
    remark = paragraph(rng, 2)
    name, arguments, deed = rng.choice(
        (
            ("assign_ticket", {"assignee": who}, f"assign it to {who}"),
            ("close_ticket", options, f"close it{said}"),
            ("comment_ticket", {"text": remark}, f"comment on it: {_block(rng, remark)}"),
        )
    )
    forms = (
        "search tickets for {t} and {d}", "find the ticket about {t} and {d}",
        "look for the ticket with {t}, then {d}",
        "I don't know the number: find the ticket about {t} and {d}",
        "There is a ticket about {t}. Find it and {d}",
        "search for {t} in the tickets and then {d}", "Which ticket mentions {t}? Please {d}",
        "find {t} among the tickets, {d}",
    )  # fmt: skip

    def plan() -> Plan:
        (found,) = yield (Call("search_tickets", {"text": word}),)
        key = found[0]["ticket_id"]
        (result,) = yield (Call(name, {"ticket_id": key, **arguments}),)
        return trouble(result) or f"Done, it was {key}."

    return Wish(asked(rng, forms, t=_surely_quoted(rng, word), d=deed), plan())


def change_last(rng: Random, state: State) -> Wish:
    """assign_ticket, label_ticket or set_priority of the ticket that the message before was about."""
    key = state["last"]
    if key not in open_ids(state):
        return prioritise(rng, state)
    who, priority, labels = _person(rng, state), rng.choice(PRIORITIES), _labels(rng, state)
    name, arguments, forms = rng.choice(
        (
            (
                "assign_ticket",
                {"assignee": who},
                ("assign it to {w}", "Give it to {w}", "{w} should do that one"),
            ),
            (
                "set_priority",
                {"priority": priority},
                ("set its priority to {p}", "Make it {p} priority", "And {p} priority"),
            ),
            (
                "label_ticket",
                {"add": labels},
                ("add the labels {x} to it", "Label it {x} too", "And add {x} as labels"),
            ),
        )
    )
    text = asked(rng, forms, w=who, p=priority, x=listed(rng, labels))
    return Wish(text, single(Call(name, {"ticket_id": key, **arguments}), f"{key} is changed."))


TOOLBOX = Toolbox(
    name="tickets",
    purpose="You keep a ticket tracker through tools.",
    tools=TOOLS,
    open=open_tracker,
    run=run_tracker,
    wishes={
        create: 14, create_two: 5, show: 7, show_several: 6, search: 14, assign: 9, comment: 14, label: 9,
        prioritise: 8, close: 8, find_then: 14, change_last: 12,
    },
)  # fmt: skip
