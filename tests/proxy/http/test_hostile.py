"""No request hurts another: a thousand hostile ones to one server with a real engine, and what it says
afterwards.
"""

from __future__ import annotations

import contextlib
import io
import logging
import re
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from engine.config import EngineConfig
from engine.logs import EscapingFormatter
from proxy.http.logs import FORMAT, RequestIdFilter
from proxy.http.routes import Limits
from proxy.upstreams.engine import EngineUpstream
from tests.engine.tiny import make_model
from tests.proxy.http.hostile import CHAT, Hostile, asking, post, send
from tests.proxy.http.hostile_cases import all_cases
from tests.proxy.live import LiveServer, LoopThread, serving

CASES = all_cases()
PARTS = 16
_RAW = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_LINE = re.compile(r"\d{4}-\d\d-\d\d |    ")


@dataclass(frozen=True, slots=True)
class Stage:
    server: LiveServer
    log: io.StringIO


@contextlib.contextmanager
def logged() -> Iterator[io.StringIO]:
    """All that is logged in this process, as it would stand on standard error at `debug`."""
    log = io.StringIO()
    handler = logging.StreamHandler(log)
    handler.setFormatter(EscapingFormatter(f"%(asctime)s {FORMAT}"))
    handler.addFilter(RequestIdFilter())
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield log
    finally:
        root.setLevel(level)
        root.removeHandler(handler)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    model = make_model(tmp_path_factory.mktemp("models") / "tiny", context=512)
    thread = LoopThread()
    with logged() as log:
        upstream = thread.run(EngineUpstream.start(EngineConfig(model=str(model)), "tiny"), 120)
        limits = Limits(body_silence_s=2.0)
        with serving(upstream, thread=thread, limits=limits) as server:
            yield Stage(server, log)
        thread.run(upstream.close())
    thread.close()


def healthy(server: LiveServer) -> bool:
    return bool(httpx.get(server.root + "/health", timeout=20).json()["status"] == "ok")


@pytest.mark.parametrize("part", range(PARTS))
def test_each_is_answered_and_none_by_a_5xx(stage: Stage, part: int) -> None:
    failed = {}
    for case in CASES[part::PARTS]:
        try:
            status = send(stage.server.port, case)
        except TimeoutError:
            failed[case.name] = "no answer and no end"
            continue
        if status is None and case.whole:
            failed[case.name] = "closed without an answer"
        elif status is not None and status >= 500:
            failed[case.name] = str(status)
    assert not failed
    assert healthy(stage.server)


def test_the_names_are_different() -> None:
    assert len(CASES) > 900
    assert len({case.name for case in CASES}) == len(CASES)


def test_a_flood_of_connections(stage: Stage) -> None:
    """Some say nothing, some a part of a head, some a part of a body: others are served meanwhile."""
    half = post(CHAT, asking(CHAT))
    starts = (b"", b"GET / HT", half[:-5])
    with contextlib.ExitStack() as open_ones:
        for at in range(300):
            one = open_ones.enter_context(socket.create_connection(("127.0.0.1", stage.server.port)))
            one.sendall(starts[at % len(starts)])
        assert send(stage.server.port, Hostile("beside", (half,))) == 200
        assert healthy(stage.server)
    assert healthy(stage.server)


def test_what_they_wrote_stands_escaped_in_the_log(stage: Stage) -> None:
    """The last one here: it looks at what the others have left."""
    time.sleep(0.1)
    lines = stage.log.getvalue().split("\n")
    assert len(lines) > len(CASES)
    assert [line for line in lines if _RAW.search(line)] == []
    assert [line for line in lines if line and not _LINE.match(line)] == []
    assert [line for line in lines if "defect" in line or "Traceback" in line] == []


def test_where_it_is_not_escaped_it_would_be_seen() -> None:
    assert _RAW.search("a\x1bb")
    assert not _LINE.match("ERROR forged")


def test_models_are_named_and_never_loaded(stage: Stage, tmp_path: Path) -> None:
    path = str(make_model(tmp_path / "other"))
    for name in (path, "/etc/passwd", "../x", "http://127.0.0.1:1/x", "owner/model", "file:///etc/passwd"):
        response = stage.server.post(asking(CHAT, model=name))
        assert (response.status_code, response.json()["error"]["code"]) == (404, "model_not_found")
