"""Health: what the process knows about itself, and whether it can take more work.

Checks are for people and load balancers, admission is for clients: a saga that could not be kept is refused
before anything is written. Everything but the disk and the memory is read at the moment it is asked for; nothing
here is counted on the hot path.
"""

from __future__ import annotations

from typing import NamedTuple

import trio

from sagakeep import limits
from sagakeep.actors.committed import Note
from sagakeep.actors.journal import Journal
from sagakeep.actors.memory import Memory
from sagakeep.actors.read_model import ReadModel
from sagakeep.actors.registry import Registry
from sagakeep.actors.service_queues import ServiceQueues
from sagakeep.definition import SagaDefinition
from sagakeep.errors import Unavailable

LOOK_EVERY_S = 1.0  # at the disk and the memory
STALLED_AFTER_S = 5.0  # one write to the journal


class Check(NamedTuple):
    """`detail` says what was found, and what to do when it is not ok."""

    ok: bool
    detail: str


class Health:
    """Asks the parts how they are. `run` keeps an eye on the disk and the memory."""

    def __init__(
        self,
        journal: Journal[Note],
        registry: Registry,
        read_model: ReadModel,
        memory: Memory,
        queues: ServiceQueues,
    ) -> None:
        self.draining = False
        self._now_s = trio.lowlevel.current_clock().current_time
        self._journal = journal
        self._registry = registry
        self._read_model = read_model
        self._memory = memory
        self._queues = queues
        self.free_bytes = limits.DISK_RESERVE_BYTES

    async def run(self) -> None:
        while True:
            self.free_bytes = self._journal.files.free_bytes()
            self._memory.look(self._registry.live_count)
            await trio.sleep(LOOK_EVERY_S)

    def checks(self, recovered: bool, stopping: bool) -> dict[str, Check]:
        """One entry for each part."""
        return {
            "journal": self._check_journal(),
            "registry": Check(not (stopping or self.draining), f"{self._registry.live_count} live"),
            "recovery": Check(recovered, "done" if recovered else "sagas are being taken up again"),
            "disk": self._check_disk(),
            "capacity": self._check_capacity(),
        }

    def check_admission(self, definition: SagaDefinition) -> None:
        """Raise Unavailable when this new saga could not be kept, or would wait behind too many others."""
        if self.draining:
            raise Unavailable("stopping: no new saga is taken", retry_after_s=5)
        self._queues.check_admission(definition)
        if self._has_room():
            return
        for check in (self._check_journal(), self._check_disk(), self._check_capacity()):
            if not check.ok:
                raise Unavailable(check.detail)

    def _has_room(self) -> bool:
        """The common answer, in less than a microsecond; the checks say why not."""
        since_s = self._journal.writing_since_s
        return (
            (since_s is None or self._now_s() - since_s < STALLED_AFTER_S)
            and not self._journal.full
            and self._journal.has_room
            and self.free_bytes >= limits.DISK_RESERVE_BYTES
            and self._registry.live_count < limits.LIVE_SAGAS_MAX
            and self._read_model.has_room
            and self._memory.has_room
        )

    def _check_journal(self) -> Check:
        since_s = self._journal.writing_since_s
        if self._journal.full:
            return Check(False, f"the disk is full, sagas wait: {self._journal.full}")
        if since_s is not None and self._now_s() - since_s >= STALLED_AFTER_S:
            stalled_s = self._now_s() - since_s
            return Check(False, f"a write to the journal has taken {stalled_s:.0f} s so far")
        if not self._journal.has_room:
            return Check(False, f"{limits.PENDING_BYTES_MAX >> 20} MiB wait to be written")
        return Check(True, "writing")

    def _check_disk(self) -> Check:
        free, reserve = self.free_bytes >> 20, limits.DISK_RESERVE_BYTES >> 20
        if self.free_bytes < limits.DISK_RESERVE_BYTES:
            return Check(
                False, f"{free} MiB free, below the reserve of {reserve} MiB: free some space"
            )
        return Check(True, f"{free} MiB free, {reserve} MiB in reserve")

    def _check_capacity(self) -> Check:
        live = self._registry.live_count
        if live >= limits.LIVE_SAGAS_MAX:
            return Check(False, f"{live} sagas are live, the most that may be")
        if not self._read_model.has_room:
            return Check(False, "the read model cannot keep up, or its rows cannot be written")
        if not self._memory.has_room:
            wait = "new sagas wait until some of the live ones have ended"
            return Check(False, f"{self._memory}, with {live} live sagas: {wait}")
        return Check(True, f"{live} of {limits.LIVE_SAGAS_MAX} live sagas, {self._memory}")
