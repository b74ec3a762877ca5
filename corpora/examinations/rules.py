"""Rules that judge an answer in words: its values, its sentences, its end, and that no markup is in it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from corpora.world.score import is_call_text

MOST_TOKENS = 60  # of an answer where there is nothing to call
MOST_SENTENCES = 3
_MARKUP = re.compile(r"</?\w+>|<\||\|>|<tool|```|\[TOOL|\bfunction_call\b")
_QUOTED = re.compile(r'["“]([^"“”.!?{}\[\]]*)["”]')
_SENTENCE = re.compile(r"[^.!?]+[.!?]")
_MASK = "§"  # stands for a value, in which a full stop or a bracket is no mark of ours


def sentence_flaw(text: str, values: Sequence[Sequence[str]]) -> str:
    """What is wrong with a result put into words; "" where nothing is.

    values: of each group one must stand in the text. Brackets, quotes that do not close, a missing or a
    doubled full stop and more than three sentences are flaws.
    """
    said = text.strip()
    if not said:
        return "no words"
    if is_call_text(said) or _MARKUP.search(said):
        return "markup"
    folded = said.lower()
    if any(not any(one.lower() in folded for one in group) for group in values):
        return "a value is missing"
    masked = said
    for one in sorted((one for group in values for one in group if len(one) > 1), key=len, reverse=True):
        if any(sign in one for sign in "{}[]\"'.!?") or one[0].islower():
            masked = re.sub(re.escape(one), _MASK, masked, flags=re.IGNORECASE)
    return _form_flaw(_QUOTED.sub(_MASK, masked))


def _form_flaw(masked: str) -> str:
    if any(sign in masked for sign in "{}[]<>"):
        return "brackets"
    if any(sign in masked for sign in '"“”'):
        return "a stray quotation mark"
    plain = re.sub(r"(?<=\d)\.(?=\d)|(?<=[\w/~])\.(?=\w)|(?<=\s)\.{1,2}(?=/)|:\d", "", masked)
    sentences = re.findall(r"[^.!?]*[.!?]*", plain)
    sentences = [one.strip() for one in sentences if one.strip()]
    if any(not _SENTENCE.fullmatch(one) for one in sentences):
        return "not one full stop for each sentence"
    return "too many sentences" if len(sentences) > MOST_SENTENCES else ""


def quiet_flaw(message: Mapping[str, Any], finish: str, tokens: int) -> str:
    """What is wrong with the answer to a message that no tool serves; "" where nothing is."""
    text = str(message.get("content") or "")
    if message.get("tool_calls"):
        return "a call"
    if is_call_text(text) or _MARKUP.search(text):
        return "markup"
    if not text.strip():
        return "no words"
    if finish != "stop" or tokens > MOST_TOKENS:
        return f"no end within {MOST_TOKENS} tokens"
    return ""
