"""An agent loop with the anthropic SDK's tool runner, over the Messages API.

    python examples/anthropic_sdk.py [BASE_URL]

The address is the server's, without /v1. The runner executes the tool and sends its result back, until the
model answers in words.
"""

from __future__ import annotations

import json
import sys

from anthropic import Anthropic, beta_tool

BASE_URL = "http://127.0.0.1:8040"


@beta_tool
def get_weather(city: str) -> str:
    """Get the current weather in a city"""
    print("call: get_weather", city)
    return json.dumps({"city": city, "sky": "sunny", "celsius": 21})


def main(base_url: str = BASE_URL, question: str = "What is the weather in Lisbon?") -> str:
    """The agent's last words."""
    with Anthropic(base_url=base_url, api_key="none") as client:
        last = client.beta.messages.tool_runner(
            model="fortieth-tiny",
            max_tokens=200,
            messages=[{"role": "user", "content": question}],
            tools=[get_weather],
        ).until_done()
    print("tokens:", last.usage.input_tokens, "and from the cache", last.usage.cache_read_input_tokens)
    return "".join(block.text for block in last.content if block.type == "text")


if __name__ == "__main__":
    print(main(*sys.argv[1:]))
