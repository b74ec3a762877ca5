"""`make clients`: real agent clients through a model that calls wrongly, bare and behind fortieth.

Each client is installed once into an environment of its own under --folder and driven through a tool loop
against a model server of ours that calls wrongly a few times in a row (--times) before it calls rightly. An
arm is `bare`, or fortieth in between with one of its ways to give up. In the arm `bundled` the bundled model
answers, once for each client, and what the client was sent is judged on the wire.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import signal
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.bench.servers import Server, running
from tests.clients import report
from tests.clients.drivers.common import CONTEXT_WINDOW
from tests.clients.environments import Environment, install
from tests.clients.faults import Fault
from tests.clients.recorder import recording
from tests.clients.roster import ROSTER, Client
from tests.clients.runs import BUNDLED, Case, Outcome, Run, runs
from tests.clients.upstream import MODEL, FaultyUpstream
from tests.proxy.upstreams.wire import wire_serving

BARE = "bare"
ARMS = (BARE, "text", "error", "client", BUNDLED)
# Of the bundled model, which says that it can do 49,152: the prompts of some agents are longer.
CONTEXT = 65_536
# The ways to give up that keep a refused call from the client.
NEVER_HANDED_OVER = ("text", "error")


@dataclass(frozen=True, slots=True)
class Arm:
    """Where clients go. model: its id there; context: of it, in tokens."""

    name: str
    base_url: str
    model: str = MODEL
    context: int = CONTEXT_WINDOW


def fortieth(arm: str, upstream_url: str) -> Server:
    """Our server, as a user starts it: over the model server, or with the bundled model."""
    serve = ("-c", "from proxy.cli.main import main; main()", "serve", "--port", "{port}")
    if arm == BUNDLED:
        alone = (("FORTIETH_CACHE_DIR", "off"), ("FORTIETH_LEDGER", "off"))
        return Server("fortieth", sys.executable, "proxy", (*serve, "--context-limit", str(CONTEXT)), alone)
    environment = (("FORTIETH_GIVE_UP", arm), ("FORTIETH_LEDGER", "off"))
    return Server(
        f"fortieth-{arm}", sys.executable, "proxy", (*serve, "--upstream", upstream_url), environment
    )


def served(arm: str, port: int) -> Arm:
    """The arm of a server that runs, with the model that it lists first."""
    base_url = f"http://127.0.0.1:{port}/v1"
    with urllib.request.urlopen(f"{base_url}/models", timeout=10) as response:
        card = json.loads(response.read())["data"][0]
    return Arm(arm, base_url, card["id"], card.get("max_model_len") or CONTEXT_WINDOW)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be run. until: no run begins later, by time.monotonic(). log: a file that takes every run as
    a line of JSON. turns: of the tool in each run.
    """

    arms: Sequence[Arm]
    faults: Sequence[Fault | None]
    times: int
    until: float
    log: Path | None
    turns: int = 1
    stop: threading.Event = field(default_factory=threading.Event)

    @property
    def goes_on(self) -> bool:
        return time.monotonic() < self.until and not self.stop.is_set()

    def cases(self, client: Client) -> list[Case]:
        return [
            case for arm in self.arms if client.bare or arm.name != BARE for case in self._of(arm, client)
        ]

    def _of(self, arm: Arm, client: Client) -> Iterator[Case]:
        """The bundled model makes its own mistakes, and each client goes once through them."""
        real = arm.name == BUNDLED
        faults = self.faults if client.task.tool and not real else [None]
        streams = client.streams[-1:] if real else client.streams
        for fault, stream in itertools.product(faults, streams):
            times, turns = self.times if fault else 0, 1 if real else self.turns
            yield Case(arm.name, arm.base_url, fault, times, stream, turns, arm.model, arm.context)


@contextlib.contextmanager
def arms(names: Sequence[str], upstream: FaultyUpstream, record: Path | None = None) -> Iterator[list[Arm]]:
    """The arms, until the block ends. One that does not start is told and left out. record: a folder that
    takes what the clients send to each arm (tests.clients.recorder).
    """
    with contextlib.ExitStack() as stack:
        found = [Arm(BARE, upstream.base_url)] if BARE in names else []
        for name in (name for name in names if name != BARE):
            try:
                server = stack.enter_context(running(fortieth(name, upstream.base_url), Path()))
            except RuntimeError as error:
                print(f"arm {name} left out: {error}", file=sys.stderr)
                continue
            port = server.port
            if record is not None:
                port = stack.enter_context(recording(server.port, record / f"{name}.jsonl"))
            found.append(served(name, port))
        yield found


def drive(environment: Environment, plan: Plan, upstream: FaultyUpstream, lock: threading.Lock) -> list[Run]:
    """One client through all its cases; each is written down as soon as it is done."""
    done = []
    in_time = itertools.takewhile(lambda _: plan.goes_on, plan.cases(environment.client))
    for run in runs(environment, in_time, upstream):
        done.append(run)
        with lock:
            print(report.line(run), flush=True)
            if plan.log is not None:
                with plan.log.open("a") as log:
                    log.write(report.as_json(run) + "\n")
    return done


def left_out(environments: Sequence[Environment], plan: Plan, done: Sequence[Run]) -> list[str]:
    """What of the plan was not run, because the time was up."""
    due = {one.client.name: len(plan.cases(one.client)) for one in environments}
    had = Counter(run.client for run in done)
    return [f"{name}: {due[name] - had[name]} of {due[name]} runs" for name in due if had[name] < due[name]]


def must_not_be(done: Sequence[Run]) -> list[Run]:
    """Runs whose wrong call was none; those behind fortieth that did not finish although the model called
    rightly, or executed a wrong call where none is ever handed over; and with a real model those that did not
    end, or in which the client was sent what it should not be, whatever the model did.
    """
    return [run for run in done if (_is_wrong_for_real(run) if run.wire else _is_wrong(run))]


def _is_wrong(run: Run) -> bool:
    unfinished = run.outcome is not Outcome.finished
    return (
        run.mendable
        or (run.case.arm != BARE and run.case.fault is None and unfinished)
        or bool(run.wrongly and run.case.arm in NEVER_HANDED_OVER)
    )


def _is_wrong_for_real(run: Run) -> bool:
    assert run.wire is not None
    return run.outcome is Outcome.hung or bool(run.wrongly or run.wire.invalid or run.wire.errors)


def installed(clients: Sequence[Client], folder: Path) -> Iterator[Environment]:
    """Those that can be installed; the others are told and left out."""
    for client in clients:
        try:
            yield install(client, folder)
        except (RuntimeError, OSError) as error:
            print(f"{client.name} left out: {error}", file=sys.stderr)


def main() -> int:
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    chosen = [client for client in ROSTER if not options.only or client.name in options.only]
    if options.streams == "one":
        chosen = [replace(client, streams=client.streams[-1:]) for client in chosen]
    faults = [Fault(name) for name in options.faults] if options.faults else [None, *Fault]
    environments = list(installed(chosen, options.folder))
    upstream, lock = FaultyUpstream(), threading.Lock()
    with wire_serving(upstream), arms(options.arms, upstream, options.record) as found:
        until = time.monotonic() + 60 * options.minutes
        plan = Plan(found, faults, options.times, until, options.log, options.turns)
        with ThreadPoolExecutor(options.jobs) as pool:
            try:
                lists = list(pool.map(lambda one: drive(one, plan, upstream, lock), environments))
            finally:
                plan.stop.set()  # who is interrupted lets the runs that have begun end
    done = list(itertools.chain(*lists))
    print(f"\n{report.everything(done, options.times)}")
    wrong = must_not_be(done)
    for run in wrong:
        print(f"must not be: {report.line(run)}")
    lacking = left_out(environments, plan, done)
    for line in lacking:
        print(f"left out, {options.minutes:g} minutes were up: {line}")
    whole = len(environments) == len(chosen) and len(found) == len(options.arms)
    return 0 if whole and not wrong and not lacking else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make clients", description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("/tmp/fortieth-clients"), help="of the clients")
    parser.add_argument("--only", nargs="*", metavar="CLIENT", choices=[client.name for client in ROSTER])
    parser.add_argument("--arms", nargs="*", default=ARMS, choices=(*ARMS, "passthrough"))
    parser.add_argument("--faults", nargs="*", choices=[*Fault], help="default: none at all, and each kind")
    parser.add_argument("--times", type=int, default=3, help="how often the model calls wrongly in a row")
    parser.add_argument("--turns", type=int, default=1, help="of the tool in each run; see Play")
    parser.add_argument("--record", type=Path, help="a folder that takes what clients send, for reuse.py")
    parser.add_argument("--streams", choices=("one", "all"), default="all", help="one: each client one way")
    parser.add_argument("--jobs", type=int, default=2, help="clients at once")
    parser.add_argument("--minutes", type=float, default=180.0, help="no run begins later")
    parser.add_argument("--log", type=Path, help="a file that takes each run as a line of JSON")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
