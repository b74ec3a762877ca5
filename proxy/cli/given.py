"""Which options stand on the command line, so that one that a command would not heed is refused."""

from __future__ import annotations

import typer


def given_options(context: typer.Context) -> tuple[str, ...]:
    """The options that were given with the command, as they are written; not those from defaults."""
    found = []
    for one in context.command.params:
        source = context.get_parameter_source(one.name) if one.name else None
        if source is not None and source.name == "COMMANDLINE" and one.opts[0].startswith("--"):
            found.append(one.opts[0])
    return tuple(found)
