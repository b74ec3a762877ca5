"""Which conversations belong together, what of them is protected, and why a turn did not reuse more.

A session may hold several branches (a subagent, a title call): a turn continues the branch with which it has
most in common, or begins another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from engine.cache.radix import Segment, Tokens, common, path_tokens
from engine.cache.ram import Rank
from engine.cache.store import HEAD_BYTES, PrefixCache, digest_name
from engine.cache.taken import Taken
from engine.types import SessionInfo

MOST_BRANCHES = 4
MOST_SESSIONS = 1024
MOST_KEEP_S = 3600.0  # for which a client may ask: what it asks for takes room from others
WINDOW = 12  # tokens shown around the position at which a prompt differs


# equal only to itself: arrays of tokens do not compare to a single truth value
@dataclass(slots=True, eq=False)
class Branch:
    """A branch of a session. tokens: all of its last turn, the answer included."""

    tokens: Tokens
    last_seen: float


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a turn did not reuse more.

    cause: none (all that could be was), cold, fingerprint, evicted, ram (it is larger than the RAM tier),
        late (the disk was too slow), boundary (this model's state cannot be cut there) or foreign-edit.
    at: the first token that is new.
    was, now: for an edited prompt, tokens of the last turn and of this one around that position.
    """

    cause: str
    at: int
    was: tuple[int, ...] = ()
    now: tuple[int, ...] = ()


COLD = Reason("cold", 0)


@dataclass(slots=True)
class Session:
    """What is known of a session.

    turns, prompt_tokens, reused_tokens: so far.
    reason: of its last turn.
    pinned: by hand.
    keep_s: for how long after its last turn its client wants it to count as active.
    """

    id: str
    last_seen: float
    branches: list[Branch] = field(default_factory=list)
    turns: int = 0
    prompt_tokens: int = 0
    reused_tokens: int = 0
    tier: str = "none"
    reason: Reason = COLD
    pinned: bool = False
    keep_s: float = 0.0

    def nearest(self, tokens: Tokens) -> tuple[Branch | None, int]:
        """The branch with most in common, and how many tokens that is."""
        best, most = None, -1
        for branch in self.branches:
            agreed = common(branch.tokens, tokens)
            if agreed > most:
                best, most = branch, agreed
        return best, max(most, 0)


class CachedSessions:
    """Protects in `cache` what active sessions will ask for next.

    ttl_s: how long a session counts as active.
    quota: bytes of RAM that are protected for one session; deeper segments are not.
    """

    def __init__(self, cache: PrefixCache, ttl_s: float, quota: int, clock: Callable[[], float]) -> None:
        self._cache = cache
        self._ttl_s = ttl_s
        self._quota = quota
        self._clock = clock
        self.known: dict[str, Session] = {}
        self._active: set[str] = set()

    def explain(self, id: str, prompt: Tokens, taken: Taken) -> Reason:
        """Why a prompt of this session did not reuse more than it did."""
        session = self.known.get(id)
        branch, agreed = session.nearest(prompt) if session is not None else (None, 0)
        if taken.length >= len(prompt) - 1:
            return Reason("none", taken.length)
        if taken.late:
            return Reason("late", taken.length)
        if branch is None or not agreed:
            foreign = not taken.length and prompt.tobytes()[:HEAD_BYTES] in self._cache.foreign
            return Reason("fingerprint" if foreign else "cold", taken.length)
        if taken.length < min(agreed, len(prompt) - 1):
            cut = not self._cache.layout.sliceable and taken.known >= agreed
            if not cut:
                fits = agreed <= self._cache.ram.most_tokens
                return Reason("evicted" if fits else "ram", taken.length)
        if agreed == len(branch.tokens):
            return Reason("none", agreed)
        begin = max(0, agreed - WINDOW // 2)
        was, now = (tokens[begin : agreed + WINDOW].tolist() for tokens in (branch.tokens, prompt))
        cause = "boundary" if taken.length < agreed - 1 else "foreign-edit"
        return Reason(cause, agreed, tuple(was), tuple(now))

    def turn(
        self, id: str, tokens: Tokens, prompt_tokens: int, taken: Taken, reason: Reason, keep_s: float = 0.0
    ) -> None:
        """A turn has ended: these are all its tokens. keep_s: as in GenerateRequest."""
        session = self.known.pop(id, None) or Session(id, 0.0)
        self.known[id] = session  # at the end, so that the one seen longest ago is the first
        if len(self.known) > MOST_SESSIONS:
            self.forget(next(iter(self.known)))
        session.turns += 1
        session.prompt_tokens += prompt_tokens
        session.reused_tokens += taken.length
        session.tier, session.reason = taken.tier, reason
        session.keep_s = min(keep_s, MOST_KEEP_S)
        session.last_seen = self._clock()
        self._active.add(id)
        self._go_on(session, tokens)

    def _go_on(self, session: Session, tokens: Tokens) -> None:
        branch, agreed = session.nearest(tokens)
        left: list[Segment] = []
        if branch is not None and agreed >= len(branch.tokens) / 2:
            left = list(self._path(branch.tokens))
            session.branches.remove(branch)
        elif len(session.branches) >= MOST_BRANCHES:
            oldest = min(session.branches, key=lambda branch: branch.last_seen)
            left = list(self._path(oldest.tokens))
            session.branches.remove(oldest)
        session.branches.append(Branch(tokens, session.last_seen))
        ahead = {segment.name for segment in self._path(tokens)}
        for segment in left:
            self._cache.ram.take_buffers(segment)  # no turn goes on there, even where the path does
            if segment.name not in ahead:
                segment.rank = Rank.superseded
        self._protect(session)

    def _path(self, tokens: Tokens) -> Iterator[Segment]:
        for piece in self._cache.radix.match(tokens, len(tokens)).pieces:
            yield piece.segment

    def _protect(self, session: Session) -> None:
        """Ranks what its branches need, shared beginnings first, up to the quota."""
        rank = Rank.pinned if session.pinned else Rank.active
        left = self._quota
        for branch in session.branches:
            for segment in self._path(branch.tokens):
                left -= segment.nbytes
                segment.rank = max(segment.rank, rank if left >= 0 else Rank.common)

    def prefetch(self, id: str) -> None:
        """A sign of life of a session: what its next turn will need is fetched from disk, up to the quota.
        Also for a session that this process does not know yet.
        """
        session = self.known.get(id)
        if session is not None:
            latest = max(session.branches, key=lambda branch: branch.last_seen, default=None)
            path = list(self._path(latest.tokens)) if latest is not None else []
        else:
            _, name = self._cache.left.get(digest_name(id), (0.0, b""))
            last = self._cache.radix.segments.get(name)
            path = [] if last is None else [*reversed(list(above(last))), last]
        self._cache.prefetch(path, self._quota)

    def expire(self) -> None:
        """To be called now and then: sessions that were not seen for `ttl_s`, or for as long as their clients
        want, protect nothing any more.
        """
        now = self._clock()
        active = [self.known[id] for id in self._active if not self.known[id].pinned]
        idle = [one.id for one in active if now - one.last_seen > max(self._ttl_s, one.keep_s)]
        if idle:
            self._active.difference_update(idle)
            self._rank_again()

    def _rank_again(self) -> None:
        for segment in self._cache.radix.segments.values():
            segment.rank = min(segment.rank, Rank.common)
        for id in self._active:
            self._protect(self.known[id])

    def info(self, id: str) -> SessionInfo:
        session = self.known[id]
        segments = {
            segment.name: segment for branch in session.branches for segment in self._path(branch.tokens)
        }
        return SessionInfo(
            id=id,
            turns=session.turns,
            branches=len(session.branches),
            tokens=sum(len(branch.tokens) for branch in session.branches),
            prompt_tokens=session.prompt_tokens,
            reused_tokens=session.reused_tokens,
            ram_bytes=sum(one.nbytes + one.buffer_bytes for one in segments.values()),
            tier=session.tier,
            cause=session.reason.cause,
            idle_s=self._clock() - session.last_seen,
            pinned=session.pinned,
        )

    def pin(self, id: str, pinned: bool) -> bool:
        """Protects a session until it is unpinned, on disk too; returns whether it is known."""
        session = self._recall(id)
        if session is None:
            return False
        session.pinned = pinned
        session.last_seen = self._clock()
        self._active.add(id)
        self._rank_again()
        if self._cache.archive is not None:
            names = [
                segment.name
                for one in self.known.values()
                if one.pinned
                for branch in one.branches
                for segment in self._path(branch.tokens)
            ]
            self._cache.archive.folder.protected = frozenset(names)
        return True

    def _recall(self, id: str) -> Session | None:
        """A session that is known, or that the last process knew and is still on disk; None for others."""
        _, name = self._cache.left.get(digest_name(id), (0.0, b""))
        last = self._cache.radix.segments.get(name)
        if id not in self.known and last is not None:
            now = self._clock()
            self.known[id] = Session(id, now, [Branch(path_tokens(last), now)])
        return self.known.get(id)

    def forget(self, id: str) -> None:
        """Forgets a session; what it left in the cache is no longer protected."""
        if self.known.pop(id, None) is not None and id in self._active:
            self._active.discard(id)
            self._rank_again()

    def drop(self, id: str) -> bool:
        """Forgets a session and deletes what no other session uses, on disk too; returns whether it was
        known.
        """
        session = self._recall(id)
        if session is None:
            return False
        paths = [list(self._path(branch.tokens)) for branch in session.branches]
        self.forget(id)
        shared = {
            segment.name
            for other in self.known.values()
            for branch in other.branches
            for segment in self._path(branch.tokens)
        }
        own_name = digest_name(id)
        for session_name, (_, name) in self._cache.left.items():
            last = self._cache.radix.segments.get(name)
            if last is not None and session_name != own_name:
                shared |= {last.name, *(segment.name for segment in above(last))}
        for path in paths:
            own = [segment for segment in path if segment.name not in shared]
            if own:
                self._cache.drop(own[0])
        self._cache.left.pop(own_name, None)
        return True


def above(segment: Segment) -> Iterator[Segment]:
    """The segments before it, the nearest first."""
    parent = segment.parent
    while parent is not None:
        yield parent
        parent = parent.parent
