"""Turns a request into the tokens of its prompt: canonical, with our own answers as they were generated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from engine.long_text import Budget
from engine.template import ChatTemplate, Rendered
from engine.types import Finished, ThinkingLimit
from proxy.conversation.cache_report import CacheReport
from proxy.conversation.message import Message, Role
from proxy.conversation.request import ChatRequest
from proxy.prompts.answer_meaning import Readers
from proxy.prompts.answer_tokens import Due, OwnTurns, Recalled, place_of
from proxy.prompts.boundaries import Marks, settled, write_prompt, written_before
from proxy.prompts.canonical import ALL_RULES, Canon, Rule
from proxy.prompts.miss_report import Outlook, Prompts, Seen
from proxy.prompts.raw_prompt import render_raw
from proxy.prompts.thinking import limit_thinking
from repair.formats import Wire


@dataclass(frozen=True, slots=True)
class Prepared:
    """A prompt, and what is needed when its answer has come.

    due: None for a raw prompt, whose answer is no message.
    spliced: how many of our own answers are in it as they were generated.
    marks: positions at which later prompts may differ.
    """

    rendered: Rendered
    thinking: ThinkingLimit | None
    due: Due | None
    outlook: Outlook
    seen: Seen | None
    spliced: int
    marks: tuple[int, ...] = ()

    def report(self, finished: Finished) -> CacheReport:
        return self.outlook.report(finished.cache)


class Prompter:
    """Prepares the prompts of one model. Several threads may use it: what it remembers, each table guards
    itself.

    format: the wire format of its calls.
    marked: its state cannot be cut, so that positions to continue from have to be named.
    """

    def __init__(
        self,
        template: ChatTemplate,
        format: str | Wire,
        end_tokens: Sequence[int],
        rules: frozenset[Rule] = ALL_RULES,
        marked: bool = False,
    ) -> None:
        self._template = template
        self._format = format
        self._end_tokens = frozenset(end_tokens)
        self._rules = rules
        self._canon = Canon(rules)
        self._readers = Readers(format)
        self._turns = OwnTurns(template)
        self._prompts = Prompts(template)
        self._in_place = Rule.system_in_place in rules
        self._marks = Marks(template, end_tokens, self._in_place) if marked else None

    def prepare(self, request: ChatRequest, budget: Budget | None = None) -> Prepared:
        """The prompt of a request. Raises InvalidRequest where the template accepts the conversation in no
        form, and Unwanted and ContextOverflow by the budget.
        """
        budget = budget or Budget()
        if request.raw is not None:
            raw = render_raw(self._template, request.raw, budget)
            return Prepared(raw, None, None, *self._prompts.note(request, raw.tokens), 0)
        asked, recalled = self._recall(request)
        written = write_prompt(self._template, asked, self._in_place, budget)
        joined = self._turns.join(written.text, recalled.own, budget)
        plain = Rendered(joined.tokens, written.plain, written.generation_prompt)
        rendered, thinking = limit_thinking(self._template, self._format, plain, request)
        begun = rendered.text[len(plain.text) :]
        reader = self._readers.of(request, rendered.generation_prompt)
        due = Due(recalled.conversation, place_of(written.text + begun, rendered.tokens), reader)
        marks = self._marks.find(asked, written.text, joined.tokens) if self._marks else ()
        if request.fork:  # the session cannot continue from what only the model has seen
            outlook = self._prompts.compare(asked, rendered.tokens)
            return Prepared(rendered, thinking, due, outlook, None, joined.spliced, marks)
        outlook, seen = self._prompts.note(asked, rendered.tokens)
        return Prepared(rendered, thinking, due, outlook, seen, joined.spliced, marks)

    def tokens(self, request: ChatRequest, budget: Budget | None = None) -> tuple[int, ...]:
        """The tokens of a request's prompt, of which nothing is remembered. Raises what prepare() raises."""
        budget = budget or Budget()
        if request.raw is not None:
            return render_raw(self._template, request.raw, budget).tokens
        asked, recalled = self._recall(request)
        written = write_prompt(self._template, asked, self._in_place, budget)
        tokens = self._turns.join(written.text, recalled.own, budget).tokens
        plain = Rendered(tokens, written.plain, written.generation_prompt)
        return limit_thinking(self._template, self._format, plain, request)[0].tokens

    def _recall(self, request: ChatRequest) -> tuple[ChatRequest, Recalled]:
        """The canonical request, with our own answers in it restored."""
        asked = self._canon.apply(request)
        own_turns = Rule.own_turns in self._rules
        recalled = self._turns.recall(asked.messages, reasoning=Rule.reasoning in self._rules, text=own_turns)
        asked = replace(asked, messages=recalled.messages)
        return asked, recalled if own_turns else replace(recalled, own=())

    def ahead(
        self, request: ChatRequest, reply: Message | None = None, budget: Budget | None = None
    ) -> tuple[int, ...]:
        """The tokens with which the next prompt will begin, up to the text of its next message.

        reply: our answer, as the client got it; None where the conversation is extended as it is. Raises what
            prepare() raises.
        """
        budget = budget or Budget()
        if reply is not None:
            request = replace(request, messages=(*request.messages, as_sent_back(request, reply)))
        asked, recalled = self._recall(request)
        if asked.messages[-1].role in (Role.user, Role.tool):  # the answer comes next
            text = write_prompt(self._template, asked, self._in_place, budget).text
        else:
            text = written_before(self._template, asked, self._in_place)
        head, rest = settled(self._template, text)
        tokens = self._turns.join(head, recalled.own, budget).tokens + rest
        if reply is not None:
            self._prompts.foresee(request.session.id, tokens)
        return tokens

    def answered(self, prepared: Prepared, text: str, finished: Finished) -> None:
        """Remembers an answer. One that a limit or a stop string cut off has no end to continue from."""
        if prepared.seen is None:
            return
        generated = finished.completion
        ends = [token in self._end_tokens for token in generated]
        whole = bool(ends) and ends[-1] and sum(ends) == 1
        said = self._turns.keep(prepared.due, text, generated) if whole and prepared.due else None
        self._prompts.answered(prepared.seen, generated, said)


def as_sent_back(request: ChatRequest, reply: Message) -> Message:
    """The answer as this client will send it back: without its reasoning, if the client never got that or has
    left it out of every answer so far.
    """
    answers = [message for message in request.messages if message.role is Role.assistant]
    forgets = bool(answers) and not any(message.reasoning for message in answers)
    return reply.without_reasoning() if forgets or not request.include_reasoning else reply
