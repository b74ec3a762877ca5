"""What the commands ask of a running server: which models it serves, and its lists."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import urlsplit

from proxy.cli.connections.base import ServerAddress

DEFAULT_MODEL = "default"  # a server of ours takes this name for its first model
_TIMEOUT_S = 5.0
_CONTEXT_FIELDS = ("max_model_len", "context_length", "max_input_tokens")


class BadAddress(Exception):
    """The base URL is none; the message is for the user."""


def read_origin(base_url: str) -> str:
    """`http://HOST:PORT` and any path before /v1. Raises BadAddress."""
    bare = base_url.strip().rstrip("/").removesuffix("/v1").rstrip("/")
    try:
        parts = urlsplit(bare)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        sound = False
    if not sound or parts.query or parts.fragment:
        raise BadAddress(f"the base URL must be like http://127.0.0.1:8040, got {base_url!r:.80}")
    return bare


def find_server(origin: str, model: str, key: str) -> tuple[ServerAddress, str]:
    """model: "" for the first that the server lists. With what the user is to know of it; "" for nothing."""
    try:
        listed = _listed(origin, key)
    except urllib.error.HTTPError as error:
        hint = ": give its API key with --key" if error.code in (401, 403) else ""
        why = f"the server at {origin} refuses to list its models ({error.code}){hint}"
        return _unasked(origin, model, key), why
    except (OSError, ValueError, http.client.HTTPException):
        return _unasked(origin, model, key), f"no server answers at {origin}"
    found = next((one for one in listed if not model or one["id"] == model), None)
    if found is None:
        served = ", ".join(one["id"] for one in listed) or "none"
        why = f"the server at {origin} does not list {model!r}; it has {served}"
        return _unasked(origin, model, key), why
    address = ServerAddress(origin, found["id"], key)
    sizes = (found.get(name) for name in _CONTEXT_FIELDS)
    size = next((one for one in sizes if isinstance(one, int) and one > 0), address.context_window)
    return ServerAddress(origin, found["id"], key, size), ""


def _unasked(origin: str, model: str, key: str) -> ServerAddress:
    return ServerAddress(origin, model or DEFAULT_MODEL, key)


def fetch(origin: str, path: str, key: str) -> Any:
    """What the server answers, as JSON. Raises OSError, ValueError or HTTPException."""
    request = urllib.request.Request(f"{origin}{path}", headers={"authorization": f"Bearer {key}"})
    # the address is meant as it stands: a proxy of the environment would not know a server on this machine
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(request, timeout=_TIMEOUT_S) as response:
        return json.loads(response.read())


def _listed(origin: str, key: str) -> list[dict[str, Any]]:
    """The entries that have an id. Raises OSError, ValueError or HTTPException."""
    body = fetch(origin, "/v1/models", key)
    data = body.get("data") if isinstance(body, dict) else None
    if not isinstance(data, list):
        raise ValueError("no list of models")
    return [one for one in data if isinstance(one, dict) and isinstance(one.get("id"), str)]
