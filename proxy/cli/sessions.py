"""`fortieth sessions`: the sessions of a running server, how much was reused of their prompts, and why."""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import typer

from engine.logs import escaped
from proxy.cli.exits import MISUSED, fail
from proxy.records.words import ago

_NAME = 32  # characters of a session's id in the list
_NO_SERVER = "sessions: no server of fortieth answers at {}"
_Id = Annotated[str, typer.Argument(metavar="ID", help="A session's id, or how it begins: shows all of it.")]
_Url = Annotated[str, typer.Option(metavar="URL", help="The server's address, with or without /v1.")]
_Key = Annotated[
    str, typer.Option(envvar="FORTIETH_API_KEY", metavar="KEY", help="The server's API key, if it has one.")
]
_Json = Annotated[bool, typer.Option("--json", help="Print what the server answers, one session a line.")]

Session = Mapping[str, Any]


def sessions(
    id: _Id = "", base_url: _Url = "http://127.0.0.1:8040", key: _Key = "", as_json: _Json = False
) -> None:
    """Show the sessions of a running server: turns, reuse, drift, and why the last miss happened.

    With an ID it also shows the text at which the prompts differ, before and now.
    """
    from proxy.cli.connections.server import BadAddress, fetch, read_origin

    try:
        origin = read_origin(base_url)
    except BadAddress as error:
        fail(f"sessions: {error}", MISUSED)
    try:
        listed = fetch(origin, "/v1/fortieth/sessions", key)["data"]
    except urllib.error.HTTPError as error:
        if error.code in (404, 405):  # of another server, which has no such list
            fail(_NO_SERVER.format(origin))
        hint = ": give its API key with --key" if error.code in (401, 403) else ""
        fail(f"sessions: the server at {origin} refuses the list of its sessions ({error.code}){hint}")
    except (OSError, ValueError, LookupError, TypeError, http.client.HTTPException):
        fail(_NO_SERVER.format(origin))
    chosen = [one for one in listed if one["id"].startswith(id)]
    chosen = [one for one in chosen if one["id"] == id] or chosen
    if id and not chosen:
        fail(f"sessions: the server at {origin} has no session {id!r}")
    if as_json:
        lines: Iterator[str] = (json.dumps(one, ensure_ascii=False) for one in chosen)
    elif id:
        lines = (line for one in chosen for line in (*details(one), ""))
    else:
        lines = table(chosen, time.time())
    for line in lines:
        typer.echo(line)


def table(listed: Sequence[Session], now: float) -> Iterator[str]:
    """One line for each session. now: seconds since the epoch."""
    if not listed:
        yield "no session has been seen yet"
        return
    yield f"{'session':<{_NAME}} {'turns':>5} {'reused':>6} {'drift':>5} {'seen':>6}  last miss"
    for one in listed:
        missed = one["last_miss"]
        yield (
            f"{_short(escaped(one['id'])):<{_NAME}} {one['turns']:>5} {one['reuse']:>6.0%} "
            f"{'yes' if one['drifted'] else 'no':>5} {ago(now - one['last_seen']):>6}  "
            f"{missed['cause'] if missed else '-'}"
        )


def details(one: Session) -> Iterator[str]:
    """Everything about one session, with the reports of its last prompt and of the last that missed."""
    yield f"session    {escaped(one['id'])}"
    yield f"named by   {escaped(one['source'])}"
    yield f"model      {escaped(one['model'])}"
    yield f"turns      {one['turns']}, in {one['requests']} requests"
    yield (
        f"tokens     {one['prompt_tokens']} of prompts, {one['cached_tokens']} of them reused "
        f"({one['reuse']:.0%}); {one['completion_tokens']} generated"
    )
    yield f"drift      {'its calls are decoded under constraint for now' if one['drifted'] else 'none'}"
    if one.get("cache"):
        kept = one["cache"]
        pinned = ", pinned" if kept["pinned"] else ""
        yield f"kept       {kept['tokens']} tokens in {kept['branches']} branches, {kept['tier']}{pinned}"
    if one["last"] is None:
        return
    last, missed = one["last"], one["last_miss"]
    reused = f"{last['reused']} of {last['total']} tokens reused, from {last['tier']}"
    yield f"last       {reused}: {last['cause']}"
    if missed is None:
        yield "last miss  none"
        return
    yield f"last miss  {missed['reused']} of {missed['total']} tokens reused: {missed['cause']}"
    yield f"           {missed['advice']}"
    if missed["before"] or missed["now"]:
        message = "" if missed["message"] is None else f", in message {missed['message']}"
        yield f"           the prompts differ at token {missed['at']}{message}:"
        yield f"  before   {quoted(missed['before'])}"
        yield f"  now      {quoted(missed['now'])}"


def quoted(text: str) -> str:
    return f'"{escaped(text)}"'


def _short(text: str) -> str:
    return text if len(text) <= _NAME else f"{text[: _NAME - 3]}..."
