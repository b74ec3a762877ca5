"""An agent loop with the openai SDK: fortieth is a base_url, and nothing else changes.

    python examples/openai_sdk.py [BASE_URL]

The tool's arguments can be used as they come: fortieth has checked them against the schema. The last lines
show how to read what it did.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from openai import OpenAI

BASE_URL = "http://127.0.0.1:8040/v1"
TOOLS: Any = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Get the current weather in a city",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}},
                "required": ["city"],
            },
        },
    }
]


def get_weather(city: str) -> str:
    return json.dumps({"city": city, "sky": "sunny", "celsius": 21})


def main(base_url: str = BASE_URL, question: str = "What is the weather in Lisbon?") -> str:
    """The agent's last words."""
    client = OpenAI(base_url=base_url, api_key="none")
    messages: list[Any] = [{"role": "user", "content": question}]
    for _ in range(10):
        response = client.chat.completions.with_raw_response.create(
            model="fortieth-tiny", messages=messages, tools=TOOLS
        )
        print(
            "verdict:", response.headers["x-fortieth-verdict"], "fixes:", response.headers["x-fortieth-fixes"]
        )
        message = response.parse().choices[0].message
        messages.append(message)
        if not message.tool_calls:
            return message.content or ""
        for call in message.tool_calls:
            assert call.type == "function"
            print("call:", call.function.name, call.function.arguments)
            result = get_weather(**json.loads(call.function.arguments))
            messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
    return "the agent did not come to an end"


if __name__ == "__main__":
    print(main(*sys.argv[1:]))
