"""Loads a model directory, and identifies exactly which model it is. Runs in the engine process only."""

from __future__ import annotations

import hashlib
import json
import logging
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten
from mlx_lm.models.cache import KVCache, make_prompt_cache
from mlx_lm.utils import dequantize_model, get_total_parameters, load
from tokenizers import Tokenizer

from engine.backends import idle_gpu
from engine.config import EngineConfig
from engine.cpu import attention
from engine.cpu.network import adapt
from engine.errors import EngineFailed
from engine.experts import fewer_experts
from engine.memory import KvCost, kv_budget, machine_memory, split_budget
from engine.shapes import takes_padding, takes_rows
from engine.tuning import CPU, DeviceTuning, tuning_for
from engine.types import ModelInfo

log = logging.getLogger("engine.model")

IDENTITY_FILES = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "chat_template.jinja",
)
SAMPLE = 256  # bytes read at the start, middle and end of every tensor for the fingerprint
DEFAULT_CONTEXT = 32768
UNPACKED_SHARE = 4  # at most this part of a CPU's memory may go to weights that were unpacked


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """The network (mlx_lm's), its tokenizer, its description, the cost of its caches, the bytes of its
    weights, and what suits its device.
    """

    network: Any
    tokenizer: Tokenizer
    info: ModelInfo
    cost: KvCost
    weights: int
    tuning: DeviceTuning = CPU

    @property
    def lane_worth(self) -> int:
        """Tokens of cache that take as long to read as the weights (see engine.lanes)."""
        return self.cost.tokens(self.weights)

    @property
    def plain_cache(self) -> type[Any]:
        """The class of a layer's cache that holds keys and values token by token, and nothing else."""
        plain: type[Any] = KVCache
        return plain

    def make_caches(self) -> list[Any]:
        """Empty caches for one sequence, one per layer."""
        return list(make_prompt_cache(self.network))


def load_model(config: EngineConfig, blas: str) -> LoadedModel:
    """Loads, casts, checks that caches can be batched, and computes once. Raises EngineFailed or mlx_lm's
    errors.
    """
    path = Path(config.model)
    network, tokenizer, settings = load(
        str(path), lazy=True, return_config=True, model_config=fewer_experts(path, config.moe_top_k)
    )
    fast = getattr(tokenizer, "backend_tokenizer", None)
    if not isinstance(fast, Tokenizer):
        raise EngineFailed(
            "the model's tokenizer has no tokenizer.json, and none could be made from its other files"
        )
    dtype = compute_dtype(config.dtype)
    if dtype is not None:
        network.set_dtype(dtype)
    unpacked = unpacks(settings, int(get_total_parameters(network)))
    if unpacked:
        network = dequantize_model(network)
    mx.eval(network.parameters())
    if not all(hasattr(layer, "merge") for layer in make_prompt_cache(network)):
        raise EngineFailed(f"{settings.get('model_type')} keeps a cache that cannot be batched")
    on_gpu = mx.default_device().type != mx.DeviceType.cpu
    longest = config.context_limit or context_length(settings)
    if not on_gpu:
        attention.install()
        adapt(network, longest + 1)
    logits, cost = try_out(network)
    weights = sum(int(value.nbytes) for _, value in tree_flatten(network.parameters()))
    total = kv_budget(memory_limit(on_gpu), weights, on_gpu)
    live, kept = split_budget(total, config.kv_budget, config.cache_ram)
    tokens = cost.tokens(live)
    if tokens < 2:
        raise EngineFailed(f"no memory for a KV cache of {cost.per_token} bytes a token")
    info = ModelInfo(
        path=str(path),
        model_type=str(settings.get("model_type", "")),
        vocab_size=int(logits.shape[-1]),
        context_length=min(longest, tokens),
        eos_token_ids=tuple(sorted(int(token) for token in tokenizer.eos_token_ids)),
        parameters=int(get_total_parameters(network)),
        blas=blas,
        dtype=str(logits.dtype).removeprefix("mlx.core."),
        device="gpu" if on_gpu else "cpu",
        kv_tokens=tokens,
        fingerprint=fingerprint(path, variant(dtype, unpacked, config.moe_top_k)),
        cache_ram=kept,
    )
    return LoadedModel(network, fast, info, cost, weights, tuning_of(network))


def tuning_of(network: Any) -> DeviceTuning:
    """What suits the device and the network. Computes a few tokens where sizes matter."""
    if mx.default_device().type == mx.DeviceType.cpu:
        if why := idle_gpu():
            log.warning(why)
        return CPU if takes_rows(network, CPU) else replace(CPU, separate=None)
    tuning = tuning_for("metal" if mx.metal.is_available() else "cuda")
    if tuning.caches is not None and not takes_padding(network, tuning):
        log.warning("this model reads no more keys than there are tokens: each length is prepared anew")
        return replace(tuning, chunks=None, caches=None)
    return tuning


def try_out(network: Any) -> tuple[mx.array, KvCost]:
    """The logits of one token, and what the caches that it made take per sequence and per token.

    A second token goes through the caches of a batch, so that what is compiled for a batch's step is compiled
    now.
    """
    cache = make_prompt_cache(network)
    logits = network(mx.array([[0]]), cache=cache)
    mx.eval(logits)
    costs = [layer_cost(layer) for layer in flatten_caches(cache)]
    mx.eval(network(mx.array([[0]]), cache=[layer.merge([layer]) for layer in cache]))
    return logits, KvCost(sum(cost.fixed for cost in costs), sum(cost.per_token for cost in costs))


def flatten_caches(layers: Any) -> Iterator[Any]:
    """The caches of all layers; some layers keep several (mlx_lm's CacheList)."""
    for layer in layers:
        inner = getattr(layer, "caches", None)
        if inner is None:
            yield layer
        else:
            yield from flatten_caches(inner)


def layer_cost(layer: Any) -> KvCost:
    """The cost of one layer: keys and values [batch, heads, tokens, width] grow with the text, up to a window
    if there is one.
    """
    buffers = [getattr(layer, name, None) for name in ("keys", "values")]
    arrays = [value for value in buffers if isinstance(value, mx.array)]
    if not arrays:
        return KvCost(int(layer.nbytes), 0)
    per_token = sum(int(value.nbytes) // value.shape[-2] for value in arrays)
    window = getattr(layer, "max_size", None)
    return KvCost(0, per_token) if window is None else KvCost(per_token * int(window), 0)


def memory_limit(on_gpu: bool) -> int:
    """Bytes that the model may use in all: the GPU's working set or memory where the driver tells it, else
    RAM.
    """
    if on_gpu:
        device = mx.device_info()
        for key in ("max_recommended_working_set_size", "total_memory", "memory_size"):
            if isinstance(device.get(key), int):
                return int(device[key])
    return machine_memory()


def compute_dtype(setting: str) -> mx.Dtype | None:
    """The type to compute in; None keeps the stored one. Half precision is emulated on a CPU: float32 is
    about 7 times faster.
    """
    if setting == "auto":
        return mx.float32 if mx.default_device().type == mx.DeviceType.cpu else None
    return None if setting == "keep" else getattr(mx, setting)


def variant(dtype: mx.Dtype | None, unpacked: bool, top_k: int | None) -> str:
    """How a model is computed, for its fingerprint."""
    experts = "" if top_k is None else f" {top_k} experts"
    return f"{dtype}{' unpacked' if unpacked else ''}{experts}"


def unpacks(settings: dict[str, Any], parameters: int) -> bool:
    """Whether quantised weights are kept as the float32 values that they stand for.

    On a CPU, MLX multiplies packed weights about 7 times slower; on a GPU it is made for them.
    """
    if mx.default_device().type != mx.DeviceType.cpu or not settings.get("quantization"):
        return False
    return parameters * mx.float32.size * UNPACKED_SHARE <= machine_memory()


def context_length(settings: dict[str, Any]) -> int:
    """The context length in the model's config, which may be that of an inner text model."""
    for source in (settings, settings.get("text_config") or {}):
        for key in ("max_position_embeddings", "max_sequence_length", "n_positions", "seq_length"):
            if isinstance(source.get(key), int) and source[key] > 1:
                return int(source[key])
    return DEFAULT_CONTEXT


def fingerprint(path: Path, dtype: str) -> str:
    """A digest of config, tokenizer, template, the name and place of every tensor, and samples of every
    tensor.

    Reading all weights would take longer than loading them; a model that was trained further differs
    everywhere.
    """
    digest = hashlib.sha256(dtype.encode())
    for name in IDENTITY_FILES:
        file = path / name
        digest.update(f"\0{name}\0".encode())
        if file.is_file():
            digest.update(file.read_bytes())
    for file in sorted(path.glob("*.safetensors")):
        digest.update(f"\0{file.name}\0{file.stat().st_size}\0".encode())
        for piece in tensor_samples(file):
            digest.update(piece)
    return digest.hexdigest()


def tensor_samples(file: Path) -> Iterator[bytes]:
    """The header of a safetensors file (8-byte little-endian length, JSON), then samples of each tensor."""
    with file.open("rb") as stream:
        (size,) = struct.unpack("<Q", stream.read(8))
        header = stream.read(size)
        yield header
        base = 8 + size
        for tensor in json.loads(header).values():
            if "data_offsets" not in tensor:
                continue
            start, end = tensor["data_offsets"]
            for at in {start, max(start, (start + end - SAMPLE) // 2), max(start, end - SAMPLE)}:
                stream.seek(base + at)
                yield stream.read(min(SAMPLE, end - at))
