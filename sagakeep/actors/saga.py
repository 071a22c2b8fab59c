"""The saga actor: the place where the fold meets the world. One saga, one mailbox, one turn at a time.

    message -> decide -> append ... durable -> committed (visible) -> reconcile (acted upon) -> reply
              `------- a turn ----'           `------------------- a turn ---------------------'

Between the two turns the actor waits for the journal and takes no message, so nothing is read between deciding
and appending but the state, and only these turns change it. The first thing a new saga and a recovered one do
is the same: `reconcile` asks what is outstanding for its state, starts the attempts that are missing, and sets
the one timer it may need. A saga that waits is this object; it has no task (see sagakeep.runtime.dispatcher).

The actor outlives its crashes: mailbox, jobs and timer belong to it, so after a crash it finds the answers to the
attempts that it had begun before; the attempt whose answer went down with the turn is made again. Its state
does not: it is read again from the journal.

What is outstanding when an actor takes a state up from the journal may have been made before: those attempts are
marked as repeated, so that a refusal of the second does not hide that the first may have happened.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Final, NamedTuple

from msgspec.structs import replace

from sagakeep import limits, saga_status
from sagakeep.actors.committed import Note
from sagakeep.actors.gateway import Gateway
from sagakeep.actors.job import Job
from sagakeep.actors.journal import Journal
from sagakeep.actors.never_stuck import Pulse
from sagakeep.classification import NO_SERVICE
from sagakeep.codec import encode_record
from sagakeep.effects import Effect, RunCall, WaitUntil, call_of, outstanding
from sagakeep.errors import JournalBroken, MoveRefused, SagaNotFound, UnknownStep
from sagakeep.events import Record
from sagakeep.log_fields import fields_of
from sagakeep.machine import Decision, create, decide
from sagakeep.messages import AttemptEnded, Create, Hold, Message, Restarted, Started, Wake
from sagakeep.runtime.clock import Clock
from sagakeep.runtime.dispatcher import Dispatcher
from sagakeep.runtime.journal_files import Position
from sagakeep.runtime.mailbox import Envelope, Mailbox, MailboxClosed
from sagakeep.runtime.timers import Timer, Timers
from sagakeep.service import AttemptResult, Outcome
from sagakeep.standing import current_step
from sagakeep.state import FINAL, SagaState, waits_for_operator
from sagakeep.waits import Begun

_log = logging.getLogger(__name__)

WAKE: Final = Wake()
REFUSALS: Final = (MoveRefused, UnknownStep, SagaNotFound)  # what else `decide` raises is a bug
WAKE_MARGIN_S: Final = (
    0.001  # later than any rounding of a time; a wake that comes early would be lost
)


class World(NamedTuple):
    """What a saga actor needs of its surroundings; the same for all of them."""

    journal: Journal[Note]
    gateways: Mapping[str, Gateway]
    timers: Timers
    clock: Clock
    draw: Callable[[], float]


class SagaActor:
    """One saga. `state` is what is durable, None until its creation is.

    `over` is called when it is final and nothing waits, or it could not be created; `lull` when all that it does
    is to wait, until a time (UTC seconds) or 0 for an operator; in a service's queue, too, or not.
    """

    __slots__ = (
        "_asker",
        "_dispatcher",
        "_is_resting",
        "_is_taking_up",
        "_jobs",
        "_lull",
        "_may_repeat",
        "_over",
        "_pending",
        "_position",
        "_timer",
        "_wakes_at_utc_s",
        "_woken_utc_s",
        "_world",
        "is_scheduled",
        "mailbox",
        "saga_id",
        "state",
    )

    def __init__(
        self,
        world: World,
        dispatcher: Dispatcher[SagaActor],
        over: Callable[[SagaActor], None],
        lull: Callable[[SagaActor, float, bool], None],
        saga_id: str,
        state: SagaState | None = None,
        position: Position | None = None,
    ) -> None:
        self._world = world
        self._dispatcher = dispatcher
        self._over = over
        self._lull = lull
        self.saga_id = saga_id
        self.state = state
        self._position = position
        self.mailbox: Mailbox[Message] = Mailbox(
            limits.MAILBOX_MAX, partial(dispatcher.schedule, self)
        )
        self._pending: SagaState | None = (
            None  # a decision on its way to the disk, and who asked for it
        )
        self._asker: Envelope[Message] | Envelope[Create] | None = None
        self.is_scheduled = False
        self._is_resting = state is None  # takes no turns: being created, or down after a crash
        self._is_taking_up = state is not None
        self._may_repeat = False
        self._jobs: dict[RunCall, Job] = {}
        self._timer: Timer | None = None
        self._wakes_at_utc_s = 0.0
        self._woken_utc_s = 0.0

    # Life

    def create(self, envelope: Envelope[Create]) -> None:
        """Make the saga; its creator is answered Started once it is durable. Raises what cannot be written."""
        decision = create(envelope.message, self._world.clock.now_utc_s())
        self._commit(decision, envelope)

    def take_up(self) -> None:
        """Begin to act on the state that the journal has; in the first turn, where a crash is looked after."""
        self._dispatcher.schedule(self)

    def take_up_again(self) -> None:
        """As `take_up`, after a crash of the process: what is outstanding may have been made before."""
        self._may_repeat = True
        self.take_up()

    def rest(self) -> None:
        """Take no turns until `restart` or `hold`: the last one crashed."""
        self._is_resting = True

    def restart(self, state: SagaState, position: Position, error: str) -> None:
        """Take the durable state again, after a crash, and have it recorded."""
        self.state, self._position = state, position
        self._is_taking_up = self._may_repeat = True
        self._is_resting = False
        self._woken_utc_s = 0.0  # the wake may have gone down with the turn
        self.mailbox.tell_control(Restarted(error))
        self._dispatcher.schedule(self)

    def hold(self, state: SagaState, position: Position, error: str) -> None:
        """Take the durable state again and stand still, after too many crashes."""
        self.state, self._position = state, position
        self._is_taking_up = False  # nothing that is outstanding for this state is begun any more
        for gateway in self._world.gateways.values():
            gateway.forget(self.saga_id)
        self._commit(decide(state, Hold(error), self._world.clock.now_utc_s()), None)

    def end(self) -> None:
        """Let go of everything; nobody is left waiting."""
        self.mailbox.close()
        if self._asker is not None:
            self._asker.fail(MailboxClosed("the actor ended before it answered"))
        self.let_go()

    def let_go(self) -> None:
        """Forget what was to move it: what is outstanding is made again at `restart`."""
        for job in self._jobs.values():
            job.drop()
        self._jobs = {}
        self._wake_at(0.0)

    def pulse(self) -> Pulse:
        """What will move it next, for whoever looks whether something will."""
        timer = self._timer
        is_set = timer is not None and timer.action is not None
        return Pulse(
            self.state,
            self.is_scheduled or self._is_resting,
            self._is_taking_up or self._pending is not None or bool(self.mailbox),
            self._jobs,
            timer.due_s if timer is not None and is_set else 0.0,
            self._woken_utc_s,
        )

    # Turns

    def turn(self) -> None:
        """Finish what has become durable, or handle one message."""
        if self._is_resting:
            return
        pending, self._pending = self._pending, None
        if pending is not None:
            self._finish(pending)  # before anything is done for a state that is history
        elif self._is_taking_up:
            self.reconcile()
        elif (envelope := self.mailbox.take_nowait()) is not None:
            self._handle(envelope)
        if self._pending is None:
            if self.mailbox:
                self._dispatcher.schedule(self)
            elif self.state is not None and (self.state.deleted or self.state.status in FINAL):
                self._over(self)
            elif self._jobs:
                if self._may_sleep_in_queue():
                    self._sleep_in_queue()
            elif self._may_sleep():
                self._lull(self, self._wakes_at_utc_s, False)

    def _may_sleep(self) -> bool:
        """Is there nothing to do for long, but for what may be asked of it?"""
        if not self._wakes_at_utc_s:
            return self.state is not None and waits_for_operator(self.state)
        return is_far(self._wakes_at_utc_s, self._world.clock)

    def _may_sleep_in_queue(self) -> bool:
        """Does all that is outstanding wait far behind in a queue, and nothing else happen for long?"""
        return (
            all(job.may_sleep for job in self._jobs.values())
            and self.state is not None
            and (not self._wakes_at_utc_s or self._may_sleep())
        )

    def _sleep_in_queue(self) -> None:
        for job in self._jobs.values():
            job.leave_place()
        self._lull(self, self._wakes_at_utc_s, True)

    def _handle(self, envelope: Envelope[Message]) -> None:
        assert self.state is not None, "a message comes after the creation"
        try:
            decision = decide(self.state, envelope.message, self._world.clock.now_utc_s())
            if decision.events:
                self._commit(decision, envelope)
            else:
                self.reconcile()
                envelope.reply(self.state)
        except REFUSALS as refusal:
            envelope.fail(refusal)
        except Exception as crash:
            self._lose(envelope.message)
            envelope.fail(crash)
            raise

    def _lose(self, message: object) -> None:
        """A message goes down with the turn; the attempt whose outcome it was is outstanding again."""
        if isinstance(message, AttemptEnded):
            lost = RunCall(message.step_id, message.phase, message.epoch, message.attempt)
            self._jobs = {
                effect: job
                for effect, job in self._jobs.items()
                if replace(effect, not_before_utc_s=0.0) != lost
            }

    def _commit(
        self, decision: Decision, envelope: Envelope[Message] | Envelope[Create] | None
    ) -> None:
        """Hand the decision to the journal. Raises CodecError before anything is queued."""
        before, state = self.state, decision.state
        sequence = state.sequence - len(decision.events) + 1
        record = Record(
            self.saga_id, sequence, state.updated_at_utc_s, self._position, tuple(decision.events)
        )
        data = encode_record(record)
        note = Note(None if before is None else before.status, state, record)
        self._pending = state
        self._asker = envelope if envelope is not None and envelope.is_asked else None
        self._is_resting = True
        self._world.journal.append(data, note, self)

    def durable(self, position: Position) -> None:
        """The pending decision is a fact; what follows from it is done at once."""
        self._position = position
        self._is_resting = False
        self._dispatcher.turn(self)

    def refused(self, error: JournalBroken) -> None:
        """The pending decision is in doubt, and the process is about to end."""
        if self._asker is not None:
            self._asker.fail(error)

    def _finish(self, state: SagaState) -> None:
        before, self.state = self.state, state
        asker, self._asker = self._asker, None
        if self.state.status is saga_status.COMPENSATION_FAILED:
            _tell_failed(before, self.state)
        try:
            self.reconcile(outstanding(before) if before is not None and before.paused else ())
        except Exception as crash:
            if asker is not None:
                asker.fail(crash)
            raise
        if asker is not None:
            asker.reply(Started(state, is_new=True) if before is None else state)

    # Effects

    def reconcile(self, repeats: Collection[Effect] = ()) -> None:
        """Start what is outstanding and missing, `repeats` perhaps again; forget what is no longer wanted."""
        assert self.state is not None, "only what is durable is acted upon"
        effects = outstanding(self.state)
        if self.state.paused is not None:
            effects = [one for one in effects if self._has_begun(one)]
        jobs: dict[RunCall, Job] = {}
        wakes_at_utc_s = 0.0
        for effect in effects:
            if isinstance(effect, WaitUntil):
                if effect.at_utc_s > self._woken_utc_s:
                    wakes_at_utc_s = _earlier(wakes_at_utc_s, effect.at_utc_s)
            elif effect in self._jobs:
                job = jobs[effect] = self._jobs.pop(effect)
                if effect.phase == "action" and self.state.status is saga_status.COMPENSATING:
                    job.withdraw(self._world.draw())  # unless it has begun
            elif (
                effect.not_before_utc_s and effect.not_before_utc_s > self._world.clock.now_utc_s()
            ):
                wakes_at_utc_s = _earlier(wakes_at_utc_s, effect.not_before_utc_s)
            else:
                jobs[effect] = self._submit(self.state, effect, effect in repeats)
        for unwanted in self._jobs.values():
            unwanted.drop()
        self._jobs = jobs
        self._is_taking_up = self._may_repeat = False
        if wakes_at_utc_s != self._wakes_at_utc_s:
            self._wake_at(wakes_at_utc_s)

    def _has_begun(self, effect: Effect) -> bool:
        job = self._jobs.get(effect) if isinstance(effect, RunCall) else None
        return job is not None and job.queue is None

    def _submit(self, state: SagaState, effect: RunCall, is_repeat: bool) -> Job:
        call = call_of(state, effect)
        repeated = self._may_repeat or is_repeat
        gateway = self._world.gateways.get(call.service)
        if gateway is not None:
            return gateway.submit(call, effect, self.mailbox, repeated)
        job = Job(call, effect, self.mailbox, lambda _saga_id, _news: None, repeated)
        error = f"service {call.service!r} is not configured any more"
        result = AttemptResult(Outcome.NOT_DONE, error=error, rule=NO_SERVICE)
        job.report(result, self._world.draw())
        return job

    def begun(self) -> tuple[Begun, ...]:
        """How far the attempts that are outstanding have come."""
        clock = self._world.clock
        return tuple(
            Begun(effect, job.call.service, clock.utc_of(job.began_s) if job.began_s else 0.0)
            for effect, job in self._jobs.items()
        )

    def _wake_at(self, at_utc_s: float) -> None:
        """Be woken then, 0 for never."""
        if self._timer is not None:
            self._timer.drop()
            self._timer = None
        self._wakes_at_utc_s = at_utc_s
        if at_utc_s:
            due_s = self._world.clock.monotonic_of(at_utc_s) + WAKE_MARGIN_S
            self._timer = self._world.timers.set_at(due_s, self._wake)

    def _wake(self) -> None:
        """What is due by a time that has woken us may have to wait for attempts in flight, which end with a
        message of their own: so no such time is set again."""
        self._timer = None
        self._woken_utc_s = self._wakes_at_utc_s
        self.mailbox.tell_control(WAKE)


def is_far(at_utc_s: float, clock: Clock) -> bool:
    """Is it worth while to sleep until then?"""
    return at_utc_s - clock.now_utc_s() >= limits.ASLEEP_S_MIN


def _tell_failed(before: SagaState | None, state: SagaState) -> None:
    """Alert whoever reads the log when an undo has just failed for good: only a person can help now."""
    if before is None or before.status is not state.status:
        _log.error(
            "saga %s is compensation_failed at step %r: its history says why; mend it, then retry the saga",
            state.id,
            current_step(state),
            extra=fields_of(state) | {"step": current_step(state)},
        )


def _earlier(at_utc_s: float, other_utc_s: float) -> float:
    return min(at_utc_s, other_utc_s) if at_utc_s else other_utc_s
