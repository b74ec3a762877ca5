"""All clients that `fortieth connect` knows. `make clients` drives each by what stands here."""

from __future__ import annotations

from proxy.cli.connections.agents import AGENTS
from proxy.cli.connections.base import SupportedClient
from proxy.cli.connections.libraries import LIBRARIES

CLIENTS: dict[str, SupportedClient] = {client.name: client for client in (*AGENTS, *LIBRARIES)}
