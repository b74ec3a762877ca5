"""A real server on a real port, in a thread of its own, over an upstream that plays scripts."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Coroutine, Iterator, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

import httpx
import openai
import uvicorn

from proxy.codecs.base import Codec
from proxy.codecs.registry import CODECS
from proxy.conversation.message import Role
from proxy.conversation.request import ChatRequest
from proxy.conversation.verdict import GiveUp, GuardMode
from proxy.guard.policy import GuardPolicy
from proxy.http.app import create_app
from proxy.http.connection import HttpConnection
from proxy.http.routes import Limits
from proxy.http.server import HttpServer, bind
from proxy.records.ledger import Ledger
from proxy.records.request_record import Sink
from proxy.upstreams.base import Upstream
from proxy.upstreams.scripted import Script, ScriptedUpstream

T = TypeVar("T")


class LoopThread:
    """An event loop in a thread: tests with blocking clients ask it to run coroutines."""

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._loop = loop or asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    def start(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def run(self, work: Coroutine[Any, Any, T], timeout_s: float = 60.0) -> T:
        return self.start(work).result(timeout_s)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()


class LiveServer:
    """base_url ends in /v1. client and async_client never retry: tests want to see each error."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.root = f"http://127.0.0.1:{port}"
        self.base_url = self.root + "/v1"

    def client(self, api_key: str = "none") -> openai.OpenAI:
        return openai.OpenAI(base_url=self.base_url, api_key=api_key, max_retries=0)

    def async_client(self) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(base_url=self.base_url, api_key="none", max_retries=0)

    def post(self, body: dict[str, Any] | bytes, headers: dict[str, str] | None = None) -> httpx.Response:
        """A chat request as it comes; bytes are sent as they are."""
        url = self.base_url + "/chat/completions"
        # the certificates of a new client, which plain HTTP has no use for, take longer than the request
        with httpx.Client(verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), timeout=60) as client:
            if isinstance(body, bytes):
                return client.post(url, content=body, headers=headers)
            return client.post(url, json=body, headers=headers)


@contextlib.contextmanager
def serving(
    upstream: Upstream,
    *,
    mode: GuardMode = GuardMode.repair,
    policy: GuardPolicy | None = None,
    sinks: Sequence[Sink] = (),
    api_key: str | Sequence[str] = (),
    cors: Sequence[str] = (),
    near: bool = False,
    limits: Limits | None = None,
    thread: LoopThread | None = None,
    ledger: Ledger | None = None,
    codecs: Sequence[Codec] = CODECS,
) -> Iterator[LiveServer]:
    """Serves on a free port until the block ends. policy: else that of the mode. thread: the loop to serve
    on, else one of its own.
    """
    own = thread or LoopThread()
    app = create_app(
        upstream,
        policy=policy or GuardPolicy(mode=mode, give_up=GiveUp.text),
        sinks=sinks,
        api_keys=(api_key,) if isinstance(api_key, str) else api_key,
        limits=limits,
        ledger=ledger,
        cors=cors,
        near=near,
        codecs=codecs,
    )
    server = HttpServer(
        uvicorn.Config(
            app,
            lifespan="off",
            access_log=False,
            log_level="error",
            timeout_graceful_shutdown=5,
            http=HttpConnection,
        )
    )
    listener = bind("127.0.0.1", 0)
    port = listener.getsockname()[1]
    serving_task = own.start(server.serve(sockets=[listener]))
    try:
        yield LiveServer(port)
    finally:
        own.run(server.end())
        serving_task.result(30)
        if thread is None:
            own.close()


class Playbook:
    """Chooses the script by the text of the last user message; `default` answers the rest."""

    def __init__(self, default: Script) -> None:
        self.default = default
        self.scripts: dict[str, Script] = {}

    def __call__(self, request: ChatRequest) -> Script:
        users = [message.text for message in request.messages if message.role is Role.user]
        return self.scripts.get(users[-1] if users else "", self.default)


def scripted(*steps: str, **options: Any) -> ScriptedUpstream:
    """An upstream that answers everything alike."""
    return ScriptedUpstream(lambda request: Script(steps, **options))
