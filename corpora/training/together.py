"""Several processes that train one network, each on batches of its own.

For CPUs, on which the threads of one process wait for each other in every layer. All begin with the same
weights and take the same steps, along the mean of their gradients, so that they never differ. The first of
them keeps the checkpoint and the log.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from random import Random

import torch
import torch.distributed as dist

from corpora.training.curriculum import Batch

LONGEST_WAIT = timedelta(minutes=20)  # of one for another


@dataclass(frozen=True, slots=True)
class Together:
    """This process among those that train together. rank: its number; of: how many there are."""

    rank: int = 0
    of: int = 1

    def meet(self, place: Path) -> None:
        """Waits for all others. place: a file that all can reach and that is not there before."""
        if self.of > 1:
            dist.init_process_group(
                "gloo", f"file://{place.resolve()}", LONGEST_WAIT, world_size=self.of, rank=self.rank
            )

    def average(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Puts the mean of all processes' gradients in place of each gradient."""
        if self.of == 1:
            return
        slopes = [one.grad for one in parameters if one.grad is not None]
        flat = torch.cat([slope.flatten() for slope in slopes])
        dist.all_reduce(flat)
        for slope, mean in zip(slopes, (flat / self.of).split([s.numel() for s in slopes]), strict=True):
            slope.copy_(mean.view_as(slope))

    def agree(self, round: int, batches: list[Batch]) -> list[Batch]:
        """As many batches of a round as each process has, longer rows beside longer ones: who has less to do
        waits in each step. Of one process, all as they are.
        """
        if self.of == 1:
            return batches
        fewest = torch.tensor(len(batches))
        dist.all_reduce(fewest, dist.ReduceOp.MIN)
        ordered = sorted(batches, key=lambda one: -one.tokens.shape[1])[: int(fewest)]
        Random(round).shuffle(ordered)
        return ordered

    def total(self, count: int) -> int:
        """The sum of what all processes say."""
        told = torch.tensor(count)
        if self.of > 1:
            dist.all_reduce(told)
        return int(told)


ALONE = Together()
