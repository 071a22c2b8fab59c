"""Numbers: what a process counts, read from its parts when somebody scrapes it.

What happens thousands of times a second is counted where it happens (`sagakeep.actors.tally`); everything else is
asked for here. No label grows without bound: services are configured, and of names and actions, which come from
clients, the first so many are told apart.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import version
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from sagakeep import limits
from sagakeep.actors.alerts import Alerts
from sagakeep.actors.breaker import BreakerState
from sagakeep.actors.committed import Committed, Note
from sagakeep.actors.eraser import Eraser
from sagakeep.actors.gateway import Gateway
from sagakeep.actors.health import Health
from sagakeep.actors.journal import Journal
from sagakeep.actors.never_stuck import NeverStuck
from sagakeep.actors.read_model import ReadModel
from sagakeep.actors.recovery import RecoverySummary
from sagakeep.actors.registry import Registry
from sagakeep.actors.retention import Retention
from sagakeep.actors.tally import OUTCOMES, SagaTally
from sagakeep.actors.webhooks import Webhooks
from sagakeep.runtime.histogram import Histogram
from sagakeep.runtime.loop_lag import LoopLag

_VERSION: Final = version("sagakeep")


class Parts(NamedTuple):
    """Whom the numbers are read from. `recovery` gives None while it lasts."""

    journal: Journal[Note]
    registry: Registry
    committed: Committed
    read_model: ReadModel
    gateways: Mapping[str, Gateway]
    health: Health
    sagas: SagaTally
    loop_lag: LoopLag
    alerts: Alerts
    eraser: Eraser
    retention: Retention
    webhooks: Webhooks
    never_stuck: NeverStuck
    recovery: Callable[[], RecoverySummary | None]


class Numbers(Collector):
    """Reads every number when it is scraped; the registry of Prometheus' client is its own."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._registered = CollectorRegistry(auto_describe=False)
        self._registered.register(self)
        ProcessCollector(registry=self._registered)  # memory, processor, descriptors, start

    def text(self) -> bytes:
        """Every number, in Prometheus' text format."""
        return generate_latest(self._registered)

    def collect(self) -> Iterator[Metric]:
        parts = self._parts
        yield from _of_sagas(parts.committed, parts.registry)
        yield from _of_names(parts.sagas)
        yield from _of_journal(parts.journal)
        yield from _of_rows(parts.read_model)
        yield from _of_eraser(parts.eraser)
        retired = parts.retention.retired
        yield _counter("sagas_retired", "Sagas that retention deleted", retired)
        yield from _of_services(parts.gateways)
        yield from _of_calls(parts.gateways)
        yield from _of_webhooks(parts.webhooks)
        checked, repaired = parts.never_stuck.checked, parts.never_stuck.repaired
        yield _counter("sagas_checked", "Looks whether a saga has what will move it", checked)
        yield _counter("sagas_repaired", "Sagas that had nothing to move them", repaired)
        yield from _of_process(parts)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"sagakeep_{name}", text, value)


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(f"sagakeep_{name}", text, value)


def _gauges(
    name: str, text: str, labels: Iterable[str], values: Iterable[tuple[Iterable[str], float]]
) -> Metric:
    return _filled(GaugeMetricFamily(f"sagakeep_{name}", text, labels=[*labels]), values)


def _counters(
    name: str, text: str, labels: Iterable[str], values: Iterable[tuple[Iterable[str], float]]
) -> Metric:
    return _filled(CounterMetricFamily(f"sagakeep_{name}", text, labels=[*labels]), values)


def _filled(
    family: GaugeMetricFamily | CounterMetricFamily, values: Iterable[tuple[Iterable[str], float]]
) -> Metric:
    for of, value in values:
        family.add_metric([*of], value)
    return family


def _histograms(
    name: str, text: str, labels: Iterable[str], values: Iterable[tuple[Iterable[str], Histogram]]
) -> Metric:
    family = HistogramMetricFamily(f"sagakeep_{name}", text, labels=[*labels])
    for of, histogram in values:
        family.add_metric([*of], histogram.buckets(), histogram.sum)
    return family


def _of_sagas(committed: Committed, registry: Registry) -> Iterator[Metric]:
    statistics = committed.counters.statistics()
    by_status = (((status,), count) for status, count in statistics.by_status.items())
    yield _gauges("sagas", "Sagas that exist", ["status"], by_status)
    yield _gauge("live_sagas", "Sagas that are not finished", registry.live_count)
    seconds = statistics.completed_seconds
    yield _counter("completed_seconds", "Seconds that completed sagas took", seconds)
    yield _gauge("registry_queued", "Wishes in the registry's mailbox", len(registry.mailbox))
    yield _gauge("turns_queued", "Sagas that wait for their turn", registry.turns_queued)


def _of_names(tally: SagaTally) -> Iterator[Metric]:
    names = ["name"]
    begun = (((name,), count) for name, count in tally.begun.items())
    yield _counters("sagas_begun", "Sagas begun since the start", names, begun)
    undos = (((name,), count) for name, count in tally.undos.items())
    yield _counters("saga_undos", "Times that a saga began to undo", names, undos)
    text = "From the creation of a saga until it stood still"
    yield _histograms("saga_seconds", text, ["name", "status"], tally.durations.items())


def _of_journal(journal: Journal[Note]) -> Iterator[Metric]:
    written = journal.files.statistics()
    for name, value in zip(written._fields, written, strict=True):
        if name == "segments":
            yield _gauge("journal_segments", "Journal files", value)
        else:
            yield _counter(f"journal_{name}", f"Journal {name} since the start", value)
    text = "One group commit: the write and its fdatasync, as sagas wait for them"
    yield _histograms("journal_commit_seconds", text, [], [((), journal.commit_seconds)])
    records, size = journal.queued
    yield _gauge("journal_queued_records", "Records that wait for their group commit", records)
    yield _gauge("journal_queued_bytes", "Bytes that wait for their group commit", size)


def _of_rows(read_model: ReadModel) -> Iterator[Metric]:
    now = read_model.statistics()
    waiting = now.pending + now.flushing
    yield _gauge("rows_pending", "Rows of the read model that are not written yet", waiting)
    yield _gauge("rows_lag_bytes", "Journal that is not in the read model yet", now.lag_bytes)
    yield _gauge("rows_failures", "Flushes of the read model failed in a row", now.failures)
    yield _counter("rows_written", "Rows written to the read model", now.rows_written)


def _of_eraser(eraser: Eraser) -> Iterator[Metric]:
    yield _counter("sagas_erased", "Deleted sagas whose records were erased", eraser.erased)
    text = "How long the oldest deletion has waited to be erased"
    yield _gauge("erasure_waiting_seconds", text, eraser.waiting_s)


def _of_services(gateways: Mapping[str, Gateway]) -> Iterator[Metric]:
    now = {name: gateway.statistics() for name, gateway in gateways.items()}
    services = ["service"]
    in_flight = (((name,), one.in_flight) for name, one in now.items())
    yield _gauges("service_in_flight", "Attempts in flight", services, in_flight)
    queued = (((name,), one.queued) for name, one in now.items())
    yield _gauges("service_queued", "Attempts that wait", services, queued)
    attempts = (((name,), one.attempts) for name, one in now.items())
    yield _counters("service_attempts", "Attempts begun", services, attempts)
    text = "1 for the state that the circuit breaker is in"
    breakers = (
        ((name, state), gateway.throttle.breaker is state)
        for name, gateway in gateways.items()
        for state in BreakerState
    )
    yield _gauges("service_breaker", text, ["service", "state"], breakers)
    paused = (((name,), one.paused is not None) for name, one in gateways.items())
    yield _gauges("service_paused", "1 while an operator has paused it", services, paused)


def _of_calls(gateways: Mapping[str, Gateway]) -> Iterator[Metric]:
    tallies = {name: gateway.tally for name, gateway in gateways.items()}
    yield _counters(
        "service_calls",
        "Attempts that ended, or whose time was up",
        ["service", "action", "phase", "outcome"],
        (
            ((name, *key, outcome), count)
            for name, one in tallies.items()
            for key, counts in one.ended.items()
            for outcome, count in zip(OUTCOMES, counts, strict=True)
            if count
        ),
    )
    yield _counters(
        "service_retries",
        "Attempts that were not the first of their call",
        ["service", "phase"],
        (
            ((name, phase), count)
            for name, one in tallies.items()
            for phase, count in one.repeated.items()
        ),
    )
    late = (((name,), one.late) for name, one in tallies.items())
    yield _counters("service_late_replies", "Answers after their timeout", ["service"], late)
    seconds = (((name,), one.seconds) for name, one in tallies.items())
    yield _histograms("service_call_seconds", "How long attempts took", ["service"], seconds)


def _of_webhooks(webhooks: Webhooks) -> Iterator[Metric]:
    now = {sender.name: sender.statistics() for sender in webhooks.senders}
    names = ["webhook"]
    told = (((name,), one.told) for name, one in now.items())
    yield _counters("webhook_told", "Events that a receiver has taken", names, told)
    given_up = (((name,), one.given_up) for name, one in now.items())
    yield _counters("webhook_given_up", "Events that none has taken in time", names, given_up)
    attempts = (((name,), one.attempts) for name, one in now.items())
    yield _counters("webhook_attempts", "Attempts to tell an event", names, attempts)
    waiting = (((name,), one.waiting) for name, one in now.items())
    yield _gauges("webhook_waiting", "Events in memory that are still to be told", names, waiting)
    behind = (((name,), one.behind_bytes) for name, one in now.items())
    yield _gauges("webhook_behind_bytes", "Journal not known to be told", names, behind)
    failing = (((name,), one.is_failing) for name, one in now.items())
    yield _gauges("webhook_failing", "1 while attempts fail", names, failing)


def _of_process(parts: Parts) -> Iterator[Metric]:
    said = {"version": _VERSION, "python": platform.python_version()}
    yield InfoMetricFamily("sagakeep_build", "What runs", said)
    lag = parts.loop_lag
    text = "How late the event loop woke a task"
    yield _histograms("loop_lag_seconds", text, [], [((), lag.seconds)])
    text = "The longest lag of the event loop in the last minute"
    yield _gauge("loop_lag_longest_seconds", text, lag.longest_s)
    yield _gauge("disk_free_bytes", "Space left for the journal", parts.health.free_bytes)
    yield _gauge("disk_reserve_bytes", "Below it new sagas are refused", limits.DISK_RESERVE_BYTES)
    alerts = parts.alerts.active
    labels = ["rule", "subject", "severity"]
    troubles = (((a.trouble.rule, a.trouble.subject, a.trouble.severity), 1) for a in alerts)
    yield _gauges("alert", "1 for each alert of now", labels, troubles)
    yield _counter("alerts_raised", "Alerts raised since the start", parts.alerts.raised)
    recovery = parts.recovery()
    yield _gauge("recovered", "1 when all sagas run again after a start", recovery is not None)
    if recovery is not None:
        yield _gauge("recovery_seconds", "How long the recovery took", recovery.seconds)
        yield _gauge("recovery_records", "Records that the recovery read", recovery.records)
