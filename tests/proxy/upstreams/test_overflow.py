"""A prompt that is too long for another server is told as agents look for it, with the numbers."""

from __future__ import annotations

import pytest

from proxy.conversation.errors import BadRequest, ContextTooLong
from proxy.upstreams.remote.refusals import Failure, refusal

# what servers say, and the numbers that the client is told first
TOLD: dict[str, tuple[str, str]] = {
    "openai": (
        "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens.",
        "9000 tokens > 8192 maximum",
    ),
    "vllm": (
        "This model's maximum context length is 4096 tokens. However, you requested 5100 tokens (5000 in the "
        "messages, 100 in the completion).",
        "5100 tokens > 4096 maximum",
    ),
    "anthropic": ("prompt is too long: 210000 tokens > 200000 maximum", "210000 tokens > 200000 maximum"),
    "llama_cpp": (
        "request (5000 tokens) exceeds the available context size (4096 tokens), try increasing it",
        "5000 tokens > 4096 maximum",
    ),
    "reversed": (
        "the context length of 2048 is exceeded by 3000 tokens of input",
        "3000 tokens > 2048 maximum",
    ),
    "no_numbers": ("The input is too long for this model.", "upstream u: The input is too long"),
    "one_number": ("context window exceeded: at most 2048 tokens", "upstream u: context window"),
    "smaller": ("maximum context length is 4096, max_tokens 100 does not fit", "upstream u: maximum context"),
}


@pytest.mark.parametrize("name", TOLD)
def test_the_numbers_stand_in_front(name: str) -> None:
    said, first = TOLD[name]
    error = refusal(Failure("BadRequestError", 400, said), "u")
    assert isinstance(error, ContextTooLong)
    assert error.message.startswith(f"prompt is too long: {first}")
    assert said in error.message


def test_other_refusals_have_no_such_words() -> None:
    error = refusal(Failure("BadRequestError", 400, "top_p must be at most 1, got 7 tokens > 3"), "u")
    assert type(error) is BadRequest
    assert "too long" not in error.message
