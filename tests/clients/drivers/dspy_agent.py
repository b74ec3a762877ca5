"""dspy: a module whose output is calls, told to the model as tools, in the loop of its documentation."""

from __future__ import annotations

from typing import Any, Literal

import dspy

from tests.clients.drivers.common import DESCRIPTION, Job, drive

MOST_CALLS = 30


class Step(dspy.Signature):
    """Looks things up until the question can be answered."""

    question: str = dspy.InputField()
    known: list[str] = dspy.InputField()
    tools: list[dspy.Tool] = dspy.InputField()
    answer: str = dspy.OutputField()
    calls: dspy.ToolCalls = dspy.OutputField()


def run(job: Job) -> str:
    def lookup_code(shelf: str, row: int, kind: Literal["book", "map"]) -> str:
        return job.execute({"shelf": shelf, "row": row, "kind": kind})

    tool = dspy.Tool(lookup_code, desc=DESCRIPTION)
    known: list[str] = []
    adapter = dspy.ChatAdapter(use_native_function_calling=True)
    with dspy.context(lm=job.connected().model, adapter=adapter):
        step = dspy.Predict(Step)
        for _ in range(MOST_CALLS):
            result: Any = step(question=job.prompt, known=known, tools=[tool])
            if not result.calls or not result.calls.tool_calls:
                return str(result.answer)
            for call in result.calls.tool_calls:
                try:
                    known.append(str(call.execute([tool])))
                except (TypeError, ValueError) as error:
                    known.append(f"Error: {error}")
    return ""


if __name__ == "__main__":
    drive(run)
