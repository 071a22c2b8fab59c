"""A check: one thing that a service of a saga must get right, why it matters, and how to mend it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import NamedTuple

from sagakeep.grade.trial import Trial
from sagakeep.service import Phase


class Severity(StrEnum):
    """What a failure costs: money or goods; a saga that stands still; or nothing, as long as all is well."""

    CRITICAL = "critical"
    MAJOR = "major"
    MINOR = "minor"


class Check(NamedTuple):
    """`run` raises Misbehaved. `needs` are the calls that the service must have for it."""

    code: str
    title: str
    severity: Severity
    needs: tuple[Phase, ...]
    why: str
    mend: str
    run: Callable[[Trial], Awaitable[None]]
