"""instructor: a response model, which it validates and whose errors it tells the model, in a loop by hand."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel

from tests.clients.drivers.common import DESCRIPTION, NAME, SCHEMA, Job, drive

TOOL: Any = {"type": "function", "function": {"name": NAME, "description": DESCRIPTION, "parameters": SCHEMA}}


class lookup_code(BaseModel):
    """Looks up the code of a place in the archive."""

    shelf: str
    row: int
    kind: Literal["book", "map"]


def run(job: Job) -> str:
    made = job.connected()
    messages: list[Any] = [{"role": "user", "content": job.prompt}]
    while True:
        asked: dict[str, Any] = {"model": made.model, "messages": messages}
        place = made.client.create(response_model=lookup_code, max_retries=5, **asked)
        said = job.execute(place.model_dump())
        messages.append({"role": "user", "content": f"{place.model_dump_json()}: {said}"})
        if said.startswith("CODE"):
            answer = made.client.client.chat.completions.create(tools=[TOOL], **asked)
            return answer.choices[0].message.content or ""


if __name__ == "__main__":
    drive(run)
