"""python -m bench NAME [--json]: measure, show progress on a terminal, print one JSON object or a table.

`python -m bench all` runs every one of them, each in a process of its own, and writes bench/results and the table
of bench/README.md.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Final

import click
import trio
from rich.console import Console
from rich.progress import Progress as Bar
from rich.table import Table

from bench import calls, engine, growth, http, parked, recovery, storm
from bench.benchmark import Benchmark, Numbers, Scale
from bench.clock import JumpingClock
from bench.peers import table as peers
from bench.provenance import provenance
from bench.results import DIRECTORY, README, run_all
from bench.targets import table_of
from sagakeep.runtime.collector import turn_collector_off
from sagakeep.runtime.resident import give_large_blocks_back

BENCHMARKS: Final[dict[str, Benchmark]] = {
    "engine": Benchmark(engine.measure, engine.SCALE),
    "http": Benchmark(http.measure, http.SCALE),
    "calls": Benchmark(calls.measure, calls.SCALE),
    "parked": Benchmark(parked.measure, parked.SCALE),
    "recovery": Benchmark(recovery.measure, recovery.SCALE),
    "growth": Benchmark(growth.measure, growth.SCALE),
    "peers": Benchmark(peers.measure, peers.SCALE),
    "storm": Benchmark(storm.measure, storm.SCALE),
}


ALL: Final = "all"


class Shown:
    """Progress on a terminal; elsewhere nothing is shown."""

    def __init__(self, name: str, bar: Bar) -> None:
        self._bar = bar
        self._task = bar.add_task(name, total=None)

    def expect(self, total: int) -> None:
        self._bar.update(self._task, total=total)

    def __call__(self, count: int) -> None:
        self._bar.advance(self._task, count)


@click.command()
@click.argument("name", type=click.Choice([*sorted(BENCHMARKS), ALL]))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
@click.option("--sagas", type=click.IntRange(min=100), help="How many, instead of the usual.")
@click.option("--seconds", type=click.FloatRange(min=0.1), help="For `storm`: of the outage.")
@click.option(
    "--only", multiple=True, type=click.Choice(sorted(BENCHMARKS)), help="For `all`: this."
)
@click.option("--share", default=1.0, type=click.FloatRange(0.0001, 1), help="For `all`: of each.")
def main(
    name: str,
    as_json: bool,
    sagas: int | None,
    seconds: float | None,
    only: tuple[str, ...],
    share: float,
) -> None:
    """Measure NAME on this machine."""
    if name == ALL:
        results = run_all(only or BENCHMARKS, share, DIRECTORY, README)
        print(json.dumps(results) if as_json else table_of(results))
        return
    usual = BENCHMARKS[name].scale
    scale = Scale(sagas or usual.sagas, seconds or usual.seconds)
    numbers = run(name, scale)
    if as_json:
        print(json.dumps(numbers))
    else:
        Console().print(_table(name, numbers))


def run(name: str, scale: Scale) -> Numbers:
    """Measure one of BENCHMARKS, with a bar where somebody can see it."""
    give_large_blocks_back()
    turn_collector_off()  # as `sagakeep serve` does; the floors gain from it too
    console = Console(stderr=True)
    with Bar(console=console, disable=not sys.stderr.isatty(), transient=True) as bar:
        numbers = trio.run(BENCHMARKS[name].measure, scale, Shown(name, bar), clock=JumpingClock())
    return {"benchmark": name, **numbers, **provenance()}


def _table(name: str, numbers: Mapping[str, object]) -> Table:
    table = Table(title=name, show_header=False)
    for key, value in numbers.items():
        for row in value if key == "rows" and isinstance(value, list) else [value]:
            table.add_row(key, _shown(row))
    return table


def _shown(value: object) -> str:
    """A row of a table of its own in one line, anything else as it is."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {part}" for name, part in value.items())
    return str(value)


if __name__ == "__main__":
    main(prog_name="python -m bench")
