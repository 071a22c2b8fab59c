"""The judge: is told of everything that happens in a world, and stops it when an invariant is broken.

What is wrong is noted and the process ended, for an exception would be somebody else's to handle in there.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

from sagakeep.errors import JournalCorrupt
from sagakeep.events import SagaPaused, SagaRetry, StepHurried, StepResolved
from sagakeep.orchestrator import Orchestrator
from sagakeep.runtime.disk import FULL_ERRNOS
from sagakeep.service import AttemptResult, Call
from sagakeep.simulation.ledger import Entry, Promise
from sagakeep.simulation.world import Ending, World
from sagakeep.transitions import ImpossibleEvent
from simulation import invariants
from simulation.client import Answer, Asked, Client, Wish
from simulation.durable import DurableLog, Placed, erased, read_journal

if TYPE_CHECKING:
    from simulation.configuration import Configuration


@dataclass
class Attempt:
    """One attempt in flight."""

    call: Call
    began_s: float
    life: int


@dataclass
class Judge:
    """Implements the world's `Observer` and the clients' `Witness`."""

    configuration: Configuration
    world: World = field(init=False)
    log: DurableLog = field(default_factory=DurableLog)
    broken: list[str] = field(default_factory=list)
    in_flight: dict[tuple[str, str, str], list[Attempt]] = field(default_factory=dict)
    earliest_s: dict[tuple[str, int], float] = field(default_factory=dict)
    called_s: dict[str, list[float]] = field(default_factory=dict)  # of this process, by service
    acknowledged: dict[str, int] = field(
        default_factory=dict
    )  # the latest sequence that was answered
    deleted: set[str] = field(default_factory=set)
    by_key: dict[str, str] = field(default_factory=dict)
    paused_services: set[str] = field(default_factory=set)  # for sure, and over lives
    paused_s: dict[str, float] = field(default_factory=dict)  # since when, of this process
    payloads: dict[str, object] = field(default_factory=dict)  # of each call, by its key
    journal_failed: str = ""
    disk_failed: bool = False
    has_recovered: bool = False
    checks: int = 0

    def fail(self, invariant: str, text: str) -> None:
        """Note what is wrong and end the process."""
        self.broken.append(f"{invariant}: {text}")
        if self.world.process.is_alive and trio.lowlevel.in_trio_run():
            self.world.process.end()

    def expect(self, holds: object, invariant: str, text: str | Callable[[], str]) -> None:
        self.checks += 1
        if not holds:
            self.fail(invariant, text if isinstance(text, str) else text())

    def promise(self, service: str) -> Promise:
        return self.configuration.services[service].promise

    # The disk

    def wrote(self, path: str, data: bytes, offset: int) -> None:
        if offset == 0 and path.endswith(".seg") and not self.has_recovered:
            self.has_recovered = (
                True  # the first segment of this process: what was there is put in order
            )
            self.read_recovered()
        self.log.wrote(path, data, offset)

    def read_recovered(self) -> None:
        """What recovery took for durable must be on the disk, not only in the page cache."""
        try:
            found = read_journal(self.world.disk.cut_power(None))
        except JournalCorrupt as error:
            self.fail("I18", f"recovery went on, and the disk has: {error}")
            return
        for placed in self.beyond_known(found):
            self.log.add(placed)

    def beyond_known(self, found: list[Placed]) -> list[Placed]:
        """All that was durable must be found; return what else there is, at most the frame in doubt."""
        known = self.log.records
        extra = found[len(known) :]
        text = f"{len(known)} records were durable, of which not all are there"
        self.expect(self._are_kept(known, found), "I1", text)
        frames = {placed.position.frame for placed in extra}
        self.expect(len(frames) <= 1, "I12", f"{len(frames)} frames that nobody wrote")
        return extra

    def _are_kept(self, known: list[Placed], found: list[Placed]) -> bool:
        """Does each stand where it stood, as it was or, if its saga was deleted, erased?"""
        return len(found) >= len(known) and all(
            now == was or (self.log.states[was.record.saga_id].deleted and now == erased(was))
            for was, now in zip(known, found, strict=False)
        )

    def synced(self, path: str) -> None:
        for placed in self.log.synced_records(path):
            before = self.log.states.get(placed.record.saga_id)
            invariants.i03_one_end_for_each_run(self, before, placed.record)
            invariants.i10_time_does_not_run_back(self, placed.record)
            invariants.i14_no_start_after_the_deadline(self, before, placed.record)
            invariants.i22_retries_keep_to_their_policy(self, before, placed.record)
            invariants.i28_what_follows_is_by_the_rules(self, before, placed.record)
            invariants.i29_attempts_are_counted_on(self, placed.record)
            invariants.i32_no_answer_counts_after_its_timeout(self, before, placed.record)
            invariants.i33_nothing_is_decided_while_it_is_paused(self, before, placed.record)
            try:
                self.log.add(placed)
            except ImpossibleEvent as error:
                self.fail("I11", str(error))
            if any(isinstance(event, SagaPaused) for event in placed.record.events):
                self.paused_s[placed.record.saga_id] = self.world.now_s()
            by_hand = SagaRetry | StepResolved | StepHurried
            if any(isinstance(event, by_hand) for event in placed.record.events):
                self._forget_what_was_asked(placed.record.saga_id)

    def _forget_what_was_asked(self, saga_id: str) -> None:
        """What an operator has moved goes on now, whenever the services had asked for."""
        asked = [one for one in self.earliest_s if one[0].startswith(f"{saga_id}/")]
        for one in asked:
            del self.earliest_s[one]

    def failed(self, operation: str, path: str, number: int) -> None:
        self.disk_failed = True
        is_write = operation in ("pwrite", "fdatasync", "fsync")
        if (
            path.endswith(".seg")
            and is_write
            and (self.log.is_begun(path) or number not in FULL_ERRNOS)
        ):
            self.journal_failed = f"{operation} {path}: {errno.errorcode[number]}"

    # Services

    def called(self, call: Call) -> None:
        invariants.i02_every_call_was_durably_meant(self, call)
        invariants.i05_one_key_for_each_intended_effect(self, call)
        invariants.i13_one_attempt_at_a_time(self, call)
        invariants.i33_nothing_begins_while_its_saga_is_paused(self, call)
        invariants.i35_one_payload_for_each_key(self, call)
        invariants.i22_a_service_is_not_called_before_it_asked_for(self, call)
        invariants.i36_a_service_is_not_called_while_it_is_paused(self, call)
        self.called_s.setdefault(call.service, []).append(self.world.now_s())
        invariants.i30_a_service_is_called_no_faster_than_its_limit(self, call)
        place = (call.saga_id, call.step_id, call.phase)
        attempt = Attempt(call, self.world.now_s(), self.world.lives)
        self.in_flight.setdefault(place, []).append(attempt)

    def answered(self, call: Call, result: AttemptResult) -> None:
        place = (call.saga_id, call.step_id, call.phase)
        attempts = self.in_flight[place]
        mine = next(one for one in attempts if one.call is call)
        attempts.remove(mine)
        now_s = self.world.now_s()
        if result.retry_after_s is not None and now_s < mine.began_s + call.timeout_s:
            following = (call.idempotency_key + call.phase, call.attempt + 1)
            self.earliest_s[following] = now_s + result.retry_after_s

    def applied(self, entry: Entry) -> None:
        invariants.i06_an_effect_counts_once(self, entry)

    # Clients

    def asks(self) -> Asked:
        self.world.process.check()
        return Asked(dict(self.acknowledged), frozenset(self.deleted))

    def heard(self, client: Client, wish: Wish, answer: Answer, asked: Asked) -> None:
        self.world.process.check()
        stamp = f"{answer.kind} {answer.saga_id} {answer.sequence} {answer.status}"
        self.world.trace.note(f"client {client.number} {wish.kind} {wish.step_id}: {stamp}")
        invariants.i01_what_is_answered_is_durable(self, answer)
        invariants.i15_one_saga_for_each_key(self, client, wish, answer)
        invariants.i16_reads_do_not_go_back(self, answer, asked)
        invariants.i27_every_answer_is_a_version(self, answer, asked)
        invariants.i10_histories_only_grow(self, answer)
        if answer.kind == "ok":
            before = self.acknowledged.get(answer.saga_id, 0)
            self.acknowledged[answer.saga_id] = max(before, answer.sequence)
            if wish.kind == "delete":
                client.deleted = True
                self.deleted.add(answer.saga_id)
        if answer.kind == "gone":
            client.deleted = True

    def saw_body(self, body: bytes) -> None:
        invariants.i24_secrets_are_not_shown(self, body.decode())

    # Lives

    def begins(self) -> None:
        """A process begins."""
        self.in_flight.clear()
        self.earliest_s.clear()
        self.called_s.clear()
        self.paused_s.clear()
        self.journal_failed = ""
        self.disk_failed = False
        self.has_recovered = False

    async def recovered(self, orchestrator: Orchestrator) -> None:
        """It has recovered, and nothing else was done yet."""
        invariants.i12_what_is_recovered_is_the_fold(self, orchestrator)
        invariants.i01_what_was_acknowledged_is_there(self)
        invariants.i09_numbers_are_those_of_the_log(self, orchestrator)

    def ended(self, ending: Ending) -> None:
        """The process has ended, and its disk is as it left it."""
        self.log.forget_unsynced()
        invariants.i18_what_is_not_damaged_is_not_refused(self, ending)
        invariants.i19_after_a_failed_sync_the_process_ends(self, ending)
        invariants.i21_nothing_is_left_open(self, ending)
        invariants.i25_everything_ends(self, ending)

    async def rests(self, orchestrator: Orchestrator) -> None:
        """The last process lives, without any trouble, and everything is said to be at rest."""
        invariants.i03_no_saga_is_left_moving(self, orchestrator)
        invariants.i09_numbers_are_those_of_the_log(self, orchestrator)
        invariants.i20_nothing_is_left_in_a_queue(self, orchestrator)
        await invariants.i10_histories_are_whole(self, orchestrator)
        await invariants.i27_the_list_is_the_log(self, orchestrator)

    def closes(self) -> None:
        """The world is over; what was on its way has arrived."""
        invariants.i23_what_was_deleted_is_erased(self)
        for state in self.log.states.values():
            invariants.i04_no_step_is_skipped(self, state)
            invariants.i07_what_was_undone_is_undone(self, state)
            invariants.i08_what_is_not_undone_is_known(self, state)
            invariants.i34_what_a_forced_end_leaves_is_known(self, state)
