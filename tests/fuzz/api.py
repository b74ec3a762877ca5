"""`python -m tests.fuzz.api SCHEMATHESIS`: schemathesis over the OpenAPI document, all routes.

The server runs in this process over an upstream that plays answers, repaired and hopeless calls among them;
then, for a tenth of the cases, over one that also fails in every way that has an error. In the first part no
answer may be a 5xx, so that no request sets a timeout of its own: one that passes is told with a 504. In both
each status and content type has to be documented. With --url a running server is asked instead, as in the
first part. Exit status 1: something was found, or there were fewer cases than asked for.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import httpx

from proxy.conversation.errors import (
    CallFailed,
    ContextTooLong,
    Forbidden,
    Overloaded,
    PaymentRequired,
    RateLimited,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from proxy.conversation.request import ChatRequest
from proxy.records.ledger import Ledger
from proxy.upstreams.base import UpstreamReasoning
from proxy.upstreams.scripted import Script, ScriptedUpstream
from tests.proxy.live import serving
from tests.proxy.requests import CALL, CUT_CALL, HOPELESS_CALL, SLOPPY_CALL

SEED = 40
CHECKS = ("status_code_conformance", "content_type_conformance", "response_schema_conformance")
NO_5XX = "not_a_server_error"
ANSWERS = (
    Script(("Hello", " there.")),
    Script((UpstreamReasoning("Hm."), "Yes.")),
    Script((CALL,)),
    Script((SLOPPY_CALL,)),
    Script((HOPELESS_CALL,)),
    Script((CUT_CALL,), finish="length"),
    Script(("",)),
)
REFUSED = tuple(
    Script(refusal=error)
    for error in (
        Overloaded("full", retry_after_s=1),
        RateLimited("slow down"),
        UpstreamUnavailable("gone"),
        UpstreamTimeout("silent"),
        Forbidden("no"),
        PaymentRequired("pay"),
        ContextTooLong(9, 8),
        CallFailed(("f: no",), 1),
    )
)
FAULTS = (*REFUSED, Script(("Hel", UpstreamUnavailable("gone"))), Script(("Hel",), finish=""))
_OTHER = "other paths and methods"
_LINE = "%s %s %d %.0f ms"


def upstream(scripts: Sequence[Script], seed: int) -> ScriptedUpstream:
    drawn = Random(seed)

    def play(request: ChatRequest) -> Script:
        return drawn.choice(scripts)

    return ScriptedUpstream(play)


class Answered(logging.Handler):
    """Counts what the server's log says of each request: method, path and status."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.seen: Counter[tuple[str, str, int]] = Counter()

    def emit(self, record: logging.LogRecord) -> None:
        if record.msg == _LINE and isinstance(record.args, tuple):
            method, path, status, _ = record.args
            self.seen[str(method), str(path), int(str(status))] += 1

    @contextlib.contextmanager
    def attached(self) -> Iterator[None]:
        log = logging.getLogger("proxy.http.app")
        level, propagate = log.level, log.propagate
        log.addHandler(self)
        log.setLevel(logging.INFO)
        log.propagate = False
        try:
            yield
        finally:
            log.removeHandler(self)
            log.setLevel(level)
            log.propagate = propagate


def by_route(seen: Counter[tuple[str, str, int]], document: dict[str, Any]) -> dict[str, Counter[int]]:
    """Statuses of each documented method and path, and of all others together."""
    routes = [
        (re.compile(re.sub(r"\\\{\w+\\\}", ".+", re.escape(path)), re.DOTALL), path)
        for path in sorted(document["paths"], key=lambda one: one.count("{"))
    ]
    told: dict[str, Counter[int]] = {}
    for (method, path, status), times in seen.items():
        route = next((one for pattern, one in routes if pattern.fullmatch(path)), "")
        known = method.lower() in document["paths"].get(route, {})
        told.setdefault(f"{method} {route}" if known else _OTHER, Counter())[status] += times
    return told


def without(schema: Any, name: str) -> Any:
    """The same document, in which no object has a property of this name."""
    match schema:
        case dict():
            kept = {key: without(value, name) for key, value in schema.items()}
            if isinstance(kept.get("properties"), dict):
                kept["properties"].pop(name, None)
            return kept
        case list():
            return [without(item, name) for item in schema]
        case _:
            return schema


def _is_endless(item: dict[str, Any]) -> bool:
    """Whether a path answers with a stream that goes on until the client leaves: an answer's does not."""
    answer = item.get("get", {}).get("responses", {}).get("200", {})
    return set(answer.get("content", ())) == {"text/event-stream"}


def run_schemathesis(program: Path, root: str, cases: int, seconds: int, checks: Sequence[str]) -> int:
    """cases: about how many, over all operations. Its exit status, or 1 where it took too long."""
    document = httpx.get(f"{root}/openapi.json").raise_for_status().json()
    if NO_5XX in checks:
        document = without(document, "timeout_s")
    document["paths"] = {path: item for path, item in document["paths"].items() if not _is_endless(item)}
    drawn = [
        method
        for item in document["paths"].values()
        for method, one in item.items()
        if method != "parameters" and ("parameters" in item or "parameters" in one or "requestBody" in one)
    ]
    command = [
        str(program.absolute()),
        "run",
        "openapi.json",
        "--url",
        root,
        "--seed",
        str(SEED),
        "--no-color",
        "--no-shrink",
    ]
    command += ["--checks", ",".join(checks), "--continue-on-failure", "--warnings", "off", "--phases"]
    command += [
        "coverage,fuzzing",
        "--max-examples",
        str(max(1, cases // len(drawn))),
        "--generation-database",
    ]
    command += ["none", "--request-timeout", "60"]
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "openapi.json").write_text(json.dumps(document))
        try:
            return subprocess.run(command, check=False, cwd=folder, timeout=seconds).returncode
        except subprocess.TimeoutExpired:
            print(f"ended after {seconds} s")
            return 1


def part(
    name: str, scripts: Sequence[Script], checks: Sequence[str], asked: argparse.Namespace, cases: int
) -> bool:
    """One run over a server of our own. Whether nothing was found."""
    answered = Answered()
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        ledger = Ledger.open(Path(folder) / "ledger.sqlite")
        stack.callback(ledger.close)
        server = stack.enter_context(serving(upstream(scripts, SEED), ledger=ledger))
        document = httpx.get(f"{server.root}/openapi.json").json()
        with answered.attached():
            failed = run_schemathesis(asked.program, server.root, cases, asked.seconds, checks)
    total = sum(answered.seen.values())
    print(f"\n{name}: {total} cases")
    for route, found in sorted(by_route(answered.seen, document).items()):
        print(f"  {route:60} " + "  ".join(f"{status}: {n}" for status, n in sorted(found.items())))
    return not failed and total >= cases


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("program", type=Path, help="the path of the program `schemathesis`")
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seconds", type=int, default=1200, help="the longest time of each part")
    parser.add_argument("--url", help="a running server to ask instead")
    asked = parser.parse_args()
    if asked.url:
        checks = (*CHECKS, NO_5XX)
        return run_schemathesis(asked.program, asked.url.rstrip("/"), asked.cases, asked.seconds, checks)
    whole = part("answers", ANSWERS, (*CHECKS, NO_5XX), asked, asked.cases)
    faulty = part("answers and faults", (*ANSWERS, *FAULTS), CHECKS, asked, asked.cases // 10)
    return 0 if whole and faulty else 1


if __name__ == "__main__":
    sys.exit(main())
