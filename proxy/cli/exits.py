"""How a command ends that cannot do what it was asked: with one line on standard error and an exit code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import typer

from proxy.conversation.errors import SettingsError, StartError

FAILED = 1  # something does not work: a file, a server, a model
MISUSED = 2  # the command was called wrongly, or a setting is wrong: what the parser of options uses too


def fail(why: str, code: int = FAILED) -> NoReturn:
    typer.echo(f"fortieth: {why}", err=True)
    raise typer.Exit(code)


@contextmanager
def failures_told() -> Iterator[None]:
    """Ends the command where the server or run inside could not be set up (StartError)."""
    try:
        yield
    except SettingsError as error:
        fail(str(error), MISUSED)
    except StartError as error:
        fail(str(error))
