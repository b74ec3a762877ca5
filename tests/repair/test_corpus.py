"""Every case of the corpus, under every split."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from repair.jsonl import repair_request
from tests.repair.corpus import CASES, SPLITS, Split, case_id, request_of, seeded_random, whole


def outcome(answer: dict[str, Any]) -> str:
    return {"clean": "calls", "repaired": "calls"}.get(answer["verdict"], str(answer["verdict"]))


@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_case_comes_out_as_the_corpus_says(case: dict[str, Any]) -> None:
    answer = repair_request(request_of(case))
    assert outcome(answer) == case["expect"], answer
    assert answer["tool_calls"] == case.get("calls", [])
    kinds = sorted({fix["kind"] for fix in answer["fixes"]})
    assert kinds == case.get("fixes", [])
    if "rule" in case:
        assert case["rule"] in [problem["rule"] for problem in answer["problems"]]
    for key in ("content", "reasoning"):
        if key in case:
            assert answer[key] == case[key]


# markers around reasoning and between messages: they belong to no text
HIDDEN = re.compile(
    r"</?(?:\w+[:_])?think>|<\|(?:inner_(?:pre|suf)fix|(?:START|END)_THINKING|end|eom)\|>|\[/?THINK\]"
    r"|<\|channel>thought|<channel\|>|<\|start\|>assistant<\|channel\|>analysis<\|message\|>|\s"
)
# cases of whole turns that end without a call; a case that tells its content is checked against that above
WITHOUT_CALLS = [
    case
    for case in CASES
    if case["expect"] != "calls" and case.get("channel", "content") == "content" and "content" not in case
]


def test_most_cases_without_calls_are_checked_for_lost_text() -> None:
    assert len(WITHOUT_CALLS) > 800


@pytest.mark.parametrize("case", WITHOUT_CALLS, ids=case_id)
def test_nothing_is_lost_when_there_is_no_call(case: dict[str, Any]) -> None:
    answer = repair_request(request_of(case))
    assert answer["tool_calls"] == []
    if not answer["reasoning"] and "<|eom|>" not in case["text"]:
        assert answer["content"] == case["text"]
    else:
        kept = answer["reasoning"] + answer["content"]
        assert HIDDEN.sub("", kept) == HIDDEN.sub("", case["text"])


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_chunking_never_changes_the_result(case: dict[str, Any], split: Split) -> None:
    request = request_of(case)
    answer = repair_request({**request, "chunks": split(case["text"])})
    assert answer == repair_request({**request, "chunks": whole(case["text"])})


@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_twenty_random_splits(case: dict[str, Any]) -> None:
    request = request_of(case)
    expected = repair_request(request)
    for seed in range(20):
        assert repair_request({**request, "chunks": seeded_random(case["text"], seed)}) == expected


def test_a_repaired_call_is_clean_when_it_comes_again() -> None:
    for case in CASES:
        answer = repair_request(request_of(case))
        for call in answer["tool_calls"] if case.get("channel") != "name" else ():
            text = json.dumps(call["arguments"])
            request = {
                **request_of(case),
                "channel": "arguments",
                "tool_name": call["name"],
                "raw_output": text,
            }
            again = repair_request({**request, "finish_reason": "stop"})
            assert again["verdict"] == "clean", case["id"]
            assert again["tool_calls"] == [call]
