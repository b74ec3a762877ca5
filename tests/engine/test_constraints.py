"""Completions that a grammar or a thinking budget holds, among others that nothing holds."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from engine.constraints import Constraint, Grammars, to_close
from engine.core import EngineCore
from engine.model import LoadedModel
from engine.types import Failed, Finished, FinishReason, GenerateRequest, ThinkingLimit
from tests.engine.drive import PRINTABLE, alone, request, run

END = 258  # <|im_end|>
CALL = 259  # <tool_call>
ARGUMENTS = {
    "type": "object",
    "properties": {"n": {"type": "integer", "minimum": 1, "maximum": 99}, "kind": {"enum": ["a", "bc"]}},
    "required": ["n", "kind"],
    "additionalProperties": False,
    "x-guidance": {"whitespace_flexible": False},
}
GRAMMARS: dict[str, tuple[str, str]] = {
    "letters": ("start: /[a-f]{3,9}/", r"[a-f]{3,9}"),
    "choice": ('start: "yes" | "no"', r"yes|no"),
    "json": (f"start: %json {json.dumps(ARGUMENTS)}", r'\{"n":[1-9]\d?,"kind":"(a|bc)"\}'),
    "marker": ('start: <tool_call> "x"+ </tool_call>', r"<tool_call>x+</tool_call>"),
    "characters": ("start: /[àé東]{2,5}/", r"[àé東]{2,5}"),
}
SAMPLINGS: list[dict[str, Any]] = [
    {},
    {"temperature": 1.0, "seed": 3},
    {"temperature": 9.0, "seed": 4, "top_p": 0.9},
    {"temperature": 1.0, "seed": 5, "top_k": 2, "frequency_penalty": 1.0, "presence_penalty": -1.0},
    {"temperature": 0.5, "seed": 6, "logit_bias": PRINTABLE, "repetition_penalty": 1.5},
]


def constrained(max_tokens: int = 60) -> list[GenerateRequest]:
    return [
        request(f"{name}/{n}", "go " * (1 + n), grammar=text, max_tokens=max_tokens, **sampling)
        for name, (text, _) in GRAMMARS.items()
        for n, sampling in enumerate(SAMPLINGS)
    ]


def test_what_is_constrained_matches_and_what_is_not_stays_what_it_was(core: EngineCore) -> None:
    """Alone and in a batch the same, whatever else the request asks for."""
    free = [request(f"free{n}", "f" * 30, max_tokens=30, temperature=1.0, seed=n) for n in range(3)]
    requests = [*free, *constrained()]
    by_itself = {one.id: alone(core, one).text for one in requests}
    together = run(core, *requests, stagger=2)
    assert {id: told.text for id, told in together.items()} == by_itself
    for one in requests[3:]:
        told = together[one.id]
        pattern = GRAMMARS[one.id.split("/")[0]][1]
        if told.reason is FinishReason.stop:
            assert re.fullmatch(pattern, told.text), (one.id, told.text)
        assert isinstance(told.end, Finished)
        assert not told.end.unconstrained
    ended = [one.id for one in requests[3:] if together[one.id].reason is FinishReason.stop]
    assert len(ended) > 20, "most grammars end"
    assert core.stats().constraint_failures == 0


def test_a_constrained_text_is_cut_by_its_limit_like_any_other(core: EngineCore) -> None:
    told = alone(core, request(grammar="start: /[xy]+/", logit_bias={END: -100.0}, max_tokens=7))
    assert re.fullmatch("[xy]{7}", told.text)
    assert told.reason is FinishReason.length


def test_only_the_end_is_left_when_a_grammar_is_complete(core: EngineCore) -> None:
    told = alone(core, request(grammar='start: "ab"', max_tokens=9))
    assert (told.text, told.tokens, told.reason) == ("ab", 3, FinishReason.stop)
    told = alone(core, request(grammar='start: "ab"', max_tokens=9, ignore_eos=True))
    assert (told.text, told.tokens, told.reason) == ("ab", 9, FinishReason.length)


def test_logprobs_are_those_of_the_tokens_that_were_allowed(core: EngineCore) -> None:
    told = alone(core, request(grammar='start: "z" /[ab]/', logprobs=3, max_tokens=5))
    places = [place for chunk in told.chunks for place in chunk.logprobs]
    assert places[0].chosen.logprob == 0.0
    assert {candidate.raw for candidate in places[1].top[:2]} == {b"a", b"b"}
    assert places[1].top[2].logprob == -9999.0


@pytest.mark.parametrize(
    "bad", ["start: nothing", "start: /(/", "%json {", "start: %json {not json}"], ids=range(4)
)
def test_what_is_no_grammar_is_refused_by_name_and_hurts_nobody(core: EngineCore, bad: str) -> None:
    told = run(core, request("good", max_tokens=5), request("bad", grammar=bad))
    end = told["bad"].end
    assert isinstance(end, Failed)
    assert (end.code, end.detail["param"]) == ("invalid_request", "grammar")
    assert told["good"].tokens == 5
    assert core.stats().waiting == 0


def test_a_matcher_that_gives_up_lets_the_text_go_on_and_says_so(core: EngineCore) -> None:
    """So ambiguous that a limit on the parser's work is reached after some dozens of tokens."""
    grammar = 'start: e\ne: e e | e e e | e e e e | e e e e e | "x"'
    told = run(
        core,
        request("gives_up", grammar=grammar, max_tokens=400, logit_bias={END: -100.0}),
        request("other", grammar="start: /[ab]{9}/", max_tokens=20),
    )
    end = told["gives_up"].end
    assert isinstance(end, Finished)
    assert end.unconstrained
    assert told["gives_up"].text.startswith("x" * 10)
    assert end.completion_tokens == 400
    assert re.fullmatch("[ab]{9}", told["other"].text)
    assert core.stats().constraint_failures == 1


def test_a_grammar_that_takes_too_long_is_let_go(loaded: LoadedModel) -> None:
    grammars = Grammars(loaded.tokenizer, 261, (END,))
    matcher = grammars.compile("start: /a+/").result()
    constraint = Constraint("r", matcher, grammars, allowance_s=-1.0)
    assert constraint.allow(None, 261) is None
    assert constraint.failed
    assert constraint.allow(97, 261) is None
    assert grammars.failures == 1


def test_few_rows_are_always_asked_and_more_where_the_last_token_was_known(
    loaded: LoadedModel,
) -> None:
    ends = loaded.info.eos_token_ids
    grammars = Grammars(loaded.tokenizer, loaded.info.vocab_size, ends)
    constraint = Constraint("r", grammars.compile('start: "ab" /[cd]+/').result(), grammars)
    assert constraint.worth_asking(9), "the beginning of a call is known"
    last: int | None = None
    known = []
    for letter in b"abc":
        constraint.allow(last, loaded.info.vocab_size)
        known.append([constraint.worth_asking(rows) for rows in (1, 2, 3)])
        last = letter
    assert known == [[True, True, True], [True, True, True], [True, True, False]]


def test_a_grammar_that_is_being_compiled_holds_up_nobody_and_can_be_aborted(core: EngineCore) -> None:
    names = "|".join(f"{n:06}" for n in range(4000))
    for id in ("stays", "goes"):
        core.submit(request(id, grammar=f"start: /{names}/  // {id}", max_tokens=20))
    assert core.stats().waiting == 2
    core.submit(request("free", max_tokens=3))
    core.abort("goes")
    texts: dict[str, str] = {}
    while core.busy:
        for event in core.step():
            texts[event.id] = texts.get(event.id, "") + getattr(event, "text", "")
    assert set(texts) == {"stays", "free"}
    assert re.fullmatch(r"00\d{4}", texts["stays"])
    assert (core.stats().running, core.stats().waiting, core.stats().cache_bytes) == (0, 0, 0)


CLOSE = (CALL, ord("\n"))


@pytest.mark.parametrize("budget", [0, 1, 7])
def test_thinking_is_closed_where_its_budget_ends(core: EngineCore, budget: int) -> None:
    sampling: dict[str, Any] = {"logit_bias": PRINTABLE | {CALL: -100.0}, "temperature": 3.0, "seed": 1}
    free = alone(core, request(max_tokens=20, **sampling)).text
    told = alone(core, request(max_tokens=20, thinking=ThinkingLimit(budget, CLOSE), **sampling))
    assert told.text[: budget + len("<tool_call>\n")] == free[:budget] + "<tool_call>\n"
    assert told.text.count("<tool_call>") == 1
    assert told.tokens == 20


def test_thinking_that_closed_by_itself_is_left_alone(core: EngineCore) -> None:
    sampling: dict[str, Any] = {"logit_bias": {CALL: 100.0, ord("\n"): 99.0}, "frequency_penalty": 2.0}
    free = alone(core, request(max_tokens=12, **sampling)).text
    assert "<tool_call>\n" in free
    budget = 12 - 3
    told = alone(core, request(max_tokens=12, thinking=ThinkingLimit(budget, CLOSE), **sampling))
    assert told.text == free


def test_a_grammar_has_the_last_word_over_a_thinking_budget(core: EngineCore) -> None:
    told = alone(
        core,
        request(grammar="start: /[ab]{8}/", thinking=ThinkingLimit(2, (ord("b"), ord("z"))), max_tokens=20),
    )
    assert re.fullmatch("[ab]{2}b[ab]{5}", told.text)


@pytest.mark.parametrize(
    ("completion", "close", "left"),
    [
        ([], (1, 2), [1, 2]),
        ([5, 6], (1, 2), [1, 2]),
        ([5, 1], (1, 2), [2]),
        ([1, 2, 5], (1, 2), []),
        ([1, 1], (1, 1, 2), [2]),
        ([1, 5], (1, 2), [1, 2]),
        ([9], (9,), []),
    ],
)
def test_what_is_left_to_close(completion: list[int], close: tuple[int, ...], left: list[int]) -> None:
    assert to_close(completion, close) == left
