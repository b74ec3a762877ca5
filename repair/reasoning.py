"""The markers of models' reasoning, which belong to the model and not to the format of its calls.

The same calls are written with and without reasoning, and with several markers of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from repair.regions import match_literal, skip_space

Pair = tuple[str, str]

#: (opening, closing) literals of published models
KNOWN: tuple[Pair, ...] = (
    ("<think>", "</think>"),
    ("<mm:think>", "</mm:think>"),
    ("<seed:think>", "</seed:think>"),
    ("<longcat_think>", "</longcat_think>"),
    ("[THINK]", "[/THINK]"),
    ("\u25c1think\u25b7", "\u25c1/think\u25b7"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|inner_prefix|>", "<|inner_suffix|>"),
)
#: pairs whose opening occurs only in prompts: in an answer the same words are prose
IN_PROMPTS: tuple[Pair, ...] = (("Here are my reasoning steps:", "[BEGIN FINAL RESPONSE]"),)

# closing markers that end any message of their family: alone they say nothing about reasoning
_ENDS_ANYTHING = frozenset(("<|end|>", "<channel|>", "<|eom|>", "<|end_message|>", "<|im_end|>"))
# checkpoints of one family tell their markers apart by a suffix: <think:6124c78e> ... </think:6124c78e>
SUFFIXED, SUFFIXED_END = "<think:", "</think:"
_OPENING = re.compile(r"<think(?P<suffix>:[\w.-]{1,40})>")
_CLOSING = re.compile(r"</think:[\w.-]{1,40}>")
_BEGUN = re.compile(r"</?think:[\w.-]{0,40}\Z")


def closes_alone(closer: str) -> bool:
    """Whether `closer` makes the text before it reasoning even where nothing has opened it."""
    return closer not in _ENDS_ANYTHING


def read_marker(text: str, at: int, marker: str, final: bool) -> tuple[int, str | None]:
    """Reads a marker that ends a block, or that has a suffix.

    Returns the index after it, and the literal that closes what it opens: "" where it ends a block itself,
    None where it is not a marker. The index is -1 where more text decides.
    """
    if marker not in (SUFFIXED, SUFFIXED_END):
        return at + len(marker), ""
    opening, closing = _OPENING.match(text, at), _CLOSING.match(text, at)
    if opening:
        return opening.end(), f"</think{opening.group('suffix')}>"
    if closing:
        return closing.end(), ""
    return (-1, None) if not final and _BEGUN.match(text, at) else (at + len(marker), None)


def left_open(prompt: str, pairs: Iterable[Pair]) -> str:
    """The closing marker of the block that a generation prompt leaves open, or "". The opening that stands
    last decides: of `pairs`, of pairs that occur only in prompts, or of a suffixed one.
    """
    if not prompt:
        return ""
    found = [(at, closer) for opener, closer in (*pairs, *IN_PROMPTS) if (at := prompt.rfind(opener)) >= 0]
    found += [(one.start(), f"</think{one.group('suffix')}>") for one in _OPENING.finditer(prompt)]
    at, closer = max(found, default=(-1, ""))
    return closer if at >= 0 and closer not in prompt[at:] else ""


def skip_opener(text: str, at: int, pairs: Mapping[str, str], closer: str, final: bool) -> int:
    """The index after an opening marker of the block that the prompt has opened, which models sometimes write
    again; `at` where there is none, -1 where more text decides.
    """
    start = skip_space(text, at)
    openers = [opening for opening, closing in pairs.items() if closing == closer]
    rest = text[start : start + 40]
    if not final and any(one.startswith(rest) and one != rest for one in openers) and len(text) - at < 64:
        return -1
    found = match_literal(text, start, tuple(openers))
    return start + len(found) if found else at
