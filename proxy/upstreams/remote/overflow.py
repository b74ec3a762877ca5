"""How servers say that a prompt is too long for the model, and what of that is no such thing."""

from __future__ import annotations

import re

# By code or type.
OVERFLOWS = frozenset(
    {
        "context_length_exceeded",
        "context_window_exceeded",
        "exceed_context_size_error",
        "model_context_window_exceeded",
        "model_max_prompt_tokens_exceeded",
        "1261",  # GLM
    }
)
_TOO_LONG = re.compile(
    r"""
      maximum\ context\ length | max(imum)?\ (model|prompt|input)\ length | context_length_exceeded
    | context[ _](window|length|size|limit).{0,40}exceed(ed|s|ing)?\b
    | exceed(ed|s|ing)?\b.{0,60}context[ _](window|length|size|limit)
    | (longer|larger|greater|bigger|more)\ than.{0,40}context[ _](window|length|size|limit)
    | (longer|larger|greater)\ than\ the\ max(imum)?\ (model|input|sequence)
    | context\ the\ overflows | context\ overflow | overflows?\ .{0,20}context
    | (prompt|input|request|conversation|messages?|history|text)\ (is\ |are\ )?too\ (long|large\ for\ model)
    | too\ large\ for\ model\ with
    | prompt\ exceeds\ max | exceeded\ model\ token\ limit
    | reduce\ the\ length\ of\ the\ (messages|input|prompt)
    | (prompt|input|inputs?)`?\ (token\ count|length|tokens|token\ length).{0,40}exceeds?\b
    | exceeds?\ the\ (limit|maximum|max)\b.{0,30}(input|prompt|context|sequence)
    | range\ of\ input\ length | `inputs`\ tokens.{0,60}must\ be | `inputs`\ must\ have\ less
    | prompt\ has\ [\d,]+\ tokens?,\ but\ the\ configured\ context
    | (provided|your)\ (prompt|input)\ (is|has)\ \d+\ tokens
    | too\ many\ (input\ )?tokens:.{0,40}exceed
    | sum\ of\ prompt\ length | prompt\ length\ \(.{0,20}\)\ exceeds
    """,
    re.IGNORECASE | re.VERBOSE,
)
# What uses such words of something else: a rate, the length of the answer, a string, a file, memory.
_ELSE = re.compile(
    r"""
      per\ (minute|hour|day|second|month)\b | \b(TPM|RPM|TPD|ITPM)\b | rate[ _-]limit | quota | throttl
    | range\ of\ max_tokens | try\ again\ (later|in\ \d) | please\ wait
    | string\ too\ long | array\ too\ long | failed\ to\ (allocate|load)|out\ of\ memory|insufficient\ memory
    | (image|file|audio|video|document|url|body|payload)\ (is\ )?too\ (large|long)
    """,
    re.IGNORECASE | re.VERBOSE,
)
# An answer that is asked to be longer than the whole context: a shorter prompt would not help.
_ANSWER = re.compile(
    r"max_(?:completion_)?tokens'? is too large: (?P<asked>\d+).*?(?:length is|at most) (?P<limit>\d+)",
    re.IGNORECASE | re.DOTALL,
)
# Where they say how long it is, and how long it may be.
_TOKENS, _LIMIT = r"(?P<tokens>\d+)(?:\.0)?", r"(?P<limit>\d+)(?:\.0)?"
_NUMBERS = tuple(
    re.compile(pattern, re.IGNORECASE | re.DOTALL)
    for pattern in (
        rf"{_TOKENS} tokens > {_LIMIT}",
        rf"maximum context length (?:is|of) {_LIMIT}\D{{0,90}}?{_TOKENS}",
        rf"maximum prompt length is {_LIMIT} but the request contains {_TOKENS}",
        rf"passed {_TOKENS} input tokens.*?context length is only {_LIMIT}",
        rf"context (?:size|window|length)\D{{0,20}}{_LIMIT}[^\d]{{0,60}}{_TOKENS}",
        rf"{_TOKENS} tokens?\D{{0,60}}context (?:size|window|length)\D{{0,20}}{_LIMIT}",
        rf"must be <= {_LIMIT}\. Given: {_TOKENS}",
        rf"{_TOKENS} (?:tokens )?exceeds? the (?:limit of|maximum allowed length \() ?{_LIMIT}",
        rf"\({_TOKENS}(?: tokens)?\) exceeds (?:the )?max\D{{0,60}}{_LIMIT}",
        rf"contains {_TOKENS} tokens.{{0,60}}too large for model with {_LIMIT}",
        rf"\({_TOKENS}\) exceed context window of {_LIMIT}",
        rf"less than {_LIMIT} tokens\. Given: {_TOKENS}",
        rf"sum of prompt length \({_TOKENS}.{{0,80}}max_num_tokens \({_LIMIT}\)",
        rf"prompt has {_TOKENS} tokens?, but the configured context size is {_LIMIT}",
        rf"too long: {_TOKENS}\D{{0,60}}{_LIMIT}",
        rf"current length is {_TOKENS} while limit is {_LIMIT}",
        rf"n_keep: ?{_TOKENS} ?>= ?n_ctx: ?{_LIMIT}",
    )
)


def says_too_long(said: str) -> bool:
    """Whether a server's message says that the prompt leaves no room in the model's context."""
    if _TOO_LONG.search(said) is None or _ELSE.search(said) is not None:
        return False
    answer = _ANSWER.search(said)
    return answer is None or int(answer["asked"]) < int(answer["limit"])


def token_numbers(said: str) -> tuple[int, int] | None:
    """The tokens of the prompt and the most that it may have; None where they are not told."""
    for pattern in _NUMBERS:
        found = pattern.search(said)
        if found and int(found["tokens"]) > int(found["limit"]):
            return int(found["tokens"]), int(found["limit"])
    return None
