"""What Ollama's clients ask about models, and what is not served."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from proxy.codecs.ollama_models import encode_loaded, encode_shown, encode_tags
from proxy.conversation.model_card import ModelCard
from tests.proxy.codecs.ollama import NO_TLS, send
from tests.proxy.conftest import Stage

CLIENT = {"user-agent": "ollama-python/0.6.1 (x86_64 linux) Python/3.11.2"}
THINKER = ModelCard("some/Thinker-8B", 86400, 32768, "fp_1", "qwen3", True)
UNKNOWN = ModelCard("gpt-x:turbo", 0, 0, "fp_2")


def test_the_list_of_models(stage: Stage) -> None:
    response = httpx.get(f"{stage.server.root}/api/tags", verify=NO_TLS)
    (model,) = response.json()["models"]
    assert len(model.pop("digest")) == 64
    assert model == {
        "name": "scripted:latest",
        "model": "scripted:latest",
        "modified_at": "1970-01-01T00:00:00.000000Z",
        "size": 0,
        "details": {
            "parent_model": "",
            "format": "safetensors",
            "family": "fortieth",
            "families": ["fortieth"],
            "parameter_size": "",
            "quantization_level": "",
        },
        "capabilities": ["completion", "tools"],
    }
    assert httpx.head(f"{stage.server.root}/api/tags", verify=NO_TLS).status_code == 200


def test_every_name_has_one_tag() -> None:
    for encode in (encode_tags, encode_loaded):
        models = json.loads(encode((THINKER, UNKNOWN)))["models"]
        assert [one["name"] for one in models] == ["some/Thinker-8B:latest", "gpt-x:turbo"]
        assert [one["model"] for one in models] == [one["name"] for one in models]
        assert models[0]["digest"] != models[1]["digest"]


def test_what_is_in_memory(stage: Stage) -> None:
    (model,) = httpx.get(f"{stage.server.root}/api/ps", verify=NO_TLS).json()["models"]
    (listed,) = httpx.get(f"{stage.server.root}/api/tags", verify=NO_TLS).json()["models"]
    own = {"expires_at": "1979-12-30T00:00:00.000000Z", "size_vram": 0, "context_length": 4096}
    assert model == {**{name: value for name, value in listed.items() if name != "modified_at"}, **own}


@pytest.mark.parametrize(
    "body", [{"model": "scripted"}, {"name": "scripted:latest"}, {"model": "scripted", "verbose": True}]
)
def test_one_model(stage: Stage, body: dict[str, Any]) -> None:
    shown = send(stage.server, body, "/api/show").json()
    assert shown["model_info"] == {
        "general.architecture": "fortieth",
        "general.basename": "scripted",
        "fortieth.context_length": 4096,
    }
    assert shown["capabilities"] == ["completion", "tools"]
    assert "tools" in shown["template"].lower()  # which is where LiteLLM looks
    assert shown.keys() == {
        "modelfile",
        "parameters",
        "template",
        "details",
        "model_info",
        "capabilities",
        "modified_at",
    }


def test_one_model_of_which_more_or_less_is_known() -> None:
    thinker = json.loads(encode_shown(THINKER))
    assert thinker["capabilities"] == ["completion", "tools", "thinking"]
    assert thinker["details"]["family"] == thinker["model_info"]["general.architecture"] == "qwen3"
    assert thinker["model_info"]["qwen3.context_length"] == 32768
    unknown = json.loads(encode_shown(UNKNOWN))
    assert not any(name.endswith("context_length") for name in unknown["model_info"])


def test_the_version_is_one_of_ollamas(stage: Stage) -> None:
    version = httpx.get(f"{stage.server.root}/api/version", verify=NO_TLS).json()["version"]
    assert tuple(map(int, version.split("."))) >= (0, 12, 11)


ABSENT = (
    ("POST", "/api/embed"),
    ("POST", "/api/embeddings"),
    ("POST", "/api/create"),
    ("POST", "/api/copy"),
    ("POST", "/api/pull"),
    ("POST", "/api/push"),
    ("DELETE", "/api/delete"),
    ("POST", "/api/blobs/sha256:00"),
)


@pytest.mark.parametrize(("method", "path"), ABSENT)
def test_what_is_not_served_says_so(stage: Stage, method: str, path: str) -> None:
    response = httpx.request(
        method, stage.server.root + path, json={"model": "scripted", "input": "x"}, verify=NO_TLS
    )
    assert response.status_code == 404
    assert response.json()["error"].startswith("not served here")


def test_what_no_route_has_is_told_to_its_clients_in_its_shape(stage: Stage) -> None:
    for method, path, status in (("GET", "/api/chat", 405), ("POST", "/api/experimental", 404)):
        response = httpx.request(method, stage.server.root + path, headers=CLIENT, verify=NO_TLS)
        assert (response.status_code, type(response.json()["error"])) == (status, str)


@pytest.mark.parametrize("name", ["scripted:latest", "default:latest", ":latest"])
def test_the_latest_is_the_one_that_is_served(stage: Stage, name: str) -> None:
    """In every dialect: a list of names is copied from one client's settings to another's."""
    asked = {"model": name, "messages": [{"role": "user", "content": "hi"}]}
    response = httpx.post(f"{stage.server.base_url}/chat/completions", json=asked, verify=NO_TLS)
    assert (response.status_code, response.json().get("model")) == (200, "scripted")
    other = httpx.post(
        f"{stage.server.base_url}/chat/completions", json=asked | {"model": "scripted:7b"}, verify=NO_TLS
    )
    assert other.status_code == 404
