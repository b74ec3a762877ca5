"""Tables of runs: which clients finish, by fault and by arm.

`python -m tests.clients.report LOG...` prints them from logs.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from tests.clients.faults import Fault
from tests.clients.runs import Case, Outcome, Run
from tests.clients.witness import OnWire


def as_json(run: Run) -> str:
    return json.dumps(asdict(run), ensure_ascii=False)


def line(run: Run) -> str:
    """For who watches."""
    case = run.case
    what = f"{run.client} {case.arm} {case.fault or 'none'} {'stream' if case.stream else 'whole'}"
    what += f" {case.turns} turns" if case.turns > 1 else ""
    counts = f"executed {run.executed}, wrongly {run.wrongly}, asked {run.asked}"
    if run.wire is not None:
        wire = run.wire
        counts += f", prompt {wire.prompt}, calls {wire.calls}, invalid {wire.invalid}"
        counts += f", errors {'; '.join(wire.errors)}" if wire.errors else ""
    return f"{what}: {run.outcome}, {counts} | {run.words[-100:]}"


def read(text: str) -> Run:
    """What as_json wrote."""
    fields = json.loads(text)
    case = fields["case"]
    fault = Fault(case["fault"]) if case["fault"] else None
    wire = fields.get("wire")
    made = {
        "case": Case(**{**case, "fault": fault}),
        "outcome": Outcome(fields["outcome"]),
        "wire": OnWire(**{**wire, "errors": tuple(wire["errors"])}) if wire else None,
    }
    return Run(**{**fields, **made})


def latest(runs: Iterable[Run]) -> list[Run]:
    """Of runs of the same client and case the last one, since logs are added to."""
    kept = {(run.client, replace(run.case, base_url="")): run for run in runs}
    return list(kept.values())


def table(runs: Sequence[Run]) -> str:
    """A row for each client and arm, a column for each fault: finished of all, then what else there was.
    `!2` are executions with wrong arguments.
    """
    faults = [fault for fault in (None, *Fault) if any(run.case.fault is fault for run in runs)]
    arms = list(dict.fromkeys(run.case.arm for run in runs))
    lines = [_row("client", "arm", *(fault.value if fault else "none" for fault in faults), "finished")]
    lines.append("|" + "---|" * (len(faults) + 3))
    for client in dict.fromkeys(run.client for run in runs):
        for arm in arms:
            own = [run for run in runs if (run.client, run.case.arm) == (client, arm)]
            if own:
                version = own[0].version
                cells = [_cell([run for run in own if run.case.fault is fault]) for fault in faults]
                lines.append(_row(f"{client} {version}", arm, *cells, _cell(own, brief=True)))
    return "\n".join(lines)


def summary(runs: Sequence[Run]) -> str:
    """A row for each client, a column for each arm: how many loops finished of how many."""
    arms = list(dict.fromkeys(run.case.arm for run in runs))
    lines = [_row("client", "version", *arms), "|" + "---|" * (len(arms) + 2)]
    for client in dict.fromkeys(run.client for run in runs):
        own = [run for run in runs if run.client == client]
        cells = [_cell([run for run in own if run.case.arm == arm], brief=True) for arm in arms]
        lines.append(_row(client, own[-1].version, *cells))
    return "\n".join(lines)


def totals(runs: Sequence[Run]) -> str:
    """A row for each arm over all clients and faults."""
    lines = [_row("arm", "runs", *(outcome.value for outcome in Outcome), "wrong executions", "in clients")]
    lines.append("|" + "---|" * (len(Outcome) + 4))
    for arm in dict.fromkeys(run.case.arm for run in runs):
        own = [run for run in runs if run.case.arm == arm]
        ends = Counter(run.outcome for run in own)
        wrong = sorted({run.client for run in own if run.wrongly})
        told = f"{len(wrong)}: {', '.join(wrong)}" if wrong else "0"
        counts = (str(ends[outcome]) for outcome in Outcome)
        lines.append(_row(arm, str(len(own)), *counts, str(sum(run.wrongly for run in own)), told))
    return "\n".join(lines)


def on_wire(runs: Sequence[Run]) -> str:
    """A row for each run with a real model: what the client was sent, and how its loop ended."""
    names = ("client", "version", "prompt", "answers", "calls", "invalid", "executed", "errors", "its loop")
    lines = [_row(*names), "|" + "---|" * len(names)]
    for run in runs:
        wire = run.wire
        if wire is not None:
            figures = (wire.prompt, wire.answers, wire.calls, wire.invalid, run.executed, len(wire.errors))
            wrong = f" !{run.wrongly}" if run.wrongly else ""
            lines.append(_row(run.client, run.version, *map(str, figures), run.outcome.value + wrong))
    return "\n".join(lines)


def everything(runs: Sequence[Run], times: int) -> str:
    """All that there is to tell of runs with the same fault so many times in a row, and with a real model."""
    scripted = [run for run in runs if run.wire is None]
    parts = []
    if scripted:
        parts += [f"The same fault {times} times in a row.", table(scripted), totals(scripted)]
    if len(scripted) < len(runs):
        parts += ["With the bundled model.", on_wire(runs)]
    return "\n\n".join(parts)


def _row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def _cell(runs: Iterable[Run], brief: bool = False) -> str:
    own = list(runs)
    if not own:
        return ""
    ends = Counter(run.outcome for run in own)
    wrong = sum(run.wrongly for run in own)
    if brief:
        return f"{ends[Outcome.finished]}/{len(own)}" + (f" !{wrong}" if wrong else "")
    parts = [outcome.value for outcome in Outcome if ends[outcome]]
    if len(parts) > 1:
        parts = [f"{ends[outcome]} {outcome.value}" for outcome in Outcome if ends[outcome]]
    return ", ".join(parts) + (f" !{wrong}" if wrong else "")


def main(paths: Sequence[str]) -> int:
    """Prints a table and the totals for each number of faults in a row that the logs have."""
    texts = (text for path in paths for text in Path(path).read_text().splitlines())
    every = latest(read(text) for text in texts)
    if any(run.wire for run in every):
        print(f"{on_wire(every)}\n")
    found = [run for run in every if run.wire is None]
    for times in sorted({run.case.times for run in found if run.case.fault}):
        own = [run for run in found if run.case.times == times or run.case.fault is None]
        print(f"The same fault {times} times in a row.\n")
        print(f"{table(own)}\n\n{summary(own)}\n\n{totals(own)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
