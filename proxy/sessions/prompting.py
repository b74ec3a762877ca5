"""From a request to the tokens of its prompt: canonical, with our own answers as they were generated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from engine.errors import InvalidRequest
from engine.template import ChatTemplate, Rendered, Written
from engine.types import Finished, ThinkingLimit
from proxy.chat import CacheReport, ChatRequest
from proxy.rendering import conversations, render_tools
from proxy.sessions.canonical import ALL_RULES, Canon, Rule
from proxy.sessions.misses import Outlook, Prompts, Seen
from proxy.sessions.said import Reader
from proxy.sessions.turns import Due, OwnTurns, place_of
from proxy.upstreams.thinking import limit_thinking


@dataclass(frozen=True, slots=True)
class Prepared:
    """A prompt, and what is to be done when its answer has come. spliced: answers of ours that stand in it as
    they were generated.
    """

    rendered: Rendered
    thinking: ThinkingLimit | None
    due: Due
    outlook: Outlook
    seen: Seen | None
    spliced: int

    def report(self, finished: Finished) -> CacheReport:
        return self.outlook.report(finished.cache)


class Prompter:
    """Prepares the prompts of one model. format: of its calls. Not safe to share between threads."""

    def __init__(
        self,
        template: ChatTemplate,
        format: str,
        end_tokens: Sequence[int],
        rules: frozenset[Rule] = ALL_RULES,
    ) -> None:
        self._template = template
        self._format = format
        self._end_tokens = frozenset(end_tokens)
        self._rules = rules
        self._canon = Canon(rules)
        self._turns = OwnTurns(template)
        self._prompts = Prompts(template)

    def prepare(self, request: ChatRequest) -> Prepared:
        """Raises InvalidRequest where the template takes the conversation in no form."""
        asked = self._canon.apply(request)
        own_turns = Rule.own_turns in self._rules
        recalled = self._turns.recall(asked.messages, reasoning=Rule.reasoning in self._rules, text=own_turns)
        asked = replace(asked, messages=recalled.messages)
        written = write_prompt(self._template, asked, Rule.system_in_place in self._rules)
        joined = self._turns.join(written.text, recalled.own if own_turns else ())
        plain = Rendered(joined.tokens, written.plain, written.generation_prompt)
        rendered, thinking = limit_thinking(self._template, self._format, plain, request)
        begun = rendered.text[len(plain.text) :]
        reader = Reader.of(request, self._format, rendered.generation_prompt)
        due = Due(recalled.conversation, place_of(written.text + begun, rendered.tokens), reader)
        if request.fork:  # what only the model has seen is nothing that the session could go on from
            outlook = self._prompts.compare(asked, rendered.tokens)
            return Prepared(rendered, thinking, due, outlook, None, joined.spliced)
        outlook, seen = self._prompts.note(asked, rendered.tokens)
        return Prepared(rendered, thinking, due, outlook, seen, joined.spliced)

    def answered(self, prepared: Prepared, text: str, finished: Finished) -> None:
        """Remember an answer. One that was cut, by a limit or a stop string, has no end to go on from."""
        if prepared.seen is None:
            return
        generated = finished.completion
        ends = [token in self._end_tokens for token in generated]
        whole = bool(ends) and ends[-1] and sum(ends) == 1
        said = self._turns.keep(prepared.due, text, generated) if whole else None
        self._prompts.answered(prepared.seen, generated, said)


def write_prompt(template: ChatTemplate, request: ChatRequest, in_place: bool = True) -> Written:
    """The prompt in the first form that the template takes. Raises InvalidRequest where it takes none."""
    tools = render_tools(request)
    refusal: InvalidRequest | None = None
    for messages in conversations(request, in_place=in_place):
        try:
            return template.write(messages, tools, **request.template_options)
        except InvalidRequest as error:
            refusal = refusal or error
    assert refusal is not None
    raise refusal
