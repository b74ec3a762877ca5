"""How a command that was called wrongly ends: with one line, in words of ours, and one exit code."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from typing import Any

import typer
from typer.core import TyperGroup

from proxy.cli.exits import FAILED, MISUSED

# what the parser of options raises for any wrong call
_Misuse: type[Exception] = typer.BadParameter.__mro__[1]
_TOO_MANY = re.compile(r"^Got unexpected extra arguments?(?:\(s\))? \((.*)\)$")


class Commands(TyperGroup):
    """The commands. What the parser of options refuses is told as all else is that a command cannot do."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **more: Any,
    ) -> Any:
        given = list(sys.argv[1:] if args is None else args)
        try:
            code = super().main(given, prog_name, complete_var, False, windows_expand_args, **more)
        except _Misuse as error:
            if not standalone_mode:
                raise
            typer.echo(_told(error, given), err=True)
            code = MISUSED
        except typer.Abort:
            code = FAILED
        if not standalone_mode:
            return code
        sys.exit(code if isinstance(code, int) else 0)


def _told(error: Any, given: Sequence[str]) -> str:
    """One line; the whole help where there were no arguments."""
    if type(error).__name__ == "NoArgsIsHelpError":
        return str(error.format_message())
    program, *command = error.ctx.command_path.split() if error.ctx is not None else ["fortieth"]
    line = ": ".join(filter(None, (program, " ".join(command), _reason(error, given))))
    return f"{line} (see `{' '.join((program, *command))} --help`)"


def _reason(error: Any, given: Sequence[str]) -> str:
    if type(error) is typer.BadParameter and error.param is not None:
        # Imported here: it takes time, and nothing is wrong with most calls.
        from proxy.http.told import plain_reason

        names = (*error.param.opts, *error.param.secondary_opts)
        value = _last_value(names, given)
        told = name_of(error.param) + " " + plain_reason(error.message)
        return told if value is None else f"{told}, got {value!r:.80}"
    message = _TOO_MANY.sub(r"there is no place for the argument \1", str(error.format_message()).rstrip("."))
    return message[:1].lower() + message[1:]


def name_of(parameter: Any) -> str:
    """The option as it is written; an argument as the help has it."""
    return str(
        max(parameter.opts, key=len) if parameter.opts[0].startswith("-") else parameter.human_readable_name
    )


def _last_value(names: Sequence[str], given: Sequence[str]) -> str | None:
    """The value that an option was given last, which is the one that counts; None where it has none. names:
    those of the option.
    """
    for at in reversed(range(len(given))):
        name, joined, value = given[at].partition("=")
        if name in names and joined:
            return value
        if given[at] in names and at + 1 < len(given):
            return given[at + 1]
    return None
