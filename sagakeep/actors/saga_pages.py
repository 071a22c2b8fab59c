"""A page of a list of sagas: rows say which, and their states come from memory or from the journal."""

from __future__ import annotations

from typing import NamedTuple

from sagakeep.actors.history import History
from sagakeep.actors.live_sagas import LiveSagas
from sagakeep.actors.read_model import ReadModel
from sagakeep.actors.saga_query import SagaQuery
from sagakeep.state import SagaState


class SagaPage(NamedTuple):
    """Sagas, newest first; `next_cursor` is "" on the last page."""

    sagas: list[SagaState]
    next_cursor: str


async def page_of(
    query: SagaQuery, read_model: ReadModel, live: LiveSagas, history: History
) -> SagaPage:
    """The sagas that meet a query, with all that was acknowledged. Raises BadCursor, Unavailable."""
    page = await read_model.list(query)
    found = {row.saga_id: live.get(row.saga_id) for row in page.rows}
    states = {saga_id: known[0] for saga_id, known in found.items() if known is not None}
    finished = [(row.frame, row.offset) for row in page.rows if row.saga_id not in states]
    states |= {state.id: state for state in await history.states(finished)}
    return SagaPage([states[row.saga_id] for row in page.rows], page.next_cursor)
