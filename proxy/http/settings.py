"""The settings of a server: one frozen model, with default and help text at each field."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationInfo, field_validator

from engine.config import LEAST_CACHE_DISK
from proxy.conversation.verdict import GiveUp, GuardMode
from proxy.guard.drift import DEFAULT_RULE
from proxy.guard.policy import Announce, GuardPolicy, LoopLimits, ReaskLimits
from proxy.http.told import Told
from proxy.prompts.canonical import Rule
from proxy.upstreams.declared import DeclaredFormat
from proxy.upstreams.remote.target import Target, read_targets

GIB = 2**30
# For settings that count something: the engine and SQLite take no number above 2^63, and nobody needs one
# above this.
_MOST = 10**9
# As browsers send it (https://www.rfc-editor.org/rfc/rfc6454#section-6.1): no path, no slash at its end.
_ORIGIN = r"^(?:\*|null|[a-z][a-z0-9+.-]*://[^/\s,]*)$"


class Settings(BaseModel):
    """Everything that `fortieth serve` can be told. `--help`, the table in docs/settings.md and error
    messages take a setting's texts from its field.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    model: Annotated[str | None, Told("a model directory or a hub id", default="the bundled model")] = None
    host: Annotated[str, Told("address to listen on")] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535), Told("port to listen on, 0 for a free one")] = 8040
    served_model_name: Annotated[
        str | None,
        Field(min_length=1),
        Told("the model's id for clients", default="the name of the directory, or the hub id"),
    ] = None
    api_key: Annotated[
        tuple[Annotated[SecretStr, Field(min_length=1)], ...],
        Told(
            "the key that clients must send, as Bearer or `x-api-key`; several are separated by commas",
            default="none, everyone is let in",
        ),
    ] = ()
    cors: Annotated[
        tuple[Annotated[str, Field(pattern=_ORIGIN)], ...],
        Told(
            "origins whose web pages may use the API, separated by commas or given more than once; `*`: all",
            example="https://chat.example.org,app://obsidian.md",
            page="operations.md#web-pages",
        ),
    ] = ()
    guard: Annotated[
        GuardMode,
        Told(
            "what happens to malformed tool calls: off, observe, repair, full or constrain", page="guard.md"
        ),
    ] = GuardMode.full
    guard_models: Annotated[
        Mapping[str, GuardMode],
        Told(
            "guard modes of single models, in the file only",
            example='guard_models = {"owner/model" = "repair"}',
        ),
    ] = {}
    reask_attempts: Annotated[
        int, Field(ge=0, le=10), Told("how often a model is asked again in one request", page="guard.md")
    ] = 2
    reask_seconds: Annotated[
        float, Field(gt=0, le=_MOST), Told("seconds that asking again may take in one request")
    ] = 120.0
    reask_tokens: Annotated[
        int, Field(ge=1, le=_MOST), Told("tokens that asking again may take in one request")
    ] = 16_384
    give_up: Annotated[
        GiveUp,
        Told(
            "what the client gets for calls that cannot be saved: client, text, error or passthrough; "
            "a request may choose in `x-fortieth-give-up`",
            page="guard.md#giving-up",
        ),
    ] = GiveUp.client
    leaked_calls: Annotated[
        Literal["on", "off"],
        Told("off: a call that an upstream writes as text is never executed", page="upstreams.md"),
    ] = "on"
    announce: Annotated[
        Announce,
        Told(
            "nudge: an answer that only says what the model will do now is asked once for the call",
            page="guard.md#asking-again",
        ),
    ] = Announce.off
    loop_nudge: Annotated[
        int, Field(ge=0, le=_MOST), Told("repeats of a call after which the model is told of them; 0: never")
    ] = 3
    loop_stop: Annotated[
        int, Field(ge=0, le=_MOST), Told("repeats of a call after which the call is no longer made; 0: never")
    ] = 5
    polling_tools: Annotated[
        tuple[str, ...],
        Told("tools that may be called again and again, separated by commas", example="poll_job,wait"),
    ] = ()
    drift: Annotated[
        bool, Told("sessions whose calls get worse are decoded under constraint for a while")
    ] = True
    max_batch: Annotated[int, Field(ge=1, le=_MOST), Told("requests decoded together")] = 16
    queue_limit: Annotated[
        int,
        Field(ge=0, le=_MOST),
        Told("requests that may wait for a place in the batch; further ones get 429"),
    ] = 256
    context_limit: Annotated[
        int | None,
        Field(ge=2, le=_MOST),
        Told("tokens of prompt and answer together", default="the model's own"),
    ] = None
    answer_tokens: Annotated[
        int | None,
        Field(ge=1, le=_MOST),
        Told(
            "tokens of an answer whose client sets no `max_tokens`, on the bundled engine",
            default="half of the context, at most 16,384 and the model's own `max_new_tokens`",
            page="api.md#request-fields",
        ),
    ] = None
    stream_interval_ms: Annotated[
        float,
        Field(ge=0, le=1000),
        Told(
            "milliseconds that streamed text may wait for more while every request decodes, so that a fast "
            "model's tokens leave a few at a time; the first text of an answer never waits; 0: never"
        ),
    ] = 50.0
    deterministic: Annotated[
        bool,
        Told("requests are decoded one at a time, so that equal requests get equal texts"),
    ] = False
    request_timeout_s: Annotated[
        float | None,
        Field(gt=0, le=_MOST),
        Told(
            "seconds that a request may take, asking again included; a longer one gets 504; clients may "
            "ask for less"
        ),
    ] = None
    cache_dir: Annotated[
        str | None,
        Told(
            "folder of the prefix cache on disk: a new, an empty or an earlier one; `off` for none",
            default="~/.cache/fortieth/prefix",
            page="cache.md",
        ),
    ] = None
    cache_disk_gb: Annotated[
        float,
        Field(ge=LEAST_CACHE_DISK / GIB, le=_MOST),
        Told("gigabytes that the prefix cache may take on disk"),
    ] = 10.0
    cache_ram_gb: Annotated[
        float | None,
        Field(ge=0, le=_MOST),
        Told(
            "gigabytes that the prefix cache may take in memory; 0 turns the cache off",
            default="a quarter of what there is for keys and values",
        ),
    ] = None
    cache_ram_ttl: Annotated[
        float | None,
        Field(gt=0, le=_MOST),
        Told(
            "seconds after which an unused prefix leaves the memory, once it is on disk; `off`: never",
            page="operations.md#at-rest",
        ),
    ] = 3600.0
    kv_at_rest: Annotated[
        Literal["keep", "bf16", "q8", "q4"],
        Told("precision of keys and values on disk: keep is exact; bf16, q8 and q4 are smaller"),
    ] = "keep"
    moe_top_k: Annotated[
        int | None,
        Field(ge=1),
        Told(
            "how many experts of a model that has some compute each token: fewer are faster and less exact",
            default="the model's own number",
        ),
    ] = None
    prompt_lookup: Annotated[
        bool,
        Told(
            "what an answer repeats of its prompt is computed several tokens at a time; they stay the same",
            page="engine.md#repetitions",
        ),
    ] = False
    think_time: Annotated[
        bool,
        Told("the beginning of the next prompt is computed while a client runs its tool", page="sessions.md"),
    ] = True
    no_canonical: Annotated[
        tuple[Rule, ...],
        Told(
            "canonical rules that are turned off, separated by commas or given more than once",
            page="sessions.md",
        ),
    ] = ()
    stop_repetition: Annotated[
        bool,
        Told(
            "a generation that repeats itself word for word is ended",
            page="guard.md#texts-that-repeat-themselves",
        ),
    ] = True
    warm_prompts: Annotated[
        Path | None,
        Told(
            "a file of JSON or JSON Lines, {messages, tools}: beginnings of conversations, which are "
            "computed after the start",
            page="sessions.md",
        ),
    ] = None
    idle_unload: Annotated[
        float | None,
        Field(gt=0, le=_MOST),
        Told(
            "minutes without a request after which the engine process ends; the next request starts it "
            "again; `off`: never",
            default="off",
            page="operations.md#at-rest",
        ),
    ] = None
    format: Annotated[
        tuple[DeclaredFormat, ...],
        Field(max_length=64),
        Told("wire formats that fortieth does not know, in the file only", page="repair.md"),
    ] = ()
    upstream: Annotated[
        tuple[Target, ...],
        Told(
            "what is asked instead of a model on this machine: the base_url of an OpenAI-compatible "
            "server, or a model as LiteLLM names it; may be given more than once",
            page="upstreams.md",
        ),
    ] = ()
    upstream_api_key: Annotated[
        SecretStr | None,
        Field(min_length=1),
        Told("the key of upstreams without an `api_key_env` of their own; not read from the file"),
    ] = None
    upstream_routing: Annotated[
        Literal["simple-shuffle", "least-busy", "latency-based-routing"],
        Told(
            "how one of several upstreams with the same name is chosen: simple-shuffle, least-busy or "
            "latency-based-routing",
            page="upstreams.md",
        ),
    ] = "simple-shuffle"
    upstream_cooldown_s: Annotated[
        float, Field(gt=0, le=_MOST), Told("seconds for which an upstream that failed is not asked")
    ] = 5.0
    upstream_retries: Annotated[
        int,
        Field(ge=0, le=10),
        Told("how often a request is sent again before any of its answer has come"),
    ] = 2
    ledger: Annotated[
        Path | None,
        Told(
            "file of the ledger, which keeps a record of each request; `off` for none",
            default="off",
            page="ledger.md",
        ),
    ] = None
    ledger_rows: Annotated[
        int, Field(ge=1, le=_MOST), Told("requests that the ledger keeps; the oldest are deleted first")
    ] = 100_000
    ledger_mb: Annotated[int, Field(ge=1, le=_MOST), Told("megabytes that the ledger may take")] = 256
    ledger_redact: Annotated[bool, Told("the ledger leaves out what models and clients wrote")] = False
    ledger_requests: Annotated[
        bool,
        Told(
            "the ledger keeps the bodies of requests too, so that `fortieth ab` can replay them",
            page="ab.md#your-own-conversations",
        ),
    ] = False
    ledger_refused: Annotated[
        bool, Told("the ledger keeps the text of attempts that were refused", page="ledger.md")
    ] = False
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Told("least urgent messages that are logged: debug, info, warning or error"),
    ] = "warning"

    @field_validator("api_key", "cors", "polling_tools", "no_canonical", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        """Splits the names in an environment variable, which are separated by commas."""
        return (
            [name.strip() for name in value.split(",") if name.strip()] if isinstance(value, str) else value
        )

    @field_validator("api_key")
    @classmethod
    def _is_no_empty_list(cls, value: tuple[SecretStr, ...], info: ValidationInfo) -> tuple[SecretStr, ...]:
        """A key of spaces and commas lets nobody in by mistake."""
        if not value:
            raise ValueError("there is no key in it")
        return value

    @field_validator("ledger", "idle_unload", "cache_ram_ttl", mode="before")
    @classmethod
    def _off(cls, value: Any) -> Any:
        return None if value == "off" else value

    @field_validator("cache_dir", "ledger", "warm_prompts")
    @classmethod
    def _from_home(cls, value: Any) -> Any:
        """Expands `~` as a shell does, wherever the path was given."""
        if value is None or not str(value).startswith("~"):
            return value
        try:
            return type(value)(Path(value).expanduser())
        except RuntimeError:
            raise ValueError("there is no home folder of that user") from None

    @field_validator("ledger_requests")
    @classmethod
    def _not_redacted(cls, value: bool, info: ValidationInfo) -> bool:
        if value and info.data.get("ledger_redact"):
            raise ValueError(
                "it keeps what clients wrote, and ledger_redact leaves that out: set one of them"
            )
        return value

    @field_validator("upstream", mode="before")
    @classmethod
    def _targets(cls, value: Any, info: ValidationInfo) -> Any:
        """Reads the targets. Their format may be a declared one; those were read before."""
        return read_targets(value, {one.name: one.wire() for one in info.data.get("format", ())})

    @field_validator("format")
    @classmethod
    def _have_names_of_their_own(cls, value: tuple[DeclaredFormat, ...]) -> tuple[DeclaredFormat, ...]:
        if len({one.name for one in value}) < len(value):
            raise ValueError("two formats have the same name")
        return value

    def cache_folder(self) -> str | None:
        """The folder of the prefix cache; None where nothing of the cache lies on disk."""
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
