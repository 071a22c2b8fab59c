"""engine: 2-step sagas on a no-op in-process service, 1 in 10 refused at step 2 and compensated, all durable."""

from __future__ import annotations

import time
from collections import Counter
from typing import Final

from bench.benchmark import Numbers, Progress, Scale, work_directory
from bench.floor import run_floor
from bench.lag import watched_steps
from bench.sagas import Nothing, check_ends, run_sagas
from sagakeep.orchestrator import SagaQuery, open_orchestrator
from sagakeep.state import SagaStatus

SCALE: Final = Scale(30_000)
TURNS: Final = 5
IN_FLIGHT: Final = 1_000


async def measure(scale: Scale, progress: Progress) -> Numbers:
    """Floor and product by turns, so that both have the same machine, however its other guests behave.

    A last turn of the product, which counts for nothing else, has its loop watched.
    """
    floor_s = product_s = cpu_s = 0.0
    ends: Counter[SagaStatus] = Counter()
    turn = scale.sagas // TURNS
    progress.expect((2 * TURNS + 1) * turn)
    with work_directory() as directory:
        async with open_orchestrator(f"{directory}/data", {"nothing": Nothing()}) as orchestrator:
            for _ in range(TURNS):
                floor_s += await run_floor(f"{directory}/floor", turn, IN_FLIGHT, progress)
                began_s, began_cpu_s = time.perf_counter(), time.process_time()
                ends += await run_sagas(orchestrator, "nothing", turn, IN_FLIGHT, progress)
                await orchestrator.list(
                    SagaQuery(limit=1)
                )  # what is still to be listed is its work
                product_s += time.perf_counter() - began_s
                cpu_s += time.process_time() - began_cpu_s
            written = orchestrator.journal_statistics()
            with watched_steps() as steps:
                await run_sagas(orchestrator, "nothing", turn, IN_FLIGHT, progress)
    sagas = TURNS * turn
    check_ends(ends, sagas)
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
        **steps.numbers(),
    }
