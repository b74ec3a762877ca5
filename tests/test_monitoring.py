"""Queries, alerts and the dashboard of docs/ against /metrics: each name, label and value."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from engine.types import EngineStats
from proxy.conversation.cache_report import CacheReport, MissCause
from proxy.conversation.verdict import GuardMode, Verdict
from proxy.guard.drift import DEFAULT_RULE, DriftStore, SessionKey
from proxy.guard.drift_metrics import DriftCollector
from proxy.records.metrics import Metrics
from proxy.records.request_record import Ending, RequestRecord
from proxy.upstreams.scripted import Script, ScriptedUpstream
from tests.proxy.live import Playbook, serving
from tests.proxy.requests import HOPELESS_CALL, SLOPPY_CALL, TOOLS, body

ROOT = Path(__file__).parents[1]
FILES = ROOT / "docs/guides/monitoring"
PAGES = ("docs/what-happened.md", "docs/guides/monitoring.md")
VALUES = {"verdict": Verdict, "mode": GuardMode, "cause": MissCause, "ending": Ending}
OF_PROMETHEUS = {"up": {"job", "instance"}}
OF_A_TARGET = {"instance", "job"}
_METRIC = re.compile(r"\b(fortieth_\w+|up)\b(?:\{([^}]*)\})?")
_LABEL = re.compile(r'(\w+)\s*(?:=~|!~|!=|=)\s*"([^"]*)"')
_BY = re.compile(r"\bby \(([^)]*)\)")


class Kept:
    """A Sink that keeps the records."""

    def __init__(self) -> None:
        self.records: list[RequestRecord] = []

    def record(self, account: RequestRecord) -> None:
        self.records.append(account)


@pytest.fixture(scope="module")
def shown() -> dict[str, set[str]]:
    """Each sample of /metrics with its labels, of a server to which everything has happened once."""
    kept = Kept()
    playbook = Playbook(Script(("Hello",)))
    playbook.scripts |= {"sloppy": Script((SLOPPY_CALL,)), "hopeless": Script((HOPELESS_CALL,))}
    with serving(ScriptedUpstream(playbook), mode=GuardMode.full, sinks=[kept]) as server:
        for text in ("sloppy", "hopeless"):
            assert server.post(body(text, tools=TOOLS)).status_code == 200
    stats = EngineStats(state="ready", reason="", pid=1, restarts=0, running=0, waiting=0, tokens_generated=0)
    metrics = Metrics(lambda: stats)
    drift = DriftStore(DEFAULT_RULE)
    drift.note(SessionKey("m", "s"), 1, True)
    metrics.show(DriftCollector(drift))
    metrics.answered(200)
    for record in kept.records:
        metrics.record(replace(record, cache=CacheReport(1, 2)))
    for histogram in (metrics.timings.first, metrics.timings.gap):
        histogram.labels("m").observe(0.1)
    families = text_string_to_metric_families(metrics.render().decode())
    samples = [sample for family in families for sample in family.samples]
    return OF_PROMETHEUS | {one.name: set(one.labels) for one in samples}


def queries() -> Iterator[tuple[str, str]]:
    """Every expression, with where it stands."""
    for page in PAGES:
        text = (ROOT / page).read_text("utf-8")
        for query in re.findall(r"^```promql\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            yield page, query
    for rule in alerts():
        yield rule["alert"], rule["expr"]
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]


def alerts() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load((FILES / "alerts.yml").read_text("utf-8"))["groups"]
    rules: list[dict[str, Any]] = group["rules"]
    return rules


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FILES / "dashboard.json").read_text("utf-8"))
    return found


def faults(query: str, shown: dict[str, set[str]]) -> Iterator[str]:
    """The names, labels and values of a query that no server shows."""
    labels: set[str] = set(OF_A_TARGET)
    for name, selected in _METRIC.findall(query):
        if name not in shown:
            yield f"no metric {name}"
            continue
        labels |= shown[name]
        for label, values in _LABEL.findall(selected):
            if label not in shown[name] | OF_A_TARGET:
                yield f"{name} has no label {label}"
            elif label in VALUES:
                yield from (
                    f"{label} is never {one}" for one in values.split("|") if one not in list(VALUES[label])
                )
    for group in _BY.findall(query):
        yield from (
            f"nothing has the label {one.strip()}" for one in group.split(",") if one.strip() not in labels
        )


@pytest.mark.parametrize(("place", "query"), [pytest.param(*one, id=one[0]) for one in queries()])
def test_a_query_asks_for_what_is_there(place: str, query: str, shown: dict[str, set[str]]) -> None:
    assert list(faults(query, shown)) == []
    assert query.count("(") == query.count(")")
    assert _METRIC.search(query)


def test_a_wrong_query_is_found(shown: dict[str, set[str]]) -> None:
    assert list(faults("sum by (tier) (fortieth_verdicts_total)", shown)) == ["nothing has the label tier"]
    assert list(faults('fortieth_verdicts_total{verdict="fixed"}', shown)) == ["verdict is never fixed"]
    assert list(faults('fortieth_engine_up{model_name="m"}', shown)) == [
        "fortieth_engine_up has no label model_name"
    ]
    assert list(faults("rate(fortieth_verdict_total[1h])", shown)) == ["no metric fortieth_verdict_total"]


def test_the_page_has_the_files_and_the_alerts() -> None:
    page = (ROOT / "docs/guides/monitoring.md").read_text("utf-8")
    assert f"```yaml\n{(FILES / 'prometheus.yml').read_text('utf-8')}```" in page
    config = yaml.safe_load((FILES / "prometheus.yml").read_text("utf-8"))
    assert config["rule_files"] == ["alerts.yml"]
    (job,) = config["scrape_configs"]
    assert f'job="{job["job_name"]}"' in next(
        rule["expr"] for rule in alerts() if rule["alert"] == "FortiethDown"
    )
    listed = re.findall(r"^\| `(Fortieth\w+)` \|", page, re.MULTILINE)
    assert listed == [rule["alert"] for rule in alerts()]
    for path in FILES.iterdir():
        assert f"(monitoring/{path.name})" in page


def test_every_panel_of_the_dashboard_has_a_place_and_says_what_it_shows() -> None:
    found = dashboard()
    panels = [panel for panel in found["panels"] if panel["type"] != "row"]
    assert len({panel["id"] for panel in found["panels"]}) == len(found["panels"])
    assert all(panel["description"] and panel["targets"] for panel in panels)
    taken: set[tuple[int, int]] = set()
    for panel in found["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells
    names = {variable["name"] for variable in found["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(panels))) - {"__rate_interval", "__range"}
    assert used == names
