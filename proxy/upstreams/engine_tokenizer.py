"""The tokens of the engine's model, for those who ask for them without an answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from engine.errors import EngineError
from engine.template import ChatTemplate
from proxy.conversation.request import ChatRequest
from proxy.prompts.prompting import Prompter
from proxy.upstreams.engine_generation import translate

T = TypeVar("T")


class EngineTokenizer:
    """renderer: the one thread that uses the model's tokenizer, which is not safe to share."""

    def __init__(self, prompter: Prompter, template: ChatTemplate, renderer: ThreadPoolExecutor) -> None:
        self._prompter = prompter
        self._template = template
        self._renderer = renderer

    async def tokenize(self, request: ChatRequest) -> tuple[int, ...]:
        """The tokens of the prompt that would be written for this request now. Raises RequestError."""
        return await self._run(lambda: self._prompter.tokens(request))

    async def detokenize(self, tokens: tuple[int, ...]) -> str:
        """Raises BadRequest for a token that the vocabulary does not have."""
        return await self._run(lambda: self._decode(tokens))

    async def spell(self, tokens: tuple[int, ...]) -> tuple[str, ...]:
        """Each token as the vocabulary writes it."""
        return await self._run(lambda: self._template.spell(tokens))

    def _decode(self, tokens: tuple[int, ...]) -> str:
        self._template.check_tokens(tokens)
        return self._template.decode(tokens)

    async def _run(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._renderer, work)
        except EngineError as error:
            raise translate(error) from error
