"""Finds at the start what stands behind each name that clients may ask for, from settings and servers."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from proxy.conversation.errors import StartError, UpstreamUnavailable
from proxy.conversation.model_card import ModelCard
from proxy.upstreams.remote.target import Target
from repair.formats import Wire

# Without this, LiteLLM would take a hosted provider's key from the environment and send it to any base_url.
NO_KEY = "none"
# Only our timeout counts: how a library reports its own depends on the provider.
_GRACE_S = 10.0
# Where servers tell the context length in their list: what a model is loaded with goes before what it could
# have. llama.cpp's n_ctx_train is only the latter.
_CONTEXT_KEYS = (
    ("max_model_len",),
    ("loaded_context_length",),
    ("meta", "n_ctx"),
    ("n_ctx",),
    ("top_provider", "context_length"),
    ("context_length",),
    ("context_window",),
    ("max_context_length",),
    ("max_input_tokens",),
    ("parameters", "max_seq_len"),
)


# How a server answers that has no list of models.
_NO_LIST = (404, 405, 501)
_NAME_IT = (
    "name the model that it serves: `fortieth serve NAME --upstream URL`, or `model` in its table of "
    "fortieth.toml"
)


@dataclass(frozen=True, slots=True)
class Deployment:
    """One model of one target, under the name that clients use. secret: "" where LiteLLM finds the key."""

    target: Target
    name: str
    model: str
    secret: str = field(repr=False)
    context_length: int = 0

    @property
    def router_id(self) -> str:
        """The Router's id of this deployment, which no other has; the ledger shows it."""
        at = f" at {self.target.base_url}" if self.target.base_url else ""
        key = f" with {self.target.api_key_env}" if self.target.api_key_env else ""
        return f"{self.name}{at} as {self.model}{key}"


@dataclass(frozen=True, slots=True)
class Group:
    """The deployments of one name.

    open_server: all of them are servers by base_url.
    replicas: where sessions are pinned, the Router's ids by base_url.
    """

    card: ModelCard
    format: str | Wire
    fallbacks: tuple[str, ...]
    size: int
    open_server: bool
    timeout_s: float
    replicas: Mapping[str, str] = field(default_factory=dict)


async def find_deployments(
    http: httpx.AsyncClient,
    target: Target,
    env: Mapping[str, str],
    default_key: str | None,
    default_model: str | None = None,
) -> list[Deployment]:
    """The deployments of one target. A server named by base_url alone is asked what it serves. Raises
    StartError.

    default_model: what is asked for at a server that lists nothing.
    """
    secret = _secret(target, env, default_key)
    if target.base_url is None:
        assert target.model is not None
        return [Deployment(target, target.name or target.model, target.model, secret)]
    listed: list[dict[str, Any]] = []
    urls = (target.base_url, *target.replicas)
    try:
        listed = await _first_list(http, urls, secret)
    except UpstreamUnavailable as error:
        if target.model is None and default_model is None:
            raise StartError(f"{error.message}; {_NAME_IT}") from error
    lengths = {str(one.get("id")): _context_length(one) for one in listed}
    models = [target.model] if target.model else list(lengths) or [default_model or ""]
    if models == [""]:
        raise StartError(f"upstream {target.base_url}: its list of models is empty; {_NAME_IT}")
    if target.name and len(models) > 1:
        raise StartError(
            f"upstream {target.base_url}: it serves {len(models)} models: name with `model` the one that "
            f"{target.name!r} stands for"
        )
    return [
        Deployment(
            target.model_copy(update={"base_url": url}),
            target.name or model,
            f"openai/{model}",
            secret,
            lengths.get(model, 0),
        )
        for model in models
        for url in urls
    ]


async def _first_list(http: httpx.AsyncClient, urls: Sequence[str], secret: str) -> list[dict[str, Any]]:
    """The list of the first server that answers. Raises the error of the last one."""
    for url in urls[:-1]:
        with contextlib.suppress(UpstreamUnavailable):
            return await list_models(http, url, secret)
    return await list_models(http, urls[-1], secret)


def _secret(target: Target, env: Mapping[str, str], default_key: str | None) -> str:
    if target.api_key_env is not None:
        secret = env.get(target.api_key_env, "")
        if not secret:
            shown = target.base_url or target.model
            raise StartError(f"upstream {shown}: the environment variable {target.api_key_env} holds no key")
        return secret
    return "" if target.base_url is None else default_key or NO_KEY


async def list_models(http: httpx.AsyncClient, base_url: str, secret: str) -> list[dict[str, Any]]:
    """What the server's /models lists. Raises UpstreamUnavailable."""
    response = await _ask_for_list(http, base_url, secret)
    try:
        response.raise_for_status()
        listed = _list_in(response)
    except httpx.HTTPStatusError as error:
        reason = f"it answered {error.response.status_code}"
    except (ValueError, KeyError, TypeError):
        reason = "its answer is not a list of models"
    else:
        return [one for one in listed if isinstance(one, dict) and isinstance(one.get("id"), str)]
    raise _cannot_list(base_url, reason)


async def check_server(http: httpx.AsyncClient, base_url: str, secret: str) -> None:
    """Returns where the server answers, whether it has a list of models or not. Raises
    UpstreamUnavailable.
    """
    response = await _ask_for_list(http, base_url, secret)
    if response.is_error and response.status_code not in _NO_LIST:
        raise _cannot_list(base_url, f"it answered {response.status_code}")


async def _ask_for_list(http: httpx.AsyncClient, base_url: str, secret: str) -> httpx.Response:
    try:
        return await http.get(f"{base_url}/models", headers={"authorization": f"Bearer {secret}"})
    except httpx.HTTPError as error:
        raise _cannot_list(base_url, str(error) or type(error).__name__) from error


def _cannot_list(base_url: str, reason: str) -> UpstreamUnavailable:
    return UpstreamUnavailable(f"upstream {base_url}: cannot list its models: {reason}", retry_after_s=1.0)


def _list_in(response: httpx.Response) -> list[Any]:
    """The list in the body, which some servers send without an object around it. No list is an empty one, and
    so is an empty body.
    """
    if not response.content.strip():
        return []
    said = response.json()
    listed = said if isinstance(said, list) else said["data"]
    return listed if isinstance(listed, list) else []


def _context_length(listed: Mapping[str, Any]) -> int:
    """In tokens; 0 where it is not told."""
    for path in _CONTEXT_KEYS:
        value: Any = listed
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 2**53:
            return int(value)
    return 0


def group_deployments(deployments: Sequence[Deployment]) -> dict[str, Group]:
    """The deployments by name, in the order of the settings. Raises StartError where targets of one name
    contradict each other.
    """
    groups: dict[str, Group] = {}
    for name in dict.fromkeys(one.name for one in deployments):
        members = [one for one in deployments if one.name == name]
        formats = {one.target.wire() for one in members}
        if len(formats) > 1:
            raise StartError(
                f"upstreams named {name!r} have several formats: {', '.join(sorted(map(str, formats)))}"
            )
        known = [one.context_length for one in members if one.context_length]
        fingerprint = "fp_" + hashlib.sha256(name.encode()).hexdigest()[:10]
        groups[name] = Group(
            card=ModelCard(name, int(time.time()), min(known, default=0), fingerprint),
            format=members[0].target.wire(),
            fallbacks=tuple(
                dict.fromkeys(to for one in members for to in one.target.fallbacks if to != name)
            ),
            size=len(members),
            open_server=all(one.target.base_url for one in members),
            timeout_s=max(one.target.timeout_s for one in members),
            replicas=_replicas(members),
        )
    for name, group in groups.items():
        unknown = [to for to in group.fallbacks if to not in groups]
        if unknown:
            raise StartError(f"upstream {name!r} falls back to {unknown[0]!r}, which is no upstream's name")
    return groups


def _replicas(members: Sequence[Deployment]) -> dict[str, str]:
    if not any(one.target.replicas for one in members):
        return {}
    return {one.target.base_url: one.router_id for one in members if one.target.base_url is not None}


def router_entry(deployment: Deployment, group: Group) -> dict[str, Any]:
    """The entry of a deployment in LiteLLM's model_list."""
    target = deployment.target
    params: dict[str, Any] = {
        "model": deployment.model,
        "timeout": target.timeout_s + _GRACE_S,
        "max_retries": 0,
        "weight": target.weight,
    }
    if target.base_url is not None:
        params["api_base"] = target.base_url
    else:
        params["drop_params"] = True  # parameters that a hosted model does not know are left out
    if deployment.secret:
        params["api_key"] = deployment.secret
    if group.size == 1 or group.replicas:
        # there is no other deployment to ask, and its own refusals say more; replicas are tracked by
        # ourselves
        params["cooldown_time"] = 0.0
    return {
        "model_name": deployment.name,
        "litellm_params": params,
        "model_info": {"id": deployment.router_id},
    }
