"""The campaign's command.

    PYTHONPATH=tests python -m simulation random --seeds 0:2000
    PYTHONPATH=tests python -m simulation exhaustive [--small done] [--pairs]
    PYTHONPATH=tests python -m simulation faults | corpus
    PYTHONPATH=tests python -m simulation twice --seeds 0:100
    PYTHONPATH=tests python -m simulation show random/17      one world: its configuration, trace and verdict

Exit code 0 when every invariant held in every world, 1 when not.
"""

from __future__ import annotations

import argparse
import faulthandler
import gc
import itertools
import multiprocessing
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

from simulation.campaign import Campaign, Verdict, quiet, run
from simulation.configuration import named
from simulation.modes import (
    configuration_of,
    corpus_worlds,
    exhaustive_worlds,
    fault_worlds,
    random_worlds,
)
from simulation.small import SMALL

COLLECT_EVERY = 50
HANGS_AFTER_S = (
    300  # a world that does not even take steps: the stacks are printed and the process ends
)
SHOWN_FAILURES_MAX = 10


class Tried(NamedTuple):
    """A world and what came of it."""

    name: str
    verdict: Verdict


class Failure(NamedTuple):
    """A world in which an invariant was broken."""

    name: str
    broken: tuple[str, ...]
    replay: str


class Summary(NamedTuple):
    """All worlds of a run."""

    mode: str
    worlds: int
    held: int
    lives: int
    crashes: int
    checks: int
    steps: int
    seconds: float
    failed: tuple[Failure, ...]


def try_world(name: str) -> Tried:
    faulthandler.dump_traceback_later(HANGS_AFTER_S, exit=True, file=sys.__stderr__)
    try:
        return Tried(name, run(configuration_of(name)))
    finally:
        faulthandler.cancel_dump_traceback_later()


def try_all(names: Iterable[str], jobs: int) -> Iterator[Tried]:
    """Try worlds one after the other, in several processes when told so."""
    gc.disable()
    if jobs > 1:
        with multiprocessing.get_context("spawn").Pool(
            jobs, gc.disable, maxtasksperchild=500
        ) as pool:
            yield from pool.imap_unordered(try_world, names, 20)
        return
    for count, name in enumerate(names):
        yield try_world(name)
        if count % COLLECT_EVERY == 0:
            gc.collect()


def summarize(mode: str, tried: Iterable[Tried], *, quiet_: bool) -> Summary:
    began_s = time.monotonic()
    totals: Counter[str] = Counter()
    failed = []
    for name, verdict in tried:
        totals["worlds"] += 1
        totals["lives"] += verdict.lives
        totals["crashes"] += verdict.crashes
        totals["checks"] += verdict.checks
        totals["steps"] += verdict.steps
        if verdict.broken:
            failed.append(Failure(name, verdict.broken, f"python -m simulation show {name}"))
            if len(failed) <= SHOWN_FAILURES_MAX:
                tell(name, verdict)
        if not quiet_ and totals["worlds"] % 500 == 0:
            print(f"{totals['worlds']} worlds, {len(failed)} failed", file=sys.stderr, flush=True)
    return Summary(
        mode,
        totals["worlds"],
        totals["worlds"] - len(failed),
        totals["lives"],
        totals["crashes"],
        totals["checks"],
        totals["steps"],
        round(time.monotonic() - began_s, 1),
        tuple(failed),
    )


def tell(name: str, verdict: Verdict) -> None:
    """Print a world that failed: what is broken, its end, its configuration, how to see it again."""
    lines = [
        f"{name} (seed {verdict.seed}): {verdict.broken[0]}",
        *(f"    {line[:300]}" for line in verdict.tail[-25:]),
        configuration_of(name).text(),
        f"again: PYTHONPATH=tests python -m simulation show {name}",
    ]
    print("\n".join(lines), file=sys.stderr, flush=True)


def twice(names: list[str]) -> int:
    """Run each world here and in another process, with other hashes of strings; return how many differ."""
    here = {name: run(configuration_of(name)).digest for name in names}
    other = {"PYTHONHASHSEED": "4711", "PYTHONPATH": os.pathsep.join(sys.path)}
    there = subprocess.run(
        [sys.executable, "-m", "simulation", "digests", *names],
        env=os.environ | other,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    different = [name for name, digest in zip(names, there, strict=True) if here[name] != digest]
    for name in different:
        print(f"{name} is another world in another process", file=sys.stderr)
    return len(different)


def show(name: str) -> int:
    configuration = configuration_of(name)
    print(configuration.text())
    with quiet():
        campaign = Campaign(configuration)
        campaign.run()
    for line in campaign.world.trace.lines:
        print(line)
    broken = campaign.judge.broken
    print("\n".join(broken) or "every invariant held")
    return 1 if broken else 0


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="simulation", description="Try simulated worlds.")
    parser.add_argument(
        "mode", choices=["random", "exhaustive", "faults", "twice", "corpus", "show", "digests"]
    )
    parser.add_argument("names", nargs="*", help="worlds, for show")
    parser.add_argument("--seeds", default="0:200", help="first:end")
    parser.add_argument("--small", choices=sorted(SMALL), action="append")
    parser.add_argument("--pairs", action="store_true")
    parser.add_argument("--every", type=int, default=1, help="of all worlds, try each n-th")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    first, end = map(int, options.seeds.split(":"))
    smalls = options.small or sorted(SMALL)
    match options.mode:
        case "show":
            return max(map(show, options.names))
        case "digests":
            print("\n".join(run(configuration_of(name)).digest for name in options.names))
            return 0
        case "twice":
            return 1 if twice(list(random_worlds(first, end))) else 0
        case "random":
            names = random_worlds(first, end)
        case "exhaustive":
            names = exhaustive_worlds(smalls, pairs=options.pairs)
        case "faults":
            names = fault_worlds(smalls)
        case _:
            names = corpus_worlds()
    names = itertools.islice(names, 0, None, options.every)
    summary = summarize(options.mode, try_all(names, options.jobs), quiet_=options.json)
    if options.json:
        print(msgspec.json.encode(named(summary)).decode())
    else:
        print(summary._replace(failed=tuple(one[:2] for one in summary.failed)))
    return 1 if summary.failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
