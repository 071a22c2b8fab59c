"""The status of a step, as a type and as constants; why both, see sagakeep.saga_status."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class StepStatus(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    RETRYING = "retrying"
    COMPENSATING = "compensating"
    COMPENSATED = "compensated"
    COMPENSATION_FAILED = "compensation_failed"

    __hash__ = str.__hash__  # as SagaStatus


PENDING: Final = StepStatus.PENDING
RUNNING: Final = StepStatus.RUNNING
COMPLETED: Final = StepStatus.COMPLETED
FAILED: Final = StepStatus.FAILED
RETRYING: Final = StepStatus.RETRYING
COMPENSATING: Final = StepStatus.COMPENSATING
COMPENSATED: Final = StepStatus.COMPENSATED
COMPENSATION_FAILED: Final = StepStatus.COMPENSATION_FAILED
