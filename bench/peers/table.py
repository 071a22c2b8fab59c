"""The same sagas on each: two steps that do nothing, one in ten refused at the second and undone, 64 in flight.

By pairs that do the same work:

    in this process     sagakeep with a service in its process; DBOS on SQLite and on PostgreSQL, whose steps are
                        in its process too
    over HTTP           sagakeep with a service in another process; Restate, whose server calls a service in
                        another process

All of them keep each step durably as they do by default. What cannot be installed says so in its row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import trio

from bench.benchmark import Numbers, Progress, Scale, work_directory
from bench.connection import Connection, open_connections
from bench.load import on_each, seconds_of
from bench.peers.environment import (
    NotInstalled,
    cache_directory,
    python_of,
    restate_server_of,
)
from bench.peers.postgres import open_postgres
from bench.peers.restate_server import open_restate, run_order
from bench.processes import open_python
from bench.provenance import ROOT
from bench.sagas import REFUSED_EVERY, Nothing, check_ends, run_sagas
from sagakeep.http.caller import HttpCaller
from sagakeep.orchestrator import Orchestrator, ServiceSpec, open_orchestrator
from sagakeep.state import SagaStatus

SCALE: Final = Scale(2_000)
IN_FLIGHT: Final = 64
PEER_S_MAX: Final = 3_600.0
DBOS_SAGAS: Final = str(ROOT / "bench" / "peers" / "dbos_sagas.py")


class Peers(NamedTuple):
    """How many sagas, and where the peers are installed."""

    sagas: int
    cache: Path


class Ended(msgspec.Struct):
    """What a peer says of its run."""

    seconds: float
    ends: dict[SagaStatus, int]


async def measure(scale: Scale, progress: Progress) -> Numbers:
    """Raises when a saga did not end as it must; a peer that cannot be installed is a row without a number."""
    peers = Peers(scale.sagas, cache_directory())
    progress.expect(len(PEERS))
    rows: list[Numbers] = []
    for name, run in PEERS.items():
        try:
            seconds = await run(peers)
            rate = round(scale.sagas / seconds, 1)
            rows.append({"name": name, "sagas_per_second": rate, "seconds": round(seconds, 2)})
        except NotInstalled as error:
            rows.append({"name": name, "why_not": str(error)})
        progress(1)
    return {"sagas": scale.sagas, "in_flight": IN_FLIGHT, "rows": rows}


async def run_sagakeep(peers: Peers) -> float:
    with work_directory() as directory:
        async with open_orchestrator(directory, {"nothing": Nothing()}) as orchestrator:
            return await _run_here(orchestrator, "nothing", peers.sagas)


async def run_sagakeep_over_http(peers: Peers) -> float:
    with work_directory() as directory:
        async with open_python("-m", "bench.tiny_service") as service:
            caller = HttpCaller(f"http://127.0.0.1:{service.port}", connections_max=IN_FLIGHT)
            spec = ServiceSpec(caller, IN_FLIGHT)
            async with open_orchestrator(directory, {"tiny": spec}) as orchestrator:
                return await _run_here(orchestrator, "tiny", peers.sagas)


async def _run_here(orchestrator: Orchestrator, service: str, sagas: int) -> float:
    async def run() -> None:
        ends = await run_sagas(orchestrator, service, sagas, IN_FLIGHT, lambda _: None)
        check_ends(ends, sagas)

    return await seconds_of(run())


async def run_dbos_on_sqlite(peers: Peers) -> float:
    with work_directory() as directory:
        return await _run_dbos(peers, f"sqlite:///{directory}/dbos.sqlite")


async def run_dbos_on_postgres(peers: Peers) -> float:
    with open_postgres() as url:
        return await _run_dbos(peers, url)


async def _run_dbos(peers: Peers, url: str) -> float:
    python = await trio.to_thread.run_sync(python_of, peers.cache)
    command = [python, DBOS_SAGAS, url, str(peers.sagas), str(IN_FLIGHT)]
    with trio.fail_after(PEER_S_MAX):
        done = await trio.run_process(command, capture_stdout=True)
    ended = msgspec.json.decode(done.stdout, type=Ended)
    check_ends(Counter(ended.ends), peers.sagas)
    return ended.seconds


async def run_restate(peers: Peers) -> float:
    python = await trio.to_thread.run_sync(python_of, peers.cache)
    server = await trio.to_thread.run_sync(restate_server_of, peers.cache)
    ends: Counter[SagaStatus] = Counter()
    numbers = iter(range(peers.sagas))

    async def client(connection: Connection) -> None:
        for number in numbers:
            ends[SagaStatus(await run_order(connection, number % REFUSED_EVERY == 0))] += 1

    with work_directory() as directory, trio.fail_after(PEER_S_MAX):
        async with (
            open_restate(server, python, directory) as port,
            open_connections(port, IN_FLIGHT) as connections,
        ):
            seconds = await seconds_of(on_each(connections, client))
    check_ends(ends, peers.sagas)
    return seconds


PEERS: Final[dict[str, Callable[[Peers], Awaitable[float]]]] = {
    "sagakeep": run_sagakeep,
    "DBOS, SQLite": run_dbos_on_sqlite,
    "DBOS, PostgreSQL": run_dbos_on_postgres,
    "sagakeep, HTTP": run_sagakeep_over_http,
    "Restate, HTTP": run_restate,
}
