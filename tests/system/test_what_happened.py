"""docs/what-happened.md from its beginning to its end: what is on it is run, and prints what it says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.system.conftest import Served, served
from tests.system.pages import (
    ADDRESS,
    HOST,
    ROOT,
    Block,
    blocks,
    commands,
    line_matches,
    missing,
    run_python,
    sh,
)

PAGE = "docs/what-happened.md"
ALL = blocks(PAGE)
WITH_ENGINE = "Why a turn missed the cache"
LOG = "In the log"
STARTS = [
    "python examples/malforming_upstream.py",
    "fortieth serve --upstream http://127.0.0.1:8041/v1 --ledger ledger.sqlite",
    "fortieth serve",
]


@dataclass(frozen=True, slots=True)
class Running:
    """The page's servers, and the folder in which its commands are run."""

    behind: Served
    engine: Served
    folder: Path
    log: Path

    def base_url(self, section: str) -> str:
        return (self.engine if section == WITH_ENGINE else self.behind).base_url


def section(name: str) -> list[Block]:
    return [block for block in ALL if block.section == name]


@pytest.fixture(scope="module")
def running(server: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The page's model, fortieth in front of it, and the page's first request in the ledger."""
    folder = tmp_path_factory.mktemp("page")
    command = [sys.executable, str(ROOT / STARTS[0].split()[1]), "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as model:
        assert model.stdout is not None
        try:
            address = model.stdout.readline().split()[-1]
            options = STARTS[1].split()[2:]
            options[options.index("http://127.0.0.1:8041/v1")] = address
            options[options.index("ledger.sqlite")] = str(folder / "ledger.sqlite")
            log = folder / "log"
            with log.open("w") as errors, served(*options, errors=errors) as behind:
                found = Running(behind, server, folder, log)
                run_shell(found, section("In the headers")[0])
                yield found
        finally:
            model.terminate()


def run_shell(running: Running, block: Block) -> list[str]:
    """The lines that a shell block prints. The servers are running already."""
    lines: list[str] = []
    for command in commands(block.text):
        if command in STARTS:
            continue
        here = command.replace(HOST, running.base_url(block.section).removesuffix("/v1"))
        if here.startswith("fortieth sessions"):
            here += f" --base-url {running.base_url(block.section)}"
        lines += sh(here, running.folder).splitlines()
    return lines


def holds(shown: Any, got: Any) -> bool:
    """Whether everything that is shown is in what was got."""
    if isinstance(shown, dict):
        return isinstance(got, dict) and all(name in got and holds(shown[name], got[name]) for name in shown)
    if isinstance(shown, list):
        return isinstance(got, list) and len(got) == len(shown) and all(map(holds, shown, got))
    return bool(shown == got)


@pytest.mark.parametrize("name", [name for name in dict.fromkeys(one.section for one in ALL) if name != LOG])
def test_a_section_prints_what_it_says(name: str, running: Running) -> None:
    printed: list[str] | None = None
    exact = False
    for block in section(name):
        match block.language:
            case "":
                printed, exact = run_shell(running, block), False
            case "python":
                printed, exact = run_python(block.text, running.base_url(name)), True
            case "text":
                assert printed is not None
                assert missing(block.text, printed) == [], printed
                assert not exact or len(printed) == len(block.text.splitlines())
            case "json":
                assert printed is not None
                assert holds(json.loads(block.text), json.loads("\n".join(printed))), printed
            case other:
                assert other == "promql"  # tests/test_monitoring.py


def test_the_log(running: Running) -> None:
    (block,) = section(LOG)
    for city in ("Lisbon", "Oslo", "Atlantis"):
        ask(running, city)
    logged = running.log.read_text("utf-8").splitlines()
    for line in block.text.splitlines():
        assert any(line_matches(line, one) for one in logged), (line, logged)


def ask(running: Running, city: str) -> None:
    (command,) = commands(section("In the headers")[0].text)
    sh(command.replace(ADDRESS, running.behind.base_url).replace("Lisbon", city), running.folder)


def test_what_starts_is_what_the_tests_start() -> None:
    shown = [one for block in ALL if not block.language for one in commands(block.text)]
    assert [one for one in shown if one in STARTS] == STARTS
    assert not [one for one in shown if re.search(r"\bserve\b|examples/", one) and one not in STARTS]


def test_every_python_block_says_what_it_prints() -> None:
    for block, after in zip(ALL, [*ALL[1:], None], strict=True):
        assert block.language != "python" or (after is not None and after.language == "text")
