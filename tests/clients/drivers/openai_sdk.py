"""openai: the loop of the SDK's own documentation, json.loads and then the function, which validates nothing.

With `tells` as its argument it does what most users add: an error of a call is told to the model.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from tests.clients.drivers.common import DESCRIPTION, NAME, SCHEMA, Job, drive

TOOL: Any = {"type": "function", "function": {"name": NAME, "description": DESCRIPTION, "parameters": SCHEMA}}
TELLS = sys.argv[1:] == ["tells"]


def run(job: Job) -> str:
    client = job.connected().client
    messages: list[Any] = [{"role": "user", "content": job.prompt}]

    def lookup_code(shelf: str, row: int, kind: str) -> str:
        return job.execute({"shelf": shelf, "row": row, "kind": kind})

    while True:
        message = ask(client, job, messages)
        if not message.tool_calls:
            return message.content or ""
        messages.append(message.model_dump(exclude_none=True, include={"role", "content", "tool_calls"}))
        for call in message.tool_calls:
            try:
                tool = {NAME: lookup_code}[call.function.name]
                result = tool(**json.loads(call.function.arguments))
            except (KeyError, ValueError, TypeError) as error:
                if not TELLS:
                    raise
                result = f"Error: {type(error).__name__}: {error}"
            messages.append({"role": "tool", "tool_call_id": call.id, "content": result})


def ask(client: Any, job: Job, messages: list[Any]) -> Any:
    if not job.stream:
        answer = client.chat.completions.create(model=job.model, messages=messages, tools=[TOOL])
        return answer.choices[0].message
    with client.chat.completions.stream(model=job.model, messages=messages, tools=[TOOL]) as stream:
        return stream.get_final_completion().choices[0].message


if __name__ == "__main__":
    drive(run)
