"""storm: a service is dead for a minute under ten thousand sagas, then it is back. In real time.

The service counts for itself when it is called. While it is dead a client goes on asking for sagas, one after the
other, and times the answers, be it a saga or a refusal.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec
import trio

from bench.benchmark import Numbers, Progress, Scale, spread_ms, work_directory
from bench.lag import watched_steps
from bench.parked import BATCH, collecting, resident
from bench.sagas import REFUSED_EVERY, make_definition
from sagakeep.definition import SagaDefinition
from sagakeep.errors import Unavailable
from sagakeep.orchestrator import Orchestrator, ServiceSpec, open_orchestrator
from sagakeep.python_caller import PythonCaller
from sagakeep.service import Call, ServiceRefused, ServiceUnavailable
from sagakeep.state import FINAL, SagaStatus

SCALE: Final = Scale(10_000, seconds=60.0)
RATE_LIMIT_PER_S: Final = 500.0
RATE_BURST: Final = 50
ASK_EVERY_S: Final = 0.1
SAGA_TIMEOUT_S: Final = 24 * 3_600.0
POLL_S: Final = 0.05
WINDOW_S: Final = 1.0


class Mortal:
    """A service that is dead until `is_back`; it notes when it was called."""

    def __init__(self) -> None:
        self.is_back = False
        self.called_s: list[float] = []

    async def do(self, call: Call) -> None:
        self._answer()

    async def undo(self, call: Call) -> None:
        self._answer()

    async def refuse(self, call: Call) -> None:
        self._answer()
        raise ServiceRefused("as asked")

    def _answer(self) -> None:
        self.called_s.append(trio.current_time())
        if not self.is_back:
            raise ServiceUnavailable("dead")


class Admitted(NamedTuple):
    """Sagas begun and refused while the service was dead, and the seconds of each answer to the client."""

    begun: int
    refused: int
    answers_s: list[float]


async def measure(scale: Scale, progress: Progress) -> Numbers:
    """Raises when a saga does not end as it must, or when the service is called more often than it may be."""
    service = Mortal()
    caller = PythonCaller(service)
    spec = ServiceSpec(caller, rate_limit_per_s=RATE_LIMIT_PER_S, rate_burst=RATE_BURST)
    with work_directory() as directory:
        async with (
            open_orchestrator(directory, {"mortal": spec}) as orchestrator,
            collecting(orchestrator),
        ):
            empty, began_s = resident(), trio.current_time()
            with watched_steps() as steps:
                batched = await start_in_batches(orchestrator, scale.sagas)
                asked = await ask_until(orchestrator, began_s + scale.seconds)
                memory = resident() - empty
                service.is_back, back_s = True, trio.current_time()
                sagas = batched.begun + asked.begun
                progress.expect(sagas)
                ends = await wait_ended(orchestrator, sagas, progress)
            ended_s = trio.current_time()
    after = [at_s for at_s in service.called_s if at_s >= back_s]
    per_s_max = busiest(after, WINDOW_S)
    check_storm(ends, sagas, per_s_max)
    return {
        "sagas": sagas,
        "seconds_dead": round(back_s - began_s, 1),
        "seconds_to_end": round(ended_s - back_s, 1),
        "calls_while_dead": len(service.called_s) - len(after),
        "calls_after": len(after),
        "rate_limit_per_second": RATE_LIMIT_PER_S,
        "rate_burst": RATE_BURST,
        "calls_per_second_max": per_s_max,
        "completed": ends[SagaStatus.COMPLETED],
        "compensated": ends[SagaStatus.COMPENSATED],
        "refused": batched.refused + asked.refused,
        "answer_ms": spread_ms(asked.answers_s),
        "megabytes": round(memory / 1e6, 1),
        **steps.numbers(),
        "calls_each_second": each_second(service.called_s, began_s, ended_s),
    }


def check_storm(ends: dict[SagaStatus, int], sagas: int, per_s_max: int) -> None:
    """Raise when something was lost, or when the service was called more often than it may be."""
    if set(ends) != {SagaStatus.COMPLETED, SagaStatus.COMPENSATED} or sum(ends.values()) != sagas:
        raise AssertionError(f"of {sagas} sagas ended: {ends}")
    if per_s_max > RATE_LIMIT_PER_S * WINDOW_S + RATE_BURST:
        allowed = f"{RATE_LIMIT_PER_S:.0f} a second and {RATE_BURST} at once"
        raise AssertionError(f"{per_s_max} calls within a second; allowed are {allowed}")


def make_orders() -> tuple[SagaDefinition, SagaDefinition]:
    """One that will be completed and one that will be compensated, both with time enough."""
    return (
        msgspec.structs.replace(make_definition("mortal"), timeout_s=SAGA_TIMEOUT_S),
        msgspec.structs.replace(make_definition("mortal", "refuse"), timeout_s=SAGA_TIMEOUT_S),
    )


async def start_in_batches(orchestrator: Orchestrator, sagas: int) -> Admitted:
    """Start so many, of which some may be refused."""
    good, bad = make_orders()
    refused = 0
    for at in range(0, sagas, BATCH):
        numbers = range(at, min(at + BATCH, sagas))
        batch = [good if number % REFUSED_EVERY else bad for number in numbers]
        for answer in await orchestrator.start_many(batch):
            if isinstance(answer, Unavailable):
                refused += 1
            elif isinstance(answer, Exception):
                raise answer
    return Admitted(sagas - refused, refused, [])


async def ask_until(orchestrator: Orchestrator, until_s: float) -> Admitted:
    """Ask for one saga after the other; a refusal is an answer too."""
    good, _ = make_orders()
    begun = refused = 0
    answers_s: list[float] = []
    while (asked_s := trio.current_time()) < until_s:
        try:
            await orchestrator.start(good)
            begun += 1
        except Unavailable:
            refused += 1
        answers_s.append(trio.current_time() - asked_s)
        await trio.sleep(ASK_EVERY_S)
    return Admitted(begun, refused, answers_s)


async def wait_ended(
    orchestrator: Orchestrator, sagas: int, progress: Progress
) -> dict[SagaStatus, int]:
    """Wait until so many have ended; how."""
    before, ends = 0, dict[SagaStatus, int]()
    while before < sagas:
        await trio.sleep(POLL_S)
        counts = orchestrator.statistics().by_status
        ends = {status: count for status, count in counts.items() if status in FINAL and count}
        progress(sum(ends.values()) - before)
        before = sum(ends.values())
    return ends


def busiest(times_s: Sequence[float], window_s: float) -> int:
    """The most of these times, which are in order, that lie within a window of this length."""
    return max(
        (bisect_left(times_s, at_s + window_s) - index for index, at_s in enumerate(times_s)),
        default=0,
    )


def each_second(times_s: Sequence[float], from_s: float, until_s: float) -> list[int]:
    """How many lie within the first second, the second, and so on."""
    counts = [0] * (int(until_s - from_s) + 1)
    for at_s in times_s:
        counts[int(at_s - from_s)] += 1
    return counts
