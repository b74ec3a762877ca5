"""LangChain: `create_agent` over ChatOpenAI."""

from __future__ import annotations

from typing import Literal

from langchain.agents import create_agent
from langchain_core.tools import StructuredTool

from tests.clients.drivers.common import DESCRIPTION, Job, drive


def run(job: Job) -> str:
    def lookup_code(shelf: str, row: int, kind: Literal["book", "map"]) -> str:
        return job.execute({"shelf": shelf, "row": row, "kind": kind})

    model = job.connected().model
    model.streaming = job.stream
    tool = StructuredTool.from_function(lookup_code, description=DESCRIPTION)
    state = create_agent(model, [tool]).invoke({"messages": [{"role": "user", "content": job.prompt}]})
    return str(state["messages"][-1].text)


if __name__ == "__main__":
    drive(run)
