"""Checks of what no orchestrator sends: it is refused, and does not hurt."""

from __future__ import annotations

from typing import Final, cast

from sagakeep.grade.check import Check
from sagakeep.grade.expect import Misbehaved, Severity, is_refused, text_of
from sagakeep.grade.trial import Trial
from sagakeep.service import AttemptResult, Outcome, Phase

HUGE_CHARS: Final = 4_000


async def _no_key(trial: Trial) -> None:
    _expect_refusal(await trial.once("action", "no key", idempotency_key=""))
    await trial.expect_effects((0, 0))


async def _huge_key(trial: Trial) -> None:
    key = trial.saga_id + "k" * HUGE_CHARS
    result = await trial.once("action", f"a key of {HUGE_CHARS} characters", idempotency_key=key)
    if result.outcome is Outcome.UNKNOWN:
        raise Misbehaved(f"{text_of(result)}; expected a refusal (400, 431), or done")


async def _no_phase(trial: Trial) -> None:
    phase = cast(Phase, "nonsense")
    _expect_refusal(await trial.once("action", "the phase nonsense", phase=phase))
    await trial.expect_effects((0, 0))


def _expect_refusal(result: AttemptResult) -> None:
    if not is_refused(result):
        raise Misbehaved(f"{text_of(result)}; expected a refusal for good (400)")


_SAY_400: Final = "read the headers before anything else, and answer 400"
NONSENSE: Final = (
    Check(
        "no-key",
        "a call without a key is refused",
        Severity.MINOR,
        (),
        "such work can neither be repeated nor undone safely",
        _SAY_400,
        _no_key,
    ),
    Check(
        "huge-key",
        "a key that is too long is no server error",
        Severity.MINOR,
        (),
        "an answer of 5xx means that the work may have been done",
        _SAY_400,
        _huge_key,
    ),
    Check(
        "no-phase",
        "a phase that does not exist is refused",
        Severity.MINOR,
        (),
        "who takes an unknown phase for an action does work that nobody wanted",
        _SAY_400,
        _no_phase,
    ),
)
