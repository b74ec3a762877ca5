"""The wording of wishes: templates with alternatives, openers and closers, and a toolbox's closing words."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from random import Random
from typing import Any

from corpora.world.base import content_id

_ALTERNATIVES = re.compile(r"\[([^\[\]]*)\]")
_OPENERS = (
    "", "", "", "", "", "", "please ", "please ", "now ", "ok, ", "next, ", "hey, ", "I need you to ",
    "I want you to ", "I'd like you to ", "go ahead and ", "then ", "right, ", "quickly ", "so, ",
)  # fmt: skip
_QUESTIONS = ("can you ", "could you ", "would you ", "could you please ", "can you quickly ")
#: first words, in small letters, of what is no order and can have neither opener nor closer
_STATEMENTS = frozenset(
    """
and at are can could did do does each every how i if is it my new on please scene sensor somebody that the
they we what what's when where which who will would
""".split()
)
_CLOSERS = ("", "", "", ".", ".", ".", "!", " please", ", please.", ", thanks.", " now.", ", thank you.")


def asked(rng: Random, templates: Sequence[str], **slots: Any) -> str:
    """One of the templates, its `[a|b]` alternatives drawn and its `{slots}` filled.

    A template that starts with a small letter is an order: it may get an opener and a closer.
    """
    template = rng.choice(templates)
    chosen = _ALTERNATIVES.sub(lambda found: rng.choice(found[1].split("|")), template)
    capital = rng.random() < 0.7
    text, closer = chosen, ""
    if chosen[0].islower() and chosen.split()[0] not in _STATEMENTS:
        if rng.random() < 0.2:
            text, closer = rng.choice(_QUESTIONS) + chosen, "?"
        else:
            opener, closer = rng.choice(_OPENERS), rng.choice(_CLOSERS)
            text, closer = opener + chosen, "" if opener == "please " else closer
    if chosen.endswith("`"):
        closer = ""
    if capital and text[0].islower():
        text = text[0].upper() + text[1:]
    return text.format(**slots) + closer


def quoted(rng: Random, text: str) -> str:
    """Free text as it stands in a sentence: in quotes that it does not hold, so that its end is plain."""
    forms = [form for form in ('"{}"', '"{}"', "'{}'", "“{}”") if form[0] not in text]
    return rng.choice(forms or ["<{}>"]).replace("{}", text)


def listed(rng: Random, items: Sequence[str]) -> str:
    """Items joined by commas, the last one perhaps by a word."""
    if len(items) < 2 or rng.random() < 0.25:
        return ", ".join(items)
    return ", ".join(items[:-1]) + " and " + items[-1]


def picked(rng: Random, ids: Collection[str], prefix: str, unknown: float = 0.05) -> str:
    """One of the ids, or seldom (and where there are none) one that nothing has."""
    if not ids or rng.random() < unknown:
        return content_id(prefix, "unknown", rng.random())
    return rng.choice(list(ids))


def closing(rng: Random, *forms: str) -> Callable[[Any], str]:
    """Closing words: one of the forms, filled with the result as `r`, or what went wrong."""
    form = rng.choice(forms)

    def words(result: Any) -> str:
        problem = trouble(result)
        return problem or form.format(r=result)

    return words


def trouble(*results: Any) -> str:
    """The closing words of the first result that is an error; "" if there is none."""
    errors = (one["error"] for one in results if isinstance(one, dict) and "error" in one)
    return next((f"That did not work: {message}." for message in errors), "")
