"""The prefix cache's figures, for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from engine.types import CacheStats

_CACHE_GAUGES = {
    "prefix_cache_bytes": ("Bytes of kept prefixes", {"ram": "ram_bytes", "disk": "disk_bytes"}),
    "prefix_cache_limit_bytes": ("Bytes that they may take", {"ram": "ram_budget", "disk": "disk_limit"}),
    "prefix_cache_segments": ("Segments", {"any": "segments", "disk": "stored"}),
}
_CACHE_COUNTERS = {
    "prefix_cache_requests": (
        "Requests by where their prefix came from",
        {"ram": "from_ram", "disk": "from_disk", "none": "from_nothing"},
    ),
    "prefix_cache_evictions": ("Evicted segments", {"ram": "evicted", "disk": "evicted_disk"}),
}
_CACHE_TOTALS = {
    "prefix_cache_reused_tokens": ("Prompt tokens that were not computed again", "reused_tokens"),
    "prefix_cache_prompt_tokens": ("Of so many", "prompt_tokens"),
    "prefix_cache_late": ("Requests that stopped waiting for the disk", "late"),
    "prefix_cache_followed": ("Requests that waited for another's prompt", "followed"),
    "prefix_cache_written": ("Segments written to disk", "written"),
    "prefix_cache_damaged": ("Entries on disk that were not what was written", "damaged"),
    "prefix_cache_outages": ("Times that writing to disk stopped", "outages"),
    "prefix_cache_refused": ("Segments for which there was no room in RAM", "refused"),
}


def cache_figures(stats: CacheStats) -> Iterator[Metric]:
    """As of the scrape; the counters start over with the engine process."""
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
    yield GaugeMetricFamily("fortieth_prefix_cache_readonly", "Whether nothing is written to disk", readonly)
