"""What `fortieth ab` does: reads the request, starts the arms, plays, and writes table and files."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from proxy.ab.arms import Arm, read_arms
from proxy.ab.client import AskOptions
from proxy.ab.corrupted import scripted_model
from proxy.ab.export import write_files
from proxy.ab.plan import CORRUPTED, LEDGER, RECORDED, WORKSHOP, WORLDS, RunPlan
from proxy.ab.run import Rounds, Run, started
from proxy.ab.store import ResultStore
from proxy.ab.summary import facts_of, machine, summarise
from proxy.ab.workload import Workload
from proxy.cli.ab_screen import AbScreen, open_console
from proxy.cli.interrupts import until_interrupted
from proxy.conversation.errors import SettingsError, StartError

INTERRUPTED = 130
MOST_STREAMS = 1024
_ALL_PLAYED = {
    CORRUPTED: "each conversation has 20 outputs of the corpus, from the first on",
    RECORDED: "every turn of all recorded conversations is played",
    LEDGER: "every turn of all conversations of the ledger is played",
}
_HOT = 1.5  # at 0.7 the bundled model breaks hardly a call, so that there would be nothing to compare


@dataclass(frozen=True, slots=True)
class AbRequest:
    """The command line of `fortieth ab`. given: the options that stand on it."""

    arms: tuple[str, ...]
    model: str | None
    workload: str
    ledger: Path | None
    seeds: int
    first_seed: int
    turns: int
    concurrency: str
    temperature: float | None
    max_tokens: int
    timeout: float
    out: Path | None
    resume: Path | None
    api_key: str = ""
    given: tuple[str, ...] = ()


def run_ab(request: AbRequest) -> int:
    """Runs it all and prints what was found. Returns the exit code. Raises StartError."""
    console = open_console()
    if request.resume is not None:
        _check_resumed(request)
        folder = request.resume
        store, kept = ResultStore.resume(folder)
        plan = RunPlan.read(kept)
    else:
        plan = read_plan(request)
        check_heeded(request.given, plan)
        folder = request.out or Path("fortieth-ab") / datetime.now().strftime("%Y-%m-%d-%H%M%S")
        store = None
    if not plan.arms:
        raise SettingsError("ab plays on one server or more, got none")
    arms = read_arms(plan.arms, plan.model)
    if plan.workload == CORRUPTED:
        _check_in_front(arms)
    plan, workload = plan.load_workload()
    if store is None:
        store = ResultStore.create(folder, plan.to_json())
        store.keep("began", datetime.now().astimezone().isoformat(timespec="seconds"))
        store.keep("command", command_of(plan))
    store.keep("told", workload.told)
    store.keep("recorded", dict(workload.recorded))
    store.keep("machine", machine())
    screen = AbScreen(console, workload, plan.levels, [arm.label for arm in arms])
    work = AbWork(plan, arms, workload, store, folder, request.api_key, screen)
    return asyncio.run(work.run())


def read_plan(request: AbRequest) -> RunPlan:
    """The plan of a command line. Raises StartError."""
    workload, source = request.workload, ""
    if request.ledger is not None:
        workload, source = LEDGER, str(request.ledger.resolve())  # --resume may come from another folder
    elif workload not in (WORLDS, WORKSHOP, CORRUPTED):
        if not Path(workload).is_file():
            raise SettingsError(
                f"--workload must be {WORLDS}, {WORKSHOP}, {CORRUPTED} or a file, got {workload}"
            )
        workload, source = RECORDED, str(Path(workload).resolve())
    hot = all(name.partition(":")[0] == "bundled" for name in request.arms)
    temperature = request.temperature if request.temperature is not None else _HOT if hot else 0.7
    return RunPlan(
        request.arms,
        request.model,
        workload,
        source,
        request.seeds,
        request.first_seed,
        request.turns,
        read_numbers("--concurrency", request.concurrency, MOST_STREAMS),
        AskOptions(temperature, request.max_tokens, request.timeout),
    )


def read_numbers(option: str, text: str, most: int) -> tuple[int, ...]:
    """Whole numbers such as `1,8`. option: for messages. Raises StartError."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() and 1 <= int(part[:12]) <= most for part in parts):
        raise SettingsError(f"{option} must be numbers from 1 to {most}, separated by commas, got {text}")
    return tuple(dict.fromkeys(map(int, parts)))


def command_of(plan: RunPlan) -> str:
    """The command line that makes the same plan."""
    words = ["fortieth", "ab", *plan.arms, "--concurrency", ",".join(map(str, plan.levels))]
    words += ["--temperature", f"{plan.ask.temperature:g}", "--max-tokens", str(plan.ask.max_tokens)]
    words += ["--timeout", f"{plan.ask.timeout_s:g}"]
    if plan.model:
        words += ["--model", plan.model]
    if plan.workload in (WORLDS, WORKSHOP, CORRUPTED):
        words += ["--seeds", str(plan.seeds)]
    if plan.workload in (WORLDS, WORKSHOP):
        words += ["--turns", str(plan.turns), "--first-seed", str(plan.first_seed)]
    if plan.workload == LEDGER:
        words += ["--from-ledger", plan.source]
    elif plan.workload != WORLDS:
        words += ["--workload", plan.source or plan.workload]
    return shlex.join(words)


def _check_resumed(request: AbRequest) -> None:
    """Raises SettingsError for what would have to change the plan of a run that goes on."""
    others = [one for one in request.given if one != "--resume"]
    if request.arms or others:
        named = ", ".join([*others, *(["arms"] if request.arms else [])])
        raise SettingsError(
            f"--resume goes on with the plan of its run, and takes nothing beside it: {named}"
        )


def check_heeded(given: Sequence[str], plan: RunPlan) -> None:
    """Raises SettingsError for options that say nothing about the workload of the plan."""
    if plan.workload == LEDGER and "--workload" in given:
        raise SettingsError("--workload and --from-ledger name two workloads: give one of them")
    unheeded = {WORLDS: (), WORKSHOP: (), CORRUPTED: ("--turns", "--first-seed")}
    for one in unheeded.get(plan.workload, ("--turns", "--first-seed", "--seeds")):
        if one in given:
            raise SettingsError(f"{one} has no meaning here: {_ALL_PLAYED[plan.workload]}")


def _check_in_front(arms: Sequence[Arm]) -> None:
    unable = next((arm for arm in arms if not arm.takes_upstream), None)
    if unable is not None:
        raise SettingsError(
            f"arm {unable.label} cannot be put in front of the scripted model of --workload {CORRUPTED}: "
            "only fortieth itself can, and commands with {upstream}"
        )


@dataclass(frozen=True, slots=True)
class AbWork:
    """A run that is ready to begin."""

    plan: RunPlan
    arms: Sequence[Arm]
    workload: Workload
    store: ResultStore
    folder: Path
    api_key: str
    screen: AbScreen

    async def run(self) -> int:
        """Plays until the end or a signal, then writes what was measured. Returns the exit code."""
        stopping = "stopping: what was measured is kept"
        try:
            lost = await until_interrupted(self._play(), lambda: self.screen.note(stopping))
        finally:
            self._write()
        if lost is None:
            self.screen.note(f"stopped; to go on: fortieth ab --resume {shlex.quote(str(self.folder))}")
            return INTERRUPTED
        return 1 if lost else 0

    async def _play(self) -> str:
        """Plays everything that is due. Returns which arms were lost, in words."""
        servers_folder = self.folder / "servers"
        async with (
            self._model_behind() as upstream,
            started(self.arms, servers_folder, upstream, self.api_key, self.screen.note) as servers,
        ):
            self.store.keep("facts", [asdict(facts_of(server)) for server in servers])
            self.store.keep("notes", [])
            rounds = Rounds(self.workload, self.plan.levels)
            run = Run(servers, rounds, self.plan.ask, self.store, self.screen, self.api_key)
            with self.screen.running(self.store.read()):
                await run.play()
            lost = [f"{arm} was lost: {why}" for arm, why in run.lost.items()]
            self.store.keep("notes", lost)
            return "; ".join(lost)

    @asynccontextmanager
    async def _model_behind(self) -> AsyncIterator[str]:
        """The base_url of the server that the arms are to ask; "" for their own models."""
        if self.plan.workload != CORRUPTED:
            yield ""
            return
        async with scripted_model() as base_url:
            yield base_url

    def _write(self) -> None:
        """Table and files of what was measured until now; nothing where there is nothing."""
        results = self.store.read()
        if not results.items:
            return
        names = ("began", "command", "told", "recorded", "machine", "facts", "notes")
        kept = {name: self.store.kept(name) for name in names}
        summary = summarise(self.plan, results, kept, [arm.label for arm in self.arms])
        self.screen.compare(summary)
        try:
            files = write_files(self.folder, summary, results)
        except OSError as error:
            raise StartError(f"the report cannot be written: {error}") from error
        self.screen.note("\n".join(str(file) for file in files))
