"""What the bare address answers: that a server is here, and what it serves."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from proxy import __version__
from proxy.conversation.model_card import ModelCard

# Ollama's own command line asks for it before anything else, and looks at the status alone.
RUNNING = "fortieth is running. GET /v1 says what is served.\n"
_HOST = re.compile(r"[\w.\-]{1,255}(?::\d{1,5})?|\[[0-9a-fA-F:.]{2,45}\](?::\d{1,5})?", re.ASCII)


def index(host: str, cards: Sequence[ModelCard], routes: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """The body of GET /v1. host: as the client wrote it. routes: methods and paths."""
    address = f"http://{host}" if _HOST.fullmatch(host) else "http://HOST:PORT"
    return {
        "object": "server",
        "name": "fortieth",
        "version": __version__,
        "models": [card.id for card in cards],
        "base_urls": {"openai": f"{address}/v1", "anthropic": address, "ollama": address},
        "routes": sorted({f"{method} {path}" for path, method in routes}),
    }
