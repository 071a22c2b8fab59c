from __future__ import annotations

import sqlite3

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from sagakeep import limits
from sagakeep.demo.barrier import Deed
from sagakeep.demo.ledger import _Work, read_ledger
from sagakeep.demo.services import AMOUNT_MAX, QUANTITY_MAX, TIMES_MAX, demo_services
from sagakeep.python_caller import PythonCaller
from sagakeep.service import Call, Outcome, ServiceRefused, ServiceUnavailable

NAMES = {
    "inventory": ("reserve", "release", "reservationId", "released"),
    "payment": ("charge", "refund", "chargeId", "refunded"),
    "shipping": ("ship", "cancel", "trackingNumber", "cancelled"),
}


def call_of(
    action,
    service="payment",
    *,
    phase="action",
    payload=None,
    epoch=1,
    saga="s-1",
    about=None,
    outcome=None,
):
    kind = "compensation" if phase == "compensation" else "action"
    return Call(
        saga_id=saga,
        saga_name="order",
        step_id="pay",
        service=service,
        action=action,
        phase=phase,
        attempt=1,
        idempotency_key=f"{saga}/pay/{kind}/{epoch}",
        payload={} if payload is None else payload,
        timeout_s=30.0,
        outcome=outcome,
        action_key=f"{saga}/pay/action/{epoch if about is None else about}",
    )


def undo_of(action, service="payment", **more):
    return call_of(action, service, phase="compensation", **more)


async def do(services, call):
    return await getattr(services[call.service], call.action)(call)


@pytest.fixture
async def services(tmp_path):
    services = demo_services(str(tmp_path))
    yield services
    for service in services.values():
        await service.aclose()


def states(tmp_path):
    return [(entry.key, entry.state) for entry in read_ledger(str(tmp_path))]


# Actions


@pytest.mark.parametrize("service", NAMES)
async def test_an_action_is_done_and_undone(services, tmp_path, service):
    action, undo, id_name, undone_as = NAMES[service]
    result = await do(services, call_of(action, service))
    assert result[id_name]
    undone = await do(services, undo_of(undo, service))
    assert undone == {**result, undone_as: True}
    assert states(tmp_path) == [
        ("s-1/pay/action/1", "undone"),
        ("s-1/pay/compensation/1", "done"),
    ]


async def test_the_results_say_what_was_ordered(services):
    order = {"productId": "prod_123", "quantity": 2, "note": "kept elsewhere"}
    reserved = await do(services, call_of("reserve", "inventory", payload=order))
    assert {**reserved, "reservationId": ""} == {
        "reservationId": "",
        "productId": "prod_123",
        "quantity": 2,
    }
    charge = {"amount": 99.99, "currency": "USD"}
    charged = await do(services, call_of("charge", payload=charge, saga="s-2"))
    assert (charged["amount"], charged["currency"]) == (99.99, "USD")
    shipped = await do(
        services, call_of("ship", "shipping", payload={"address": ["x"]}, saga="s-3")
    )
    assert shipped["address"] == ["x"]


async def test_a_repeated_key_is_done_once(services, tmp_path):
    first = await do(services, call_of("charge", payload={"amount": 5}))
    again = await do(services, call_of("charge", payload={"amount": 7}))
    assert again == first
    assert len(read_ledger(str(tmp_path))) == 1


async def test_the_same_key_at_the_same_time_is_done_once(services, tmp_path):
    results = []

    async def charge():
        results.append(await do(services, call_of("charge")))

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(charge)
    assert len({result["chargeId"] for result in results}) == 1
    assert len(read_ledger(str(tmp_path))) == 1


async def test_the_ledger_outlives_the_services(tmp_path, services):
    first = await do(services, call_of("charge"))
    later = demo_services(str(tmp_path))
    assert await do(later, call_of("charge")) == first
    await later["payment"].aclose()


@pytest.mark.parametrize(
    ("service", "action", "payload", "fault"),
    [
        ("payment", "charge", [], "the payload is an array; expected an object"),
        ("payment", "charge", {"amount": -0.01}, "amount is the number -0.01; expected a number"),
        ("payment", "charge", {"amount": AMOUNT_MAX * 2}, "amount is the number 2000000000000.0;"),
        ("payment", "charge", {"amount": "5"}, 'amount is the string "5"; expected a number'),
        ("payment", "charge", {"amount": True}, "amount is true; expected a number"),
        ("payment", "charge", {"currency": 5}, "currency is the number 5; expected a string"),
        ("inventory", "reserve", {"quantity": 0}, "quantity is the number 0; expected a whole"),
        ("inventory", "reserve", {"quantity": QUANTITY_MAX + 1}, "quantity is the number 1000001"),
        ("inventory", "reserve", {"quantity": 1.5}, "quantity is the number 1.5; expected a whole"),
        ("inventory", "reserve", {"quantity": True}, "quantity is true; expected a whole number"),
        ("inventory", "reserve", {"productId": 0, "quantity": 0}, "productId is the number 0;"),
        ("shipping", "ship", "home", 'the payload is the string "home"; expected an object'),
        ("payment", "flaky", {"times": TIMES_MAX + 1}, "times is the number 1001; expected a"),
        ("payment", "flaky", {"times": -1}, "times is the number -1; expected a whole number"),
        ("payment", "wait", {"seconds": -1}, "seconds is the number -1; expected a number"),
        ("payment", "wait", {"seconds": "long"}, 'seconds is the string "long"; expected'),
    ],
)
async def test_a_bad_payload_is_refused(services, tmp_path, service, action, payload, fault):
    with pytest.raises(ServiceRefused) as caught:
        await do(services, call_of(action, service, payload=payload))
    assert str(caught.value).startswith(fault)
    assert states(tmp_path) == [("s-1/pay/action/1", "refused")]


# Fail, flaky, wait


@pytest.mark.parametrize("service", NAMES)
async def test_fail_always_refuses(services, service):
    for call in (call_of("fail", service), call_of("fail", service), undo_of("fail", service)):
        with pytest.raises(ServiceRefused, match=rf"{service}\.fail always refuses"):
            await do(services, call)


async def test_flaky_is_unavailable_so_often_for_each_key_also_after_a_restart(services, tmp_path):
    flaky = call_of("flaky", payload={"times": 2})
    with pytest.raises(ServiceUnavailable, match="1 of 2"):
        await do(services, flaky)
    later = demo_services(str(tmp_path))
    with pytest.raises(ServiceUnavailable, match="2 of 2"):
        await do(later, flaky)
    assert (await do(later, flaky))["chargeId"]
    with pytest.raises(ServiceUnavailable, match="1 of 2"):
        await do(later, call_of("flaky", payload={"times": 2}, epoch=2))
    await later["payment"].aclose()


async def test_flaky_may_be_an_undo(services, tmp_path):
    await do(services, call_of("charge"))
    undo = undo_of("flaky", payload={"times": 1})
    with pytest.raises(ServiceUnavailable):
        await do(services, undo)
    assert ("s-1/pay/action/1", "done") in states(tmp_path)
    assert (await do(services, undo))["refunded"] is True
    assert ("s-1/pay/action/1", "undone") in states(tmp_path)


async def test_any_number_waits_at_once(services, autojump_clock):
    began_s = trio.current_time()
    results = []

    async def wait(saga):
        call = call_of("wait", "shipping", payload={"seconds": 30}, saga=saga)
        results.append(await do(services, call))

    async with trio.open_nursery() as nursery:
        for at in range(2_000):
            nursery.start_soon(wait, f"s-{at}")
    assert len(results) == 2_000
    assert 30 <= trio.current_time() - began_s < 31
    assert services["shipping"].max_concurrency >= limits.LIVE_SAGAS_MAX


async def test_a_wait_that_is_cut_short_has_done_nothing(services, tmp_path, autojump_clock):
    with trio.move_on_after(5):
        await do(services, call_of("wait", payload={"seconds": 10}))
    await do(services, undo_of("refund"))
    assert states(tmp_path) == [
        ("s-1/pay/action/1", "barred"),
        ("s-1/pay/compensation/1", "done"),
    ]


# The barrier


async def test_an_undo_without_its_action_bars_it(services, tmp_path):
    assert await do(services, undo_of("refund")) == {"refunded": False}
    with pytest.raises(ServiceRefused, match="too late: s-1/pay/compensation/1 came before it"):
        await do(services, call_of("charge"))
    assert ("s-1/pay/action/1", "barred") in states(tmp_path)
    assert (await do(services, call_of("charge", epoch=2)))["chargeId"]


async def test_an_action_that_was_unavailable_is_barred_by_its_undo(services, tmp_path):
    flaky = call_of("flaky", payload={"times": 1})
    with pytest.raises(ServiceUnavailable):
        await do(services, flaky)
    assert await do(services, undo_of("refund")) == {"refunded": False}
    with pytest.raises(ServiceRefused, match="too late"):
        await do(services, flaky)
    assert (await do(services, call_of("charge", epoch=2)))["chargeId"]


async def test_an_undo_bars_the_action_that_it_names_and_no_other(services, tmp_path):
    """An operator's retry has made the action anew, under a second key; that one is late, and undone first."""
    with pytest.raises(ServiceRefused):
        await do(services, call_of("fail"))
    assert await do(services, undo_of("refund", about=2)) == {"refunded": False}
    with pytest.raises(ServiceRefused, match="too late: s-1/pay/compensation/1 came before it"):
        await do(services, call_of("charge", epoch=2))
    assert (await do(services, call_of("charge", epoch=3)))["chargeId"]
    with pytest.raises(ServiceRefused, match="it was refused before"):
        await do(services, call_of("charge"))


async def test_an_undo_after_a_refusal_bars_nothing_else(services, tmp_path):
    with pytest.raises(ServiceRefused):
        await do(services, call_of("fail"))
    assert await do(services, undo_of("refund")) == {"refunded": False}
    assert (await do(services, call_of("charge", epoch=2)))["chargeId"]
    assert ("s-1/pay/action/1", "refused") in states(tmp_path)


async def test_an_undo_of_what_was_done_for_certain_is_not_empty(services):
    assert await do(services, undo_of("refund", outcome=Outcome.DONE)) == {"refunded": True}
    with pytest.raises(ServiceRefused, match="too late: it was undone"):
        await do(services, call_of("charge"))


async def test_an_action_that_was_undone_is_not_done_again_under_its_key(services):
    await do(services, call_of("charge"))
    undone = await do(services, undo_of("refund"))
    with pytest.raises(ServiceRefused, match="too late: it was undone by s-1/pay/compensation/1"):
        await do(services, call_of("charge"))
    assert await do(services, undo_of("refund")) == undone


async def test_a_saga_that_is_retried_does_and_undoes_a_new_effect(services, tmp_path):
    await do(services, call_of("charge"))
    await do(services, undo_of("refund"))
    await do(services, call_of("charge", epoch=2))
    assert (await do(services, undo_of("refund", epoch=2)))["refunded"] is True
    assert [state for _, state in states(tmp_path)] == ["undone", "done", "undone", "done"]


async def test_services_and_sagas_do_not_undo_each_other(services, tmp_path):
    await do(services, call_of("charge"))
    await do(services, undo_of("release", "inventory", saga="s-2"))
    assert ("s-1/pay/action/1", "done") in states(tmp_path)


async def test_a_probe_tells_what_happened(services):
    result = await do(services, call_of("charge"))
    probe = call_of("charge_status", phase="probe")
    assert await do(services, probe) == {"outcome": "done", "result": result}
    await do(services, undo_of("refund"))
    assert await do(services, probe) == {"outcome": "not_done"}


async def test_a_probe_that_found_nothing_bars_the_action(services):
    assert await do(services, call_of("status", phase="probe")) == {"outcome": "not_done"}
    with pytest.raises(ServiceRefused, match="too late: a probe came before it"):
        await do(services, call_of("charge"))


async def test_status_is_no_action(services):
    with pytest.raises(ServiceRefused, match="status answers probes only"):
        await do(services, call_of("status"))


# The file


async def test_a_call_that_is_cancelled_while_others_are_entered_loses_none(services, tmp_path):
    results = []

    async def charge(saga):
        results.append(await do(services, call_of("charge", saga=saga)))

    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:
            scope.cancel()
            nursery.start_soon(charge, "s-1")
            await do(services, call_of("charge", saga="s-0"))
        nursery.start_soon(charge, "s-2")
    assert len(results) == 2


async def test_a_file_that_cannot_be_written_raises_and_heals(services, tmp_path):
    await do(services, call_of("charge", saga="s-0"))
    other = sqlite3.connect(tmp_path / "demo-ledger.sqlite", isolation_level=None)
    ledger = services["payment"]._ledger
    ledger._connection.execute("PRAGMA busy_timeout = 0")
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        await do(services, call_of("charge"))
    other.execute("ROLLBACK")
    other.close()
    await do(services, call_of("charge"))
    await wait_all_tasks_blocked()
    assert [state for _, state in states(tmp_path)] == ["done", "done"]


async def test_a_batch_that_fails_is_entered_not_at_all(services, tmp_path):
    await do(services, call_of("charge", saga="s-0"))
    other = sqlite3.connect(tmp_path / "demo-ledger.sqlite", isolation_level=None)
    other.execute("CREATE TRIGGER refuse BEFORE INSERT ON entries WHEN new.saga_id = 's-2'"
                  " BEGIN SELECT RAISE(ABORT, 'no room'); END")  # fmt: skip
    ledger = services["payment"]._ledger
    batch = [_Work(call_of("charge", saga=saga), Deed({}, "")) for saga in ("s-1", "s-2")]
    with pytest.raises(sqlite3.IntegrityError, match="no room"):
        await trio.to_thread.run_sync(ledger._transact, batch)
    other.close()
    assert [work.answer for work in batch] == [None, None]
    assert [key for key, _ in states(tmp_path)] == ["s-0/pay/action/1"]


async def test_a_service_takes_part_as_any_python_object_does(services):
    caller = PythonCaller(services["payment"])
    done = await caller.attempt(call_of("charge"))
    assert done.outcome is Outcome.DONE
    refused = await caller.attempt(call_of("fail", epoch=2))
    assert (refused.outcome, refused.permanent) == (Outcome.NOT_DONE, True)
    await caller.aclose()
    await caller.aclose()
