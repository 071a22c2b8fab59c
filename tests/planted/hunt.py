"""Hunt: try worlds of one mode until one of them breaks, in the copy that this is run in.

random                  seeds from 0 on
exhaustive/SMALL        every moment of a small world ends the process
faults/SMALL            every operation of the disk fails
corruption/KIND         every damage of that kind
"""

from __future__ import annotations

import itertools
import json
import re
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

import sagakeep


def hunt(mode: str, seeds: int) -> dict[str, object]:
    """Return what broke, where, and how many worlds were tried; `by` is "" when all held."""
    kind, _, name = mode.partition("/")
    if kind == "corruption":
        return _hunt_in_damage(name)
    count = 0
    for count, world in enumerate(_worlds(kind, name, seeds), start=1):
        if broken := _broken(world):
            return {"by": broken, "at": world, "worlds": count}
    return {"by": "", "at": "", "worlds": count}


def _worlds(kind: str, name: str, seeds: int) -> Iterator[str]:
    from simulation.modes import exhaustive_worlds, fault_worlds, random_worlds

    if kind == "random":
        return random_worlds(0, seeds)
    worlds = {"exhaustive": exhaustive_worlds, "faults": fault_worlds}[kind]([name])
    return itertools.islice(worlds, seeds)


def _broken(world: str) -> str:
    """The first invariant that a world breaks, or the exception that it ends with."""
    from simulation.campaign import run
    from simulation.modes import configuration_of

    try:
        broken = run(configuration_of(world)).broken
    except Exception as error:  # the judge cannot go on with what it is shown
        return f"raised: {type(error).__name__}: {error}"[:300]
    return broken[0][:300] if broken else ""


def _hunt_in_damage(kind: str) -> dict[str, object]:
    from corruption.campaign import run_campaign
    from corruption.sample import make_sample

    sample, tried = make_sample(), 0
    stride = STRIDES.get(kind, 1)
    for offset in range(min(stride, LAPS_MAX)):
        (tally,) = run_campaign(sample, [kind], stride=stride, offset=offset)
        tried += tally.damages
        if tally.wrong:
            damage, _, complaint = tally.wrong[0].partition(": ")
            by = complaint.strip().splitlines()[-1]
            return {"by": f"corruption: {by}"[:300], "at": damage, "worlds": tried}
    return {"by": "", "at": "", "worlds": tried}


# Of the kinds with many damages each so-many-th is tried, then the ones beside them.
STRIDES = {"flipped bits": 499, "overwritten bytes": 97, "cut files": 97, "torn writes": 29}
LAPS_MAX = 20


if __name__ == "__main__":
    assert Path(sagakeep.__file__).is_relative_to(Path.cwd()), "not the copy"
    try:
        found = hunt(sys.argv[1], int(sys.argv[2]))
    except AssertionError:
        # a small world that breaks without any trouble: there is nothing to exhaust
        last = traceback.format_exc().strip().splitlines()[-1]
        named = re.search(r"I\d+: .*", last)
        found = {"by": (named[0] if named else last)[:300], "at": sys.argv[1], "worlds": 1}
    print(json.dumps(found))
