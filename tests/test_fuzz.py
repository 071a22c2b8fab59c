"""The fuzzers, shortly: that they run, find what is there, and say the same for the same seed."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from fuzz.attacks import ATTACKS
from fuzz.contract import fuzz_contract
from fuzz.raw import STATUSES, check_said, fuzz_raw
from fuzz.requests import Ending, Sent, make_sent
from fuzz.server import Broken, running_server

GOOD = Sent([b"GET / HTTP/1.1\r\n\r\n"], Ending.SHUT, True)
HEAD = b"HTTP/1.1 200 OK\r\nx-request-id: r\r\ncontent-length: 0\r\n\r\n"
PROBLEM = b"\r\nx-request-id: r\r\ncontent-type: application/problem+json\r\n\r\n{}"


def test_raw_requests_end_nothing(tmp_path: Path) -> None:
    counts = fuzz_raw(tmp_path / "raw", 300, seed=20261127)
    assert counts["requests"] == 300
    assert counts["200"] > 10
    assert counts["400"] > 50
    assert {int(key) for key in counts if key.isdigit()} <= STATUSES


def test_the_server_holds_to_its_document(tmp_path: Path) -> None:
    """Only its examples: `python -m fuzz contract` has the rest, which takes a minute."""
    counts = fuzz_contract(tmp_path / "contract", 1, seed=1, phases=["examples"])
    assert counts["201"] > 0


def test_a_client_is_made_of_its_seed_and_number_alone() -> None:
    assert [make_sent(7, number) for number in range(200)] == [make_sent(7, n) for n in range(200)]
    assert make_sent(7, 1) != make_sent(8, 1)


def test_every_attack_is_made() -> None:
    sent = {b"".join(make_sent(1, number).parts) for number in range(5_000)}
    assert {data.replace(b"Host: a", b"Host: localhost") for _, data in ATTACKS.values()} <= sent


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"HTTP/1.1 500 Internal Server Error" + PROBLEM,
        b"HTTP/1.1 502 Bad Gateway" + PROBLEM,
        b"HTTP/1.1 503 Service Unavailable" + PROBLEM,
        b"HTTP/1.1 400 Bad Request" + PROBLEM,
        b"HTTP/1.1 418 Teapot" + PROBLEM,
        b"HTTP/1.1 404 Not Found\r\nx-request-id: r\r\n\r\n",
        HEAD.replace(b"x-request-id", b"x-another-id"),
        HEAD + b"HTTP/1.1 500 Internal Server Error" + PROBLEM,
        b"junk" + HEAD,
    ],
)
def test_what_a_server_may_not_say_is_noticed(said: bytes) -> None:
    with pytest.raises(Broken):
        check_said(GOOD, said)


def test_what_a_server_may_say_is_not() -> None:
    assert check_said(GOOD, HEAD) == [200]
    bad = GOOD._replace(is_good=False)
    later = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1" + PROBLEM
    assert check_said(bad, HEAD + later) == [200, 503]
    assert check_said(bad, b"") == []


def test_a_server_that_ends_or_keeps_a_connection_or_logs_an_error_is_noticed(
    tmp_path: Path,
) -> None:
    with running_server(tmp_path / "ends") as server:
        server.process.kill()
        server.process.wait()
        with pytest.raises(Broken, match="ended with -9"):
            server.check_alive()
    with running_server(tmp_path / "keeps") as server:
        server.rest_s_max = 0.1
        server.check_rest()
        trio.run(_hold, server.port, server.check_rest)
        (tmp_path / "keeps" / "log").write_text(
            '{"level": "error", "message": "saga x is compensation_failed at step 1"}\n'
        )
        server.check_alive()
        (tmp_path / "keeps" / "log").write_text('{"level": "error"}\n')
        with pytest.raises(Broken, match="no request may cause"):
            server.end()


async def _hold(port: int, check: object) -> None:
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(b"GET /api/sagas/health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert await stream.receive_some()
        with pytest.raises(Broken, match="sockets are open"):
            await trio.to_thread.run_sync(check)
