"""The check of chat templates finds calls that are left out, and those that stand in the past alone."""

from __future__ import annotations

import pytest

from engine.template import ChatTemplate
from tests.bench.templates import check, tokenizer

CALLS = (
    '{% for one in m.tool_calls %}<tool_call>\n{"name": "{{ one.function.name }}", "arguments": '
    "{{ one.function.arguments | tojson }}}\n</tool_call>{{ '\\n' if not loop.last }}{% endfor %}"
)
START = "{% if add_generation_prompt %}<bot>{% endif %}"


def template(calls: str) -> str:
    """Messages in a row, the calls of each written by `calls`."""
    return "{% for m in messages %}<{{ m.role }}>{{ m.content }}" + calls + "<end>\n{% endfor %}" + START


@pytest.mark.parametrize(
    ("source", "how", "history"),
    [
        (template(CALLS), "detected", "exact"),
        (
            template("{% if not (loop.last and add_generation_prompt) %}" + CALLS + "{% endif %}"),
            "detected",
            "exact",
        ),
        (template(""), "unknown", "writes no calls"),
        (template("{% if loop.index0 < 5 %}" + CALLS + "{% endif %}"), "detected", "not read back"),
    ],
    ids=["plain", "not_where_an_answer_follows", "none", "only_the_first, the second in words"],
)
def test_a_template_is_judged_by_what_it_writes(source: str, how: str, history: str) -> None:
    row = check("it", ChatTemplate(tokenizer(), source.replace("<bot>", "<assistant>")))
    assert (row.found.how, row.history.partition(":")[0]) == (how, history)
