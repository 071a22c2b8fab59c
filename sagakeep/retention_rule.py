"""Rules of retention: how long sagas are kept. A part of the configuration, so it imports nothing bounded."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Final

import msgspec

from sagakeep.saga_status import COMPENSATED, COMPLETED, FINAL, HELD

KEEP_S_MAX: Final = 100 * 366 * 24 * 3600.0
KEEP_COUNT_MAX: Final = 1_000_000_000
RULES_MAX: Final = 100
STATUSES: Final = tuple(sorted(FINAL | HELD))  # of sagas that may leave: those that DELETE takes


class RetentionRule(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    rename={"keep_for_s": "keepFor", "keep_count": "keepCount"},
):
    """Which sagas, and which of them are kept. The first rule that covers a saga is the one that counts for it.

    `keep_for_s` is how long after its last event one is kept, `keep_count` how many are, of those that the rule
    covers: the newest, by their creation. None is no bound.
    """

    name: str = ""  # "" is any
    tags: dict[str, str] = msgspec.field(default_factory=dict)  # all of them
    status: tuple[str, ...] = (COMPLETED.value, COMPENSATED.value)
    keep_for_s: float | None = None
    keep_count: int | None = None

    def covers(self, name: str, status: str, tags: Container[tuple[str, str]]) -> bool:
        """Does the rule say how long this saga is kept?"""
        return (
            status in self.status
            and self.name in ("", name)
            and all(tag in tags for tag in self.tags.items())
        )

    def why_not(self, count: int, age_s: float) -> str:
        """Say why a saga is not kept, the newest being count 1; "" if it is."""
        if self.keep_count is not None and count > self.keep_count:
            return f"beyond the newest {self.keep_count}"
        if self.keep_for_s is not None and age_s >= self.keep_for_s:
            return f"older than {self.keep_for_s:g} s"
        return ""


def all_tags(rules: Sequence[RetentionRule]) -> list[tuple[str, str]]:
    """Every tag that a rule asks for, once."""
    return list(dict.fromkeys(tag for rule in rules for tag in rule.tags.items()))
