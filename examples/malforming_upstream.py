"""A model server that calls tools wrongly, to see what fortieth does about it. It needs Python alone.

    python examples/malforming_upstream.py [PORT]
    fortieth serve --upstream http://127.0.0.1:8041/v1

What it writes depends on the city that the first question names:

    Lisbon   a number in quotes and a comma too many: one reading is possible, so the call is repaired
    Oslo     no city at first: nothing can be repaired, so the model is asked again, and then calls rightly
    Atlantis no city however often it is asked: the call cannot be saved
"""

from __future__ import annotations

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODEL = "breaks-calls"
CALL = '<tool_call>{"name": "get_forecast", "arguments": %s}</tool_call>'
NO_CITY = CALL % '{"days": 3}'
ANSWERS = {
    "Lisbon": (CALL % '{"city": "Lisbon", "days": "3",}', CALL % '{"city": "Lisbon", "days": 3}'),
    "Oslo": (NO_CITY, CALL % '{"city": "Oslo", "days": 3}'),
    "Atlantis": (NO_CITY, NO_CITY),
}


def answer(messages: list[dict[str, Any]]) -> str:
    """The model's text: a wrong call at first, and what it calls when it is told what was wrong."""
    if messages[-1]["role"] == "tool" and "sunny" in messages[-1]["content"]:
        return "It will be sunny."
    questions = [str(one["content"]) for one in messages if one["role"] == "user"]
    for city, (first, asked_again) in ANSWERS.items():
        if city in questions[0]:
            return asked_again if len(messages) > 1 else first
    return "Which city do you mean?"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._send("application/json", json.dumps({"object": "list", "data": [{"id": MODEL}]}))

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        delta = {"role": "assistant", "content": answer(body["messages"])}
        counts = {"prompt_tokens": 20, "completion_tokens": 10, "total_tokens": 30}
        events: list[dict[str, Any]] = [
            {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]},
            {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
            {"choices": [], "usage": counts},
        ]
        head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 0, "model": MODEL}
        lines = [f"data: {json.dumps({**head, **event})}\n\n" for event in events]
        self._send("text/event-stream", "".join([*lines, "data: [DONE]\n\n"]))

    def _send(self, kind: str, text: str) -> None:
        body = text.encode()
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing: the terminal is fortieth's."""


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8041
    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    print(f"{MODEL} listens on http://127.0.0.1:{server.server_port}/v1", flush=True)
    server.serve_forever()
