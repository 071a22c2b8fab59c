"""Thresholds: when an alert is raised. A part of the configuration, so it imports nothing that is bounded."""

from __future__ import annotations

from typing import Final

import msgspec

STUCK_AFTER_S_MAX: Final = 30 * 24 * 3600.0
SLOW_S_MAX: Final = 1800.0  # beyond it the time of an attempt is not told apart


class Thresholds(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    rename={"stuck_after_s": "stuckAfter", "error_share": "errorRate", "slow_s": "slow"},
):
    """When an alert is raised. Times are seconds.

    `stuck_after_s` is how late whatever a saga waits for may be; `error_share` is of a service's attempts in
    the last minute, `slow_s` what one in twenty of them may take.
    """

    stuck_after_s: float = 300.0
    error_share: float = 0.5
    slow_s: float = 10.0
