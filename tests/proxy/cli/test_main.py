"""The command line: quick, one result line per input line, exit codes that scripts can rely on."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.core import TyperCommand
from typer.testing import CliRunner

from proxy import __version__
from proxy.cli.main import cli, repair_lines
from tests.proxy.requests import CALL, HOPELESS_CALL, SLOPPY_CALL, WEATHER

ROOT = Path(__file__).parents[3]
HEAVY = (
    "fastapi",
    "uvicorn",
    "pydantic",
    "litellm",
    "mlx",
    "transformers",
    "msgspec",
    "jsonschema_rs",
    "httpx",
)


def record(text: str, **fields: object) -> str:
    return json.dumps({"id": text[:9], "raw_output": text, "tools": [WEATHER], **fields})


def test_version() -> None:
    result = CliRunner().invoke(cli, ["--version"])
    assert (result.exit_code, result.stdout) == (0, f"fortieth {__version__}\n")


@pytest.mark.parametrize(
    "command",
    [[], ["serve"], ["connect"], ["repair"], ["demo"], ["doctor"], ["ab"], ["bench"]],
    ids=str,
)
def test_help(command: list[str]) -> None:
    result = CliRunner().invoke(cli, [*command, "--help"])
    assert result.exit_code == 0
    assert "Usage" in result.stdout


def test_nothing_heavy_is_imported_for_help() -> None:
    code = f"import proxy.cli.main, sys; print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_repair_answers_line_by_line() -> None:
    lines = [record(CALL), record(SLOPPY_CALL), record(HOPELESS_CALL), record("just text")]
    out = io.BytesIO()
    assert repair_lines([line.encode() for line in lines], out)
    results = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [result["verdict"] for result in results] == ["clean", "repaired", "reask", "none"]
    assert [result["id"] for result in results] == [json.loads(line)["id"] for line in lines]
    assert results[1]["tool_calls"] == [{"name": "get_weather", "arguments": {"city": "Lisbon"}}]
    assert results[2]["content"] == HOPELESS_CALL
    assert results[2]["tool_calls"] == []


BAD_LINES = {
    "garbage": b"garbage",
    "blank": b"",
    "array": b"[]",
    "not_utf8": b'{"raw_output": "\xff"}',
    "no_output": b"{}",
    "tools_no_list": b'{"raw_output": "x", "tools": 5}',
    "bad_schema": b'{"raw_output": "x", "tools": [{"function": {"name": "f", "parameters": 5}}]}',
    "deep": b"[" * 100_000,
}


@pytest.mark.parametrize("line", BAD_LINES.values(), ids=BAD_LINES)
def test_a_bad_line_yields_an_error_and_the_run_goes_on(line: bytes) -> None:
    out = io.BytesIO()
    assert not repair_lines([line + b"\n", record(CALL).encode()], out)
    bad, good = map(json.loads, out.getvalue().splitlines())
    assert bad["error"]
    assert good["verdict"] == "clean"


def test_half_a_surrogate_pair_survives() -> None:
    out = io.BytesIO()
    assert repair_lines([rb'{"raw_output": "x\ud83d", "tools": []}'], out)
    assert json.loads(out.getvalue())["content"] == "x\ud83d"


@pytest.mark.parametrize(
    ("sent", "code"),
    [(record(CALL), 0), (record(CALL) + "\nnonsense\n", 1), ("", 0)],
    ids=["good", "bad", "none"],
)
def test_the_exit_code(sent: str, code: int) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "proxy", "repair"],
        input=sent,
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == code
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == len(sent.splitlines())


def commands(group: typer.core.TyperGroup, *before: str) -> Iterator[tuple[tuple[str, ...], TyperCommand]]:
    """Every command below the group, with the words that call it."""
    for name, command in group.commands.items():
        if isinstance(command, typer.core.TyperGroup):
            yield from commands(command, *before, name)
        elif isinstance(command, TyperCommand):
            yield (*before, name), command


def test_help_shows_its_texts_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Square brackets in a help text are markup: what stands in them would be left out."""
    monkeypatch.setenv("COLUMNS", "400")
    group = typer.main.get_command(cli)
    assert isinstance(group, typer.core.TyperGroup)
    lost = []
    for words, command in commands(group):
        shown = " ".join(CliRunner().invoke(cli, [*words, "--help"]).stdout.split())
        told = [str(getattr(one, "help", None) or "") for one in command.params]
        lost += [(*words, text) for text in told if text not in shown]
    assert lost == []


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["ab"], "fortieth: ab plays on one server or more, got none"),
        (["ab", "bundled", "nothing"], "fortieth: arm nothing: it is no base_url"),
        (["bench", "nothing"], "fortieth: arm nothing: it is no base_url"),
    ],
)
def test_a_comparison_that_cannot_begin_is_one_line(
    command: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(cli, command)
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stderr.count("\n") == 1
