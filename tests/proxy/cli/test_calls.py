"""Every command as it is called: rightly, wrongly, piped, and with a reader that has had enough."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from proxy import __version__
from proxy.cli.connections.table import CLIENTS
from proxy.cli.main import cli, show_progress
from proxy.conversation.errors import StartError
from proxy.http.server import start_upstream
from proxy.http.settings import Settings
from proxy.upstreams.remote.target import read_targets
from tests.proxy.cli.test_main import ROOT, commands, record
from tests.proxy.records.test_ledger import ACCOUNT, keep
from tests.proxy.requests import CALL

# words of the libraries that read options and settings
LIBRARY = (
    "Value error",
    "Input should",
    "Got unexpected",
    "Got:",
    "unable to parse",
    "Traceback",
    "Errno",
    "pydantic",
)

# a call -> its exit code, and what its line says
WRONG: dict[str, tuple[int, str]] = {
    "": (2, "Usage: fortieth"),
    "nonsense": (2, "no such command 'nonsense'"),
    "--prot": (2, "no such option: --prot"),
    "serv": (2, "Did you mean 'serve'?"),
    "serve --prot 1": (2, "no such option: --prot"),
    "serve --port x": (2, "--port must be a valid integer, got 'x'"),
    "serve --port=x": (2, "--port must be a valid integer, got 'x'"),
    "serve --port=1 --port x": (2, "--port must be a valid integer, got 'x'"),
    "serve --port 1 --port=x": (2, "--port must be a valid integer, got 'x'"),
    "serve --port 99999": (2, "--port: must be less than or equal to 65535, got 99999"),
    "serve --port": (2, "option '--port' requires an argument"),
    "serve --guard full --guard maximal": (2, "--guard must be one of 'off', "),
    "serve --kv-at-rest q5": (2, "--kv-at-rest must be one of 'keep', 'bf16', 'q8', 'q4', got 'q5'"),
    "serve --log-level loud": (2, "--log-level must be one of 'debug', "),
    "serve --idle-unload soon": (2, "--idle-unload: must be a valid number, got 'soon'"),
    "serve --no-canonical tools": (2, "--no-canonical: must be 'tool-keys', "),
    "serve --context-limit 1": (2, "--context-limit: must be greater than or equal to 2, got 1"),
    "serve --max-batch 0": (2, "--max-batch: must be greater than or equal to 1, got 0"),
    "serve --served-model-name=": (2, "--served-model-name: must have at least 1 character"),
    "serve --upstream nonsense": (2, "'nonsense' is neither a base_url"),
    "serve --upstream ftp://x/v1": (2, "base_url must look like http://host:port/v1"),
    "serve --config nowhere.toml": (2, "nowhere.toml cannot be read: No such file or directory"),
    "serve --warm-prompts nowhere.jsonl": (1, "nowhere.jsonl cannot be read: No such file or directory"),
    "serve ./nowhere": (1, "'./nowhere' is neither a hub id (owner/name) nor bundled"),
    "serve one two": (2, "there is no place for the argument two"),
    "demo --turns 0": (2, "--turns must be greater than or equal to 1, got '0'"),
    "demo --temperature 9": (2, "--temperature must be less than or equal to 2, got '9'"),
    "demo --model ./nowhere": (1, "'./nowhere' is neither a hub id (owner/name) nor bundled"),
    "demo --svg nowhere/demo.svg": (1, "nowhere/demo.svg cannot be written: No such file or directory"),
    "demo --svg .": (1, ". cannot be written: Is a directory"),
    "doctor --prompts 1.5": (2, "--prompts must be a valid integer, got '1.5'"),
    "connect nobody": (2, "no client 'nobody' is known"),
    "connect code": (2, "did you mean codex?"),
    "connect codex --base-url x": (2, "the base URL must be like http://127.0.0.1:8040, got 'x'"),
    "sessions --base-url x": (2, "the base URL must be like http://127.0.0.1:8040, got 'x'"),
    "ab": (2, "ab plays on one server or more, got none"),
    "ab --seeds 0": (2, "--seeds must be greater than or equal to 1, got '0'"),
    "ab x y": (2, "arm x: it is no base_url, no model directory"),
    "ab --workload nowhere x y": (2, "--workload must be worlds, workshop, corrupted or a file, got nowhere"),
    "ab --from-ledger nowhere http://127.0.0.1:9/v1#m http://127.0.0.1:8/v1#m": (1, "nowhere"),
    "bench": (2, "missing argument"),
    "bench --concurrency x bundled": (2, "--concurrency must be numbers from 1 to 1024"),
    "repair extra": (2, "there is no place for the argument extra"),
    "ledger": (2, "Usage: fortieth ledger"),
    "ledger tail": (2, "missing argument"),
    "ledger tail kept.sqlite -n 0": (2, "--lines must be greater than or equal to 1, got '0'"),
    "ledger tail kept.sqlite -n 0 --lines=-1": (2, "--lines must be greater than or equal to 1, got '-1'"),
    "ledger tail kept.sqlite --verdict mended": (2, "--verdict must be one of 'none', 'unjudged', 'clean', "),
    "ledger tail nowhere": (1, "nowhere: there is no ledger"),
    "ledger export kept.sqlite --after -1": (2, "--after must be greater than or equal to 0, got '-1'"),
    "ledger export nowhere": (1, "nowhere: there is no ledger"),
    "ledger show kept.sqlite nobody": (1, "kept.sqlite has no request 'nobody'"),
    "cache": (2, "Usage: fortieth cache"),
    "cache ls --cache-dir nowhere": (1, "there is no cache at nowhere"),
    "cache stats --cache-dir nowhere": (1, "there is no cache at nowhere"),
    "cache verify --cache-dir nowhere": (1, "there is no cache at nowhere"),
    "cache purge": (2, "nothing was removed: name a model"),
    "cache purge --all --model x": (2, "nothing was removed: name a model"),
    "cache warm": (2, "missing argument"),
    "cache warm nowhere": (1, "nowhere cannot be read: No such file or directory"),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a ledger of two requests in it, and nothing of the user's own."""
    keep(tmp_path / "kept.sqlite", ACCOUNT, ACCOUNT)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name in [name for name in os.environ if name.startswith("FORTIETH_")]:
        monkeypatch.delenv(name)
    return tmp_path


@pytest.mark.parametrize("line", WRONG, ids=lambda line: line or "nothing")
def test_a_wrong_call_is_told_in_one_line(folder: Path, line: str) -> None:
    code, words = WRONG[line]
    done = CliRunner().invoke(cli, line.split())
    assert done.exit_code == code
    assert words in done.stderr
    assert not any(word in done.output for word in LIBRARY)
    if not words.startswith("Usage"):
        assert done.stderr.startswith("fortieth: ")
        assert done.stderr.count("\n") == 1
        assert done.stderr.endswith("\n")
        assert done.stdout == "" or line.startswith("demo")


def test_every_command_is_called_wrongly_at_least_once() -> None:
    group = typer.main.get_command(cli)
    assert isinstance(group, typer.core.TyperGroup)
    known = {" ".join(words) for words, _ in commands(group)}
    called = {name for name in known for line in WRONG if f"{line} ".startswith(f"{name} ")}
    assert called == known


@pytest.mark.parametrize("group", [(), ("ledger",), ("cache",)], ids=" ".join)
def test_the_list_of_commands_has_whole_sentences(group: tuple[str, ...]) -> None:
    told = CliRunner().invoke(cli, [*group, "--help"]).stdout.partition("Commands:\n")[2].splitlines()
    assert told
    assert all(re.fullmatch(r"  [a-z]+ +[A-Z][^.]*\.", line) and len(line) < 80 for line in told), told


def test_short_options() -> None:
    run = CliRunner().invoke
    assert run(cli, ["-V"]).stdout == f"fortieth {__version__}\n"
    group = typer.main.get_command(cli)
    assert isinstance(group, typer.core.TyperGroup)
    for words in [[], ["ledger"], ["cache"], *(list(words) for words, _ in commands(group))]:
        short, long = run(cli, [*words, "-h"]), run(cli, [*words, "--help"])
        assert (short.exit_code, long.exit_code) == (0, 0)
        assert short.stdout == long.stdout
        assert short.stdout.startswith("Usage: ")
        assert max(map(len, short.stdout.splitlines())) <= 80


def program(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "proxy", *arguments]


def sh(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A pipe in bash; FORTIETH stands for the command. Its exit code is the command's own."""
    line = script.replace("FORTIETH", " ".join(program()))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        ["bash", "-c", f"{line}\nexit ${{PIPESTATUS[0]}}"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    "script",
    [
        "FORTIETH ledger export many.sqlite | head -n 1",
        "FORTIETH ledger tail many.sqlite -n 4000 | head -n 1",
        "FORTIETH connect | head -n 1",
        "FORTIETH serve --help | head -n 1",
        "FORTIETH repair < many.jsonl | head -n 1",
    ],
)
def test_a_reader_that_has_had_enough(folder: Path, script: str) -> None:
    """The first line is there, and nothing is said of the rest."""
    keep(folder / "many.sqlite", *[ACCOUNT] * 2000)
    (folder / "many.jsonl").write_text(f"{record(CALL)}\n" * 4000, "utf-8")
    done = sh(script, folder)
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == ""
    assert done.returncode in (0, 1), "0 where all of it had been written before"


@pytest.mark.parametrize("arguments", ["ledger tail kept.sqlite", "connect", "--version"])
def test_a_pipe_gets_what_a_terminal_gets(folder: Path, arguments: str) -> None:
    done = sh(f"FORTIETH {arguments} | cat", folder)
    inside = CliRunner().invoke(cli, arguments.split())
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == inside.stdout
    assert "\x1b" not in done.stdout


COMPLETIONS: dict[str, tuple[str, Sequence[str]]] = {
    "commands": ("ser", ["serve"]),
    "subcommands": ("ledger ", ["export", "show", "tail"]),
    "options": ("serve --kv-", ["--kv-at-rest"]),
    "values": ("serve --guard ", ["constrain", "full", "observe", "off", "repair"]),
    "clients": ("connect c", sorted(name for name in CLIENTS if name.startswith("c"))),
}


@pytest.mark.parametrize("name", COMPLETIONS)
def test_completion(name: str) -> None:
    """As bash asks for it."""
    typed, words = COMPLETIONS[name]
    line = f"fortieth {typed}"
    found = complete("bash", {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1)})
    assert sorted(found.split()) == list(words)


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_completion_in_other_shells(shell: str) -> None:
    asked = {"_TYPER_COMPLETE_ARGS": "fortieth ser", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    assert "serve" in complete(shell, asked)


def complete(shell: str, asked: dict[str, str]) -> str:
    code = "from proxy.cli.main import cli; cli(prog_name='fortieth')"
    environment = {**os.environ, **asked, "_FORTIETH_COMPLETE": f"complete_{shell}"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_is_shown_on_a_terminal_alone(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that reads standard error waits for what went wrong."""

    class Shown(io.StringIO):
        def isatty(self) -> bool:
            return terminal

    shown = Shown()
    monkeypatch.setattr(sys, "stderr", shown)
    show_progress("loading the model m ...")
    assert shown.getvalue() == ("loading the model m ...\n" if terminal else "")


async def test_a_start_says_what_takes_its_time() -> None:
    told: list[str] = []
    with pytest.raises(StartError, match="cannot list its models"):
        await start_upstream(Settings(upstream=read_targets("http://127.0.0.1:9/v1")), told.append)
    assert told == ["asking the upstream servers what they serve ..."]


def test_the_ledger_shows_what_was_wrong_with_attempts_that_were_asked_again(folder: Path) -> None:
    line = CliRunner().invoke(cli, ["ledger", "tail", "kept.sqlite"]).stdout.splitlines()[0]
    assert " req_1 m turn 3 reasked, 1 call, 2 attempts, " in line
    assert "type at /city" in line
    shown = json.loads(CliRunner().invoke(cli, ["ledger", "show", "kept.sqlite", "req_1"]).stdout)
    assert shown["request_id"] == "req_1"
