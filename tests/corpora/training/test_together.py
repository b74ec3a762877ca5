"""Processes that train together take the same steps; needs torch."""

from __future__ import annotations

import importlib
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from corpora.training.curriculum import Batch

torch = pytest.importorskip("torch")
together = importlib.import_module("corpora.training.together")

LENGTHS = ((64, 512, 128), (256, 32, 1024, 96))  # of the batches of each process


def batch(length: int) -> Batch:
    return Batch(np.zeros((1, length), np.int64), np.zeros((1, length), np.float32), length)


def member(rank: int, place: Path, answers: Any) -> None:
    own = together.Together(rank, 2)
    own.meet(place)
    weights = [torch.nn.Parameter(torch.zeros(2, 3)), torch.nn.Parameter(torch.zeros(1))]
    weights[0].grad, weights[1].grad = torch.full((2, 3), float(rank)), torch.full((1,), 4.0 - rank)
    own.average(weights)
    agreed = [one.true for one in own.agree(7, [batch(length) for length in LENGTHS[rank]])]
    slopes = [one.grad.flatten().tolist() for one in weights]
    answers.put((rank, slopes, agreed, own.total(rank + 1)))


def test_two_processes_have_one_gradient_and_as_many_steps(tmp_path: Path) -> None:
    spawn = get_context("spawn")
    answers = spawn.Queue()
    members = [spawn.Process(target=member, args=(rank, tmp_path / "place", answers)) for rank in range(2)]
    for one in members:
        one.start()
    (_, slopes, first, total), (_, others, second, again) = sorted(answers.get(timeout=120) for _ in members)
    for one in members:
        one.join(60)
    assert slopes == others == [[0.5] * 6, [3.5]]
    assert (total, again) == (3, 3)
    pairs = list(zip(first, second, strict=True))
    assert sorted(pairs) == [(64, 96), (128, 256), (512, 1024)], "longer rows beside longer ones"


def test_one_process_takes_everything_as_it_is() -> None:
    rows = [batch(length) for length in LENGTHS[1]]
    assert together.ALONE.agree(7, rows) is rows
    assert together.ALONE.total(5) == 5
