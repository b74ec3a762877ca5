"""The address at which a server can be reached, and the text that it prints when it is up."""

from __future__ import annotations

import ipaddress
import json
import shlex
import shutil
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

from proxy.conversation.verdict import GuardMode

# Addresses for documentation (RFC 5737, RFC 3849). Asked for the way to one, this machine tells its own
# address.
_FAR = {socket.AF_INET: "192.0.2.1", socket.AF_INET6: "2001:db8::1"}
_NAME = "fortieth"
_ALL = {"0.0.0.0": "127.0.0.1", "::": "::1"}


@dataclass(frozen=True, slots=True)
class Where:
    """Where a server listens.

    host: the address as the socket has it.
    outside: the machine's own address; "" where there is none.
    """

    host: str
    port: int
    outside: str = ""

    @classmethod
    def of(cls, listener: socket.socket) -> Where:
        host, port = listener.getsockname()[:2]
        return cls(host, port, own_address(listener.family) if host in _ALL else "")

    @property
    def is_open(self) -> bool:
        """Whether requests of other machines are answered."""
        return not ipaddress.ip_address(self.host.partition("%")[0]).is_loopback

    @property
    def page(self) -> str:
        """The address of the page, for a browser on this machine."""
        return f"http://{in_url(_ALL.get(self.host, self.host))}:{self.port}/"

    @property
    def base_url(self) -> str:
        """The base URL for clients on this machine."""
        return f"{self.page}v1"

    def lines(self) -> list[str]:
        """The lines of the welcome."""
        if self.host not in _ALL:
            return [f"  base_url  {self.base_url}"]
        others = f": for others http://{in_url(self.outside)}:{self.port}/v1" if self.outside else ""
        everywhere = f"  listening on {in_url(self.host)}:{self.port}, every address of this machine{others}"
        return [f"  base_url  {self.base_url}", everywhere]

    def warning(self) -> str:
        """The warning for a server that is open and has no key."""
        return (
            f"everybody who can reach {in_url(self.host)}:{self.port} may use the model and read its sessions"
            " and ledger: set FORTIETH_API_KEY, or leave --host at 127.0.0.1"
        )


def own_address(family: int) -> str:
    """The address by which other machines most likely know this one; "" for none. Sends nothing."""
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((_FAR[socket.AddressFamily(family)], 9))
            return str(probe.getsockname()[0])
    except OSError:
        return ""


def in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def own_command() -> str:
    """How the running command is called again: by its name where the PATH has it."""
    path = Path(sys.argv[0]).absolute()
    if path.name != _NAME:
        return f"{shlex.quote(sys.executable)} -m {_NAME}"
    found = shutil.which(_NAME)
    on_path = found is not None and Path(found).resolve() == path.resolve()
    return _NAME if on_path else shlex.quote(str(path))


def welcome(where: Where, model: str, mode: GuardMode, needs_key: bool) -> str:
    """What a user needs to begin: address, model, guard, and a request that calls a tool."""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": "What is the weather in Lisbon?"}],
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": "get_weather",
                    "description": "Get the current weather in a city",
                    "parameters": {
                        "type": "object",
                        "properties": {"city": {"type": "string"}},
                        "required": ["city"],
                    },
                },
            }
        ],
    }
    key = " -H 'authorization: Bearer YOUR_KEY'" if needs_key else ""
    return "\n".join(
        [
            "fortieth is ready",
            *where.lines(),
            f"  model     {model}",
            f"  guard     {mode}",
            f"  page      {where.page}",
            f"  command   {own_command()} (sessions, connect, doctor, ...: --help)",
            "try it:",
            f"  curl {where.base_url}/chat/completions -H 'content-type: application/json'{key} \\",
            f"    -d {shlex.quote(json.dumps(body))}",
        ]
    )
