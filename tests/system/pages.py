"""The fenced blocks of the documents: how they are read, run, and compared with what they say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.system.conftest import COMMAND

ROOT = Path(__file__).parents[2]
HOST = "http://127.0.0.1:8040"
ADDRESS = f"{HOST}/v1"
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"\s+# .*$")
_SECTION = re.compile(r"^## (.+)$", re.MULTILINE)
_TOLD = re.compile(r"^ *print\(.*\)  # (.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block. section: the heading above it; language: "" for commands of a shell."""

    section: str
    language: str
    text: str


def blocks(page: str) -> list[Block]:
    """The blocks of a page, in its order. page: a path below the repository's root."""
    text = (ROOT / page).read_text("utf-8")
    headings = [(found.start(), found.group(1)) for found in _SECTION.finditer(BLOCK.sub(_blank, text))]
    found = []
    for block in BLOCK.finditer(text):
        above = [heading for at, heading in headings if at < block.start()]
        found.append(Block(above[-1] if above else "", block.group(1), block.group(2)))
    return found


def _blank(block: re.Match[str]) -> str:
    return " " * len(block.group())


def commands(text: str) -> list[str]:
    """A shell block's commands: each line, with those that a quote or a backslash joins to it."""
    found: list[str] = []
    for line in text.splitlines():
        opened = found and (found[-1].count("'") % 2 or found[-1].endswith("\\"))
        if opened:
            found[-1] += "\n" + line
        elif line.strip():
            found.append(_COMMENT.sub("", line))
    return found


def sh(command: str, folder: Path, code: int = 0, **variables: str) -> str:
    """What a command prints, with the project's own `fortieth` and `python` on the PATH."""
    environment = {
        **os.environ,
        "PATH": f"{COMMAND.parent}{os.pathsep}{os.environ['PATH']}",
        "HF_HUB_OFFLINE": "1",
        "FORTIETH_PORT": "0",  # a server of the user's own may be running
        **variables,
    }
    done = subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == code, done.stderr
    return done.stdout if code == 0 else done.stderr


def run_python(program: str, base_url: str) -> list[str]:
    """The lines that a program of a page prints, asking the server at base_url."""
    assert HOST in program
    done = subprocess.run(
        [sys.executable, "-c", program.replace(HOST, base_url.removesuffix("/v1"))],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def told(program: str) -> list[str]:
    """What a program's comments say that it prints."""
    return _TOLD.findall(program)


def line_matches(expected: str, line: str) -> bool:
    """`...` stands for anything."""
    return re.fullmatch(".*".join(map(re.escape, expected.split("..."))), line) is not None


def missing(expected: str, lines: list[str]) -> list[str]:
    """The expected lines that are not among the lines, in this order. Other lines may stand between them."""
    rest = iter(lines)
    wanted = [line for line in expected.splitlines() if line.strip() not in ("", "...")]
    return [line for line in wanted if not any(line_matches(line, one.rstrip()) for one in rest)]
