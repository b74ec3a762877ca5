"""Reads the settings from flags, FORTIETH_* variables, the file and defaults, in this order of precedence.

What is not a setting stops the start with a message that names the place.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from proxy.conversation.errors import SettingsError
from proxy.http.settings import Settings
from proxy.http.told import plain_reason, told

ENV_PREFIX = "FORTIETH_"
DEFAULT_FILE = "fortieth.toml"
_SECRET = ("api_key", "upstream_api_key")
_SHOWN = 400  # characters of a value that a message repeats
_SERVICE_NAME = re.compile(
    r"FORTIETH_(?:[A-Z0-9_]+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_[A-Z0-9_]+)?"
    r"|PORT_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)"
)
_SERVICE_URL = re.compile(r"(?:tcp|udp|sctp)://")


@dataclass(frozen=True, slots=True)
class SettingSource:
    """The settings of one source. label: how a message refers to the source."""

    values: Mapping[str, Any]
    label: str

    def name(self, key: str) -> str:
        match self.label:
            case "flag":
                return "--" + key.replace("_", "-")
            case "env":
                return ENV_PREFIX + key.upper()
            case file:
                return f"{key} in {file}"


def load_settings(flags: Mapping[str, Any], env: Mapping[str, str], file: Path | None = None) -> Settings:
    """Reads and validates all settings.

    flags: those that were given.
    file: must exist if given; otherwise ./fortieth.toml is read if it exists.

    Raises SettingsError for an unknown key, a wrong value, and a file that cannot be read.
    """
    sources = [_from_file(file), _from_env(env), SettingSource(flags, "flag")]
    merged: dict[str, Any] = {}
    origin: dict[str, str] = {}
    for source in sources:
        for key, value in source.values.items():
            if key not in Settings.model_fields:
                raise SettingsError(f"{source.name(key)}: unknown setting{_suggestion(key)}")
            if key == "upstream_api_key" and source.label != "env":
                raise SettingsError(
                    f"{source.name(key)}: this key is read from the environment only; set "
                    f"{ENV_PREFIX}{key.upper()}"
                )
            merged[key] = value
            origin[key] = source.name(key)
    try:
        return Settings(**merged)
    except ValidationError as error:
        first = error.errors()[0]
        key, within = str(first["loc"][0]), first["loc"][1:]
        secret = key in _SECRET or "@" in str(first["input"])
        shown = "a value" if secret else repr(first["input"])
        # a table's key is named with its table: "upstream[1].formt in fortieth.toml"
        place = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in within)
        where = origin[key].replace(key, f"{key}{place}", 1)
        reason = "unknown setting" if first["type"] == "extra_forbidden" else plain_reason(first["msg"])
        meant = "" if within else f" ({told(Settings.model_fields[key]).help})"
        raise SettingsError(f"{where}: {reason}, got {_short(shown)}{meant}") from None


def _suggestion(key: str) -> str:
    close = difflib.get_close_matches(key.lower(), Settings.model_fields, n=1)
    return (
        f"; did you mean {close[0]}?" if close else f"; the settings are {', '.join(Settings.model_fields)}"
    )


def _from_env(env: Mapping[str, str]) -> SettingSource:
    """The settings in the environment. Empty variables count as unset."""
    foreign = set(foreign_variables(env))
    values = {
        name.removeprefix(ENV_PREFIX).lower(): value
        for name, value in env.items()
        if name.startswith(ENV_PREFIX) and value and name not in foreign
    }
    return SettingSource(values, "env")


def foreign_variables(env: Mapping[str, str]) -> list[str]:
    """Variables with our prefix that belong to Kubernetes.

    Kubernetes makes them in every pod beside a service whose name begins with ours: FORTIETH_SERVICE_HOST,
    FORTIETH_PORT=tcp://10.0.0.1:80, FORTIETH_PORT_80_TCP_ADDR and so on.
    """
    return sorted(
        name
        for name, value in env.items()
        if name.startswith(ENV_PREFIX)
        and (_SERVICE_NAME.fullmatch(name) or (name.endswith("_PORT") and _SERVICE_URL.match(value)))
    )


def _from_file(file: Path | None) -> SettingSource:
    path = file or Path(DEFAULT_FILE)
    if file is None and not path.is_file():
        return SettingSource({}, str(path))
    try:
        return SettingSource(tomllib.loads(path.read_text("utf-8")), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: this is not valid TOML: {error}") from error


def _short(shown: str) -> str:
    """The beginning of a value, for a message."""
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."
