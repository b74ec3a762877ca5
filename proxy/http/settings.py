"""The settings of a server: one frozen model, read once. Flags > FORTIETH_* > fortieth.toml > defaults."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, ValidationInfo, field_validator

from engine.config import LEAST_CACHE_DISK
from proxy.conversation.errors import SettingsError
from proxy.conversation.verdict import GiveUp, GuardMode
from proxy.guard.drift import DEFAULT_RULE
from proxy.guard.policy import Announce, GuardPolicy, LoopLimits, ReaskLimits
from proxy.prompts.canonical import Rule
from proxy.upstreams.declared import DeclaredFormat
from proxy.upstreams.remote.target import Target, read_targets

GIB = 2**30
ENV_PREFIX = "FORTIETH_"
DEFAULT_FILE = "fortieth.toml"
_SERVICE_NAME = re.compile(
    r"FORTIETH_(?:[A-Z0-9_]+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_[A-Z0-9_]+)?"
    r"|PORT_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)"
)
_SECRET = ("api_key", "upstream_api_key")
# What counts something: the engine and SQLite take no number above 2^63, and nobody means one above this.
_MOST = 10**9
_SERVICE_URL = re.compile(r"(?:tcp|udp|sctp)://")


class Settings(BaseModel):
    """What `fortieth serve` can be told.

    model: a directory or a hub id; None is the bundled model. port: 0 takes a free one. served_model_name:
    the id that clients see; None takes the directory's name or the hub id. api_key: None lets everyone in.
    max_batch: sequences decoded together. queue_limit: requests that may wait beyond those. context_limit:
    tokens of prompt and answer together; None takes the model's own. stream_interval_ms: how long streamed
    text may wait for more, so that fast models send a few tokens at a time. deterministic: requests are
    decoded one at a time. request_timeout_s: how long one may take, re-asks included; None sets no limit.

    cache_dir: folder of the prefix cache on disk; None takes the platform's in `fortieth serve` and none
    elsewhere, `off` has none. cache_disk_gb, cache_ram_gb: what the cache may take; None takes a quarter of
    the memory for keys and values, 0 turns it off. cache_ram_ttl: seconds after which what nobody has used
    leaves the RAM, once it is on disk (`off`: never). kv_at_rest: how they lie on disk. think_time: while a
    client runs its tool, how its next prompt will begin is computed. stop_repetition: a text that
    repeats itself word for word is ended. warm_prompts: a file of beginnings of
    conversations that are computed when the server has started.

    guard_models: modes of single models. reask_*: how often, how long and with how many tokens a model is
    asked again in one request. loop_nudge, loop_stop: repeats in a row until the model is told, and until
    the call is not made; 0 turns either off. polling_tools: may be called again and again. drift: sessions
    whose calls get worse are decoded under constraint for a while. leaked_calls: `off` executes nothing that
    an upstream writes as text instead of sending it as a call. announce: `nudge` asks once for the call that
    an answer announces behind a tool's result. no_canonical: rules that are not to hold
    prompts still.

    format: wire formats that are none of the table, by their literals.

    upstream: what is asked instead of the engine, which is then not started. upstream_api_key: the key for
    those that name no variable of their own; not taken from a file. upstream_routing: how one of several
    targets of a name is chosen. upstream_cooldown_s: how long one that failed is left out.
    upstream_retries: how often a request is sent again while nothing has come.

    idle_unload: minutes without a request after which the engine process ends, until there is one; None (or
    `off`): never.

    ledger: the file that keeps an account of each request, None (or `off`) keeps none. ledger_rows,
    ledger_mb: the oldest go when there are more. ledger_redact: leaves out what models wrote.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    model: str | None = None
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8040
    served_model_name: Annotated[str | None, Field(min_length=1)] = None
    guard: GuardMode = GuardMode.full
    guard_models: Mapping[str, GuardMode] = {}
    reask_attempts: Annotated[int, Field(ge=0, le=10)] = 2
    reask_seconds: Annotated[float, Field(gt=0, le=_MOST)] = 60.0
    reask_tokens: Annotated[int, Field(ge=1, le=_MOST)] = 16_384
    give_up: GiveUp = GiveUp.client
    loop_nudge: Annotated[int, Field(ge=0, le=_MOST)] = 3
    loop_stop: Annotated[int, Field(ge=0, le=_MOST)] = 5
    polling_tools: tuple[str, ...] = ()
    drift: bool = True
    leaked_calls: Literal["on", "off"] = "on"
    announce: Announce = Announce.off
    no_canonical: tuple[Rule, ...] = ()
    api_key: Annotated[SecretStr | None, Field(min_length=1)] = None
    max_batch: Annotated[int, Field(ge=1, le=_MOST)] = 16
    queue_limit: Annotated[int, Field(ge=0, le=_MOST)] = 256
    context_limit: Annotated[int | None, Field(ge=2, le=_MOST)] = None
    stream_interval_ms: Annotated[float, Field(ge=0, le=1000)] = 50.0
    deterministic: bool = False
    request_timeout_s: Annotated[float | None, Field(gt=0, le=_MOST)] = None
    cache_dir: str | None = None
    cache_disk_gb: Annotated[float, Field(ge=LEAST_CACHE_DISK / GIB, le=_MOST)] = 10.0
    cache_ram_gb: Annotated[float | None, Field(ge=0, le=_MOST)] = None
    cache_ram_ttl: Annotated[float | None, Field(gt=0, le=_MOST)] = 3600.0
    kv_at_rest: Literal["keep", "bf16", "q8", "q4"] = "keep"
    think_time: bool = True
    stop_repetition: bool = True
    warm_prompts: Path | None = None
    format: tuple[DeclaredFormat, ...] = ()
    upstream: tuple[Target, ...] = ()
    upstream_api_key: Annotated[SecretStr | None, Field(min_length=1)] = None
    upstream_routing: Literal["simple-shuffle", "least-busy", "latency-based-routing"] = "simple-shuffle"
    upstream_cooldown_s: Annotated[float, Field(gt=0, le=_MOST)] = 5.0
    upstream_retries: Annotated[int, Field(ge=0, le=10)] = 2
    ledger: Path | None = None
    ledger_rows: Annotated[int, Field(ge=1, le=_MOST)] = 100_000
    ledger_mb: Annotated[int, Field(ge=1, le=_MOST)] = 256
    ledger_redact: bool = False
    idle_unload: Annotated[float | None, Field(gt=0, le=_MOST)] = None
    log_level: Literal["debug", "info", "warning", "error"] = "warning"

    @field_validator("polling_tools", "no_canonical", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        """An environment variable holds names with commas between them."""
        return (
            [name.strip() for name in value.split(",") if name.strip()] if isinstance(value, str) else value
        )

    @field_validator("ledger", "idle_unload", "cache_ram_ttl", mode="before")
    @classmethod
    def _off(cls, value: Any) -> Any:
        return None if value == "off" else value

    @field_validator("cache_dir", "ledger", "warm_prompts")
    @classmethod
    def _from_home(cls, value: Any) -> Any:
        """`~` as a shell reads it, wherever the path stood."""
        if value is None or not str(value).startswith("~"):
            return value
        try:
            return type(value)(Path(value).expanduser())
        except RuntimeError:
            raise ValueError("there is no such home folder") from None

    @field_validator("upstream", mode="before")
    @classmethod
    def _targets(cls, value: Any, info: ValidationInfo) -> Any:
        """A target's format may be one of those that are declared, which have been read before."""
        return read_targets(value, {one.name: one.wire() for one in info.data.get("format", ())})

    @field_validator("format")
    @classmethod
    def _have_names_of_their_own(cls, value: tuple[DeclaredFormat, ...]) -> tuple[DeclaredFormat, ...]:
        if len({one.name for one in value}) < len(value):
            raise ValueError("two formats of one name")
        return value

    def cache_folder(self) -> str | None:
        """None: nothing of the prefix cache lies on disk."""
        return None if self.cache_dir == "off" else self.cache_dir

    def guard_policy(self) -> GuardPolicy:
        return GuardPolicy(
            mode=self.guard,
            models=self.guard_models,
            reask=ReaskLimits(self.reask_attempts, self.reask_seconds, self.reask_tokens),
            loops=LoopLimits(self.loop_nudge, self.loop_stop, frozenset(self.polling_tools)),
            give_up=self.give_up,
            drift=DEFAULT_RULE if self.drift else None,
            leaked_calls=self.leaked_calls == "on",
            announce=self.announce,
        )


@dataclass(frozen=True, slots=True)
class SettingSource:
    """Some of the settings and where they stood. label: how a message refers to the key."""

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
    """flags: those that were given. file: must exist if given; else ./fortieth.toml is read if it is there.

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
                raise SettingsError(f"{source.name(key)}: this key is only read from the environment")
            merged[key] = value
            origin[key] = source.name(key)
    try:
        return Settings(**merged)
    except ValidationError as error:
        first = error.errors()[0]
        key, within = str(first["loc"][0]), first["loc"][1:]
        secret = key in _SECRET or "@" in str(first["input"])
        shown = "a value" if secret else repr(first["input"])
        # a table's key stands where it stands: "upstream[1].formt in fortieth.toml"
        place = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in within)
        where = origin[key].replace(key, f"{key}{place}", 1)
        reason = first["msg"].removeprefix("Value error, ")
        reason = "unknown setting" if first["type"] == "extra_forbidden" else reason[0].lower() + reason[1:]
        raise SettingsError(f"{where}: {reason}, got {shown}") from None


def _suggestion(key: str) -> str:
    close = difflib.get_close_matches(key.lower(), Settings.model_fields, n=1)
    return f"; did you mean {close[0]}?" if close else f"; known are {', '.join(Settings.model_fields)}"


def _from_env(env: Mapping[str, str]) -> SettingSource:
    """Empty variables count as unset."""
    foreign = set(foreign_variables(env))
    values = {
        name.removeprefix(ENV_PREFIX).lower(): value
        for name, value in env.items()
        if name.startswith(ENV_PREFIX) and value and name not in foreign
    }
    return SettingSource(values, "env")


def foreign_variables(env: Mapping[str, str]) -> list[str]:
    """Variables with our prefix that Kubernetes makes in every pod beside a service whose name begins with
    ours: FORTIETH_SERVICE_HOST, FORTIETH_PORT=tcp://10.0.0.1:80, FORTIETH_PORT_80_TCP_ADDR and so on.
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
        raise SettingsError(f"{path}: cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: not valid TOML: {error}") from error
