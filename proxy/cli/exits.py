"""How a command ends that cannot do what it was asked: with one line on standard error and an exit code."""

from __future__ import annotations

from typing import NoReturn

import typer

FAILED = 1  # something does not work: a file, a server, a model
MISUSED = 2  # the command was called wrongly, or a setting is wrong: what the parser of options uses too


def fail(why: str, code: int = FAILED) -> NoReturn:
    typer.echo(f"fortieth: {why}", err=True)
    raise typer.Exit(code)
