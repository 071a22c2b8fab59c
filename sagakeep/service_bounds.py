"""What may be said of how much a service is asked: the bounds, and the words for what is outside of them.

The same for a configuration and for the Python API, which call the values by other names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from sagakeep.faults import found

CALLS_PER_S_MIN: Final = 0.001  # one in a quarter of an hour
CALLS_PER_S_MAX: Final = 1_000_000.0


class Bound(NamedTuple):
    """From `least` to `most`; where `zero` says what it means, 0 is allowed, too."""

    least: float
    most: float
    zero: str = ""

    def complaint(self, value: float) -> str:
        """Say what is wrong with a value, "" when nothing is."""
        if self.least <= value <= self.most or (self.zero and value == 0):
            return ""
        zero = f"0 ({self.zero}) or " if self.zero else ""
        return f"is {found(value)}; expected {zero}{self.least:g} to {self.most:.0f}"


BOUNDS: Final[Mapping[str, Bound]] = {
    "concurrency": Bound(1, 1_000_000),
    "queue_max": Bound(1, 1_000_000, "limits.serviceQueueCrowded"),
    "rate_limit_per_s": Bound(CALLS_PER_S_MIN, CALLS_PER_S_MAX, "no rate limit"),
    "rate_burst": Bound(1, 1_000_000, "the calls of a tenth of a second"),
    "breaker_failures": Bound(1, 1_000_000, "no breaker"),
    "breaker_open_s": Bound(0.1, 3_600.0),
    "ramp_calls_per_s": Bound(CALLS_PER_S_MIN, CALLS_PER_S_MAX, "no ramp"),
}
