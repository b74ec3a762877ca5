"""An answer tells what the guard made of it in a field of its body, in headers, in a stream's comments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from proxy.conversation.cache_report import CacheReport
from proxy.conversation.events import Finish

GIVE_UP_HEADER = "x-fortieth-give-up"
_HEADER_CHARS = 1000


def verdict_object(finish: Finish) -> dict[str, Any]:
    """The field `fortieth`: of an answer that is sent whole, and of what ends a stream in its dialect."""
    told: dict[str, Any] = {
        "verdict": finish.verdict.value,
        "fixes": finish.fixes,
        "attempts": finish.attempts,
        "session": finish.session,
    }
    if finish.given_up is not None:
        told["give_up"] = finish.given_up.value
    if finish.answer_valid is not None:
        told["answer"] = "valid" if finish.answer_valid else "invalid"
    if finish.warnings:
        told["warnings"] = list(finish.warnings)
    if finish.cache is not None:
        cache = finish.cache
        told["cache"] = {
            "tier": cache.tier,
            "reused": cache.reused,
            "total": cache.total,
            "cause": cache.cause.value,
        }
    return told


def session_headers(session: str) -> dict[str, str]:
    """Of every answer, a stream's too: the session is known before the first token."""
    return {"x-fortieth-session": plain_header(session)} if session else {}


def verdict_headers(finish: Finish) -> dict[str, str]:
    """Of an answer that is sent whole."""
    headers = {
        "x-fortieth-verdict": finish.verdict.value,
        "x-fortieth-fixes": str(finish.fixes),
        "x-fortieth-attempts": str(finish.attempts),
        **session_headers(finish.session),
    }
    if finish.given_up is not None:
        headers[GIVE_UP_HEADER] = finish.given_up.value
    if finish.warnings:
        headers["x-fortieth-warning"] = warning_header(finish.warnings)
    if finish.answer_valid is not None:
        headers["x-fortieth-answer"] = "valid" if finish.answer_valid else "invalid"
    if finish.cache is not None:
        headers["x-fortieth-cache"] = report_header(finish.cache)
    return headers


def verdict_comment(finish: Finish) -> bytes:
    """The last lines of a stream before its end: comments of server-sent events."""
    comment = f": x-fortieth-verdict: {finish.verdict}; fixes={finish.fixes}; attempts={finish.attempts}"
    if finish.given_up is not None:
        comment += f"; give-up={finish.given_up}"
    if finish.answer_valid is not None:
        comment += f"; answer={'valid' if finish.answer_valid else 'invalid'}"
    if finish.warnings:
        comment += f"\n: x-fortieth-warning: {warning_header(finish.warnings)}"
    if finish.cache is not None:
        comment += f"\n: x-fortieth-cache: {report_header(finish.cache)}"
    return f"{comment}\n\n".encode()


def warning_header(warnings: Sequence[str]) -> str:
    """The value of x-fortieth-warning."""
    return plain_header("; ".join(warnings))


def plain_header(value: str) -> str:
    """The value as a header can hold it: printable ASCII, bounded."""
    text = value.encode("ascii", "backslashreplace").decode()
    plain = "".join(one if one.isprintable() else " " for one in text)
    return plain if len(plain) <= _HEADER_CHARS else f"{plain[:_HEADER_CHARS]} ..."


def report_header(report: CacheReport) -> str:
    """The value of x-fortieth-cache."""
    return f"tier={report.tier}; reused={report.reused}; total={report.total}; cause={report.cause}"
