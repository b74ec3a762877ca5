"""A log line for each request: a warning where the guard did something or the request failed, else at info.

A line names models, sessions, declared tools and places in arguments. It holds no values, prompts or answers;
the message of an error is the one that the client got.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

from proxy.conversation.verdict import GiveUp, GuardMode, Verdict
from proxy.records.request_record import AttemptRecord, Ending, RequestRecord
from proxy.records.words import counted
from repair.types import Fix, Problem

_log = logging.getLogger(__name__)

_LIST = 6  # places named in one line
_CHARS = 200  # of a name or of an error
_DONE = {
    GiveUp.text: "the client got the model's text",
    GiveUp.error: "the client got an error",
    GiveUp.client: "the client got the calls in a form that it can refuse",
    GiveUp.passthrough: "the client got the calls as they were",
}
_ACTED = (Verdict.repaired, Verdict.reasked, Verdict.failed)
# What these verdicts mean where the guard only looks on.
_WOULD = {
    Verdict.repaired: "would have been repaired",
    Verdict.reasked: "would have been asked again",
    Verdict.failed: "would not have been saved",
}
_WORDS = {
    Verdict.none: "no call",
    Verdict.clean: "valid as emitted",
    Verdict.unjudged: "not judged",
    Verdict.repaired: "repaired",
    Verdict.reasked: "asked again",
    Verdict.failed: "not saved",
}


class RecordLog:
    """A Sink that logs records."""

    def record(self, account: RequestRecord) -> None:
        level = logging.WARNING if needs_attention(account) else logging.INFO
        if _log.isEnabledFor(level):
            _log.log(level, "%s", request_line(account))


def needs_attention(account: RequestRecord) -> bool:
    """Whether a call was, or would have been, changed, asked for again or given up, an attempt was stopped
    because it repeated itself, or the request failed.
    """
    stopped = any(attempt.repeated for attempt in account.attempts)
    return account.verdict in _ACTED or account.ending is Ending.failed or stopped


def request_line(account: RequestRecord) -> str:
    """What happened, to which request, why, and what the client got."""
    tools = _tools(account.attempts)
    about = [
        f"model {account.model}",
        f"session {account.session}" if account.session else "",
        f"turn {account.turn}",
        f"tool {', '.join(tools)}" if tools else "",
    ]
    wrong = list(_wrong(account))
    what = f"{_happened(account)}: {', '.join(_plain(one) for one in about if one)}"
    because = f": {'; '.join(wrong)}" if wrong else ""
    return f"{what}{because} ({', '.join(_figures(account))})"


def _happened(account: RequestRecord) -> str:
    if account.ending is Ending.failed:
        return "failed"
    if account.ending is Ending.abandoned:
        return "the client went away"
    if account.mode is GuardMode.observe and account.verdict in _WOULD:
        return _WOULD[account.verdict]
    return _WORDS[account.verdict]


def _tools(attempts: tuple[AttemptRecord, ...]) -> list[str]:
    return list(dict.fromkeys(name for attempt in attempts for name in attempt.tools))[:_LIST]


def _wrong(account: RequestRecord) -> Iterator[str]:
    """What was wrong: the problems of refused attempts, what was repaired, why an attempt ended."""
    problems = [problem for attempt in account.attempts for problem in attempt.problems]
    found: list[Fix | Problem] = [*(problems or account.problems), *account.fixes]
    places = list(dict.fromkeys(_place(one) for one in found))
    yield from places[:_LIST]
    if len(places) > _LIST:
        yield f"and {len(places) - _LIST} more"
    if account.error and not places:  # of calls that could not be saved it quotes what the places name
        yield _plain(account.error)


def _place(found: Fix | Problem) -> str:
    kind = found.kind.value if isinstance(found, Fix) else found.rule
    return _plain(f"{kind} at {found.path}" if found.path else kind)


def _figures(account: RequestRecord) -> Iterator[str]:
    """What the client got, and what that took."""
    repeated = sum(attempt.repeated for attempt in account.attempts)
    if account.given_up is not None:
        yield _DONE[account.given_up]
    if account.calls:
        yield counted(account.calls, "call")
    if account.empty:
        yield "no answer at all"
    if repeated:
        yield f"{counted(repeated, 'attempt')} stopped for repetition"
    if len(account.attempts) > 1:
        yield counted(len(account.attempts), "attempt")
    yield f"{account.timings.total * 1000:.0f} ms"


def _plain(text: str) -> str:
    """The text on one line, bounded: names come from clients, and messages from other servers."""
    line = "".join(one if one.isprintable() else " " for one in text[: _CHARS + 1])
    return line if len(text) <= _CHARS else f"{line[:_CHARS]} ..."
