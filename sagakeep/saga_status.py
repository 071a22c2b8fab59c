"""The status of a saga, as a type and as constants: `saga_status.RUNNING` costs a tenth of `SagaStatus.RUNNING`.

(On Python 3.11 a member looked up on its class goes through the metaclass; decisions ask a hundred times.)
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class SagaStatus(StrEnum):
    CREATED = "created"
    RUNNING = "running"
    FAILED = "failed"
    RETRYING = "retrying"
    COMPENSATING = "compensating"
    COMPENSATION_FAILED = "compensation_failed"
    COMPENSATED = "compensated"
    COMPLETED = "completed"
    ABANDONED = "abandoned"

    __hash__ = str.__hash__  # Enum's is Python code, and statuses are keys on the hot path


CREATED: Final = SagaStatus.CREATED
RUNNING: Final = SagaStatus.RUNNING
FAILED: Final = SagaStatus.FAILED
RETRYING: Final = SagaStatus.RETRYING
COMPENSATING: Final = SagaStatus.COMPENSATING
COMPENSATION_FAILED: Final = SagaStatus.COMPENSATION_FAILED
COMPENSATED: Final = SagaStatus.COMPENSATED
COMPLETED: Final = SagaStatus.COMPLETED
ABANDONED: Final = SagaStatus.ABANDONED

FINAL: Final = frozenset({COMPLETED, COMPENSATED, ABANDONED})
HELD: Final = frozenset({FAILED, COMPENSATION_FAILED})  # wait for an operator
MOVING: Final = frozenset(set(SagaStatus) - FINAL - HELD)
