"""The dialects that the server speaks: to add one is to add its codec here."""

from __future__ import annotations

from proxy.codecs.anthropic import Anthropic
from proxy.codecs.base import Codec
from proxy.codecs.ollama import OllamaChat, OllamaGenerate, OllamaShow
from proxy.codecs.openai_chat import OpenAIChat
from proxy.codecs.openai_completions import OpenAICompletions
from proxy.codecs.openai_responses import OpenAIResponses

# The first one also has what no dialect claims: unknown routes, and the routes under /v1/fortieth.
CODECS: tuple[Codec, ...] = (
    OpenAIChat(),
    Anthropic(),
    OpenAIResponses(),
    OpenAICompletions(),
    OllamaChat(),
    OllamaGenerate(),
    OllamaShow(),
)
