"""Storms: a service dies under many sagas and comes back. The whole product, in virtual time."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import trio
from keeper import Ledger, begin, document, history, keeping
from trio.testing import MockClock

from sagakeep import limits
from sagakeep.actors.health import LOOK_EVERY_S
from sagakeep.errors import Unavailable
from sagakeep.events import StepFailed
from sagakeep.orchestrator import Orchestrator, ServiceSpec
from sagakeep.service import AttemptResult, Call, Outcome
from sagakeep.state import SagaState
from sagakeep.validation import parse_definition

DOWN = AttemptResult(Outcome.NOT_DONE, error="no connection", is_unreachable=True)


class Made(NamedTuple):
    at_s: float
    call: Call


class Payment:
    """A caller that may be dead; keeps what came, and when."""

    late_reply_s = 0.0

    def __init__(self) -> None:
        self.made: list[Made] = []
        self.is_dead = False

    async def attempt(self, call: Call) -> AttemptResult:
        self.made.append(Made(trio.current_time(), call))
        return DOWN if self.is_dead else AttemptResult(Outcome.DONE, {"of": call.step_id})

    async def aclose(self) -> None:
        pass


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.CRITICAL):
        yield


def step(step_id: str, service: str, action: str = "do", **more: object) -> dict[str, object]:
    return {
        "id": step_id,
        "service": service,
        "action": action,
        "compensation": "undo",
        **more,
    }


ORDER = (step("reserve", "shop"), step("pay", "payment"))


async def begun(
    sagas: Orchestrator, count: int, *steps: dict[str, object], **more: object
) -> list[str]:
    """Begin many at once."""
    definition = parse_definition(document(*steps, **more), None)
    started = await sagas.start_many([definition] * count)
    return [one.id for one in started if isinstance(one, SagaState)]


async def standing(sagas: Orchestrator, *ids: str) -> list[SagaState]:
    return [await sagas.wait(saga_id, timeout_s=3_600) for saga_id in ids]


async def test_a_storm_is_held_and_everything_ends(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    shop, payment, limit_per_s = Ledger(), Payment(), 200.0
    spec = ServiceSpec(payment, concurrency=64, rate_limit_per_s=limit_per_s)
    async with keeping(tmp_path, services={"shop": shop, "payment": spec}) as sagas:
        turning = await begun(sagas, 150, *ORDER, step("ship", "shop", "gated"))
        await trio.sleep(10)
        payment.is_dead, died_s = True, trio.current_time()
        flood = await begun(sagas, 1_000, *ORDER, name="flood")
        await trio.sleep(20)
        few = await begun(sagas, 20, *ORDER, name="few")
        for saga_id in turning:
            await sagas.compensate(saga_id)
        shop.gate.set()
        await trio.sleep(died_s + 60 - trio.current_time())
        payment.is_dead, before = False, len(payment.made)
        states = await standing(sagas, *turning, *flood, *few)

    assert [state.status for state in states] == ["compensated"] * 150 + ["completed"] * 1_020
    dead = [made for made in payment.made if died_s <= made.at_s < died_s + 60]
    assert len(dead) <= limits.BREAKER_FAILURES + spec.concurrency + 60 / limits.BREAKER_OPEN_S
    back = payment.made[before:]
    assert len(back) == 150 + 1_020
    _rate_is_held(back, limit_per_s)
    phases = [made.call.phase for made in back[1:]]  # the first is the probe
    assert phases == sorted(phases, reverse=True)  # undos, then actions
    names = [made.call.saga_name for made in back if made.call.phase == "action"]
    assert names.index("few") < 5
    assert len(names) - names[::-1].index("few") <= 2 * 20 + 5
    spent = [state.steps["pay"].action.attempt for state in states if state.id not in turning]
    assert sum(attempt > 1 for attempt in spent) <= len(dead)


def _rate_is_held(made: list[Made], limit_per_s: float) -> None:
    """In no second is there more than the limit allows, and in the first ones than the ramp does."""
    times = [one.at_s for one in made]
    for at_s in times:
        count = sum(at_s <= other < at_s + 1.0 for other in times)
        assert count <= limit_per_s * 1.1 + 1
    for second in range(4):
        count = sum(second <= at_s - times[0] < second + 1 for at_s in times[1:])
        assert count <= limits.RAMP_CALLS_PER_S * 2.0 ** (second // 2) * 1.03 + 1


async def test_who_waits_for_a_dead_service_ends_at_the_deadline_without_a_call(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    payment = Payment()
    payment.is_dead = True
    services = {"shop": Ledger(), "payment": ServiceSpec(payment)}
    async with keeping(tmp_path, services=services) as sagas:
        flood = [await begin(sagas, *ORDER) for _ in range(100)]
        await trio.sleep(1)
        calls = len(payment.made)
        late = await begin(sagas, *ORDER, timeout=30)
        began_s = trio.current_time()
        (state,) = await standing(sagas, late)
        assert trio.current_time() - began_s == pytest.approx(30.0, abs=0.1)
        assert state.status == "compensated"
        assert not [made for made in payment.made if made.call.saga_id == late]
        (failed,) = [one for one in await history(sagas, late) if isinstance(one, StepFailed)]
        assert (failed.outcome, failed.error[:8]) == (Outcome.NOT_DONE, "not sent")
        assert len(payment.made) - calls <= 30 / limits.BREAKER_OPEN_S + 1
        states = await standing(sagas, *flood)
        assert {state.status for state in states} == {"compensated"}
        assert sagas.service_states()["payment"].queued == 0


async def test_an_operator_who_undoes_a_saga_does_not_wait_for_a_dead_service(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    payment = Payment()
    payment.is_dead = True
    services = {"shop": Ledger(), "payment": ServiceSpec(payment)}
    async with keeping(tmp_path, services=services) as sagas:
        ids = [await begin(sagas, *ORDER) for _ in range(100)]
        await trio.sleep(1)
        await sagas.compensate(ids[-1])
        began_s = trio.current_time()
        (state,) = await standing(sagas, ids[-1])
        assert (state.status, trio.current_time() - began_s) == ("compensated", 0.0)


async def test_a_queue_that_is_too_long_refuses_new_sagas_that_need_its_service(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    payment = Payment()
    payment.is_dead = True
    services = {"shop": Ledger(), "payment": ServiceSpec(payment, 1, queue_max=100)}
    async with keeping(tmp_path, services=services) as sagas:
        ids = []
        for _ in range(101 + limits.BREAKER_FAILURES):
            ids.append(await begin(sagas, *ORDER))
            await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(Unavailable) as refused:
            await begin(sagas, *ORDER)
        assert refused.value.retry_after_s == 5
        assert str(refused.value) == (
            "101 attempts wait for service 'payment', whose breaker is open:"
            " from 100 on no new saga that needs it is taken"
        )
        other = await begin(sagas, step("reserve", "shop"))
        assert (await standing(sagas, other))[0].status == "completed"
        assert all(check.ok for check in sagas.health().values())
        payment.is_dead = False
        states = await standing(sagas, *ids)
        assert {state.status for state in states} == {"completed"}
        (state,) = await standing(sagas, await begin(sagas, *ORDER))
        assert state.status == "completed"


async def test_memory_at_its_bound_refuses_new_sagas_until_a_quarter_has_ended(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    size, ledger = 1 << 20, Ledger()
    async with keeping(tmp_path, services={"shop": ledger}, resident_bytes=lambda: size) as sagas:
        waiting = [await begin(sagas, step("a", "shop", "gated")) for _ in range(2)]
        ending = [await begin(sagas, step("a", "shop", "slow")) for _ in range(2)]
        size = 1 << 50
        sagas._engine.health._memory.look(4)  # as it does every second
        with pytest.raises(Unavailable, match="MiB of memory, with 4 live sagas: new sagas wait"):
            await begin(sagas)
        assert not sagas.health()["capacity"].ok
        await standing(sagas, *ending)
        await trio.sleep(2 * LOOK_EVERY_S)
        await begin(sagas)  # as large as before, and with room inside
        ledger.gate.set()
        assert [one.status for one in await standing(sagas, *waiting)] == ["completed"] * 2


async def test_a_service_is_shown_with_what_waits_for_it_and_why(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    payment = Payment()
    spec = ServiceSpec(payment, 1, rate_limit_per_s=500.0)
    async with keeping(tmp_path, services={"shop": Ledger(), "payment": spec}) as sagas:
        now_utc_s = sagas._engine.clock.now_utc_s
        calm = sagas.service_states()["payment"]
        assert (calm.breaker, calm.rate_limit_per_s, calm.rate_per_s) == ("closed", 500.0, 500.0)
        assert (calm.queued, calm.next_at_utc_s, calm.held_off_until_utc_s) == (0, None, None)
        payment.is_dead = True
        for _ in range(50):
            await begin(sagas, *ORDER)
        await trio.sleep(0.3)
        down = sagas.service_states()["payment"]
        assert (down.breaker, down.queued, down.attempts) == ("open", 40, 10)
        assert down.breaker_since_utc_s == pytest.approx(now_utc_s() - 0.3, abs=0.1)
        assert down.next_at_utc_s == pytest.approx(now_utc_s() + 4.7, abs=0.1)
        payment.is_dead = False
        await trio.sleep(4.8)
        back = sagas.service_states()["payment"]
        assert (back.breaker, back.failures, back.rate_per_s) == ("closed", 0, 50.0)
        shop = sagas.service_states()["shop"]
        assert (shop.rate_limit_per_s, shop.rate_per_s, shop.queue_max) == (None, None, 900_000)
