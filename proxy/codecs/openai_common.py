"""What OpenAI's APIs say alike: ids of calls, the list of models, token counts, and log probabilities."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from proxy.conversation.events import Usage
from proxy.conversation.logprobs import Candidate, TokenLogprob
from proxy.conversation.model_card import ModelCard

# vLLM's name, OpenRouter's, and those of LiteLLM and Anthropic. Prompt and answer share the context, so
# that either may be as long as it is.
_LENGTHS = ("max_model_len", "context_length", "max_input_tokens", "max_output_tokens", "max_tokens")


class OpenAICodec:
    """What the codecs of OpenAI's APIs have in common."""

    def claims(self, headers: Mapping[str, str]) -> bool:
        return False  # no header is these dialects' own

    def call_id(self) -> str:
        return f"call_{secrets.token_hex(12)}"

    def encode_models(self, cards: Sequence[ModelCard]) -> bytes:
        """`models` is where Codex looks, and it fails on a list without it. The rows that it knows would
        bring the system prompt with them, which is not ours to tell; an empty list leaves it its own.
        """
        data = [_card_object(card) for card in cards]
        return msgspec.json.encode({"object": "list", "data": data, "models": []})

    def encode_model(self, card: ModelCard) -> bytes:
        return msgspec.json.encode(_card_object(card))


def _card_object(card: ModelCard) -> dict[str, Any]:
    """OpenAI's model object, with the context length under each name that clients look for, and under none
    where it is not known.
    """
    known = dict.fromkeys(_LENGTHS, card.context_length) if card.context_length else {}
    return {"id": card.id, "object": "model", "created": card.created, "owned_by": "fortieth", **known}


def usage_object(usage: Usage) -> dict[str, Any]:
    """As Chat Completions and completions have it."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        **cost_field(usage),
    }


def cost_field(usage: Usage) -> dict[str, float]:
    """What an upstream charges, where it tells: OpenRouter's name, which its clients read."""
    return {} if usage.cost is None else {"cost": usage.cost}


def logprobs_object(tokens: Sequence[TokenLogprob]) -> dict[str, Any] | None:
    """As a choice of a chat answer has it: None where there are none to tell."""
    return {"content": logprob_objects(tokens), "refusal": None} if tokens else None


def logprob_objects(tokens: Sequence[TokenLogprob]) -> list[dict[str, Any]]:
    return [
        {**_candidate_object(token.chosen), "top_logprobs": [_candidate_object(one) for one in token.top]}
        for token in tokens
    ]


def _candidate_object(candidate: Candidate) -> dict[str, Any]:
    """A token that holds a part of a character shows as U+FFFD; its bytes are exact."""
    return {
        "token": candidate.raw.decode("utf-8", "replace"),
        "logprob": candidate.logprob,
        "bytes": list(candidate.raw),
    }
