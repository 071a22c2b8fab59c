"""The runs of `python -m bench all`: which bench at which scale, in their order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple


class Run(NamedTuple):
    """One bench at one scale, in a process of its own."""

    name: str
    benchmark: str
    sagas: int


RUNS: Final[Sequence[Run]] = (
    Run("engine", "engine", 30_000),
    Run("http", "http", 10_000),
    Run("calls", "calls", 10_000),
    Run("parked-10000", "parked", 10_000),
    Run("parked-100000", "parked", 100_000),
    Run("parked-1000000", "parked", 1_000_000),
    Run("recovery", "recovery", 100_000),
    Run("storm", "storm", 10_000),
    Run("peers", "peers", 2_000),
    Run("growth", "growth", 1_000_000),
)
