"""The exam: every check on a saga of its own, one after the other, within bounds; and the grade.

A   all that could be checked holds
B   something minor does not
C   one thing does not that makes sagas stand still
D   more than one of those; or the exam was cut off
F   effects can be made twice, or come back after their undo
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from enum import StrEnum
from typing import Final

import msgspec

from sagakeep.errors import SagakeepError
from sagakeep.grade.check import Check
from sagakeep.grade.effects import Ledger, LedgerUnreadable
from sagakeep.grade.expect import Blocked, Misbehaved, Severity, text_of
from sagakeep.grade.nonsense import NONSENSE
from sagakeep.grade.probes import PROBES
from sagakeep.grade.repeats import REPEATS
from sagakeep.grade.subject import Subject, Target
from sagakeep.grade.trial import Exchange, Trial
from sagakeep.grade.undos import UNDOS
from sagakeep.service import Outcome

CHECKS: Final = (*REPEATS, *UNDOS, *PROBES, *NONSENSE)


class CannotGrade(SagakeepError):
    """The service did not do a plain action, or its ledger cannot be read: mend that, or the payload, first."""


class Verdict(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    BLOCKED = "blocked"  # by something that failed
    NOT_APPLICABLE = "not applicable"
    NOT_RUN = "not run"


class Finding(msgspec.Struct, frozen=True):
    """What a check came to; `reason` says what is wrong, or missing."""

    check: Check
    verdict: Verdict
    severity: Severity
    reason: str = ""
    exchanges: tuple[Exchange, ...] = ()


class Report(msgspec.Struct, frozen=True):
    url: str
    findings: tuple[Finding, ...]
    requests: int
    elapsed_s: float
    has_ledger: bool

    @property
    def grade(self) -> str:
        failed = [one.severity for one in self.findings if one.verdict is Verdict.FAILED]
        majors = failed.count(Severity.MAJOR)
        is_open = self.count(Verdict.NOT_RUN) or (self.count(Verdict.BLOCKED) and not majors)
        if Severity.CRITICAL in failed:
            return "F"
        if majors > 1 or is_open:
            return "D"
        if majors:
            return "C"
        return "B" if failed else "A"

    def count(self, verdict: Verdict) -> int:
        return sum(one.verdict is verdict for one in self.findings)


async def examine(
    target: Target,
    *,
    ledger_url: str = "",
    within_s: float = 120.0,
    announce: Callable[[Finding], None] = lambda _: None,
) -> Report:
    """Run every check. Real effects are made at the service. Raises CannotGrade, ConfigurationError."""
    began_s = time.monotonic()
    ledger = Ledger(ledger_url, target.headers, target.timeout_s) if ledger_url else None
    subject = Subject(target)
    exam = _Exam(subject, ledger, announce)
    try:
        with subject.bounded(within_s):
            await exam.run()
    finally:
        await subject.aclose()
    return Report(
        url=target.url,
        findings=exam.all_findings(within_s),
        requests=subject.requests,
        elapsed_s=time.monotonic() - began_s,
        has_ledger=ledger is not None,
    )


class _Exam:
    def __init__(
        self, subject: Subject, ledger: Ledger | None, announce: Callable[[Finding], None]
    ) -> None:
        self._subject = subject
        self._ledger = ledger
        self._announce = announce
        self._name = f"grade-{secrets.token_hex(6)}"
        self._findings: list[Finding] = []

    async def run(self) -> None:
        try:
            await self._expect_work()
            for check in CHECKS:
                finding = await self._finding(check)
                self._findings.append(finding)
                self._announce(finding)
        except LedgerUnreadable as error:
            raise CannotGrade(str(error)) from error

    def all_findings(self, within_s: float) -> tuple[Finding, ...]:
        """Return one finding for each check, also for those that were not run."""
        reason = f"the exam was cut off after {self._subject.requests} requests, or {within_s:g} s"
        rest = CHECKS[len(self._findings) :]
        return (
            *self._findings,
            *(Finding(one, Verdict.NOT_RUN, one.severity, reason) for one in rest),
        )

    async def _expect_work(self) -> None:
        """Without one action that works there is nothing to grade."""
        trial = await self._trial("works")
        result = await trial.action()
        if result.outcome is not Outcome.DONE:
            raise CannotGrade(
                f"{text_of(result)}: a plain action has to be done before anything can be graded;"
                " look at the URL, the action's name, the payload and the headers"
            )
        await trial.clean_up()

    async def _finding(self, check: Check) -> Finding:
        missing = [phase for phase in check.needs if not self._subject.has(phase)]
        if missing:
            reason = f"no {' and no '.join(missing)} given"
            return Finding(check, Verdict.NOT_APPLICABLE, check.severity, reason)
        trial = await self._trial(check.code)
        verdict, severity, reason = Verdict.PASSED, check.severity, ""
        try:
            await check.run(trial)
        except Misbehaved as error:
            verdict, severity, reason = Verdict.FAILED, error.severity or severity, str(error)
        except Blocked as error:
            verdict, reason = Verdict.BLOCKED, str(error)
        await trial.clean_up()
        return Finding(check, verdict, severity, reason, tuple(trial.exchanges))

    async def _trial(self, code: str) -> Trial:
        trial = Trial(self._subject, self._ledger, f"{self._name}.{code}")
        await trial.begin()
        return trial
