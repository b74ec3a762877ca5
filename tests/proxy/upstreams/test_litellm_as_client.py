"""fortieth behind LiteLLM: its Router is a client like any other."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from proxy.upstreams.remote.litellm import load_litellm
from tests.proxy.requests import TOOLS
from tests.proxy.upstreams.stage import Hosted
from tests.proxy.upstreams.wire import called, refused, told


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_a_litellm_router_as_client(chain: Hosted, stream: bool) -> None:
    """fortieth as a deployment of somebody else's LiteLLM: text, a repaired call, an error that means it."""
    litellm = load_litellm()
    params = {"model": "openai/wire", "api_base": chain.server.base_url, "api_key": "x", "max_retries": 0}
    router = litellm.Router([{"model_name": "m", "litellm_params": params}], num_retries=0)
    replies = {
        "router text": told("It ", "rains."),
        "router call": called(("get_weather", '{"city": "Lisbon",}')),
        "router refusal": refused(429, "slow down", headers={"retry-after": "9"}),
    }
    # a client of its own, so that it can be closed
    async with openai.AsyncOpenAI(base_url=chain.server.base_url, api_key="x", max_retries=0) as client:

        async def ask(key: str) -> Any:
            chain.wire.plan(key, replies[key])
            messages = [{"role": "user", "content": key}]
            got = await router.acompletion("m", messages, tools=TOOLS, stream=stream, client=client)
            return litellm.stream_chunk_builder([part async for part in got]) if stream else got

        assert (await ask("router text")).choices[0].message.content == "It rains."
        choice = (await ask("router call")).choices[0]
        assert choice.message.tool_calls[0].function.arguments == '{"city": "Lisbon"}'
        assert choice.finish_reason == "tool_calls"
        with pytest.raises(litellm.RateLimitError) as caught:
            await ask("router refusal")
        assert caught.value.litellm_response_headers["retry-after"] == "9"
