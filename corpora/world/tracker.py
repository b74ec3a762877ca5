"""The state behind the tickets toolbox: tickets of two projects, and the tools that change them."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from random import Random
from typing import Any

from corpora.lexicon import invented_name, invented_word, phrase
from corpora.world.base import State, error, tool
from corpora.world.paragraphs import paragraph

MOST_OPEN = 12
PRIORITIES = ("low", "medium", "high", "urgent")
RESOLUTIONS = ("fixed", "duplicate", "rejected", "obsolete")
_CLOSED_KEPT = 4

_ID = {"type": "string", "pattern": r"^[A-Z]+-\d+$"}
_LABELS = {"type": "array", "items": {"type": "string", "pattern": "^[a-z-]+$"}}
_TEXT = {"type": "string"}
TOOLS = (
    tool(
        "create_ticket",
        "Open a new ticket.",
        {
            "project": {"type": "string", "pattern": "^[A-Z]{2,4}$"},
            "title": _TEXT,
            "description": _TEXT,
            "priority": {"enum": list(PRIORITIES)},
            "labels": _LABELS,
        },
        ("project", "title"),
    ),
    tool("get_ticket", "Read a ticket.", {"ticket_id": _ID}, ("ticket_id",)),
    tool(
        "search_tickets",
        "Find tickets.",
        {
            "text": _TEXT,
            "status": {"enum": ["open", "closed"]},
            "assignee": _TEXT,
            "label": _TEXT,
            "limit": {"type": "integer", "minimum": 1},
        },
    ),
    tool(
        "assign_ticket",
        "Give a ticket to somebody.",
        {"ticket_id": _ID, "assignee": _TEXT, "due": {"type": "string", "pattern": r"^\d{4}-\d{2}-\d{2}$"}},
        ("ticket_id", "assignee"),
    ),
    tool(
        "comment_ticket",
        "Add a comment.",
        {"ticket_id": _ID, "text": _TEXT, "internal": {"type": "boolean"}},
        ("ticket_id", "text"),
    ),
    tool(
        "label_ticket",
        "Add or remove labels.",
        {"ticket_id": _ID, "add": _LABELS, "remove": _LABELS},
        ("ticket_id",),
    ),
    tool(
        "set_priority",
        "Change the priority.",
        {"ticket_id": _ID, "priority": {"enum": list(PRIORITIES)}},
        ("ticket_id", "priority"),
    ),
    tool(
        "close_ticket",
        "Close a ticket.",
        {"ticket_id": _ID, "resolution": {"enum": list(RESOLUTIONS)}, "notify": {"type": "boolean"}},
        ("ticket_id", "resolution"),
    ),
)


def open_tracker(rng: Random) -> State:
    """A fresh state: two projects, a few labels and people, some open tickets."""
    projects = [
        "".join(rng.choice("ABCDEFGHKLMNPRSTUVW") for _ in range(size)) for size in (2, rng.choice((3, 4)))
    ]
    state: State = {
        "projects": projects,
        "labels": [invented_word(rng, 1) for _ in range(4)] + ["bug", "docs", "ui"],
        "people": [invented_name(rng) for _ in range(5)],
        "tickets": {},
        "last": None,
        "recent": "",
    }
    while len(state["tickets"]) < 7:
        arguments = {
            "project": rng.choice(projects),
            "title": draw_title(rng),
            "description": paragraph(rng, 3),
        }
        key = _create(state, arguments)["ticket_id"]
        ticket = state["tickets"][key]
        ticket["labels"] = rng.sample(state["labels"], rng.randint(0, 2))
        ticket["assignee"] = rng.choice([*state["people"], None])
    return state


def draw_title(rng: Random) -> str:
    """A few words on one line."""
    return phrase(rng, 2, 5).replace("\n", " ")


def open_ids(state: State) -> list[str]:
    """The ids of the open tickets."""
    return [key for key, one in state["tickets"].items() if one["status"] == "open"]


def run_tracker(state: State, name: str, arguments: Mapping[str, Any]) -> Any:
    """Do a schema-valid call of the tracker's tools on the state."""
    repeated = state["recent"] == name  # "it" would not say which of two tickets
    state["recent"] = name
    if name == "create_ticket":
        result = _create(state, arguments)
        state["last"] = None if repeated else result.get("ticket_id")
        return result
    state["last"] = None
    if name == "search_tickets":
        return search_tickets(state, arguments)
    ticket = state["tickets"].get(arguments["ticket_id"])
    if ticket is None:
        return error(f"no ticket {arguments['ticket_id']}")
    if name == "get_ticket":
        return {"ticket_id": arguments["ticket_id"], **ticket}
    if ticket["status"] == "closed":
        return error(f"ticket {arguments['ticket_id']} is closed")
    state["last"] = None if repeated or name == "close_ticket" else arguments["ticket_id"]
    return _change(state, ticket, name, arguments)


def _create(state: State, arguments: Mapping[str, Any]) -> dict[str, Any]:
    if arguments["project"] not in state["projects"]:
        return error(f"no project {arguments['project']}")
    if len(open_ids(state)) >= 2 * MOST_OPEN:
        return error("too many open tickets")
    key = f"{arguments['project']}-{zlib.crc32(repr(sorted(arguments.items())).encode()) % 90000 + 1000}"
    if key in state["tickets"]:
        return error(f"that ticket exists already as {key}")
    state["tickets"][key] = {
        "title": arguments["title"],
        "status": "open",
        "priority": arguments.get("priority", "medium"),
        "assignee": None,
        "labels": list(arguments.get("labels", ())),
        "description": arguments.get("description", ""),
        "comments": [],
    }
    return {"ticket_id": key}


def search_tickets(state: State, arguments: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Short rows of the tickets that meet all that is given."""
    text = arguments.get("text", "").lower()
    found = [
        {"ticket_id": key, "title": one["title"], "status": one["status"]}
        for key, one in state["tickets"].items()
        if text in f"{one['title']}\n{one['description']}".lower()
        and one["status"] == arguments.get("status", one["status"])
        and one["assignee"] == arguments.get("assignee", one["assignee"])
        and ("label" not in arguments or arguments["label"] in one["labels"])
    ]
    return found[: min(arguments.get("limit", 6), 6)]


def _change(state: State, ticket: dict[str, Any], name: str, arguments: Mapping[str, Any]) -> Any:
    key = arguments["ticket_id"]
    match name:
        case "assign_ticket":
            ticket["assignee"] = arguments["assignee"]
            ticket["due"] = arguments.get("due")
            return {"ticket_id": key, "assignee": arguments["assignee"]}
        case "comment_ticket":
            shown = {"text": arguments["text"][:300], "internal": arguments.get("internal", False)}
            ticket["comments"] = [*ticket["comments"], shown][-2:]
            return {"ticket_id": key, "comments": len(ticket["comments"])}
        case "label_ticket":
            kept = [one for one in ticket["labels"] if one not in arguments.get("remove", ())]
            ticket["labels"] = list(dict.fromkeys([*kept, *arguments.get("add", ())]))[-6:]
            return {"ticket_id": key, "labels": list(ticket["labels"])}
        case "set_priority":
            ticket["priority"] = arguments["priority"]
            return {"ticket_id": key, "priority": arguments["priority"]}
        case _:
            return _close(state, ticket, arguments)


def _close(state: State, ticket: dict[str, Any], arguments: Mapping[str, Any]) -> Any:
    ticket |= {"status": "closed", "resolution": arguments["resolution"]}
    closed = [key for key, one in state["tickets"].items() if one["status"] == "closed"]
    for key in closed[:-_CLOSED_KEPT]:
        del state["tickets"][key]
    return {"ticket_id": arguments["ticket_id"], "status": "closed", "resolution": arguments["resolution"]}
