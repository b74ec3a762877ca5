"""The state behind the messages toolbox: an inbox, contacts and channels, and the tools that change them."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any

from corpora.lexicon import email_address, invented_name, invented_word, phrase
from corpora.world.base import State, content_id, error, tool
from corpora.world.paragraphs import paragraph

_SENT_KEPT = 6

_EMAIL = {"type": "string", "pattern": "^[^@ ]+@[^@ ]+$"}
_EMAILS = {"type": "array", "items": _EMAIL, "minItems": 1}
_ID = {"type": "string"}
_TEXT = {"type": "string"}
_FLAG = {"type": "boolean"}
TOOLS = (
    tool(
        "send_mail",
        "Send a mail.",
        {"to": _EMAILS, "cc": _EMAILS, "subject": _TEXT, "body": _TEXT, "urgent": _FLAG},
        ("to", "subject", "body"),
    ),
    tool(
        "send_chat",
        "Write to a chat channel.",
        {
            "channel": {"type": "string", "pattern": "^#[a-z0-9-]+$"},
            "text": _TEXT,
            "mentions": {"type": "array", "items": {"type": "string"}, "description": "Names of people"},
        },
        ("channel", "text"),
    ),
    tool(
        "search_messages",
        "Find received mails.",
        {
            "text": _TEXT,
            "sender": _TEXT,
            "unread_only": _FLAG,
            "limit": {"type": "integer", "minimum": 1, "maximum": 20},
        },
    ),
    tool("read_message", "The whole mail.", {"message_id": _ID}, ("message_id",)),
    tool(
        "reply",
        "Answer a mail.",
        {"message_id": _ID, "body": _TEXT, "reply_all": _FLAG},
        ("message_id", "body"),
    ),
    tool(
        "mark_messages",
        "Mark mails as read or unread.",
        {"message_ids": {"type": "array", "items": _ID, "minItems": 1}, "as": {"enum": ["read", "unread"]}},
        ("message_ids", "as"),
    ),
    tool("delete_message", "Delete a mail.", {"message_id": _ID}, ("message_id",)),
    tool("find_contact", "The address of somebody.", {"name": _TEXT}, ("name",)),
)


def open_mailroom(rng: Random) -> State:
    """A fresh state: contacts, a few channels, received mails that are read or not."""
    contacts = {invented_name(rng): email_address(rng) for _ in range(6)}
    state: State = {
        "contacts": contacts,
        "channels": [f"#{invented_word(rng, 2)}" for _ in range(3)],
        "inbox": {},
        "sent": [],
        "last": None,
        "recent": "",
    }
    for _ in range(9):
        name = rng.choice(list(contacts))
        _receive(state, name, phrase(rng, 2, 5).replace("\n", " "), paragraph(rng, 5), rng.random() < 0.5)
    return state


def _receive(state: State, sender: str, subject: str, body: str, unread: bool) -> None:
    mail = {"from": sender, "subject": subject, "body": body, "unread": unread}
    state["inbox"][content_id("msg", sender, subject, body)] = mail


def run_mailroom(state: State, name: str, arguments: Mapping[str, Any]) -> Any:
    """Do a schema-valid call of the messages tools on the state."""
    repeated = state["recent"] == name  # "it" would not say which of two mails
    state |= {"last": None, "recent": name}
    match name:
        case "send_mail":
            return _send_mail(state, arguments)
        case "send_chat":
            return _send_chat(state, arguments)
        case "search_messages":
            return search_messages(state, arguments)
        case "find_contact":
            address = state["contacts"].get(arguments["name"])
            return (
                {"name": arguments["name"], "email": address} if address else error(f"no {arguments['name']}")
            )
        case "mark_messages":
            return _mark(state, arguments)
        case _:
            return _one(state, name, arguments, repeated)


def _keep(state: State, kind: str, arguments: Mapping[str, Any]) -> str:
    """Record what was sent, of which the last few stay; its id."""
    key = content_id(kind, arguments)
    state["sent"] = [*state["sent"], {"id": key, **arguments}][-_SENT_KEPT:]
    return key


def _send_mail(state: State, arguments: Mapping[str, Any]) -> Any:
    if any(one["id"] == content_id("mail", arguments) for one in state["sent"]):
        return error("the same mail was sent just now")
    people = len(arguments["to"]) + len(arguments.get("cc", ()))
    return {"sent": _keep(state, "mail", arguments), "people": people}


def _send_chat(state: State, arguments: Mapping[str, Any]) -> Any:
    if arguments["channel"] not in state["channels"]:
        return error(f"no channel {arguments['channel']}")
    return {"posted": _keep(state, "chat", arguments), "channel": arguments["channel"]}


def search_messages(state: State, arguments: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Short rows of the received mails that meet all that is given."""
    text = arguments.get("text", "").lower()
    found = [
        {"message_id": key, "from": one["from"], "subject": one["subject"], "unread": one["unread"]}
        for key, one in state["inbox"].items()
        if text in f"{one['subject']}\n{one['body']}".lower()
        and one["from"] == arguments.get("sender", one["from"])
        and (one["unread"] or not arguments.get("unread_only", False))
    ]
    return found[: min(arguments.get("limit", 5), 5)]


def _mark(state: State, arguments: Mapping[str, Any]) -> Any:
    missing = [key for key in arguments["message_ids"] if key not in state["inbox"]]
    if missing:
        return error(f"no message {missing[0]}")
    for key in arguments["message_ids"]:
        state["inbox"][key]["unread"] = arguments["as"] == "unread"
    return {"marked": len(arguments["message_ids"]), "as": arguments["as"]}


def _one(state: State, name: str, arguments: Mapping[str, Any], repeated: bool) -> Any:
    key = arguments["message_id"]
    mail = state["inbox"].get(key)
    if mail is None:
        return error(f"no message {key}")
    if name == "delete_message":
        del state["inbox"][key]
        return {"deleted": key}
    mail["unread"] = False
    state["last"] = None if repeated else key
    if name == "reply":
        return {"sent": _keep(state, "mail", arguments), "to": mail["from"]}
    return {"from": mail["from"], "subject": mail["subject"], "body": mail["body"]}
