"""Long bodies on their way in: they take turns, one is decoded at a time, and together they are bounded."""

from __future__ import annotations

import asyncio
import gzip
import threading
from collections.abc import Sequence

import pytest
from fastapi import Request

from proxy.conversation.errors import Overloaded
from proxy.http import incoming
from proxy.http.incoming import Bodies, BodyLimits
from tests.proxy.at_once import AtOnce

KIB = 1024
LIMITS = BodyLimits(max_bytes=1024 * KIB, silence_s=20, total_s=20)
LONG = 300 * KIB


class Client:
    """Sends a body in pieces, and the last of them only when it may. asked: when each piece was asked for, in
    turns of the event loop.
    """

    def __init__(self, pieces: Sequence[bytes], encoding: str = "") -> None:
        self.may_end = asyncio.Event()
        self.asked: list[int] = []
        self.turn = 0
        self._pieces = list(pieces)
        headers = [(b"content-encoding", encoding.encode())] if encoding else []
        self.request = Request({"type": "http", "headers": headers}, self._receive)

    async def _receive(self) -> dict[str, object]:
        self.asked.append(self.turn)
        if len(self._pieces) == 1:
            await self.may_end.wait()
        return {"type": "http.request", "body": self._pieces.pop(0), "more_body": bool(self._pieces)}


def clients(*sizes: int) -> list[Client]:
    return [Client((b"x" * size, b"")) for size in sizes]


async def outcome(bodies: Bodies, client: Client) -> int | str:
    try:
        size, body = await bodies.decode(client.request, len)
    except Overloaded as error:
        return f"{error.message}, after {error.retry_after_s} s"
    assert len(body) == size
    return size


async def settle() -> None:
    for _ in range(200):
        await asyncio.sleep(0)


def test_the_longest_makes_room_where_all_are_too_long_together() -> None:
    async def send() -> list[int | str]:
        bodies = Bodies(LIMITS)
        sizes = [1024 * KIB, *(1000 * KIB,) * 7, LONG, 100]
        sent = clients(*sizes)
        answers = [asyncio.create_task(outcome(bodies, client)) for client in sent]
        await settle()
        for client in sent:
            client.may_end.set()
        return await asyncio.gather(*answers)

    first, *others = asyncio.run(send())
    assert first == "the bodies of all requests may have 8388608 bytes together: try again, after 1.0 s"
    assert others == [*(1000 * KIB,) * 7, LONG, 100]


def test_there_is_room_again_when_others_have_ended_or_are_gone() -> None:
    async def send() -> list[int | str]:
        bodies = Bodies(LIMITS)
        gone = clients(*(1024 * KIB,) * 8)
        reading = [asyncio.create_task(outcome(bodies, client)) for client in gone]
        await settle()
        for one in reading:
            one.cancel()
        await asyncio.gather(*reading, return_exceptions=True)
        answers = []
        for _ in range(9):
            client = clients(1024 * KIB)[0]
            client.may_end.set()
            answers.append(await outcome(bodies, client))
        return answers

    assert asyncio.run(send()) == [1024 * KIB] * 9


def test_of_long_bodies_one_piece_is_read_in_a_turn_of_the_loop() -> None:
    async def send() -> list[Client]:
        bodies = Bodies(LIMITS)
        sent = [Client([b"x" * 64 * KIB] * 16) for _ in range(5)]
        answers = [asyncio.create_task(outcome(bodies, client)) for client in sent]
        for client in sent:
            client.may_end.set()
        while not all(answer.done() for answer in answers):
            for client in sent:
                client.turn += 1
            await asyncio.sleep(0)
        return sent

    sent = asyncio.run(send())
    # 4 pieces of 64 KiB are not yet more than 256, so that the sixth is the first that waits
    turns = sorted(turn for client in sent for turn in client.asked[5:])
    assert len(turns) == 5 * 11
    assert len(set(turns)) == len(turns)


class Work(AtOnce):
    def __call__(self, body: bytes) -> int:
        self.note()
        return len(body)


@pytest.mark.parametrize("encoding", ["", "gzip"])
@pytest.mark.parametrize("size", [1000, LONG])
def test_one_long_body_is_decoded_at_a_time_in_a_thread(encoding: str, size: int) -> None:
    work = Work()
    data = gzip.compress(b"x" * size) if encoding else b"x" * size

    async def send() -> list[tuple[int, bytes]]:
        bodies = Bodies(LIMITS)
        sent = [Client((data,), encoding) for _ in range(4)]
        for client in sent:
            client.may_end.set()
        return await asyncio.gather(*(bodies.decode(client.request, work) for client in sent))

    assert asyncio.run(send()) == [(size, b"x" * size)] * 4
    assert work.most == 1
    assert (threading.get_ident() in work.threads) is (size < LONG)


@pytest.mark.parametrize("size", [1000, LONG])
def test_what_a_long_body_took_is_given_back(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(incoming, "_REST_S", 0.02)
    given_back: list[int] = []

    async def send() -> None:
        bodies = Bodies(LIMITS, lambda: given_back.append(0))
        for at in range(2):
            client = clients(size)[0]
            client.may_end.set()
            await outcome(bodies, client)
            expected = 0 if size < LONG else 2 * at
            assert len(given_back) == expected  # not at once
            while size == LONG and len(given_back) < expected + 2:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)
        assert len(given_back) == (4 if size == LONG else 0)  # and not on and on

    asyncio.run(asyncio.wait_for(send(), 20))
