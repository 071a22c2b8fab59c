"""The subject: the service under test, and how it is called: by the orchestrator's own caller, within bounds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import msgspec
import trio

from sagakeep.http.caller import HttpCaller
from sagakeep.service import AttemptResult, Call, Outcome, Phase

DUPLICATES_MAX: Final = 64
REQUESTS_MAX: Final = 2_000  # of one exam: some 100 are sent, more only where "ask again" comes


class Target(msgspec.Struct, frozen=True):
    """What is to be called. An empty name is a call that the service does not have."""

    url: str
    action: str
    compensation: str = ""
    probe: str = ""
    payload: object = msgspec.field(default_factory=dict)
    compensation_payload: object = msgspec.UNSET
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)
    duplicates: int = 8
    timeout_s: float = 10.0


class Subject:
    """Raises ConfigurationError for a URL or a header that cannot be used."""

    def __init__(self, target: Target) -> None:
        self.timeout_s = target.timeout_s
        self.duplicates = target.duplicates
        self.payload = target.payload
        self.requests = 0
        self._target = target
        self._bound = trio.CancelScope()
        self._caller = HttpCaller(
            target.url, connections_max=target.duplicates, headers=target.headers
        )

    @contextmanager
    def bounded(self, within_s: float) -> Iterator[None]:
        """Go on after so many seconds or requests, whatever is still to be done."""
        with trio.move_on_after(within_s) as self._bound:
            yield

    def has(self, phase: Phase) -> bool:
        return self.target(phase)[0] != ""

    def target(self, phase: Phase) -> tuple[str, object]:
        """The name and the payload of a call."""
        of = self._target
        match phase:
            case "action":
                return of.action, of.payload
            case "probe":
                return of.probe, of.payload
            case "compensation":
                is_own = of.compensation_payload is not msgspec.UNSET
                return of.compensation, of.compensation_payload if is_own else of.payload

    async def attempt(self, call: Call) -> AttemptResult:
        """Send one request, if there may be one more."""
        if self.requests >= REQUESTS_MAX:
            self._bound.cancel()
            await trio.sleep_forever()
        self.requests += 1
        with trio.move_on_after(self.timeout_s):
            return await self._caller.attempt(call)
        return AttemptResult(Outcome.UNKNOWN, error=f"no answer within {self.timeout_s:g} s")

    async def aclose(self) -> None:
        await self._caller.aclose()
