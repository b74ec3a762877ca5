"""Frames between the proxy's process and the engine's: a 4-byte big-endian length, then msgpack.

This file does no I/O: bytes in, values out. Nothing is ever pickled.
"""

from __future__ import annotations

import struct
from typing import Generic, TypeVar

import msgspec

from engine.config import EngineConfig
from engine.types import (
    Began,
    Failed,
    Finished,
    GenerateRequest,
    ModelInfo,
    SessionInfo,
    TextChunk,
    WorkerStats,
)

LENGTH = struct.Struct(">I")
# room for a prompt of many millions of tokens; anything above is a broken stream
MAX_FRAME = 256 * 1024 * 1024


class Load(msgspec.Struct, frozen=True, tag="load"):
    """The first frame to the engine process."""

    config: EngineConfig


class Submit(msgspec.Struct, frozen=True, tag="submit"):
    request: GenerateRequest


class Abort(msgspec.Struct, frozen=True, tag="abort"):
    id: str


class Stop(msgspec.Struct, frozen=True, tag="stop"):
    """The request has written all that is needed. Answered by its Finished, unless that is on its way
    already.
    """

    id: str


class Sessions(msgspec.Struct, frozen=True, tag="sessions"):
    """A request about sessions, answered by SessionList with the same number. action: list, pin, unpin or
    drop. id: of the session, except for list.
    """

    number: int
    action: str = "list"
    id: str = ""


class Prefetch(msgspec.Struct, frozen=True, tag="prefetch"):
    """A sign of life of a session, before its request. Not answered."""

    id: str


class End(msgspec.Struct, frozen=True, tag="end"):
    """The last frame to the engine process, which writes what is to be kept and exits. Answered by Ending."""


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """The model is loaded and has computed once."""

    info: ModelInfo


class LoadFailed(msgspec.Struct, frozen=True, tag="load_failed"):
    """The last frame of a process that could not load its model."""

    reason: str


class Events(msgspec.Struct, frozen=True, tag="events"):
    """Everything that one step produced, in order. Sent empty as a sign of life."""

    outputs: list[Began | TextChunk | Finished | Failed]
    stats: WorkerStats


class SessionList(msgspec.Struct, frozen=True, tag="session_list"):
    """The sessions after an action. known: whether the session of the action was known."""

    number: int
    sessions: list[SessionInfo]
    known: bool = True


class Ending(msgspec.Struct, frozen=True, tag="ending"):
    """The last frame of a process that was asked to end.

    waiting: bytes of the prefix cache that it is about to write.
    grace_s: how long it writes at most, before it exits.
    """

    waiting: int
    grace_s: float


ToWorker = Load | Submit | Abort | Stop | Sessions | Prefetch | End
FromWorker = Ready | LoadFailed | Events | SessionList | Ending

Incoming = TypeVar("Incoming")


class BrokenFrame(ValueError):
    """The peer sent something that is not a frame. The stream cannot be used any more."""


class FrameReader(Generic[Incoming]):
    """Cuts one direction of the byte stream into frames of one tagged union."""

    def __init__(self, decoder: msgspec.msgpack.Decoder[Incoming]) -> None:
        self._decoder = decoder
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Incoming]:
        """The frames completed by `data`, in order. Raises BrokenFrame."""
        self._buffer += data
        frames: list[Incoming] = []
        start = 0
        while len(self._buffer) - start >= LENGTH.size:
            (size,) = LENGTH.unpack_from(self._buffer, start)
            if size > MAX_FRAME:
                raise BrokenFrame(f"a frame of {size} bytes is above the limit of {MAX_FRAME}")
            end = start + LENGTH.size + size
            if len(self._buffer) < end:
                break
            try:
                frames.append(self._decoder.decode(bytes(self._buffer[start + LENGTH.size : end])))
            except msgspec.MsgspecError as error:
                raise BrokenFrame(str(error)) from error
            start = end
        if start:
            del self._buffer[:start]
        return frames


def worker_reader() -> FrameReader[ToWorker]:
    """The reader of the engine process, for what the client sends."""
    return FrameReader(msgspec.msgpack.Decoder(ToWorker))


def client_reader() -> FrameReader[FromWorker]:
    """The reader of the proxy's process, for what the engine process sends."""
    return FrameReader(msgspec.msgpack.Decoder(FromWorker))


def encode(frame: ToWorker | FromWorker) -> bytes:
    """One frame, its length included. Raises BrokenFrame when it is too large to be sent."""
    body = msgspec.msgpack.encode(frame)
    if len(body) > MAX_FRAME:
        raise BrokenFrame(f"a frame of {len(body)} bytes is above the limit of {MAX_FRAME}")
    return LENGTH.pack(len(body)) + body
