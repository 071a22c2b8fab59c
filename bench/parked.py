"""parked: sagas whose service is away, each in its own backoff of a week; then the week is over, and all end.

The week passes at once (`bench.clock`). The memory is what this process takes beyond the empty orchestrator's.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import trio

from bench.benchmark import Numbers, Progress, Scale, work_directory
from bench.clock import jumping_clock
from bench.lag import StepTimes, watched_steps
from bench.processes import resident_bytes
from bench.sagas import WAIT_S_MAX, make_waiting
from bench.served import Away
from sagakeep.actors.engine import Ports
from sagakeep.definition import SagaDefinition
from sagakeep.orchestrator import Orchestrator, open_orchestrator
from sagakeep.runtime.collector import collect_at_rest
from sagakeep.state import SagaStatus
from sagakeep.validation import parse_definition

SCALE: Final = Scale(10_000)
BATCH: Final = 500
DEFINITIONS_A_STEP: Final = 10
SETTLE_S: Final = 2.0
SETTLE_S_MAX: Final = 120.0
BUSY_SHARE: Final = 0.1  # of a core: rows or a snapshot are still being written
IDLE_S: Final = 5.0
POLL_S: Final = 0.05


async def measure(scale: Scale, progress: Progress) -> Numbers:
    """Start them, look at memory and CPU, let the hour pass, and wait until all are completed."""
    progress.expect(2 * scale.sagas)
    clock, service = jumping_clock(), Away()
    with work_directory() as directory:
        services = {"away": service.spec()}
        async with open_orchestrator(directory, services, Ports(wall=clock.wall)) as sagas:
            async with collecting(sagas):
                empty = resident()
                start_s, steps = await start_sagas(sagas, scale.sagas, progress)
                await service.wait_asked(scale.sagas)
                await wait_settled()
                waiting = resident() - empty
                idle = await cpu_share(IDLE_S)
            service.is_back = True
            clock.put_forward(WAIT_S_MAX)
            async with collecting(sagas):  # anew: for it no week has passed
                with watched_steps() as waking:
                    finish_s = await wait_completed(sagas, scale.sagas, progress)
            written = sagas.journal_statistics()
    return {
        "sagas": scale.sagas,
        "megabytes": round(waiting / 1e6, 1),
        "bytes_per_waiting_saga": round(waiting / scale.sagas),
        "idle_cpu_share": round(idle, 4),
        "seconds_to_start": round(start_s, 2),
        "seconds_to_finish": round(finish_s, 2),
        "bytes_per_saga": round(written.bytes / scale.sagas, 1),
        **steps.numbers(),
        **{f"{key}_when_all_wake": value for key, value in waking.numbers().items()},
    }


@asynccontextmanager
async def collecting(orchestrator: Orchestrator) -> AsyncIterator[None]:
    """Run the collector as `sagakeep serve` does."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(collect_at_rest, orchestrator.is_at_rest)
        yield
        nursery.cancel_scope.cancel()


async def make_batch(sagas: int) -> list[SagaDefinition]:
    """Make so many as they come over HTTP: each parsed for itself, so that none shares its definition.

    In small pieces: the client's steps are not to be taken for the product's.
    """
    batch = []
    for _ in range(sagas):
        batch.append(parse_definition(make_waiting("away"), {"away"}))
        if len(batch) % DEFINITIONS_A_STEP == 0:
            await trio.lowlevel.checkpoint()
    return batch


async def start_sagas(
    orchestrator: Orchestrator, sagas: int, progress: Progress
) -> tuple[float, StepTimes]:
    """Start so many; the seconds that it took, and the steps of the loop while it did."""
    began_s = time.perf_counter()
    with watched_steps() as steps:
        for at in range(0, sagas, BATCH):
            batch = await make_batch(min(BATCH, sagas - at))
            for started in await orchestrator.start_many(batch):
                if isinstance(started, Exception):
                    raise started
            progress(len(batch))
    return time.perf_counter() - began_s, steps


async def wait_settled() -> None:
    """Wait until outcomes, rows and snapshot are written; raises when that does not come to an end."""
    began_s = time.perf_counter()
    while await cpu_share(SETTLE_S) > BUSY_SHARE:
        if time.perf_counter() - began_s > SETTLE_S_MAX:
            raise AssertionError(f"it is still busy after {SETTLE_S_MAX:g} s")


async def cpu_share(seconds: float) -> float:
    """Return what share of a core this process uses for so long."""
    began_cpu_s, began_s = time.process_time(), time.perf_counter()
    await trio.sleep(seconds)
    return (time.process_time() - began_cpu_s) / (time.perf_counter() - began_s)


async def wait_completed(orchestrator: Orchestrator, sagas: int, progress: Progress) -> float:
    """Wait until so many are completed; the seconds that it took."""
    began_s, before = time.perf_counter(), 0
    while before < sagas:
        await trio.sleep(POLL_S)
        completed = orchestrator.statistics().by_status.get(SagaStatus.COMPLETED, 0)
        progress(completed - before)
        before = completed
    return time.perf_counter() - began_s


def resident() -> int:
    """Memory of this process, without what is garbage."""
    gc.collect()
    return resident_bytes(os.getpid())
