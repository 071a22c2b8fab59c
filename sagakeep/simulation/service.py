"""A simulated service: it answers each call as a script says, and keeps a ledger of what it really did.

The service is not part of the product's process: a request that was sent arrives though its sender is gone, and
the ledger outlives every crash. One delivery is one `Ledger.deliver`; a behaviour says how often a request is
delivered, when, and what becomes of the answer.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

import trio

from sagakeep.service import AttemptResult, Call, Outcome
from sagakeep.simulation.ledger import Ledger
from sagakeep.simulation.process import Moment

if TYPE_CHECKING:
    from sagakeep.simulation.world import World


class Behaviour(StrEnum):
    """What happens to one attempt."""

    DONE = "done"
    REFUSED = "refused"  # nothing is done, and never will be
    UNAVAILABLE = "unavailable"  # nothing is done: no connection
    BUSY = "busy"  # nothing is done: 429 or 503, with Retry-After
    ERROR = "error"  # nothing is done, and the caller cannot know: 500
    LOST = "lost"  # done, and the connection breaks before the answer
    LATE = "late"  # done, and answered after the timeout
    SLOW = "slow"  # done after the timeout, and answered then
    TWICE = "twice"  # done, and the same request arrives a second time, `again_s` later
    HANG = "hang"  # nothing is done, and no answer comes
    FORGET = "forget"  # done in memory only: the service dies, and nothing was done


class Reaction(NamedTuple):
    """A behaviour and its times, in seconds. `latency_s` is until the request arrives, `reply_s` from there
    until the answer is back."""

    behaviour: Behaviour = Behaviour.DONE
    latency_s: float = 0.0
    reply_s: float = 0.0
    again_s: float = 0.0
    retry_after_s: float | None = None
    answers_nonsense: bool = False  # what no journal can write: the saga's actor crashes


class CallLimit(NamedTuple):
    """How often a service may be called: so many calls a second, of these a burst at once; 0 for any number."""

    per_s: float = 0.0
    burst: int = 0


Script = Callable[[Call], Reaction]
NO_LIMIT: Final = CallLimit()

AFTER_TIMEOUT_S: Final = 1.0  # how late what is late is

REFUSED: Final = AttemptResult(Outcome.NOT_DONE, error="refused", permanent=True)
_UNAVAILABLE: Final = AttemptResult(Outcome.NOT_DONE, error="no connection", is_unreachable=True)
_ERROR: Final = AttemptResult(Outcome.UNKNOWN, error="500")
_RESET: Final = AttemptResult(Outcome.UNKNOWN, error="the connection broke")


class SimulatedService:
    """Implements `Caller`. `script` decides about every attempt."""

    def __init__(
        self,
        world: World,
        ledger: Ledger,
        script: Script,
        late_reply_s: float = 0.0,
        limit: CallLimit = NO_LIMIT,
    ) -> None:
        self.limit = limit
        self.late_reply_s = late_reply_s
        self.ledger = ledger
        self.script = script
        self._world = world

    async def attempt(self, call: Call) -> AttemptResult:
        """Make one attempt; a process may end before it, and after its effect."""
        world, process = self._world, self._world.process
        number = process.count_call()
        world.trace.note(f"call {number} {call.phase} {call.idempotency_key} {call.attempt}")
        process.reach("call", number, Moment.BEFORE)
        world.observer.called(call)
        reaction = self.script(call)
        result = await self._react(call, reaction)
        if reaction.answers_nonsense:
            result = AttemptResult(Outcome.DONE, object())
        process.reach("call", number, Moment.AFTER)
        world.trace.note(f"reply {number} {reaction.behaviour} {result.outcome}")
        world.observer.answered(call, result)
        return result

    async def aclose(self) -> None:
        """Nothing is to be closed."""

    async def _react(self, call: Call, reaction: Reaction) -> AttemptResult:
        match reaction.behaviour:
            case Behaviour.REFUSED:
                return await self._answer(REFUSED, reaction)
            case Behaviour.UNAVAILABLE:
                return await self._answer(_UNAVAILABLE, reaction)
            case Behaviour.BUSY:
                busy = AttemptResult(
                    Outcome.NOT_DONE, error="busy", retry_after_s=reaction.retry_after_s
                )
                return await self._answer(busy, reaction)
            case Behaviour.ERROR:
                return await self._answer(_ERROR, reaction)
            case Behaviour.FORGET:
                return await self._answer(_RESET, reaction)
            case Behaviour.HANG:
                await trio.sleep_forever()
                raise AssertionError("it hangs")
            case _:
                return await self._deliver(call, reaction)

    async def _answer(self, result: AttemptResult, reaction: Reaction) -> AttemptResult:
        await trio.sleep(reaction.latency_s + reaction.reply_s)
        return result

    async def _deliver(self, call: Call, reaction: Reaction) -> AttemptResult:
        """Let the request arrive, and do with the answer what the behaviour says."""
        behaviour, late_s = reaction.behaviour, call.timeout_s + AFTER_TIMEOUT_S
        travels_s = late_s if behaviour is Behaviour.SLOW else reaction.latency_s
        result = await self._arrival(call, travels_s)
        if behaviour is Behaviour.TWICE:
            at_s = self._world.now_s() + reaction.again_s
            self._world.agenda.set_at(at_s, lambda: self._receive(call))
        await trio.sleep(late_s if behaviour is Behaviour.LATE else reaction.reply_s)
        return _RESET if behaviour is Behaviour.LOST else result

    async def _arrival(self, call: Call, travels_s: float) -> AttemptResult:
        """The answer to a request that arrives in a while, whoever still waits for it."""
        if not travels_s:
            await trio.lowlevel.checkpoint()
            self._world.process.check()
            return self._receive(call)
        results: list[AttemptResult] = []
        has_arrived = trio.Event()

        def arrive() -> None:
            results.append(self._receive(call))
            has_arrived.set()

        self._world.agenda.set_at(self._world.now_s() + travels_s, arrive)
        await has_arrived.wait()
        return results[0]

    def _receive(self, call: Call) -> AttemptResult:
        at_s = self._world.now_s()
        result = self.ledger.deliver(call, at_s)
        self._world.trace.note(f"{self.ledger.service} {call.idempotency_key} {result.outcome}")
        return result
