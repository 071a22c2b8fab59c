"""The registry actor: who is live, and the way to every saga.

    Create  -> is the id free, is the key new? -> a new actor under the supervisor
    Deliver -> a live saga: into its mailbox
            -> a finished one: its history is read and folded, it runs again, then into its mailbox
            -> none: SagaNotFound

A finished saga is woken by what recovery does, so there is no second path: the fold of its records becomes the
state of an actor. Sagas are supervised one for one, each with a restart budget of its own; nothing that happens
to one of them, or to the HTTP server, ends another.

Whether a chosen id or a key is free may have to be asked of the read model, so those wishes are taken in turn
for each id and key; a wish without either cannot collide and is begun at once.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from itertools import chain
from typing import Final, NamedTuple

import trio

from sagakeep import limits
from sagakeep.actors.committed import Committed
from sagakeep.actors.history import History
from sagakeep.actors.never_stuck import NothingMoves, Pulse
from sagakeep.actors.read_model import ReadModel, Row
from sagakeep.actors.saga import WAKE, SagaActor, World, is_far
from sagakeep.effects import idle_until
from sagakeep.errors import (
    IdempotencyKeyReused,
    SagaExists,
    SagakeepError,
    SagaNotFound,
    Unavailable,
)
from sagakeep.log_fields import fields_of
from sagakeep.messages import Create, Message, Started
from sagakeep.runtime.dispatcher import Dispatcher
from sagakeep.runtime.journal_files import Position
from sagakeep.runtime.mailbox import Envelope, Mailbox, MailboxFull, Reply
from sagakeep.runtime.supervisor import RestartBudget
from sagakeep.runtime.wake_list import WakeList
from sagakeep.state import SagaState
from sagakeep.waits import Begun

_log = logging.getLogger(__name__)

MESSAGES_BETWEEN_CHECKPOINTS: Final = 32  # a creation takes 100 us; a batch has 10,000


class Deliver(NamedTuple):
    """Bring a message to a saga, live or finished."""

    saga_id: str
    message: Message


class Chosen(NamedTuple):
    """Begin a saga whose id the client chose, or which has an Idempotency-Key."""

    wish: Create


RegistryMessage = Create | Chosen | Deliver


class Registry:
    """Has every live saga that is awake, and is their supervisor. `run` is its task."""

    def __init__(
        self, world: World, committed: Committed, read_model: ReadModel, history: History
    ) -> None:
        self.mailbox: Mailbox[RegistryMessage] = Mailbox(limits.REGISTRY_MAILBOX_MAX)
        self._world = world
        self._committed = committed
        self._read_model = read_model
        self._history = history
        self._awake: dict[str, SagaActor] = {}
        self._waking: dict[str, list[Envelope[Message]]] = {}
        self._turns: dict[tuple[str, str], trio.Event] = {}
        self._dispatcher: Dispatcher[SagaActor] = Dispatcher(self._crashed)
        self._budgets: dict[str, RestartBudget] = {}  # of the live sagas that have crashed
        self._wake_list = WakeList(self._rouse, self._is_crowded)
        self._nursery: trio.Nursery | None = None

    @property
    def live_count(self) -> int:
        return len(self._awake) + self._committed.live.asleep_count

    @property
    def awake_count(self) -> int:
        """How many sagas have an actor."""
        return len(self._awake)

    @property
    def turns_queued(self) -> int:
        """How many sagas wait for their turn."""
        return len(self._dispatcher)

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Take messages and give the sagas their turns, until cancelled, which ends them all."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                nursery.start_soon(self._dispatcher.run)
                nursery.start_soon(self._wake_list.run)
                task_status.started()
                while True:
                    for _ in range(MESSAGES_BETWEEN_CHECKPOINTS):
                        self._take(await self.mailbox.receive(), nursery)
                    await trio.lowlevel.checkpoint()
        finally:
            self.mailbox.close()
            for actor in list(self._awake.values()):
                self._forget(actor)
            for envelope in chain.from_iterable(self._waking.values()):
                envelope.abandon()

    def begun(self, saga_id: str) -> tuple[Begun, ...]:
        """How far the outstanding attempts of a saga have come; none of one that is not live."""
        actor = self._awake.get(saga_id)
        if actor is not None:
            return actor.begun()
        return tuple(
            Begun(effect, name, 0.0)
            for name, gateway in self._world.gateways.items()
            for effect in gateway.places(saga_id)
        )

    def pulse(self, saga_id: str) -> Pulse | None:
        """What will move a saga next; None if it has no actor."""
        actor = self._awake.get(saga_id)
        return None if actor is None else actor.pulse()

    def will_wake(self, saga_id: str, at_utc_s: float) -> bool:
        """Is a saga that sleeps to be woken at a time?"""
        return self._wake_list.has(saga_id, self._world.clock.monotonic_of(at_utc_s))

    def repair(self, saga_id: str, flaw: NothingMoves) -> None:
        """Start a live saga again from its journal, as after a crash: nothing would have moved it."""
        actor = self._awake.get(saga_id) or self._rouse(saga_id)
        known = self._committed.live.get(saga_id)
        if actor is None and known is not None:
            actor = self._add_actor(saga_id, *known)
        if actor is not None:
            actor.let_go()
            self._look_after(actor, flaw)

    def adopt(self, state: SagaState, position: Position) -> None:
        """Run a live saga that the journal has and that has no actor; or let it sleep, as its actor would."""
        until_utc_s = idle_until(state)
        if until_utc_s == 0.0 or (until_utc_s and is_far(until_utc_s, self._world.clock)):
            self._committed.live.lull(state.id, until_utc_s)
            self.adopt_asleep(state.id, until_utc_s)
            return
        self._add_actor(state.id, state, position).take_up_again()

    def adopt_asleep(self, saga_id: str, wakes_at_utc_s: float) -> None:
        """Let a live saga sleep on until a time, 0 for an operator's word."""
        if wakes_at_utc_s:
            self._wake_list.add(saga_id, self._world.clock.monotonic_of(wakes_at_utc_s))

    def wake_soon(self, saga_id: str) -> None:
        """Wake a saga, if it sleeps; not at once, and slower while there is much to do."""
        self._wake_list.add(saga_id, self._world.timers.now_s())

    async def settle(self) -> None:
        """Wait until every live saga has handled what has come to it so far."""
        replies = []
        for actor in self._awake.values():
            with suppress(MailboxFull):  # it is being flooded, and would never be settled
                replies.append(actor.mailbox.ask_nowait(WAKE))
        for reply in replies:
            with suppress(SagakeepError):  # it ended instead, which settles it too
                await reply.wait()

    def _take(self, envelope: Envelope[RegistryMessage], nursery: trio.Nursery) -> None:
        message = envelope.message
        if isinstance(message, Deliver):
            self._deliver(message.saga_id, envelope.around(message.message), nursery)
        elif self.live_count >= limits.LIVE_SAGAS_MAX:
            envelope.fail(Unavailable(f"{limits.LIVE_SAGAS_MAX} sagas are live already"))
        elif isinstance(message, Chosen):
            self._queue(envelope.around(message.wish), nursery)
        else:
            self._begin(envelope.around(message))

    # Chosen ids and keys

    def _queue(self, envelope: Envelope[Create], nursery: trio.Nursery) -> None:
        """Take the wishes for an id or a key in turn, in the order in which they came."""
        wish = envelope.message
        names = [("id", wish.saga_id)]
        if wish.idempotency_key:
            names.append(("key", wish.idempotency_key))
        ahead = [self._turns[name] for name in names if name in self._turns]
        done = trio.Event()
        self._turns |= dict.fromkeys(names, done)
        nursery.start_soon(self._admit, envelope, names, ahead, done)

    async def _admit(
        self,
        envelope: Envelope[Create],
        names: list[tuple[str, str]],
        ahead: list[trio.Event],
        done: trio.Event,
    ) -> None:
        try:
            for turn in ahead:
                await turn.wait()
            await self._admit_alone(envelope)
        except Exception as error:
            envelope.fail(error)
        finally:
            envelope.abandon()
            for name in names:
                if self._turns.get(name) is done:
                    del self._turns[name]
            done.set()

    async def _admit_alone(self, envelope: Envelope[Create]) -> None:
        wish = envelope.message
        if wish.idempotency_key:
            row = await self._read_model.find_key(wish.idempotency_key)
            if row is not None:
                envelope.reply(Started(await self._state_of_key(row, wish), is_new=False))
                return
        if wish.saga_id in self._awake or wish.saga_id in self._committed.live:
            raise SagaExists(wish.saga_id)
        if (row := await self._read_model.find(wish.saga_id)) is not None:
            if row.deleted:
                detail = "it was deleted, and its id stays taken: choose another"
                raise SagaExists(wish.saga_id, detail)
            raise SagaExists(wish.saga_id)
        reply = Reply()
        self._begin(Envelope(wish, reply))
        envelope.reply(await reply.wait())

    async def _state_of_key(self, row: Row, wish: Create) -> SagaState:
        if row.deleted:
            raise SagaExists(row.saga_id, "this Idempotency-Key made it, and it was deleted")
        if row.body_digest != wish.body_digest:
            raise IdempotencyKeyReused(wish.idempotency_key)
        live = self._committed.live.get(row.saga_id)
        return live[0] if live else await self._history.state((row.frame, row.offset))

    # Delivering

    def _deliver(self, saga_id: str, envelope: Envelope[Message], nursery: trio.Nursery) -> None:
        actor = self._awake.get(saga_id) or self._rouse(saga_id)
        if actor is not None:
            self._forward(actor, envelope)
        elif saga_id in self._waking:
            if len(self._waking[saga_id]) >= limits.MAILBOX_MAX:
                envelope.fail(MailboxFull(f"{limits.MAILBOX_MAX} messages wait already"))
            else:
                self._waking[saga_id].append(envelope)
        else:
            self._waking[saga_id] = [envelope]
            nursery.start_soon(self._wake, saga_id)

    def _forward(self, actor: SagaActor, envelope: Envelope[Message]) -> None:
        try:
            actor.mailbox.forward(envelope)
        except SagakeepError as error:
            envelope.fail(error)

    async def _wake(self, saga_id: str) -> None:
        """Run a finished saga again, for the messages that wait for it."""
        try:
            row = await self._read_model.find(saga_id)
            if row is None or row.deleted:
                raise SagaNotFound(saga_id)
            state = await self._history.state((row.frame, row.offset))
        except SagakeepError as error:
            for envelope in self._waking.pop(saga_id):
                envelope.fail(error)
            return
        actor = self._add_actor(saga_id, state, Position(row.frame, row.offset))
        for envelope in self._waking.pop(saga_id):
            self._forward(actor, envelope)
        actor.take_up()

    # Running

    def _begin(self, envelope: Envelope[Create]) -> None:
        """Make a new saga; whatever goes wrong is its creator's to know."""
        actor = self._add_actor(envelope.message.saga_id)
        try:
            actor.create(envelope)
        except Exception as error:
            if not isinstance(error, SagakeepError):
                _log.exception(
                    "saga %s could not be created: report the trace, it is a bug",
                    actor.saga_id,
                    extra={"saga": actor.saga_id},
                )
            envelope.fail(error)
            self._forget(actor)

    def _add_actor(
        self, saga_id: str, state: SagaState | None = None, position: Position | None = None
    ) -> SagaActor:
        actor = self._awake[saga_id] = SagaActor(
            self._world, self._dispatcher, self._forget, self._lull, saga_id, state, position
        )
        return actor

    # Sleep

    def _lull(self, actor: SagaActor, wakes_at_utc_s: float, is_queued: bool) -> None:
        """The saga does nothing but wait: keep it as bytes, without an actor."""
        actor.end()
        del self._awake[actor.saga_id]
        if is_queued:
            self._committed.live.lull_in_queue(actor.saga_id)
        else:
            self._committed.live.lull(actor.saga_id, wakes_at_utc_s)
        self.adopt_asleep(actor.saga_id, wakes_at_utc_s)

    def _rouse(self, saga_id: str) -> SagaActor | None:
        """Give the saga an actor again, if it sleeps: what it does is what a recovered one does."""
        known = self._committed.live.wake(saga_id)
        if known is None:
            return None
        actor = self._add_actor(saga_id, *known)
        actor.take_up()
        return actor

    def _is_crowded(self) -> bool:
        return len(self._dispatcher) > limits.TURNS_QUEUED or len(self._awake) > limits.AWAKE_SAGAS

    def _forget(self, actor: SagaActor) -> None:
        actor.end()
        self._budgets.pop(actor.saga_id, None)
        if self._awake.get(actor.saga_id) is actor:
            del self._awake[actor.saga_id]

    # Crashes

    def _crashed(self, actor: SagaActor, crash: Exception) -> None:
        """A bug: this saga rests, and its supervisor looks after it; the others go on."""
        _log.error(
            "saga %s crashed, and is started again from the journal: report the trace, it is a bug",
            actor.saga_id,
            exc_info=crash,
            extra={"saga": actor.saga_id} if actor.state is None else fields_of(actor.state),
        )
        self._look_after(actor, crash)

    def _look_after(self, actor: SagaActor, crash: Exception) -> None:
        actor.rest()
        assert self._nursery is not None, "the registry runs before it is used"
        self._nursery.start_soon(self._run_again, actor, crash)

    async def _run_again(self, actor: SagaActor, crash: Exception) -> None:
        """Restart the saga from its journal, never as the crashed actor saw it; hold it when its budget is
        used up."""
        saga_id, error = actor.saga_id, _text_of(crash)
        budget = self._budgets.setdefault(
            saga_id, RestartBudget(limits.RESTARTS_MAX, limits.RESTART_PERIOD_S)
        )
        try:
            state, position = await self._durable(saga_id)
            if budget.spend():
                actor.restart(state, position, error)
            else:
                actor.hold(state, position, error)
        except Exception:
            _log.exception(
                "saga %s cannot be run; it is left as it is on disk: see what `sagakeep verify` says",
                saga_id,
                extra={"saga": saga_id},
            )
            for gateway in self._world.gateways.values():
                gateway.forget(saga_id)
            self._forget(actor)

    async def _durable(self, saga_id: str) -> tuple[SagaState, Position]:
        live = self._committed.live.get(saga_id)
        if live is not None:
            position = live[1]
        else:
            row = await self._read_model.find(saga_id)
            if row is None:
                raise SagaNotFound(saga_id)
            position = Position(row.frame, row.offset)
        return await self._history.state(position), position


def _text_of(crash: Exception) -> str:
    return f"{type(crash).__name__}: {crash}"[: limits.ERROR_CHARS_MAX]
