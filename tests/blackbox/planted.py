"""Bugs to plant in the product before a campaign: it must then find fault, or it proves nothing.

`python -m blackbox forks --plant NAME`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Final

from sagakeep import effects
from sagakeep.effects import RunCall
from sagakeep.python_caller import PythonCaller
from sagakeep.runtime.disk import LocalFile
from sagakeep.runtime.journal_files import JournalFiles
from sagakeep.service import AttemptResult, Call, Outcome


def early_ack() -> None:
    """What was appended is told to be durable when the next is written."""
    pwrite, held = LocalFile.pwrite, dict[int, tuple[LocalFile, bytes, int]]()

    def write_later(self: LocalFile, data: bytes, offset: int) -> None:
        before = held.pop(id(self), None)
        if before is not None:
            pwrite(*before)
        held[id(self)] = (self, data, offset)

    write = JournalFiles._write

    def write_frame(self: JournalFiles, data: bytes, crc: int) -> None:
        LocalFile.pwrite = write_later  # type: ignore[method-assign]  # it is what is planted
        try:
            write(self, data, crc)
        finally:
            LocalFile.pwrite = pwrite  # type: ignore[method-assign]  # and taken out again

    JournalFiles._write = write_frame  # type: ignore[method-assign]  # it is what is planted


def new_keys() -> None:
    """A call that is repeated has another key."""
    fresh = itertools.count()
    of_call = effects.idempotency_key

    def key(saga_id: str, effect: RunCall) -> str:
        return of_call(saga_id, effect) + (f"-{next(fresh)}" if effect.attempt > 1 else "")

    effects.idempotency_key = key


def forgotten_undo() -> None:
    """Some undos are taken for done and never made."""
    attempt = PythonCaller.attempt

    async def forget(self: PythonCaller, call: Call) -> AttemptResult:
        if call.phase == "compensation" and call.attempt == 1 and call.step_id == "b":
            return AttemptResult(Outcome.DONE)
        return await attempt(self, call)

    PythonCaller.attempt = forget  # type: ignore[method-assign]  # it is what is planted


def forgotten_step() -> None:
    """An attempt whose outcome is unknown is taken for done."""
    attempt = PythonCaller.attempt

    async def believe(self: PythonCaller, call: Call) -> AttemptResult:
        result = await attempt(self, call)
        is_unknown = result.outcome is Outcome.UNKNOWN
        return AttemptResult(Outcome.DONE) if is_unknown else result

    PythonCaller.attempt = believe  # type: ignore[method-assign]  # it is what is planted


PLANTS: Final[dict[str, Callable[[], None]]] = {
    "early-ack": early_ack,
    "forgotten-step": forgotten_step,
    "forgotten-undo": forgotten_undo,
    "new-keys": new_keys,
}
