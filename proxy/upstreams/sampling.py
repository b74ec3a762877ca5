"""Sampling parameters for the engine: the request's own, else the model's; `max_tokens` if it has none."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.types import SamplingParams
from proxy.conversation.request import Sampling

MOST_UNASKED = 16_384


@dataclass(frozen=True, slots=True)
class SamplingDefaults:
    """What a request gets where it says nothing: the model's generation_config.json, else greedy decoding.

    max_new_tokens: of an answer; 0 where the model says nothing.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    max_new_tokens: int = 0

    @classmethod
    def load(cls, model: Path) -> SamplingDefaults:
        """Reads the defaults of a model directory. An unreadable file and values of a wrong type count as
        unset.
        """
        try:
            config = json.loads((model / "generation_config.json").read_text("utf-8"))
        except (OSError, ValueError):
            return cls()
        if not isinstance(config, dict):
            return cls()
        if config.get("do_sample") is False:
            config = {"max_new_tokens": config.get("max_new_tokens")}
        known = {name: config.get(name) for name in cls.__slots__}
        numbers = {
            name: float(value)
            for name, value in known.items()
            if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        }
        top_k, most = int(numbers.pop("top_k", 0)), int(numbers.pop("max_new_tokens", 0))
        return cls(top_k=max(0, top_k), max_new_tokens=max(0, most), **numbers)

    def unasked_tokens(self, context: int) -> int:
        """Tokens for an answer whose length the client does not limit. Otherwise a runaway model would fill
        the context.
        """
        return min(MOST_UNASKED, context // 2, self.max_new_tokens or MOST_UNASKED)


def sampling_params(
    asked: Sampling,
    defaults: SamplingDefaults,
    room: int,
    stop_repetition: bool = True,
    unasked: int = MOST_UNASKED,
    expected: int | None = None,
) -> SamplingParams:
    """The parameters for the engine.

    room: tokens that the context has left. Many agents ask for more.
    stop_repetition: the server's setting.
    unasked: tokens for a request that sets no limit.
    expected: as ChatRequest.expected_tokens.
    """

    def given(value: Any, default: Any) -> Any:
        return default if value is None else value

    top_p = given(asked.top_p, defaults.top_p)
    greedy = top_p == 0  # only the most likely token is left
    return SamplingParams(
        max_tokens=min(given(asked.max_tokens, unasked), room),
        temperature=0.0 if greedy else given(asked.temperature, defaults.temperature),
        top_p=1.0 if greedy else top_p,
        top_k=given(asked.top_k, defaults.top_k),
        min_p=given(asked.min_p, defaults.min_p),
        seed=asked.seed,
        logit_bias=dict(asked.logit_bias),
        presence_penalty=given(asked.presence_penalty, 0.0),
        frequency_penalty=given(asked.frequency_penalty, 0.0),
        repetition_penalty=given(asked.repetition_penalty, defaults.repetition_penalty),
        ignore_eos=asked.ignore_eos,
        stop_repetition=stop_repetition,
        expected_tokens=expected,
        logprobs=asked.logprobs,
    )
