"""Stands between a client and a server, passes everything on, and writes down what the client sends."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

_ONE_HOP = ("connection", "content-length", "host", "keep-alive", "transfer-encoding")
_TIMEOUT_S = 120.0


class Recorder(ThreadingHTTPServer):
    """For one server on this machine. file: takes each POST as a line: path, headers, body."""

    daemon_threads = True

    def __init__(self, port: int, file: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Exchange)
        self.to = port
        self.file = file
        self.lock = threading.Lock()

    def write(self, path: str, headers: dict[str, str], body: bytes) -> None:
        with contextlib.suppress(ValueError), self.lock, self.file.open("a") as file:
            file.write(json.dumps({"path": path, "headers": headers, "body": json.loads(body)}) + "\n")


class _Exchange(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Recorder

    def do_GET(self) -> None:
        self._pass_on(b"")

    def do_HEAD(self) -> None:
        self._pass_on(b"")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.server.write(self.path, self._kept(), body)
        self._pass_on(body)

    def _kept(self) -> dict[str, str]:
        return {name.lower(): value for name, value in self.headers.items() if name.lower() not in _ONE_HOP}

    def _pass_on(self, body: bytes) -> None:
        upstream = http.client.HTTPConnection("127.0.0.1", self.server.to, timeout=_TIMEOUT_S)
        try:
            upstream.request(self.command, self.path, body or None, self._kept())
            response = upstream.getresponse()
            self.send_response(response.status)
            for name, value in response.getheaders():
                if name.lower() not in _ONE_HOP:
                    self.send_header(name, value)
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            while self.command != "HEAD" and (piece := response.read1(65536)):
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            if self.command != "HEAD":
                self.wfile.write(b"0\r\n\r\n")
        except (OSError, http.client.HTTPException):
            self.close_connection = True  # the client, or the server, has gone: so does the other
        finally:
            upstream.close()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the clients' runs are what is told."""


@contextlib.contextmanager
def recording(port: int, file: Path) -> Iterator[int]:
    """The port on which it listens, until the block ends. port: of the server."""
    file.parent.mkdir(parents=True, exist_ok=True)
    recorder = Recorder(port, file)
    thread = threading.Thread(target=recorder.serve_forever, daemon=True)
    thread.start()
    try:
        yield int(recorder.server_address[1])
    finally:
        recorder.shutdown()
        recorder.server_close()
        thread.join()
