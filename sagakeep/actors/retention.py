"""Retention: deletes the finished sagas that the rules of the configuration do not keep.

The rows of all sagas are walked, the newest first, in slices; the first rule that covers a saga says whether it
is kept, by its age or by how many of the same rule are newer. Whoever is not kept is deleted by the same message
as an operator's DELETE, so the journal has it, with the rule that did it, and the `eraser` follows there too.

A walk costs what the table holds, so the next one comes after many times as long as it took; deletions are made a
few at a time, with as long a pause as they took. Nothing of it is durable: after a restart it is walked again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Container, Iterator, Sequence
from typing import Final, NamedTuple

import trio

from sagakeep.actors.read_model import ReadModel, Row, SagaQuery
from sagakeep.actors.registry import Deliver, Registry
from sagakeep.actors.saga_query import microseconds
from sagakeep.errors import MoveRefused, SagakeepError, SagaNotFound
from sagakeep.messages import Delete
from sagakeep.retention_rule import RetentionRule, all_tags

_log = logging.getLogger(__name__)

BY: Final = "retention"
EVERY_S: Final = 60.0  # between two walks, at least
SHARE: Final = 20  # and so many times as long as a walk took
SLICE: Final = 500  # rows of one look at the table
AT_ONCE: Final = 16  # deletions
PAUSE_S: Final = 0.01  # after each of both, at least


class _Due(NamedTuple):
    row: Row
    why: str


class Retention:
    """Deletes what is not kept. `run` is its task; without rules it ends at once."""

    def __init__(
        self,
        rules: Sequence[RetentionRule],
        read_model: ReadModel,
        registry: Registry,
        now_utc_s: Callable[[], float],
        is_calm: Callable[[], bool] = lambda: True,
    ) -> None:
        self.retired = 0  # since the start
        self._rules = rules
        self._tags = all_tags(rules)
        self._read_model = read_model
        self._registry = registry
        self._now_utc_s = now_utc_s
        self._is_calm = is_calm

    async def run(self) -> None:
        """Walk the sagas again and again, if there are rules."""
        while self._rules:
            began_s = trio.current_time()
            try:
                await self._walk()
            except SagakeepError as error:  # the rows cannot be read, or the process is stopping
                _log.warning("retention goes on later: %s", error)
            took_s = trio.current_time() - began_s
            await trio.sleep(max(EVERY_S, SHARE * took_s))

    async def _walk(self) -> None:
        counts = [0] * len(self._rules)
        cursor = ""
        while self._is_calm():
            page = await self._read_model.list(SagaQuery(limit=SLICE, cursor=cursor))
            tagged = await self._tagged(page.rows)
            due = list(self._due(page.rows, tagged, counts))
            for start in range(0, len(due), AT_ONCE):
                await self._retire(due[start : start + AT_ONCE])
            cursor = page.next_cursor
            if not cursor:
                return
            await trio.sleep(PAUSE_S)

    async def _tagged(self, rows: Sequence[Row]) -> dict[tuple[str, str], set[str]]:
        """Which of these sagas, and perhaps others, have the tags that a rule asks for."""
        if not rows:
            return {}
        newest, oldest = rows[0].created_at_utc_s, rows[-1].created_at_utc_s
        first_us, last_us = microseconds(oldest), microseconds(newest)
        return {tag: await self._read_model.tagged(tag, first_us, last_us) for tag in self._tags}

    def _due(
        self, rows: Sequence[Row], tagged: dict[tuple[str, str], set[str]], counts: list[int]
    ) -> Iterator[_Due]:
        """Yield those that are not kept; `counts` says how many each rule has covered so far."""
        now_utc_s = self._now_utc_s()
        for row in rows:
            tags = [tag for tag, saga_ids in tagged.items() if row.saga_id in saga_ids]
            at = self._rule_of(row, tags)
            if at is None:
                continue
            counts[at] += 1
            why = self._rules[at].why_not(counts[at], now_utc_s - row.updated_at_utc_s)
            if why:
                yield _Due(row, f"rule {at} of retention: {why}")

    def _rule_of(self, row: Row, tags: Container[tuple[str, str]]) -> int | None:
        for at, rule in enumerate(self._rules):
            if rule.covers(row.name, row.status, tags):
                return at
        return None

    async def _retire(self, due: Sequence[_Due]) -> None:
        """Delete a few at the same time, and leave the sagas that live as long a time."""
        began_s = trio.current_time()
        async with trio.open_nursery() as nursery:
            for one in due:
                nursery.start_soon(self._delete, one)
        await trio.sleep(max(PAUSE_S, trio.current_time() - began_s))

    async def _delete(self, due: _Due) -> None:
        """Delete a saga that has not moved since it was looked at; what cannot be now comes by again."""
        row = due.row
        wish = Delete(BY, due.why, row.updated_at_utc_s)
        try:
            await self._registry.mailbox.ask(Deliver(row.saga_id, wish))
            self.retired += 1
        except (MoveRefused, SagaNotFound):
            return
        except SagakeepError as error:
            fields = {"saga": row.saga_id}
            _log.warning("saga %s stays for now: %s", row.saga_id, error, extra=fields)
