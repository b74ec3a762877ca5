"""Compiles the schemas of a request: those of its tools, and that of its answer."""

from __future__ import annotations

import asyncio

from proxy.conversation.errors import BadRequest, BadTool
from proxy.conversation.request import ChatRequest
from proxy.guard.json_answer import unchecked
from repair.tools import SchemaError, ToolSet

# Bytes of a request's body whose schemas may take too long to compile while others wait.
_LONG = 256 * 1024


class SchemaCompiler:
    """Compiles in a thread what may take long, and one request's schemas after the other's: several threads
    would keep the event loop waiting for the interpreter in turns.
    """

    def __init__(self) -> None:
        self._compiling = asyncio.Lock()

    async def compile(self, request: ChatRequest) -> tuple[ToolSet, tuple[str, ...]]:
        """The tools, and which parts of their schemas and of the answer's are not validated. Raises
        BadRequest.
        """
        if request.body_bytes <= _LONG:
            return _compile(request)
        async with self._compiling:
            return await asyncio.to_thread(_compile, request)


def _holds_replacement(request: ChatRequest) -> bool:
    """Whether the request holds U+FFFD, which the model may then write itself."""
    texts = (
        text
        for message in request.messages
        for text in (message.text, *(call.arguments for call in message.calls))
    )
    return any("\ufffd" in text or ("\\u" in text and "\\ufffd" in text.lower()) for text in texts)


def _compile(request: ChatRequest) -> tuple[ToolSet, tuple[str, ...]]:
    answer = [f"the answer's schema: {one}" for one in unchecked(request.answer_schema)]
    try:
        # without tools there are no calls that could hold it, and to look through a long conversation takes a
        # while
        replacement = bool(request.tools) and _holds_replacement(request)
        tools = ToolSet.compile(request.tools, replacement=replacement)
        return tools, (*tools.left_out, *answer)
    except SchemaError as error:
        if not any(tool.name == error.tool_name for tool in request.tools):
            # there may be too many tools, for example
            raise BadRequest(f"tools: {error}", param="tools") from error
        raise BadTool(error.tool_name, str(error)) from error
