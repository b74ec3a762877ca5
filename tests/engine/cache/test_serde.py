"""Segments as safetensors files: read back as they were, or nearly where they are kept smaller."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from safetensors import safe_open

from engine.cache import serde
from engine.cache.layers import Kept
from engine.cache.record import digest_of
from engine.cache.serde import NotWhole, by_group, decode, encode

SHAPE = (1, 2, 30, 64)
LAYERS = 5


def segment(dtype: mx.Dtype = mx.float32) -> Kept:
    mx.random.seed(3)
    slices = tuple(mx.random.normal(SHAPE).astype(dtype) for _ in range(2 * LAYERS))
    states = (mx.random.normal((1, 3, 8)), mx.array([3, 4], dtype=mx.int32))
    mx.eval(slices, states)
    return Kept(10, 40, slices, states, ([[{"array": 0}, None], {"array": 1}, 7],))


def written(path: Path, kept: Kept, at_rest: str) -> int:
    data = b"".join(bytes(part) for part in encode(kept, at_rest))
    path.write_bytes(data)
    return len(data)


def read_back(path: Path, whole: bool = True) -> Kept:
    data = path.read_bytes()
    with path.open("rb") as file:
        return decode(file, len(data), digest_of((data,)), whole)


def values(array: mx.array) -> np.ndarray[Any, Any]:
    return np.array(array.astype(mx.float32))


@pytest.mark.parametrize("dtype", [mx.float32, mx.float16, mx.bfloat16])
@pytest.mark.parametrize(
    ("at_rest", "error", "ratio"),
    [("keep", 0.0, 1.0), ("bf16", 0.02, 0.5), ("q8", 0.03, 0.48), ("q4", 0.4, 0.21)],
)
def test_read_back(tmp_path: Path, dtype: mx.Dtype, at_rest: str, error: float, ratio: float) -> None:
    kept = segment(dtype)
    size = written(tmp_path / "file.val", kept, at_rest)
    back = read_back(tmp_path / "file.val")
    assert (back.start, back.end, back.spec) == (10, 40, kept.spec)
    assert [array.dtype for array in back.arrays] == [array.dtype for array in kept.arrays]
    for before, after in zip(kept.slices, back.slices, strict=True):
        np.testing.assert_allclose(values(after), values(before), atol=error)
    for before, after in zip(kept.states, back.states, strict=True):
        assert values(after).tolist() == values(before).tolist(), "states are never made smaller"
    if dtype == mx.float32:
        assert size < ratio * kept.nbytes + 4096


def test_files_are_read_on_the_cpu_whatever_the_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On Metal MLX has no operation that reads a file, and raises where it is asked for one."""
    written(tmp_path / "file.val", segment(), "keep")
    library, loads = mx.load, []
    computing = mx.new_stream(mx.cpu)  # as if it were one of the default device

    def load(*args: Any, stream: Any, **named: Any) -> Any:
        loads.append(stream)
        return library(*args, stream=stream, **named)

    monkeypatch.setattr(mx, "load", load)
    monkeypatch.setattr(serde, "stream", lambda number: computing)
    read_back(tmp_path / "file.val")
    assert loads
    assert all(one != computing and one.device.type == mx.DeviceType.cpu for one in loads)


@pytest.mark.parametrize("dtype", [mx.float32, mx.bfloat16])
def test_the_first_and_the_last_layer_are_nearly_exact_in_8_bits(tmp_path: Path, dtype: mx.Dtype) -> None:
    kept = segment(dtype)
    written(tmp_path / "file.val", kept, "q8")
    back = read_back(tmp_path / "file.val")
    errors = [
        float(np.abs(values(after) - values(before)).max())
        for before, after in zip(kept.slices, back.slices, strict=True)
    ]
    assert max(errors[:2] + errors[-2:]) < (1e-4 if dtype == mx.float32 else 1e-9)
    assert min(errors[2:-2]) > 1e-3


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("at_rest", ["keep", "q8"])
def test_no_byte_of_a_file_can_change_unnoticed(tmp_path: Path, at_rest: str, whole: bool) -> None:
    """In the header, in what is read, and in the states that nobody asks for."""
    path = tmp_path / "file.val"
    written(path, segment(), at_rest)
    data = path.read_bytes()
    length = 8 + int.from_bytes(data[:8], "little")
    for at in [*range(0, length, 7), *range(length, len(data), 4999), len(data) - 1]:
        path.write_bytes(data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :])
        with path.open("rb") as file, pytest.raises(NotWhole):
            decode(file, len(data), digest_of((data,)), whole)
    for end in (0, 7, length - 1, length, len(data) - 1):
        path.write_bytes(data[:end])
        with path.open("rb") as file, pytest.raises(NotWhole):
            decode(file, len(data), digest_of((data,)), whole)


def test_what_was_verified_is_what_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that goes, or another under its name, changes nothing; one that is written over is noticed."""
    kept = segment()
    path = tmp_path / "file.val"
    written(path, kept, "keep")
    data = path.read_bytes()
    look = serde.read_header
    with path.open("rb") as file:

        def replaced(*args: Any) -> Any:
            path.unlink()
            path.write_bytes(bytes(len(data)))
            return look(*args)

        monkeypatch.setattr(serde, "read_header", replaced)
        back = decode(file, len(data), digest_of((data,)))
        assert values(back.slices[3]).tolist() == values(kept.slices[3]).tolist()
    path.write_bytes(data)
    with path.open("rb") as file:

        def overwritten(*args: Any) -> Any:
            found = look(*args)
            path.write_bytes(data[:-4] + b"abcd")
            return found

        monkeypatch.setattr(serde, "read_header", overwritten)
        with pytest.raises(NotWhole):
            decode(file, len(data), digest_of((data,)))


def test_any_safetensors_reader_can_read_it(tmp_path: Path) -> None:
    kept = segment()
    written(tmp_path / "file.safetensors", kept, "keep")
    with safe_open(tmp_path / "file.safetensors", framework="np") as file:
        assert sorted(file.keys(), key=int) == [str(index) for index in range(2 * LAYERS + 2)]
        assert file.get_tensor("2").tolist() == np.array(kept.slices[2]).tolist()


@pytest.mark.parametrize(("tokens", "groups"), [(1, 1), (15, 1), (16, 1), (17, 2), (48, 3)])
def test_the_last_token_fills_up_the_last_group(tokens: int, groups: int) -> None:
    array = mx.arange(tokens * 4).reshape(1, 1, tokens, 4)
    grouped = by_group(array, 16)
    assert grouped.shape == (1, 1, groups, 16, 4)
    flat = grouped.reshape(-1, 4)
    assert flat[:tokens].tolist() == array[0, 0].tolist()
    assert flat[tokens:].tolist() == [array[0, 0, -1].tolist()] * (groups * 16 - tokens)


@pytest.mark.parametrize("at_rest", ["q8", "q4"])
@pytest.mark.parametrize("tokens", [1, 15, 16, 17, 63, 65, 200])
def test_no_channel_pays_for_a_larger_one(tmp_path: Path, at_rest: str, tokens: int) -> None:
    """Keys have channels that are a hundred times as large as others, from the first token to the last."""
    rng = np.random.default_rng(tokens)
    sizes = np.array([1000.0, 1.0] * 16)
    array = mx.array((rng.uniform(-1, 1, (1, 2, tokens, 32)) * sizes).astype(np.float32))
    written(tmp_path / "x", Kept(0, tokens, (mx.zeros(array.shape), array, array)), at_rest)
    after = values(read_back(tmp_path / "x").slices[1])
    steps = 255 if at_rest == "q8" else 15
    assert (np.abs(after - values(array)).max(axis=(0, 1, 2)) <= 2 * sizes / steps).all()


@pytest.mark.parametrize("at_rest", ["bf16", "q8", "q4"])
def test_an_odd_width_and_no_tokens_are_kept_whole(tmp_path: Path, at_rest: str) -> None:
    odd, empty = mx.random.normal((1, 1, 3, 7)), mx.zeros((1, 1, 0, 8))
    written(tmp_path / "x", Kept(0, 3, (odd, empty)), at_rest)
    back = read_back(tmp_path / "x").slices
    assert values(back[0]).tolist() == values(odd).tolist()
    assert back[1].shape == (1, 1, 0, 8)


@pytest.mark.parametrize("at_rest", ["q8", "q4"])
def test_constant_and_large_values_survive(tmp_path: Path, at_rest: str) -> None:
    ramp = mx.arange(64) * 1000.0
    array = mx.stack([mx.full((64,), 5.0), ramp], axis=-1).reshape(1, 1, 64, 2)
    written(tmp_path / "x", Kept(0, 64, (array,)), at_rest)
    after = values(read_back(tmp_path / "x").slices[0])
    assert after[0, 0, :, 0].tolist() == [5.0] * 64
    steps = 255 if at_rest == "q8" else 15
    np.testing.assert_allclose(after[0, 0, :, 1], np.arange(64) * 1000.0, atol=63_000 / steps / 2 + 1)
