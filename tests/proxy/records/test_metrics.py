"""/metrics of a real server tells what happened, under names that dashboards know."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from engine.types import EngineStats
from proxy.records.metrics import Metrics
from proxy.upstreams.scripted import Script, ScriptedUpstream, Stall
from tests.proxy.live import LiveServer, Playbook, serving
from tests.proxy.requests import CALL, HOPELESS_CALL, SLOPPY_CALL, TOOLS, body

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]
MODEL = ("model_name", "scripted")


def parse(text: str) -> Samples:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.fixture
def server() -> Iterator[LiveServer]:
    playbook = Playbook(Script(("Hello", " there.")))
    playbook.scripts |= {
        "clean": Script((CALL,)),
        "sloppy": Script((SLOPPY_CALL,)),
        "hopeless": Script((HOPELESS_CALL,)),
        "slow": Script(("a", Stall(0.05), "b")),
    }
    with serving(ScriptedUpstream(playbook)) as server:
        yield server


def scrape(server: LiveServer) -> Samples:
    response = httpx.get(server.root + "/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    return parse(response.text)


def test_what_happened_is_counted(server: LiveServer) -> None:
    for text in ("clean", "sloppy", "hopeless", "slow", "slow"):
        assert server.post(body(text, tools=TOOLS, stream=text == "clean")).status_code == 200
    assert server.post(body("x", n=99)).status_code == 400
    found = scrape(server)
    expected = {
        ("fortieth_requests_total", (("ending", "finished"), MODEL)): 5,
        ("fortieth_request_success_total", (("finished_reason", "tool_calls"), MODEL)): 2,
        ("fortieth_request_success_total", (("finished_reason", "stop"), MODEL)): 3,
        ("fortieth_verdicts_total", (MODEL, ("verdict", "clean"))): 1,
        ("fortieth_verdicts_total", (MODEL, ("verdict", "repaired"))): 1,
        ("fortieth_verdicts_total", (MODEL, ("verdict", "failed"))): 1,
        ("fortieth_verdicts_total", (MODEL, ("verdict", "none"))): 2,
        ("fortieth_tool_calls_total", (MODEL,)): 2,
        ("fortieth_prompt_tokens_total", (MODEL,)): 5 * 7,
        ("fortieth_generation_tokens_total", (MODEL,)): 7,
        ("fortieth_attempts_total", (MODEL,)): 5,
        ("fortieth_time_to_first_token_seconds_count", (MODEL,)): 5,
        ("fortieth_inter_token_latency_seconds_count", (MODEL,)): 2,
        ("fortieth_e2e_request_latency_seconds_count", (MODEL,)): 5,
        ("fortieth_requests_in_flight", ()): 0,
        ("fortieth_http_requests_total", (("status", "200"),)): 5,
        ("fortieth_http_requests_total", (("status", "400"),)): 1,
    }
    assert {key: found.get(key) for key in expected} == expected
    fixes = {dict(labels)["kind"]: n for (name, labels), n in found.items() if name == "fortieth_fixes_total"}
    assert sum(fixes.values()) == 1
    assert found[("fortieth_inter_token_latency_seconds_sum", (MODEL,))] >= 2 * 0.05


def test_no_label_comes_from_outside(server: LiveServer) -> None:
    before = {name for name, _ in scrape(server)}
    for i in range(5):
        server.post({**body(), "model": f"made-up-{i}"})
        server.post(body(user=f"user-{i}"), {"x-request-id": f"id-{i}"})
        httpx.get(f"{server.root}/nowhere/{i}")
    text = httpx.get(server.root + "/metrics").text
    assert not any(word in text for word in ("made-up", "user-", "id-", "nowhere"))
    assert before <= {name for name, _ in parse(text)}


def test_a_scraper_needs_no_key() -> None:
    with serving(ScriptedUpstream(Playbook(Script(("x",)))), api_key="k") as server:
        assert server.post(body()).status_code == 401
        assert scrape(server)[("fortieth_http_requests_total", (("status", "401"),))] == 1


def test_two_servers_count_for_themselves() -> None:
    first, second = Metrics(), Metrics()
    first.answered(200)
    assert b'fortieth_http_requests_total{status="200"} 1.0' in first.render()
    assert b'status="200"' not in second.render()


def test_the_engine_is_asked_at_each_scrape() -> None:
    now = EngineStats(
        state="ready", reason="", pid=1, restarts=2, running=3, waiting=4, tokens_generated=40,
        batch_sizes=(5, 0, 7, 0, 0, 0, 0, 1), cache_bytes=1024, faults=6, prefilled_tokens=99,
    )  # fmt: skip
    found = parse(Metrics(lambda: now).render().decode())
    assert found[("fortieth_engine_up", ())] == 1
    assert found[("fortieth_num_requests_running", ())] == 3
    assert found[("fortieth_num_requests_waiting", ())] == 4
    assert found[("fortieth_engine_restarts_total", ())] == 2
    assert found[("fortieth_engine_step_faults_total", ())] == 6
    assert found[("fortieth_prefill_tokens_total", ())] == 99
    assert found[("fortieth_kv_cache_bytes", ())] == 1024
    steps = {
        dict(labels)["le"]: count
        for (name, labels), count in found.items()
        if name == "fortieth_decode_batch_size_bucket"
    }
    assert steps == {
        "1.0": 5, "2.0": 5, "4.0": 12, "8.0": 12, "16.0": 12, "32.0": 12, "64.0": 12, "+Inf": 13
    }  # fmt: skip
    assert found[("fortieth_decode_batch_size_count", ())] == 13
