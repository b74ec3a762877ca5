"""The engine core's one door to the prefix cache: what is kept of a request, for which session, when."""

from __future__ import annotations

import hashlib
import importlib.metadata
import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
from tokenizers import Tokenizer

from engine.cache.archive import Archive
from engine.cache.buffers import TurnBuffers
from engine.cache.disk import Folder
from engine.cache.layers import Layout
from engine.cache.prefix import Prefix
from engine.cache.radix import Tokens, as_tokens, common
from engine.cache.ram import RamTier, Rank
from engine.cache.record import FORMAT
from engine.cache.sessions import CachedSessions
from engine.cache.store import PrefixCache
from engine.cache.taken import Taken
from engine.config import EngineConfig
from engine.model import LoadedModel
from engine.tuning import DeviceTuning
from engine.types import CacheReport, CacheStats, GenerateRequest, SessionInfo

log = logging.getLogger("engine.cache")

PART = 256  # tokens of a long prompt that are kept at a time while others decode
PROMPT_KEEP = 256  # tokens that a prompt must add to be kept before its answer is there
LEAST_PATIENCE_S = 1.0  # a young process does not know yet how slow its prefill is
MOST_PATIENCE_S = 30.0
PATIENCE = 2.0  # times as long as computing it, because others can use the machine meanwhile
EXPIRE_S = 5.0
JOIN = 16  # tokens of a running prefill that make it worth taking over
FOLLOW = 64  # tokens that another request is about to compute, which are worth waiting for
LEAST_AHEAD = 16  # fewer tokens are not worth a segment of their own before somebody asks for them
MOST_MARKS = 5  # whole states are large: the first position that is marked, and the last ones


class CacheManager:
    """The prefix cache for the core. Keeps nothing where the model's settings give it no RAM; every call
    still works.
    """

    def __init__(self, model: LoadedModel, config: EngineConfig) -> None:
        budget = model.info.cache_ram if config.cache_ram is None else config.cache_ram
        tuning = model.tuning
        layout = Layout(model.make_caches, model.plain_cache, tuning)
        name = cache_fingerprint(model.info.fingerprint)
        archive = open_archive(config, budget, tuning) if budget else None
        ram = RamTier(budget, model.cost.per_token or 1, model.cost.fixed)
        self.cache = PrefixCache(layout, name, model.info.path, ram, archive, tuning=tuning)
        self._buffers = TurnBuffers(layout, self.cache.radix, ram)
        self.sessions = CachedSessions(self.cache, config.session_ttl_s, budget // 2, time.monotonic)
        self._tokenizer: Tokenizer = model.tokenizer
        self._ram_ttl_s = config.cache_ram_ttl_s
        self._disk_limit = config.cache_disk
        self.followed = 0  # requests that waited for another's prompt
        self._expired = 0.0

    def arrive(self, request: GenerateRequest, prefill_token_s: float) -> Prefix:
        """A request has come. forget() is due when it is over."""

        def patience(tokens: int) -> float:
            return min(MOST_PATIENCE_S, max(LEAST_PATIENCE_S, PATIENCE * tokens * prefill_token_s))

        return Prefix(request, self.cache.look(as_tokens(request.prompt), patience, rank_of(request)))

    def waits(self, prefix: Prefix) -> bool:
        """Whether some of its prompt is still being read from disk."""
        return self.cache.waits(prefix.waiting)

    def start(self, prefix: Prefix) -> Taken:
        """What the request starts from, now that it has its place."""
        taken = self.cache.take(prefix.waiting)
        prefix.taken = replace(taken, join=None)  # holds what the request joins
        prefix.reason = self.sessions.explain(prefix.request.session, prefix.tokens, taken)
        return taken

    def buffers(self, prefix: Prefix) -> list[Any] | None:
        """The buffers of the request whose tokens this one starts from, to be continued in place of the copy
        that start() told of; None where there are none.
        """
        length = prefix.taken.length if prefix.taken is not None else 0
        return self._buffers.take(prefix.tokens[:length], len(prefix.tokens))

    def leave(self, prefix: Prefix, tokens: Sequence[int], caches: Sequence[Any]) -> None:
        """A request is over, its work was kept, and nobody else has its caches, which are of these tokens:
        the next turn may continue in them.
        """
        if not prefix.request.ephemeral and self.cache.ram.budget:
            self._buffers.keep(as_tokens(tokens), caches)

    def came(self, prefix: Prefix, length: int, late: bool) -> None:
        """The caches of the first `length` tokens were put together; late: the disk was too slow for more."""
        if prefix.taken is not None and length < prefix.taken.length:
            prefix.taken = self.cache.fell_short(prefix.taken, length, late)
            prefix.reason = self.sessions.explain(prefix.request.session, prefix.tokens, prefix.taken)

    def marks(self, prefix: Prefix) -> tuple[int, ...]:
        """Numbers of prompt tokens after which the work should be kept, for a request with a place."""
        taken = prefix.taken
        if self.cache.layout.sliceable or taken is None:
            return ()
        places = {*taken.forks, *prefix.request.marks}
        fresh = sorted(place for place in places if taken.length < place < len(prefix.tokens))
        asked = [place for place in fresh if place in taken.forks or place - taken.length > LEAST_AHEAD]
        return tuple(asked if len(asked) <= MOST_MARKS else [*asked[:1], *asked[1 - MOST_MARKS :]])

    def wants_prompt(self, prefix: Prefix) -> bool:
        """Whether its prompt should be kept as soon as it is computed, before its answer."""
        request, taken = prefix.request, prefix.taken or Taken()
        size = len(request.prompt)
        if self.cache.layout.sliceable:
            return request.prefill_only or size - taken.length > PROMPT_KEEP
        return request.prefill_only or not any(place >= size - LEAST_AHEAD for place in self.marks(prefix))

    def wants_part(self, prefix: Prefix, done: int) -> bool:
        """Whether the first `done` tokens of its prompt, computed beside the answers of others, should be
        kept before the rest is computed: keeping all of them at once would be a long step for the others.
        """
        return self.cache.layout.sliceable and done - self._known(prefix.tokens) >= PART

    def keep(self, prefix: Prefix, tokens: Sequence[int], caches: Sequence[Any]) -> None:
        """These tokens of a request have been computed, and are exactly those in the caches."""
        request = prefix.request
        if not request.ephemeral and self.cache.ram.budget:
            self.cache.keep(tokens, caches, rank_of(request), request.session)

    def turn(self, prefix: Prefix, tokens: Sequence[int]) -> None:
        """A request has ended well: these are all its tokens that were computed."""
        request, taken = prefix.request, prefix.taken
        if request.session and not request.ephemeral and taken is not None:
            size, keep_s = len(request.prompt), request.keep_s
            self.sessions.turn(request.session, as_tokens(tokens), size, taken, prefix.reason, keep_s)

    def report(self, prefix: Prefix) -> CacheReport:
        """The cache report for the request's last event."""
        taken, reason = prefix.taken or Taken(), prefix.reason
        return CacheReport(
            tier=taken.tier,
            reused=taken.length,
            total=len(prefix.request.prompt),
            cause=reason.cause,
            at=reason.at,
            was=self._tokenizer.decode(list(reason.was), skip_special_tokens=False),
            now=self._tokenizer.decode(list(reason.now), skip_special_tokens=False),
        )

    def forget(self, prefix: Prefix) -> None:
        """The request is over."""
        self.cache.forget(prefix.waiting)

    def shares(self, prefix: Prefix, request: GenerateRequest) -> bool:
        """Whether a new request should take over this running prefill, which is of its own prompt."""
        prompt = as_tokens(request.prompt)
        return common(prefix.tokens, prompt) >= self._known(prompt) + JOIN

    def leader(self, request: GenerateRequest, others: Sequence[Prefix]) -> Prefix | None:
        """The request that another should wait for instead of computing the same, if there is one.

        It is the one of these, whose prompts are still to be computed, that shares most, and has not more to
        compute than what is shared.
        """
        if not self.cache.ram.budget:
            return None
        prompt = as_tokens(request.prompt)
        known = self._known(prompt)
        best, most = None, FOLLOW - 1
        for other in others:
            if other.request.ephemeral or other.request.priority > request.priority:
                continue
            shared = common(other.tokens, prompt)
            whole = shared >= len(other.tokens) - 1
            short = self.cache.layout.sliceable and len(other.tokens) - shared <= shared - known
            if shared - known > most and (whole or short):
                best, most = other, shared - known
        return best

    def left(self, prefix: Prefix) -> int:
        """Tokens of a waiting request's prompt that are still to be computed, as things are now."""
        return max(1, len(prefix.tokens) - self._known(prefix.tokens))

    def _known(self, prompt: Tokens) -> int:
        return self.cache.radix.match(prompt, len(prompt)).length

    def discard(self) -> None:
        """The model failed: what was still to be kept of its work is dropped."""
        self.cache.discard()

    def tick(self, decoding: bool = False) -> bool:
        """Works between two steps. decoding: somebody waits for the next step. Returns whether more is to be
        done at once.
        """
        more = self.cache.tick(decoding)
        now = time.monotonic()
        if now - self._expired > EXPIRE_S:
            self._expired = now
            self.sessions.expire()
            self._give_back(now)
        return more

    def _give_back(self, now: float) -> None:
        """Removes from RAM what was not used for the set time, once it is on disk."""
        if self._ram_ttl_s is None or self.cache.archive is None:
            return
        given = False
        for segment in self.cache.ram.unused(now - self._ram_ttl_s):
            if segment.stored:
                self.cache.ram.drop(segment)
                given = True
            else:
                self.cache.write([segment])
        if given:
            mx.clear_cache()  # to the machine, not to future arrays

    def handle(self, action: str, id: str) -> bool:
        """Lists, pins, unpins or drops a session; returns whether it was known."""
        match action:
            case "pin" | "unpin":
                return self.sessions.pin(id, action == "pin")
            case "drop":
                return self.sessions.drop(id)
        return True

    @property
    def nbytes(self) -> int:
        """Bytes of RAM, what waits to be written included."""
        archive = self.cache.archive
        held = self.cache.ram.held
        waiting = archive.pending.items() if archive is not None else ()
        return self.cache.ram.used + sum(kept.nbytes for name, kept in waiting if name not in held)

    def stats(self) -> CacheStats:
        cache, counts = self.cache, self.cache.counts
        folder = cache.archive.folder if cache.archive is not None else None
        return CacheStats(
            ram_bytes=cache.ram.used,
            ram_budget=cache.ram.budget,
            disk_bytes=cache.disk_bytes,
            disk_limit=self._disk_limit if folder is not None else 0,
            segments=len(cache.radix.segments),
            stored=len(folder.entries) if folder is not None else 0,
            sessions=len(self.sessions.known),
            from_ram=counts.ram,
            from_disk=counts.disk,
            from_nothing=counts.none,
            late=counts.late,
            followed=self.followed,
            reused_tokens=counts.reused_tokens,
            prompt_tokens=counts.prompt_tokens,
            evicted=cache.ram.evictions,
            evicted_disk=folder.counts.evicted if folder is not None else 0,
            written=folder.counts.written if folder is not None else 0,
            damaged=folder.counts.damaged if folder is not None else 0,
            refused=counts.refused,
            outages=folder.counts.outages if folder is not None else 0,
            readonly=folder.readonly if folder is not None else "",
            foreign=len(cache.foreign),
        )

    def listed(self) -> list[SessionInfo]:
        """All sessions, the one seen last first."""
        return [self.sessions.info(id) for id in reversed(self.sessions.known)]


def rank_of(request: GenerateRequest) -> Rank:
    """The rank of what the request needs and leaves behind."""
    return Rank.active if request.session else Rank.common


def open_archive(config: EngineConfig, ram: int, tuning: DeviceTuning) -> Archive | None:
    """The disk tier; None without one. Where its folder cannot be used, that is logged and tried again."""
    if config.cache_dir is None:
        return None
    folder = Folder(Path(config.cache_dir).expanduser(), config.cache_disk, patient=True)
    if folder.readonly:
        log.warning("the cache at %s is not written: %s", config.cache_dir, folder.readonly)
    return Archive(folder, config.kv_at_rest, max(ram // 2, 64 * 2**20), tuning.breaks)


def cache_fingerprint(model: str) -> str:
    """Identifies what kept keys and values are valid for: the model (its dtype, tokenizer, template,
    quantisation and adapter are in its fingerprint), the libraries that compute them, and our own format.
    """
    versions = [importlib.metadata.version(name) for name in ("mlx", "mlx-lm")]
    return hashlib.sha256("\0".join([model, *versions, str(FORMAT)]).encode()).hexdigest()
