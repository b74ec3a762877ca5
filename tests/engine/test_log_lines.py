"""A line of the log is one line, whatever a client has put into it."""

from __future__ import annotations

import logging
import sys

import pytest

from engine.logs import EscapingFormatter, escaped

TEXTS = {
    "plain été 你好": "plain été 你好",
    "a\r\nERROR b": r"a\r\nERROR b",
    "\x1b[2J\x07": r"\x1b[2J\x07",
    "a\x00\x7f\x9b": r"a\x00\x7f\x9b",
    "a\u2028b\u202ec": r"a\u2028b\u202ec",
    "tab\there": r"tab\there",
}


@pytest.mark.parametrize("text", TEXTS)
def test_control_characters_are_escaped(text: str) -> None:
    assert escaped(text) == TEXTS[text]
    record = logging.LogRecord("x", logging.INFO, "f", 1, "got %s", (text,), None)
    assert EscapingFormatter("%(levelname)s %(message)s").format(record) == f"INFO got {TEXTS[text]}"


def test_the_lines_of_a_traceback_are_indented() -> None:
    try:
        raise ValueError("first\n2026-01-01 ERROR forged \x1b[2J")
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, "f", 1, "failed", (), sys.exc_info())
    first, *rest = EscapingFormatter("%(message)s").format(record).split("\n")
    assert first == "failed"
    assert all(line.startswith("    ") for line in rest)
    assert any("forged \\x1b[2J" in line for line in rest)
