"""Webhooks: tell other machines which sagas have come to rest, and what is wrong.

    a saga comes to rest --> outbox (the journal, from a cursor on) --.
                                                                      +--> attempt --> 2xx: told
    an alert             --> a short queue in memory -----------------'       `-- else: later, and later

Each webhook has tasks of its own: a receiver that is slow or down holds up neither sagas nor other receivers.
Sagas are told at least once, over any kill; alerts are told while the process lives, for what is still wrong
after a start is an alert again.

An event that is not taken is tried until it is too old. One that the receiver refuses while it is well (4xx)
holds up what is behind it for a few attempts only.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, NamedTuple, Protocol

import trio

from sagakeep import limits
from sagakeep.actors.alerts import Changed
from sagakeep.actors.committed import Moved
from sagakeep.actors.outbox import Outbox
from sagakeep.webhook import Message, Posted, WebhookSpec, alert_message, headers_of

SAVE_EVERY_S: Final = 2.0  # how far a kill sets the cursor back
RESTART_S: Final = 5.0
RETRY_S_MIN: Final = 1.0  # doubles
RETRY_S_MAX: Final = 300.0
AT_ONCE: Final = 16  # attempts at one receiver
GONE: Final = 410  # the receiver wants no more

_log: Final = logging.getLogger(__name__)


class Poster(Protocol):
    """A way to one URL. Bounds its time; never raises but for cancellation."""

    async def post(self, headers: Mapping[str, str], body: bytes) -> Posted: ...

    async def aclose(self) -> None: ...


class Webhook(NamedTuple):
    """Where events go, and how."""

    spec: WebhookSpec
    poster: Poster


class WebhookStatistics(NamedTuple):
    """Since the start; of now are the events that wait in memory, how much of the journal is not known to be
    told, and whether the last attempt failed."""

    told: int
    given_up: int
    attempts: int
    waiting: int
    behind_bytes: int
    is_failing: bool


class Sender:
    """Tells one webhook."""

    def __init__(
        self,
        name: str,
        webhook: Webhook,
        outbox: Outbox,
        source: str,
        now_utc_s: Callable[[], float],
        draw: Callable[[], float],
    ) -> None:
        self.name = name
        self.outbox = outbox
        self.webhook = webhook
        self._source = source
        self._now_utc_s = now_utc_s
        self._draw = draw
        self._into, self._alerts = trio.open_memory_channel[Message](limits.WEBHOOK_ALERTS_MAX)
        self._is_gone = False
        self._is_failing = False
        self._told = self._given_up = self._attempts = 0
        self._saved_s = -SAVE_EVERY_S

    def statistics(self) -> WebhookStatistics:
        waiting = self.outbox.waiting + self._into.statistics().current_buffer_used
        return WebhookStatistics(
            self._told,
            self._given_up,
            self._attempts,
            waiting,
            self.outbox.behind_bytes,
            self._is_failing or self._is_gone,
        )

    def changed(self, changed: Changed) -> None:
        """An alert was raised or has ended; beyond the bound the newest are not told."""
        is_raised = changed.is_raised
        if not self.webhook.spec.wants_alert(is_raised=is_raised):
            return
        message = alert_message(changed.alert, changed.at_utc_s, self._source, is_raised=is_raised)
        try:
            self._into.send_nowait(message)
        except trio.WouldBlock:
            self._give_up(message, f"{limits.WEBHOOK_ALERTS_MAX} alerts wait already")

    async def run(self) -> None:
        """Tell, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._run_alerts)
            while True:
                batch = await self.outbox.next_batch()
                await self._tell_all(batch.messages)
                if self._is_gone:
                    await trio.sleep_forever()  # the cursor stays, for the next start
                self.outbox.handled(batch)
                await self._save()
                await self.outbox.wait_more(SAVE_EVERY_S)

    async def _save(self) -> None:
        now_s = trio.current_time()
        if now_s - self._saved_s >= SAVE_EVERY_S:
            self._saved_s = now_s
            await self.outbox.save()

    async def _tell_all(self, messages: Iterable[Message]) -> None:
        """Tell a batch: what is of one subject in order, several subjects at a time."""
        by_subject: dict[str, list[Message]] = {}
        for message in messages:
            by_subject.setdefault(message.subject, []).append(message)
        rows = iter(by_subject.values())
        async with trio.open_nursery() as telling:
            for _ in range(min(AT_ONCE, len(by_subject))):
                telling.start_soon(self._tell_rows, rows)

    async def _tell_rows(self, rows: Iterator[list[Message]]) -> None:
        for row in rows:
            for message in row:
                await self._tell(message, limits.WEBHOOK_SAGA_S_MAX)

    async def _run_alerts(self) -> None:
        while True:
            await self._tell(await self._alerts.receive(), limits.WEBHOOK_ALERT_S_MAX)

    async def _tell(self, message: Message, age_s_max: float) -> None:
        """Make attempts until one is taken, the event is too old, or it is refused too often."""
        refusals = 0
        wait_s = RETRY_S_MIN
        for _ in range(limits.WEBHOOK_ATTEMPTS_MAX):
            if self._is_gone:
                return
            posted = await self._attempt(message)
            if posted.is_taken:
                self._told += 1
                return
            refusals += posted.is_refusal
            is_old = self._now_utc_s() - message.at_utc_s >= age_s_max
            if is_old or refusals >= limits.WEBHOOK_REFUSALS_MAX:
                break
            await trio.sleep(wait_s * (0.5 + self._draw() / 2))
            wait_s = min(wait_s * 2, RETRY_S_MAX)
        if not self._is_gone:
            self._give_up(message, _why(posted))

    def _give_up(self, message: Message, why: str) -> None:
        self._given_up += 1
        _log.error(
            "webhook %s: event %s of %s is given up: %s; see why its receiver does not take it",
            self.name,
            message.id,
            message.subject,
            why,
            extra={"saga": message.subject if message.is_of_saga else ""},
        )

    async def _attempt(self, message: Message) -> Posted:
        self._attempts += 1
        headers = headers_of(message, self.webhook.spec.secrets, int(self._now_utc_s()))
        posted = await self.webhook.poster.post(headers, message.body)
        if posted.is_taken:
            if self._is_failing:
                _log.warning("webhook %s: takes events again", self.name)
            self._is_failing = False
        elif posted.status == GONE and not self._is_gone:
            self._is_gone = True
            _log.error(
                "webhook %s: HTTP 410: the receiver wants no more, and is told nothing until the next start;"
                " take it out of the configuration, or mend it and restart",
                self.name,
            )
        elif not self._is_failing and not self._is_gone:
            self._is_failing = True
            _log.warning(
                "webhook %s: an event is not taken: %s; it is tried again: see to its receiver",
                self.name,
                _why(posted),
            )
        return posted


def _why(posted: Posted) -> str:
    return posted.error or f"HTTP {posted.status}"


class Webhooks:
    """All webhooks of a process. `begin` comes before any saga moves, `run` is their task."""

    def __init__(self, senders: list[Sender]) -> None:
        self.senders = senders

    @property
    def on_moved(self) -> tuple[Moved, ...]:
        """Who wants each change of a saga's status."""
        return tuple(sender.outbox.moved for sender in self.senders)

    async def begin(self) -> None:
        """Take up where the last process was. Raises JournalError."""
        for sender in self.senders:
            await sender.outbox.begin()

    def changed(self, changed: Changed) -> None:
        """An alert was raised, or has ended."""
        for sender in self.senders:
            sender.changed(changed)

    async def run(self) -> None:
        """Tell, until cancelled."""
        async with trio.open_nursery() as nursery:
            for sender in self.senders:
                nursery.start_soon(_keep_running, sender)

    async def aclose(self) -> None:
        """Keep the cursors, close the ways; after `run` has ended."""
        for sender in self.senders:
            await sender.outbox.save()
            await sender.webhook.poster.aclose()


async def _keep_running(sender: Sender) -> None:
    """Run a sender for ever: no bug of it, and nothing that it reads, ends the sagas."""
    while True:
        try:
            await sender.run()
        except Exception:
            _log.exception("webhook %s failed and is started again", sender.name)
            sender.outbox.rewind()
            await trio.sleep(RESTART_S)


def make_webhooks(
    webhooks: Mapping[str, Webhook],
    outbox_of: Callable[[str, WebhookSpec], Outbox],
    source: str,
    now_utc_s: Callable[[], float],
    draw: Callable[[], float],
) -> Webhooks:
    """A sender for each webhook."""
    return Webhooks(
        [
            Sender(name, webhook, outbox_of(name, webhook.spec), source, now_utc_s, draw)
            for name, webhook in webhooks.items()
        ]
    )
