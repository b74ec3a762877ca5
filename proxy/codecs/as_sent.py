"""What of a request an upstream gets as its client sent it, beside all that is read here.

Whatever a client says that nobody here knows may mean something to the server behind: so all of it is sent,
but for the fields named here, each with the reason. docs/upstreams.md shows the same list.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from proxy.codecs.fields import Fields

_OWN = "fortieth reads it and no upstream knows it"
_OTHER_SERVERS = "it is about the provider's own servers, which Chat Completions cannot name"
_ONE_EACH = "each answer is a request of its own"
_KEPT_HERE = "answers are kept here, not by the upstream"

# By dialect: fields that are not sent in any form, and why.
NOT_SENT: Mapping[str, Mapping[str, str]] = {
    "chat": {
        "n": _ONE_EACH,
        "timeout_s": _OWN,
    },
    "completions": {
        "n": _ONE_EACH,
        "best_of": _ONE_EACH,
        "echo": "the prompt is repeated here",
        "messages": "the route takes prompts alone",
        "tools": "the route takes prompts alone",
        "timeout_s": _OWN,
    },
    "responses": {
        "background": "only whole and streamed answers are served",
        "client_metadata": "its client tells it to its own provider",
        "context_management": _OTHER_SERVERS,
        "include": "it says what the answer shows",
        "max_tool_calls": _OTHER_SERVERS,
        "metadata": "it is kept with the answer, and comes back with it",
        "previous_response_id": _KEPT_HERE,
        "store": _KEPT_HERE,
        "stream_options": "it says what the stream shows",
        "timeout_s": _OWN,
        "truncation": "nothing of a conversation is left out",
    },
    "messages": {
        "anthropic_beta": _OTHER_SERVERS,
        "anthropic_version": _OTHER_SERVERS,
        "betas": _OTHER_SERVERS,
        "cache_control": "it marks the end of the prompt; marks inside of it are sent",
        "container": _OTHER_SERVERS,
        "context_management": _OTHER_SERVERS,
        "inference_geo": _OTHER_SERVERS,
        "mcp_servers": _OTHER_SERVERS,
        "output_config.effort": "its levels are Anthropic's own",
        "metadata": "it names the session, and Chat Completions takes it with `store` alone",
        "service_tier": "its values are Anthropic's own",
        "speed": _OTHER_SERVERS,
    },
    "ollama": {
        "context": "a conversation is sent as messages",
        "keep_alive": "it is about the memory of Ollama's server",
        "options": "of its fields those are sent that Chat Completions has too",
        "shift": "it is about the context of Ollama's server",
        "template": "the upstream has its own",
        "truncate": "it is about the context of Ollama's server",
    },
}
# Of a message of Chat Completions. Some are what a client adds for itself, others what an answer holds and no
# request does.
NOT_SENT_OF_MESSAGES: Mapping[str, str] = {
    "annotations": "only answers hold it",
    "created": "a client's own mark",
    "created_at": "a client's own mark",
    "createdAt": "a client's own mark",
    "id": "a client's own mark",
    "index": "only answers hold it",
    "metadata": "a client's own mark",
    "object": "only answers hold it",
    "status": "a client's own mark",
    "timestamp": "a client's own mark",
    "type": "the role says it",
}
# Read here, and sent as they stand too.
_TOO = {
    "chat": "user metadata prompt_cache_key reasoning_effort enable_thinking",
    "completions": "user metadata prompt_cache_key",
    "responses": "user prompt_cache_key safety_identifier enable_thinking thinking_budget "
    "thinking_token_budget include_reasoning",
    "messages": "enable_thinking",
    "ollama": "",
}


# Read here in part: whether the client is told the usage. Of an upstream we always ask for it.
_STREAM = "stream_options"


def further_fields(body: Fields, dialect: str, read: Collection[str]) -> dict[str, Any]:
    """The fields of a body that an upstream gets as they were sent. read: those that the dialect knows."""
    left_out, too = NOT_SENT[dialect], _TOO[dialect].split()
    further = {
        name: value
        for name, value in body.values.items()
        if value is not None and name not in left_out and (name not in read or name in too)
    }
    options = {} if _STREAM in left_out else body.object(_STREAM).values
    if others := {name: value for name, value in options.items() if name != "include_usage"}:
        return {**further, _STREAM: others}
    return {name: value for name, value in further.items() if name != _STREAM}
