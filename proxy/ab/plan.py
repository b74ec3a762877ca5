"""What a run is to measure: kept in its file, so that it can go on after it was ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from proxy.ab.client import AskOptions
from proxy.ab.corrupted import corrupted_workload
from proxy.ab.from_ledger import ledger_workload
from proxy.ab.recorded import recorded_workload
from proxy.ab.workload import Workload, digest_of
from proxy.ab.worlds import world_workload
from proxy.conversation.errors import StartError

WORLDS, WORKSHOP, CORRUPTED = "worlds", "workshop", "corrupted"
RECORDED, LEDGER = "recorded", "ledger"


@dataclass(frozen=True, slots=True)
class RunPlan:
    """A run.

    arms: as on the command line. model: for recipes that take one.
    workload: one of the five above. source: the file of recorded conversations, or the ledger.
    seeds: how many conversations; of recorded ones all are played.
    turns: tool turns of each loop of the tool worlds or the workshop.
    levels: how many conversations are played at a time, each number for itself.
    digest: of the workload, when the run began; see digest_of().
    """

    arms: tuple[str, ...]
    model: str | None = None
    workload: str = WORLDS
    source: str = ""
    seeds: int = 10
    first_seed: int = 0
    turns: int = 20
    levels: tuple[int, ...] = (1,)
    ask: AskOptions = field(default_factory=AskOptions)
    digest: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def read(cls, value: Mapping[str, Any]) -> RunPlan:
        """The plan of to_json(). Raises StartError for anything else."""
        try:
            ask = AskOptions(**value["ask"])
            return cls(
                **{**value, "arms": tuple(value["arms"]), "levels": tuple(value["levels"]), "ask": ask}
            )
        except (TypeError, LookupError) as error:
            raise StartError(f"the plan of the run cannot be read: {error}") from error

    def load_workload(self) -> tuple[RunPlan, Workload]:
        """The conversations, and the plan with their digest.

        Raises StartError where there are none, and where they are not those with which the run began.
        """
        try:
            workload = self._loaded()
            digest = digest_of(workload.items)
        except RecursionError as error:
            raise StartError(f"{self.source}: a request is nested too deep to be sent") from error
        if self.digest and self.digest != digest:
            raise StartError(
                f"{self.source or self.workload} has other conversations than when the run began: "
                "only a new run can play them"
            )
        return replace(self, digest=digest), workload

    def _loaded(self) -> Workload:
        match self.workload:
            case "recorded":
                return recorded_workload(Path(self.source))
            case "ledger":
                return ledger_workload(Path(self.source))
            case "corrupted":
                return corrupted_workload(self.seeds)
            case _:
                return world_workload(self.seeds, self.turns, self.first_seed, self.workload)
