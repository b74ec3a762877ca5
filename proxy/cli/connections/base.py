"""The settings by which a client reaches a server: texts with `$name` where the server's own data goes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from string import Template
from typing import Any

CONTEXT_NUMBER = "$context as a number"
"""A value of a JSON file that becomes the context window as a number, not as a text."""

NO_KEY = "none"
"""For a server that wants none: most clients refuse to start without any."""


class ClientKind(StrEnum):
    """agent: a program. library: an SDK or a framework, which is connected by lines of code."""

    agent = "agent"
    library = "library"


class FileFormat(StrEnum):
    """How settings are put into a file that may be there already.

    json: key by key. toml: as tables between two comments, at the end. whole: the file is ours alone.
    """

    json = "json"
    toml = "toml"
    whole = "whole"


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """origin: `http://HOST:PORT`, without /v1. key: any text where the server wants none. context_window: in
    tokens.
    """

    origin: str
    model: str
    key: str = NO_KEY
    context_window: int = 131_072

    @property
    def base_url(self) -> str:
        return f"{self.origin}/v1"


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """name: below `folder`, which is below the user's home unless the environment variable `variable` names
    another folder. content: an object for json, else a text.
    """

    folder: str
    name: str
    format: FileFormat
    content: Mapping[str, Any] | str
    variable: str = ""

    def path(self, home: Path, environment: Mapping[str, str]) -> Path:
        moved = environment.get(self.variable, "") if self.variable else ""
        return (Path(moved) if moved else home / self.folder) / self.name


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """variables: of the environment. setup: a command that is run once. command: the client's program with
    its flags. code: the lines with which a program that uses the library begins.
    """

    variables: Mapping[str, str] = field(default_factory=dict)
    files: Sequence[ConfigFile] = ()
    setup: Sequence[str] = ()
    command: Sequence[str] = ()
    code: str = ""


@dataclass(frozen=True, slots=True)
class SupportedClient:
    """name: what the user types. speaks: the API it uses. version: the one it was tried with. settings: with
    placeholders: $origin, $base_url, $model, $key, $context, and in commands $file, the path of its file.
    """

    name: str
    title: str
    kind: ClientKind
    speaks: str
    version: str
    settings: ClientSettings
    note: str = ""

    def settings_for(
        self, server: ServerAddress, home: Path, environment: Mapping[str, str]
    ) -> ClientSettings:
        """home: of the client's user. environment: of the client, which may name other folders."""
        known = {
            "origin": server.origin,
            "base_url": server.base_url,
            "model": server.model,
            "key": server.key,
            "context": str(server.context_window),
        }
        own = self.settings
        paths = {"file": str(own.files[0].path(home, environment))} if own.files else {}
        return ClientSettings(
            {name: _filled(value, known) for name, value in own.variables.items()},
            [replace(file, content=_content(file.content, known, server)) for file in own.files],
            [_filled(word, known | paths) for word in own.setup],
            [_filled(word, known | paths) for word in own.command],
            _quoted(own.code, known),
        )


def _filled(text: str, known: Mapping[str, str]) -> str:
    return Template(text).substitute(known)


def _quoted(text: str, known: Mapping[str, str]) -> str:
    """Inside double quotes: what JSON escapes, Python, JavaScript, TOML and YAML read in the same way."""
    escaped = {name: json.dumps(value, ensure_ascii=False)[1:-1] for name, value in known.items()}
    return Template(text).substitute(escaped)


def _content(
    content: Mapping[str, Any] | str, known: Mapping[str, str], server: ServerAddress
) -> Mapping[str, Any] | str:
    if isinstance(content, str):
        return _quoted(content, known)
    made: Mapping[str, Any] = _value(content, known, server)
    return made


def _value(value: Any, known: Mapping[str, str], server: ServerAddress) -> Any:
    match value:
        case str() if value == CONTEXT_NUMBER:
            return server.context_window
        case str():
            return _filled(value, known)
        case Mapping():
            return {_filled(name, known): _value(one, known, server) for name, one in value.items()}
        case list():
            return [_value(one, known, server) for one in value]
        case _:
            return value
