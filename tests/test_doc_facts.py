"""Names in the documents against the code: routes, headers, verdicts, causes, metrics, commands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from engine.types import EngineStats
from proxy.codecs.base import Operation
from proxy.codecs.registry import CODECS
from proxy.conversation.cache_report import MissCause
from proxy.conversation.verdict import GiveUp, GuardMode, Verdict
from proxy.guard.drift import DEFAULT_RULE, DriftStore
from proxy.guard.drift_metrics import DriftCollector
from proxy.records.metrics import Metrics
from repair import ToolDefinition, ToolSet, Turn

ROOT = Path(__file__).parents[1]
OWN_HEADER = re.compile(r"x-fortieth-[a-z]+(?:-[a-z]+)*")
PLACE = re.compile(r"\{\w+(?::\w+)?\}|\bID\b")
ELSEWHERE = "not served here"  # what Ollama has for the models on its disk


def page(name: str) -> str:
    return (ROOT / "docs" / f"{name}.md").read_text("utf-8")


def first_column(text: str, heading: str) -> set[str]:
    """The names in backticks of the first column of the table below a heading's first `| ... |` line."""
    below = text[text.index(f"{heading}\n") :]
    table = re.search(r"^(?:\|.*\n)+", below, re.MULTILINE)
    assert table, heading
    rows = table.group().splitlines()[2:]
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row.split("|")[1])}


def test_causes() -> None:
    assert first_column(page("sessions"), "## Why a prompt missed") == {cause.value for cause in MissCause}
    assert first_column(page("cache"), "## Sessions, and why a turn missed") == {
        cause.value
        for cause in (
            MissCause.none,
            MissCause.cold,
            MissCause.edit,
            MissCause.evicted,
            MissCause.ram,
            MissCause.boundary,
            MissCause.late,
            MissCause.fingerprint,
        )
    }


@pytest.mark.parametrize("names", [Verdict, GiveUp, GuardMode], ids=lambda names: names.__name__)
def test_enumerations(names: type[Verdict] | type[GiveUp] | type[GuardMode]) -> None:
    text = page("guard") + page("api")
    assert [one.value for one in names if f"`{one.value}`" not in text] == []


def test_headers() -> None:
    source = "\n".join(path.read_text("utf-8") for path in (ROOT / "proxy").rglob("*.py"))
    told = "\n".join(path.read_text("utf-8") for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
    assert set(OWN_HEADER.findall(source)) == set(OWN_HEADER.findall(told))


def test_routes() -> None:
    text = PLACE.sub("{}", page("api") + page("sessions") + page("ledger"))
    paths = {
        (route.method, PLACE.sub("{}", route.path))
        for codec in CODECS
        for route in codec.routes
        if route.path.startswith(("/v1/", "/api/")) and not route.path.startswith("/v1/api/")
        if not (route.operation is Operation.kept and _is_absent(route.path))
    }
    assert len(paths) > 15
    missing = [f"{method} {path}" for method, path in sorted(paths) if f"{method} {path}`" not in text]
    assert missing == []


def _is_absent(path: str) -> bool:
    return any(name in path for name in ("embed", "create", "copy", "pull", "push", "delete", "blobs"))


def test_metrics() -> None:
    stats = EngineStats(state="ready", reason="", pid=1, restarts=0, running=0, waiting=0, tokens_generated=0)
    metrics = Metrics(lambda: stats)
    metrics.show(DriftCollector(DriftStore(DEFAULT_RULE)))
    rendered = metrics.render().decode()
    text = page("metrics")
    families = [family.name.removeprefix("fortieth_") for family in text_string_to_metric_families(rendered)]
    assert len(families) > 50
    missing = [
        name for name in families if name not in text and name.removeprefix("prefix_cache") not in text
    ]
    assert missing == []
    assert "_created" not in rendered
    named = set(re.findall(r"`([a-z_]+_(?:total|seconds|bytes))(?:\{[^`]*)?`", text))
    unknown = [name for name in named if name.removesuffix("_total").lstrip("_") not in " ".join(families)]
    assert unknown == []


def pairs(heading: str) -> list[tuple[str, ...]]:
    """The cells of the tables below a heading of repair.md; of those that are code, without backticks."""
    below = page("repair").split(f"{heading}\n", 1)[1]
    rows = re.findall(r"^\| (`.+`.*) \|$", below.split("\n## ")[0], re.MULTILINE)
    return [tuple(cell.strip("`") for cell in row.split(" | ")) for row in rows]


FORECAST = ToolSet.compile(
    [
        ToolDefinition(
            "get_forecast",
            "",
            {
                "type": "object",
                "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
                "required": ["city"],
            },
        )
    ]
)


@pytest.mark.parametrize("row", pairs("## Five calls, before and after"))
def test_a_call_before_and_after(row: tuple[str, ...]) -> None:
    """Rows whose second cell is an object are repaired into it; the others are refused by that rule."""
    turn = Turn(FORECAST)
    turn.feed(row[0])
    outcome = turn.close("stop")
    if row[1].startswith("{"):
        assert [call.arguments for call in outcome.calls] == [row[1]]
        assert {fix.kind.value for fix in outcome.fixes} == {row[2]}
    else:
        assert [problem.rule for problem in outcome.problems] == [row[1]]
        assert outcome.calls == ()


def test_there_are_five_calls_of_each_kind() -> None:
    found = pairs("## Five calls, before and after")
    assert [row[1].startswith("{") for row in found] == [True] * 5 + [False] * 5
