"""Alerts: looks once a second at what may be wrong, and remembers since when it is.

    health, counters, watches  -->  troubles  -->  alerts  -->  the API, the log, whoever listens

An alert is raised at once and ends when its trouble has not been seen for half a minute, so that one that comes
and goes is one alert. Nothing of it is durable: a trouble that outlives the process is found again by the next.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, NamedTuple

import msgspec
import trio

from sagakeep.actors.committed import Committed
from sagakeep.actors.gateway import Gateway
from sagakeep.actors.health import Health
from sagakeep.actors.read_model import ReadModel, SagaQuery
from sagakeep.actors.saga_watch import SagaWatch
from sagakeep.actors.service_pauses import ServicePauses
from sagakeep.actors.service_watch import ServiceWatch
from sagakeep.alert import SAGAS_NAMED_MAX, Alert, Severity, Trouble, count_of
from sagakeep.errors import Unavailable
from sagakeep.saga_status import SagaStatus
from sagakeep.thresholds import Thresholds

_log: Final = logging.getLogger(__name__)

CALM_S: Final = 30.0  # without its trouble, until an alert ends

_UNDO_FAILED: Final = SagaStatus.COMPENSATION_FAILED
_CHECKS: Final = (
    ("journal", "journal_stalled", "sagas wait for the disk: see what else uses it"),
    ("disk", "disk_low", "free some space: new sagas are refused until then"),
    ("capacity", "no_capacity", "new sagas are refused: see which ones do not end, and why"),
)


class Changed(NamedTuple):
    """An alert was raised, or has ended."""

    alert: Alert
    is_raised: bool
    at_utc_s: float


class _Active:
    """An alert, and when its trouble was last seen, on trio's clock."""

    def __init__(self, alert: Alert, seen_s: float) -> None:
        self.alert = alert
        self.seen_s = seen_s


class Alerts:
    """Knows the alerts of now. `listeners` are told of each change; they must be quick and must not raise."""

    def __init__(
        self,
        thresholds: Thresholds,
        health: Health,
        committed: Committed,
        read_model: ReadModel,
        gateways: Mapping[str, Gateway],
        now_utc_s: Callable[[], float],
        pauses: ServicePauses,
    ) -> None:
        self.listeners: list[Callable[[Changed], None]] = []
        self.sources: list[Callable[[], Iterable[Trouble]]] = []  # who else has troubles to tell
        self.raised = 0
        self.sagas = SagaWatch(committed, now_utc_s, thresholds.stuck_after_s, pauses)
        self._health = health
        self._committed = committed
        self._read_model = read_model
        self._services = [ServiceWatch(gateway, thresholds) for gateway in gateways.values()]
        self._now_utc_s = now_utc_s
        self._active: dict[tuple[str, str], _Active] = {}

    @property
    def active(self) -> list[Alert]:
        """The alerts of now, the worst first, then the oldest."""
        alerts = [one.alert for one in self._active.values()]
        return sorted(alerts, key=lambda alert: (alert.trouble.severity, alert.number))

    async def run(self, every_s: float) -> None:
        """Look every so many seconds until cancelled; never for 0."""
        if not every_s:
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.sagas.run)
            while True:
                await self.look()
                await trio.sleep(every_s)

    async def look(self) -> None:
        """Look once."""
        now_s = trio.current_time()
        for trouble in self._troubles(now_s):
            await self._note(trouble, now_s)
        for key, one in list(self._active.items()):
            if one.seen_s < now_s - CALM_S:
                del self._active[key]
                _log.info("alert ended: %s", one.alert.trouble.summary)
                self._tell(one.alert, is_raised=False)

    def _troubles(self, now_s: float) -> Iterator[Trouble]:
        yield from self._of_failed_undos()
        yield from self.sagas.troubles
        for source in self.sources:
            yield from source()
        for service in self._services:
            yield from service.look(now_s)
        checks = self._health.checks(recovered=True, stopping=False)
        for name, rule, advice in _CHECKS:
            if not checks[name].ok:
                yield Trouble(rule, Severity.CRITICAL, checks[name].detail, advice)

    def _of_failed_undos(self) -> Iterator[Trouble]:
        count = self._committed.counters.by_status[_UNDO_FAILED]
        if count:
            yield Trouble(
                "undo_failed",
                Severity.CRITICAL,
                f"{count_of(count)} {_UNDO_FAILED}: only a person can help now",
                "the history of each says why; mend it, then retry the saga",
                count=count,
            )

    async def _note(self, trouble: Trouble, now_s: float) -> None:
        key = (trouble.rule, trouble.subject)
        active = self._active.get(key)
        if active is not None:
            active.seen_s = now_s
            if trouble.count == active.alert.trouble.count:
                return
        if trouble.rule == "undo_failed":
            trouble = await self._with_names(trouble)
        if active is not None:
            alert = active.alert
            active.alert = Alert(trouble, alert.since_utc_s, alert.number)
            return
        self.raised += 1
        alert = Alert(trouble, self._now_utc_s(), self.raised)
        self._active[key] = _Active(alert, now_s)
        _log.warning("alert: %s; %s", trouble.summary, trouble.advice)
        self._tell(alert, is_raised=True)

    async def _with_names(self, trouble: Trouble) -> Trouble:
        """Name the sagas that are held, the newest first."""
        try:
            page = await self._read_model.list(
                SagaQuery(status=_UNDO_FAILED, limit=SAGAS_NAMED_MAX)
            )
        except Unavailable:  # the alert is more urgent than the names
            return trouble
        names = tuple(row.saga_id for row in page.rows)
        return msgspec.structs.replace(trouble, sagas=names)

    def _tell(self, alert: Alert, *, is_raised: bool) -> None:
        changed = Changed(alert, is_raised, self._now_utc_s())
        for listener in self.listeners:
            listener(changed)
