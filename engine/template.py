"""The model's own chat template and tokenizer, for the proxy's process. No MLX is used here."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import EngineFailed, InvalidRequest
from engine.long_text import Budget, encode_long

# Put inside a control token that stands in somebody's text, so that the tokenizer reads the token as text. It
# is a noncharacter of Unicode, which no text may hold.
CUT = "\ufdd0"
# Fields of a message that hold no text of people: templates compare their values.
_PLAIN_KEYS = frozenset({"role", "type"})
# What a template's own expressions may raise besides jinja's errors: `1 / 0`, a range too large, a macro that
# calls itself.
_OF_TEMPLATES = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError)


@dataclass(frozen=True, slots=True)
class Rendered:
    """A prompt. generation_prompt: what the template appended after the last message (`<think>`...)."""

    tokens: tuple[int, ...]
    text: str
    generation_prompt: str


@dataclass(frozen=True, slots=True)
class Written:
    """A prompt before it is encoded. text: control tokens in it are the template's own; those that somebody
    else wrote hold a CUT.
    """

    text: str
    generation_prompt: str

    @property
    def plain(self) -> str:
        return self.text.replace(CUT, "")


class ChatTemplate:
    """Renders conversations exactly as the model was trained to see them. May be used by several threads."""

    def __init__(self, tokenizer: Any, source: str) -> None:
        self.tokenizer = tokenizer
        controls = control_tokens(tokenizer)
        self._controls = control_pattern(controls)
        self._heads = frozenset(token[:2] for token in controls if len(token) > 1)
        self._encode = _encoder(tokenizer)
        self._before = tokens_before(tokenizer)
        self.source = source
        # the added tokens, special or not, by their text
        self.markers: dict[str, int] = {
            token.content: id for id, token in tokenizer.added_tokens_decoder.items()
        }

    @classmethod
    def load(cls, path: Path) -> ChatTemplate:
        """Loads from a model directory, which takes about two seconds. Raises EngineFailed when there is no
        template.
        """
        # it misses torch, which is not needed
        os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
        os.environ.setdefault(
            "TOKENIZERS_PARALLELISM", "false"
        )  # one text at a time needs no pool of threads
        from transformers import AutoTokenizer  # heavy: only when a model is served

        try:
            tokenizer = AutoTokenizer.from_pretrained(str(path), local_files_only=True)
        except (OSError, ValueError) as error:
            raise EngineFailed(f"cannot load the tokenizer of {path}: {error}") from error
        source = tokenizer.chat_template
        if isinstance(source, dict):  # several named templates: the one for tools serves both cases
            source = source.get("tool_use") or source.get("default")
        if not source:
            raise EngineFailed(f"{path} has no chat template")
        return cls(tokenizer, source)

    def render(
        self, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None, **kwargs: Any
    ) -> Rendered:
        """The prompt that makes the model answer. kwargs go to the template (`enable_thinking`, ...).

        Only the template may write control tokens: where messages or tools hold one, it is encoded as plain
        text. Raises InvalidRequest when the template refuses the messages, with the template's own words.
        """
        written = self.write(messages, tools, **kwargs)
        return Rendered(self.encode_cut(written.text), written.plain, written.generation_prompt)

    def write(
        self, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None, **kwargs: Any
    ) -> Written:
        """The prompt of render(), before it is encoded."""
        messages, tools = self._disarmed(messages), self._disarmed(tools)
        text = self._apply(messages, tools, True, kwargs)
        before = self._apply(messages, tools, False, kwargs)
        return Written(text, text[common_length(text, before) :].replace(CUT, ""))

    def write_closed(self, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None) -> str:
        """The conversation without a prompt for an answer. Some templates write the last message in another
        way, or not at all, where an answer is to follow.
        """
        return self._apply(self._disarmed(messages), self._disarmed(tools), False, {}).replace(CUT, "")

    def controls_in(self, text: str) -> tuple[str, ...]:
        """The control tokens in a text, as they are written there."""
        return tuple(self._controls.findall(text))

    def _disarmed(self, value: Any, key: str = "") -> Any:
        """The same value with every control token in its texts cut in two."""
        match value:
            case str() if key not in _PLAIN_KEYS:
                text = value.replace(CUT, "\ufffd")
                if not any(head in text for head in self._heads):  # far faster than the pattern
                    return text
                return self._controls.sub(lambda found: found[0][0] + CUT + found[0][1:], text)
            case list():
                return [self._disarmed(item) for item in value]
            case dict():
                return {self._disarmed(name): self._disarmed(item, name) for name, item in value.items()}
            case _:
                return value

    def encode_cut(self, text: str, budget: Budget | None = None) -> tuple[int, ...]:
        """Encodes a text that holds CUTs."""
        return tuple(token for piece in text.split(CUT) for token in self.encode(piece, budget))

    def encode(self, text: str, budget: Budget | None = None) -> tuple[int, ...]:
        """Token ids of a text that already holds its special tokens. Lone surrogates count as U+FFFD. Raises
        Unwanted and ContextOverflow by the budget.
        """
        try:
            text.encode()
        except UnicodeEncodeError:
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return encode_long(self._encode, text, budget)

    def encode_prompt(self, text: str, budget: Budget | None = None) -> tuple[int, ...]:
        """As encode(), of a whole prompt: the tokenizer puts before it what it was trained to put there,
        unless the text begins with that already.
        """
        plain = self.encode(text, budget)
        return plain if plain[: len(self._before)] == self._before else self._before + plain

    def decode(self, tokens: tuple[int, ...]) -> str:
        """The text of token ids, special tokens included."""
        return str(self.tokenizer.decode(list(tokens), skip_special_tokens=False))

    def spell(self, tokens: tuple[int, ...]) -> tuple[str, ...]:
        """Each token as the vocabulary writes it."""
        return tuple(self.tokenizer.convert_ids_to_tokens(list(tokens)))

    def check_tokens(self, tokens: tuple[int, ...]) -> None:
        """Raises InvalidRequest where the vocabulary has no such token."""
        size = len(self.tokenizer)
        wrong = next((token for token in tokens if not 0 <= token < size), None)
        if wrong is not None:
            raise InvalidRequest("tokens", f"tokens must be in [0, {size}), got {wrong}")

    def count(self, text: str) -> int:
        """The number of tokens of `text`."""
        return len(self.encode(text))

    def _apply(
        self,
        messages: list[dict[str, Any]],
        tools: list[dict[str, Any]] | None,
        generation_prompt: bool,
        kwargs: dict[str, Any],
    ) -> str:
        from jinja2 import TemplateError

        try:
            return str(
                self.tokenizer.apply_chat_template(
                    messages,
                    tools=tools or None,
                    chat_template=self.source,
                    add_generation_prompt=generation_prompt,
                    tokenize=False,
                    **kwargs,
                )
            )
        except (TemplateError, *_OF_TEMPLATES) as error:
            raise InvalidRequest(
                "messages", f"the model's chat template refused the conversation: {error}"
            ) from error


def _encoder(tokenizer: Any) -> Callable[[str], tuple[int, ...]]:
    """Encodes a text as it stands. The tokenizers library does that without holding up other threads only
    where it gets several texts, and three times as fast where nobody asks for the place of each token.
    """
    from tokenizers import Tokenizer

    backend = getattr(tokenizer, "backend_tokenizer", None)
    if not isinstance(backend, Tokenizer):
        return lambda text: tuple(tokenizer.encode(text, add_special_tokens=False))
    backend.no_truncation()
    backend.no_padding()
    return lambda text: tuple(backend.encode_batch_fast([text], add_special_tokens=False)[0].ids)


def tokens_before(tokenizer: Any) -> tuple[int, ...]:
    """What a tokenizer puts before a text of its own accord: mostly nothing, or one token."""
    plain = tokenizer.encode("x", add_special_tokens=False)
    whole = tokenizer.encode("x", add_special_tokens=True)
    return tuple(whole[: whole.index(plain[0])]) if plain and plain[0] in whole else ()


def control_tokens(tokenizer: Any) -> list[str]:
    """The tokens that steer the model, as they are written. Those of its reasoning are left out: templates
    look for them in answers.
    """
    added = tokenizer.added_tokens_decoder.values()
    return [token.content for token in added if token.special and "think" not in token.content.lower()]


def control_pattern(tokens: Iterable[str]) -> re.Pattern[str]:
    """A pattern that finds any of the tokens of two characters or more, grouped by how they begin: there may
    be a thousand.
    """
    groups: dict[str, list[str]] = {}
    for token in sorted(tokens, key=len, reverse=True):
        if len(token) > 1:
            groups.setdefault(token[:2], []).append(re.escape(token[2:]))
    parts = [f"{re.escape(head)}(?:{'|'.join(rests)})" for head, rests in groups.items()]
    return re.compile("|".join(parts) or r"(?!)")


def common_length(text: str, other: str) -> int:
    """How many characters of two texts agree from the beginning. A template may end differently where no
    answer is to follow.
    """
    least, most = 0, min(len(text), len(other))
    if text.startswith(other[:most]):
        return most
    while least < most:  # binary search: comparing whole pieces is fast
        middle = (least + most + 1) // 2
        if text.startswith(other[:middle]):
            least = middle
        else:
            most = middle - 1
    return least
