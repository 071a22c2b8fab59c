"""A trial: one saga of its own at the service under test; what was sent, and what came.

It is told what the orchestrator would read from each answer, for the requests are the orchestrator's own. An
answer that says "ask again" is asked again, a few times, as the orchestrator would.
"""

from __future__ import annotations

from typing import Final

import msgspec
import trio

from sagakeep.grade.effects import Effects, Ledger
from sagakeep.grade.expect import Misbehaved, Severity, kind_of, summary_of, text_of
from sagakeep.grade.subject import Subject
from sagakeep.service import AttemptResult, Call, Outcome, Phase

STEP: Final = "step"
TRIES_MAX: Final = 8  # of one call whose answer is "ask again"
PAUSE_S: Final = 0.05  # at least, between two of them
PAUSE_S_MAX: Final = 2.0
CLEAN_UP: Final = 100  # undos with this number and above come after the check


class Exchange(msgspec.Struct, frozen=True):
    """What was sent, and what came; `kinds` says it in a word, and is empty for a look at the ledger."""

    sent: str
    came: str
    kinds: str = ""


class Trial:
    """One saga. Each call has a key for life, by its phase and number."""

    def __init__(self, subject: Subject, ledger: Ledger | None, name: str) -> None:
        self.subject = subject
        self.exchanges: list[Exchange] = []
        self._ledger = ledger
        self.saga_id = name
        self._name = name
        self._sagas = 1
        self._before = Effects()
        self._attempts: dict[str, int] = {}
        self._to_undo: set[str] = set()  # keys of actions that may be done

    async def begin(self) -> None:
        """Look at the ledger, if there is one."""
        if self._ledger is not None:
            self._before = await self._ledger.effects()

    def next_saga(self) -> None:
        """From now on the calls are another saga's."""
        self._sagas += 1
        self.saga_id = f"{self._name}.{self._sagas}"

    def if_actions_counted(self, severity: Severity) -> Severity | None:
        """The severity of a wrong answer where a ledger shows that no effect is wrong; else the check's."""
        return severity if self._ledger is not None else None

    def if_undos_counted(self, severity: Severity) -> Severity | None:
        """The same, of an undo: not every ledger counts those."""
        return severity if self._ledger is not None and self._before.undos is not None else None

    async def action(self, number: int = 1) -> AttemptResult:
        """Send the action, the `number`-th effect that is intended."""
        call = self._call("action", number)
        self._to_undo.add(call.idempotency_key)
        return await self._settled(call, "action" if number == 1 else f"action {number}")

    async def undo(
        self, number: int = 1, *, of: int = 1, outcome: Outcome = Outcome.UNKNOWN
    ) -> AttemptResult:
        """Send the `number`-th undo, of that action."""
        call = self._call("compensation", number)
        call = msgspec.structs.replace(call, action_key=self._key("action", of), outcome=outcome)
        result = await self._settled(call, "undo" if number == 1 else f"undo {number}")
        if result.outcome is Outcome.DONE:
            self._to_undo.discard(call.action_key)
        return result

    async def probe(self) -> AttemptResult:
        return await self._settled(self._call("probe", 1), "probe")

    async def once(self, phase: Phase, name: str, /, **changes: object) -> AttemptResult:
        """Send one request, with changes that no orchestrator would make."""
        call = msgspec.structs.replace(self._call(phase, 1), **changes)
        self._to_undo.add(call.idempotency_key)
        return await self._send(call, name)

    async def many(self, count: int) -> list[AttemptResult]:
        """Send the action so many times at once."""
        call = self._call("action", 1)
        self._to_undo.add(call.idempotency_key)
        results: list[AttemptResult] = []

        async def send() -> None:
            results.append(await self.subject.attempt(call))

        async with trio.open_nursery() as nursery:
            for _ in range(count):
                nursery.start_soon(send)
        sent = f"{count} times the action at once"
        self.exchanges.append(
            Exchange(sent, summary_of(results, text_of), summary_of(results, kind_of))
        )
        return results

    async def expect_effects(self, *allowed: tuple[int, int]) -> None:
        """Compare with the ledger, if there is one: so many effects of actions, so many of undos."""
        if self._ledger is None:
            return
        made = (await self._ledger.effects()).since(self._before)
        self.exchanges.append(Exchange("(the ledger)", str(made)))
        if not any(made.fits(actions, undos) for actions, undos in allowed):
            expected = " or ".join(str(Effects(*pair)) for pair in allowed)
            raise Misbehaved(f"the ledger has {made}; expected {expected}")

    async def clean_up(self) -> None:
        """Undo what may be there; what comes is not graded."""
        if not self.subject.has("compensation"):
            return
        for number, key in enumerate(sorted(self._to_undo - {""}), CLEAN_UP):
            undo = self._call("compensation", number)
            undo = msgspec.structs.replace(undo, action_key=key, outcome=Outcome.UNKNOWN)
            await self.subject.attempt(undo)

    async def _settled(self, call: Call, name: str) -> AttemptResult:
        for _ in range(TRIES_MAX - 1):
            result = await self._send(call, name)
            if not _says_again(result):
                return result
            await trio.sleep(min(max(result.retry_after_s or 0.0, PAUSE_S), PAUSE_S_MAX))
        return await self._send(call, name)

    async def _send(self, call: Call, name: str) -> AttemptResult:
        attempt = self._attempts.get(call.idempotency_key, 0) + 1
        self._attempts[call.idempotency_key] = attempt
        result = await self.subject.attempt(msgspec.structs.replace(call, attempt=attempt))
        self.exchanges.append(Exchange(name, text_of(result), kind_of(result)))
        return result

    def _key(self, phase: str, number: int) -> str:
        return f"{self.saga_id}/{STEP}/{phase}/{number}"

    def _call(self, phase: Phase, number: int) -> Call:
        kind = "compensation" if phase == "compensation" else "action"
        name, payload = self.subject.target(phase)
        return Call(
            saga_id=self.saga_id,
            saga_name="grade",
            step_id=STEP,
            service="grade",
            action=name,
            phase=phase,
            attempt=1,
            idempotency_key=self._key(kind, number),
            payload=payload,
            timeout_s=self.subject.timeout_s,
            action_key=self._key("action", number),
        )


def _says_again(result: AttemptResult) -> bool:
    if result.outcome is Outcome.NOT_DONE:
        return not result.permanent
    return result.outcome is Outcome.UNKNOWN and result.retry_after_s is not None
