"""The pauses of services: nothing that waits for a paused one begins, until an operator resumes it.

    PAUSED     {"payment": {"since_utc_s": ..., "by": "ada", "note": "..."}}    beside the journal, with a crc

A pause is not of a saga, so it is no record of the journal: it is a small note that is written beside, made
durable and given its name. It is durable before anybody is told that the service is paused, and gone before
anything begins again. A note that is damaged refuses the start: the one thing that a pause is for is that nobody
calls.

What waits for a paused service is not late: whoever looks for sagas that are stuck asks here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Final

import trio

from sagakeep import limits
from sagakeep.actors.gateway import Gateway
from sagakeep.effects import RunCall, outstanding
from sagakeep.errors import JournalCorrupt, Unavailable
from sagakeep.runtime.blocking import RunBlocking
from sagakeep.runtime.disk import Disk
from sagakeep.runtime.journal_directory import read_note, replace_file, seal
from sagakeep.service_pause import ServicePause, pauses_in, pauses_text
from sagakeep.state import SagaState

_log: Final = logging.getLogger(__name__)

NAME: Final = "PAUSED"


class ServicePauses:
    """Closes and opens the gateways, and remembers it for the next process."""

    def __init__(
        self,
        disk: Disk,
        directory: str,
        gateways: Mapping[str, Gateway],
        now_utc_s: Callable[[], float],
        run_blocking: RunBlocking,
    ) -> None:
        self.path = f"{directory}/{NAME}"
        self._disk = disk
        self._gateways = gateways
        self._now_utc_s = now_utc_s
        self._run_blocking = run_blocking
        self._pauses: dict[str, ServicePause] = {}
        self._turn = trio.CapacityLimiter(1)  # of those who change the note

    async def begin(self) -> None:
        """Close what the last process left closed. Raises JournalCorrupt."""
        self._pauses = await self._run_blocking(self._load)
        for name, pause in self._pauses.items():
            if name in self._gateways:
                self._gateways[name].pause(pause)
                _log.warning("service %s is still paused", name, extra={"service": name})

    async def pause(self, name: str, by: str, note: str) -> None:
        """Let no call of the service begin; one that is paused stays as it is. Raises Unavailable."""
        async with self._turn:
            if name in self._pauses:
                return
            pause = ServicePause(self._now_utc_s(), by, note)
            await self._save({**self._pauses, name: pause})
            self._gateways[name].pause(pause)
        _log.warning("service %s was paused by %s: %s", name, by, note, extra={"service": name})

    async def resume(self, name: str, by: str, note: str) -> None:
        """Let calls begin again. Raises Unavailable."""
        async with self._turn:
            if name not in self._pauses:
                return
            await self._save({one: at for one, at in self._pauses.items() if one != name})
            self._gateways[name].resume()
        _log.warning("service %s was resumed by %s: %s", name, by, note, extra={"service": name})

    # For those who look for what is stuck

    def holds(self, state: SagaState) -> bool:
        """Does all that is outstanding for a saga wait for paused services?"""
        if not self._pauses:
            return False
        calls = [one for one in outstanding(state) if isinstance(one, RunCall)]
        return bool(calls) and all(state.step(one.step_id).service in self._pauses for one in calls)

    def holds_asleep(self, saga_id: str) -> bool:
        """Does a saga that sleeps wait for a paused service?"""
        return any(self._gateways[name].places(saga_id) for name in self._here())

    @property
    def asleep_count(self) -> int:
        """How many attempts of sagas that sleep wait for paused services."""
        return sum(self._gateways[name].asleep_count for name in self._here())

    def _here(self) -> list[str]:
        return [name for name in self._pauses if name in self._gateways]

    # The note

    def _load(self) -> dict[str, ServicePause]:
        text = read_note(self._disk, self.path, limits.PAUSES_BYTES_MAX)
        try:
            return {} if text is None else pauses_in(text)
        except ValueError as error:
            raise JournalCorrupt(self.path, 0, f"is no note of paused services: {error}") from error

    async def _save(self, pauses: dict[str, ServicePause]) -> None:
        data = seal(pauses_text(pauses))
        if len(data) > limits.PAUSES_BYTES_MAX:
            raise Unavailable(
                f"the note of paused services has {limits.PAUSES_BYTES_MAX} bytes at most"
            )
        try:
            await self._run_blocking(replace_file, self._disk, self.path, data)
        except OSError as error:
            _log.error("%s: %s: nothing is paused or resumed; mend the disk", self.path, error)
            raise Unavailable(
                "the pause cannot be made durable: the disk does not take it"
            ) from error
        self._pauses = pauses
