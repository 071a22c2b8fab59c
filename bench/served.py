"""The services of the servers that are measured: they run in those processes, imported by the configuration.

As in

    [services.nothing]  python = "bench.served:nothing"     does nothing, at once
    [services.away]     python = "bench.served:away"        is not there
    [services.loop]     python = "bench.served:loop"        watches the loop of the process it is in
"""

from __future__ import annotations

from typing import Final

import trio

from bench.lag import StepTimes
from bench.sagas import Nothing
from sagakeep.orchestrator import ServiceSpec
from sagakeep.python_caller import PythonCaller
from sagakeep.service import Call, ServiceUnavailable


class Away:
    """Is not there, and says so, until `is_back`; an undo is done. `wait_asked` waits for so many calls."""

    def __init__(self) -> None:
        self.is_back = False
        self.asked = 0
        self._more_asked = trio.Event()

    async def do(self, call: Call) -> None:
        self.asked += 1
        self._more_asked.set()
        if not self.is_back:
            raise ServiceUnavailable("away")

    async def undo(self, call: Call) -> None:
        return None

    def spec(self) -> ServiceSpec:
        """It is called whatever it says, so that the sagas wait and not their calls in a queue."""
        return ServiceSpec(PythonCaller(self), breaker_failures=0, ramp_calls_per_s=0)

    async def wait_asked(self, times: int) -> None:
        while self.asked < times:
            self._more_asked = trio.Event()
            await self._more_asked.wait()


class Loop:
    """`watch` begins to time the steps of the loop, `report` ends it and returns the numbers."""

    def __init__(self) -> None:
        self._times = StepTimes()

    async def watch(self, call: Call) -> None:
        self._times = StepTimes()
        trio.lowlevel.add_instrument(self._times)

    async def report(self, call: Call) -> object:
        trio.lowlevel.remove_instrument(self._times)
        return self._times.numbers()


nothing: Final = Nothing()
away: Final = Away()
loop: Final = Loop()
