"""Decides which request goes next, and how much prefill fits between two decode steps.

Pure: no MLX, no clock, no I/O.

A request is *held* (something it needs is still being made), *waiting*, *prefilling*, *paused* (its prefill
was set aside for a shorter one) or *decoding*. Prefilling, paused and decoding requests hold one of
`max_batch` places. Prompts prefill one cohort at a time, because a batch of prompts is padded to its longest;
a cohort is prompts of nearly one length.

Order: by priority; then by when a request may fairly expect its first token, which is its arrival plus its
own prefill time plus, for each request that its session already has running, one mean service time. So
short prompts overtake long ones that have just come, a long prompt is overtaken for no longer than it
takes itself, and a session that sends many requests at once does not displace the others.
"""

from __future__ import annotations

import enum
import heapq
from dataclasses import dataclass, field

from engine.errors import QueueFull
from engine.tuning import CPU, DeviceTuning
from engine.types import GenerateRequest, Priority

MAX_COHORT = 8
COHORT_CHUNKS = 1.5  # of several short prompts, whose tokens cost less together than in the chunks before
QUIET_CHUNK_S = 0.5  # longest prefill chunk while nobody decodes: how late aborts and new requests are seen
BACKGROUND_CHUNK_S = 0.05  # the same for a prefill that nobody waits for
NEWEST = 0.3  # weight of the newest measurement in the running means
SLOWER = 0.8  # its weight where prefill got slower, as along a long prompt: streams notice a gap at once
FIRST_CHUNK = 16  # tokens; where a prompt starts slowly, its chunks start here and at most double
EXPECTED_ANSWER = 1024  # tokens reserved for an answer: agents allow far longer answers than they get
PREEMPT_FACTOR = 2.0  # a paused prefill costs a copy of its cache, so the new one must be this much shorter


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of EngineConfig. kv_tokens: tokens of KV cache that fit into memory (see Room)."""

    max_batch: int
    queue_limit: int
    prefill_step: int
    prefill_step_min: int
    prefill_share: float
    kv_tokens: int = 2**62
    tuning: DeviceTuning = CPU

    @property
    def least(self) -> int:
        """Prompt tokens that a step computes at least."""
        return max(self.prefill_step_min, min(self.tuning.least_chunk, self.prefill_step))


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do in the next step: ids to pause, then ids to insert, then the prefill sizes to use."""

    pause: tuple[str, ...]
    insert: tuple[str, ...]
    prefill_batch: int
    prefill_step: int


class Stage(enum.Enum):
    held = enum.auto()
    waiting = enum.auto()
    prefilling = enum.auto()
    paused = enum.auto()
    decoding = enum.auto()


@dataclass(slots=True, eq=False)
class Queued:
    """One request in the scheduler.

    remaining: prompt tokens still to prefill.
    due: its arrival plus its own prefill time.
    size: tokens that it will have in the cache, as far as can be told.
    """

    id: str
    session: str
    priority: Priority
    remaining: int
    due: float
    size: int
    stage: Stage = Stage.waiting
    started: float = 0.0

    @property
    def placed(self) -> bool:
        """Whether it has a place in the batch."""
        return self.stage is not Stage.waiting and self.stage is not Stage.held


@dataclass(slots=True)
class Pace:
    """Running means of what the machine does, in seconds."""

    prefill_token: float = 0.0005
    decode_step: float = 0.02
    service: float = 1.0

    def observe(self, seconds: float, decoded: int, prefilled: int) -> None:
        """Takes in a step of `seconds` that decoded for so many sequences and prefilled so many tokens."""
        if prefilled:
            # At least half of it: otherwise a decode time that was measured too high would make prefill look
            # free.
            own = max(seconds - self.decode_step, seconds / 2) if decoded else seconds
            token = max(own, 1e-6) / prefilled
            weight = SLOWER if token > self.prefill_token else NEWEST
            self.prefill_token = mean(self.prefill_token, token, weight)
        elif decoded:
            self.decode_step = mean(self.decode_step, seconds)

    def finish(self, seconds: float) -> None:
        """Takes in the seconds that one request took from its place in the batch to its end."""
        self.service = mean(self.service, seconds)


def mean(old: float, new: float, weight: float = NEWEST) -> float:
    return old + weight * (new - old)


@dataclass(slots=True)
class Room:
    """Places and memory, while requests are being admitted.

    The caches of a batch are padded to the longest sequence, so that `rows` sequences take rows x longest
    tokens. Whatever the budget, a single request is admitted.
    """

    limits: Limits
    rows: int
    longest: int

    def admit(self, entry: Queued) -> bool:
        """Takes a place for this request; returns whether there was one."""
        probe = entry.priority is Priority.probe
        longest = max(self.longest, self.limits.tuning.cached(entry.size))
        fits = (self.rows + 1) * longest <= self.limits.kv_tokens or not self.rows
        if self.rows >= self.limits.max_batch + probe or not (fits or probe):
            return False
        self.rows, self.longest = self.rows + 1, longest
        return True


@dataclass(slots=True)
class Scheduler:
    """Call submit and finish as things happen, plan before each step, and report what the step did."""

    limits: Limits
    pace: Pace = field(default_factory=Pace)
    entries: list[Queued] = field(default_factory=list)
    planned: int = 0  # tokens of a step for the prompts that prefill now
    last_chunk: int = 0  # the same, of the last step that worked on them; 0: they have not begun

    def submit(
        self, request: GenerateRequest, max_tokens: int, now: float, held: bool = False, cached: int = 0
    ) -> Queued:
        """Queues a request; a held one waits for release(). Raises QueueFull; probes are always taken.

        max_tokens: how long its answer may be.
        cached: tokens of its prompt that need no prefill.
        """
        if request.priority is not Priority.probe and self.full(request.priority):
            raise QueueFull(self.retry_after())
        left = len(request.prompt) - cached
        entry = Queued(
            id=request.id,
            session=request.session or request.id,
            priority=request.priority,
            remaining=left,
            due=now + left * self.pace.prefill_token,
            size=len(request.prompt) + min(max_tokens, EXPECTED_ANSWER),
            stage=Stage.held if held else Stage.waiting,
        )
        self.entries.append(entry)
        return entry

    def full(self, priority: Priority) -> bool:
        """Whether a request of this priority finds no room to wait; less urgent requests do not count."""
        counted = [entry for entry in self.entries if entry.priority <= priority]
        running = sum(entry.placed for entry in counted)
        free = max(0, self.limits.max_batch - running)
        return len(counted) - running >= self.limits.queue_limit + free

    def release(self, entry: Queued) -> None:
        """A held request may run from now on; it keeps its place in the queue."""
        entry.stage = Stage.waiting

    def finish(self, entry: Queued, now: float) -> None:
        """The request has ended, for whatever reason. May be called again."""
        if entry in self.entries:
            self.entries.remove(entry)
            if entry.stage is Stage.decoding:
                self.pace.finish(now - entry.started)

    def drop_running(self) -> list[str]:
        """The generator is gone with everything in it: returns the ids of its requests. The queue stays."""
        gone = [entry.id for entry in self.entries if entry.placed]
        self.entries = [entry for entry in self.entries if not entry.placed]
        return gone

    def progress(self, entry: Queued, remaining: int) -> None:
        """Notes that so many prompt tokens are still to be prefilled; 0: it decodes from now on."""
        entry.remaining = remaining
        self.last_chunk = self.planned
        if remaining == 0:
            entry.stage = Stage.decoding

    def grown(self, entry: Queued, tokens: int) -> None:
        """Notes that the request has this many tokens in the cache."""
        entry.size = max(entry.size, tokens)

    def plan(self, now: float) -> Plan:
        """Decides the next step and marks the requests accordingly."""
        prefilling = self.at(Stage.prefilling)
        pause: list[Queued] = []
        if prefilling and self.should_pause(prefilling):
            pause, prefilling = prefilling, []
            for entry in pause:
                entry.stage = Stage.paused
        cohort: list[Queued] = []
        if not prefilling:
            self.last_chunk = 0
            cohort = self.next_cohort()
            for entry in cohort:
                entry.started = entry.started or now
                entry.stage = Stage.prefilling
        members = [*prefilling, *cohort]
        rows = len(members)
        background = all(entry.priority is Priority.background for entry in members)
        self.planned = self.chunk_tokens(background, self.is_slow_start(members)) if rows else 0
        if rows > 1 and not background:
            self.planned = max(self.planned, rows * max(entry.remaining for entry in members))
        step = max(self.limits.least, self.planned // max(rows, 1))
        return Plan(
            pause=tuple(entry.id for entry in pause),
            insert=tuple(entry.id for entry in cohort),
            prefill_batch=max(rows, 1),
            prefill_step=step,
        )

    def at(self, stage: Stage) -> list[Queued]:
        return [entry for entry in self.entries if entry.stage is stage]

    @property
    def waiting(self) -> int:
        """Requests without a place, held ones included."""
        return len(self.entries) - self.running

    @property
    def running(self) -> int:
        return sum(entry.placed for entry in self.entries)

    @property
    def runnable(self) -> bool:
        """Whether a step would do anything."""
        return any(entry.stage is not Stage.held for entry in self.entries)

    def retry_after(self) -> float:
        """Seconds until a place in the queue is likely to be free: the mean time between two ends."""
        return min(60.0, max(1.0, self.pace.service / self.limits.max_batch))

    def rank(self, entry: Queued, running: dict[str, int]) -> tuple[int, float]:
        """The sort key; lower goes first. running: places held, by session."""
        return entry.priority, entry.due + running.get(entry.session, 0) * self.pace.service

    def places_by_session(self) -> dict[str, int]:
        held: dict[str, int] = {}
        for entry in self.entries:
            if entry.placed:
                held[entry.session] = held.get(entry.session, 0) + 1
        return held

    def room(self) -> Room:
        held = [entry for entry in self.entries if entry.placed]
        longest = max((self.limits.tuning.cached(entry.size) for entry in held), default=0)
        return Room(self.limits, len(held), longest)

    def candidates(self) -> list[Queued]:
        """Waiting and paused requests that may be prefilled now, best first. Paused ones hold their place.

        Each chosen request counts for its session before the next is chosen.
        """
        held = self.places_by_session()
        queues: dict[str, list[Queued]] = {}
        for entry in self.entries:
            if entry.stage is Stage.paused:
                held[entry.session] -= 1  # its own place must not count against it
            if entry.stage in (Stage.paused, Stage.waiting):
                queues.setdefault(entry.session, []).append(entry)
        for queue in queues.values():
            queue.sort(key=lambda entry: (entry.priority, entry.due), reverse=True)
        heads = [(self.rank(queue[-1], held), session) for session, queue in queues.items()]
        heapq.heapify(heads)
        room = self.room()
        paused = len(self.at(Stage.paused))
        chosen: list[Queued] = []
        while heads:
            _, session = heapq.heappop(heads)
            entry = queues[session].pop()
            if entry.stage is Stage.paused or room.admit(entry):
                paused -= entry.stage is Stage.paused
                held[session] = held.get(session, 0) + 1
                chosen.append(entry)
            elif not paused:
                break  # nothing after the best may take the last room, and probes come first
            if queues[session]:
                heapq.heappush(heads, (self.rank(queues[session][-1], held), session))
        return chosen

    def should_pause(self, prefilling: list[Queued]) -> bool:
        """Whether a candidate outranks the prompts that prefill now, and is much shorter or of a better
        priority.
        """
        candidates = self.candidates()
        if not candidates:
            return False
        held = self.places_by_session()
        for entry in prefilling:
            held[entry.session] -= 1
        first = candidates[0]
        current = min(prefilling, key=lambda entry: self.rank(entry, held))
        if self.rank(first, held) >= self.rank(current, held):
            return False
        left = max(entry.remaining for entry in prefilling)
        if first.priority < current.priority:
            return left > self.chunk_tokens(current.priority is Priority.background)
        return left > max(self.chunk_tokens(), PREEMPT_FACTOR * first.remaining)

    def next_cohort(self) -> list[Queued]:
        """The best candidate, and those after it whose prompts are about as long and fit into one chunk."""
        candidates = self.candidates()
        if not candidates:
            return []
        cohort = candidates[:1]
        if cohort[0].stage is Stage.paused:
            return cohort
        budget = COHORT_CHUNKS * self.chunk_tokens()
        for entry in candidates[1:]:
            lengths = [member.remaining for member in (*cohort, entry)]
            padded = max(lengths) * len(lengths)
            alike = max(lengths) <= 1.25 * min(lengths) + 16
            alike = alike and (entry.priority < Priority.background or cohort[0].priority == entry.priority)
            if entry.stage is Stage.waiting and alike and padded <= budget and len(lengths) <= MAX_COHORT:
                cohort.append(entry)
        return cohort[: self.limits.tuning.cohort(len(cohort))]

    def in_the_way(self) -> list[str]:
        """Background requests that hold places, where a request waits for a place and there is no other."""
        placed = [one.id for one in self.entries if one.placed and one.priority is Priority.background]
        waiting = [
            one for one in self.entries if one.stage is Stage.waiting and one.priority < Priority.background
        ]
        if not placed or not waiting:
            return []
        best = min(waiting, key=lambda entry: (entry.priority, entry.due))
        return [] if self.room().admit(best) else placed

    def is_slow_start(self, members: list[Queued]) -> bool:
        """Whether the chunks of these prompts start small.

        They do where others decode, since the cost of a token is known from other prompts, and where the
        prompt is so long that requests which come right after it would wait for it. Several prompts at once
        are short, and fit.
        """
        decoding = any(entry.stage is Stage.decoding for entry in self.entries)
        return len(members) == 1 and (decoding or members[0].remaining > 2 * self.limits.prefill_step)

    def chunk_tokens(self, background: bool = False, slow_start: bool = False) -> int:
        """Prompt tokens that may be prefilled in one step, all rows together.

        background: nobody waits for them, so that others should hardly notice.
        slow_start: at most twice the chunk before.
        """
        decoding = any(entry.stage is Stage.decoding for entry in self.entries)
        if background and decoding:
            return self.limits.least
        quiet_s = BACKGROUND_CHUNK_S if background else QUIET_CHUNK_S
        seconds = self.limits.prefill_share * self.pace.decode_step if decoding else quiet_s
        tokens = int(seconds / self.pace.prefill_token)
        if slow_start:
            tokens = min(tokens, 2 * self.last_chunk or FIRST_CHUNK)
        tokens = self.limits.tuning.whole(tokens)
        return min(self.limits.prefill_step, max(self.limits.least, tokens))
