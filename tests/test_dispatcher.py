from __future__ import annotations

import pytest
import trio
import trio.testing

from sagakeep.runtime.dispatcher import TURNS_BETWEEN_CHECKPOINTS, Dispatcher


class Actor:
    def __init__(self, log: list[str], name: str, turns: int = 1) -> None:
        self.log = log
        self.name = name
        self.turns = turns
        self.dispatcher: Dispatcher[Actor] | None = None
        self.is_scheduled = False

    def turn(self) -> None:
        self.log.append(self.name)
        self.turns -= 1
        if self.turns and self.dispatcher:
            self.dispatcher.schedule(self)
        if self.name == "bug":
            raise LookupError(self.name)


class House:
    def __init__(self) -> None:
        self.log: list[str] = []
        self.crashes: list[str] = []
        self.dispatcher: Dispatcher[Actor] = Dispatcher(self.crashed)

    def crashed(self, actor: Actor, error: Exception) -> None:
        self.crashes.append(f"{actor.name}: {error}")

    def schedule(self, name: str, turns: int = 1) -> None:
        actor = Actor(self.log, name, turns)
        actor.dispatcher = self.dispatcher
        self.dispatcher.schedule(actor)


async def test_turns_are_taken_in_the_order_of_scheduling_and_a_second_turn_comes_last() -> None:
    house = House()
    async with trio.open_nursery() as nursery:
        house.schedule("a", turns=2)
        house.schedule("b")
        nursery.start_soon(house.dispatcher.run)
        await trio.testing.wait_all_tasks_blocked()
        house.schedule("c")
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert house.log == ["a", "b", "a", "c"]


async def test_an_actor_that_is_to_have_a_turn_is_not_scheduled_again() -> None:
    house = House()
    actor = Actor(house.log, "a", turns=2)
    house.dispatcher.schedule(actor)
    house.dispatcher.schedule(actor)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(house.dispatcher.run)
        await trio.testing.wait_all_tasks_blocked()
        assert house.log == ["a"]
        house.dispatcher.schedule(actor)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert house.log == ["a", "a"]


async def test_a_crash_ends_its_turn_and_nothing_else() -> None:
    house = House()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(house.dispatcher.run)
        for name in ("a", "bug", "b"):
            house.schedule(name)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert house.log == ["a", "bug", "b"]
    assert house.crashes == ["bug: bug"]


async def test_others_get_their_turn_beside_an_actor_that_never_rests() -> None:
    house = House()
    async with trio.open_nursery() as nursery:
        house.schedule("busy", turns=-1)
        nursery.start_soon(house.dispatcher.run)
        for _ in range(10):
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    assert 1 <= len(house.log) <= 20


async def test_a_long_queue_is_worked_off_in_pieces() -> None:
    house = House()
    pieces: list[int] = []
    for number in range(3 * TURNS_BETWEEN_CHECKPOINTS):
        house.schedule(str(number))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(house.dispatcher.run)
        while len(house.log) < 3 * TURNS_BETWEEN_CHECKPOINTS:
            pieces.append(len(house.log))
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    assert set(pieces) - {0} <= {TURNS_BETWEEN_CHECKPOINTS, 2 * TURNS_BETWEEN_CHECKPOINTS}


@pytest.mark.parametrize("is_busy", [False, True])
async def test_it_can_be_cancelled_and_run_again(is_busy: bool) -> None:
    house = House()
    for _ in range(2):
        with trio.move_on_after(0.01):
            await house.dispatcher.run()
        if is_busy:
            house.schedule("a")
    with trio.move_on_after(0.01):
        await house.dispatcher.run()
    assert house.log == (["a", "a"] if is_busy else [])


async def test_a_turn_in_passing_is_taken_at_once_and_only_while_turns_are_given() -> None:
    house = House()
    house.dispatcher.turn(Actor(house.log, "too early"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(house.dispatcher.run)
        await trio.testing.wait_all_tasks_blocked()
        house.schedule("later")
        house.dispatcher.turn(Actor(house.log, "now"))
        house.dispatcher.turn(Actor(house.log, "bug"))
        assert house.log == ["now", "bug"]
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    house.dispatcher.turn(Actor(house.log, "too late"))
    assert (house.log, house.crashes) == (["now", "bug", "later"], ["bug: bug"])
