"""Agents that loop: they call tools, hang up, ask again after an error, and come back after a rest."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random

import anthropic
import openai

from corpora.questions import EXAM_SEED, held_out
from corpora.world import TOOLBOXES
from corpora.world.script import write_script
from proxy.ab.client import StreamedAnswer
from proxy.ab.judge import JudgedTurn, TurnJudge
from proxy.ab.measured import BROKEN, Delivered
from proxy.ab.workload import DueRequest
from proxy.ab.worlds import WorldDialogue
from tests.bench.long_run.corrupted import CorruptedModel
from tests.bench.long_run.dialects import DIALECTS, TRANSPORT_ERRORS, FailedResponse, Sdks, TurnRequest
from tests.bench.long_run.fleet import ServerUnderTest

TURNS = 20
HANG_S = 150.0  # without an end: every server here gives a turn up long before
PATIENCE_S = 300.0  # that an agent asks for one turn again and again
PARKED = 4  # conversations that an agent means to come back to
LEAVES = 0.15
RESUMES = 0.5
_KEPT, _SHOWN = 50, 1000
# `text` and `error` deliver no call that its schema does not allow; the default hands such calls over for the
# client to refuse, which this judge would rightly call broken.
_GIVE_UP = ("text", "error")
_TOLD = ("No tool was executed.", "was not executed")
_GAVE_UP = "no tool call that can be executed"
BROKE_OFF: tuple[type[Exception], ...] = (
    openai.APIConnectionError,
    anthropic.APIConnectionError,
    *TRANSPORT_ERRORS,
    OSError,
)
_REFUSED = (openai.APIStatusError, anthropic.APIStatusError)
FAILED: tuple[type[Exception], ...] = (openai.APIError, anthropic.APIError, FailedResponse)


@dataclass(slots=True)
class Tally:
    """What came of all requests.

    endings: how they ended, by server and kind. answered: whole answers by server, dialect and streaming.
    errors: clean errors for which nothing had been done to the server, by what they say. wrong: what no
    client may get; only the first of them are kept.
    """

    endings: Counter[tuple[str, str]] = field(default_factory=Counter)
    answered: Counter[tuple[str, str, bool]] = field(default_factory=Counter)
    errors: Counter[tuple[str, str]] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def note(self, server: str, ending: str, detail: str = "") -> None:
        self.endings[server, ending] += 1
        if detail and len(self.wrong) < _KEPT:
            self.wrong.append(f"{server}: {ending}: {detail[:_SHOWN]}")

    def of(self, ending: str, server: str = "") -> int:
        return sum(n for (name, kind), n in self.endings.items() if kind == ending and server in ("", name))


def dialogue_of(seed: int) -> WorldDialogue:
    """One loop over a tool world, which no model was trained on."""
    script = write_script(held_out(seed, EXAM_SEED + 4), TOOLBOXES[seed % len(TOOLBOXES)], TURNS)
    return WorldDialogue(script)


@dataclass(slots=True)
class Conversation:
    """One loop over a tool world, always in the same dialect. due: what was asked and not yet answered."""

    mark: str
    dialect: str
    dialogue: WorldDialogue
    due: DueRequest | None
    turns: int = 0
    resumed: int = 0


@dataclass(slots=True)
class Agent:
    """Plays conversations on one server until the run is over. behind: the model that is told what is due
    next; None for one that needs no telling. may_ask: while it is not set no new turn is asked for.
    """

    number: int
    server: ServerUnderTest
    sdks: Sdks
    model: str
    tally: Tally
    behind: CorruptedModel | None
    pause_s: float
    is_over: Callable[[], bool]
    may_ask: asyncio.Event
    dialects: Sequence[str] = tuple(DIALECTS)
    leaves: float = LEAVES
    hang_s: float = HANG_S
    _asked: int = 0
    _begun: int = 0
    _parked: list[Conversation] = field(default_factory=list)

    async def run(self) -> None:
        rng = Random(f"agent:{self.server.name}:{self.number}")
        while not self.is_over():
            conversation = self._next(rng)
            for _ in range(rng.randint(2, 12)):
                if self.is_over() or not await self._turn(conversation, rng):
                    break
                await asyncio.sleep(rng.uniform(0, self.pause_s))
            if conversation.due is not None and len(self._parked) < PARKED:
                self._parked.append(conversation)
            elif self.behind is not None:
                self.behind.forget(conversation.mark)

    def _next(self, rng: Random) -> Conversation:
        """An old conversation, or a new one."""
        if self._parked and (len(self._parked) == PARKED or rng.random() < RESUMES):
            conversation = self._parked.pop(rng.randrange(len(self._parked)))
            conversation.resumed += 1
            return conversation
        self._begun += 1
        seed = self.number * 100_000 + self._begun
        dialogue = dialogue_of(seed)
        dialect = self.dialects[(self.number + self._begun) % len(self.dialects)]
        return Conversation(f"{self.number}-{self._begun}", dialect, dialogue, dialogue.next())

    async def _turn(self, conversation: Conversation, rng: Random) -> bool:
        """Asks for one turn until it is answered. False where the conversation is over for now."""
        due = conversation.due
        if due is None:
            return False
        await self.may_ask.wait()
        if self.behind is not None:
            self.behind.expect(conversation.mark, due, conversation.turns)
        began, wait = time.monotonic(), 0.2
        while (answer := await self._ask(conversation, due, rng)) is None:
            if time.monotonic() - began > PATIENCE_S:
                self.tally.note(self.server.name, "not recovered", f"no answer for {PATIENCE_S:.0f} s")
                return False
            if self.is_over():
                return False
            await asyncio.sleep(wait * rng.uniform(0.5, 1.5))
            wait = min(5.0, wait * 2)
        if answer.too_long:
            conversation.due = None
            return False
        judged = TurnJudge(due.tools).judge(answer.content, answer.calls, answer.finish, due.due)
        self._judge(conversation, due, answer, judged)
        conversation.dialogue.take(answer, judged)
        conversation.turns += 1
        conversation.due = conversation.dialogue.next()
        return conversation.due is not None

    async def _ask(self, conversation: Conversation, due: DueRequest, rng: Random) -> StreamedAnswer | None:
        """One request. None where the client has to ask again; what it got meanwhile is in the tally."""
        self._asked += 1
        asked = TurnRequest(
            self.model,
            self._messages(conversation, due),
            due.tools,
            stream=self._asked % 3 != 2,
            temperature=1.5,
            headers={"x-session-id": conversation.mark, "x-fortieth-give-up": rng.choice(_GIVE_UP)},
        )
        leave_s = rng.expovariate(20.0) if rng.random() < self.leaves else None
        began = time.monotonic()
        self.server.in_flight += 1
        try:
            async with asyncio.timeout(self.hang_s if leave_s is None else leave_s):
                answer = await DIALECTS[conversation.dialect](self.sdks, asked)
        except TimeoutError:
            if leave_s is None:
                self._note("lost", f"no end within {self.hang_s:.0f} s in {conversation.dialect}")
            else:
                self._note("left")
            return None
        except _REFUSED as problem:
            return self._refused(problem, began)
        except BROKE_OFF as problem:
            self._broke_off(conversation, problem, began)
            return None
        except FAILED as problem:
            return self._error(began, f"{conversation.dialect}: {problem}")
        except (ValueError, LookupError, TypeError, AttributeError, AssertionError) as problem:
            self._broke_off(conversation, problem, began)
            return None
        finally:
            self.server.in_flight -= 1
        if not answer.finish:
            self._broke_off(conversation, "a stream without an end", began)
            return None
        self._note("answered")
        self.tally.answered[self.server.name, conversation.dialect, asked.stream] += 1
        return answer

    def _messages(self, conversation: Conversation, due: DueRequest) -> list[dict[str, object]]:
        """The messages, the first of which names the conversation."""
        mark = f"This is conversation {conversation.mark}."
        messages = [dict(one) for one in due.messages]
        if messages and messages[0]["role"] == "system":
            messages[0]["content"] = f"{messages[0]['content']}\n{mark}"
            return messages
        return [{"role": "system", "content": mark}, *messages]

    def _refused(
        self, problem: openai.APIStatusError | anthropic.APIStatusError, began: float
    ) -> StreamedAnswer | None:
        """A status that is no success, and an error in a stream, has to say why in the API's own shape."""
        error = problem.body.get("error", problem.body) if isinstance(problem.body, dict) else None
        words = str(error.get("message") or "") if isinstance(error, dict) else ""
        said = f"HTTP {problem.status_code}: {json.dumps(error)[:400]}"
        if not words:
            self._note("lost", f"an error that says nothing: {said}")
            return None
        final = 400 <= problem.status_code < 500 and problem.status_code not in (408, 429)
        if final and not _is_too_long(said):
            self._note("lost", f"refused for good: {said}")
            return None
        return self._error(began, said)

    def _error(self, began: float, said: str) -> StreamedAnswer | None:
        """An error that says what happened, after which the client may ask again, with less if need be."""
        if _is_too_long(said):
            self._note("context full")
            return StreamedAnswer(too_long=True)
        if _GAVE_UP in said:
            self._note("given up, as an error")
            return None
        caused = self.server.was_disturbed(began)
        self._note("error, disturbed" if caused else "error")
        if not caused:
            self.tally.errors[self.server.name, said[:100]] += 1
        return None

    def _broke_off(self, conversation: Conversation, what: object, began: float) -> None:
        """A connection that broke: the server was killed, or an answer was lost."""
        said = f"{conversation.dialect}: {what!r}"
        if self.server.was_disturbed(began - 1):
            self._note("cut")
        else:
            self._note("lost", said)

    def _note(self, ending: str, detail: str = "") -> None:
        self.tally.note(self.server.name, ending, detail)

    def _judge(
        self, conversation: Conversation, due: DueRequest, answer: StreamedAnswer, judged: JudgedTurn
    ) -> None:
        self._note("turn")
        if conversation.resumed:
            self._note("turn after a rest")
        if judged.delivered is Delivered.call_text and any(one in answer.content for one in _TOLD):
            self._note("given up")
        elif judged.delivered in BROKEN:
            got = f"{judged.delivered}: {judged.flaw}: {answer.content!r} {answer.calls}"
            self._note("broken", f"{conversation.dialect}: {got}")
        elif judged.delivered is Delivered.valid:
            self._note("valid calls")
            self._note("exact" if judged.exact else "not exact")
            if self.behind is not None and not judged.exact:
                self._compare(conversation, due, judged, self.behind)

    def _compare(
        self, conversation: Conversation, due: DueRequest, judged: JudgedTurn, behind: CorruptedModel
    ) -> None:
        """Valid calls that are not those that were due have to be what the model wrote."""
        if not behind.means(conversation.mark, judged.calls):
            got = [(call.name, call.value) for call in judged.calls]
            wrote = behind.wrote(conversation.mark)
            self._note("other calls", f"{wrote} became {got}, and {due.due} was due")


def _is_too_long(said: str) -> bool:
    """Whether an error means that the conversation has outgrown the model."""
    return "context_length_exceeded" in said or "prompt is too long" in said
