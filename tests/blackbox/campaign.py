"""What every campaign is given and gives back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

FAULTS_MAX = 20  # a campaign that found so many ends: they are one bug, most likely


class Findings(msgspec.Struct):
    """What a campaign did and found; `numbers` are its own counts."""

    count: int = 0  # kills, faults, rounds: what it is a campaign of
    faults: list[str] = msgspec.field(default_factory=list)
    numbers: dict[str, float] = msgspec.field(default_factory=dict)
    skipped: str = ""  # why it could not be run here

    def add(self, name: str, amount: float = 1) -> None:
        self.numbers[name] = self.numbers.get(name, 0) + amount

    def blame(self, where: str, faults: Iterable[str]) -> None:
        self.faults += [f"{where}: {fault}" for fault in faults]


class Bounds:
    """How far a campaign goes: `count` units, or until the time is up, or too much is wrong."""

    def __init__(
        self,
        root: Path,
        count: int,
        seed: int,
        seconds_max: float,
        advance: Callable[[int], None],
        pause_s: float,
    ) -> None:
        self.root = root
        self.count = count
        self.seed = seed
        self.pause_s = pause_s  # of one SIGSTOP
        self.findings = Findings()
        self._until_s = time.monotonic() + seconds_max
        self._advance = advance
        self._stopped = False

    @property
    def is_over(self) -> bool:
        return (
            self.findings.count >= self.count
            or time.monotonic() > self._until_s
            or len(self.findings.faults) >= FAULTS_MAX
            or bool(self.findings.skipped)
            or self._stopped
        )

    def stop(self, *_: object) -> None:
        """Begin nothing more; for a signal, which may come anywhere, so nothing is raised."""
        self._stopped = True

    def done(self, count: int = 1) -> None:
        """Count what was done."""
        self.findings.count += count
        self._advance(count)
