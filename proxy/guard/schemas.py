"""Compiles the schemas of a request: those of its tools, and that of its answer."""

from __future__ import annotations

import asyncio

from proxy.conversation.errors import BadRequest, BadTool
from proxy.conversation.request import ChatRequest
from repair.schema import UnusableSchema, compile_schema
from repair.tools import SchemaError, ToolSet

# Bytes of a request's body whose schemas may take too long to compile while others wait.
_LONG = 256 * 1024
# What of a schema says nothing of the values that it accepts.
_SILENT = frozenset("$schema $id $comment $defs definitions title description default examples".split())


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


def _compile_answer(request: ChatRequest) -> list[str]:
    """Which parts of the answer's schema are not validated. Raises BadRequest for a schema by which nothing
    could be.
    """
    if request.answer_schema is None:
        return []
    at = request.answer_at
    try:
        compiled = compile_schema(request.answer_schema)
    except UnusableSchema as error:
        raise BadRequest(f"{at}: not a usable JSON Schema: {error.message}", param=at) from error
    if compiled.left_out and not compiled.root.keys() - _SILENT:
        why = "; ".join(compiled.left_out)
        raise BadRequest(f"{at}: not a usable JSON Schema: {why}", param=at)
    return [f"the answer's schema: {one}" for one in compiled.left_out]


def _compile(request: ChatRequest) -> tuple[ToolSet, tuple[str, ...]]:
    answer = _compile_answer(request)
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
