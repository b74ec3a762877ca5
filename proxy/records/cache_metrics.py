"""Prometheus figures of the prefix cache."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from engine.types import CacheStats

_CACHE_GAUGES = {
    "prefix_cache_bytes": ("Bytes in the prefix cache", {"ram": "ram_bytes", "disk": "disk_bytes"}),
    "prefix_cache_limit_bytes": (
        "Bytes that the prefix cache may take",
        {"ram": "ram_budget", "disk": "disk_limit"},
    ),
    "prefix_cache_segments": ("Segments in the prefix cache", {"any": "segments", "disk": "stored"}),
}
_CACHE_COUNTERS = {
    "prefix_cache_requests": (
        "Requests by the tier that their prefix came from",
        {"ram": "from_ram", "disk": "from_disk", "none": "from_nothing"},
    ),
    "prefix_cache_evictions": (
        "Segments evicted from the prefix cache",
        {"ram": "evicted", "disk": "evicted_disk"},
    ),
}
_CACHE_TOTALS = {
    "prefix_cache_reused_tokens": ("Prompt tokens taken from the prefix cache", "reused_tokens"),
    "prefix_cache_prompt_tokens": ("Prompt tokens looked up in the prefix cache", "prompt_tokens"),
    "prefix_cache_late": ("Requests that stopped waiting for a prefix from disk", "late"),
    "prefix_cache_followed": ("Requests that waited while another computed a shared prompt", "followed"),
    "prefix_cache_written": ("Segments of the prefix cache written to disk", "written"),
    "prefix_cache_damaged": ("Damaged segments of the prefix cache found on disk", "damaged"),
    "prefix_cache_outages": ("Times that writing the prefix cache to disk stopped", "outages"),
    "prefix_cache_refused": ("Segments that found no room in RAM", "refused"),
}


def cache_figures(stats: CacheStats) -> Iterator[Metric]:
    """The figures at the time of the scrape; the counters start over with the engine process."""
    for name, (text, fields) in _CACHE_GAUGES.items():
        gauge = GaugeMetricFamily(f"fortieth_{name}", text, labels=["tier"])
        for tier, field in fields.items():
            gauge.add_metric([tier], float(getattr(stats, field)))
        yield gauge
    for name, (text, fields) in _CACHE_COUNTERS.items():
        counter = CounterMetricFamily(f"fortieth_{name}", text, labels=["tier"])
        for tier, field in fields.items():
            counter.add_metric([tier], float(getattr(stats, field)))
        yield counter
    for name, (text, field) in _CACHE_TOTALS.items():
        yield CounterMetricFamily(f"fortieth_{name}", text, float(getattr(stats, field)))
    readonly = float(bool(stats.readonly))
    yield GaugeMetricFamily(
        "fortieth_prefix_cache_readonly", "1 while the prefix cache on disk is not written", readonly
    )
