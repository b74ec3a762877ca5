"""The corpus of malformed and tricky output, and the ways to split a text."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings

# a loaded machine is no failure
RELAXED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

FOLDER = Path(__file__).parents[2] / "corpora" / "cases"
TOOLS: dict[str, Any] = {"none": [], **json.loads((FOLDER / "tools.json").read_text(encoding="utf-8"))}


def load_cases() -> Iterator[dict[str, Any]]:
    """Every case, its id prefixed by the name of its file."""
    for path in sorted(FOLDER.glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            case = json.loads(line)
            yield {**case, "id": f"{path.stem}:{case['id']}"}


CASES = list(load_cases())


def case_id(case: dict[str, Any]) -> str:
    return str(case["id"])


def request_of(case: dict[str, Any]) -> dict[str, Any]:
    """The case as a request to repair.jsonl."""
    keys = ("format", "channel", "tool_name", "tool_choice", "parallel_tool_calls", "finish_reason")
    request = {key: case[key] for key in (*keys, "generation_prompt", "preceding_calls") if key in case}
    return {**request, "raw_output": case["text"], "tools": TOOLS[case["tools"]]}


Split = Callable[[str], list[str]]


def whole(text: str) -> list[str]:
    return [text]


def by_char(text: str) -> list[str]:
    return list(text) or [""]


def in_halves(text: str) -> list[str]:
    return [text[: len(text) // 2], text[len(text) // 2 :]]


def seeded_random(text: str, seed: int = 0) -> list[str]:
    generator = random.Random(f"{seed}:{text}")
    cuts = sorted(generator.randrange(len(text) + 1) for _ in range(min(6, len(text))))
    return [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]


SPLITS: tuple[Split, ...] = (whole, by_char, in_halves, seeded_random)
