"""`fortieth connect`: the settings by which a client reaches this server."""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import Annotated

import typer

from proxy.cli.connections.base import NO_KEY, SupportedClient
from proxy.cli.connections.table import CLIENTS
from proxy.cli.exits import MISUSED, fail

_Name = Annotated[
    str,
    typer.Argument(
        metavar="CLIENT",
        help="The client to connect. Without it the clients are listed.",
        autocompletion=lambda: list(CLIENTS),
    ),
]
_Url = Annotated[str, typer.Option(metavar="URL", help="The server's address, with or without /v1.")]
_Model = Annotated[str, typer.Option(help="The model to use. Default: the first one that the server lists.")]
_Key = Annotated[str, typer.Option(envvar="FORTIETH_API_KEY", help="The server's API key, if it has one.")]
_Write = Annotated[bool, typer.Option("--write", help="Put the settings into the client's files.")]


def connect(
    client: _Name = "",
    base_url: _Url = "http://127.0.0.1:8040",
    model: _Model = "",
    key: _Key = NO_KEY,
    write: _Write = False,
) -> None:
    """Show the settings by which an agent, an SDK or a framework uses the server.

    With --write they are put into the client's files; a file that was there is kept beside the new one.
    Exit code 1 if a file cannot be written, 2 if the client is not known.
    """
    from proxy.cli.connections.config_files import UnusableFile  # here: it is no matter of --help
    from proxy.cli.connections.server import BadAddress
    from proxy.cli.connections.text import listing

    if not client:
        typer.echo(listing(CLIENTS.values()))
        return
    if client not in CLIENTS:
        close = "".join(f", did you mean {name}?" for name in difflib.get_close_matches(client, CLIENTS, 1))
        fail(f"connect: no client {client!r} is known{close} (`fortieth connect` lists them)", MISUSED)
    try:
        typer.echo(_connected(CLIENTS[client], base_url, model, key, write))
    except BadAddress as error:
        fail(f"connect: {error}", MISUSED)
    except BrokenPipeError:
        raise
    except (UnusableFile, OSError, RuntimeError) as error:
        fail(f"connect: {error}")


def _connected(client: SupportedClient, base_url: str, model: str, key: str, write: bool) -> str:
    """Raises BadAddress, UnusableFile, OSError, and RuntimeError where the user has no home."""
    from proxy.cli.connections.config_files import write_files
    from proxy.cli.connections.server import find_server, read_origin
    from proxy.cli.connections.text import settings_text

    server, told = find_server(read_origin(base_url), model, key or NO_KEY)
    if told:
        typer.echo(f"fortieth: connect: {told}; the model is called `{server.model}` below", err=True)
    home = Path.home()
    settings = client.settings_for(server, home, os.environ)
    if write and not settings.files:
        typer.echo(f"fortieth: connect: {client.name} has no file for these settings", err=True)
    written = write_files(settings.files, home, os.environ) if write else None
    paths = [file.path(home, os.environ) for file in settings.files]
    return settings_text(client, settings, paths, written)
