"""waiting: 10,000 sagas whose service is away: what each takes in memory, and how soon they run again."""

from __future__ import annotations

import gc
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import trio

from sagakeep.definition import SagaDefinition
from sagakeep.orchestrator import Orchestrator, open_orchestrator
from sagakeep.service import Call, ServiceUnavailable
from sagakeep.validation import parse_definition

SAGAS: Final = 10_000
BATCH: Final = 500
SETTLE_S: Final = 2.0
IDLE_S: Final = 5.0
PAGE_BYTES: Final = os.sysconf("SC_PAGESIZE")


class Away:
    """Is not there, and says so. `all_asked` is set at the last saga's first call."""

    def __init__(self, sagas: int) -> None:
        self.all_asked = trio.Event()
        self._left = sagas

    async def do(self, call: Call) -> None:
        self._left -= 1
        if not self._left:
            self.all_asked.set()
        raise ServiceUnavailable("away", retry_after_s=3_600)


def make_definition() -> SagaDefinition:
    """A saga as it comes over HTTP: each is parsed for itself, so none shares its definition with another."""
    step = {"service": "away", "action": "do", "payload": {"quantity": 2, "productId": "prod_123"}}
    steps = [{"id": "reserve", **step}, {"id": "charge", **step}]
    return parse_definition({"name": "order", "steps": steps, "timeout": 7_200}, {"away"})


async def start_sagas(
    orchestrator: Orchestrator, count: int, progress: Callable[[int], None]
) -> None:
    for _ in range(0, count, BATCH):
        await orchestrator.start_many([make_definition() for _ in range(BATCH)])
        progress(BATCH)


def forget_snapshots(directory: str) -> None:
    """As after a kill: everything is to be read from the journal."""
    for path in Path(directory, "snap").glob("*.snap"):
        path.unlink()


def resident_bytes() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES


async def measure(progress: Callable[[int], None], sagas: int = SAGAS) -> dict[str, object]:
    """Start them, look at the memory, close, and open again without a snapshot."""
    service = Away(sagas)
    with tempfile.TemporaryDirectory(dir=os.environ.get("SAGAKEEP_BENCH_DIR")) as directory:
        async with open_orchestrator(directory, {"away": service}) as orchestrator:
            before = resident_bytes()
            await start_sagas(orchestrator, sagas, progress)
            await service.all_asked.wait()
            await trio.sleep(SETTLE_S)  # the last outcomes become durable, the rows are written
            each = (resident_bytes() - before) / sagas
            began_cpu_s, began_s = time.process_time(), time.perf_counter()
            await trio.sleep(IDLE_S)
            idle = (time.process_time() - began_cpu_s) / (time.perf_counter() - began_s)
        forget_snapshots(directory)
        began_s = time.perf_counter()
        async with open_orchestrator(directory, {"away": service}) as orchestrator:
            ready_s = time.perf_counter() - began_s
            recovery = orchestrator.recovery
    if recovery is None or recovery.live != sagas:
        raise AssertionError(f"not all sagas are back: {recovery}")
    return {
        "sagas": sagas,
        "bytes_per_waiting_saga": round(each),
        "idle_cpu_share": round(idle, 4),
        "seconds_to_ready": round(ready_s, 3),
        "events_replayed_per_second": round(recovery.events / recovery.seconds),
    }
