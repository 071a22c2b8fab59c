from __future__ import annotations

import asyncio
import dataclasses
import logging
import threading

import msgspec
import pytest
import trio
import trio.testing

from sagakeep import limits
from sagakeep.python_caller import PythonCaller
from sagakeep.service import AttemptResult, Call, Outcome, ServiceRefused, ServiceUnavailable

CALL = Call(
    saga_id="s-1",
    saga_name="order",
    step_id="pay",
    service="payment",
    action="charge",
    phase="action",
    attempt=1,
    idempotency_key="s-1/pay/action/1",
    payload={"amount": 5},
    timeout_s=30.0,
)


@dataclasses.dataclass
class Receipt:
    lines: tuple[int, ...]


class Shop:
    """Returns or raises what it was made with."""

    colour = "red"

    def __init__(self, value: object = None) -> None:
        self.value = value
        self.calls: list[Call] = []
        self.threads: list[int] = []
        self.closed = False

    async def charge(self, call: Call) -> object:
        self.calls.append(call)
        if isinstance(self.value, Exception):
            raise self.value
        return self.value

    def print_label(self, call: Call) -> object:
        self.threads.append(threading.get_ident())
        return self.value

    async def forever(self, call: Call) -> object:
        await trio.sleep_forever()

    async def _private(self, call: Call) -> object:
        return "secret"

    async def aclose(self) -> None:
        self.closed = True


async def attempt(value: object, action: str = "charge") -> AttemptResult:
    return await PythonCaller(Shop(value)).attempt(msgspec.structs.replace(CALL, action=action))


async def test_a_method_gets_the_call_and_its_value_is_the_result():
    shop = Shop({"chargeId": "c-1"})
    result = await PythonCaller(shop).attempt(CALL)
    assert result == AttemptResult(Outcome.DONE, {"chargeId": "c-1"})
    assert shop.calls == [CALL]


async def test_a_result_is_a_copy():
    value = {"lines": [1]}
    result = await attempt(value)
    value["lines"].append(2)
    assert result.result == {"lines": [1]}


async def test_a_plain_method_runs_in_a_thread():
    shop = Shop([1, 2.5, "x", None, True])
    result = await PythonCaller(shop).attempt(msgspec.structs.replace(CALL, action="print_label"))
    assert result == AttemptResult(Outcome.DONE, [1, 2.5, "x", None, True])
    assert shop.threads != [threading.get_ident()]


async def test_no_more_threads_run_than_configured():
    class Slow:
        running = most = 0
        lock = threading.Lock()
        both = threading.Barrier(2)

        def work(self, call: Call) -> None:
            with self.lock:
                self.running += 1
                self.most = max(self.most, self.running)
            self.both.wait(5)
            with self.lock:
                self.running -= 1

    slow = Slow()
    caller = PythonCaller(slow, threads_max=2)
    async with trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(caller.attempt, msgspec.structs.replace(CALL, action="work"))
    assert slow.most == 2


class Gated:
    """A plain method that says when it begins, and ends when it is told to."""

    def __init__(self) -> None:
        self.began, self.gate, self.ended = [threading.Event() for _ in range(3)]
        self.attempts: list[int] = []

    def work(self, call: Call) -> None:
        self.attempts.append(call.attempt)
        self.began.set()
        self.gate.wait(20)
        self.ended.set()


async def test_a_plain_method_that_takes_too_long_holds_up_nobody():
    service = Gated()
    async with trio.open_nursery() as nursery:
        call = msgspec.structs.replace(CALL, action="work")
        nursery.start_soon(PythonCaller(service).attempt, call)
        await trio.to_thread.run_sync(service.began.wait, 20)
        nursery.cancel_scope.cancel()
    has_ended = service.ended.is_set()
    service.gate.set()
    assert not has_ended


async def test_a_thread_that_nobody_waits_for_keeps_its_place():
    service = Gated()
    caller = PythonCaller(service, threads_max=1)
    for attempt in (1, 2):
        call = msgspec.structs.replace(CALL, action="work", attempt=attempt)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(caller.attempt, call)
            await trio.testing.wait_all_tasks_blocked()
            await trio.to_thread.run_sync(service.began.wait, 20)
            nursery.cancel_scope.cancel()
    begun = list(service.attempts)
    service.gate.set()
    assert begun == [1]


async def test_an_object_with_an_async_call_is_an_action():
    class Work:
        async def __call__(self, call: Call) -> int:
            return 7

    shop = Shop()
    shop.charge = Work()
    assert await PythonCaller(shop).attempt(CALL) == AttemptResult(Outcome.DONE, 7)


@pytest.mark.parametrize("action", ["missing", "_private", "__init__", "colour", "aclose"])
async def test_what_is_no_action_is_refused_for_good(action: str):
    result = await attempt(None, action)
    assert result.outcome is Outcome.NOT_DONE
    assert result.permanent
    assert result.error == f"Shop has no action {action!r}"


async def test_a_refusal_is_permanent():
    expected = AttemptResult(
        Outcome.NOT_DONE, error="declined", permanent=True, rule="ServiceRefused"
    )
    assert await attempt(ServiceRefused("declined")) == expected


@pytest.mark.parametrize(
    ("wish_s", "kept_s"),
    [(None, None), (5, 5.0), (-1, 0.0), (1e9, limits.RETRY_AFTER_S_MAX), (float("nan"), None)],
)
async def test_unavailable_is_not_done_and_says_when(wish_s: float | None, kept_s: float | None):
    result = await attempt(ServiceUnavailable("busy", retry_after_s=wish_s))
    is_away = kept_s is None  # one that asks us to come later is there
    assert result == AttemptResult(
        Outcome.NOT_DONE,
        error="busy",
        retry_after_s=kept_s,
        is_unreachable=is_away,
        rule="ServiceUnavailable",
    )


async def test_any_other_exception_is_unknown_and_logged(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.ERROR):
        result = await attempt(KeyError("x"))
    assert result == AttemptResult(Outcome.UNKNOWN, error="KeyError: 'x'", rule="exception")
    assert [record.exc_info is not None for record in caplog.records] == [True]
    fields = caplog.records[0].__dict__
    assert (fields["saga"], fields["step"]) == (CALL.saga_id, CALL.step_id)
    assert (fields["service"], fields["attempt"]) == (CALL.service, CALL.attempt)
    assert len(fields["traceId"]) == 32


@pytest.mark.parametrize("error", [SystemExit(3), asyncio.CancelledError()])
async def test_a_service_that_wants_to_end_the_program_ends_its_attempt_only(error: BaseException):
    class Rash:
        async def charge(self, call: Call) -> object:
            raise error

        def in_thread(self, call: Call) -> object:
            raise error

    for action in ("charge", "in_thread"):
        call = msgspec.structs.replace(CALL, action=action)
        result = await PythonCaller(Rash()).attempt(call)
        assert result.outcome is Outcome.UNKNOWN
        assert result.error.startswith(type(error).__name__)


@pytest.mark.parametrize("error", [ServiceRefused, ServiceUnavailable, ValueError])
async def test_an_error_of_a_sensitive_step_is_told_without_its_values(
    error: type[Exception], caplog: pytest.LogCaptureFixture
):
    call = msgspec.structs.replace(CALL, payload={"card": "4929-1111"}, sensitive=("/card",))
    result = await PythonCaller(Shop(error("card 4929-1111 is declined"))).attempt(call)
    assert result.error.endswith("card [redacted] is declined")
    assert "4929" not in caplog.text
    if error is ValueError:
        assert "raised ValueError" in caplog.text
        assert "in charge" in caplog.text


async def test_an_error_is_cut_at_its_limit():
    result = await attempt(ServiceRefused("x" * 5000))
    assert len(result.error) == limits.ERROR_CHARS_MAX


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ((1, (2,)), [1, [2]]),
        ({1: "a"}, {"1": "a"}),
        (Receipt((1, 2)), {"lines": [1, 2]}),
        (Outcome.DONE, "done"),
        (b"ab", "YWI="),
        ((1 << 64) - 1, (1 << 64) - 1),
        (-(1 << 63), -(1 << 63)),
        (1.5e308, 1.5e308),
    ],
)
async def test_what_json_has_a_form_for_is_kept_in_that_form(value: object, kept: object):
    assert await attempt(value) == AttemptResult(Outcome.DONE, kept)


def nested(depth: int) -> object:
    value: object = 0
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        {"a": [float("inf")]},
        (float("nan"),),
        1 << 64,
        {"a": [-(1 << 63) - 1]},
        "\ud800",
        {"\udc00": 1},
        object(),
        nested(limits.JSON_DEPTH_MAX + 1),
        nested(100_000),
        "x" * (limits.REPLY_BYTES_MAX - 1),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_a_value_that_cannot_be_kept_is_unknown(value: object):
    result = await attempt(value)
    assert result.outcome is Outcome.UNKNOWN
    assert "the reply" in result.error


async def test_a_value_at_the_limits_is_kept():
    for value in (nested(limits.JSON_DEPTH_MAX), "x" * (limits.REPLY_BYTES_MAX - 2)):
        assert await attempt(value) == AttemptResult(Outcome.DONE, value)


async def test_cancelling_an_attempt_cancels_the_method():
    with trio.move_on_after(0) as scope:
        await attempt(None, "forever")
    assert scope.cancelled_caught


async def test_closing_closes_the_service():
    shop = Shop()
    await PythonCaller(shop).aclose()
    assert shop.closed
    await PythonCaller(object()).aclose()
