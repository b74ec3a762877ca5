"""The paths of requests: one spelling for each route, and what leads a client to a path without one."""

from __future__ import annotations

import re
from urllib.parse import quote

_SLASHES = re.compile("/{2,}")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_SHOWN = 200


def normal_path(path: str) -> str:
    """The path by which a request is routed. path: with its percent signs decoded.

    Base URLs are entered with and without a slash at the end, and with /v1 for clients that add it
    themselves: `/v1//chat/completions/` and `/v1/v1/messages` are served. Control characters stay encoded: a
    pattern of the router takes a line's end for the end of the path.
    """
    path = _CONTROLS.sub(lambda found: quote(found[0]), path)
    path = _SLASHES.sub("/", path).rstrip("/") or "/"
    return path.removeprefix("/v1") if path.startswith("/v1/v1/") else path


_OPENAI = "an OpenAI client's base URL (`base_url`, OPENAI_BASE_URL) is this server's address and /v1"
_ANTHROPIC = (
    "an Anthropic client's base URL (`base_url`, ANTHROPIC_BASE_URL) is this server's address without a path"
)
_OLLAMA = "an Ollama client's host (`host`, OLLAMA_HOST) is this server's address without a path"
_EMBEDDINGS = (
    "no embeddings are computed here: a client's setting for an embedding model (`embeddingsProvider`, "
    "RAG_OPENAI_API_BASE_URL) has to name another server"
)
_MEDIA = (
    "of OpenAI's API the chat, responses, completions and models are served: a client's setting for speech, "
    "pictures or files has to name another server"
)
_PULLED = "models are not fetched or deleted over HTTP: `fortieth serve MODEL` says which one is served"
# Patterns of paths, each with what leads there: the first one counts.
_LEADS: tuple[tuple[str, str], ...] = (
    (r"/openai/deployments/", f"this is Azure's API: take the client's plain OpenAI provider; {_OPENAI}"),
    (
        r"/v1beta\b|:(?:stream)?generatecontent|:counttokens",
        f"Google's API (GOOGLE_GEMINI_BASE_URL) is not served: take the client's OpenAI provider; {_OPENAI}",
    ),
    (
        r"/model/[^/]+/(?:converse|invoke)",
        f"Amazon's API (ANTHROPIC_BEDROCK_BASE_URL) is not served: take another provider; {_ANTHROPIC}",
    ),
    (r"/(?:embeddings?|embed|rerank|score|pooling)$", _EMBEDDINGS),
    (
        r"/(?:images|audio|videos|moderations|files|uploads|batches|fine_tuning|vector_stores|assistants"
        r"|threads|realtime)\b",
        _MEDIA,
    ),
    (r"/api/(?:pull|push|create|copy|delete|blobs)\b", _PULLED),
    (r"/api/(?:chat|generate|tags|show|ps|version)$", _OLLAMA),
    (r"/messages(?:/count_tokens)?$", _ANTHROPIC),
    (
        r"/(?:mcp|sse)$",
        "an MCP client's `url` has to name an MCP server: this server has models and no tools",
    ),
    (
        r"/(?:props|slots|completion|infill|apply-template)$",
        f"llama.cpp's own API is not served: take the client's OpenAI provider; {_OPENAI}",
    ),
    (r"/(?:chat/completions|completions|responses|models)$", _OPENAI),
)
_PATTERNS = tuple((re.compile(pattern), lead) for pattern, lead in _LEADS)


def not_found(method: str, path: str) -> str:
    """What to tell a client whose path is served by no route: which setting may have led there."""
    known = path.lower()
    lead = next((lead for pattern, lead in _PATTERNS if pattern.search(known)), "")
    more = lead or f"{_OPENAI}; {_ANTHROPIC}; {_OLLAMA}"
    return f"{method} {path[:_SHOWN]}: Not Found. GET /v1 says what is served; {more}"
