"""The adapter over mlx_lm's BatchGenerator. Public methods only; test_contract.py pins what we rely on.

Runs on the one thread that owns MLX.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mlx.core as mx
from mlx_lm.generate import BatchGenerator, StopSequences

from engine.sampling import Processor, Sampler, greedy, make_processors, make_sampler
from engine.types import FinishReason, SamplingParams


@dataclass(frozen=True, slots=True)
class Job:
    """A checked request: `max_tokens` already fits into the context."""

    id: str
    prompt: tuple[int, ...]
    max_tokens: int
    sampling: SamplingParams


@dataclass(frozen=True, slots=True)
class Sampled:
    """One token of one request. finish: set with its last one; an end token comes with `stop`."""

    id: str
    token: int
    finish: FinishReason | None


@dataclass(frozen=True, slots=True)
class StepResult:
    """remaining: id -> prompt tokens still to prefill, of the prompts this step worked on; 0: it decodes.

    prefilled: token positions computed for prompts, padding included.
    """

    sampled: tuple[Sampled, ...]
    remaining: dict[str, int]
    prefilled: int


@dataclass(slots=True)
class Live:
    """A request that was inserted at least once. cache and done: what a pause set aside."""

    job: Job
    sampler: Sampler
    processors: list[Processor]
    uid: int = -1
    done: int = 0
    cache: list[Any] | None = None


class Runner:
    """Sequences in, tokens out. After an exception from step() nothing but reset() may be called."""

    def __init__(self, model: Any, eos_token_ids: tuple[int, ...], vocab_size: int, max_batch: int) -> None:
        self._model = model
        self._vocab_size = vocab_size
        self._max_batch = max_batch
        self._eos = StopSequences([[token] for token in eos_token_ids])
        self._no_stop = StopSequences()
        self._live: dict[str, Live] = {}
        self._ids: dict[int, str] = {}
        self._generator = self._make_generator()

    def _make_generator(self) -> BatchGenerator:
        return BatchGenerator(
            self._model,
            sampler=greedy,
            completion_batch_size=self._max_batch,
            prefill_batch_size=1,
        )

    def insert(self, job: Job) -> None:
        """Queue a new job for the next step, or bring a paused one back where it stopped."""
        live = self._live.get(job.id)
        if live is None:
            processors = make_processors(job.sampling, job.prompt, self._vocab_size)
            live = self._live[job.id] = Live(job, make_sampler(job.sampling), processors)
        prefix = list(job.prompt[: live.done])
        (live.uid,) = self._generator.insert(
            [list(job.prompt[live.done :])],
            max_tokens=[job.max_tokens],
            caches=[live.cache],
            all_tokens=[prefix],
            samplers=[live.sampler],
            logits_processors=[live.processors],
            stop_sequences=[self._no_stop if job.sampling.ignore_eos else self._eos],
        )
        live.cache = None
        self._ids[live.uid] = job.id

    def pause(self, id: str) -> int:
        """Take a prompt out in the middle of its prefill and keep the work. Returns the tokens done."""
        live = self._live[id]
        cache, tokens = self._generator.remove([live.uid], return_prompt_caches=True)[live.uid]
        del self._ids[live.uid]
        live.done = len(tokens)
        live.cache = cache if live.done else None
        mx.eval([layer.state for layer in live.cache or []])
        return live.done

    def remove(self, id: str) -> None:
        """Forget a request at whatever stage; unknown ids are fine."""
        live = self._live.pop(id, None)
        if live is not None and self._ids.pop(live.uid, None) is not None:
            self._generator.remove([live.uid])

    def step(self, prefill_batch: int, prefill_step: int) -> StepResult:
        """One decode step for everything that decodes and one prefill chunk. May raise anything."""
        self._generator.prefill_batch_size = prefill_batch
        self._generator.prefill_step_size = prefill_step
        prompts, generated = self._generator.next()
        remaining: dict[str, int] = {}
        longest = 0
        for prompt in prompts:
            live = self._live[self._ids[prompt.uid]]
            done = live.done + prompt.progress[0]
            left = 0 if prompt.end_of_prompt else max(1, len(live.job.prompt) - done)
            longest = max(longest, min(prefill_step, prompt.progress[0]) if left else 0)
            remaining[live.job.id] = left
        sampled = tuple(self._sampled(response) for response in generated)
        return StepResult(sampled, remaining, longest * sum(1 for left in remaining.values() if left))

    def _sampled(self, response: Any) -> Sampled:
        id = self._ids[response.uid]
        finish = None if response.finish_reason is None else FinishReason(response.finish_reason)
        if finish is not None:
            del self._ids[response.uid], self._live[id]
        return Sampled(id, response.token, finish)

    def reset(self) -> None:
        """Drop every request with its caches and start over with a new generator."""
        self._live.clear()
        self._ids.clear()
        self._generator.close()
        self._generator = self._make_generator()
        mx.clear_cache()

    def cache_bytes(self) -> int:
        """Bytes of KV held by live requests, paused ones included."""
        paused = sum(layer.nbytes for live in self._live.values() for layer in live.cache or [])
        return int(self._generator.prompt_cache_nbytes) + int(paused)
