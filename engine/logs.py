"""Log lines on standard error, with dates, written by a thread so that they never delay their writer."""

from __future__ import annotations

import io
import logging
import os
import queue
import sys
import threading
import time
from typing import TextIO

DATE = "%Y-%m-%d %H:%M:%S"
WAITING = 2000  # lines that nobody has read yet; further ones are lost
LAST_S = 1.0  # seconds that a process which ends leaves its reader for the last lines


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
    handler.setFormatter(logging.Formatter(f"%(asctime)s {format}", DATE))
    for one in filters:
        handler.addFilter(one)
    logging.basicConfig(level=level.upper(), handlers=[handler])
