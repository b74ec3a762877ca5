"""The run: conversations on every arm in turn, so that a noisy moment of the machine meets all arms alike."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import httpx

from proxy.ab.arms import Arm
from proxy.ab.client import AskOptions, StreamedAnswer, ask_streamed, open_client
from proxy.ab.judge import JudgedTurn, TurnJudge
from proxy.ab.measured import BROKEN, Delivered, MeasuredItem, MeasuredMemory, MeasuredTurn
from proxy.ab.processes import ArmServer, death_of, resident_bytes, start_arm, stop_arm
from proxy.ab.store import ResultStore
from proxy.ab.workload import DueRequest, WorkItem, Workload

_MEMORY_S = 3.0
_EXAMPLE = 4000  # characters kept of an answer


class Watcher(Protocol):
    """Is told how the run goes on."""

    def asked(self, arm: str, streams: int) -> None:
        """A turn was answered."""
        ...

    def played(self, arm: str, streams: int, item: WorkItem, turns: int) -> None:
        """A conversation was played to its end, in so many turns."""
        ...

    def note(self, words: str) -> None:
        """Something that a person has to know."""
        ...


@asynccontextmanager
async def started(
    arms: Sequence[Arm], folder: Path, upstream: str, api_key: str, note: Callable[[str], None]
) -> AsyncIterator[list[ArmServer]]:
    """The servers of the arms, one started after the other. All are stopped at the end, however it ends, and
    their caches deleted.

    folder: has a folder for each arm.

    Raises StartError for the first that does not come up.
    """
    servers: list[ArmServer] = []
    try:
        for at, arm in enumerate(arms):
            note(f"{arm.label}: starting" if not arm.base_url else f"{arm.label}: {arm.base_url}")
            servers.append(await start_arm(arm, folder / f"arm-{at + 1}", upstream, api_key=api_key))
        yield servers
    finally:
        for server in servers:
            stop_arm(server)
        for cache in folder.glob("arm-*/cache"):
            shutil.rmtree(cache, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class Rounds:
    """The order of a run.

    A round is as many conversations as run at a time; each arm plays it whole, and another arm begins in
    each round.
    """

    workload: Workload
    levels: Sequence[int]

    def __iter__(self) -> Iterator[tuple[int, int, Sequence[WorkItem]]]:
        """Conversations at a time, number of the round, its conversations."""
        items = self.workload.items
        for streams in self.levels:
            for number, start in enumerate(range(0, len(items), streams)):
                yield streams, number, items[start : start + streams]


class Run:
    """Plays what the store does not hold yet. lost: arms that ended while they were asked, and why."""

    def __init__(
        self,
        servers: Sequence[ArmServer],
        rounds: Rounds,
        options: AskOptions,
        store: ResultStore,
        watcher: Watcher,
        api_key: str = "",
    ) -> None:
        self._servers = servers
        self._rounds = rounds
        self._options = options
        self._store = store
        self._watcher = watcher
        self._api_key = api_key
        self.lost: dict[str, str] = {}

    async def play(self) -> None:
        """Returns when everything is measured, or fewer than two arms are left."""
        results = self._store.read()
        done = {(item.arm, item.streams, item.item) for item in results.items}
        sampling = asyncio.create_task(self._sample_memory())
        try:
            for streams, number, items in self._rounds:
                for server in self._in_turn(number):
                    label = server.arm.label
                    due = [item for item in items if (label, streams, item.key) not in done]
                    if due and label not in self.lost:
                        await self._play_round(server, streams, number, due)
                if len(self._servers) - len(self.lost) < min(2, len(self._servers)):
                    return
        finally:
            sampling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await sampling

    def _in_turn(self, number: int) -> list[ArmServer]:
        first = number % len(self._servers)
        return [*self._servers[first:], *self._servers[:first]]

    async def _play_round(
        self, server: ArmServer, streams: int, number: int, items: Sequence[WorkItem]
    ) -> None:
        players: list[_Player] = []
        judged = False
        try:
            async with open_client(server.base_url, self._options.timeout_s, self._api_key) as client:
                players = [_Player(self, server, client, streams, item) for item in items]
                async with asyncio.TaskGroup() as group:
                    for player in players:
                        group.create_task(player.play())
                if any(player.failed for player in players):
                    self._notice_loss(server, await death_of(server, client))
            judged = True
        finally:  # a run that is stopped keeps the conversations that have ended
            for player in players:
                # what a dying server did not answer says nothing of the conversation
                lost = player.failed and (server.arm.label in self.lost or not judged)
                if player.over and not lost:
                    self._store.add(player.measured(number), player.turns)
                    self._watcher.played(server.arm.label, streams, player.item, len(player.turns))

    def _notice_loss(self, server: ArmServer, why: str) -> None:
        if why:
            self.lost[server.arm.label] = why
            self._watcher.note(f"{server.arm.label}: {why}")

    def asked(self, server: ArmServer, streams: int) -> None:
        self._watcher.asked(server.arm.label, streams)

    @property
    def options(self) -> AskOptions:
        return self._options

    async def _sample_memory(self) -> None:
        """Until it is cancelled: the memory of each server that was started here."""
        own = [server for server in self._servers if server.process is not None]
        while own:
            held = []
            for server in own:
                assert server.process is not None
                bytes = await asyncio.to_thread(resident_bytes, server.process.pid)
                if bytes is not None:
                    held.append(MeasuredMemory(server.arm.label, time.time(), bytes))
            await asyncio.to_thread(self._store.add_memory, held)
            await asyncio.sleep(_MEMORY_S)


class _Player:
    """One conversation on one arm. failed: a request got no answer. over: it has come to its end."""

    def __init__(
        self, run: Run, server: ArmServer, client: httpx.AsyncClient, streams: int, item: WorkItem
    ) -> None:
        self._run = run
        self._server = server
        self._client = client
        self._streams = streams
        self.item = item
        self.turns: list[MeasuredTurn] = []
        self.failed = False
        self.over = False
        self._dialogue = item.open()
        self._judges: dict[int, TurnJudge] = {}
        self._ended, self._reason = "done", ""
        self._began = time.time()
        self._seconds = 0.0

    async def play(self) -> None:
        began = time.perf_counter()
        while (due := self._dialogue.next()) is not None:
            at = time.time()
            answer = await ask_streamed(
                self._client,
                self._server.model,
                due.messages,
                due.tools,
                self._run.options,
                self.item.seed,
                due.extra,
            )
            if answer.too_long:
                self._ended, self._reason = "context", _clean(answer.error)
                break
            judged = self._judge(due).judge(answer.content, answer.calls, answer.finish, due.due)
            self.turns.append(self._measured(due, answer, judged, at))
            self._run.asked(self._server, self._streams)
            if answer.error:
                self.failed = True
                if not self._dialogue.independent:
                    self._ended, self._reason = "failed", _clean(answer.error)
                    break
            self._dialogue.take(answer, judged)
        self._seconds = time.perf_counter() - began
        self.over = True

    def _judge(self, due: DueRequest) -> TurnJudge:
        """The judge of these tools; most conversations have the same in every turn."""
        key = id(due.tools)
        if key not in self._judges:
            self._judges = {key: TurnJudge(due.tools)}
        return self._judges[key]

    def _measured(
        self, due: DueRequest, answer: StreamedAnswer, judged: JudgedTurn, at: float
    ) -> MeasuredTurn:
        delivered, flaw = judged.delivered, judged.flaw
        exact = judged.exact
        if answer.error:
            delivered, flaw = Delivered.error, _clean(answer.error)
            exact = None if due.due is None else False
        return MeasuredTurn(
            arm=self._server.arm.label,
            streams=self._streams,
            item=self.item.key,
            number=len(self.turns) + 1,
            tool_turn=due.tool_turn,
            call_due=None if due.due is None else bool(due.due),
            delivered=delivered,
            flaw=flaw,
            exact=exact,
            started=at,
            ttft=answer.ttft,
            seconds=answer.seconds,
            gap=answer.gap,
            longest_gap=max(answer.gaps, default=None),
            pieces=len(answer.times),
            prompt_tokens=answer.prompt_tokens,
            cached_tokens=answer.cached_tokens,
            completion_tokens=answer.completion_tokens,
            attempts=answer.attempts,
            finish=_clean(answer.finish),
            example=_example(answer, judged) if delivered in BROKEN or delivered is Delivered.cut else "",
        )

    def measured(self, number: int) -> MeasuredItem:
        tasks = self._dialogue.tasks()
        return MeasuredItem(
            self._server.arm.label,
            self._streams,
            self.item.key,
            number,
            self._began,
            self._seconds,
            self._ended,
            self._reason,
            tasks and tasks[0],
            None if tasks is None else tasks[1],
        )


def _example(answer: StreamedAnswer, judged: JudgedTurn) -> str:
    """The answer as the client got it, and what an agent would say of its calls."""
    lines = [answer.content] if answer.content else []
    lines += [f"{call.name}({call.arguments})" for call in judged.calls]
    lines += [call.complaint for call in judged.calls if call.complaint]
    return _clean("\n".join(lines))


def _clean(text: str) -> str:
    """A bounded text that can be written as UTF-8: half a surrogate pair cannot."""
    return text[:_EXAMPLE].encode("utf-8", "replace").decode()
