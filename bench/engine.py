"""engine: 2-step sagas on a no-op in-process service, 1 in 10 refused at step 2 and compensated, all durable."""

from __future__ import annotations

import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable

import trio

from bench.floor import run_floor
from sagakeep.definition import SagaDefinition
from sagakeep.orchestrator import Orchestrator, SagaQuery, open_orchestrator
from sagakeep.service import Call, ServiceRefused
from sagakeep.state import SagaStatus
from sagakeep.validation import parse_definition

SAGAS = 30_000
TURNS = 5
IN_FLIGHT = 1_000
REFUSED_EVERY = 10


class Nothing:
    """Does nothing, or refuses to."""

    async def do(self, call: Call) -> None:
        return None

    async def undo(self, call: Call) -> None:
        return None

    async def refuse(self, call: Call) -> None:
        raise ServiceRefused("as asked")


def make_definition(second_action: str) -> SagaDefinition:
    step = {"service": "nothing", "compensation": "undo", "payload": {"quantity": 2}}
    steps = [
        {"id": "reserve", "action": "do", **step},
        {"id": "charge", "action": second_action, **step},
    ]
    return parse_definition({"name": "order", "steps": steps}, {"nothing"})


async def run_sagas(
    orchestrator: Orchestrator, sagas: int, in_flight: int, progress: Callable[[int], None]
) -> Counter[SagaStatus]:
    """Start `sagas` with at most `in_flight` at a time and wait for each; counts by end status."""
    good, bad = make_definition("do"), make_definition("refuse")
    ends: Counter[SagaStatus] = Counter()
    numbers = iter(range(sagas))

    async def client() -> None:
        for number in numbers:
            definition = good if number % REFUSED_EVERY else bad
            saga = await orchestrator.run(definition, timeout_s=60)
            ends[saga.status] += 1
            progress(1)

    async with trio.open_nursery() as nursery:
        for _ in range(in_flight):
            nursery.start_soon(client)
    return ends


async def measure(progress: Callable[[int], None], sagas: int = SAGAS) -> dict[str, object]:
    """Floor and product by turns, so that both have the same machine, however its other guests behave.

    Raises when a saga did not end as it must.
    """
    floor_s = product_s = cpu_s = 0.0
    ends: Counter[SagaStatus] = Counter()
    turn = sagas // TURNS
    with tempfile.TemporaryDirectory(dir=os.environ.get("SAGAKEEP_BENCH_DIR")) as directory:
        async with open_orchestrator(f"{directory}/data", {"nothing": Nothing()}) as orchestrator:
            for _ in range(TURNS):
                floor_s += await run_floor(f"{directory}/floor", turn, IN_FLIGHT, progress)
                began_s, began_cpu_s = time.perf_counter(), time.process_time()
                ends += await run_sagas(orchestrator, turn, IN_FLIGHT, progress)
                await orchestrator.list(
                    SagaQuery(limit=1)
                )  # what is still to be listed is its work
                product_s += time.perf_counter() - began_s
                cpu_s += time.process_time() - began_cpu_s
            written = orchestrator.journal_statistics()
    if ends != {SagaStatus.COMPLETED: sagas * 9 // 10, SagaStatus.COMPENSATED: sagas // 10}:
        raise AssertionError(f"sagas ended as {ends}")
    return {
        "sagas": sagas,
        "in_flight": IN_FLIGHT,
        "sagas_per_second": round(sagas / product_s, 1),
        "floor_sagas_per_second": round(sagas / floor_s, 1),
        "ratio": round(floor_s / product_s, 3),
        "fdatasyncs": written.fdatasyncs,
        "frames": written.frames,
        "records": written.records,
        "bytes_per_saga": round(written.bytes / sagas, 1),
        "cpu_us_per_saga": round(cpu_s / sagas * 1e6, 1),
    }
