"""One upstream as the settings name it. Nothing here loads LiteLLM."""

from __future__ import annotations

from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from repair.formats import formats_for


class Target(BaseModel):
    """An OpenAI-compatible server (`base_url`, and `model` if it serves several) or a model of LiteLLM's.

    name: what clients ask for; None is the model's own name. Targets of one name share its load. api_key_env:
    the environment variable that holds the key. format: the wire format of calls that leak into the text.
    weight: the share of the load. timeout_s: the longest silence. fallbacks: names to ask, in order, where
    this one fails before it has said anything. replicas: further base_urls that serve the same models, among
    which sessions are pinned.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    base_url: str | None = None
    model: Annotated[str | None, Field(min_length=1)] = None
    name: Annotated[str | None, Field(min_length=1)] = None
    api_key_env: Annotated[str | None, Field(min_length=1)] = None
    format: str = "auto"
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
        raise ValueError("a base_url looks like http://host:port/v1")
    if parts.username or parts.password:
        raise ValueError("keys belong into the environment: see api_key_env")
    return value.rstrip("/")


def read_targets(value: Any) -> Any:
    """What a flag, a variable or a file may hold: a base_url or a model of LiteLLM's, several with commas
    between, or a list of such and of tables.
    """
    if isinstance(value, str):
        value = [one.strip() for one in value.split(",") if one.strip()]
    if not isinstance(value, list | tuple):
        return value
    return [_short(one) if isinstance(one, str) else one for one in value]


def _short(text: str) -> dict[str, str]:
    return {"base_url": text} if "://" in text else {"model": text}
