"""Wishes: what may be asked of a saga that is there, by whoever operates it. One half of the Python API.

Each is durable when it returns. Each takes `by` and `note`, which are kept in the saga's history, and `versions`:
if it is not empty the wish is only for a saga whose `sequence` is one of them.
"""

from __future__ import annotations

from typing import Final, cast

import trio

from sagakeep.actors.engine import Engine
from sagakeep.actors.registry import Chosen, Deliver
from sagakeep.definition import SagaDefinition
from sagakeep.errors import MoveRefused, SagaExists, SagaNotFound, Unavailable
from sagakeep.events import Resolution
from sagakeep.messages import (
    Compensate,
    Create,
    Delete,
    Edit,
    Finish,
    Message,
    Pause,
    Rerun,
    Resolve,
    Resume,
    Retry,
    Skip,
    Started,
    Wish,
)
from sagakeep.state import SagaState
from sagakeep.steering import allowed_moves, definition_again
from sagakeep.undo_plan import UndoPlan, plan_of_wish

Versions = tuple[int, ...]
ANY: Final[Versions] = ()
EXPLAINERS_MAX: Final = 1  # threads; more would only share the interpreter with the sagas


class Wishes:
    """What may be asked of a saga. Raises MoveRefused for what its state does not allow, its SagaMoved for
    another version than was asked for, UnknownStep, SagaNotFound."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._explainers = trio.CapacityLimiter(EXPLAINERS_MAX)

    async def move(self, saga_id: str, wish: Wish) -> SagaState:
        """Make any of the moves below; the saga, now."""
        if isinstance(wish, Rerun):
            started = await self.rerun(saga_id, by=wish.by, note=wish.note, versions=wish.versions)
            return started.saga
        return await self._ask(saga_id, wish)

    async def compensate(
        self,
        saga_id: str,
        *,
        step_id: str = "",
        down_to: str = "",
        plan_id: str = "",
        by: str = "",
        note: str = "",
        versions: Versions = ANY,
    ) -> SagaState:
        """Undo a saga, or one step and what depends on it; or what depends on `down_to`, and then stand still.

        With a `plan_id` only if it has not moved since it was planned.
        """
        return await self._ask(saga_id, Compensate(step_id, by, note, down_to, plan_id, versions))

    async def plan_compensation(
        self, saga_id: str, *, step_id: str = "", down_to: str = ""
    ) -> tuple[UndoPlan, SagaState]:
        """What `compensate` would do to the saga as it is, which comes with it; nothing is done."""
        state = await self.describe(saga_id)
        wish = Compensate(step_id, down_to=down_to)
        now_utc_s = self._engine.clock.now_utc_s()
        plan = await self._engine.run_blocking(
            plan_of_wish, state, wish, now_utc_s, limiter=self._explainers
        )
        return plan, state

    async def retry(
        self,
        saga_id: str,
        *,
        now: bool = False,
        by: str = "",
        note: str = "",
        versions: Versions = ANY,
    ) -> SagaState:
        """Let a saga go on that stands still, or do undone steps again.

        With `now` also one that tries again by itself: what is planned for later is made at once.
        """
        return await self._ask(saga_id, Retry(by, note, versions, now))

    async def resolve(
        self,
        saga_id: str,
        step_id: str,
        resolution: Resolution,
        *,
        result: object = None,
        by: str = "",
        note: str = "",
        versions: Versions = ANY,
    ) -> SagaState:
        """Say what became of a step of a saga that stands still; it goes on."""
        return await self._ask(saga_id, Resolve(step_id, resolution, result, by, note, versions))

    async def skip(
        self,
        saga_id: str,
        step_id: str,
        *,
        result: object = None,
        by: str = "",
        note: str = "",
        versions: Versions = ANY,
    ) -> SagaState:
        """Let a step count as done that is known not to be, with a result; there is nothing of it to undo."""
        return await self._ask(saga_id, Skip(step_id, result, by, note, versions))

    async def edit(
        self,
        saga_id: str,
        step_id: str,
        payload: object,
        *,
        by: str = "",
        note: str = "",
        versions: Versions = ANY,
    ) -> SagaState:
        """Call a step, or what undoes it if that is where it is stuck, with another payload from now on."""
        return await self._ask(saga_id, Edit(step_id, payload, by, note, versions))

    async def pause(
        self, saga_id: str, *, by: str = "", note: str = "", versions: Versions = ANY
    ) -> SagaState:
        """Begin nothing new of a saga until it is resumed; what is in flight may end."""
        return await self._ask(saga_id, Pause(by, note, versions))

    async def resume(
        self, saga_id: str, *, by: str = "", note: str = "", versions: Versions = ANY
    ) -> SagaState:
        """Let a saga go on that was paused."""
        return await self._ask(saga_id, Resume(by, note, versions))

    async def finish(
        self, saga_id: str, *, by: str = "", note: str = "", versions: Versions = ANY
    ) -> SagaState:
        """End a saga by force as abandoned: what is not undone stays."""
        return await self._ask(saga_id, Finish(by, note, versions))

    async def rerun(
        self,
        saga_id: str,
        *,
        by: str = "",
        note: str = "",
        traceparent: str = "",
        versions: Versions = ANY,
    ) -> Started:
        """Run a saga that has ended again, as a new one; not new: as the one that it was run again as before.

        First the old saga names the new one, then that begins: a process that ends in between leaves it to be
        asked for again. Raises Unavailable.
        """
        state = await self.describe(saga_id)
        if not state.rerun_as or (versions and state.sequence not in versions):
            definition = definition_again(state)
            self._check_services(state, definition)
            self._check_admission(definition)
            wish = Rerun(self._engine.ids.next(), by, note, versions)
            state = await self._ask(saga_id, wish)
        new = Create(
            state.rerun_as,
            definition_again(state),
            by,
            traceparent=traceparent,
            rerun_of=state.id,
        )
        try:
            return cast(Started, await self._engine.registry.mailbox.ask(Chosen(new)))
        except SagaExists:
            return Started(await self.describe(state.rerun_as), is_new=False)

    async def delete(
        self, saga_id: str, *, by: str = "", note: str = "", versions: Versions = ANY
    ) -> None:
        """Remove a saga that stands still from every list."""
        await self._ask(saga_id, Delete(by, note, None, versions))

    async def describe(self, saga_id: str) -> SagaState:
        """The saga as it is durable. Raises SagaNotFound."""
        self._check_recovered()
        await (
            trio.lowlevel.checkpoint()
        )  # who asks over and over lets the sagas go on, and the process end
        live = self._engine.committed.live.get(saga_id)
        if live is not None:
            return live[0]
        return await self._engine.history.state(await self._last_position(saga_id))

    async def _ask(self, saga_id: str, message: Message) -> SagaState:
        self._check_recovered()
        return cast(SagaState, await self._engine.registry.mailbox.ask(Deliver(saga_id, message)))

    async def _last_position(self, saga_id: str) -> tuple[int, int]:
        self._check_recovered()
        position = self._engine.committed.live.position(saga_id)
        if position is not None:
            return position
        row = await self._engine.read_model.find(saga_id)
        if row is None or row.deleted:
            raise SagaNotFound(saga_id)
        return row.frame, row.offset

    def _check_services(self, state: SagaState, definition: SagaDefinition) -> None:
        for step in definition.steps:
            if step.service not in self._engine.gateways:
                why = f"its service {step.service!r} is not configured any more"
                raise MoveRefused(state.id, state.status, "rerun", why, allowed_moves(state))

    def _check_recovered(self) -> None:
        if not self._engine.recovered.is_set():
            raise Unavailable("recovering: the sagas of the last run are being taken up again")

    def _check_admission(self, definition: SagaDefinition) -> None:
        self._check_recovered()
        if self._engine.stopping.is_set():
            raise Unavailable("stopping: no new saga is taken", retry_after_s=5)
        self._engine.health.check_admission(definition)
