"""Attention in blocks is torch's own attention, with its gradients; needs torch."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

torch = pytest.importorskip("torch")
attention = importlib.import_module("corpora.training.attention")
network = importlib.import_module("corpora.training.network")


@pytest.mark.parametrize("length", [3, 255, 256, 700])
def test_blocks_answer_as_the_whole(length: int) -> None:
    """Within what bfloat16 rounds away: torch's own kernel is about as far from float32."""
    torch.manual_seed(length)
    drawn = [torch.randn(2, 3, length, 64) for _ in range(4)]

    def played(kind: Any) -> list[Any]:
        q, k, v = (one.detach().clone().to(kind).requires_grad_() for one in drawn[:3])
        out = network.attend(q, k, v)
        out.backward(drawn[3].to(out.dtype))
        return [out.detach().float(), *(one.grad.float() for one in (q, k, v))]

    for whole, blocks in zip(played(torch.float32), played(torch.bfloat16), strict=True):
        assert (blocks - whole).norm() < 0.02 * whole.norm() + 1e-6


def test_a_query_sees_nothing_behind_itself() -> None:
    torch.manual_seed(3)
    q, k, v = (torch.randn(2, 600, 64).bfloat16() for _ in range(3))
    before = attention.causal(q, k, v)
    k[:, 300:], v[:, 300:] = 9.0, -9.0
    assert torch.equal(attention.causal(q, k, v)[:, :300], before[:, :300])
