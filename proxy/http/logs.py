"""The server's log lines: each one shows which request it belongs to."""

from __future__ import annotations

import contextvars
import logging

from engine.logs import log_to_stderr

# The id of the request that the running task serves. The middleware sets it; tasks that are started inherit
# it.
REQUEST_ID: contextvars.ContextVar[str] = contextvars.ContextVar("request_id", default="-")
FORMAT = "%(levelname)s %(name)s [%(request_id)s]: %(message)s"


class RequestIdFilter(logging.Filter):
    """Gives each record the attribute request_id."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = REQUEST_ID.get()
        return True


def configure_logging(level: str) -> None:
    """Sends the process's log to standard error."""
    log_to_stderr(level, FORMAT, RequestIdFilter())
