"""The mean of two models' weights; needs torch."""

from __future__ import annotations

import importlib

import pytest

torch = pytest.importorskip("torch")
blend = importlib.import_module("corpora.training.blend")


def test_the_share_is_of_the_weights_after() -> None:
    mixed = blend.blend({"a": torch.zeros(2, 2)}, {"a": torch.full((2, 2), 10.0)}, 0.9)
    assert torch.allclose(mixed["a"], torch.full((2, 2), 9.0))


def test_models_of_two_shapes_have_no_mean() -> None:
    with pytest.raises(ValueError, match="different shapes"):
        blend.blend({"a": torch.zeros(2)}, {"a": torch.zeros(3)}, 0.5)
