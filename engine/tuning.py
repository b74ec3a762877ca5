"""Values that suit the device on which the model runs: one DeviceTuning, chosen once."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DeviceTuning:
    """What is tuned for a kind of device.

    prefill_step: most prompt tokens computed between two decode steps, where the settings say nothing.
    chunk_units: chunks of a prompt are whole multiples of the first number; of the second, from 256 tokens
        on.
    breaks: seconds of break after each second of copying, reading or writing, while requests decode.
    settle_bytes: bytes of what is to be kept that are computed between two steps of the model.
    stagger: tokens of room by which the buffers of neighbouring layers differ, see engine.batch_cache.
    """

    prefill_step: int
    chunk_units: tuple[int, int]
    breaks: float
    settle_bytes: int
    stagger: int

    def whole(self, tokens: int) -> int:
        """The size of a chunk of about so many tokens."""
        unit = self.chunk_units[tokens >= 256]
        return (tokens + unit // 2) // unit * unit


# Measured on two cores, which the copying threads share with the model; longer chunks are slower there.
CPU = DeviceTuning(prefill_step=256, chunk_units=(8, 32), breaks=3.0, settle_bytes=16 * 2**20, stagger=32)
# The model has a device of its own, from which copying takes little. Chosen, and not measured yet.
GPU = DeviceTuning(prefill_step=2048, chunk_units=(8, 32), breaks=0.5, settle_bytes=64 * 2**20, stagger=32)


def tuning_for(device: str) -> DeviceTuning:
    """The tuning for a device. device: cpu or gpu, as ModelInfo has it."""
    return CPU if device == "cpu" else GPU
