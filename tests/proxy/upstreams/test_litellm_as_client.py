"""fortieth behind LiteLLM: its Router is a client like any other."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.upstreams.litellm import load_litellm
from tests.proxy.requests import TOOLS
from tests.proxy.upstreams.stage import Hosted
from tests.proxy.upstreams.wire import called, refused, told


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_a_litellm_router_as_client(chain: Hosted, stream: bool) -> None:
    """fortieth as a deployment of somebody else's LiteLLM: text, a repaired call, an error that means it."""
    litellm = load_litellm()
    params = {"model": "openai/wire", "api_base": chain.server.base_url, "api_key": "x", "max_retries": 0}
    router = litellm.Router([{"model_name": "m", "litellm_params": params}], num_retries=0)
    ask: Any = router.acompletion
    for key, reply in {
        "router text": told("It ", "rains."),
        "router call": called(("get_weather", '{"city": "Lisbon",}')),
        "router refusal": refused(429, "slow down", headers={"retry-after": "9"}),
    }.items():
        chain.wire.plan(key, reply)
        asking = ask("m", [{"role": "user", "content": key}], tools=TOOLS, stream=stream)
        if key == "router refusal":
            with pytest.raises(litellm.RateLimitError) as caught:
                await asking
            assert caught.value.litellm_response_headers["retry-after"] == "9"
            continue
        got = await asking
        whole = litellm.stream_chunk_builder([part async for part in got]) if stream else got
        message = whole.choices[0].message
        if key == "router text":
            assert message.content == "It rains."
        else:
            assert message.tool_calls[0].function.arguments == '{"city": "Lisbon"}'
            assert whole.choices[0].finish_reason == "tool_calls"
