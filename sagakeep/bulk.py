"""A bulk: one move of many sagas, all that a filter lets through or that are named.

    the list, page by page --> 16 at a time: as it is now -> the wish, for that version only -> what came of it

It is no transaction: each saga moves for itself or refuses, as if it were asked alone, with who and why in its
history. Each is looked at again just before, and the wish is only for the saga as it was looked at; so one that
has left the filter since (it was retried by somebody, it completed) is left alone and told of. That also makes a
bulk that was cut off safe to repeat: what has moved no longer meets the filter.

The list is walked from the newest on, by a cursor in the order of creation, so that no saga is met twice,
whatever the moves do to the filter. Never more than AT_ONCE wishes wait in mailboxes, and whoever reads the
results slowly slows it down.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from itertools import chain
from typing import Final, Literal, NamedTuple

import msgspec
import trio
from msgspec.structs import replace

from sagakeep import limits
from sagakeep.actors.engine import Engine
from sagakeep.actors.saga_query import SagaQuery
from sagakeep.bulk_plan import planned_utc_s, token_of
from sagakeep.errors import (
    MoveRefused,
    SagakeepError,
    SagaMoved,
    SagaNotFound,
    Unavailable,
    UnknownStep,
)
from sagakeep.hurry import has_failed_undo, planned
from sagakeep.messages import Retry, Wish
from sagakeep.state import SagaState, SagaStatus
from sagakeep.wishes import Wishes

AT_ONCE: Final = 16
LOOKS_BETWEEN_CHECKPOINTS: Final = 100  # at live sagas; 10 us each
LOOKS_MAX: Final = 5  # at a saga that moves on between the look and the wish

BulkOutcome = Literal["moved", "refused", "failed"]


class BulkResult(NamedTuple):
    """What came of one saga: `refused` by its state or because it has left the filter, `failed` for a reason that
    is not its own. `status` is None where it is not known; `new_id` is of the saga that it was run again as."""

    saga_id: str
    outcome: BulkOutcome
    status: SagaStatus | None = None
    why: str = ""
    new_id: str = ""


class ServiceRetry(NamedTuple):
    """How many sagas a retry of a service let go on, and how many refused."""

    retried: int
    refused: int


class Chosen(NamedTuple):
    """Which sagas: those that a query lets through, whatever its limit and cursor, or these if there is none."""

    query: SagaQuery | None
    saga_ids: Sequence[str] = ()


class BulkPlan(msgspec.Struct, frozen=True):
    """What a bulk would be about: how many sagas, the first of them, and the token that confirms it."""

    count: int
    sample: list[str]
    token: str


class Bulks:
    """Makes bulks, of which few run at a time."""

    def __init__(self, engine: Engine, wishes: Wishes) -> None:
        self._engine = engine
        self._wishes = wishes
        self._running = 0

    async def plan(self, chosen: Chosen, about: object) -> BulkPlan:
        """What it would be about now; `about` is what was asked, as JSON-like data."""
        token = token_of(about, self._engine.clock.now_utc_s())
        if chosen.query is None:
            return BulkPlan(
                len(chosen.saga_ids), list(chosen.saga_ids[: limits.BULK_SAMPLE]), token
            )
        query = replace(chosen.query, limit=limits.BULK_SAMPLE, cursor="")
        count = await self._engine.read_model.count(query)
        rows = (await self._engine.read_model.list(query)).rows
        return BulkPlan(count, [row.saga_id for row in rows], token)

    def as_planned(self, chosen: Chosen, about: object, token: str) -> Chosen:
        """What the plan with this token was about: nothing that was begun since. Raises PlanRefused."""
        at_utc_s = planned_utc_s(token, about, self._engine.clock.now_utc_s())
        query = chosen.query
        if query is None:
            return chosen
        before = query.created_before
        before = at_utc_s if before is None else min(before, at_utc_s)
        return Chosen(replace(query, created_before=before))

    @asynccontextmanager
    async def make(
        self, wish: Wish, chosen: Chosen
    ) -> AsyncIterator[AsyncIterator[list[BulkResult]]]:
        """Make a move of all of them; what came of each, a few at a time. Raises Unavailable, also on the way."""
        if self._running >= limits.BULKS_MAX:
            raise Unavailable(f"{limits.BULKS_MAX} bulks run already: wait for one of them")
        self._running += 1
        try:
            async with aclosing(self._results(wish, chosen)) as results:
                yield results
        finally:
            self._running -= 1

    async def retry_service(self, wish: Retry) -> ServiceRetry:
        """Retry every saga that has to do with the service of the wish; looks at all that live."""
        outcomes: Counter[BulkOutcome] = Counter()
        chosen: list[str] = []
        async for saga_id in self._concerned(wish.service):
            chosen.append(saga_id)
            if len(chosen) == AT_ONCE:
                outcomes.update(one.outcome for one in await self._asked(wish, chosen))
                chosen = []
        outcomes.update(one.outcome for one in await self._asked(wish, chosen))
        return ServiceRetry(outcomes["moved"], outcomes["refused"] + outcomes["failed"])

    async def _concerned(self, service: str) -> AsyncGenerator[str, None]:
        """The live sagas with something planned, or not undone, at a service."""
        live, now_utc_s = self._engine.committed.live, self._engine.clock.now_utc_s()
        for count, saga_id in enumerate(chain(live.awake_ids(), live.asleep_ids()), start=1):
            known = live.get(saga_id)
            if known is not None and (
                planned(known[0], now_utc_s, service) or has_failed_undo(known[0], service)
            ):
                yield saga_id
            if count % LOOKS_BETWEEN_CHECKPOINTS == 0:
                await trio.lowlevel.checkpoint()

    async def _asked(self, wish: Wish, saga_ids: Sequence[str]) -> list[BulkResult]:
        return await self._some(wish, saga_ids, None)

    async def _results(self, wish: Wish, chosen: Chosen) -> AsyncGenerator[list[BulkResult], None]:
        status = chosen.query.status if chosen.query is not None else None
        async with aclosing(self._pages(chosen)) as pages:
            async for saga_ids in pages:
                for start in range(0, len(saga_ids), AT_ONCE):
                    if self._engine.stopping.is_set():
                        raise Unavailable("stopping: the rest was not asked")
                    yield await self._some(wish, saga_ids[start : start + AT_ONCE], status)

    async def _pages(self, chosen: Chosen) -> AsyncGenerator[Sequence[str], None]:
        if chosen.query is None:
            yield chosen.saga_ids
            return
        query = replace(chosen.query, limit=limits.PAGE_MAX, cursor="")
        while True:
            page = await self._engine.read_model.list(query)
            yield [row.saga_id for row in page.rows]
            if not page.next_cursor:
                return
            query = replace(query, cursor=page.next_cursor)

    async def _some(
        self, wish: Wish, saga_ids: Sequence[str], status: SagaStatus | None
    ) -> list[BulkResult]:
        results: dict[str, BulkResult] = {}

        async def one(saga_id: str) -> None:
            results[saga_id] = await self._one(wish, saga_id, status)

        async with trio.open_nursery() as nursery:
            for saga_id in saga_ids:
                nursery.start_soon(one, saga_id)
        return [results[saga_id] for saga_id in saga_ids]

    async def _one(self, wish: Wish, saga_id: str, status: SagaStatus | None) -> BulkResult:
        now: SagaStatus | None = None
        try:
            for _ in range(LOOKS_MAX):
                before = await self._wishes.describe(saga_id)
                now = before.status
                if status is not None and now is not status:
                    return BulkResult(saga_id, "refused", now, f"it is {now} by now, not {status}")
                try:
                    return await self._move(wish, before)
                except SagaMoved:
                    continue
            return BulkResult(saga_id, "failed", now, "it moves all the time: ask again")
        except MoveRefused as refused:
            return BulkResult(saga_id, "refused", now, refused.why)
        except (SagaNotFound, UnknownStep) as refused:
            return BulkResult(saga_id, "refused", now, str(refused))
        except SagakeepError as error:
            return BulkResult(saga_id, "failed", now, str(error))

    async def _move(self, wish: Wish, before: SagaState) -> BulkResult:
        after = await self._wishes.move(before.id, replace(wish, versions=(before.sequence,)))
        if after.id != before.id:
            return BulkResult(before.id, "moved", before.status, new_id=after.id)
        if after.sequence == before.sequence:
            why = f"it is {after.status}: it changes nothing"
            return BulkResult(before.id, "refused", after.status, why)
        return BulkResult(before.id, "moved", after.status)
