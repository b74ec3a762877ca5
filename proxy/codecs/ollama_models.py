"""The models that are served, as Ollama's clients ask for them: the list, those in memory, one in detail.

https://docs.ollama.com/api/tags, .../ps, .../show
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from proxy.codecs.ollama_answer import line, timestamp
from proxy.conversation.model_card import ModelCard

_TAG = ":latest"
_FAMILY = "fortieth"
# Of Ollama's own template language. Clients look in it for what a model takes; its chat template is another.
_TEMPLATE = "{{ .System }}{{ .Tools }}{{ .Messages }}"
# Nothing is unloaded for want of requests: ten years.
_KEPT_S = 10 * 365 * 24 * 3600


def encode_tags(cards: Sequence[ModelCard]) -> bytes:
    models = [{**_listed(card), "modified_at": timestamp(card.created)} for card in cards]
    return line({"models": models})


def encode_loaded(cards: Sequence[ModelCard]) -> bytes:
    """All of them: what is served is ready."""
    models = [
        {
            **_listed(card),
            "expires_at": timestamp(card.created + _KEPT_S),
            "size_vram": 0,
            **({"context_length": card.context_length} if card.context_length else {}),
        }
        for card in cards
    ]
    return line({"models": models})


def encode_shown(card: ModelCard) -> bytes:
    """context_length under the architecture's name is where clients look for it; it is left out where it is
    not known.
    """
    family = card.family or _FAMILY
    known: dict[str, Any] = {"general.architecture": family, "general.basename": card.id}
    if card.context_length:
        known[f"{family}.context_length"] = card.context_length
    return line(
        {
            "modelfile": f"FROM {card.id}\n",
            "parameters": "",
            "template": _TEMPLATE,
            "details": _details(card),
            "model_info": known,
            "capabilities": _capabilities(card),
            "modified_at": timestamp(card.created),
        }
    )


def _capabilities(card: ModelCard) -> list[str]:
    """A model without calls of its own gets them from the guard. vision: not known of any."""
    return ["completion", "tools", *(["thinking"] if card.thinks else [])]


def _listed(card: ModelCard) -> dict[str, Any]:
    """Names have a tag, as in every list of Ollama's. size: of the weights, which is not known."""
    name = card.id if ":" in card.id.rpartition("/")[2] else card.id + _TAG
    return {
        "name": name,
        "model": name,
        "size": 0,
        "digest": hashlib.sha256(card.fingerprint.encode()).hexdigest(),
        "details": _details(card),
        "capabilities": _capabilities(card),
    }


def _details(card: ModelCard) -> dict[str, Any]:
    family = card.family or _FAMILY
    return {
        "parent_model": "",
        "format": "safetensors",
        "family": family,
        "families": [family],
        "parameter_size": "",
        "quantization_level": "",
    }
