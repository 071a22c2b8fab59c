"""The simulated world: the real orchestrator lives and dies in it, and the same seed is the same world."""

from __future__ import annotations

import errno

import pytest
import trio
from shop import saga, step

from sagakeep.errors import JournalError
from sagakeep.orchestrator import Orchestrator
from sagakeep.saga_status import COMPENSATED, COMPLETED
from sagakeep.service import Call
from sagakeep.simulation.ledger import Promise
from sagakeep.simulation.process import DoesNotEnd, Moment, Point
from sagakeep.simulation.process_disk import DiskFault
from sagakeep.simulation.service import Behaviour, Reaction
from sagakeep.simulation.world import How, Shape, World
from sagakeep.state import SagaState
from sagakeep.validation import parse_definition

DEFINITION = parse_definition(saga(step("a"), step("b"), id="s"), None)


def reacting(**behaviours: Behaviour):
    """Let the first attempts of some steps' actions go as told, all else well."""

    def script(call: Call) -> Reaction:
        if call.phase == "action" and call.attempt == 1:
            return Reaction(behaviours.get(call.step_id, Behaviour.DONE))
        return Reaction()

    return script


async def run_saga(orchestrator: Orchestrator) -> None:
    await orchestrator.run(DEFINITION, 3600)


def final(world: World, saga_id: str = "s") -> SagaState:
    """Let it come to rest in one more process without any trouble."""
    states = []

    async def main(orchestrator: Orchestrator) -> None:
        states.append(await orchestrator.wait(saga_id, 3600))

    assert world.live(main).how is How.FINISHED
    world.settle()
    return states[0]


def test_the_product_lives_in_the_world() -> None:
    world = World(1)
    shop = world.service("shop", reacting())
    assert world.live(run_saga).how is How.FINISHED
    assert final(world).status is COMPLETED
    assert [entry.key for entry in shop.ledger.entries] == ["s/a/action/1", "s/b/action/1"]
    assert world.open_files == 0


def test_the_same_seed_is_the_same_world() -> None:
    def digest(seed: int) -> str:
        world = World(seed, Shape(disk_latency_s=0.01))
        world.service("shop", reacting(a=Behaviour.LOST, b=Behaviour.REFUSED))
        world.live(run_saga, ends_at=Point("step", 100))
        world.cut_power()
        world.live(run_saga)
        return world.trace.digest()

    assert digest(7) == digest(7)
    assert len({digest(seed) for seed in range(5)}) == 5


@pytest.mark.parametrize("kind", ["disk", "call", "step"])
@pytest.mark.parametrize("moment", Moment)
def test_a_process_ends_at_the_point_and_does_nothing_more(kind: str, moment: Moment) -> None:
    world = World(1)
    shop = world.service("shop", reacting())
    number = {"disk": 40, "call": 2, "step": 60}[kind]
    ending = world.live(run_saga, ends_at=Point(kind, number, moment))
    was_done = len(shop.ledger.entries)
    if kind == "step" or (kind, moment) != ("call", Moment.PARTIAL):
        assert ending.how is How.CRASHED
        assert "crash" in world.trace.tail(1)[0]
    world.sleep(30)
    assert len(shop.ledger.entries) == was_done
    world.cut_power()
    assert final(world).status is COMPLETED


@pytest.mark.parametrize("behaviour", Behaviour)
@pytest.mark.parametrize("late_reply_s", [0.0, 60.0])
def test_whatever_a_service_does_the_saga_ends_and_is_done_once(
    behaviour: Behaviour, late_reply_s: float
) -> None:
    world = World(1)
    world.service("shop", reacting(b=behaviour), Promise.BARRIER, late_reply_s)
    assert world.live(run_saga).how is How.FINISHED
    state = final(world)
    expected = 0 if behaviour is Behaviour.REFUSED else 1
    assert state.status is (COMPLETED if expected else COMPENSATED)
    assert [world.net("s", step_id) for step_id in "ab"] == [expected, expected]


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_a_fault_strikes_one_operation_or_all_after_it(number: int) -> None:
    world = World(1)
    world.service("shop", reacting())
    assert world.live(run_saga).how is How.FINISHED
    fault = DiskFault(8, number, lasts=True)
    ending = world.live(run_saga, faults=(fault,))
    assert ending.how is How.BROKE
    assert ending.error is not None
    assert ending.error.subgroup(JournalError)
    world.kill()
    assert final(world).status is COMPLETED


def test_a_process_that_takes_steps_without_end_is_cut() -> None:
    async def spin(_: Orchestrator) -> None:
        while True:
            await trio.lowlevel.checkpoint()

    world = World(1)
    ending = world.live(spin)
    assert ending.how is How.BROKE
    assert ending.error is not None
    assert ending.error.subgroup(DoesNotEnd)


def test_a_request_that_was_sent_arrives_though_its_sender_is_no_more() -> None:
    world = World(1)
    shop = world.service("shop", lambda call: Reaction(Behaviour.SLOW))
    world.live(run_saga, ends_at=Point("call", 2, Moment.BEFORE))
    assert not shop.ledger.entries
    world.sleep(60)
    assert [entry.key for entry in shop.ledger.entries] == ["s/a/action/1"]


def test_rows_that_were_lost_or_are_old_are_caught_up() -> None:
    for seed in range(12):
        world = World(seed)
        world.service("shop", reacting())
        world.live(run_saga, ends_at=Point("disk", 40 + seed))
        world.cut_power()
        assert final(world).status is COMPLETED
