"""A segment's arrays as the bytes of a safetensors file, and back, where checksum and size are verified.

For the threads that write and load. The format (github.com/huggingface/safetensors): 8 bytes little-endian
length of a JSON header, the header, then the tensors one after the other. On disk keys and values may be
smaller than in use; states of other layers are stored as they are, because an error in them would grow with
every token.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import struct
from typing import Any, BinaryIO

import mlx.core as mx
import numpy as np

from engine.cache.copying import compute, reading, stream
from engine.cache.layers import Kept
from engine.cache.throttle import NO_BREAKS, Throttle

SUFFIXES = ("", ".q", ".scale", ".low")
# tokens of one channel that share a scale and a lowest value, both float32, by the bits of a code
GROUPS = {16: 64, 8: 16, 4: 64}
NAMES = {
    mx.float32: "F32",
    mx.float16: "F16",
    mx.bfloat16: "BF16",
    mx.int64: "I64",
    mx.int32: "I32",
    mx.uint32: "U32",
    mx.uint16: "U16",
    mx.uint8: "U8",
    mx.bool_: "BOOL",
}
TYPES = {name: dtype for dtype, name in NAMES.items()}


def encode(kept: Kept, at_rest: str) -> list[Any]:
    """The parts of a file, in order. The arrays must have been computed."""
    tensors: dict[str, mx.array] = {}
    for index, array in enumerate(kept.arrays):
        for suffix, part in shrink(array, form_of(index, kept, at_rest)).items():
            tensors[f"{index}{suffix}"] = part
    mx.eval(list(tensors.values()))
    about = {
        "start": kept.start,
        "end": kept.end,
        "slices": len(kept.slices),
        "spec": kept.spec,
        "dtypes": [NAMES[array.dtype] for array in kept.arrays],
        "form": at_rest,
    }
    header: dict[str, Any] = {"__metadata__": {"kept": json.dumps(about)}}
    at = 0
    for name, tensor in tensors.items():
        end = at + int(tensor.nbytes)
        header[name] = {"dtype": NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return [struct.pack("<Q", len(text)) + text, *map(raw, tensors.values())]


def form_of(index: int, kept: Kept, at_rest: str) -> str:
    """The form of one of the arrays on disk. In `q8` the first and the last layer keep 16 bits: an error in
    the last layer's keys changes the answer most (docs/cache.md).
    """
    if index >= len(kept.slices):
        return "keep"
    layer, last = index // 2, len(kept.slices) // 2 - 1
    if at_rest == "q8" and layer in (0, last):
        return "q16" if kept.slices[index].dtype == mx.float32 else "keep"
    return at_rest


class NotWhole(ValueError):
    """The file is not what was written."""


def decode(
    file: BinaryIO, size: int, checksum: bytes, whole: bool = True, breaks: Throttle = NO_BREAKS
) -> Kept:
    """Reads an open file that encode() made; without `whole` no states of it. Raises NotWhole, OSError.

    The bytes that are verified are the bytes that are used, and the file is read once: whatever happens to it
    or its name meanwhile, no other bytes come out. breaks: of the thread that reads, after each array.
    """
    header, tensors, about = read_header(file, size)
    wanted = len(about["dtypes"]) if whole else about["slices"]
    digest = hashlib.sha256(header)
    found: dict[str, mx.array] = {}
    loaded: Any = [
        mx.load(f"/dev/fd/{file.fileno()}", format="safetensors", stream=reading(n)) for n in (0, 1)
    ]
    names = list(tensors)
    for index in range(0, len(names), 2):
        pair = [name for name in names[index : index + 2] if int(name.split(".")[0]) < wanted]
        found |= {name: loaded[number][name] for number, name in enumerate(pair)}
        compute([found[name] for name in pair], breaks)
        for name in names[index : index + 2]:
            with breaks.work():
                digest.update(
                    raw(found[name]) if name in found else part_of(file, len(header), tensors[name])
                )
    if digest.digest()[: len(checksum)] != checksum:
        raise NotWhole("its checksum does not match")
    return assemble(found, about, whole, breaks)


def read_header(file: BinaryIO, size: int) -> tuple[bytes, dict[str, Any], dict[str, Any]]:
    """The header's bytes, the tensors that it describes, which fill a file of `size` bytes, and what encode()
    noted about them. Raises NotWhole, OSError.
    """
    if os.fstat(file.fileno()).st_size != size:
        raise NotWhole("its size does not match")
    start = os.pread(file.fileno(), 8, 0)
    length = int.from_bytes(start, "little")
    if not 0 < length <= size - 8:
        raise NotWhole("its header is damaged")
    text = os.pread(file.fileno(), length, 8)
    try:
        tensors = json.loads(text)
        about = json.loads(tensors.pop("__metadata__")["kept"])
        known = all(name in TYPES for name in about["dtypes"]) and type(about["slices"]) is int
        if not known or [name for name in tensors if not name.split(".")[0].isdecimal()]:
            raise NotWhole("its header is damaged")
        at = 0
        for one in tensors.values():
            begin, end = one["data_offsets"]
            taken = math.prod(one["shape"]) * TYPES[one["dtype"]].size
            if begin != at or end - begin != taken:
                raise NotWhole("its header is damaged")
            at = end
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise NotWhole("its header is damaged") from error
    if 8 + length + at != size:
        raise NotWhole("its header is damaged")
    return start + text, tensors, about


def part_of(file: BinaryIO, begin: int, tensor: dict[str, Any]) -> bytes:
    """The bytes of a tensor that is not asked for."""
    first, last = tensor["data_offsets"]
    return os.pread(file.fileno(), last - first, begin + first)


def assemble(tensors: dict[str, mx.array], about: dict[str, Any], whole: bool, breaks: Throttle) -> Kept:
    """What was kept, in the types that it had."""
    arrays: list[mx.array] = []
    count = about["slices"]
    for index, dtype in enumerate(about["dtypes"] if whole else about["dtypes"][:count]):
        parts = {suffix: tensors[f"{index}{suffix}"] for suffix in SUFFIXES if f"{index}{suffix}" in tensors}
        with mx.stream(stream(index)):
            arrays.append(grow(parts, about["form"], TYPES[dtype]))
    compute(arrays, breaks)
    kept = Kept(
        about["start"], about["end"], tuple(arrays[:count]), tuple(arrays[count:]), tuple(about["spec"])
    )
    return kept if whole else kept.thin()


def raw(array: mx.array) -> memoryview:
    """The bytes of an array, without a copy."""
    if array.dtype == mx.bfloat16:  # numpy does not know this type
        array = array.view(mx.uint16)
    values: Any = np.asarray(array)
    return memoryview(values).cast("B") if array.size else memoryview(b"")


def shrink(array: mx.array, form: str) -> dict[str, mx.array]:
    """The tensors that stand for an array on disk, by suffix. Codes share their scale along the tokens of a
    channel, because keys have channels that are far larger than others (KIVI, arXiv:2402.02750).
    """
    if form == "keep" or array.size == 0 or array.shape[-1] % 2:
        return {"": array}
    if form == "bf16":
        return {"": array.astype(mx.bfloat16)}
    bits = int(form[1:])
    tokens = array.shape[-2]
    grouped = by_group(array.astype(mx.float32), GROUPS[bits])
    low = grouped.min(axis=-2, keepdims=True)
    scale = mx.maximum(grouped.max(axis=-2, keepdims=True) - low, 1e-12) / (2**bits - 1)
    codes = mx.round((grouped - low) / scale).astype(mx.uint16 if bits == 16 else mx.uint8)
    codes = codes.reshape(*array.shape[:-2], -1, array.shape[-1])[..., :tokens, :]
    if bits == 4:
        codes = codes[..., 0::2] | (codes[..., 1::2] << 4)
    return {".q": mx.contiguous(codes), ".scale": scale, ".low": low}


def by_group(array: mx.array, size: int) -> mx.array:
    """[..., tokens, channels] as [..., groups, size, channels]; the last token fills the last group."""
    missing = -array.shape[-2] % size
    filled = mx.concatenate([array, *[array[..., -1:, :]] * missing], axis=-2) if missing else array
    return filled.reshape(*array.shape[:-2], -1, size, array.shape[-1])


def grow(parts: dict[str, mx.array], form: str, dtype: mx.Dtype) -> mx.array:
    """What shrink() made smaller, in the type that it had."""
    if "" in parts:
        return parts[""].astype(dtype)
    codes = parts[".q"]
    bits = 4 if form == "q4" else 8 * codes.itemsize
    if bits == 4:
        codes = mx.stack([codes & 15, codes >> 4], axis=-1).reshape(*codes.shape[:-1], -1)
    values = by_group(codes.astype(mx.float32), GROUPS[bits]) * parts[".scale"] + parts[".low"]
    return values.reshape(*codes.shape[:-2], -1, codes.shape[-1])[..., : codes.shape[-2], :].astype(dtype)
