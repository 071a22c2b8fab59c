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
from sagakeep.errors import Unavailable
from sagakeep.feed import FeedBatch, Wanted

__all__ = ["FeedBatch", "Fleet", "Wanted"]

ANY: Final = Wanted()


class Fleet:
    """All sagas of a directory. While recovery lasts its methods raise Unavailable."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def follow(
        self, wanted: Wanted = ANY, last_id: str | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[FeedBatch]]:
        """Every durable event of every saga that is wanted, in the order of the journal, from now on; with
        `last_id`, the text of a place, from what came after it. A reader that is too slow, or was away for long,
        is told of a gap.
        """
        self._check_recovered()
        return self._engine.feed.follow(wanted, last_id)

    def _check_recovered(self) -> None:
        if not self._engine.recovered.is_set():
            raise Unavailable("recovering: the sagas of the last run are being taken up again")
