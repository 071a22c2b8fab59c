"""One life of an orchestrator in a process of its own: the child of a fork, which is killed at some instant.

It opens the directory, takes up what was, asks for new sagas, and for undos, retries and deletions of old
ones. The last life of a directory is not killed: it waits until every saga stands still and tells how they
stand.
"""

from __future__ import annotations

import logging
import os
import random
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

import msgspec
import trio

from blackbox import orders
from blackbox.judge import Final
from blackbox.services import LedgerService
from blackbox.wishes import Wish, WishLedger
from sagakeep.actors.engine import Ports
from sagakeep.errors import MoveRefused, SagaExists, SagaNotFound, Unavailable
from sagakeep.orchestrator import Orchestrator, SagaQuery, open_orchestrator
from sagakeep.state import SagaState
from sagakeep.validation import parse_definition

LAST_LIFE_S_MAX = 60.0
POSTERS = 4  # sagas that are posted at once


class Place(NamedTuple):
    """A directory of a campaign: the journal and all ledgers."""

    root: Path

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def wishes(self) -> Path:
        return self.root / "wishes"

    @property
    def log(self) -> Path:
        return self.root / "log"

    @property
    def finals(self) -> Path:
        return self.root / "finals.json"

    def ledger(self, service: str) -> Path:
        return self.root / f"{service}.ledger"

    @property
    def ledgers(self) -> list[Path]:
        return [self.ledger(name) for name in orders.SERVICES]


class Life(NamedTuple):
    """What one life is to do; all of it is drawn from `name`, so that it can be lived again."""

    place: Place
    name: str
    orders: int  # new sagas
    last: bool = False
    segment_kib: int = 0  # 0: draw it

    @property
    def ports(self) -> Ports:
        """Small files, so that rolls and snapshots fall within a short life."""
        draw = random.Random(self.name)
        kib = self.segment_kib or draw.choice((4, 16, 64, 256))
        return Ports(segment_bytes=kib << 10, snapshot_every_bytes=draw.choice((8, 32, 256)) << 10)


def live(life: Life, opened: Callable[[], None]) -> None:
    """Live it to its end, and tell when the directory is open; never returns.

    Exit code 3 says that the orchestrator failed by itself.
    """
    try:
        trio.run(_live, life, opened)
    except BaseException:
        traceback.print_exc()
        os._exit(3)
    os._exit(0)


def begin_log(place: Place) -> None:
    """Let this process complain to the place's log."""
    log = os.open(place.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 2)
    os.close(log)
    logging.basicConfig(level=logging.WARNING)
    logging.getLogger("sagakeep.python_caller").disabled = True  # the services fail on purpose


async def _live(life: Life, opened: Callable[[], None]) -> None:
    services = {name: LedgerService(life.place.ledger(name)) for name in orders.SERVICES}
    wishes = WishLedger(life.place.wishes)
    async with open_orchestrator(str(life.place.data), services, life.ports) as sagas:
        opened()
        client = Client(sagas, wishes, random.Random(life.name))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.order_again)
            for part in range(POSTERS):
                nursery.start_soon(client.order_part, life, part)
            nursery.start_soon(client.change_minds, life.orders)
        if life.last:
            with trio.fail_after(LAST_LIFE_S_MAX):
                finals = await wait_finals(sagas)
            life.place.finals.write_bytes(msgspec.json.encode(finals))


class Client:
    """Asks, and writes down what it asked and what it was told."""

    def __init__(self, sagas: Orchestrator, wishes: WishLedger, draw: random.Random) -> None:
        self._sagas = sagas
        self._wishes = wishes
        self._draw = draw

    async def order_again(self) -> None:
        """Post again what was not answered."""
        for wish in self._wishes.open_creates():
            await self._create(wish)

    async def order_part(self, life: Life, part: int) -> None:
        """Post what is new; now and then again what was answered."""
        for at in range(part, life.orders, POSTERS):
            await self._create(self._wishes.ask(f"{life.name}-{at}", "create"))
            known = self._wishes.known()
            if known and self._draw.random() < 0.1:
                await self._create(self._draw.choice(known))

    async def _create(self, wish: Wish) -> None:
        definition = parse_definition(orders.order(wish.order), orders.SERVICES)
        try:
            started = await self._sagas.start(
                definition, idempotency_key=wish.order, body_digest=wish.order.encode()
            )
        except SagaExists:
            if wish.order in self._wishes.deleted():
                return  # between the choice of what to post again and the post
            raise
        self._wishes.answer(wish, "yes", started.saga.id)

    async def change_minds(self, count: int) -> None:
        """Undo, retry or delete sagas, whatever they are doing."""
        for _ in range(count // 2):
            await trio.sleep(self._draw.uniform(0, 0.01))
            known = self._wishes.known()
            if known:
                verb = self._draw.choice(("compensate", "retry", "retry", "delete"))
                await self._change(self._draw.choice(known), verb)

    async def _change(self, create: Wish, verb: str) -> None:
        moves: dict[str, Callable[[str], Awaitable[object]]] = {
            "compensate": self._sagas.compensate,
            "retry": self._sagas.retry,
            "delete": self._sagas.delete,
        }
        if verb == "delete" and self._draw.random() < 0.7:
            return  # most sagas are kept, for the judge
        wish = self._wishes.ask(create.order, verb, create.saga)
        try:
            await moves[verb](create.saga)
        except (MoveRefused, SagaNotFound, Unavailable) as error:
            self._wishes.answer(wish, type(error).__name__)
        else:
            self._wishes.answer(wish, "yes")


async def wait_finals(sagas: Orchestrator) -> list[Final]:
    """Wait until every saga stands still; return all of them. Raises TooSlowError in time."""
    finals: dict[str, Final] = {}
    cursor = ""
    while True:
        page = await sagas.list(SagaQuery(limit=500, cursor=cursor))
        for listed in page.sagas:
            state = listed
            while state.status not in orders.STILL:
                state = await sagas.wait(listed.id, timeout_s=1)
            finals[state.id] = await _final(sagas, state)
        cursor = page.next_cursor
        if not cursor:
            break
    _check_counts(sagas, finals)
    return list(finals.values())


async def _final(sagas: Orchestrator, state: SagaState) -> Final:
    """A saga as it stands; its history has no gap."""
    records = await sagas.events(state.id, limit=1_000_000)
    following = 1
    for record in records:
        assert record.sequence == following, f"{state.id}: {record.sequence} is not {following}"
        following += len(record.events)
    return Final(state.id, state.definition.tags["order"], str(state.status), following - 1)


def _check_counts(sagas: Orchestrator, finals: dict[str, Final]) -> None:
    """The statistics are those of the sagas that there are."""
    told = sagas.statistics()
    assert told.total == len(finals), f"{told} of {len(finals)} sagas"
