"""calls: 2-step sagas at a service over HTTP, beside a loop that makes the same calls by the same client.

The service (`bench.tiny_service`) is a process of its own. Both have at most 64 calls in flight; the product has
more sagas in flight than that, so that there is always a call to make.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from bench.bare_client import make_calls
from bench.benchmark import Numbers, Progress, Scale, work_directory
from bench.lag import watched_steps
from bench.load import seconds_of
from bench.processes import open_python
from bench.sagas import REFUSED_EVERY, check_ends, run_sagas
from sagakeep.http.caller import HttpCaller
from sagakeep.orchestrator import Orchestrator, ServiceSpec, open_orchestrator
from sagakeep.state import SagaStatus

SCALE: Final = Scale(10_000)
TURNS: Final = 5
AT_ONCE: Final = 64
IN_FLIGHT: Final = 256


async def measure(scale: Scale, progress: Progress) -> Numbers:
    """Bare loop and product by turns; in a last one the product's loop is watched."""
    turn = scale.sagas // TURNS
    progress.expect((2 * TURNS + 1) * turn)
    bare_s = product_s = 0.0
    ends: Counter[SagaStatus] = Counter()
    with work_directory() as directory:
        async with open_python("-m", "bench.tiny_service") as service:
            url = f"http://127.0.0.1:{service.port}"
            spec = ServiceSpec(HttpCaller(url, connections_max=AT_ONCE), AT_ONCE)
            async with open_orchestrator(directory, {"tiny": spec}) as orchestrator:

                async def run_turn(orchestrator: Orchestrator = orchestrator) -> None:
                    ends.update(await run_sagas(orchestrator, "tiny", turn, IN_FLIGHT, progress))

                for _ in range(TURNS):
                    bare_s += await seconds_of(make_calls(url, turn, AT_ONCE, progress))
                    product_s += await seconds_of(run_turn())
                with watched_steps() as steps:
                    await run_turn()
    check_ends(ends, (TURNS + 1) * turn)
    sagas = TURNS * turn
    calls = 2 * sagas + sagas // REFUSED_EVERY
    return {
        "sagas": sagas,
        "at_once": AT_ONCE,
        "in_flight": IN_FLIGHT,
        "calls_per_second": round(calls / product_s, 1),
        "bare_calls_per_second": round(calls / bare_s, 1),
        "ratio": round(bare_s / product_s, 3),
        **steps.numbers(),
    }
