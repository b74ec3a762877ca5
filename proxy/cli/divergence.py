"""Measures whether batching changes what a model writes: the same prompts decoded alone and together.

Both are greedy. A batch adds its rows up in another order than a single sequence, so that two tokens of
nearly equal probability may change places; from there on the texts differ.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from engine.client import EngineClient
from engine.template import ChatTemplate
from engine.types import Finished, GenerateRequest, SamplingParams

_Z = 1.96  # 95%
_SHORTEST, _LONGEST = 8, 160  # tokens of text in a prompt

Tokens = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Interval:
    """A share with its 95% confidence interval."""

    share: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{100 * self.share:.1f}% (95% CI {100 * self.low:.1f} to {100 * self.high:.1f})"


@dataclass(frozen=True, slots=True)
class Divergence:
    """The result of a comparison.

    prompts: how many were compared.
    exact: the share of prompts with equal texts.
    agreement: the share of tokens before the first difference.
    first: the token at which the earliest difference stands; None without any.
    """

    prompts: int
    exact: Interval
    agreement: Interval
    first: int | None


def wilson(hits: int, count: int) -> Interval:
    """The score interval of a share (Wilson 1927), which is also right near 0 and 1."""
    share = hits / count
    scale = 1 + _Z**2 / count
    middle = (share + _Z**2 / (2 * count)) / scale
    half = _Z * math.sqrt(share * (1 - share) / count + _Z**2 / (4 * count**2)) / scale
    return Interval(share, max(0.0, middle - half), min(1.0, middle + half))


def mean_interval(shares: Sequence[float]) -> Interval:
    """The interval of a mean over prompts: tokens of one text depend on each other, texts do not."""
    count = len(shares)
    mean = sum(shares) / count
    spread = sum((share - mean) ** 2 for share in shares) / max(1, count - 1)
    half = _Z * math.sqrt(spread / count)
    return Interval(mean, max(0.0, mean - half), min(1.0, mean + half))


def compare(alone: Sequence[Tokens], together: Sequence[Tokens]) -> Divergence:
    """Compares at least one pair of texts, given in the same order."""
    shared = [agreeing(first, second) for first, second in zip(alone, together, strict=True)]
    longest = [max(len(first), len(second)) for first, second in zip(alone, together, strict=True)]
    exact = sum(first == second for first, second in zip(alone, together, strict=True))
    shares = [same / size if size else 1.0 for same, size in zip(shared, longest, strict=True)]
    parted = [same for same, size in zip(shared, longest, strict=True) if same < size]
    equal = wilson(exact, len(shares))
    # without a difference nothing varies, which is no proof that there never is one
    agreement = mean_interval(shares) if parted else Interval(1.0, equal.low, 1.0)
    return Divergence(len(shares), equal, agreement, min(parted, default=None))


def agreeing(first: Tokens, second: Tokens) -> int:
    """How many tokens come before the first difference."""
    pairs = enumerate(zip(first, second, strict=False))
    return next((at for at, (ours, theirs) in pairs if ours != theirs), min(len(first), len(second)))


def random_prompts(template: ChatTemplate, vocab_size: int, count: int, seed: int = 0) -> list[Tokens]:
    """Questions of random text, some short and some long, as the chat template shows them to the model."""
    rng = random.Random(seed)
    special = set(template.markers.values())
    prompts: list[Tokens] = []
    for _ in range(count):
        size = rng.randint(_SHORTEST, _LONGEST)
        words = [token for token in (rng.randrange(vocab_size) for _ in range(size)) if token not in special]
        text = template.decode(tuple(words)).replace("\ufffd", " ")
        prompts.append(template.render([{"role": "user", "content": text}], None).tokens)
    return prompts


async def measure(
    client: EngineClient, prompts: Sequence[Tokens], max_tokens: int = 64, together: int = 8
) -> Divergence:
    """Decodes each prompt alone, then all of them with `together` at a time. Raises EngineError."""
    alone = [await _decode(client, prompt, max_tokens) for prompt in prompts]
    places = asyncio.Semaphore(together)

    async def one(prompt: Tokens) -> Tokens:
        async with places:
            return await _decode(client, prompt, max_tokens)

    batched = await asyncio.gather(*(one(prompt) for prompt in prompts))
    return compare(alone, batched)


async def _decode(client: EngineClient, prompt: Tokens, max_tokens: int) -> Tokens:
    sampling = SamplingParams(max_tokens=max_tokens, ignore_eos=True)
    request = GenerateRequest(id="divergence", prompt=prompt, sampling=sampling)
    async for event in client.generate(request):
        if isinstance(event, Finished):
            return event.completion
    raise AssertionError("a generation ended without its last event")
