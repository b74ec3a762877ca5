"""How an answer tells what the guard made of it: headers, and in a stream, where they have left, comments."""

from __future__ import annotations

from collections.abc import Sequence

from proxy.conversation.cache_report import CacheReport
from proxy.conversation.events import Finish

GIVE_UP_HEADER = "x-fortieth-give-up"
_HEADER_CHARS = 1000


def verdict_headers(finish: Finish) -> dict[str, str]:
    """Of an answer that is sent whole."""
    headers = {
        "x-fortieth-verdict": finish.verdict.value,
        "x-fortieth-fixes": str(finish.fixes),
        "x-fortieth-attempts": str(finish.attempts),
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
    """The value of x-fortieth-warning: printable ASCII, bounded."""
    text = "; ".join(warnings).encode("ascii", "backslashreplace").decode()
    plain = "".join(one if one.isprintable() else " " for one in text)
    return plain if len(plain) <= _HEADER_CHARS else f"{plain[:_HEADER_CHARS]} ..."


def report_header(report: CacheReport) -> str:
    """The value of x-fortieth-cache."""
    return f"tier={report.tier}; reused={report.reused}; total={report.total}; cause={report.cause}"
