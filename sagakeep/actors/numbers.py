"""Numbers: what a process counts, read from its parts when somebody scrapes it.

Nothing is counted for this on the hot path, and no label grows without bound.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from sagakeep.actors.committed import Committed, Note
from sagakeep.actors.gateway import Gateway
from sagakeep.actors.journal import Journal
from sagakeep.actors.registry import Registry


class Numbers(Collector):
    """Reads every number when it is scraped."""

    def __init__(
        self,
        journal: Journal[Note],
        registry: Registry,
        committed: Committed,
        gateways: Mapping[str, Gateway],
    ) -> None:
        self._journal = journal
        self._registry = registry
        self._committed = committed
        self._gateways = gateways
        self._registered = CollectorRegistry(auto_describe=False)
        self._registered.register(self)

    def text(self) -> bytes:
        """Every number, in Prometheus' text format."""
        return generate_latest(self._registered)

    def collect(self) -> Iterator[Metric]:
        statistics = self._committed.counters.statistics()
        sagas = GaugeMetricFamily("sagakeep_sagas", "Sagas that exist", labels=["status"])
        for status, count in statistics.by_status.items():
            sagas.add_metric([status], count)
        yield sagas
        yield GaugeMetricFamily(
            "sagakeep_live_sagas", "Sagas with an actor", self._registry.live_count
        )
        yield CounterMetricFamily(
            "sagakeep_completed_seconds",
            "Seconds that completed sagas took",
            statistics.completed_seconds,
        )
        yield from self._of_journal()
        yield from self._of_services()

    def _of_journal(self) -> Iterator[Metric]:
        written = self._journal.files.statistics()
        for name, value in zip(written._fields, written, strict=True):
            if name == "segments":
                yield GaugeMetricFamily("sagakeep_journal_segments", "Journal files", value)
            else:
                text = f"Journal {name} since the start"
                yield CounterMetricFamily(f"sagakeep_journal_{name}", text, value)

    def _of_services(self) -> Iterator[Metric]:
        in_flight = GaugeMetricFamily(
            "sagakeep_service_in_flight", "Attempts in flight", labels=["service"]
        )
        queued = GaugeMetricFamily(
            "sagakeep_service_queued", "Attempts that wait", labels=["service"]
        )
        attempts = CounterMetricFamily(
            "sagakeep_service_attempts", "Attempts begun", labels=["service"]
        )
        for name, gateway in self._gateways.items():
            numbers = gateway.statistics()
            in_flight.add_metric([name], numbers.in_flight)
            queued.add_metric([name], numbers.queued)
            attempts.add_metric([name], numbers.attempts)
        yield from (in_flight, queued, attempts)
