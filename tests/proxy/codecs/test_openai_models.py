"""The list of models, with what each client looks for in it."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from proxy.codecs.base import Codec
from proxy.codecs.openai_chat import OpenAIChat
from proxy.codecs.openai_completions import OpenAICompletions
from proxy.codecs.openai_responses import OpenAIResponses
from proxy.codecs.registry import CODECS
from proxy.conversation.model_card import ModelCard
from tests.proxy.conftest import Stage

CARD = {
    "id": "scripted",
    "object": "model",
    "created": 0,
    "owned_by": "fortieth",
    "max_model_len": 4096,
    "context_length": 4096,
    "max_input_tokens": 4096,
    "max_output_tokens": 4096,
    "max_tokens": 4096,
}


def test_the_list_and_one_of_it(stage: Stage) -> None:
    for root in (stage.server.base_url, stage.server.root):
        assert httpx.get(f"{root}/models").json() == {"object": "list", "data": [CARD], "models": []}
        assert httpx.get(f"{root}/models/scripted").json() == CARD
    missing = httpx.get(f"{stage.server.base_url}/models/owner/else")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "model_not_found")


def test_the_sdk_reads_it(stage: Stage) -> None:
    client = stage.server.client()
    (model,) = client.models.list().data
    assert model == client.models.retrieve("scripted")
    assert (model.model_extra or {})["max_model_len"] == 4096


@pytest.mark.parametrize("codec", [OpenAIChat(), OpenAIResponses(), OpenAICompletions()], ids=lambda c: "")
def test_a_context_length_that_is_not_known_is_left_out(codec: Codec) -> None:
    card = ModelCard("m", 1, 0, "fp")
    told: dict[str, Any] = json.loads(codec.encode_model(card))
    assert told == {"id": "m", "object": "model", "created": 1, "owned_by": "fortieth"}
    assert json.loads(codec.encode_models([card]))["data"] == [told]


def lengths(told: Any) -> list[Any]:
    """What stands in a list of models, at any depth, under a name of a context's length."""
    if isinstance(told, list):
        return [found for item in told for found in lengths(item)]
    if not isinstance(told, dict):
        return []
    own = [value for name, value in told.items() if "context_length" in name or name.startswith("max_")]
    return own + [found for value in told.values() for found in lengths(value)]


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: type(codec).__name__)
def test_no_dialect_tells_a_length_of_zero(codec: Codec) -> None:
    known, unknown = ModelCard("m", 1, 4096, "fp"), ModelCard("m", 1, 0, "fp")
    for told in (codec.encode_model(unknown), codec.encode_models([unknown])):
        assert not any(found == 0 for found in lengths(json.loads(told)))
    assert 4096 in lengths(json.loads(codec.encode_model(known)))
