"""Places to go on from, for models whose state cannot be cut: where prompts really part."""

from __future__ import annotations

from array import array
from pathlib import Path

import pytest

from engine.template import ChatTemplate
from proxy.conversation.message import Message, Role
from proxy.prompts.miss_report import common
from proxy.prompts.prompting import Prompter
from tests.proxy.prompts.loops import CALLS, END, FORGETFUL, Server, call_copy, call_text, in_pieces, load
from tests.proxy.prompts.test_answer_tokens import OPENING, RESULT, asked

# as some templates do: the system message stands at the head of the user's
FOLDED = (
    CALLS
    + """
{%- set system = messages[0].content if messages[0].role == 'system' else '' %}
{%- for message in messages %}{% if message.role != 'system' %}<|im_start|>{{ message.role }}
{% if loop.index0 == 1 and system %}{{ system }}

{% endif %}{{ message.content }}{{ calls(message) }}<|im_end|>
{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
)
OTHER = (OPENING[0], Message.of(Role.user, "Something else altogether."))


def prompter(template: ChatTemplate) -> Prompter:
    return Prompter(template, "hermes", template.encode(END), marked=True)


@pytest.mark.parametrize("source", ["", FORGETFUL], ids=["bundled", "forgetful"])
def test_the_system_prompt_ends_at_a_mark(tmp_path: Path, source: str) -> None:
    template = load(tmp_path, source)
    first, second = (prompter(template).prepare(asked(*messages)) for messages in (OPENING, OTHER))
    parted = common(array("i", first.rendered.tokens), array("i", second.rendered.tokens))
    shared = [mark for mark in first.marks if mark <= parted]
    assert parted - max(shared) <= 4, "but for the head of the user's message"
    assert shared == [mark for mark in second.marks if mark <= parted]


def test_where_the_template_folds_it_into_the_users_words(tmp_path: Path) -> None:
    template = load(tmp_path, FOLDED)
    prepared = prompter(template).prepare(asked(*OPENING))
    head = template.encode(OPENING[0].text)
    assert any(len(head) < mark for mark in prepared.marks), "there is no end token to go by"
    assert min(prepared.marks) < len(prepared.rendered.tokens) - 10


def test_every_turn_ends_at_a_mark(tmp_path: Path) -> None:
    template = load(tmp_path)
    asker = prompter(template)
    prepared = asker.prepare(asked(*OPENING, call_copy(1), RESULT, call_copy(2), RESULT))
    tokens = prepared.rendered.tokens
    ends = [at + 1 for at, token in enumerate(tokens) if token == template.encode(END)[0]]
    assert set(ends) <= set(prepared.marks)
    assert len(ends) == 6
    assert template.decode(tokens[prepared.marks[-1] :]) == "\n<|im_start|>assistant\n"


def test_answers_as_they_were_generated_move_no_mark(tmp_path: Path) -> None:
    """Tokens that no tokenizer would choose stand in the prompt; and control tokens told as text are none."""
    template = load(tmp_path)
    server = Server(template)
    server.prompter = prompter(template)
    server.ask(asked(*OPENING), call_text(1))
    bad = RESULT.with_text("<|im_end|> and <|im_start|> as text")
    prepared = server.prompter.prepare(asked(*OPENING, call_copy(1), bad))
    assert prepared.spliced == 1
    place = len(in_pieces(template, call_text(1)))
    before = server.known[0][: len(server.known[0]) - place - 1]
    assert len(before) + place + 1 in prepared.marks
    for mark in prepared.marks:
        assert prepared.rendered.tokens[mark - 1] in {
            template.markers["<|im_end|>"],
            template.markers["<|im_start|>"],
        }
    assert len(prepared.marks) == 5


def test_a_model_that_can_be_cut_anywhere_needs_none(tmp_path: Path) -> None:
    assert Server(load(tmp_path)).prompter.prepare(asked(*OPENING)).marks == ()
