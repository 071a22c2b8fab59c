"""Backoff: when the next attempt of a call is, or that there is none.

Exponential with full jitter (M. Brooker, "Exponential Backoff And Jitter"): a draw between nothing and the
interval, never before the time that the service asked for.
"""

from __future__ import annotations

from typing import Final

from sagakeep import limits
from sagakeep.definition import RetryPolicy

_EXPONENT_MAX: Final = 64  # 100 ** 64 is still a float; the cap has long been reached


def next_attempt_at(
    policy: RetryPolicy,
    *,
    attempts: int,
    retries_max: int | None,
    first_at_utc_s: float,
    now_utc_s: float,
    draw: float,
    retry_after_s: float | None,
) -> float | None:
    """Time of the next attempt in UTC seconds, None when the budget is used up.

    `attempts` were made in this budget, the first at `first_at_utc_s`; `retries_max` None is no maximum;
    `draw` is in [0, 1).
    """
    if retries_max is not None and attempts > retries_max:
        return None
    delay_s = draw * interval_s(policy, attempts)
    if retry_after_s is not None:
        delay_s = max(delay_s, min(retry_after_s, limits.RETRY_AFTER_S_MAX))
    at_utc_s = now_utc_s + delay_s
    if policy.elapsed_s_max is not None and retries_max is not None:
        return at_utc_s if at_utc_s - first_at_utc_s <= policy.elapsed_s_max else None
    return at_utc_s


def interval_s(policy: RetryPolicy, attempts: int) -> float:
    """The longest wait after this many attempts, seconds."""
    growth = policy.multiplier ** min(max(attempts - 1, 0), _EXPONENT_MAX)
    return min(policy.interval_s_max, policy.initial_interval_s * growth)
