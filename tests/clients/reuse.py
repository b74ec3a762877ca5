"""How much of each prompt of a recorded session the engine has computed before.

`make clients ARGS='--record FOLDER ...'` records what clients send. Here each recorded session is sent again,
turn by turn, to the bundled model with a context that is long enough, for one token of answer each; the
engine itself tells how many tokens of the prompt it had. What the model says in the conversation is the
recording's.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import urllib.request
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.servers import ROOT, ours, running

MODEL = ROOT / "engine/models/fortieth-tiny-4bit"
_MARK = re.compile(r"task (t[0-9a-f]{8})\b")
_TIMEOUT_S = 600.0
# From this turn on the prefix has to be there (issue: >= 95% from turn 3 on).
FROM_TURN = 3


@dataclass(frozen=True, slots=True)
class Turn:
    """tokens: of the prompt. cached: those of them that were not computed again."""

    tokens: int
    cached: int

    @property
    def share(self) -> float:
        return self.cached / self.tokens if self.tokens else 0.0


def sessions(lines: Iterable[str]) -> dict[str, list[dict[str, Any]]]:
    """The requests with tools, by the mark of the run, in order; titles and the like have none."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for line in lines:
        request = json.loads(line)
        mark = _MARK.search(json.dumps(request["body"]))
        if mark and request["body"].get("tools") and not request["path"].endswith("tokens"):
            found[mark.group(1)].append(request)
    return dict(found)


def short(request: dict[str, Any]) -> dict[str, Any]:
    """The body of a request for one token, whole."""
    body = {**request["body"], "model": "default", "stream": False}
    body.pop("stream_options", None)
    if "/responses" in request["path"]:
        return {**body, "max_output_tokens": 1}
    if "/messages" in request["path"]:
        return {**body, "max_tokens": 1}
    return {**body, "max_completion_tokens": 1}


def read_usage(usage: dict[str, Any]) -> Turn:
    """Of any of the dialects: Messages tells apart what the others tell together."""
    if "cache_read_input_tokens" in usage:
        cached = usage["cache_read_input_tokens"] or 0
        return Turn(usage["input_tokens"] + cached + (usage.get("cache_creation_input_tokens") or 0), cached)
    tokens = usage.get("input_tokens", usage.get("prompt_tokens", 0))
    details = usage.get("input_tokens_details", usage.get("prompt_tokens_details")) or {}
    return Turn(tokens, details.get("cached_tokens", 0))


def replay(port: int, requests: Iterable[dict[str, Any]]) -> list[Turn]:
    turns = []
    for request in requests:
        headers = {**request["headers"], "content-type": "application/json", "accept-encoding": "identity"}
        data = json.dumps(short(request)).encode()
        url = f"http://127.0.0.1:{port}{request['path']}"
        asked = urllib.request.Request(url, data, headers)
        with urllib.request.urlopen(asked, timeout=_TIMEOUT_S) as response:
            turns.append(read_usage(json.loads(response.read())["usage"]))
    return turns


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.clients.reuse", description=__doc__)
    parser.add_argument("recorded", type=Path, nargs="+", help="files of --record")
    parser.add_argument("--context", default="65536", help="tokens that the bundled model is to take")
    options = parser.parse_args(arguments)
    low = False
    for path in options.recorded:
        for mark, requests in sessions(path.read_text().splitlines()).items():
            agent = requests[0]["headers"].get("user-agent", "")
            print(f"\n{path.name} {mark} {agent}\n\n| turn | tokens | cached | share |\n|---|---|---|---|")
            # a server each, so that no session finds what another one left
            server = ours("--context-limit", options.context, "--cache-dir", "off", "--ledger", "off")
            with running(server, MODEL) as live:
                turns = replay(live.port, requests)
            for number, turn in enumerate(turns, 1):
                print(f"| {number} | {turn.tokens} | {turn.cached} | {turn.share:.1%} |")
            later = [turn.share for turn in turns[FROM_TURN - 1 :]]
            low |= not later or min(later) < 0.95
            print(f"\nfrom turn {FROM_TURN} on at least {min(later, default=0):.1%}")
    return 1 if low else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
