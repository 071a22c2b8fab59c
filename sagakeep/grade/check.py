"""A check: one thing that a service of a saga must get right, why it matters, and how to mend it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from sagakeep.grade.expect import Severity
from sagakeep.grade.trial import Trial
from sagakeep.service import Phase


class Check(NamedTuple):
    """`run` raises Misbehaved or Blocked. `needs` are the calls that the service must have for it."""

    code: str
    title: str
    severity: Severity
    needs: tuple[Phase, ...]
    why: str
    mend: str
    run: Callable[[Trial], Awaitable[None]]
