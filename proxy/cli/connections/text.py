"""The settings of a client as a text that a user reads and copies from."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from proxy.cli.connections.base import ClientKind, ClientSettings, ConfigFile, SupportedClient
from proxy.cli.connections.config_files import WrittenFile


def listing(clients: Iterable[SupportedClient]) -> str:
    """A line for each client: its name, what it is, the API it uses, the version it was tried with."""
    rows = [(one.name, one.title, one.speaks, one.version) for one in clients]
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    padded = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in padded)


def settings_text(
    client: SupportedClient,
    settings: ClientSettings,
    paths: Sequence[Path],
    written: Sequence[WrittenFile] | None,
) -> str:
    """paths: of the files, in their order. written: what was done with them; None if nothing was to be."""
    head = f"# {client.title}, which speaks {client.speaks}. Tried with version {client.version}."
    parts = [f"{head}\n# {client.note}" if client.note else head]
    if settings.variables:
        lines = (f"export {name}={shlex.quote(value)}" for name, value in settings.variables.items())
        parts.append("# in the shell that starts it:\n" + "\n".join(lines))
    parts += _files(settings.files, paths) if written is None else map(_written, written)
    if settings.setup:
        parts.append(f"# once:\n{shlex.join(settings.setup)}")
    if settings.command:
        parts.append(f"# to start it:\n{shlex.join(settings.command)}")
    if client.kind is ClientKind.library:
        parts.append(settings.code.rstrip())
    return "\n\n".join(parts)


def _files(files: Sequence[ConfigFile], paths: Sequence[Path]) -> Iterator[str]:
    for file, path in zip(files, paths, strict=True):
        yield f"# in {path} (--write puts it there):\n{_content(file.content)}"


def _content(content: Mapping[str, object] | str) -> str:
    return content.rstrip() if isinstance(content, str) else json.dumps(content, ensure_ascii=False, indent=2)


def _written(file: WrittenFile) -> str:
    if not file.changed:
        return f"# {file.path} has the settings already."
    if file.backup is None:
        return f"# {file.path} was written."
    return f"# {file.path} was changed; {file.backup.name} beside it is what it was."
