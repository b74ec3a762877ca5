"""The messages toolbox: wishes to send, search, read, answer, mark and delete mail and chat."""

from __future__ import annotations

from random import Random
from typing import Any

from corpora.lexicon import email_address, invented_name, invented_word, phrase
from corpora.world.base import Call, Plan, State, Toolbox, Wish, single
from corpora.world.mailroom import TOOLS, open_mailroom, run_mailroom, search_messages
from corpora.world.paragraphs import paragraph
from corpora.world.saying import asked, closing, listed, picked, quoted, trouble

_FEWEST = 5


def _text(rng: Random, text: str) -> str:
    """Free text between quotes or, if it has lines, between fences."""
    if "\n" in text and rng.random() < 0.4:
        return f"\n```\n{text}\n```"
    words = quoted(rng, text)
    return words if words != text else f'"{text}"'


def _body(rng: Random) -> str:
    return paragraph(rng, 3) if rng.random() < 0.5 else phrase(rng, 3, 7)


def _subject(rng: Random) -> str:
    return phrase(rng, 1, 4).replace("\n", " ")


_MAIL = (
    "send a mail to {t}{c}, subject {s}, text {b}", "mail {t}{c} with the subject {s}: {b}",
    "write to {t}{c}, subject {s}, body {b}", "Mail to {t}{c}. Subject: {s}. Text: {b}",
    "email {t}{c}: subject {s}, and the text is {b}", "To {t}{c}, subject {s}: {b}",
    "send {b} to {t}{c} as a mail with the subject {s}", "I have a mail for {t}{c}. Subject {s}. It says {b}",
    "Subject {s}, text {b}. Mail that to {t}{c}", "tell {t}{c} by mail, subject {s}, that {b}",
)  # fmt: skip


def send_mail(rng: Random, state: State) -> Wish:
    """send_mail to one to three addresses, with copies and urgent now and then."""
    known = list(state["contacts"].values())
    people = rng.sample([*known, email_address(rng), email_address(rng)], rng.choice((1, 1, 1, 2, 3)) + 2)
    copies = people[: rng.choice((0, 0, 0, 1, 2))]
    arguments: dict[str, Any] = {"to": people[2:], "subject": _subject(rng), "body": _body(rng)}
    extra = ""
    if copies:
        arguments["cc"] = copies
        cue = rng.choice((", cc {}", " (cc {})", " with {} in cc", ", and in copy {}"))
        extra += cue.format(" and ".join(copies))
    if rng.random() < 0.3:
        arguments["urgent"] = urgent = rng.random() < 0.7
        extra += rng.choice((", urgent", ", as urgent") if urgent else (", not urgent", ", not as urgent"))
    said = {"s": _text(rng, arguments["subject"]), "b": _text(rng, arguments["body"])}
    text = asked(rng, _MAIL, t=listed(rng, arguments["to"]), c=extra, **said)
    words = closing(rng, "The mail is sent.", "Sent to {r[people]}.", "Mail {r[sent]} is out.")
    return Wish(text, single(Call("send_mail", arguments), words))


def mail_contact(rng: Random, state: State) -> Wish:
    """find_contact for one person or two at once, then send_mail to the addresses."""
    names = rng.sample(list(state["contacts"]), rng.choice((1, 1, 2)))
    subject, body = _subject(rng), _body(rng)
    said = {"s": _text(rng, subject), "b": _text(rng, body)}
    forms = (
        "look up the [address|addresses] of {n} and mail them, subject {s}, text {b}",
        "find {n} in the contacts, then send a mail with the subject {s}: {b}",
        "Mail {n}, you find them in the contacts. Subject {s}, text {b}",
        "look in the contacts for {n} and send a mail, subject {s}: {b}",
        "I have no address, so look up {n} and write to them: subject {s}, text {b}",
        "mail to {n} (look them up first), subject {s}, body {b}",
        "Look {n} up and mail them {b} with the subject {s}",
        "search the contacts for {n}, then write to them, subject {s}. Text: {b}",
    )  # fmt: skip

    def plan() -> Plan:
        found = yield tuple(Call("find_contact", {"name": name}) for name in names)
        arguments = {"to": [one["email"] for one in found], "subject": subject, "body": body}
        (result,) = yield (Call("send_mail", arguments),)
        return trouble(result) or f"Sent to {' and '.join(arguments['to'])}."

    return Wish(asked(rng, forms, n=" and ".join(names), **said), plan())


def contact(rng: Random, state: State) -> Wish:
    """find_contact, one to three at once."""
    names = rng.sample(list(state["contacts"]), rng.choice((1, 1, 2, 3)))
    if len(names) == 1 and rng.random() < 0.15:
        names = [invented_name(rng)]
    forms = (
        "What is the address of {n}?", "find {n} in the contacts", "look up {n}",
        "give me the address of {n}",
        "Do we have {n} in the contacts?", "I need the mail address of {n}", "How can I reach {n} by mail?",
        "get the contact of {n}", "Address of {n}?",
    )  # fmt: skip

    def plan() -> Plan:
        found = yield tuple(Call("find_contact", {"name": name}) for name in names)
        return trouble(*found) or f"{' and '.join(one['email'] for one in found)}."

    return Wish(asked(rng, forms, n=listed(rng, names)), plan())


def send_chat(rng: Random, state: State) -> Wish:
    """send_chat with people mentioned now and then; seldom to a channel that is not there."""
    channel = f"#{invented_word(rng)}" if rng.random() < 0.06 else rng.choice(state["channels"])
    arguments: dict[str, Any] = {"channel": channel, "text": _body(rng)}
    extra = ""
    if rng.random() < 0.4:
        arguments["mentions"] = rng.sample([*state["contacts"], invented_name(rng)], rng.choice((1, 2, 3)))
        cue = rng.choice((", mention {}", " and mention {}", ", mentioning {}"))
        extra = cue.format(listed(rng, arguments["mentions"]))
    forms = (
        "post {t} in {c}{x}", "write {t} to {c}{x}", "In {c}, say {t}{x}", "tell {c}: {t}{x}",
        "Chat to {c}: {t}{x}",
        "send {t} to the channel {c}{x}", "{c} should read this: {t}{x}", "put {t} into {c}{x}",
        "let {c} know: {t}{x}", "Message for {c}: {t}{x}",
    )  # fmt: skip
    text = asked(rng, forms, t=_text(rng, arguments["text"]), c=channel, x=extra)
    words = closing(rng, "It is in {r[channel]}.", "Posted.", "Posted to {r[channel]}.")
    return Wish(text, single(Call("send_chat", arguments), words))


def chat_several(rng: Random, state: State) -> Wish:
    """send_chat of one text to two or three channels at once."""
    channels, said = rng.sample(state["channels"], rng.choice((2, 2, 3))), phrase(rng, 2, 5)
    forms = (
        "post {t} in {c}", "write {t} to {c}", "tell {c}: {t}", "In {c}, say {t}",
        "Everyone in {c} should read {t}",
        "send {t} to the channels {c}", "Message for {c}: {t}", "put {t} into {c}, in each of them",
    )  # fmt: skip

    def plan() -> Plan:
        results = yield tuple(Call("send_chat", {"channel": one, "text": said}) for one in channels)
        return trouble(*results) or f"Posted in {len(channels)} channels."

    return Wish(asked(rng, forms, t=_text(rng, said), c=listed(rng, channels)), plan())


def _query(rng: Random, state: State) -> tuple[dict[str, Any], str]:
    mails = list(state["inbox"].values())
    words = [word for one in mails for word in one["subject"].split() if word.isalpha()]
    word = rng.choice(words) if words and rng.random() < 0.85 else invented_word(rng)
    sender = rng.choice([one["from"] for one in mails] or list(state["contacts"]))
    arguments: dict[str, Any] = {}
    said = ""
    kind = rng.choice(("sender", "text", "both", "none"))
    if kind in ("sender", "both"):
        arguments["sender"] = sender
        said += rng.choice((" from {}", " by {}", " that {} sent")).format(sender)
    if kind in ("text", "both"):
        arguments["text"] = word
        said += rng.choice((" about {}", " containing {}", " with the text {}")).replace(
            "{}", _text(rng, word)
        )
    if kind == "none" or rng.random() < 0.3:
        arguments["unread_only"] = True
        said += rng.choice((", unread only", ", only unread ones", ", just the unread ones"))
    if rng.random() < 0.3:
        arguments["limit"] = limit = rng.randint(1, 20)
        said += rng.choice((", at most {}", ", max {}", ", limit {}")).format(limit)
    return arguments, said


def search(rng: Random, state: State) -> Wish:
    """search_messages."""
    arguments, said = _query(rng, state)
    forms = (
        "search [the |my ]mails{x}", "find mails{x}", "show me the mails{x}", "Any mails{x}?",
        "list my mails{x}",
        "look for messages{x}", "Which mails are there{x}?", "Did I get mail{x}?",
        "check the inbox, mails{x}",
        "I'm looking for mails{x}",
    )  # fmt: skip
    words = closing(rng, "I found {r}.", "There are {r}.", "{r} of them.")
    call = Call("search_messages", arguments)
    return Wish(asked(rng, forms, x=said), single(call, lambda found: words(len(found))))


_READ = (
    "read [mail |message |]{k}", "open {k}", "What does {k} say?", "show me {k}", "let me see {k}",
    "What is in {k}?",
    "I want to read {k}", "{k}, what's in it?", "read out {k}",
)  # fmt: skip


def read(rng: Random, state: State) -> Wish:
    """read_message by its id, or two at once."""
    keys = [picked(rng, state["inbox"], "msg", 0.07)]
    if len(state["inbox"]) > 3 and rng.random() < 0.35:
        keys = rng.sample(list(state["inbox"]), 2)

    def plan() -> Plan:
        found = yield tuple(Call("read_message", {"message_id": key}) for key in keys)
        return trouble(*found) or f"It is from {' and '.join(one['from'] for one in found)}."

    return Wish(asked(rng, _READ, k=" and ".join(keys)), plan())


def reply(rng: Random, state: State) -> Wish:
    """reply by the id of the mail."""
    key = picked(rng, state["inbox"], "msg", 0.07)
    forms = (
        "reply to {k}{x}: {b}", "answer {k}{x}: {b}", "Answer {k}{x} with {b}", "write back to {k}{x}: {b}",
        "On {k}, reply{x}: {b}", "Reply {b} to {k}{x}", "send {b} as the answer to {k}{x}",
        "My answer to {k}{x}: {b}",
        "respond to {k}{x} with {b}",
    )  # fmt: skip
    return _reply(rng, key, forms, k=key)


def _reply(rng: Random, key: str, forms: tuple[str, ...], **slots: str) -> Wish:
    arguments: dict[str, Any] = {"message_id": key, "body": _body(rng)}
    extra = ""
    if rng.random() < 0.35:
        arguments["reply_all"] = every = rng.random() < 0.7
        extra = rng.choice(
            (", reply to all", " (reply all)") if every else (", not to all", " (no reply all)")
        )
    text = asked(rng, forms, b=_text(rng, arguments["body"]), x=extra, **slots)
    words = closing(rng, "{r[to]} has your answer.", "Sent to {r[to]}.", "The answer is out.")
    return Wish(text, single(Call("reply", arguments), words))


def mark(rng: Random, state: State) -> Wish:
    """mark_messages, one to three ids."""
    keys = [picked(rng, state["inbox"], "msg", 0.1)]
    if len(state["inbox"]) > 3 and rng.random() < 0.6:
        keys = rng.sample(list(state["inbox"]), rng.choice((2, 3)))
    how = rng.choice(("read", "unread"))
    forms = (
        "mark {k} as {h}", "set {k} to {h}", "{k} should be {h}", "make {k} {h}", "flag {k} as {h}",
        "I want {k} marked {h}", "Mark as {h}: {k}", "Please treat {k} as {h}, mark that",
        "Put {k} down as {h}",
    )  # fmt: skip
    call = Call("mark_messages", {"message_ids": keys, "as": how})
    words = closing(rng, "{r[marked]} marked as {r[as]}.", "Marked {r[as]}.", "Done.")
    return Wish(asked(rng, forms, k=listed(rng, keys), h=how), single(call, words))


def delete(rng: Random, state: State) -> Wish:
    """delete_message; where few are left, read_message."""
    if len(state["inbox"]) <= _FEWEST:
        return read(rng, state)
    key = picked(rng, state["inbox"], "msg", 0.08)
    forms = (
        "delete {k}", "remove [mail |message |]{k}", "get rid of {k}", "{k} can go, delete it",
        "throw {k} away",
        "I don't need {k} any more, delete it", "Delete {k} for me", "erase the mail {k}",
    )  # fmt: skip
    call = Call("delete_message", {"message_id": key})
    return Wish(asked(rng, forms, k=key), single(call, closing(rng, "{r[deleted]} is gone.", "Deleted.")))


def find_then(rng: Random, state: State) -> Wish:
    """search_messages for a word that one mail has, then read, answer or mark that mail."""
    words = {word for one in state["inbox"].values() for word in one["subject"].split() if word.isalpha()}
    words = {word for word in words if len(word) > 3 and len(search_messages(state, {"text": word})) == 1}
    if not words:
        return search(rng, state)
    word, body = rng.choice(sorted(words)), _body(rng)
    deed, act = rng.choice(
        (("read it to me", "read"), (f"reply {_text(rng, body)}", "reply"), ("mark it as unread", "mark"))
    )
    forms = (
        "find the mail about {t} and {d}", "search mails for {t}, then {d}",
        "look for a mail about {t} and {d}",
        "There is a mail about {t}. Find it and {d}", "I got a mail about {t}, look for it and {d}",
        "search the mails for {t} and {d}", "Which mail has {t}? Find it and {d}",
        "find {t} in my mails and {d}",
    )  # fmt: skip

    def plan() -> Plan:
        (found,) = yield (Call("search_messages", {"text": word}),)
        key = found[0]["message_id"]
        calls = {
            "read": Call("read_message", {"message_id": key}),
            "reply": Call("reply", {"message_id": key, "body": body}),
            "mark": Call("mark_messages", {"message_ids": [key], "as": "unread"}),
        }
        (result,) = yield (calls[act],)
        return trouble(result) or f"Done, it was {key}."

    return Wish(asked(rng, forms, t=_text(rng, word), d=deed), plan())


def mark_unread(rng: Random, state: State) -> Wish:
    """search_messages for what is unread of a sender, then mark_messages for all of it."""
    senders = sorted({one["from"] for one in state["inbox"].values() if one["unread"]})
    if not senders:
        return mark(rng, state)
    sender = rng.choice(senders)
    forms = (
        "find the unread mails from {s} and mark them as read",
        "search what is unread from {s}, then mark it as read",
        "Mark all unread mails from {s} as read, search them first",
        "look for unread mails by {s} and mark those read",
        "Whatever {s} sent that is unread, find it and mark it as read",
        "search the unread mails of {s}, and mark them all as read",
        "Search for mails from {s}, unread only, and mark them read",
        "Find everything unread from {s} and mark it read",
    )  # fmt: skip

    def plan() -> Plan:
        (found,) = yield (Call("search_messages", {"sender": sender, "unread_only": True}),)
        keys = [one["message_id"] for one in found]
        (result,) = yield (Call("mark_messages", {"message_ids": keys, "as": "read"}),)
        return trouble(result) or f"{result['marked']} marked as read."

    return Wish(asked(rng, forms, s=sender), plan())


def act_on_last(rng: Random, state: State) -> Wish:
    """reply, mark_messages or delete_message of the mail that the message before was about."""
    key, deed = state["last"], rng.choice(("reply", "reply", "mark", "delete"))
    if key is None:
        return read(rng, state)
    if deed == "reply":
        forms = ("reply to it{x}: {b}", "Answer that mail{x}: {b}", "write back{x}: {b}", "My answer{x}: {b}")
        return _reply(rng, key, forms)
    if deed == "mark" or len(state["inbox"]) <= _FEWEST:
        forms = (
            "mark it as unread [again|]",
            "Mark that mail as unread",
            "put it back to unread",
            "Make it unread",
        )
        call = Call("mark_messages", {"message_ids": [key], "as": "unread"})
        return Wish(asked(rng, forms), single(call, "It is unread again."))
    forms = ("delete it", "Delete that mail", "I don't need it, delete that mail", "throw that mail away")
    return Wish(asked(rng, forms), single(Call("delete_message", {"message_id": key}), "It is gone."))


TOOLBOX = Toolbox(
    name="messages",
    purpose="You handle mail and chat through tools.",
    tools=TOOLS,
    open=open_mailroom,
    run=run_mailroom,
    wishes={
        send_mail: 12, mail_contact: 10, contact: 8, send_chat: 11, chat_several: 5, search: 12, read: 10,
        reply: 8, mark: 8, delete: 6, find_then: 10, mark_unread: 5, act_on_last: 12,
    },
)  # fmt: skip
