"""No address that a client writes is fetched: not by us, and not by LiteLLM for us."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator

import pytest

from proxy.upstreams.remote.litellm import load_litellm
from repair.schema import compile_schema


class Counting(http.server.BaseHTTPRequestHandler):
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()


@pytest.fixture
def site() -> Iterator[tuple[str, list[str]]]:
    """A server's address and the paths that it was asked for."""
    Counting.asked = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Counting)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", Counting.asked
    server.shutdown()
    thread.join()
    server.server_close()


def test_litellm_fetches_no_picture(site: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """This provider takes the bytes of a picture alone, so that LiteLLM would ask for them."""
    litellm = load_litellm()
    monkeypatch.setattr(litellm, "user_url_validation", False)  # else it refuses addresses of this machine
    monkeypatch.setenv("GEMINI_API_KEY", "x")
    address, asked = site
    content = [{"type": "image_url", "image_url": {"url": f"{address}/picture.png"}}]
    with pytest.raises(Exception, match="download is disabled"):
        litellm.completion(
            "gemini/gemini-2.0-flash",
            [{"role": "user", "content": content}],
            api_base=f"{address}/api",
            max_retries=0,
        )
    assert [path for path in asked if "picture" in path] == []


def test_a_reference_of_a_schema_is_not_followed(site: tuple[str, list[str]]) -> None:
    address, asked = site
    compiled = compile_schema({"type": "object", "properties": {"a": {"$ref": f"{address}/schema.json"}}})
    assert compiled.left_out
    assert compiled.validator.is_valid({"a": 1})
    assert asked == []
