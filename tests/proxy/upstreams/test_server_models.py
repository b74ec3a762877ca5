"""What stands behind a server's address: the models that it lists, or the one that was named."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from proxy.codecs.registry import CODECS
from proxy.conversation.errors import StartError, UpstreamUnavailable
from proxy.http.server import start_upstream
from proxy.http.settings import Settings
from proxy.upstreams.remote.deployments import check_server, find_deployments
from proxy.upstreams.remote.target import Target
from tests.proxy.live import LoopThread
from tests.proxy.upstreams.wire import WireUpstream, told, wire_serving

URL = "http://server/v1"


def answering(status: int, content: bytes) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.MockTransport(lambda _: httpx.Response(status, content=content)))


async def found(status: int, content: bytes, name: str | None = None) -> list[tuple[str, str, int]]:
    async with answering(status, content) as http:
        some = await find_deployments(http, Target(base_url=URL), {}, None, name)
    return [(one.name, one.model, one.context_length) for one in some]


# mlx_lm.server's list on a machine without models, an empty body, no route, a page, another form
NOTHING: dict[str, tuple[int, bytes]] = {
    "an empty list": (200, b'{"object": "list", "data": []}'),
    "no list": (200, b'{"object": "list", "data": null}'),
    "an empty body": (200, b""),
    "no such route": (404, b'{"detail": "Not Found"}'),
    "a page": (200, b"<html></html>"),
    "entries without an id": (200, b'{"data": [{"name": "x"}, 7]}'),
}


@pytest.mark.parametrize("name", NOTHING)
async def test_a_name_stands_where_nothing_is_listed(name: str) -> None:
    status, content = NOTHING[name]
    assert await found(status, content, "my/model") == [("my/model", "openai/my/model", 0)]
    with pytest.raises(StartError, match="fortieth serve NAME --upstream URL"):
        await found(status, content)


@pytest.mark.parametrize("content", [b'{"data": [{"id": "a"}, {"id": "b"}]}', b'[{"id": "a"}, {"id": "b"}]'])
async def test_what_is_listed_is_served(content: bytes) -> None:
    assert [one[0] for one in await found(200, content, "my/model")] == ["a", "b"]


LENGTHS: dict[str, tuple[dict[str, Any], int]] = {
    "vllm": ({"max_model_len": 4096}, 4096),
    "openrouter": ({"context_length": 9000, "top_provider": {"context_length": 8000}}, 8000),
    "together": ({"context_length": 8192}, 8192),
    "groq": ({"context_window": 131072}, 131072),
    "mistral": ({"max_context_length": 32768}, 32768),
    "lm studio": ({"max_context_length": 131072, "loaded_context_length": 4096}, 4096),
    "llama.cpp": ({"meta": {"n_ctx_train": 131072, "n_ctx": 4096}}, 4096),
    "llama.cpp, older": ({"meta": {"n_ctx_train": 131072}}, 0),
    "tabby": ({"parameters": {"max_seq_len": 16384}}, 16384),
    "in fractions": ({"max_model_len": 4096.0}, 4096),
    "nothing": ({}, 0),
    "nulls": ({"max_model_len": None, "meta": None}, 0),
    "nonsense": ({"max_model_len": "many", "context_length": -1, "context_window": True}, 0),
}


@pytest.mark.parametrize("name", LENGTHS)
async def test_a_context_length_is_found_where_servers_tell_it(name: str) -> None:
    fields, expected = LENGTHS[name]
    content = httpx.Response(200, json={"data": [{"id": "a", **fields}]}).content
    assert await found(200, content) == [("a", "openai/a", expected)]


@pytest.mark.parametrize(
    ("status", "there"), [(200, True), (404, True), (405, True), (401, False), (503, False)]
)
async def test_a_server_without_a_list_is_there(status: int, there: bool) -> None:
    async with answering(status, b"") as http:
        if there:
            await check_server(http, URL, "k")
        else:
            with pytest.raises(UpstreamUnavailable, match=f"it answered {status}"):
                await check_server(http, URL, "k")


def test_the_name_of_the_command_is_served_without_a_length(thread: LoopThread) -> None:
    """What mlx_lm.server answers where it has no hub cache; no dialect tells of a context of 0 tokens."""
    with wire_serving(WireUpstream(told("x"), [])) as wire:
        settings = Settings.model_validate({"model": "my/model", "upstream": [wire.base_url]})
        upstream = thread.run(start_upstream(settings))
        try:
            (card,) = upstream.models
            assert (card.id, card.context_length) == ("my/model", 0)
            for codec in CODECS:
                listed = codec.encode_models(upstream.models).decode()
                assert "my/model" in listed
                assert not any(f'{name}":0' in listed for name in ("len", "length", "tokens"))
        finally:
            thread.run(upstream.close())
