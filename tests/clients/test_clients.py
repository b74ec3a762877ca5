"""The harness of real clients, with the one client that is here anyway: the openai SDK."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import openai
import pytest

from proxy.cli.connections.table import CLIENTS
from repair.jsonl import read_tools
from repair.ladder import repair_call
from repair.types import Body, RawCall, Rejected
from tests.clients.__main__ import Arm, Plan, arms, left_out, must_not_be
from tests.clients.drivers.common import NAME, SCHEMA
from tests.clients.environments import ROOT, Environment, python_for
from tests.clients.faults import COMMANDS, LOOKUP, Fault, Task, shell
from tests.clients.report import as_json, everything, latest, read, summary, table, totals
from tests.clients.roster import ROSTER, Client
from tests.clients.runs import Case, Outcome, Run, runs
from tests.clients.upstream import FaultyUpstream, whole
from tests.clients.witness import OnWire
from tests.proxy.upstreams.wire import Reply, called, told, wire_serving

TELLS = next(client for client in ROSTER if client.name == "openai, errors told")
DIES = next(client for client in ROSTER if client.name == "openai")


@pytest.fixture(scope="module")
def upstream() -> Iterator[FaultyUpstream]:
    faulty = FaultyUpstream()
    with wire_serving(faulty):
        yield faulty


@pytest.fixture(scope="module")
def both(upstream: FaultyUpstream) -> Iterator[list[Arm]]:
    """The model server, and fortieth before it."""
    with arms(("bare", "text"), upstream) as found:
        yield found


def here(client: Client) -> Environment:
    """The client as it is installed for these tests."""
    python = Path(sys.executable)
    return Environment(client, python.parent, python, python.parent, openai.__version__)


def _tool(task: Task) -> str:
    return task.tool


def outcomes(found: list[Run]) -> list[tuple[Outcome, int, int]]:
    return [(run.outcome, run.executed, run.wrongly) for run in found]


def test_a_client_alone_and_behind_fortieth(upstream: FaultyUpstream, both: list[Arm]) -> None:
    """Alone it executes what breaks the schema; behind fortieth the model is asked again and nothing wrong is
    executed, streamed and not.
    """
    assert [arm.name for arm in both] == ["bare", "text"]
    cases = [Case(arm.name, arm.base_url, Fault.type, 1, stream) for arm in both for stream in (False, True)]
    done = list(runs(here(TELLS), cases, upstream))
    assert outcomes(done) == [(Outcome.finished, 2, 1)] * 2 + [(Outcome.finished, 1, 0)] * 2
    assert [run.asked for run in done] == [3] * 4


def test_a_session_of_several_turns(upstream: FaultyUpstream, both: list[Arm]) -> None:
    """Each turn has its own call; every third one comes wrong at first, and others need a repair."""
    (run,) = runs(here(TELLS), [Case("text", both[1].base_url, Fault.missing, 1, True, turns=7)], upstream)
    assert (run.outcome, run.executed, run.wrongly) == (Outcome.finished, 7, 0)
    assert run.asked == 7 + 2 + 1  # two of the calls a second time, and the answer


def test_every_end_of_a_loop_is_told_apart(upstream: FaultyUpstream) -> None:
    cases = [
        Case("bare", upstream.base_url, fault, 1, False) for fault in (None, Fault.broken, Fault.fence, None)
    ]
    finished, died, silent, again = runs(here(DIES), cases, upstream)
    assert (finished.outcome, died.outcome, silent.outcome) == (
        Outcome.finished,
        Outcome.died,
        Outcome.silent,
    )
    assert "JSONDecodeError" in died.words
    assert again.outcome is Outcome.finished
    (hung,) = runs(here(replace(DIES, seconds=0.0)), cases[:1], upstream)
    assert hung.outcome is Outcome.hung


@pytest.mark.parametrize("fault", [fault for fault in Fault if fault not in (Fault.fence, Fault.markup)])
@pytest.mark.parametrize("task", [LOOKUP, shell("bash", description="Looks it up"), COMMANDS], ids=_tool)
def test_no_repair_mends_the_wrong_calls(fault: Fault, task: Task) -> None:
    texts = {"type": "array", "items": {"type": "string"}}
    of = {str: {"type": "string"}, int: {"type": "integer"}, list: texts}
    properties = {name: of[type(value)] for name, value in task.good.items()}
    properties["timeout"] = {"type": "number"}
    made = {"type": "object", "properties": properties, "required": list(task.good)}
    tools = read_tools([{"name": task.tool, "parameters": SCHEMA if task.tool == NAME else made}])
    name, arguments = task.wrong(fault)
    assert isinstance(repair_call(RawCall(name, Body.arguments, arguments, closed=True), tools), Rejected)
    right = RawCall(task.tool, Body.arguments, json.dumps(task.good), closed=True)
    assert not isinstance(repair_call(right, tools), Rejected)


@pytest.mark.parametrize(
    ("reply", "text", "calls"),
    [(told("a", "b"), "ab", []), (called(("f", '{"x": 1}'), ("g", "{}"), text="t"), "t", ["f", "g"])],
)
def test_an_answer_is_the_same_without_a_stream(reply: Reply, text: str, calls: list[str]) -> None:
    (body,) = whole(reply).steps
    assert isinstance(body, bytes)
    message = json.loads(body)["choices"][0]["message"]
    made = message.get("tool_calls", [])
    assert (message["content"], [call["function"]["name"] for call in made]) == (text, calls)
    if made:
        assert made[0]["function"]["arguments"] == '{"x": 1}'


RUN = Run("c", "1", Case("text", "", Fault.cut, 3, True), Outcome.finished, 3, 2, 5, "words")


def test_a_log_gives_the_runs_back() -> None:
    plain = replace(RUN, case=replace(RUN.case, fault=None), outcome=Outcome.silent, wrongly=0)
    assert [read(as_json(run)) for run in (RUN, plain)] == [RUN, plain]
    later = replace(RUN, outcome=Outcome.died)
    assert latest([RUN, plain, later]) == [later, plain]
    assert "| c 1 | text | silent | finished !2 | 1/2 !2 |" in table([RUN, plain])
    assert "| text | 2 | 1 | 1 | 0 | 0 | 2 | 1: c |" in totals([RUN, plain])
    bare = replace(RUN, case=replace(RUN.case, arm="bare"), wrongly=0)
    assert "| c | 1 | 1/2 !2 | 1/1 |" in summary([RUN, plain, bare])


REAL = replace(
    RUN,
    case=Case("bundled", "", None, 0, True, model="tiny", context=8192),
    outcome=Outcome.silent,
    executed=0,
    wrongly=0,
    wire=OnWire(2600, 2, 1, 0, ()),
)


def test_runs_with_a_real_model_are_told_apart() -> None:
    assert read(as_json(REAL)) == REAL
    told = everything([RUN, REAL], 3)
    assert "| c | 1 | 2600 | 2 | 1 | 0 | 0 | 0 | silent |" in told
    assert "| text | 1 | 1 | 0 | 0 | 0 | 2 | 1: c |" in told
    assert "prompt" not in everything([RUN], 3)


def test_a_real_model_need_not_do_its_task_right() -> None:
    """But the run has to end, and the client must be sent valid calls and no error."""
    assert REAL.wire is not None
    wrong = [
        replace(REAL, outcome=Outcome.hung),
        replace(REAL, wrongly=1),
        replace(REAL, wire=replace(REAL.wire, invalid=1)),
        replace(REAL, wire=replace(REAL.wire, errors=("500: {}",))),
    ]
    assert must_not_be([REAL, replace(REAL, outcome=Outcome.died), *wrong]) == wrong


def test_a_real_model_is_driven_once(upstream: FaultyUpstream) -> None:
    """The client is watched on its way: what it is sent is judged, and its executions are traced to calls."""
    plan = Plan([Arm("bundled", upstream.base_url, "tiny", 8192)], [None, Fault.cut], 3, 0.0, None, turns=5)
    (case,) = plan.cases(TELLS)
    assert (case.fault, case.turns, case.stream, case.model) == (None, 1, True, "tiny")
    (run,) = runs(here(TELLS), [case], upstream)
    assert (run.executed, run.wrongly, run.wire) == (1, 0, OnWire(0, 2, 1, 0, ()))
    wrong = replace(case, fault=Fault.type, times=1)
    (run,) = runs(here(TELLS), [wrong], upstream)
    assert (run.executed, run.wrongly, run.wire) == (2, 1, OnWire(0, 3, 2, 1, ()))


def test_what_must_not_be_is_found() -> None:
    """A wrong call executed where none is handed over, and a loop without a fault that does not finish."""
    bare = replace(RUN, case=replace(RUN.case, arm="bare"))
    handed = replace(RUN, case=replace(RUN.case, arm="client"))
    stuck = replace(RUN, case=replace(RUN.case, fault=None), outcome=Outcome.hung, wrongly=0)
    assert must_not_be([bare, handed, replace(RUN, wrongly=0, outcome=Outcome.silent)]) == []
    none = replace(bare, mendable=True)
    assert must_not_be([RUN, stuck, none]) == [RUN, stuck, none]


def test_a_client_of_another_api_is_not_run_alone() -> None:
    plan = Plan([Arm("bare", "a"), Arm("text", "b")], [None, Fault.cut], 3, 0.0, None)
    assert [case.arm for case in plan.cases(replace(TELLS, streams=(True,)))] == [
        "bare",
        "bare",
        "text",
        "text",
    ]
    other = replace(TELLS, streams=(True,), bare=False)
    assert [case.arm for case in plan.cases(other)] == ["text", "text"]


def test_what_was_left_out_is_told() -> None:
    plan = Plan([Arm("text", "")], [None, Fault.cut], 3, 0.0, None)
    one = here(replace(TELLS, streams=(True,)))
    run = replace(RUN, client=TELLS.name)
    assert left_out([one], plan, []) == [f"{TELLS.name}: 2 of 2 runs"]
    assert left_out([one], plan, [run]) == [f"{TELLS.name}: 1 of 2 runs"]
    assert left_out([one], plan, [run, run]) == []


def test_each_client_is_in_the_docs() -> None:
    text = (ROOT / "docs/clients.md").read_text()
    rows = [f"\n| {client.name} | {CLIENTS[client.connected_as].version} |" for client in ROSTER]
    assert [row for row in rows if row not in text] == []
    assert all((ROOT / "tests/clients/drivers" / file).is_file() for file in map(_file, ROSTER))


def test_a_newer_python_is_looked_for_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name of the PATH alone is not enough: it has to run."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert python_for((3, 11)) == sys.executable
    for minor, exit_code in ((90, 1), (91, 0)):
        program = tmp_path / f"python3.{minor}"
        program.write_text(f"#!/bin/sh\nexit {exit_code}\n")
        program.chmod(0o755)
    assert python_for((3, 90)) == str(tmp_path / "python3.91")
    with pytest.raises(RuntimeError, match=r"wants Python 3\.92 or newer"):
        python_for((3, 92))


def test_each_client_that_can_be_connected_is_driven() -> None:
    assert {client.connected_as for client in ROSTER} == set(CLIENTS)


def _file(client: Client) -> str:
    return client.driver if client.driver.endswith(".mjs") else f"{client.driver}.py"
