"""One upstream as the settings name it. LiteLLM is not loaded here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, field_validator, model_validator

from repair.formats import Wire, formats_for

_Marker = Annotated[str, Field(min_length=1, max_length=200)]


class Target(BaseModel):
    """An OpenAI-compatible server (`base_url`, and `model` if it serves several) or a model of LiteLLM's.

    name: what clients ask for; None is the model's own name. Targets with one name share its load.
    api_key_env: the environment variable that holds the key.
    format: the wire format of calls that leak into the text.
    reasoning: markers of the model's reasoning besides the known ones.
    weight: the target's share of the load.
    timeout_s: the longest silence.
    fallbacks: names to ask, in order, where this one fails before its answer begins.
    replicas: further base_urls that serve the same models; sessions are pinned to one of all.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    base_url: str | None = None
    model: Annotated[str | None, Field(min_length=1)] = None
    name: Annotated[str | None, Field(min_length=1)] = None
    api_key_env: Annotated[str | None, Field(min_length=1)] = None
    format: str = "auto"
    reasoning: tuple[tuple[_Marker, _Marker], ...] = ()
    _declared: Wire | None = PrivateAttr(None)
    weight: Annotated[int, Field(ge=1)] = 1
    timeout_s: Annotated[float, Field(gt=0)] = 300.0
    fallbacks: tuple[str, ...] = ()
    replicas: tuple[str, ...] = ()

    @field_validator("base_url")
    @classmethod
    def _is_url(cls, value: str | None) -> str | None:
        return value if value is None else _url(value)

    @field_validator("replicas")
    @classmethod
    def _are_urls(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_url(one) for one in value)

    @field_validator("format")
    @classmethod
    def _is_known(cls, value: str) -> str:
        try:
            formats_for(value)
        except KeyError:
            raise ValueError("no such wire format") from None
        return value

    @classmethod
    def of(cls, table: Mapping[str, Any], wire: Wire) -> Target:
        """The target of a table whose format is declared in the settings."""
        target = cls(**{**table, "format": "auto"})
        target._declared = wire
        return target

    def wire(self) -> str | Wire:
        """The wire format that the model writes."""
        known = self._declared or self.format
        return Wire(str(known), formats_for(known), self.reasoning) if self.reasoning else known

    @model_validator(mode="after")
    def _says_what(self) -> Self:
        if self.base_url is None and self.model is None:
            raise ValueError("an upstream needs a base_url or a model")
        if self.replicas and self.base_url is None:
            raise ValueError("replicas need a base_url")
        return self


def _url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("base_url must look like http://host:port/v1")
    if parts.username or parts.password:
        raise ValueError("keys are read from the environment only: name the variable with api_key_env")
    return value.rstrip("/")


def read_targets(value: Any, declared: Mapping[str, Wire] | None = None) -> Any:
    """The targets in a flag, a variable or a file: a base_url or a model of LiteLLM's, several separated by
    commas, or a list of these and of tables.
    """
    if isinstance(value, str):
        value = [one.strip() for one in value.split(",") if one.strip()]
    if not isinstance(value, list | tuple):
        return value
    return [_short(one) if isinstance(one, str) else _resolved(one, declared or {}) for one in value]


def _resolved(target: Any, declared: Mapping[str, Wire]) -> Any:
    wire = declared.get(str(target.get("format"))) if isinstance(target, dict) else None
    return target if wire is None else Target.of(target, wire)


def _short(text: str) -> dict[str, str]:
    return {"base_url": text} if "://" in text else {"model": text}
