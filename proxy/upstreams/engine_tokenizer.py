"""The tokens of the engine's model, for those who ask for them without an answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from engine.errors import EngineError
from engine.long_text import Budget
from engine.template import ChatTemplate
from proxy.conversation.request import ChatRequest
from proxy.prompts.prompting import Prompter
from proxy.upstreams.engine_generation import translate
from proxy.upstreams.render_threads import RenderThreads, is_long

T = TypeVar("T")

# A prompt is counted to so many tokens, and to so many times the model's context where that is more.
_COUNTED = 1_000_000
_TIMES = 4
# Tokens whose text is found at once.
_FEW = 32_768


class EngineTokenizer:
    """context: tokens of the model's context. Prompts far beyond it are counted too, but not without end."""

    def __init__(
        self, prompter: Prompter, template: ChatTemplate, renderer: RenderThreads, context: int
    ) -> None:
        self._prompter = prompter
        self._template = template
        self._renderer = renderer
        self._context = context

    async def tokenize(self, request: ChatRequest) -> tuple[int, ...]:
        """The tokens of the prompt that would be written for this request now. Raises RequestError."""
        budget = Budget(max(_COUNTED, _TIMES * self._context), self._context)
        return await self._run(
            lambda budget: self._prompter.tokens(request, budget), budget, long=is_long(request)
        )

    async def detokenize(self, tokens: tuple[int, ...]) -> str:
        """Raises BadRequest for a token that the vocabulary does not have."""
        return await self._run(lambda _: self._decode(tokens), long=len(tokens) > _FEW)

    async def spell(self, tokens: tuple[int, ...]) -> tuple[str, ...]:
        """Each token as the vocabulary writes it."""
        return await self._run(lambda _: self._template.spell(tokens), long=len(tokens) > _FEW)

    def _decode(self, tokens: tuple[int, ...]) -> str:
        self._template.check_tokens(tokens)
        return self._template.decode(tokens)

    async def _run(self, work: Callable[[Budget], T], budget: Budget | None = None, *, long: bool) -> T:
        try:
            return await self._renderer.run(work, budget or Budget(), long=long)
        except EngineError as error:
            raise translate(error) from error
