"""The gateway of a service that fails, is back, or may be called only so often. Times are virtual."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import trio
from gateway_desk import DONE, Desk, Service, serving
from trio.testing import MockClock

from sagakeep import limits
from sagakeep.actors.breaker import BreakerState
from sagakeep.actors.service_spec import ServiceSpec
from sagakeep.errors import ConfigurationError
from sagakeep.service import AttemptResult, Call, Outcome

FAILED = AttemptResult(Outcome.UNKNOWN, error="HTTP 500: oh")
REFUSED = AttemptResult(Outcome.NOT_DONE, error="no", permanent=True)


class Patient(Service):
    """Answers as it is told to, at once or after `takes_s`, and keeps the times at which it was called."""

    def __init__(self, answer: AttemptResult = FAILED, takes_s: float = 0.0) -> None:
        super().__init__()
        self.answer = answer
        self.takes_s = takes_s
        self.at_s: list[float] = []

    async def done_at_once(self, call: Call) -> AttemptResult:
        self.at_s.append(trio.current_time())
        if self.takes_s:
            await trio.sleep(self.takes_s)
        return self.answer


@pytest.fixture(autouse=True)
def warned(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.WARNING):
        yield


def flood(desk: Desk, count: int, phase: str = "action", prefix: str = "") -> None:
    for number in range(count):
        desk.submit(f"{prefix}{number}", phase, saga_id=f"{prefix}{number}")


def breaker(desk: Desk) -> BreakerState:
    return desk.gateway.throttle.breaker


async def test_a_service_that_is_down_is_called_by_one_probe_at_a_time(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    service = Patient()
    async with serving(service, concurrency=1) as desk:
        flood(desk, 1_000)
        await trio.sleep(4)
        assert len(service.began) == limits.BREAKER_FAILURES
        assert breaker(desk) is BreakerState.OPEN
        assert desk.gateway.statistics() == (0, 990, 10)
        await trio.sleep(57)
        assert len(service.began) == limits.BREAKER_FAILURES + 60 // limits.BREAKER_OPEN_S
        assert len(desk.news()) == len(
            service.began
        )  # who waits has learned nothing, and lost nothing
    text = "service shop counts as down: 10 attempts in a row failed, the last with: HTTP 500: oh"
    assert caplog.messages == [text]


async def test_while_a_probe_is_under_way_nothing_else_begins(autojump_clock: MockClock) -> None:
    service = Patient(takes_s=20.0)
    async with serving(service, concurrency=64, breaker_failures=5) as desk:
        flood(desk, 6)
        await trio.sleep(21)
        flood(desk, 100)
        await trio.sleep(10)
        assert (len(service.began), breaker(desk)) == (7, BreakerState.HALF_OPEN)
        assert desk.gateway.throttle.state(trio.current_time()).next_at_s == float("inf")


async def test_what_has_piled_up_goes_out_on_a_ramp_when_the_service_is_back(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    service = Patient()
    async with serving(service) as desk:
        flood(desk, 3_000)
        await trio.sleep(61)
        service.answer = DONE
        service.at_s = []
        await trio.sleep(60)
        assert desk.gateway.statistics().queued == 0
        assert breaker(desk) is BreakerState.CLOSED
        flood(desk, 100, prefix="new")
        began_s = trio.current_time()
        await trio.sleep(1)
        assert [at_s for at_s in service.at_s if at_s >= began_s] == [began_s] * 100
    first_s = service.at_s[0]
    for second in range(12):
        count = sum(second <= at_s - first_s < second + 1 for at_s in service.at_s[1:])
        rate = limits.RAMP_CALLS_PER_S * 2.0 ** (second // 2)
        assert count <= rate * 1.03 + 1
    assert caplog.messages[-1].startswith("service shop is back")


async def test_a_rate_limit_holds_always(autojump_clock: MockClock) -> None:
    service = Patient(DONE)
    async with serving(service, concurrency=64, rate_limit_per_s=100.0, rate_burst=5) as desk:
        flood(desk, 500)
        await trio.sleep(2.5)
        flood(desk, 500, prefix="more ")
        await trio.sleep(20)
        assert len(service.at_s) == 1_000
    assert service.at_s[-1] - service.at_s[0] == pytest.approx(9.95, abs=0.1)
    for at_s in service.at_s:
        assert sum(at_s <= other < at_s + 0.1 for other in service.at_s) <= 5 + 10 + 1


async def test_retry_after_holds_everybody_off_and_then_begins_small(
    autojump_clock: MockClock,
) -> None:
    service = Patient(AttemptResult(Outcome.NOT_DONE, error="busy", retry_after_s=30.0))
    async with serving(service, concurrency=1) as desk:
        flood(desk, 200)
        await trio.sleep(29)
        assert len(service.began) == 1
        assert desk.gateway.throttle.state(trio.current_time()).held_off_until_s == pytest.approx(
            service.at_s[0] + 30
        )
        service.answer = DONE
        await trio.sleep(2)
        assert 50 <= len(service.began) <= 55
        await trio.sleep(5)
        assert len(service.began) == 200


async def test_one_answer_holds_off_for_a_minute_at_most(autojump_clock: MockClock) -> None:
    service = Patient(AttemptResult(Outcome.NOT_DONE, retry_after_s=3_000.0))
    async with serving(service, concurrency=1, ramp_calls_per_s=0.0) as desk:
        flood(desk, 2)
        await trio.sleep(59)
        assert len(service.began) == 1
        await trio.sleep(2)
        assert len(service.began) == 2


async def test_without_a_ramp_all_goes_out_at_once(autojump_clock: MockClock) -> None:
    service = Patient(AttemptResult(Outcome.NOT_DONE, retry_after_s=3.0))
    async with serving(service, concurrency=1, ramp_calls_per_s=0.0) as desk:
        flood(desk, 100)
        await trio.sleep(1)
        service.answer = DONE
        await trio.sleep(2.5)
        assert len(service.began) == 100


async def test_a_service_that_refuses_is_well(autojump_clock: MockClock) -> None:
    service = Patient(REFUSED)
    async with serving(service) as desk:
        flood(desk, 500)
        await trio.sleep(1)
        assert (len(service.began), breaker(desk)) == (500, BreakerState.CLOSED)


async def test_timeouts_open_the_breaker_and_late_answers_do_not_close_it(
    autojump_clock: MockClock,
) -> None:
    service = Patient(DONE, takes_s=2.0)
    service.late_reply_s = 10.0
    async with serving(service, concurrency=4, breaker_failures=4) as desk:
        for number in range(20):
            desk.submit(str(number), timeout_s=1.0, saga_id=str(number))
        await trio.sleep(4)
        assert (len(service.began), breaker(desk)) == (4, BreakerState.OPEN)
        assert [late for _, _, late in desk.outcomes()] == [False] * 4 + [True] * 4


async def test_what_is_dropped_behind_an_open_breaker_leaves_nothing_behind(
    autojump_clock: MockClock,
) -> None:
    service = Patient()
    async with serving(service, concurrency=1) as desk:
        jobs = [desk.submit(str(number), saga_id=str(number)) for number in range(50)]
        await trio.sleep(1)
        assert len(desk.timers) == 1
        for job in jobs:
            job.drop()
        assert desk.gateway.statistics().queued == 0
        assert len(desk.timers) == 0
        service.answer = DONE
        desk.submit("next")
        await trio.sleep(5)
        assert service.began[-1] == "next"
        assert breaker(desk) is BreakerState.CLOSED


async def test_draining_sends_no_probe(autojump_clock: MockClock) -> None:
    service = Patient()
    async with serving(service, concurrency=1) as desk:
        flood(desk, 50)
        await trio.sleep(1)
        await desk.gateway.drain()
        await trio.sleep(60)
        assert len(service.began) == limits.BREAKER_FAILURES


def test_rules_that_cannot_be_kept_are_told_with_their_bounds() -> None:
    spec = ServiceSpec(Service(), 0, rate_limit_per_s=-1.0, breaker_open_s=float("nan"))
    with pytest.raises(ConfigurationError) as error:
        spec.check("shop")
    assert str(error.value).splitlines() == [
        "service 'shop': concurrency is the number 0; expected 1 to 1000000",
        "service 'shop': rate_limit_per_s is the number -1.0; expected 0 (no rate limit) or 0.001 to 1000000",
        "service 'shop': breaker_open_s is the number nan; expected 0.1 to 3600",
    ]
