"""The engine's errors, as one tree.

    EngineError
    ├── InvalidRequest      a parameter cannot be served; names it
    ├── ContextOverflow     the prompt leaves no room in the model's context
    ├── Unwanted            the prompt is no longer wanted, since its client has gone
    ├── QueueFull           too many requests wait; says when to come back
    ├── DeadlineExceeded    the request's own deadline passed before it was finished
    ├── EngineFault         a step failed in the live process; its requests are lost, it serves on
    ├── EngineDied          the process went away while the request ran
    │   └── EngineUnavailable   no live process now, and none came back in time
    ├── EngineFailed        the engine could not be started at all
    └── ModelNotFound       no model where it was looked for

Every class has a stable `code` (what `Failed.code` carries between the processes).
"""

from __future__ import annotations

from typing import ClassVar

from engine.types import Failed


class EngineError(Exception):
    """Base of everything that the engine raises on purpose. str() is fit to show to a user."""

    code: ClassVar[str] = "engine_error"

    def detail(self) -> dict[str, str | int | float]:
        """The constructor's arguments beyond the message, as plain values for the frame."""
        return {}


class InvalidRequest(EngineError):
    """A parameter cannot be served. param: the field of SamplingParams or GenerateRequest."""

    code = "invalid_request"

    def __init__(self, param: str, message: str) -> None:
        super().__init__(message)
        self.param = param
        self.message = message

    def detail(self) -> dict[str, str | int | float]:
        return {"param": self.param}


class ContextOverflow(EngineError):
    """The prompt has `tokens` tokens; prompt and answer together may have `limit`.

    estimated: the tokens were not all counted.
    """

    code = "context_length_exceeded"

    def __init__(self, tokens: int, limit: int, estimated: bool = False) -> None:
        super().__init__(f"prompt is too long: {tokens} tokens > {limit - 1} maximum")
        self.tokens = tokens
        self.limit = limit
        self.estimated = estimated

    def detail(self) -> dict[str, str | int | float]:
        return {"tokens": self.tokens, "limit": self.limit}


class Unwanted(EngineError):
    """The prompt is no longer wanted. Nobody is left to hear of it."""

    code = "unwanted"


class QueueFull(EngineError):
    """Nothing was started. retry_after_s: seconds, an estimate from the engine's recent pace."""

    code = "queue_full"

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(f"the engine's queue is full, retry in {retry_after_s:.0f} s")
        self.retry_after_s = retry_after_s

    def detail(self) -> dict[str, str | int | float]:
        return {"retry_after_s": self.retry_after_s}


class DeadlineExceeded(EngineError):
    """The request was not finished within its `deadline_s`, and has been ended."""

    code = "deadline_exceeded"

    def __init__(self, deadline_s: float) -> None:
        super().__init__(f"the request was not finished within {deadline_s:g} s")
        self.deadline_s = deadline_s

    def detail(self) -> dict[str, str | int | float]:
        return {"deadline_s": self.deadline_s}


class EngineFault(EngineError):
    """A model step raised. The generator was rebuilt; a new request works."""

    code = "engine_fault"


class EngineDied(EngineError):
    """The engine process ended while the request ran. It is restarted, and a new request may work."""

    code = "engine_died"


class EngineUnavailable(EngineDied):
    """There is no live engine process, and none came up in time. retry_after_s: when to try again."""

    code = "engine_unavailable"

    def __init__(self, reason: str, retry_after_s: float = 1.0) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s


class EngineFailed(EngineError):
    """The engine could not be started: there is no such model, it cannot be loaded, or the process ended at
    once.
    """

    code = "engine_failed"


class ModelNotFound(EngineError):
    """There is no model at the place that was asked for; the message says what was tried."""

    code = "model_not_found"


def from_failed(frame: Failed) -> EngineError:
    """The error that a Failed frame carries. Unknown codes become an EngineFault with the same message."""
    detail = frame.detail
    match frame.code:
        case InvalidRequest.code:
            return InvalidRequest(str(detail.get("param", "")), frame.message)
        case ContextOverflow.code:
            return ContextOverflow(int(detail.get("tokens", 0)), int(detail.get("limit", 0)))
        case QueueFull.code:
            return QueueFull(float(detail.get("retry_after_s", 1.0)))
        case DeadlineExceeded.code:
            return DeadlineExceeded(float(detail.get("deadline_s", 0.0)))
        case _:
            return EngineFault(frame.message)


def to_failed(request_id: str, error: EngineError) -> Failed:
    """The frame that carries `error` to the client of request `request_id`."""
    return Failed(id=request_id, code=error.code, message=str(error), detail=error.detail())
