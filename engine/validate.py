"""Checks everything that must hold before a request may enter the batch.

An id out of range reads foreign memory in the model step, and an exception inside that step costs every
request of the batch: so nothing reaches the batch unchecked.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from engine.errors import ContextOverflow, InvalidRequest
from engine.types import GenerateRequest, ModelInfo, SamplingParams

MAX_BIASES = 4096
MAX_LOGPROBS = 20
MAX_GRAMMAR = 4 * 1024 * 1024  # characters; several hundred tools with large schemas
MAX_CLOSE = 64


def check_request(request: GenerateRequest, info: ModelInfo) -> None:
    """Raises InvalidRequest, which names the field, or ContextOverflow."""
    check_prompt(request.prompt, info)
    check_sampling(request.sampling, info.vocab_size)
    check_limits(request, info.vocab_size)


def check_prompt(prompt: tuple[int, ...], info: ModelInfo) -> None:
    """Checks for one token at least, room for one more, and every id in the vocabulary."""
    if not prompt:
        raise InvalidRequest("prompt", "prompt must hold at least one token")
    if len(prompt) >= info.context_length:
        raise ContextOverflow(len(prompt), info.context_length)
    for token in (min(prompt), max(prompt)):
        if not 0 <= token < info.vocab_size:
            raise InvalidRequest("prompt", f"prompt tokens must be in [0, {info.vocab_size}), got {token}")


def check_limits(request: GenerateRequest, vocab_size: int) -> None:
    """Checks grammar, deadline and thinking limit. Raises InvalidRequest, which names the field."""
    grammar, deadline, thinking = request.grammar, request.deadline_s, request.thinking
    if grammar is not None and not 0 < len(grammar) <= MAX_GRAMMAR:
        raise InvalidRequest(
            "grammar", f"grammar must have 1 to {MAX_GRAMMAR} characters, got {len(grammar)}"
        )
    if deadline is not None and not 0 < deadline < math.inf:
        raise InvalidRequest("deadline_s", f"deadline_s must be above 0, got {deadline}")
    if not 0 <= request.keep_s < math.inf:
        raise InvalidRequest("keep_s", f"keep_s must be at least 0, got {request.keep_s}")
    if thinking is None:
        return
    if not 0 <= thinking.budget <= 2**53:
        raise InvalidRequest("thinking", f"a thinking budget must be in [0, 2**53], got {thinking.budget}")
    if not 0 < len(thinking.close) <= MAX_CLOSE:
        raise InvalidRequest(
            "thinking", f"thinking must be closed by 1 to {MAX_CLOSE} tokens, got {len(thinking.close)}"
        )
    for token in thinking.close:
        if not 0 <= token < vocab_size:
            raise InvalidRequest("thinking", f"thinking tokens must be in [0, {vocab_size}), got {token}")


RANGES: dict[str, tuple[str, Callable[[float], bool]]] = {
    "max_tokens": ("in [1, 2**53]", lambda v: 1 <= v <= 2**53),
    "temperature": ("in [0, 100]", lambda v: 0 <= v <= 100),
    "top_p": ("in (0, 1]", lambda v: 0 < v <= 1),
    "min_p": ("in [0, 1]", lambda v: 0 <= v <= 1),
    "presence_penalty": ("in [-2, 2]", lambda v: -2 <= v <= 2),
    "frequency_penalty": ("in [-2, 2]", lambda v: -2 <= v <= 2),
    "repetition_penalty": ("in (0, 10]", lambda v: 0 < v <= 10),
}


def check_sampling(sampling: SamplingParams, vocab_size: int) -> None:
    """Raises InvalidRequest, which names the first field that cannot be honoured."""
    for name, (range_, holds) in RANGES.items():
        value = getattr(sampling, name)
        if not (math.isfinite(value) and holds(value)):
            raise InvalidRequest(name, f"{name} must be {range_}, got {value}")
    if not 0 <= sampling.top_k <= vocab_size:
        raise InvalidRequest("top_k", f"top_k must be in [0, {vocab_size}], got {sampling.top_k}")
    if sampling.seed is not None and not -(2**63) <= sampling.seed < 2**64:
        raise InvalidRequest("seed", f"seed must fit in 64 bits, got {sampling.seed}")
    if sampling.expected_tokens is not None and not 0 <= sampling.expected_tokens <= 2**53:
        raise InvalidRequest(
            "expected_tokens", f"expected_tokens must be in [0, 2**53], got {sampling.expected_tokens}"
        )
    if sampling.logprobs is not None and not 0 <= sampling.logprobs <= MAX_LOGPROBS:
        raise InvalidRequest("logprobs", f"logprobs must be in [0, {MAX_LOGPROBS}], got {sampling.logprobs}")
    check_bias(sampling.logit_bias, vocab_size)


def check_bias(bias: dict[int, float], vocab_size: int) -> None:
    """Checks for ids in the vocabulary and values in [-100, 100], as the OpenAI API has them. Raises
    InvalidRequest.
    """
    if len(bias) > MAX_BIASES:
        raise InvalidRequest("logit_bias", f"logit_bias must have at most {MAX_BIASES} ids, got {len(bias)}")
    for token, value in bias.items():
        if not 0 <= token < vocab_size:
            raise InvalidRequest("logit_bias", f"logit_bias ids must be in [0, {vocab_size}), got {token}")
        if not -100 <= value <= 100:
            raise InvalidRequest("logit_bias", f"logit_bias values must be in [-100, 100], got {value}")
