"""The dialects that the server speaks: to add one is to add its codec here."""

from __future__ import annotations

from proxy.codecs.base import Codec
from proxy.codecs.openai_chat import OpenAIChat

# The first one also tells what belongs to no dialect: unknown routes, and the routes under /v1/fortieth.
CODECS: tuple[Codec, ...] = (OpenAIChat(),)
