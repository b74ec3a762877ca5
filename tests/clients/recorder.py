"""Stands between a client and a server, passes everything on, and tells what was sent and answered."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TypeVar

_ONE_HOP = ("connection", "content-length", "host", "keep-alive", "transfer-encoding")
_TIMEOUT_S = 600.0


@dataclass(frozen=True, slots=True)
class Asked:
    """One POST of a client. headers: without those of the connection, names in lower case."""

    path: str
    headers: Mapping[str, str]
    body: bytes


class End(StrEnum):
    """How an answer ended. broken: the server went away. left: the client did."""

    whole = "whole"
    broken = "broken"
    left = "left"


@dataclass(frozen=True, slots=True)
class Answered:
    """What a client was sent for one POST. status: 0 where no answer came."""

    asked: Asked
    status: int
    body: bytes
    end: End = End.whole


class _Left(Exception):
    """The client has closed the connection."""


class Recorder(ThreadingHTTPServer):
    """For one server on this machine. Its methods are told of every POST, each in a thread of its own."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Exchange)
        self.to = port
        self.lock = threading.Lock()
        self._under_way = 0
        self._changed = threading.Condition()

    @property
    def port(self) -> int:
        """On which it listens."""
        return int(self.server_address[1])

    @contextlib.contextmanager
    def under_way(self) -> Iterator[None]:
        """Around each exchange."""
        with self._changed:
            self._under_way += 1
        try:
            yield
        finally:
            with self._changed:
                self._under_way -= 1
                self._changed.notify_all()

    def settle(self, longest_s: float = 5.0) -> None:
        """Waits until all that was asked is answered: a client has its answer before it is told of here."""
        with self._changed:
            self._changed.wait_for(lambda: not self._under_way, longest_s)

    def asked(self, asked: Asked) -> None:
        """Before it is passed on."""

    def answered(self, answered: Answered) -> None:
        """When no more of the answer will come."""


class FileRecorder(Recorder):
    """file: takes each POST as a line: path, headers, body."""

    def __init__(self, port: int, file: Path) -> None:
        super().__init__(port)
        self.file = file

    def asked(self, asked: Asked) -> None:
        with contextlib.suppress(ValueError), self.lock, self.file.open("a") as file:
            line = {"path": asked.path, "headers": dict(asked.headers), "body": json.loads(asked.body)}
            file.write(json.dumps(line) + "\n")


class _Exchange(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Recorder

    def do_GET(self) -> None:
        self._pass_on(b"")

    def do_HEAD(self) -> None:
        self._pass_on(b"")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        with self.server.under_way():
            self.server.asked(Asked(self.path, self._kept(), body))
            self._pass_on(body)

    def _kept(self) -> dict[str, str]:
        return {name.lower(): value for name, value in self.headers.items() if name.lower() not in _ONE_HOP}

    def _pass_on(self, body: bytes) -> None:
        upstream = http.client.HTTPConnection("127.0.0.1", self.server.to, timeout=_TIMEOUT_S)
        status, sent, end = 0, bytearray(), End.broken
        try:
            upstream.request(self.command, self.path, body or None, self._kept())
            response = upstream.getresponse()
            status = response.status
            for piece in self._pieces(response):
                sent += piece
            end = End.whole
        except _Left:
            self.close_connection, end = True, End.left
        except (OSError, http.client.HTTPException):
            self.close_connection = True  # the server has gone: so does this end
        finally:
            upstream.close()
        if self.command == "POST":
            self.server.answered(Answered(Asked(self.path, self._kept(), body), status, bytes(sent), end))

    def _pieces(self, response: http.client.HTTPResponse) -> Iterator[bytes]:
        """Of the body, each after it was passed on. Raises _Left when the client has gone."""
        try:
            self.send_response(response.status)
            for name, value in response.getheaders():
                if name.lower() not in _ONE_HOP:
                    self.send_header(name, value)
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
        except OSError:
            raise _Left from None
        while self.command != "HEAD" and (piece := response.read1(65536)):
            self._write(b"%x\r\n%s\r\n" % (len(piece), piece))
            yield piece
        if self.command != "HEAD":
            self._write(b"0\r\n\r\n")

    def _write(self, data: bytes) -> None:
        try:
            self.wfile.write(data)
        except OSError:
            raise _Left from None

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the clients' runs are what is told."""


R = TypeVar("R", bound=Recorder)


@contextlib.contextmanager
def listening(recorder: R) -> Iterator[R]:
    """Listens until the block ends."""
    thread = threading.Thread(target=recorder.serve_forever, daemon=True)
    thread.start()
    try:
        yield recorder
    finally:
        recorder.shutdown()
        recorder.server_close()
        thread.join()


@contextlib.contextmanager
def recording(port: int, file: Path) -> Iterator[int]:
    """The port on which what clients send is written down, until the block ends. port: of the server."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with listening(FileRecorder(port, file)) as recorder:
        yield recorder.port
