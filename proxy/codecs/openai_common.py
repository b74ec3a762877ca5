"""What OpenAI's APIs say alike: the list of models, and log probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from proxy.conversation.logprobs import Candidate, TokenLogprob
from proxy.conversation.model_card import ModelCard


def encode_models(cards: Sequence[ModelCard]) -> bytes:
    return msgspec.json.encode({"object": "list", "data": [_card_object(card) for card in cards]})


def encode_model(card: ModelCard) -> bytes:
    return msgspec.json.encode(_card_object(card))


def _card_object(card: ModelCard) -> dict[str, Any]:
    """OpenAI's model object, with the context length under the name that agents look for."""
    return {
        "id": card.id,
        "object": "model",
        "created": card.created,
        "owned_by": "fortieth",
        "max_model_len": card.context_length,
    }


def logprobs_object(tokens: Sequence[TokenLogprob]) -> dict[str, Any]:
    """As a choice of a chat answer has it."""
    return {"content": logprob_objects(tokens), "refusal": None}


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
