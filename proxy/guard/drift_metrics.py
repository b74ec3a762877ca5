"""Prometheus figures of drift: sessions under constraint, and the share of valid turns."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from proxy.guard.drift import DriftStore


class DriftCollector(Collector):
    """Which sessions are decoded under constraint, and how valid calls are as models emit them, by turn."""

    def __init__(self, drift: DriftStore) -> None:
        self._drift = drift

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "fortieth_drifted_sessions",
            "Sessions decoded under constraint now",
            float(self._drift.escalated()),
        )
        labels = ["model_name", "from_turn"]
        turns = CounterMetricFamily(
            "fortieth_unconstrained_call_turns", "Turns with calls decoded without a grammar", labels=labels
        )
        valid = CounterMetricFamily(
            "fortieth_valid_as_emitted",
            "Turns decoded without a grammar whose calls were all valid as emitted",
            labels=labels,
        )
        for (model, first), share in self._drift.shares().items():
            turns.add_metric([model, str(first)], share.turns)
            valid.add_metric([model, str(first)], share.valid)
        yield turns
        yield valid
