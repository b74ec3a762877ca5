"""The codec of OpenAI Responses: https://platform.openai.com/docs/api-reference/responses.

It alone of the dialects keeps something between requests: its answers, in memory and within bounds.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from proxy.codecs.base import CodecRoute, Decoded, ErrorReply, Head, Operation, under_v1
from proxy.codecs.openai_common import OpenAICodec
from proxy.codecs.openai_errors import status_of
from proxy.codecs.openai_responses_request import decode_request
from proxy.codecs.openai_responses_store import ResponseStore, StoredResponse
from proxy.codecs.openai_responses_stream import ResponseStream, responses_error, whole_response
from proxy.codecs.openai_schemas import RESPONSE
from proxy.conversation.errors import BadRequest, ContextTooLong, NotFound, RequestError
from proxy.conversation.events import Answer
from proxy.conversation.model_card import ModelCard

_ID = "response_id"


class OpenAIResponses(OpenAICodec):
    """The codec of /v1/responses."""

    def __init__(self, store: ResponseStore | None = None) -> None:
        self._store = store or ResponseStore()
        self.routes: tuple[CodecRoute, ...] = (
            *under_v1(CodecRoute("POST", "/responses", Operation.answer, schema=RESPONSE)),
            *under_v1(CodecRoute("POST", "/responses/input_tokens", Operation.count_tokens, schema=RESPONSE)),
            *under_v1(CodecRoute("GET", f"/responses/{{{_ID}}}", Operation.kept, self._show)),
            *under_v1(CodecRoute("DELETE", f"/responses/{{{_ID}}}", Operation.kept, self._delete)),
            *under_v1(CodecRoute("POST", f"/responses/{{{_ID}}}/cancel", Operation.kept, self._cancel)),
        )

    def decode(self, body: bytes) -> Decoded:
        return decode_request(body, self._store)

    def head(self, card: ModelCard, request_id: str) -> Head:
        return Head(f"resp_{secrets.token_hex(24)}", card.id, int(time.time()), card.fingerprint)

    def encode_answers(self, head: Head, asked: Decoded, answers: Sequence[Answer]) -> bytes:
        (answer,) = answers
        return msgspec.json.encode(whole_response(head, asked, answer, self._store))

    def encode_stream(self, head: Head, asked: Decoded) -> ResponseStream:
        return ResponseStream(head, asked, self._store)

    def encode_error(self, error: RequestError, asked: Decoded | None, request_id: str) -> ErrorReply:
        if isinstance(error, ContextTooLong) and asked is not None and asked.request.stream:
            return self._failed_stream(error, asked)
        return ErrorReply(status_of(error), msgspec.json.encode(responses_error(error, asked)))

    def _failed_stream(self, error: ContextTooLong, asked: Decoded) -> ErrorReply:
        """A prompt that leaves no room, told where Codex looks for it before it compacts: in response.failed.
        Of a 400 it shows the text, and ends.
        """
        head = self.head(ModelCard(asked.request.model, 0, 0, ""), "")
        stream = self.encode_stream(head, asked)
        headers = {"content-type": f"{stream.media_type}; charset=utf-8", "cache-control": "no-cache"}
        return ErrorReply(200, stream.open() + stream.fail(error), headers)

    def encode_count(self, tokens: int) -> bytes:
        return msgspec.json.encode({"object": "response.input_tokens", "input_tokens": tokens})

    def _show(self, named: Mapping[str, Any]) -> bytes:
        return self._find(named).response

    def _delete(self, named: Mapping[str, Any]) -> bytes:
        self._find(named)
        self._store.drop(named[_ID])
        return msgspec.json.encode({"id": named[_ID], "object": "response", "deleted": True})

    def _cancel(self, named: Mapping[str, Any]) -> bytes:
        """What is kept is finished; one that runs ends when its client closes the connection."""
        self._find(named)
        raise BadRequest(
            "Cannot cancel a synchronous response: only one in the background can be, and none is here",
            param=_ID,
        )

    def _find(self, named: Mapping[str, Any]) -> StoredResponse:
        stored = self._store.get(named[_ID])
        if stored is None:
            raise NotFound(f"Response with id '{named[_ID][:80]}' not found.", param=_ID)
        return stored
