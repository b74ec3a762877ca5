"""How an errand went: what the tool answered, and the short sentence that tells it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from corpora import lexicon
from corpora.lessons.results import plain_words
from corpora.world.base import Call

_WRONG = 0.2  # of the answers are failures
_REPEATED = 0.25  # of the answers say again what was asked
_REPORTS = (
    ("command", "stdout", "returncode"), ("cmd", "output", "exit_code"), ("query", "result", "status"),
    ("input", "Output", "Exit code"), ("asked", "found", "code"),
)  # fmt: skip
_REPLIES = ("The {n} is {t}.", "The {n} is {t}.", "It is {t}.", "{t} is the {n}.")
_FAILURES = (
    "There is no such {x}.", "No such {x}.", "Unknown {x}.", "This {x} is not known.", "The {x} is locked.",
    "Nothing is kept for this {x}.", "{X} not found.", "There is nothing here.", "Access was refused.",
)  # fmt: skip
_FAILED = ("That did not work: {m}", "It failed: {m}", "The answer was: {m}")
#: what is said, the call, what the answer holds, and what a failure is about
Wanted = tuple[str, Call, str, str]


@dataclass(frozen=True, slots=True)
class Errand:
    """One thing to look up.

    said: by the user. call: the right one.
    content: what the tool answers. told: the value in it, nothing where it is a failure.
    reply: the sentence that tells it.
    """

    said: str
    call: Call
    content: str
    told: str
    reply: str


def answered(rng: Random, wanted: Wanted) -> Errand:
    """What came back for what was wanted: now and then a failure."""
    said, call, noun, about = wanted
    if rng.random() < _WRONG:
        failure = rng.choice(_FAILURES).format(x=about, X=about.capitalize())
        return Errand(said, call, failure, "", rng.choice(_FAILED).format(m=failure))
    token = _token(rng)
    reply = rng.choice(_REPLIES).format(n=noun, t=token)
    content = _with_call(rng, call, noun, token) if rng.random() < _REPEATED else _content(rng, noun, token)
    return Errand(said, call, content, token, reply)


def _with_call(rng: Random, call: Call, noun: str, token: str) -> str:
    """An answer that says again what was asked, as some shells have it."""
    values = call.arguments.values()
    asked = " ".join(one if isinstance(one, str) else json.dumps(one, ensure_ascii=False) for one in values)
    printed = rng.choice((f"{noun.upper()} {token}", f"{noun}: {token}", token, f"{noun.upper()} {token}\n"))
    key, out, code = rng.choice(_REPORTS)
    fields: list[tuple[str, Any]] = [(key, asked), (code, 0), (out, printed), ("stderr", "")]
    fields += [(one, False) for one in rng.sample(("timed_out", "truncated", "cached", "interrupted"), 2)]
    rng.shuffle(fields)
    said = dict(fields[: rng.randint(2, 6)]) | {key: asked, out: printed}
    forms = (
        json.dumps(said, ensure_ascii=False), json.dumps(said, ensure_ascii=False, separators=(",", ":")),
        f"$ {asked}\n{printed}", f"> {asked}\n\n{printed}\n\nexit code: 0",
        "\n".join(f"{name}: {value}" for name, value in said.items()),
        f"Chunk {lexicon.identifier(rng)}\n{code}: 0\n{out}:\n{printed}\n",
    )  # fmt: skip
    return rng.choice(forms)


def _token(rng: Random) -> str:
    kinds: Sequence[Callable[[Random], str]] = (
        lexicon.identifier, lexicon.invented_word, plain_words, lambda r: str(r.randint(0, 99_999)),
        lambda r: f"{r.getrandbits(64):016x}"[: r.randint(4, 16)], lexicon.invented_name,
    )  # fmt: skip
    return rng.choice(kinds)(rng)


def _content(rng: Random, noun: str, token: str) -> str:
    forms = (
        f"{noun.upper()} {token}", f"{noun}: {token}", token, f"The {noun} is {token}.", f"{noun}={token}",
        f"{token}\n", f"{noun.capitalize()} {token}", json.dumps({noun: token}, ensure_ascii=False),
        f"exit code 0\n{noun} {token}", f"<stdout>\n{noun.upper()} {token}\n</stdout>",
        json.dumps({"output": f"{noun.upper()} {token}", "exit_code": 0}, ensure_ascii=False),
    )  # fmt: skip
    return rng.choice(forms)
