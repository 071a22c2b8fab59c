"""How a service is reached, and how much it is asked at a time."""

from __future__ import annotations

from typing import NamedTuple

from sagakeep import limits
from sagakeep.actors.throttle import ThrottleRules
from sagakeep.errors import ConfigurationError
from sagakeep.service import Caller
from sagakeep.service_bounds import BOUNDS


class ServiceSpec(NamedTuple):
    """A way to call a service, and the rules for it.

    `concurrency` attempts in flight; `queue_max` that wait, from which on new sagas are refused
    (0: limits.SERVICE_QUEUE_CROWDED); `rate_limit_per_s` that begin in a second (0: any number), of these
    `rate_burst` at once (0: those of a tenth of a second). After `breaker_failures` failures in a row (0: never)
    nobody calls it but one probe every `breaker_open_s` seconds; when it is back, what waits goes out at
    `ramp_calls_per_s`, doubled again and again (0: at once).
    """

    caller: Caller
    concurrency: int = limits.SERVICE_CONCURRENCY
    queue_max: int = 0
    rate_limit_per_s: float = 0.0
    rate_burst: int = 0
    breaker_failures: int = limits.BREAKER_FAILURES
    breaker_open_s: float = limits.BREAKER_OPEN_S
    ramp_calls_per_s: float = limits.RAMP_CALLS_PER_S

    @property
    def rules(self) -> ThrottleRules:
        """What of it the throttle keeps to."""
        return ThrottleRules(
            self.rate_limit_per_s,
            self.rate_burst,
            self.breaker_failures,
            self.breaker_open_s,
            self.ramp_calls_per_s,
        )

    def check(self, name: str) -> None:
        """Raise ConfigurationError for a rule that cannot be kept; it names the service and every such rule."""
        values = self._asdict()
        complaints = {member: bound.complaint(values[member]) for member, bound in BOUNDS.items()}
        wrong = [f"{member} {text}" for member, text in complaints.items() if text]
        if wrong:
            raise ConfigurationError("\n".join(f"service {name!r}: {text}" for text in wrong))
