"""Modes: which worlds to try. A world has a name, and the name is all that is needed to see it again.

random/17                                     the configuration that seed 17 stands for
exhaustive/lost/after-disk-12/power           a small world; the process ends after its 12th disk operation
exhaustive/lost/after-disk-12+before-call-1/kill      and the next one before its first call
faults/lost/9-EIO-lasts/power                 the 9th operation fails, and all after it; then the power is cut
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

from sagakeep.simulation.process import Moment, Point
from sagakeep.simulation.process_disk import DiskFault
from simulation.campaign import run
from simulation.configuration import ERRNOS, Configuration, Crash, configure
from simulation.small import SMALL

CORPUS = Path(__file__).parent / "corpus.txt"
PAIRS_STEP = 3  # of the second points of pairs, every third, in turn
OUTLIVES_STEPS = 5_000  # a process that a fault does not end is ended after so many


def configuration_of(name: str) -> Configuration:
    """Read a name. Raises ValueError or KeyError for one that is none."""
    mode, *rest = name.split("/")
    if mode == "random":
        return configure(int(rest[0]))
    small, what, how = rest
    cuts_power = {"power": True, "kill": False}[how]
    if mode == "faults":
        crashes = (Crash(Point("step", OUTLIVES_STEPS), (_fault(what),), cuts_power),)
    elif mode == "exhaustive":
        crashes = tuple(Crash(_point(one), (), cuts_power) for one in what.split("+"))
    else:
        raise ValueError(f"{name!r} is no world")
    seed = sum(ord(letter) * 31**index for index, letter in enumerate(name)) % (1 << 32)
    return SMALL[small]._replace(seed=seed, crashes=crashes)


def _point(text: str) -> Point:
    moment, kind, number = text.split("-")
    assert kind in ("disk", "call", "step"), text
    return Point(kind, int(number), Moment(moment))


def _fault(text: str) -> DiskFault:
    number, name, how_long = text.split("-")
    return DiskFault(int(number), getattr(errno, name), how_long == "lasts")


# Names


def random_worlds(first: int, end: int) -> Iterator[str]:
    return (f"random/{seed}" for seed in range(first, end))


def exhaustive_worlds(smalls: list[str], *, pairs: bool = False) -> Iterator[str]:
    """Every point of each small world; with `pairs`, two processes end, at each pair of operations and calls."""
    for small in smalls:
        points = list(_points(small))
        for how in ("power", "kill"):
            for point in points:
                yield f"exhaustive/{small}/{point}/{how}"
        if pairs:
            yield from _pairs(small)


def _points(small: str) -> Iterator[str]:
    verdict = run(SMALL[small]._replace(crashes=(Crash(None),)))
    assert not verdict.broken, f"{small}: {verdict.broken}"
    for number in range(1, verdict.disk_operations[0] + 1):
        for moment in Moment:
            yield f"{moment}-disk-{number}"
    for number in range(1, verdict.calls[0] + 1):
        for moment in (Moment.BEFORE, Moment.AFTER):
            yield f"{moment}-call-{number}"
    for number in range(1, verdict.life_steps[0] + 1):
        yield f"before-step-{number}"


def _pairs(small: str) -> Iterator[str]:
    """Of the second process every third point, another third for each first point."""
    verdict = run(SMALL[small]._replace(crashes=(Crash(None), Crash(None))))
    operations = max(verdict.disk_operations)
    firsts = [f"{Moment.AFTER}-disk-{n}" for n in range(1, verdict.disk_operations[0] + 1)]
    firsts += [f"{Moment.AFTER}-call-{n}" for n in range(1, verdict.calls[0] + 1)]
    for index, first in enumerate(firsts):
        for number in range(1 + index % PAIRS_STEP, operations + 1, PAIRS_STEP):
            moment = list(Moment)[(index + number) % 3]
            how = ("power", "kill")[(index + number) % 2]
            yield f"exhaustive/{small}/{first}+{moment}-disk-{number}/{how}"


def fault_worlds(smalls: list[str]) -> Iterator[str]:
    """The n-th operation fails, n = 1 to the end, with each errno, once and for good."""
    for small in smalls:
        verdict = run(SMALL[small]._replace(crashes=(Crash(None),)))
        for number in range(1, verdict.disk_operations[0] + 1):
            for one in ERRNOS:
                for how_long in ("once", "lasts"):
                    how = ("power", "kill")[number % 2]
                    yield f"faults/{small}/{number}-{errno.errorcode[one]}-{how_long}/{how}"


def corpus_worlds() -> Iterator[str]:
    """All that ever failed."""
    for line in CORPUS.read_text().splitlines():
        name = line.partition("#")[0].strip()
        if name:
            yield name
