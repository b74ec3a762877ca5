"""One of mlx_lm's generators with its sequences: prompts that are prefilled, and rows that decode together.

It is driven through its public methods only (tests/engine/test_contract.py), on the one thread that owns MLX.
"""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from mlx_lm.generate import BatchGenerator, StopSequences

from engine.cache.streaming import Joined
from engine.drafting import DraftedNetwork, Drafter
from engine.lanes import LaneLoad
from engine.lookup import Lookup
from engine.sampling import BatchSampler, Processor, SampledRow, UnexpectedRows
from engine.step import Computed, Job


@dataclass(slots=True, eq=False)
class Live:
    """A request that was inserted at least once.

    row: how it is sampled.
    drafter: says what comes next, where that can be known.
    lookup: the part of the drafter that has to be told what is reported.
    left: prompt tokens not yet in its cache; the last of them starts the decoding.
    cache: what a pause set aside, or what it comes with.
    joining: set while that is put together.
    cached: prompt tokens that are or will be in what it comes with.
    late: the disk was too slow for more.
    made: tokens sampled.
    """

    job: Job
    lane: Lane
    row: SampledRow
    processors: list[Processor]
    left: int
    uid: int = -1
    cache: list[Any] | None = None
    made: int = 0
    joining: Future[Joined] | None = None
    cached: int = 0
    late: bool = False
    drafter: Drafter | None = None
    lookup: Lookup | None = None

    @property
    def tokens(self) -> int:
        """The tokens in its cache, once its prompt is there."""
        return len(self.job.prompt) + self.made

    @property
    def may_follow(self) -> int:
        """Tokens that it may still get behind the one that its next pass picks."""
        return self.job.max_tokens - self.made - (self.row.drawn is not None) - 1


class Lane:
    """One generator and its sequences. All of them share one sampler, which picks for the whole batch at once
    and has to know the order of the rows. That order follows from what the generator reports, and every step
    checks it before a token is given out.

    eos: the end tokens.
    """

    def __init__(self, model: Any, eos: tuple[int, ...], max_batch: int) -> None:
        self._eos = StopSequences([[token] for token in eos])
        self._no_stop = StopSequences()
        self.sampler = BatchSampler()
        self.network = DraftedNetwork(model)
        self.generator = BatchGenerator(
            self.network, sampler=self.sampler, completion_batch_size=max_batch, prefill_batch_size=1
        )
        self.members: dict[int, Live] = {}  # by the generator's number
        self.prompts: list[Live] = []  # in the generator and not yet decoding, in its order
        self.decoding: list[Live] = []  # the rows of its batch, in its order

    @property
    def load(self) -> LaneLoad:
        longest = max((live.tokens for live in self.members.values()), default=0)
        return LaneLoad(len(self.members), longest)

    def enter(self, live: Live, caches: list[Any], shared: bool) -> None:
        """Queues a sequence for the next step.

        caches: of its prompt up to live.left, as engine.batch_cache.joinable makes them.
        shared: whether it uses the sampler of all; else it gets one of its own.
        """
        job = live.job
        done = len(job.prompt) - live.left
        places = [done, *(mark for mark in job.marks if done < mark < len(job.prompt)), len(job.prompt)]
        (live.uid,) = self.generator.insert_segments(
            [[list(job.prompt[start:end]) for start, end in pairwise(places)]],
            max_tokens=[job.max_tokens],
            caches=[caches],
            all_tokens=[list(job.prompt[:done])],
            samplers=[self.sampler if shared else self.sampler.one(live.row)],
            logits_processors=[live.processors],
            stop_sequences=[self._no_stop if job.sampling.ignore_eos else self._eos],
        )
        self.members[live.uid] = live
        self.prompts.append(live)

    def take_out(self, live: Live) -> Computed:
        """Takes a prompt out in the middle of its prefill; returns what has been computed of it."""
        cache, tokens = self.generator.remove([live.uid], return_prompt_caches=True)[live.uid]
        self.drop(live)
        return Computed(list(tokens), cache)

    def extract(self, live: Live) -> Computed:
        """What has been computed of one of its sequences, which stays."""
        caches, tokens = self.generator.extract_cache([live.uid])[live.uid]
        return Computed(list(tokens), caches)

    def remove(self, live: Live) -> None:
        """Takes a sequence out at any stage; others are ignored."""
        if live.uid in self.members:
            self.generator.remove([live.uid])
            self.drop(live)

    def drop(self, live: Live) -> None:
        """Forgets a sequence that has left the generator; others are ignored."""
        self.members.pop(live.uid, None)
        for rows in (self.prompts, self.decoding):
            if live in rows:
                rows.remove(live)

    def next(self, shared: bool) -> tuple[list[Any], list[Any]]:
        """What the generator reports of its next step.

        Raises UnexpectedRows where a shared sampler expected other rows than it sampled.
        """
        decoding = list(self.decoding)
        starting = [live for live in self.prompts if live.left == 1]  # this step runs their last prompt token
        batches = [rows for rows in (decoding, starting) if rows]
        self.sampler.expect(*(tuple(live.row for live in rows) for rows in batches))
        self.network.expect(*(batches if shared else ()))
        prompts, generated = self.generator.next()
        decoded = [self.members[response.uid] for response in generated]
        started = [self.members[prompt.uid] for prompt in prompts if prompt.end_of_prompt]
        if shared and (decoded, started) != (decoding, starting):
            told = [[live.job.id for live in rows] for rows in (decoded, started, decoding, starting)]
            raise UnexpectedRows("expected tokens of {2} and {3}, sampled those of {0} and {1}".format(*told))
        if started:
            self.sampler.settle()
        self.prompts = [live for live in self.prompts if live not in started]
        self.decoding = [*decoded, *started]
        return prompts, generated

    @property
    def ahead(self) -> bool:
        """Whether the next token of each of its sequences needs no forward pass."""
        return not self.prompts and self.network.knows(self.decoding)
