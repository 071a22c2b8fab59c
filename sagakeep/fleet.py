"""The fleet: what is asked of all sagas, or of many, at once. A part of the Python API.

async with sagas.fleet.follow(Wanted(name="order")) as batches:
    async for batch in batches:
        ...
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Final

from sagakeep.actors.engine import Engine
from sagakeep.actors.service_state import ServiceState, state_of
from sagakeep.bulk import BulkPlan, BulkResult, Bulks, Chosen, ServiceRetry
from sagakeep.errors import ServiceNotFound, Unavailable
from sagakeep.feed import FeedBatch, Wanted
from sagakeep.messages import Retry, Wish
from sagakeep.wishes import Wishes

__all__ = ["BulkPlan", "BulkResult", "Chosen", "FeedBatch", "Fleet", "Wanted"]

ANY: Final = Wanted()


class Fleet:
    """All sagas of a directory. While recovery lasts its methods raise Unavailable."""

    def __init__(self, engine: Engine, wishes: Wishes) -> None:
        self._engine = engine
        self._bulks = Bulks(engine, wishes)

    def follow(
        self, wanted: Wanted = ANY, last_id: str | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[FeedBatch]]:
        """Every durable event of every saga that is wanted, in the order of the journal, from now on; with
        `last_id`, the text of a place, from what came after it. A reader that is too slow, or was away for long,
        is told of a gap.
        """
        self._check_recovered()
        return self._engine.feed.follow(wanted, last_id)

    async def plan_moves(self, chosen: Chosen, about: object = None) -> BulkPlan:
        """How many sagas a bulk would be about now, the first of them, and a token for `as_planned`."""
        self._check_recovered()
        return await self._bulks.plan(chosen, about)

    def as_planned(self, chosen: Chosen, about: object, token: str) -> Chosen:
        """What a plan was about: nothing that was begun since. Raises PlanRefused if it was about something else,
        or is too old."""
        return self._bulks.as_planned(chosen, about, token)

    def make_moves(
        self, wish: Wish, chosen: Chosen
    ) -> AbstractAsyncContextManager[AsyncIterator[list[BulkResult]]]:
        """Make a move of many sagas: what came of each, a few at a time, while it is read."""
        self._check_recovered()
        return self._bulks.make(wish, chosen)

    async def pause_service(self, name: str, *, by: str = "", note: str = "") -> ServiceState:
        """Let no call of a service begin until it is resumed; durable when it returns. One that is paused stays
        as it is. Raises ServiceNotFound."""
        self._check_service(name)
        await self._engine.pauses.pause(name, by, note)
        return state_of(self._engine.gateways[name], self._engine.clock)

    async def resume_service(self, name: str, *, by: str = "", note: str = "") -> ServiceState:
        """Let calls of a service begin again. Raises ServiceNotFound."""
        self._check_service(name)
        await self._engine.pauses.resume(name, by, note)
        return state_of(self._engine.gateways[name], self._engine.clock)

    async def retry_service(self, name: str, *, by: str = "", note: str = "") -> ServiceRetry:
        """Make every attempt at a service now that is planned for later, and let every saga go on that could not
        be undone there. Raises ServiceNotFound."""
        self._check_recovered()
        self._check_service(name)
        return await self._bulks.retry_service(Retry(by, note, now=True, service=name))

    def _check_service(self, name: str) -> None:
        if name not in self._engine.gateways:
            raise ServiceNotFound(name, tuple(sorted(self._engine.gateways)))

    def _check_recovered(self) -> None:
        if not self._engine.recovered.is_set():
            raise Unavailable("recovering: the sagas of the last run are being taken up again")
