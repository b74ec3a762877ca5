"""Log lines on standard error, with dates, written by a thread so that they never delay their writer."""

from __future__ import annotations

import io
import logging
import os
import queue
import re
import sys
import threading
import time
from typing import Any, TextIO

DATE = "%Y-%m-%d %H:%M:%S"
WAITING = 2000  # lines that nobody has read yet; further ones are lost
# The controls of ASCII and of Latin-1, line ends of Unicode, and what turns the direction of writing.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
LAST_S = 1.0  # seconds that a process which ends leaves its reader for the last lines


class EscapingFormatter(logging.Formatter):
    """Writes control characters escaped, whoever put them into a message: a line of the log is one line, and
    says nothing to a terminal. Each line of a traceback is indented, so that none looks like a line of the
    log.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:
        return escaped(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:
        return "\n".join("    " + escaped(line) for line in super().formatException(ei).split("\n"))


def escaped(text: str) -> str:
    """The text with its control characters written as in a Python string."""
    return _CONTROLS.sub(lambda found: ascii(found[0])[1:-1], text)


class PatientHandler(logging.Handler):
    """A log handler whose lines are written by a thread.

    Where nobody reads, a full pipe stops that thread and not the server. Lines that do not fit are counted,
    and the count is reported when there is a reader again.
    """

    def __init__(self, stream: TextIO | None = None, waiting: int = WAITING) -> None:
        super().__init__()
        self._stream = stream
        self._lines: queue.Queue[str] = queue.Queue(waiting)
        self._lost = 0
        self._thread = threading.Thread(target=self._write_all, name="log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except Exception:  # as the standard library's handlers do: a defect in a message stops nothing
            self.handleError(record)
            return
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            self._lost += 1

    def flush(self) -> None:
        """Waits until everything is written, but no longer than a while."""
        until = time.monotonic() + LAST_S
        while self._lines.unfinished_tasks and time.monotonic() < until and self._thread.is_alive():
            time.sleep(0.005)

    def _write_all(self) -> None:
        while True:
            line = self._lines.get()
            self._write(line)
            lost, self._lost = self._lost, 0
            if lost:
                self._write(
                    f"{time.strftime(DATE)} WARNING {__name__}: {lost} lines are missing: nobody read"
                )
            self._lines.task_done()

    def _write(self, line: str) -> None:
        stream = self._stream or sys.stderr
        if stream is None:
            return
        try:
            os.write(stream.fileno(), f"{line}\n".encode("utf-8", "backslashreplace"))
        except io.UnsupportedOperation:  # not a file
            stream.write(f"{line}\n")
        except (OSError, ValueError):  # closed, or its reader is gone
            return


def log_to_stderr(level: str, format: str, *filters: logging.Filter) -> None:
    """Sends this process's log to standard error, and nowhere else from now on. level: as in the settings."""
    handler = PatientHandler()
    handler.setFormatter(EscapingFormatter(f"%(asctime)s {format}", DATE))
    for one in filters:
        handler.addFilter(one)
    logging.basicConfig(level=level.upper(), handlers=[handler])
