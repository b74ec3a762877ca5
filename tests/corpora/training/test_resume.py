"""A run that was ended and goes on comes to the weights of a run that was not; needs torch."""

from __future__ import annotations

import importlib
import itertools
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from corpora.training.curriculum import draw_pool

torch = pytest.importorskip("torch")
train = importlib.import_module("corpora.training.train")
network = importlib.import_module("corpora.training.network")

WORDS = Path(__file__).parents[3] / "engine" / "models" / "fortieth-tiny" / "tokenizer.json"
SHAPE = {"vocabulary": 2048, "width": 64, "layers": 1, "heads": 2, "head_width": 32, "feed_forward": 64}
STEPS = 8


def trainer() -> Any:
    torch.manual_seed(1)
    return train.Trainer(network.Network(network.Shape(**SHAPE, context=49_152)), 0.02)


def batches() -> list[Any]:
    words = Tokenizer.from_file(str(WORDS))
    drawn = (batch for number in itertools.count() for batch in draw_pool(words, number, 512, 40, "agents"))
    return list(itertools.islice((one for one in drawn if one.tokens.shape[1] <= 1024), STEPS))


def test_going_on_gives_the_same_state(tmp_path: Path) -> None:
    rows, whole = batches(), trainer()
    for batch in rows:
        whole.step(batch, 0.5)
    torch.manual_seed(1)
    first = trainer()
    for batch in rows[: STEPS // 2]:
        first.step(batch, 0.5)
    first.save(tmp_path / "checkpoint.pt", 7, 3)
    torch.manual_seed(99)
    second = train.Trainer(network.Network(network.Shape(**SHAPE, context=49_152)), 0.02)
    assert second.load(tmp_path / "checkpoint.pt") == (7, 3)
    for batch in rows[STEPS // 2 :]:
        second.step(batch, 0.5)
    ours, theirs = second.network.state_dict(), whole.network.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
