from __future__ import annotations

import re
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from email.utils import formatdate

import msgspec
import pytest
import trio
import trio.testing
from http_peer import Script, Visit, open_peer

from sagakeep import limits
from sagakeep.classification import StatusRule
from sagakeep.errors import ConfigurationError
from sagakeep.http.caller import HttpCaller
from sagakeep.service import AttemptResult, Call, Outcome

CALL = Call(
    saga_id="s-1",
    saga_name="order",
    step_id="pay",
    service="payment",
    action="charge",
    phase="action",
    attempt=2,
    idempotency_key="s-1/pay/action/1",
    payload={"amount": 5},
    timeout_s=30.0,
)
NOW_UTC_S = 1_800_000_000.0


@asynccontextmanager
async def open_caller(url: str, **options: object) -> AsyncIterator[HttpCaller]:
    caller = HttpCaller(url, connections_max=4, utc_now=lambda: NOW_UTC_S, **options)
    try:
        with trio.fail_after(10):
            yield caller
    finally:
        await caller.aclose()


async def attempt_at(script: Script, call: Call = CALL, **options: object) -> AttemptResult:
    async with open_peer(script) as url, open_caller(url, **options) as caller:
        return await caller.attempt(call)


async def learned(status: int, body: bytes = b"", *fields: str, **options: object) -> AttemptResult:
    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.reply(status, body, *fields)

    return await attempt_at(script, **options)


def what(result: AttemptResult) -> tuple[Outcome, bool]:
    return result.outcome, result.permanent


DONE = (Outcome.DONE, False)
UNKNOWN = (Outcome.UNKNOWN, False)
LATER = (Outcome.NOT_DONE, False)
REFUSED = (Outcome.NOT_DONE, True)


async def request_of(call: Call, **options: object) -> tuple[str, dict[str, str], bytes]:
    seen = []

    async def script(visit: Visit) -> None:
        seen.append(await visit.request())
        await visit.reply(204)

    await attempt_at(script, call, **options)
    return seen[0]


async def test_a_request_carries_the_payload_and_what_identifies_the_call():
    line, headers, body = await request_of(CALL)
    assert line == "POST /charge HTTP/1.1"
    assert body == b'{"amount":5}'
    assert headers["content-type"] == headers["accept"] == "application/json"
    assert headers["idempotency-key"] == "s-1/pay/action/1"
    named = {name: value for name, value in headers.items() if name.startswith("saga-")}
    assert named == {
        "saga-id": "s-1",
        "saga-name": "order",
        "saga-step": "pay",
        "saga-attempt": "2",
        "saga-phase": "action",
    }


async def traceparent_of(**more: object) -> str:
    _, headers, _ = await request_of(msgspec.structs.replace(CALL, **more))
    return headers["traceparent"]


async def test_a_saga_without_a_trace_makes_one_in_which_each_attempt_has_its_place():
    first = await traceparent_of()
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01", first)
    assert await traceparent_of() == first  # also after a restart
    again, undo = await traceparent_of(attempt=3), await traceparent_of(idempotency_key="s-1/pay/x")
    assert len({first, again, undo}) == 3
    assert {one[:35] for one in (again, undo)} == {first[:35]}
    assert (await traceparent_of(saga_id="s-2"))[:35] != first[:35]


async def test_a_compensation_says_what_is_known_of_the_action():
    undo = {"phase": "compensation", "outcome": Outcome.UNKNOWN, "traceparent": "00-a-b-01"}
    undo |= {"idempotency_key": "s-1/pay/compensation/1", "action_key": "s-1/pay/action/2"}
    _, headers, _ = await request_of(msgspec.structs.replace(CALL, **undo))
    assert headers["idempotency-key"] == "s-1/pay/compensation/1"
    assert headers["saga-action-key"] == "s-1/pay/action/2"
    assert headers["saga-phase"] == "compensation"
    assert headers["saga-step-outcome"] == "unknown"
    assert headers["traceparent"] == "00-a-b-01"


async def test_a_probe_names_the_action_that_it_asks_about():
    probe = {"phase": "probe", "outcome": Outcome.UNKNOWN, "action_key": CALL.idempotency_key}
    _, headers, _ = await request_of(msgspec.structs.replace(CALL, **probe))
    assert headers["saga-action-key"] == headers["idempotency-key"] == CALL.idempotency_key
    assert "saga-step-outcome" not in headers


async def test_a_configured_header_goes_with_every_request():
    _, headers, _ = await request_of(CALL, headers={"Authorization": "Bearer x", "User-Agent": "y"})
    assert headers["authorization"] == "Bearer x"
    assert headers["user-agent"] == "y"


async def test_a_2xx_is_done_and_its_body_the_result():
    result = await learned(201, b'{"chargeId": "c-1"}')
    assert result == AttemptResult(Outcome.DONE, {"chargeId": "c-1"})


@pytest.mark.parametrize("status", [200, 202, 204])
async def test_an_empty_2xx_is_done_without_a_result(status: int):
    assert await learned(status) == AttemptResult(Outcome.DONE)


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b"{",
        b"NaN",
        b"1e999",
        b'"\\ud800"',
        b'"\xff"',
        b"18446744073709551616",
        b"[" * 99,
    ],
)
async def test_a_2xx_that_is_not_storable_json_is_unknown(body: bytes):
    result = await learned(200, body)
    assert what(result) == UNKNOWN
    assert result.error.startswith("HTTP 200: the reply is not JSON") or "the reply" in result.error


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 409, 410, 413, 415, 422, 451, 499])
async def test_a_4xx_is_a_refusal_for_good(status: int):
    assert what(await learned(status)) == REFUSED


@pytest.mark.parametrize(
    "status", [408, 425, 500, 501, 502, 503, 504, 599, 300, 301, 302, 303, 307]
)
async def test_a_status_that_does_not_say_leaves_the_outcome_unknown(status: int):
    assert what(await learned(status)) == UNKNOWN


@pytest.mark.parametrize(("status", "outcome"), [(429, LATER), (503, LATER), (409, UNKNOWN)])
async def test_retry_after_sets_the_earliest_next_attempt(
    status: int, outcome: tuple[Outcome, bool]
):
    result = await learned(status, b"", "Retry-After: 7")
    assert what(result) == outcome
    assert result.retry_after_s == 7.0


async def test_429_without_retry_after_is_not_done_and_retryable():
    result = await learned(429)
    assert what(result) == LATER
    assert result.retry_after_s is None


@pytest.mark.parametrize(
    ("wish", "wish_s"),
    [
        ("0", 0.0),
        (str(int(limits.RETRY_AFTER_S_MAX)), limits.RETRY_AFTER_S_MAX),
        (str(int(limits.RETRY_AFTER_S_MAX) + 1), limits.RETRY_AFTER_S_MAX),
        ("9" * 400, limits.RETRY_AFTER_S_MAX),
        (formatdate(NOW_UTC_S + 90, usegmt=True), 90.0),
        (formatdate(NOW_UTC_S - 90, usegmt=True), 0.0),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
    ],
)
async def test_retry_after_is_read_and_capped(wish: str, wish_s: float | None):
    result = await learned(429, b"", f"Retry-After: {wish}")
    assert result.retry_after_s == wish_s


async def test_a_retry_after_date_is_read_against_the_clock_of_the_service():
    skewed = NOW_UTC_S - 86_400
    fields = [f"Date: {formatdate(skewed)}", f"Retry-After: {formatdate(skewed + 20)}"]
    assert (await learned(503, b"", *fields)).retry_after_s == 20.0


async def test_an_operator_overrides_the_table_by_status_code():
    rules = {
        404: StatusRule(Outcome.DONE),
        500: StatusRule(Outcome.NOT_DONE),
        200: StatusRule(Outcome.NOT_DONE, permanent=True),
    }
    assert await learned(404, status_outcomes=rules) == AttemptResult(Outcome.DONE)
    assert what(await learned(500, status_outcomes=rules)) == LATER
    assert what(await learned(200, status_outcomes=rules)) == REFUSED
    assert what(await learned(422, status_outcomes=rules)) == REFUSED


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b'{"title": "Declined", "detail": "card expired"}', "HTTP 422: card expired"),
        (b'{"title": "Declined"}', "HTTP 422: Declined"),
        (b'{"detail": 7}', 'HTTP 422: {"detail": 7}'),
        (b"no\r\n\x1b[31mmoney", "HTTP 422: no ?[31mmoney"),
        (b"x" * 999, "HTTP 422: " + "x" * 200),
        (b"", "HTTP 422: Unprocessable Entity"),
    ],
)
async def test_an_error_tells_what_the_service_told(body: bytes, error: str):
    assert (await learned(422, body)).error == error


async def test_an_error_is_cut_at_its_limit():
    detail = b'{"detail": "' + b"y" * 5000 + b'"}'
    assert len((await learned(422, detail)).error) == limits.ERROR_CHARS_MAX


async def test_a_reply_may_be_as_long_as_the_limit_and_no_longer():
    longest = b'"' + b"a" * (limits.REPLY_BYTES_MAX - 2) + b'"'
    assert what(await learned(200, longest)) == DONE
    result = await learned(200, longest + b" ")
    assert what(result) == UNKNOWN
    assert str(limits.REPLY_BYTES_MAX) in result.error


@pytest.mark.parametrize("status", [200, 422])
async def test_an_endless_reply_is_cut_off_while_it_streams(status: int):
    cut = trio.Event()

    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.say(b"HTTP/1.1 %d X\r\nTransfer-Encoding: chunked\r\n\r\n" % status)
        try:
            while True:
                await visit.say(b"10000\r\n" + b"x" * 65536 + b"\r\n")
        except trio.BrokenResourceError:
            cut.set()

    async with open_peer(script) as url, open_caller(url) as caller:
        assert what(await caller.attempt(CALL)) == UNKNOWN
        await cut.wait()


async def test_endless_headers_are_cut_off():
    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.say(b"HTTP/1.1 200 OK\r\n")
        while True:
            await visit.say(b"A: " + b"x" * 65536 + b"\r\n")

    assert what(await attempt_at(script)) == UNKNOWN


async def test_a_compressed_reply_is_not_inflated():
    assert what(await learned(200, b"\x1f\x8b\x08", "Content-Encoding: gzip")) == UNKNOWN


async def test_a_redirect_is_not_followed():
    followed = []

    async def elsewhere(visit: Visit) -> None:
        followed.append(await visit.request())

    async with open_peer(elsewhere) as other:
        result = await learned(307, b"", f"Location: {other}/x")
    assert (followed, what(result)) == ([], UNKNOWN)
    assert result.error == "HTTP 307: a redirect is not followed"


async def test_a_cookie_is_not_sent_back():
    cookies = []

    async def script(visit: Visit) -> None:
        for _ in range(2):
            _, headers, _ = await visit.request()
            cookies.append(headers.get("cookie"))
            await visit.reply(204, b"", "Set-Cookie: a=b; Path=/")

    async with open_peer(script) as url, open_caller(url) as caller:
        await caller.attempt(CALL)
        await caller.attempt(CALL)
    assert cookies == [None, None]


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
async def test_a_proxy_of_the_environment_is_not_used(name: str, monkeypatch: pytest.MonkeyPatch):
    async def proxy(visit: Visit) -> None:
        await visit.request()
        await visit.reply(418)

    async with open_peer(proxy) as url:
        monkeypatch.setenv(name, url)
        assert await learned(204) == AttemptResult(Outcome.DONE)


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
async def test_a_proxy_of_the_environment_is_not_used_for_https(
    name: str, monkeypatch: pytest.MonkeyPatch
):
    visits = []

    async def proxy(visit: Visit) -> None:
        visits.append(visit)

    async with open_peer(proxy) as url:
        monkeypatch.setenv(name, url)
        async with open_caller("https://127.0.0.1:1") as caller:
            result = await caller.attempt(CALL)
    assert (visits, what(result)) == ([], LATER)


@contextmanager
def bound_port() -> Iterator[int]:
    """A port that nobody listens at, kept from others."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


async def test_a_refused_connection_is_not_done():
    with bound_port() as port:
        async with open_caller(f"http://127.0.0.1:{port}") as caller:
            result = await caller.attempt(CALL)
    assert what(result) == LATER
    assert "refused" in result.error


async def test_an_unknown_name_is_not_done():
    async with open_caller("http://nobody.invalid") as caller:
        result = await caller.attempt(CALL)
    assert what(result) == LATER
    assert "dns error" in result.error


async def test_a_connect_that_is_not_answered_is_unknown():
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        crowd = [socket.socket() for _ in range(3)]
        for one in crowd:
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        url = f"http://127.0.0.1:{full.getsockname()[1]}"
        async with open_caller(url, connect_s_max=0.1) as caller:
            result = await caller.attempt(CALL)
        for one in crowd:
            one.close()
    assert what(result) == UNKNOWN
    assert result.error == "timeout while connecting"


async def reset_at_once(visit: Visit) -> None:
    visit.reset_at_close()


async def reset_after_the_request(visit: Visit) -> None:
    await visit.request()
    visit.reset_at_close()


async def close_after_the_request(visit: Visit) -> None:
    await visit.request()


async def cut_the_reply(visit: Visit) -> None:
    await visit.request()
    await visit.say(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{}")


async def reset_in_the_reply(visit: Visit) -> None:
    await cut_the_reply(visit)
    visit.reset_at_close()


async def cut_a_refusal(visit: Visit) -> None:
    await visit.request()
    await visit.say(b"HTTP/1.1 422 X\r\nContent-Length: 99\r\n\r\n{}")


async def speak_another_protocol(visit: Visit) -> None:
    await visit.request()
    await visit.say(b"SSH-2.0-x\r\n")


@pytest.mark.parametrize(
    "script",
    [
        reset_at_once,
        reset_after_the_request,
        close_after_the_request,
        cut_the_reply,
        reset_in_the_reply,
        cut_a_refusal,
        speak_another_protocol,
    ],
)
async def test_a_connection_that_breaks_leaves_the_outcome_unknown(script: Script):
    visits = []

    async def counted(visit: Visit) -> None:
        visits.append(visit)
        await script(visit)

    result = await attempt_at(counted)
    assert what(result) == UNKNOWN
    assert "http://" not in result.error
    assert len(visits) == 1


async def test_a_reset_is_unknown_at_whatever_instant_it_comes():
    async with open_peer(reset_at_once) as url, open_caller(url) as caller:
        for _ in range(300):
            assert what(await caller.attempt(CALL)) == UNKNOWN


@pytest.mark.parametrize("reset", [False, True])
async def test_a_request_on_a_pooled_connection_that_breaks_is_not_sent_again(reset: bool):
    requests = []

    async def script(visit: Visit) -> None:
        requests.append(await visit.request())
        await visit.reply(204)
        requests.append(await visit.request())
        if reset:
            visit.reset_at_close()

    async with open_peer(script) as url, open_caller(url) as caller:
        assert what(await caller.attempt(CALL)) == DONE
        assert what(await caller.attempt(CALL)) == UNKNOWN
    assert len(requests) == 2


async def test_a_service_that_closes_idle_connections_sees_no_request_twice():
    """The closing races with the next request: whoever wins, a request arrives at most once."""
    seen: list[str] = []

    async def script(visit: Visit) -> None:
        for _ in range(1 + len(seen) % 3):
            line, _, _ = await visit.request()
            seen.append(line)
            await visit.reply(204)

    async with open_peer(script) as url, open_caller(url) as caller:
        for index in range(300):
            result = await caller.attempt(msgspec.structs.replace(CALL, action=f"a{index}"))
            assert result.outcome in (Outcome.DONE, Outcome.UNKNOWN)
    assert len(seen) == len(set(seen))


@pytest.mark.parametrize("status", [200, 422, 503])
@pytest.mark.parametrize("body", [b"", b"{}", b'"' + b"x" * 300_000 + b'"'], ids=len)
async def test_a_connection_is_used_again_whatever_the_reply(status: int, body: bytes):
    visits = []

    async def script(visit: Visit) -> None:
        visits.append(visit)
        while True:
            await visit.request()
            await visit.reply(status, body)

    async with open_peer(script) as url, open_caller(url) as caller:
        for _ in range(5):
            assert what(await caller.attempt(CALL)) != LATER
    assert len(visits) == 1


async def test_a_reply_of_unknown_length_is_read_to_its_end():
    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.say(b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n[1\r\n")
        await visit.say(b"1\r\n]\r\n0\r\n\r\n")

    assert await attempt_at(script) == AttemptResult(Outcome.DONE, [1])


async def test_no_more_attempts_are_on_the_wire_than_configured():
    gate = trio.Event()
    on_the_wire, most = 0, 0

    async def script(visit: Visit) -> None:
        nonlocal on_the_wire, most
        while True:
            await visit.request()
            on_the_wire += 1
            most = max(most, on_the_wire)
            if on_the_wire == 4:
                gate.set()
            await gate.wait()
            on_the_wire -= 1
            await visit.reply(204)

    async with open_peer(script) as url, open_caller(url) as caller, trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(caller.attempt, CALL)
    assert most == 4  # what comes beyond waits for one of these


@pytest.mark.parametrize("begun", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"])
async def test_cancelling_an_attempt_closes_its_connection(begun: bytes):
    asked, gone = trio.Event(), trio.Event()

    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.say(begun)
        asked.set()
        await visit.wait_gone()
        gone.set()

    async with open_peer(script) as url, open_caller(url) as caller:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(caller.attempt, CALL)
            await asked.wait()
            await trio.testing.wait_all_tasks_blocked(0.02)
            nursery.cancel_scope.cancel()
        await gone.wait()


async def test_a_request_that_cannot_be_made_is_refused():
    async with open_caller("http://127.0.0.1:1") as caller:
        for change in ({"idempotency_key": "a\r\nb: c"}, {"payload": object()}):
            result = await caller.attempt(msgspec.structs.replace(CALL, **change))
            assert what(result) == REFUSED


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:9001",
        "ftp://host",
        "http://",
        "http://user:secret@host",
        "http://host?a=b",
        "http://host#a",
        "http://host:99999",
    ],
)
def test_a_url_that_is_not_one_of_a_service_is_refused(url: str):
    with pytest.raises(ConfigurationError) as caught:
        HttpCaller(url, connections_max=1)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("headers", [{"Saga-Id": "x"}, {"Accept": "x"}, {"a b": "x"}, {"a": "x\n"}])
def test_a_configured_header_that_breaks_the_protocol_is_refused(headers: dict[str, str]):
    with pytest.raises(ConfigurationError):
        HttpCaller("http://host", connections_max=1, headers=headers)


async def test_an_error_repeats_no_sensitive_value_and_no_credential():
    call = msgspec.structs.replace(
        CALL, payload={"card": "4929-1111", "amount": 5}, sensitive=("/card",)
    )
    secret = "token-of-ours"

    async def script(visit: Visit) -> None:
        _, headers, body = await visit.request()
        said = body + headers["authorization"].encode()
        await visit.reply(500, b"x" * 195 + said)  # so that a secret would be cut

    result = await attempt_at(script, call, headers={"Authorization": f"Bearer {secret}"})
    assert "492" not in result.error
    assert "tok" not in result.error

    async def explain(visit: Visit) -> None:
        _, headers, body = await visit.request()
        detail = f"no {body.decode()} with {headers['authorization'].split()[1]}"
        await visit.reply(422, msgspec.json.encode({"detail": detail}))

    result = await attempt_at(explain, call, headers={"Authorization": f"Bearer {secret}"})
    assert result.error == 'HTTP 422: no {"card":"[redacted]","amount":5} with [redacted]'
