"""The settings of one engine: frozen, checked when made, sent whole to the engine process."""

from __future__ import annotations

import msgspec

LOG_LEVELS = ("debug", "info", "warning", "error")
AT_REST = ("keep", "bf16", "q8", "q4")
LEAST_CACHE_DISK = 16 * 2**20
DTYPES = ("auto", "keep", "float32", "bfloat16", "float16")


class EngineConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of one engine. Raises ValueError, naming the field, when a value makes no sense.

    model: directory of the model (see engine.resolve).
    max_batch: sequences decoded together.
    queue_limit: requests that may wait for a place in the batch.
    context_limit: tokens of prompt and answer together; None takes the model's own.
    prefill_step: most prompt tokens prefilled between two decode steps; None takes what suits the device (see
        engine.tuning).
    prefill_step_min: the least, however slow the machine.
    prefill_share: a prefill chunk may take this many times as long as a decode step while others decode; it
        bounds the gap in their streams.
    kv_budget: bytes that the KV caches of running requests may take; None takes what the machine has left.
        Requests wait while it is used up, and a context that could not fit is not offered.
    cache_ram: bytes for the prefix cache in RAM, beside kv_budget; None takes a quarter of what both may
        have, 0 turns the cache off, on disk too.
    cache_dir: folder of the cache's tier on disk; None has none.
    cache_disk: bytes that the folder may take.
    kv_at_rest: keep, bf16, q8 or q4: the form of keys and values on disk.
    moe_top_k: experts that compute each token of a mixture-of-experts model; None: as many as it says itself.
    prompt_lookup: whether repetitions are computed ahead (see engine.lookup).
    session_ttl_s: how long after its last turn a session's prefix is protected.
    dtype: auto computes in float32 where the device is the CPU, and keeps the stored type elsewhere.
    blas: auto or off, for Linux on the CPU only (see engine.cpu.blas).
    stream_interval_s: how long text may wait for more of its request, while all requests decode; 0: never.
    load_timeout_s: a process that has not loaded its model in this time is killed and started again.
    stall_timeout_s: the same for a process that has not finished a step.
    ready_wait_s: how long a new request waits for a restart.
    idle_unload_s: after so long without a request the process ends, until a request comes; None: never.
    cache_ram_ttl_s: after so long unused, what is on disk leaves the RAM; None: only when there is no room.
    log_level: debug, info, warning or error; what the engine process writes to standard error.
    replay: a request that had emitted nothing when the process died is given to the new one, once.
    """

    model: str
    max_batch: int = 32
    queue_limit: int = 256
    context_limit: int | None = None
    prefill_step: int | None = None
    prefill_step_min: int = 16
    prefill_share: float = 7.5
    kv_budget: int | None = None
    cache_ram: int | None = None
    cache_dir: str | None = None
    cache_disk: int = 10 * 2**30
    kv_at_rest: str = "keep"
    moe_top_k: int | None = None
    prompt_lookup: bool = False
    session_ttl_s: float = 900.0
    dtype: str = "auto"
    blas: str = "auto"
    stream_interval_s: float = 0.05
    load_timeout_s: float = 1800.0
    stall_timeout_s: float = 120.0
    ready_wait_s: float = 30.0
    heartbeat_s: float = 0.5
    idle_unload_s: float | None = None
    cache_ram_ttl_s: float | None = 3600.0
    replay: bool = True
    log_level: str = "warning"

    def __post_init__(self) -> None:
        for name, least in (("max_batch", 1), ("queue_limit", 0), ("prefill_step_min", 1)):
            value = getattr(self, name)
            if value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")
        if self.prefill_step is not None and self.prefill_step < self.prefill_step_min:
            raise ValueError(
                f"prefill_step must be at least {self.prefill_step_min}, got {self.prefill_step}"
            )
        if self.kv_budget is not None and self.kv_budget < 1:
            raise ValueError(f"kv_budget must be at least 1 byte, got {self.kv_budget}")
        if self.cache_ram is not None and self.cache_ram < 0:
            raise ValueError(f"cache_ram must not be negative, got {self.cache_ram}")
        if self.cache_disk < LEAST_CACHE_DISK:
            raise ValueError(f"cache_disk must be at least {LEAST_CACHE_DISK} bytes, got {self.cache_disk}")
        if self.moe_top_k is not None and self.moe_top_k < 1:
            raise ValueError(f"moe_top_k must be at least 1, got {self.moe_top_k}")
        if self.kv_at_rest not in AT_REST:
            raise ValueError(f"kv_at_rest must be one of {', '.join(AT_REST)}, got {self.kv_at_rest!r}")
        if self.context_limit is not None and self.context_limit < 2:
            raise ValueError(f"context_limit must be at least 2, got {self.context_limit}")
        for name in ("session_ttl_s", "prefill_share", "load_timeout_s", "stall_timeout_s", "heartbeat_s"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")
        for name in ("idle_unload_s", "cache_ram_ttl_s"):
            if (seconds := getattr(self, name)) is not None and seconds <= 0:
                raise ValueError(f"{name} must be above 0, got {seconds}")
        for name in ("ready_wait_s", "stream_interval_s"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        if self.dtype not in DTYPES:
            raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, got {self.dtype!r}")
        if self.log_level not in LOG_LEVELS:
            raise ValueError(f"log_level must be one of {', '.join(LOG_LEVELS)}, got {self.log_level!r}")
        if self.blas not in ("auto", "off"):
            raise ValueError(f"blas must be auto or off, got {self.blas!r}")
