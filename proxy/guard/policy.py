"""What the guard may do, as composable values: modes, limits, and what happens when nothing helps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from proxy.conversation.verdict import GiveUp, GuardMode
from proxy.guard.drift import DEFAULT_RULE, DriftRule

REASKING = (GuardMode.full, GuardMode.constrain)


class Announce(StrEnum):
    """What becomes of an answer that ends in the announcement of a step. off: it goes out. nudge: the model
    is asked once for the call, and what it said goes out unless one comes.
    """

    off = "off"
    nudge = "nudge"


@dataclass(frozen=True, slots=True)
class ReaskLimits:
    """attempts: how often the model may be asked again. seconds: wall-clock time for all of that together.
    tokens: generated in all of them together.
    """

    attempts: int = 2
    seconds: float = 60.0
    tokens: int = 16_384


@dataclass(frozen=True, slots=True)
class LoopLimits:
    """nudge: repeats in a row after which the model is told. stop: the repeat that is not made any more.
    0 turns either off. polling: names of tools that may be called again and again.
    """

    nudge: int = 3
    stop: int = 5
    polling: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class GuardPolicy:
    """One server's guard. models: modes of single models, by the id that clients see. drift: the rule by
    which sessions are escalated; None never does. leaked_calls: what an upstream writes as text may be a
    call.
    """

    mode: GuardMode = GuardMode.full
    models: Mapping[str, GuardMode] = field(default_factory=dict)
    reask: ReaskLimits = ReaskLimits()
    loops: LoopLimits = LoopLimits()
    give_up: GiveUp = GiveUp.client
    drift: DriftRule | None = DEFAULT_RULE
    leaked_calls: bool = True
    announce: Announce = Announce.off

    def mode_of(self, model: str, wanted: GuardMode | None) -> GuardMode:
        """wanted: by the request itself, which goes before the model's mode and the server's."""
        return wanted or self.models.get(model, self.mode)
