"""What the guard may do, as composable values: modes, limits of re-asks and loops, giving up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from proxy.conversation.verdict import GiveUp, GuardMode
from proxy.guard.drift import DEFAULT_RULE, DriftRule

REASKING = (GuardMode.full, GuardMode.constrain)


class Announce(StrEnum):
    """What happens to an answer that announces a step and calls no tool.

    off: the answer is sent.
    nudge: the model is asked once for the call; the answer is sent unless a call comes.
    """

    off = "off"
    nudge = "nudge"


@dataclass(frozen=True, slots=True)
class ReaskLimits:
    """Bounds of asking again in one request.

    attempts: how often the model may be asked again.
    seconds: wall-clock time of all re-asks together; half as long again for one that is being written then.
    tokens: generated in all re-asks together.
    """

    attempts: int = 2
    seconds: float = 120.0
    tokens: int = 16_384


@dataclass(frozen=True, slots=True)
class LoopLimits:
    """When a repeated call counts as a loop; 0 turns a limit off.

    nudge: repeats in a row after which the model is told.
    stop: the repeat that is no longer made.
    polling: names of tools that may be called again and again.
    """

    nudge: int = 3
    stop: int = 5
    polling: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class GuardPolicy:
    """The guard's rules of one server.

    models: modes of single models, by the id that clients see.
    drift: the rule by which sessions are constrained; None never constrains.
    leaked_calls: whether what an upstream writes as text may be a call.
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
        """The mode for a request. wanted: the mode that the request asks for, which precedes the model's and
        the server's.
        """
        return wanted or self.models.get(model, self.mode)
