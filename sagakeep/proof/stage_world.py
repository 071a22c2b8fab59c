"""The world of a stage: every saga has its own account of every service, and nothing is drawn."""

from __future__ import annotations

from typing import Final

from sagakeep.actors.engine import Ports
from sagakeep.actors.service_spec import ServiceSpec
from sagakeep.proof.account import Account
from sagakeep.service import AttemptResult, Call
from sagakeep.simulation.ledger import Ledger, Promise
from sagakeep.simulation.process_disk import ProcessDisk
from sagakeep.simulation.service import AFTER_TIMEOUT_S, Reaction, SimulatedService
from sagakeep.simulation.trace import Trace
from sagakeep.simulation.world import Shape, World

DRAW: Final = 0.5  # of every wait
_SHAPE: Final = Shape(segment_bytes=64 << 10, snapshot_every_bytes=1 << 40)


class StageWorld(World):
    """A world whose services keep an account for each saga, and in which nothing is drawn."""

    def __init__(self, *, is_traced: bool) -> None:
        super().__init__(0, _SHAPE)
        if not is_traced:
            self.trace = _NoTrace(lambda: "")

    def add_service(self, name: str, cast: dict[str, Account]) -> None:
        def script(call: Call) -> Reaction:
            return cast[call.saga_id].react(call, self.now_s())

        ledger = _Ledgers(name, cast)
        self.services[name] = StageService(self, ledger, script, AFTER_TIMEOUT_S * 2)

    def _spec(self, service: SimulatedService, concurrency: int) -> ServiceSpec:
        """Without storm control: a thousand sagas play side by side, and none may feel another's faults."""
        return ServiceSpec(service, concurrency, breaker_failures=0, ramp_calls_per_s=0.0)

    def _ports(self, disk: ProcessDisk) -> Ports:
        return super()._ports(disk)._replace(draw=lambda: DRAW)


class _NoTrace(Trace):
    """Nobody reads the traces of a thousand worlds."""

    def note(self, line: str) -> None:
        pass


class StageService(SimulatedService):
    """Tells the account of the answers as well."""

    ledger: _Ledgers

    async def attempt(self, call: Call) -> AttemptResult:
        result = await super().attempt(call)
        self.ledger.cast[call.saga_id].answered(call, result, self._world.now_s())
        return result


class _Ledgers(Ledger):
    """The ledgers of all worlds as the one of a service."""

    def __init__(self, service: str, cast: dict[str, Account]) -> None:
        super().__init__(service, Promise.BARRIER)
        self.cast = cast

    def deliver(self, call: Call, at_s: float) -> AttemptResult:
        return self.cast[call.saga_id].deliver(call, at_s)
