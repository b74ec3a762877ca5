"""The command lines of `fortieth ab` and `bench`: what is given is heeded or refused, and is told whole."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
from typer.testing import CliRunner

from proxy.cli import ab_run, bench_run
from proxy.cli.ab_run import AbRequest, command_of, read_plan
from proxy.cli.bench_run import BenchRequest
from proxy.cli.main import cli

T = TypeVar("T")
ARMS = ("bundled", "bundled")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--resume", "run", "--seeds", "4", "--out", "x"], "takes nothing beside it: --seeds, --out"),
        (["a", "b", "--resume", "run"], "takes nothing beside it: arms"),
        (["a", "b", "--resume", "run", "--temperature", "1"], "beside it: --temperature, arms"),
        ([*ARMS, "--from-ledger", "file", "--workload", "worlds"], "name two workloads"),
        (
            [*ARMS, "--from-ledger", "file", "--seeds", "10"],
            "--seeds has no meaning here: every",
        ),
        (
            [*ARMS, "--workload", "talks", "--turns", "20"],
            "--turns has no meaning here: every",
        ),
        (
            [*ARMS, "--workload", "corrupted", "--first-seed", "3"],
            "--first-seed has no meaning",
        ),
    ],
)
def test_what_would_not_be_heeded_is_refused(
    options: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it is given as the default has it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "talks").touch()
    result = CliRunner().invoke(cli, ["ab", *options])
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stderr.count("\n") == 1
    assert os.listdir(tmp_path) == ["talks"]


def noting(asked: list[T]) -> Callable[[T], int]:
    """In place of the run itself."""

    def run(request: T) -> int:
        asked.append(request)
        return 0

    return run


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--turns", "3", "--first-seed", "2", "--seeds", "4", "--timeout", "7.5", "--concurrency", "1,8"],
        ["--workload", "corrupted", "--seeds", "4", "--temperature", "0"],
        ["--workload", "workshop", "--seeds", "4", "--turns", "9", "--first-seed", "3"],
        ["--workload", "talks", "--max-tokens", "9", "--model", "a b"],
        ["--from-ledger", "talks"],
    ],
)
def test_the_command_of_a_report_makes_the_same_plan(
    options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "talks").touch()
    asked: list[AbRequest] = []
    monkeypatch.setattr(ab_run, "run_ab", noting(asked))
    assert CliRunner().invoke(cli, ["ab", "bundled:guard=off", "my server {port}", *options]).exit_code == 0
    plan = read_plan(asked[0])
    assert CliRunner().invoke(cli, shlex.split(command_of(plan))[1:]).exit_code == 0
    assert read_plan(asked[1]) == plan
    ab_run.check_heeded(asked[1].given, plan)


def test_the_command_of_a_benchmark_makes_the_same_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[BenchRequest] = []
    monkeypatch.setattr(bench_run, "run_bench", noting(asked))
    words = ["bundled", "my server {port}", "--concurrency", "2", "--prompts", "9,8", "--answer", "7"]
    words += ["--requests", "6", "--timeout", "5.5", "--model", "a b"]
    assert CliRunner().invoke(cli, ["bench", *words]).exit_code == 0
    assert CliRunner().invoke(cli, shlex.split(bench_run.command_of(asked[0]))[1:]).exit_code == 0
    assert asked[1] == asked[0]
