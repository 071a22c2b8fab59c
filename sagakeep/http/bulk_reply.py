"""Bulk reply: what comes of a bulk, a JSON object in each line, as it comes.

    {"count": 2000}                                                      about so many
    {"id": "...", "outcome": "moved", "status": "retrying", ...}         one saga
    {"moved": 1998, "refused": 2, "failed": 0, "error": ""}              the last line

A reply without the last line was cut off: who was not told of may have been asked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Final, NotRequired, TypedDict

import msgspec
from anyio.streams.memory import MemoryObjectSendStream

from sagakeep.bulk import BulkOutcome, BulkPlan, BulkResult, Chosen
from sagakeep.errors import SagakeepError
from sagakeep.http.live_reply import LiveReply
from sagakeep.http.problems import document_of
from sagakeep.messages import Wish
from sagakeep.orchestrator import Orchestrator
from sagakeep.state import SagaStatus

NDJSON: Final = "application/x-ndjson"


class BulkPlanView(TypedDict):
    """What a bulk would be about: how many sagas, the first of them, and the token to send it with."""

    move: str
    count: int
    sample: list[str]
    token: str


class BulkLineView(TypedDict):
    """A line of a bulk's reply: `count` in the first, then one for each saga with its `id`, `outcome` and
    `status` after (`why` if it is refused or failed, `newID` if it was run again), then the sums; `error` says
    why the rest was not asked."""

    count: NotRequired[int]
    id: NotRequired[str]
    outcome: NotRequired[BulkOutcome]
    status: NotRequired[SagaStatus | None]
    why: NotRequired[str]
    newID: NotRequired[str]
    moved: NotRequired[int]
    refused: NotRequired[int]
    failed: NotRequired[int]
    error: NotRequired[str]


def plan_view(move: str, plan: BulkPlan) -> BulkPlanView:
    """Show a plan."""
    return {"move": move, "count": plan.count, "sample": plan.sample, "token": plan.token}


class BulkReply(LiveReply[AsyncIterator[list[BulkResult]]]):
    """Makes the bulk while it is read; a client that goes ends it."""

    media_type = NDJSON

    def __init__(self, orchestrator: Orchestrator, wish: Wish, chosen: Chosen, count: int) -> None:
        super().__init__(orchestrator)
        self._wish = wish
        self._chosen = chosen
        self._count = count

    def source(self) -> AbstractAsyncContextManager[AsyncIterator[list[BulkResult]]]:
        return self.orchestrator.fleet.make_moves(self._wish, self._chosen)

    async def pump(
        self, source: AsyncIterator[list[BulkResult]], into: MemoryObjectSendStream[bytes]
    ) -> None:
        await into.send(_line({"count": self._count}))
        sums: Counter[BulkOutcome] = Counter()
        error = ""
        try:
            async for results in source:
                sums.update(result.outcome for result in results)
                await into.send(b"".join(_line(_view(result)) for result in results))
        except SagakeepError as problem:
            error = str(document_of(problem)["detail"])
        end: BulkLineView = {"moved": sums["moved"], "refused": sums["refused"]}
        await into.send(_line({**end, "failed": sums["failed"], "error": error}))


def _view(result: BulkResult) -> BulkLineView:
    view: BulkLineView = {
        "id": result.saga_id,
        "outcome": result.outcome,
        "status": result.status,
        "why": result.why,
    }
    return {**view, "newID": result.new_id} if result.new_id else view


def _line(view: BulkLineView) -> bytes:
    return msgspec.json.encode(view) + b"\n"
