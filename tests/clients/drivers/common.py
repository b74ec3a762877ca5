"""What all drivers share: jobs come as lines of JSON, and what came of each goes out as one.

It runs in the environment of its client, so this file needs the standard library alone.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, TextIO

# Told to clients that ask for it when they are connected.
CONTEXT_WINDOW = 200_000


class Hung(RuntimeError):
    """What was started has not ended in its time."""


@dataclass
class Job:
    """One run of a client. recorded: what the tool is to be executed with. steps: what it is to be executed
    with before that, and what it says then. client: the name for `fortieth connect`; code: the lines that it
    prints for a library. seconds: what it starts has to end in this time. executions: what the tool was
    executed with. context_window: of the model, for clients that ask for it when they are connected.
    """

    id: str
    base_url: str
    model: str
    prompt: str
    stream: bool
    token: str
    recorded: Any
    steps: list[list[Any]]
    client: str
    code: str
    seconds: float
    executions: list[Any] = field(default_factory=list)
    context_window: int = CONTEXT_WINDOW

    def execute(self, arguments: Any) -> str:
        """The tool itself: it writes down what it got and tells the token for the right arguments."""
        self.executions.append(arguments)
        if arguments == self.recorded:
            return f"CODE {self.token}"
        return next((str(said) for due, said in self.steps if arguments == due), "There is no such place.")

    def connected(self) -> Any:
        """What the lines of `fortieth connect` define, by its names."""
        names: dict[str, Any] = {}
        exec(self.code, names)
        return SimpleNamespace(**{name: value for name, value in names.items() if name != "__builtins__"})


SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "shelf": {"type": "string", "description": "Which shelf."},
        "row": {"type": "integer", "description": "Which row of it."},
        "kind": {"type": "string", "enum": ["book", "map"], "description": "What is looked for."},
    },
    "required": ["shelf", "row", "kind"],
}
NAME = "lookup_code"
DESCRIPTION = "Looks up the code of a place in the archive."


def drive(run: Callable[[Job], Any]) -> None:
    """Runs each job by `run`, which returns the client's last words. What it prints goes to stderr."""
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    print(json.dumps({"ready": True}), file=out)
    for line in sys.stdin:
        _one(run, Job(**json.loads(line)), out)


def _one(run: Callable[[Job], Any], job: Job, out: TextIO) -> None:
    answer, error, hung = "", "", False
    try:
        answer = str(run(job))
    except (Exception, SystemExit) as failure:
        error, hung = f"{type(failure).__name__}: {failure}", isinstance(failure, Hung)
    result = {"id": job.id, "answer": answer, "executions": job.executions, "error": error, "hung": hung}
    print(json.dumps(result, default=repr), file=out)
