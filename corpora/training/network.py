"""The Qwen3 network in torch, with the parameter names of the published checkpoints.

The trained weights therefore need no conversion to be a standard model directory.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from corpora.training.attention import causal


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of the network. Attention is multi-head without grouping; embeddings are tied."""

    vocabulary: int = 2048
    width: int = 256
    layers: int = 6
    heads: int = 4
    head_width: int = 64
    feed_forward: int = 512
    rope_theta: float = 10_000.0
    context: int = 8192

    def config(self) -> dict[str, object]:
        """config.json as Qwen3 checkpoints have it."""
        return {
            "architectures": ["Qwen3ForCausalLM"],
            "model_type": "qwen3",
            "hidden_size": self.width,
            "num_hidden_layers": self.layers,
            "intermediate_size": self.feed_forward,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.heads,
            "head_dim": self.head_width,
            "rms_norm_eps": 1e-6,
            "vocab_size": self.vocabulary,
            "max_position_embeddings": self.context,
            "rope_theta": self.rope_theta,
            "tie_word_embeddings": True,
            "hidden_act": "silu",
            "attention_bias": False,
            "bos_token_id": None,
            "eos_token_id": [2, 0],
            "pad_token_id": 0,
            "torch_dtype": "float32",
        }


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal attention over (rows, heads, length, head_width), in the type of v."""
    if v.is_cuda or v.dtype != torch.bfloat16:
        return F.scaled_dot_product_attention(q.to(v.dtype), k.to(v.dtype), v, is_causal=True)
    scaled = (q * q.shape[-1] ** -0.5).to(v.dtype)
    flat = [one.flatten(0, 1).contiguous() for one in (scaled, k.to(v.dtype), v)]
    mixed: Tensor = causal(*flat)
    return mixed.view(v.shape)


class Attention(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        inner = shape.heads * shape.head_width
        self.heads, self.head_width = shape.heads, shape.head_width
        self.q_proj = nn.Linear(shape.width, inner, bias=False)
        self.k_proj = nn.Linear(shape.width, inner, bias=False)
        self.v_proj = nn.Linear(shape.width, inner, bias=False)
        self.o_proj = nn.Linear(inner, shape.width, bias=False)
        self.q_norm = nn.RMSNorm(shape.head_width, eps=1e-6)
        self.k_norm = nn.RMSNorm(shape.head_width, eps=1e-6)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        rows, length, _ = x.shape
        split = (rows, length, self.heads, self.head_width)
        q = _rotate(self.q_norm(self.q_proj(x).view(split).float()).transpose(1, 2), cos, sin)
        k = _rotate(self.k_norm(self.k_proj(x).view(split).float()).transpose(1, 2), cos, sin)
        v = self.v_proj(x).view(split).transpose(1, 2)
        return self.o_proj(attend(q, k, v).transpose(1, 2).reshape(rows, length, -1))


class FeedForward(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(shape.width, shape.feed_forward, bias=False)
        self.up_proj = nn.Linear(shape.width, shape.feed_forward, bias=False)
        self.down_proj = nn.Linear(shape.feed_forward, shape.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.self_attn = Attention(shape)
        self.mlp = FeedForward(shape)
        self.input_layernorm = nn.RMSNorm(shape.width, eps=1e-6)
        self.post_attention_layernorm = nn.RMSNorm(shape.width, eps=1e-6)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        return x + self.mlp(self.post_attention_layernorm(x))


class Trunk(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(shape.vocabulary, shape.width)
        self.layers = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = nn.RMSNorm(shape.width, eps=1e-6)


class Network(nn.Module):
    """Token ids (rows, length) in, final hidden states (rows, length, width) out; `logits` ties the head."""

    cos: Tensor
    sin: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.model = Trunk(shape)
        rates = shape.rope_theta ** (-torch.arange(0, shape.head_width, 2) / shape.head_width)
        angles = torch.outer(torch.arange(shape.context), rates)
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                deep = name.endswith(("o_proj.weight", "down_proj.weight"))
                nn.init.normal_(parameter, std=0.02 / (2 * shape.layers) ** 0.5 if deep else 0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.model.embed_tokens(tokens)
        cos, sin = self.cos[: tokens.shape[1]], self.sin[: tokens.shape[1]]
        for block in self.model.layers:
            x = block(x, cos, sin)
        normed: Tensor = self.model.norm(x)
        return normed

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores over the vocabulary for hidden states (…, width)."""
        return F.linear(hidden, self.model.embed_tokens.weight)
