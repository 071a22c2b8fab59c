from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import trio
import trio.testing
from gateway_desk import DONE, Service, serving
from trio.testing import MockClock

from sagakeep import limits
from sagakeep.actors.gateway import IDLE_WORKERS_MAX
from sagakeep.service import AttemptResult, Call, Outcome


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.CRITICAL + 1):
        yield


async def second(call: Call) -> AttemptResult:
    await trio.sleep(1)
    return DONE


async def never(call: Call) -> AttemptResult:
    await trio.sleep_forever()
    raise AssertionError


# Outcomes


async def test_an_outcome_comes_with_its_attempt_its_chance_and_its_latency(
    autojump_clock: MockClock,
) -> None:
    async with serving(Service(second)) as desk:
        desk.submit("a")
        desk.submit("b", repeated=True)
        await trio.sleep(2)
        first, repeated = sorted(desk.news(), key=lambda news: news.step_id)
    assert first.result.latency_s == pytest.approx(1.0)
    assert (first.step_id, first.phase, first.epoch, first.attempt) == ("a", "action", 1, 1)
    assert (first.draw, first.late, first.repeated) == (0.25, False, False)
    assert repeated.repeated
    assert desk.gateway.statistics() == (0, 0, 2)


async def test_what_a_caller_raises_against_its_word_is_an_unknown_outcome() -> None:
    async def bug(call: Call) -> AttemptResult:
        raise LookupError("no such thing")

    async with serving(Service(bug)) as desk:
        desk.submit("a")
        await trio.testing.wait_all_tasks_blocked()
        (news,) = desk.news()
        assert (news.result.outcome, news.result.error) == (
            Outcome.UNKNOWN,
            "LookupError: no such thing",
        )
        desk.gateway.caller._do = Service().done_at_once  # type: ignore[attr-defined] # the fake's
        desk.submit("b")
        await trio.testing.wait_all_tasks_blocked()
        assert desk.outcomes() == [("b", "done", False)]


async def test_a_caller_that_fails_while_it_is_cancelled_ends_no_gateway(
    autojump_clock: MockClock,
) -> None:
    async def clean_up_badly(call: Call) -> AttemptResult:
        async def child() -> None:
            try:
                await trio.sleep_forever()
            finally:
                raise LookupError("in a finally")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(child)
            nursery.start_soon(trio.sleep_forever)
        raise AssertionError

    async with serving(Service(clean_up_badly), concurrency=1) as desk:
        for name in ("a", "b"):
            desk.submit(name, timeout_s=1)
        await trio.sleep(3)
        assert desk.outcomes() == [("a", "unknown", False), ("b", "unknown", False)]


async def test_a_result_that_comes_at_the_instant_of_the_timeout_is_reported_once(
    autojump_clock: MockClock,
) -> None:
    async with serving(Service(second), concurrency=1) as desk:
        for name in ("a", "b", "c"):
            desk.submit(name, timeout_s=1.0)
        await trio.sleep(10)
        news = desk.outcomes()
    assert [step_id for step_id, _, _ in news] == ["a", "b", "c"]


# Concurrency and order


async def test_no_more_attempts_are_in_flight_than_the_service_allows(
    autojump_clock: MockClock,
) -> None:
    service = Service(second)
    async with serving(service, concurrency=3) as desk:
        for number in range(10):
            desk.submit(str(number))
        await trio.sleep(0.5)
        assert desk.gateway.statistics() == (3, 7, 3)
        await trio.sleep(3.6)
        assert desk.gateway.statistics() == (0, 0, 10)
    assert service.in_flight_max == 3
    assert service.began == [str(number) for number in range(10)]


async def test_undos_that_wait_go_before_actions_that_wait(autojump_clock: MockClock) -> None:
    service = Service(second)
    async with serving(service, concurrency=1) as desk:
        for name in ("a", "b", "c"):
            desk.submit(name)
        await trio.sleep(0.5)
        for name in ("x", "y"):
            desk.submit(name, "compensation")
        await trio.sleep(6)
    assert service.began == ["a", "x", "y", "b", "c"]


async def test_a_dropped_attempt_is_not_begun_but_one_that_was_begun_settles(
    autojump_clock: MockClock,
) -> None:
    service = Service(second)
    async with serving(service, concurrency=1) as desk:
        begun, waiting, last = (desk.submit(name) for name in ("a", "b", "c"))
        await trio.sleep(0.5)
        begun.drop()
        waiting.drop()
        await trio.sleep(3)
        assert desk.outcomes() == [("a", "done", False), ("c", "done", False)]
    assert service.began == ["a", "c"]
    assert last.is_reported


async def test_workers_beyond_those_kept_idle_go_home(autojump_clock: MockClock) -> None:
    async with serving(Service(second), concurrency=IDLE_WORKERS_MAX + 20) as desk:
        for number in range(IDLE_WORKERS_MAX + 20):
            desk.submit(str(number))
        await trio.sleep(2)
        assert len(desk.news()) == IDLE_WORKERS_MAX + 20
        assert desk.gateway._workers == len(desk.gateway._idle) == IDLE_WORKERS_MAX


async def test_a_long_run_of_quick_attempts_lets_others_run() -> None:
    beats: list[int] = []
    async with serving(Service(), concurrency=1) as desk:
        for number in range(1_000):
            desk.submit(str(number))

        async def beat() -> None:
            while desk.gateway.attempts < 1_000:
                beats.append(desk.gateway.attempts)
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(beat)
    assert len(beats) > 5


async def test_the_queue_takes_its_bound_and_refuses_one_more_as_not_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "SERVICE_QUEUE_MAX", 3)
    service = Service(never)
    async with serving(service, concurrency=1, queue_max=2) as desk:
        desk.submit("a")
        await trio.testing.wait_all_tasks_blocked()
        for name in ("b", "c", "d", "e"):
            desk.submit(name)
        desk.submit("undo", "compensation")  # it is what makes room
        (refused,) = desk.news()
        assert desk.gateway.statistics().queued == 4
    assert (refused.step_id, refused.result.outcome) == ("e", Outcome.NOT_DONE)
    assert not refused.result.permanent
    assert refused.result.error == "3 attempts wait for service 'shop' already"


# Timeouts and late replies


async def test_a_timeout_is_unknown_and_the_attempt_is_cancelled(
    autojump_clock: MockClock,
) -> None:
    service = Service(never)
    async with serving(service, concurrency=1) as desk:
        desk.submit("a", timeout_s=2.5)
        desk.submit("b", timeout_s=1)
        await trio.sleep(2.4)
        assert desk.news() == []
        await trio.sleep(0.2)
        (news,) = desk.news()
        assert (news.result.outcome, news.late) == (Outcome.UNKNOWN, False)
        assert news.result.error == "no reply within 2.5 s"
        assert news.result.latency_s == 2.5
        await trio.sleep(1)
        assert desk.outcomes() == [("b", "unknown", False)]
    assert service.cancelled == ["a", "b"]


async def test_a_late_reply_is_delivered_once_after_the_timeout(autojump_clock: MockClock) -> None:
    service = Service(second, late_reply_s=10)
    async with serving(service, concurrency=1) as desk:
        desk.submit("a", timeout_s=0.5)
        await trio.sleep(0.6)
        assert desk.outcomes() == [("a", "unknown", False)]
        await trio.sleep(1)
        assert desk.outcomes() == [("a", "done", True)]
        await trio.sleep(20)
        assert desk.outcomes() == []
    assert service.cancelled == []


async def test_who_listens_for_a_late_reply_takes_no_place_and_gives_up_in_time(
    autojump_clock: MockClock,
) -> None:
    service = Service(never, late_reply_s=10)
    async with serving(service, concurrency=1) as desk:
        desk.submit("a", timeout_s=1)
        desk.submit("b", timeout_s=30)
        await trio.sleep(1.5)
        assert service.began == ["a", "b"]
        assert desk.gateway.statistics() == (1, 0, 2)
        await trio.sleep(9.4)
        assert service.cancelled == []
        await trio.sleep(0.2)
        assert service.cancelled == ["a"]
        assert desk.outcomes() == [("a", "unknown", False)]
        assert desk.gateway._lingering == 0


async def test_at_most_as_many_listen_on_as_may_work_and_the_rest_are_cancelled(
    autojump_clock: MockClock,
) -> None:
    service = Service(never, late_reply_s=100)
    async with serving(service, concurrency=2) as desk:
        for number in range(5):
            desk.submit(str(number), timeout_s=1)
        await trio.sleep(4)
        assert desk.gateway._lingering == 2
        assert len(service.cancelled) == 3
        assert [late for _, _, late in desk.outcomes()] == [False] * 5


async def test_news_for_a_saga_whose_actor_has_ended_goes_to_the_registry(
    autojump_clock: MockClock,
) -> None:
    async with serving(Service(second, late_reply_s=10)) as desk:
        desk.submit("a", timeout_s=0.5)
        await trio.sleep(0.75)
        desk.mailbox.close()
        await trio.sleep(1)
    ((saga_id, news),) = desk.undelivered
    assert (saga_id, news.step_id, news.late) == ("s", "a", True)


# Recovered calls


async def test_recovered_calls_are_spread_over_time_and_new_ones_are_not(
    autojump_clock: MockClock,
) -> None:
    at: dict[str, float] = {}

    async def note_time(call: Call) -> AttemptResult:
        at[call.step_id] = trio.current_time()
        return DONE

    async with serving(Service(note_time), concurrency=64) as desk:
        began_s = trio.current_time()
        desk.gateway.hold_back()
        for number in range(2_000):
            desk.submit(str(number))
        await trio.sleep(1)
        assert at == {}
        assert desk.gateway.statistics().queued == 2_000
        desk.gateway.release()
        desk.submit("new")
        await trio.sleep(10)
    assert at["new"] - began_s == pytest.approx(1.0)
    times = [at[str(number)] - began_s - 1.0 for number in range(2_000)]
    assert times == sorted(times)
    for end_s in (1, 2, 3):
        begun = sum(time < end_s for time in times)
        assert begun <= limits.RECOVERED_CALLS_PER_S * end_s + 10
    ramped = 2.0 * (50 + 100 + 200 + 400)  # doubled every 2 s, then the most
    rest = (2_000 - ramped) / limits.RECOVERED_CALLS_PER_S
    assert times[-1] == pytest.approx(8.0 + rest, abs=0.1)


# The end


async def test_draining_begins_nothing_more_and_waits_for_what_is_in_flight(
    autojump_clock: MockClock,
) -> None:
    service = Service(second)
    async with serving(service, concurrency=2) as desk:
        for number in range(4):
            desk.submit(str(number))
        await trio.sleep(0.25)
        began_s = trio.current_time()
        await desk.gateway.drain()
        assert trio.current_time() - began_s == pytest.approx(0.75)
        assert len(desk.news()) == 2
        desk.submit("late")
        await trio.sleep(5)
    assert service.began == ["0", "1"]


async def test_draining_ends_at_once_when_nothing_is_in_flight() -> None:
    async with serving(Service()) as desk:
        desk.submit("a")
        await trio.testing.wait_all_tasks_blocked()
        await desk.gateway.drain()


async def test_draining_waits_no_longer_than_a_timeout(autojump_clock: MockClock) -> None:
    async with serving(Service(never)) as desk:
        desk.submit("a", timeout_s=3)
        await trio.sleep(1)
        began_s = trio.current_time()
        await desk.gateway.drain()
        assert trio.current_time() - began_s == pytest.approx(2)


async def test_closing_closes_the_way_to_the_service() -> None:
    service = Service()
    async with serving(service) as desk:
        pass
    await desk.gateway.aclose()
    assert service.is_closed
